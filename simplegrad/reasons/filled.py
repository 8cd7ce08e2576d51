"""What a pass brought to a gradient, and what .grad holds after it."""

from __future__ import annotations

from ..trace import calls as kinds
from ..trace.calls import Call, Filled, Held
from ..trace.events import Accumulated, Value, Visited
from ..trace.looks import Looks
from ..trace.ranks import CAME
from .answer import UNKNOWN, Cause, Link
from .run import Run


def norm_of(value: Value | None) -> float | None:
    """Its norm; None where it is not known, infinity where it is not finite."""
    if value is None:
        return None
    if value.nonfinite:
        return float("inf")
    if value.norm is None and value.tensor is not None:
        return Looks().norm(value.tensor)
    return value.norm


def last_filled(run: Run, value: Value) -> Filled | None:
    found = [filled for filled in run.filled.get(value, ()) if filled.came is not None and filled.accumulates]
    return found[-1] if found else None


def is_finite(run: Run, filled: Filled) -> bool:
    """Whether a pass is known to have brought finite numbers only. Sums of them may overflow in half precision alone,
    as nothing near the largest float32 is a gradient."""
    if norm_of(filled.came) is not None:
        return norm_of(filled.came) != float("inf")
    parts = [norm_of(event.contribution) for event in contributions(run, filled.pass_id, filled.value)]
    return bool(parts) and all(part is not None and part < 1e4 for part in parts)


def from_another_rank(run: Run, name: str) -> Cause | None:
    """The collective that brought a NaN into a gradient which this rank itself had computed without one."""
    for noted in reversed(run.trace.collectives):
        call = run.calls[noted.call] if noted.call < len(run.calls) else None
        if call is None or f"{name}.grad" not in noted.owners or not any(x.nonfinite for x in call.outputs):
            continue
        if any(x.nonfinite for x in call.inputs) or (noted.by == "DDP" and _was_flawed(run, name, call.pass_id)):
            return None
        what = "DDP's all_reduce" if noted.by == "DDP" else f"the {call.name}"
        sentence = (
            f"This rank's own gradient of {name} was finite; {what} brought the NaN from another rank. "
            f"`simplegrad ranks`, with the traces of all ranks, says from which."
        )
        return Cause(UNKNOWN, sentence, call.source, (Link(f"{what} of {name}.grad", call.source, call.event),))
    return None


def _was_flawed(run: Run, name: str, pass_id: int | None) -> bool:
    """Whether the pass itself brought what is not finite."""
    found = (s for s in run.trace.shares if s.what == CAME and s.path == name and s.pass_id == pass_id)
    return any(share.state == "nan" for share in found)


def by_hook(run: Run, name: str, held: Held | None, value: Value, pass_id: int) -> Cause:
    inside = run.in_hooks.get(pass_id, [])
    own = [c for c in inside if held is not None and any(_in_hook(c, hook) for hook in held.hooks)]
    mine = [c for c in own if c.outputs] or own
    source = mine[-1].source if mine else held.hooks[-1] if held is not None and held.hooks else None
    if source is None:
        registered = [c for c in run.marks(kinds.HOOK) if value in c.inputs]
        source = registered[-1].source if registered else None
    sentence = f"A hook on {name} replaces its gradient: what the pass brought is not what .grad holds."
    return Cause("hook", sentence, source, (Link("the hook runs", source, None),))


def by_module_hook(run: Run, name: str, visit: Visited, what: str, chain: tuple) -> Cause | None:
    """A hook of `register_full_backward_hook`, for which torch puts a Function of its own around the module."""
    if visit.entry.operator != "BackwardHookFunction":
        return None
    before = [c for c in run.in_hooks.get(visit.pass_id, ()) if c.event <= visit.index]
    registered = list(run.marks(kinds.HOOK))
    source = before[-1].source if before else registered[-1].source if registered else None
    sentence = f"A backward hook of a module, on the way back to {name}, replaces the gradient by {what}."
    return Cause("hook", sentence, source, (*chain, Link("the hook runs", source, visit.index)))


def _in_hook(call: Call, hook: tuple[str, int]) -> bool:
    """Whether the call's line stands in the function that begins at the hook's line."""
    return call.source[0] == hook[0] and 0 <= call.source[1] - hook[1] < 40


def contributions(run: Run, pass_id: int, value: Value) -> list[Accumulated]:
    return [event for event in run.came(pass_id, value) if event.contribution is not None]
