"""Which entries a picture shows as one: closed boxes of modules, and groups where what is left is too long."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from ..trace.events import Entry, Visited
from ..trace.trace import Trace
from .boxes import Box, boxes_of, closed_boxes
from .groups import Group, groups_of

OPEN_GROUPS = 4  # opened at once; the one opened first closes again
NODES = 3  # of an entry that is drawn: itself, what it makes, and what it alone reads


@dataclass(slots=True)
class Collapsed:
    """`groups`: entry -> the collapsed group that it is in. `around`: entry -> the innermost open box around it, or
    around that group."""

    groups: dict[Entry, Group] = field(default_factory=dict)
    around: dict[Entry, Box] = field(default_factory=dict)

    def close(self, group: Group) -> None:
        self.groups |= dict.fromkeys(group.entries, group)


def node_count(trace: Trace) -> int:
    """How many nodes the whole tape would draw."""
    holes = sum(1 for event in trace.events if isinstance(event, Visited) and event.state in ("skipped", "pruned"))
    return len(trace.entries) + len(trace.values) + holes


def collapsed(trace: Trace, entries: list[Entry], opened: Collection[str], budget: int) -> Collapsed:
    """`opened`: keys of groups that are open all the same, and of boxes that a person has opened or closed."""
    result, outermost = Collapsed(), boxes_of(trace, entries)
    closed = list(closed_boxes(outermost, opened, len(entries)))
    if len(closed) > budget // NODES:  # of a long training loop, or a module that runs for each word
        outermost, closed = [], []
    for box in closed:
        result.close(Group(box.key, box.title, entries[box.begin : box.end], box))
    _put_around(result, outermost, entries)
    rest = [entry for entry in entries if entry not in result.groups] if closed else entries
    count = NODES * len(rest) if closed else node_count(trace)
    if count > budget:
        _close_groups(result, trace, rest, opened)
    return result


def _put_around(result: Collapsed, boxes: list[Box], entries: list[Entry]) -> None:
    todo = list(boxes)
    while todo:
        box = todo.pop()
        first = result.groups.get(entries[box.begin])
        if box.count > 1 and (first is None or first.box is None or first.box.depth > box.depth):  # an open one
            result.around |= dict.fromkeys(entries[box.begin : box.end], box)
            todo += box.inner  # they are put over it


def _close_groups(result: Collapsed, trace: Trace, rest: list[Entry], opened: Collection[str]) -> None:
    keep = set(list(opened)[-OPEN_GROUPS:])
    for part in _consecutive(rest):
        for group in groups_of(part, trace.passes):
            if group.key not in keep and len(group.entries) > 1:
                result.close(group)


def _consecutive(entries: list[Entry]) -> Iterator[list[Entry]]:
    """What closed boxes lie between comes apart."""
    begin = 0
    for place in range(1, len(entries) + 1):
        if place == len(entries) or entries[place].id != entries[place - 1].id + 1:
            yield entries[begin:place]
            begin = place
