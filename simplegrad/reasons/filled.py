"""What a pass brought to a gradient, and what .grad holds after it."""

from __future__ import annotations

from ..trace import calls as kinds
from ..trace.calls import Call, Filled, Held
from ..trace.events import Accumulated, Value
from .answer import Cause, Link
from .run import Run


def norm_of(value: Value | None) -> float | None:
    """Its norm; None where it is not known, infinity where it is not finite."""
    if value is None:
        return None
    if value.nonfinite:
        return float("inf")
    if value.norm is None and value.tensor is not None:
        return float(value.tensor.detach().double().norm())
    return value.norm


def last_filled(run: Run, value: Value) -> Filled | None:
    found = [filled for filled in run.filled.get(value, ()) if filled.came is not None and filled.accumulates]
    return found[-1] if found else None


def by_hook(run: Run, name: str, held: Held | None, value: Value, pass_id: int) -> Cause:
    inside = [c for c in run.calls if c.pass_id == pass_id and c.within == "hook" and c.source is not None]
    own = [c for c in inside if held is not None and any(_in_hook(c, hook) for hook in held.hooks)]
    mine = [c for c in own if c.outputs] or own
    source = mine[-1].source if mine else held.hooks[-1] if held is not None and held.hooks else None
    if source is None:
        registered = [c for c in run.marks(kinds.HOOK) if value in c.inputs]
        source = registered[-1].source if registered else None
    sentence = f"A hook on {name} replaces its gradient: what the pass brought is not what .grad holds."
    return Cause("hook", sentence, source, (Link("the hook runs", source, None),))


def _in_hook(call: Call, hook: tuple[str, int]) -> bool:
    """Whether the call's line stands in the function that begins at the hook's line."""
    return call.source[0] == hook[0] and 0 <= call.source[1] - hook[1] < 40


def contributions(run: Run, pass_id: int, value: Value) -> list[Accumulated]:
    return [event for event in run.came.get((pass_id, value), ()) if event.contribution is not None]
