"""The part of a trace's graph that a picture has room for: units, and what flows between them.

A unit is what takes a place: an entry with its outputs, a value that no entry made (a leaf, a seed, an escaped
temporary), a hole where a pass skipped an entry, or a group of entries collapsed into one. Made in one walk over the
nodes of the trace's graph; what is drawn is bounded by collapsing, whatever the length of the tape.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import networkx as nx

from ..trace.calls import Call
from ..trace.events import Entry, Value, Visited
from ..trace.trace import Trace
from .boxes import Box
from .collapsed import Collapsed, collapsed
from .groups import Group
from .whole import TraceGraph, graph_of

NODE_BUDGET = 3000  # squares, circles and holes in the page at once


@dataclass(slots=True, eq=False)
class Unit:
    """`number`: its place in the picture.

    `lane`: 0 the forward part, p + 1 the pass p. `under`: the number of the unit whose propagate recorded it. `said`:
    of a group, which one it is; of a hole, "skipped" or "pruned". `box`: the module that a group is, closed; None for
    entries that only follow each other. `within`: the innermost open box around it.
    """

    number: int
    kind: str  # entry, aggregate, group, leaf, seed, read, hole
    lane: int
    under: int | None
    values: tuple[Value, ...] = ()
    entries: tuple[Entry, ...] = ()
    said: str = ""
    box: Box | None = None
    within: Box | None = None

    @property
    def key(self) -> str:
        """Stable between redraws: e12 an entry, v7 a source, h1-12 a hole, g40 a group and m40-1 a module (by its
        first entry)."""
        if self.box is not None:
            return self.box.key
        if not self.entries:
            return f"v{self.values[0].id}"
        first = self.entries[0].id
        return {"group": f"g{first}", "hole": f"h{self.lane - 1}-{first}"}.get(self.kind, f"e{first}")

    @property
    def title(self) -> str:
        match self.kind:
            case "group":
                if self.box is not None:
                    return f"module {self.box.path}: {len(self.entries)} entries"
                return f"{len(self.entries)} entries: {self.said}"
            case "hole":
                return f"{self.said} in this pass: {self.entries[0].statement}"
        return self.entries[0].statement if self.entries else self.values[0].name


@dataclass(slots=True, eq=False)
class Frame:
    """An open box: the module, its lane, and the numbers of the units that stand in it, those of boxes inside too."""

    box: Box
    lane: int
    units: list[int]


class Picture(nx.MultiDiGraph):
    """Units as nodes, in the order of the run, and an edge for each value that one reads of another: its key is (value,
    entry, slot) by their ids, or None where either end is a collapsed group.

    `lanes`: their titles. `home`: entry -> the unit that shows it. `losses`: number of a seed -> that
    of the unit that its loss stands in. `frames`: the open boxes of modules, outer ones first.
    """

    def __init__(self, incoming_graph_data=None, **attributes):
        self.units: list[Unit] = []
        self.lanes: list[str] = []
        self.home: dict[Entry, Unit] = {}
        self.losses: dict[int, int | None] = {}
        self.frames: list[Frame] = []
        super().__init__(incoming_graph_data, **attributes)

    def add(self, *fields) -> Unit:
        unit = Unit(len(self.units), *fields)
        self.units.append(unit)
        self.add_node(unit)
        return unit

    def home_of(self, entry: Entry | None) -> int | None:
        """The number of the unit that shows an entry."""
        unit = self.home.get(entry)
        return None if unit is None else unit.number

    @property
    def groups(self) -> list[Unit]:
        return [unit for unit in self if unit.kind == "group"]


def picture(trace: Trace, opened: Collection[str] = (), budget: int = NODE_BUDGET) -> Picture:
    """What is drawn of a trace. A tape over the budget is collapsed into groups, but for those `opened` (by key). A run
    of PyTorch is drawn by its modules, as many of them open as there is room for; keys of `opened` are then those of
    which a person has changed that."""
    graph = graph_of(trace)
    drawn = Picture()
    drawn.lanes = ["forward", *(run.title for run in trace.passes)]
    builder = _Builder(drawn, graph, collapsed(trace, graph.entries, opened, budget))
    for node, facts in graph.nodes(data=True):
        builder.draw(node, facts)
    drawn.frames = _frames(drawn)
    return drawn


def _frames(drawn: Picture) -> list[Frame]:
    found: dict[Box, Frame] = {}
    for unit in drawn.units:
        box = unit.within
        while box is not None:
            if box not in found:
                found[box] = Frame(box, unit.lane, [])
            if unit.lane == found[box].lane:
                found[box].units.append(unit.number)
            box = box.outer
    return sorted(found.values(), key=lambda frame: (frame.box.begin, frame.box.depth))


class _Builder:
    def __init__(self, drawn: Picture, graph: TraceGraph, closed: Collapsed):
        self.drawn = drawn
        self.graph = graph
        self.collapsed, self.around = closed.groups, closed.around
        self.by_id = {entry.id: entry for entry in graph.entries}
        self.makers: dict[Value, Unit] = {}  # the unit that a value comes from
        self.groups: dict[str, Unit] = {}  # key -> a collapsed group that has been begun

    def draw(self, node: Entry | Value | Visited | Call, facts: dict) -> None:
        if facts:
            self.draw_source(node, **facts)
        elif type(node) is Entry:
            self.draw_entry(node)
        elif type(node) is Visited:
            self.draw_hole(node)

    def draw_source(self, value: Value, kind: str, pass_id: int | None, by: Entry | None) -> None:
        """What a collapsed group alone reads is not drawn, nor are the zeros that a long pass makes."""
        if kind == "seed":
            unit = self.source(value, kind, _lane(pass_id), None)
            self.drawn.losses[unit.number] = self.drawn.home_of(by)
            return
        if by in self.collapsed or (self.collapsed and kind == "leaf" and pass_id is not None):
            return
        if kind == "leaf" and self.is_inside(value):
            return
        reads = self.graph.has_edge(value, by)  # then it stands where its reader does; else where it was made
        under = self.under(by) if reads else self.drawn.home_of(by)
        self.source(value, kind, _lane(pass_id), under, self.around.get(by) if reads else self.box_of(value))

    def box_of(self, value: Value) -> Box | None:
        """The innermost open box whose parameter it is."""
        readers = self.graph.readers(value) if self.around else ()
        box = self.around.get(readers[0]) if readers else None
        while box is not None and not value.name.startswith(f"{box.path}."):
            box = box.outer
        return box

    def is_inside(self, value: Value) -> bool:
        """Whether it is a parameter of a closed box, or of one in it, and read there alone."""
        groups = {self.collapsed.get(entry) for entry in self.graph.readers(value)} if self.collapsed else set()
        (group,) = groups if len(groups) == 1 else (None,)
        return group is not None and group.box is not None and value.name.startswith(f"{group.box.path}.")

    def draw_entry(self, entry: Entry) -> None:
        group = self.collapsed.get(entry)
        unit = self.own_unit(entry) if group is None else self.group_unit(group, entry)
        self.drawn.home[entry] = unit
        makers = self.makers
        for slot, value in enumerate(entry.inputs):
            if makers.get(value) is not unit:  # within a group nothing is drawn
                self.connect(unit, entry, slot, value)
        for value in entry.outputs:
            makers[value] = unit

    def draw_hole(self, visited: Visited) -> None:
        entry = visited.entry
        if entry in self.drawn.home and entry not in self.collapsed:
            self.drawn.add("hole", _lane(visited.pass_id), self.drawn.home_of(entry), (), (entry,), visited.state)

    # -- units and edges -----------------------------------------------------------------------------------------------

    def under(self, entry: Entry) -> int | None:
        """The unit of the entry whose propagate recorded this one."""
        return self.drawn.home_of(self.by_id.get(entry.made_by))

    def source(self, value: Value, kind: str, lane: int, under: int | None, within: Box | None = None) -> Unit:
        """The unit that a value comes from; a new one, if nothing made it."""
        if value not in self.makers:
            self.makers[value] = self.drawn.add(kind, lane, under, (value,), (), "", None, within)
        return self.makers[value]

    def own_unit(self, entry: Entry) -> Unit:
        kind = "aggregate" if entry.aggregate else "entry"
        lane, within = _lane(entry.pass_id), self.around.get(entry)
        return self.drawn.add(kind, lane, self.under(entry), entry.outputs, (entry,), "", None, within)

    def group_unit(self, group: Group, entry: Entry) -> Unit:
        unit = self.groups.get(group.key)
        if unit is None:
            lane, within = _lane(entry.pass_id), self.around.get(entry)
            fields = ("group", lane, self.under(entry), (), tuple(group.entries), group.title, group.box, within)
            unit = self.groups[group.key] = self.drawn.add(*fields)
        return unit

    def connect(self, unit: Unit, entry: Entry, slot: int, value: Value) -> None:
        maker = self.makers.get(value)
        if maker is None:
            if unit.kind == "group" or (self.collapsed and unit.lane):
                return
            maker = self.source(value, "leaf", unit.lane, unit.under, unit.within)
        if "group" not in (maker.kind, unit.kind):
            self.drawn.add_edge(maker, unit, (value.id, entry.id, slot))
        elif not self.drawn.has_edge(maker, unit):
            self.drawn.add_edge(maker, unit, None)


def _lane(pass_id: int | None) -> int:
    return 0 if pass_id is None else pass_id + 1
