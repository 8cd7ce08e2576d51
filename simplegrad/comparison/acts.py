"""What is done to a parameter between the operations that read it: steps, clearing, clipping, writes, passes.

Two runs whose parameters part there are told apart at the act that one of them lacks, or does in another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..trace import calls as kinds
from ..trace.calls import Call
from ..trace.events import PassBegun, Source, Value
from ..trace.trace import Trace
from .gaps import differs
from .pairing import paired

ON_GRADIENTS = (kinds.STEP, kinds.ZERO_GRAD, kinds.CLIP, kinds.GRAD_SET, kinds.UNSCALE)
PASS = "pass"


class Act(NamedTuple):
    kind: str
    name: str
    at: tuple[int, int]  # in the order of the run: events before it, and its place among calls
    source: Source | None
    call: Call | None = None


class Otherwise(NamedTuple):
    """An act that the runs do not share. `how` and the acts: None on the side that lacks it; `said`: what it does."""

    left: Act | None
    right: Act | None
    said: str
    source: Source | None  # on the right: of the act, or where it is missing


def _key(act: Act) -> tuple[str, str]:
    return act.kind, act.name if act.kind == kinds.IN_PLACE else ""


def acts_on(trace: Trace, value: Value, before: Call) -> list[Act]:
    """All that is done to a parameter or its gradient, up to a call that reads it."""
    acts = [
        Act(call.kind, call.name, (call.event, call.id), call.source, call)
        for call in trace.calls[: before.id]
        if touches(call, value)
    ]
    reached = {row.pass_id for row in trace.filled if row.value is value}
    for event in trace.events.of(PassBegun):
        if event.pass_.id in reached and event.index < before.event:
            acts.append(Act(PASS, "", (event.index, -1), event.source))
    return sorted(acts, key=lambda act: act.at)


def touches(call: Call, value: Value) -> bool:
    if call.kind == kinds.IN_PLACE:
        return value in call.outputs or value in call.aliases
    return call.kind in ON_GRADIENTS and value in call.leaves


def otherwise(runs: tuple[Trace, Trace], x: Value, y: Value, reads: tuple[Call, Call]) -> Otherwise | None:
    """The first act on a parameter (`x` on the left, `y` on the right) that is not the same in both runs, up to the
    calls that read it."""
    left, right = (acts_on(*each) for each in zip(runs, (x, y), reads))
    steps = [call for call in runs[1].calls[: reads[1].id] if call.kind == kinds.STEP]
    pairs = paired(*[[_key(act) for act in acts] for acts in (left, right)])
    lacks = [act for act in left if act.kind == kinds.STEP and not any(other.kind == kinds.STEP for other in right)]
    if lacks:
        later = [c for c in runs[1].calls[reads[1].id :] if c.kind == kinds.STEP and y in c.leaves]
        if later:
            return Otherwise(
                lacks[0], None, f"{said(lacks[0])} before that on the left, and after it on the right", later[0].source
            )
        return _not_moved(lacks[0], right, steps)
    i = j = 0
    for a, b in [*pairs, (len(left), len(right))]:
        if a > i and b > j:
            there = f"{said(right[j])} on the right, and {said(left[i])} on the left"
            return Otherwise(left[i], right[j], there, right[j].source)
        if a > i:
            return Otherwise(left[i], None, f"{said(left[i])} on the left only", _beside(right, j))
        if b > j:
            return Otherwise(None, right[j], f"{said(right[j])} on the right only", right[j].source)
        if a < len(left):
            how = _differ(left[a], right[b], x, y)
            if how:
                return Otherwise(left[a], right[b], how, right[b].source)
        i, j = a + 1, b + 1
    return None


def _not_moved(act: Act, right: list[Act], steps: Sequence[Call]) -> Otherwise:
    """By no optimizer on the right: one of the kind steps there, but not with this parameter; or none does."""
    alike = [call for call in steps if call.name == act.name]
    if alike:
        what = f"{act.name} moves on the left, while that of the right does not hold it"
        return Otherwise(act, None, what, alike[0].source)
    return Otherwise(act, None, f"{said(act)} on the left only", _beside(right, len(right)))


def _beside(acts: list[Act], place: int) -> Source | None:
    """The line of what stands there, or before."""
    near = acts[place : place + 1] or acts[-1:]
    return near[0].source if near else None


def said(act: Act) -> str:
    return {
        kinds.STEP: f"{act.name} moves",
        kinds.ZERO_GRAD: "loses its gradient",
        kinds.CLIP: "has its gradient clipped",
        kinds.GRAD_SET: "is given another gradient",
        kinds.UNSCALE: "has its gradient unscaled",
        PASS: "gets a gradient by one more pass",
    }.get(act.kind, f"{act.name.strip('_')} changes in place")


def stepped(a: Call, b: Call, x: Value | None = None, y: Value | None = None) -> str:
    """What two steps of one kind of optimizer are set to otherwise: for a parameter of each, or for any."""
    for one, other in zip(_settings(a, x), _settings(b, y)):
        for name, there in other.items():
            if name in one and one[name] != there:
                return f"{b.name} moves with {name}={there} instead of {one[name]}"
    return ""


def _settings(step: Call, parameter: Value | None) -> list[dict[str, str]]:
    """Of the group that has the parameter, or of all groups; see torch_bridge/settings.py for how they are written."""
    found, first = [], 0
    for group in filter(None, step.note.split("; ")):
        count, _, pairs = group.partition(": ")
        if not count.isdecimal():  # the note of a file that somebody else wrote
            return []
        last = first + int(count)
        if parameter is None or parameter in step.leaves[first:last]:
            found.append(dict(pair.split("=", 1) for pair in pairs.split(", ") if "=" in pair))
        first = last
    return found


def _differ(a: Act, b: Act, x: Value, y: Value) -> str:
    """In what the same act is another one; "" in nothing that is known."""
    if a.call is None or b.call is None:
        return ""
    if a.kind == kinds.STEP:
        return f"{b.name} moves, on the left {a.name}" if a.name != b.name else stepped(a.call, b.call, x, y)
    results = list(zip(a.call.outputs, b.call.outputs))
    if a.kind in (kinds.CLIP, kinds.GRAD_SET) and differs(results):
        return f"{said(b)} to another size" if a.kind == kinds.CLIP else f"{said(b)}, with other numbers,"
    if a.kind == kinds.IN_PLACE and (a.call.numbers != b.call.numbers or differs(results)):
        return f"{said(b)}, with other numbers,"
    return ""
