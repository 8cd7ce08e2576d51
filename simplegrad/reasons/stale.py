"""Whether .grad holds more, or other, than the gradient of the last pass, and why."""

from __future__ import annotations

import ast

from .. import source_text
from ..trace import calls as kinds
from ..trace.calls import Call, Filled, Held
from ..trace.events import Source, Value
from ..trace.texts import lines_of
from .answer import Cause, Link
from .run import Run


def leftover(run: Run, value: Value | None) -> Filled | None:
    """What the last pass added to, where that was not meant: it was left by a pass before an optimiser's step."""
    filled = [f for f in run.filled.get(value, ()) if f.came is not None and f.accumulates]
    if not filled or not (filled[-1].before or filled[-1].before_kind):
        return None
    last = filled[-1]
    if _changed_since(run, value, last):
        return None
    begin = run.pass_event(last.pass_id).index
    left_by = filled[-2] if len(filled) > 1 else None
    since = run.end_of(left_by.pass_id) if left_by is not None else -1
    between = [c for c in run.marks(kinds.STEP, kinds.ZERO_GRAD) if since <= c.event <= begin]
    return last if between or left_by is None else None


def _changed_since(run: Run, value: Value, last: Filled) -> bool:
    """Cleared after that pass: then there is nothing left over."""
    end = run.end_of(last.pass_id)
    return any(value in call.leaves and call.event >= end for call in run.marks(kinds.ZERO_GRAD, kinds.GRAD_SET))


def is_used(run: Run, value: Value, held: Held | None, last: Filled) -> bool:
    """Whether an optimiser stepped with it, or could not: what is left over then does harm."""
    end = run.end_of(last.pass_id)
    stepped = any(value in call.leaves and call.event >= end for call in run.steps)
    is_in_none = bool(run.steps) and not any(value in call.leaves for call in run.steps)
    return stepped or (is_in_none and (held is None or held.kind != "buffer"))


def why_stale(run: Run, name: str, held: Held | None, value: Value, last: Filled) -> Cause:
    source = run.pass_event(last.pass_id).source
    added = Link(f"the pass adds to what .grad of {name} held", source, run.end_of(last.pass_id))
    optimizers = [c for c in run.marks(kinds.STEP, kinds.ZERO_GRAD) if c.leaves]
    if optimizers and not any(value in call.leaves for call in optimizers):
        found = _held_by_none(run, name, held, value, optimizers, added)
        if found is not None:
            return found
    sentence = (
        f"The gradient of {name} was not cleared before this pass (no zero_grad reached it): .grad holds the sum with "
        f"that of an earlier pass."
    )
    return Cause("accumulated", sentence, source, (added,))


def _held_by_none(
    run: Run, name: str, held: Held | None, value: Value, optimizers: list[Call], added: Link
) -> Cause | None:
    if held is not None and held.kind in ("listed", "attribute"):
        what = "a plain list, tuple or dict, and is not registered" if held.kind == "listed" else "a plain attribute"
        sentence = (
            f"{name} is in {what} as a parameter: neither the optimizer nor zero_grad knows it, so it is never cleared."
        )
        return Cause("not_a_parameter", sentence, held.made_at, (added,))
    for call in run.marks(kinds.ATTRIBUTE):
        if value in call.outputs:
            sentence = (
                f"{name} was replaced here, and the optimizer still holds the old object: it never clears or "
                f"moves this one."
            )
            return Cause(
                "other_object", sentence, call.source, (Link("it is replaced", call.source, call.event), added)
            )
    holder = "The optimizer" if optimizers[0].kind == kinds.STEP or "Module" not in optimizers[0].name else "zero_grad"
    sentence = f"{holder} does not hold {name}: nothing clears its gradient, and no step moves it."
    source = _built_at(run, optimizers[0]) or (held.made_at if held is not None else None)
    return Cause("other_object", sentence, source, (added,))


def _built_at(run: Run, step: Call) -> Source | None:
    """Where the optimizer is made, if the files that lead to its step, or the functions that do, make one of its class
    only."""
    found, near = [], []
    for file in dict.fromkeys(place[0] for place in step.stack):
        try:
            tree = source_text.parsed("\n".join(lines_of(file, run.trace.texts)))
        except (SyntaxError, ValueError):
            continue
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        named = ((node, getattr(node.func, "attr", getattr(node.func, "id", ""))) for node in calls)
        here = [(file, node.lineno) for node, name in named if name == step.name]
        lines = {line for each, line in step.stack if each == file}
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _spans(node, lines)]
        near += [at for at in here if any(_spans(function, {at[1]}) for function in functions)]
        found += here
    return found[0] if len(found) == 1 else near[0] if len(near) == 1 else None


def _spans(node: ast.FunctionDef, lines: set[int]) -> bool:
    return any(node.lineno <= line <= (node.end_lineno or node.lineno) for line in lines)
