"""Boxes of modules: the entries of a PyTorch run by the modules whose forward they ran in, each within the one around.

A box is one call of a module: entries that follow each other, in one pass. A list of modules, which has no forward, is
none: its items are called `blocks.0`, `blocks.1` in the box around it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from ..trace import calls as kinds
from ..trace.events import Entry
from ..trace.trace import Trace
from .whole import graph_of

ALL_OPEN, ALL_CLOSED = "*", "-"  # among the keys of what is toggled: where all boxes begin
ROOM = 30  # units that the first picture opens boxes for: so many stand beside each other in a window
WORST = ("nan", "none", "zero", "huge", "tiny")  # states of a gradient that is not an ordinary one, gravest first


@dataclass(slots=True, eq=False)
class Box:
    """`path`: of the module, as in named_modules(). `title`: the same, seen from the box around, `outer`. `depth`: 0
    for the outermost. `count`: entries in it. `worst`: the gravest state (of WORST) of a gradient below, or ""."""

    key: str
    path: str
    title: str
    depth: int
    outer: Box | None
    begin: int  # its entries in the list of all
    end: int
    worst: str = ""
    inner: list[Box] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.end - self.begin

    @property
    def own(self) -> int:
        """Entries that are in none of the boxes inside."""
        return self.count - sum(box.count for box in self.inner)


def boxes_of(trace: Trace, entries: list[Entry]) -> list[Box]:
    """The outermost boxes of a run of PyTorch, in order. None where no module ran."""
    if trace.kind != "torch":
        return []
    names, worst = _boxed(trace, entries), _worst_below(trace)
    outermost: list[Box] = []
    around: list[Box] = []  # the boxes that the entry before stands in
    last_pass = None
    for place, entry in enumerate(entries):
        chain = names[entry.group]
        same = 0
        if entry.pass_id == last_pass:
            while same < min(len(around), len(chain)) and around[same].path == chain[same]:
                same += 1
        del around[same:]
        for path in chain[same:]:
            outer = around[-1] if around else None
            title = path.removeprefix(f"{outer.path}.") if outer is not None else path
            depth = len(around)
            box = Box(f"m{entry.id}-{depth}", path, title, depth, outer, place, place, worst.get(path, ""))
            (outermost if outer is None else outer.inner).append(box)
            around.append(box)
        is_nan = any(value.nonfinite == "nan" for value in entry.outputs)
        for box in around:
            box.end = place + 1
            if is_nan:
                box.worst = "nan"
        last_pass = entry.pass_id
    return outermost


def _boxed(trace: Trace, entries: list[Entry]) -> dict[str, tuple[str, ...]]:
    """Module path of an entry -> the paths of the boxes around it, outermost first."""
    groups = {entry.group for entry in entries}
    ran = {call.module for call in trace.calls if call.kind == kinds.MODULE} | groups
    if not trace.calls:  # without numbers, modules are not noted: those with names of their own are taken for some
        ran |= {path for group in groups for path in _around(group) if not _is_a_list(path, groups)}
    return {group: tuple(path for path in _around(group) if path in ran) for group in groups}


def _around(path: str) -> list[str]:
    """`a`, `a.b` and `a.b.c` of `a.b.c`; nothing of "", the model itself."""
    names = path.split(".") if path else []
    return [".".join(names[: k + 1]) for k in range(len(names))]


def _is_a_list(path: str, groups: set[str]) -> bool:
    below = {group[len(path) + 1 :].split(".")[0] for group in groups if group.startswith(f"{path}.")}
    return path not in groups and all(name.isdigit() for name in below)


def _worst_below(trace: Trace) -> dict[str, str]:
    """Path of a module -> the gravest state of the gradients of its parameters, and of those below it."""
    found: dict[str, str] = {}
    for held in trace.held:
        if held.kind == "parameter" and held.requires_grad and held.grad in WORST:
            for path in _around(held.path)[:-1]:
                found[path] = min(found.get(path, WORST[-1]), held.grad, key=WORST.index)
    return found


def boxes_around(trace: Trace, entry: Entry) -> list[Box]:
    """The boxes that an entry stands in, outermost first; of any lane."""
    entries = graph_of(trace).entries
    found: list[Box] = []
    inner = boxes_of(trace, entries)
    while inner:
        place = bisect_right(inner, entry.id, key=lambda box: entries[box.begin].id) - 1
        if place < 0 or entry.id > entries[inner[place].end - 1].id:
            break
        found.append(inner[place])
        inner = inner[place].inner
    return found


def closed_boxes(outermost: list[Box], toggled: Collection[str], entries: int) -> Iterator[Box]:
    """Those that the picture shows as one unit. At first boxes open level by level as long as there is room; with "*"
    in `toggled` all are open, with "-" none; a person has since opened or closed those whose keys are in `toggled`. A
    box of one entry is that entry."""
    levels = math.inf if ALL_OPEN in toggled else 0 if ALL_CLOSED in toggled else _levels_open(outermost, entries)
    todo = list(outermost)
    while todo:
        box = todo.pop()
        if box.count == 1:
            continue
        if (box.depth < levels) != (box.key in toggled):
            todo += box.inner
        else:
            yield box


def _levels_open(outermost: list[Box], entries: int) -> int:
    """How many levels of boxes the first picture opens."""
    level, depth = outermost, 0
    shown = entries - sum(box.count for box in level) + len(level)
    while level:
        shown += sum(box.own + len(box.inner) - 1 for box in level)
        if shown > ROOM:
            break
        depth += 1
        level = [inner for box in level for inner in box.inner]
    return depth
