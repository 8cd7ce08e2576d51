"""A program on the tape and the same program in PyTorch, beside each other: which event of one goes with which."""

from __future__ import annotations

from collections.abc import Hashable

from ..comparison.align import woven
from ..comparison.pairing import paired
from ..trace.events import Accumulated, Entry, Event, Leaf, Visited
from ..trace.trace import Trace


def beside(left: Trace, right: Trace) -> list[tuple[int, int]]:
    """For each step of the two together, the event that each shows; -1 where it has shown none yet."""
    pairs = paired([_key(each) for each in left.events], [_key(each) for each in right.events])
    rows, shown = [], (-1, -1)
    for step in woven(pairs, len(left.events), len(right.events)):
        shown = tuple(before if now is None else now for now, before in zip(step, shown))
        rows.append(shown)
    return rows


def _key(event: Event) -> Hashable:
    """What the event is about, in words that both have: names of variables, and what an entry computes."""
    match event:
        case Leaf(value=value):
            return ("Leaf", value.name)
        case Visited(entry=entry, state=state):
            return ("Visited", event.pass_id, _operator(entry), state)
        case Accumulated(entry=entry, slot=slot):
            return ("Accumulated", event.pass_id, _operator(entry), slot)
    return (event.kind, event.pass_id, _operator(getattr(event, "entry", None)))


def _operator(entry: Entry | None) -> str:
    """`mul` of the tape's `mul_number` and of PyTorch's `Mul`."""
    return "" if entry is None else entry.operator.lower().removesuffix("_number")
