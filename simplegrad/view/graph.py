"""The structure that the picture shows: units (entries, collapsed groups, sources, holes) and what flows between them.

A unit is what takes a place in the layout: an entry with its outputs, a value that no entry made (a leaf, a seed, an
escaped temporary), a hole where a pass skipped an entry, or a group of entries collapsed into one. Built in one walk
of the trace; what is drawn is bounded by collapsing, whatever the length of the tape.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import networkx as nx

from ..trace.events import Entry, Leaf, PassBegun, Read, Recorded, Value, VisitBegun, Visited
from ..trace.trace import Trace

NODE_BUDGET = 3000  # squares, circles and holes in the page at once
GROUP_LENGTH = 250  # entries that a collapsed group holds at most, unless there are too many groups
GROUP_COUNT = 600
OPEN_GROUPS = 4  # opened at once; the one opened first closes again

SYMBOLS = {
    "add": "+", "add_number": "+", "sub": "−", "sub_number": "−", "number_sub": "−", "mul": "×", "mul_number": "×",
    "div": "÷", "div_number": "÷", "number_div": "÷", "pow": "^", "pow_number": "^", "number_pow": "^", "neg": "−x",
    "sum": "Σ", "mean": "mean", "expand": "⇔", "sum_to_size": "Σ↓", "matmul": "@", "sqrt": "√", "sigmoid": "σ",
    "sigmoid_backward": "σ′", "tanh_backward": "tanh′", "softmax": "smax", "logsumexp": "lse", "transpose": "T",
    "permute": "perm", "reshape": "rsh", "index": "[ ]", "put": "[ ]=", "maximum": "max", "minimum": "min",
    "relu_backward": "relu′", "softmax_backward": "smax′",
    "where": "?:", "where_left": "?:", "where_right": "?:", "masked": "mask", "scaled": "×w", "stack": "stk",
}  # fmt: skip


@dataclass(slots=True)
class Unit:
    """`number`: its place in `graph.units`; units refer to each other by it.

    `lane`: 0 the forward part, p + 1 the pass p. `under`: the unit whose propagate recorded it. `needs`: the units
    whose values it reads. `said`: of a group, which one it is; of a hole, "skipped" or "pruned".
    """

    number: int
    kind: str  # entry, aggregate, group, leaf, seed, read, hole
    lane: int
    under: int | None
    values: tuple[Value, ...] = ()
    entries: tuple[Entry, ...] = ()
    said: str = ""
    needs: list[int] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Stable between redraws: e12 an entry, v7 a source, h1-12 a hole, g40 a group (by its first entry)."""
        if not self.entries:
            return f"v{self.values[0].id}"
        first = self.entries[0].id
        return {"group": f"g{first}", "hole": f"h{self.lane - 1}-{first}"}.get(self.kind, f"e{first}")

    @property
    def symbol(self) -> str:
        if self.kind == "group":
            return str(len(self.entries))
        return symbol_of(self.entries[0]) if self.kind in ("entry", "aggregate") else ""

    @property
    def title(self) -> str:
        match self.kind:
            case "group":
                return f"{len(self.entries)} entries: {self.said}"
            case "hole":
                return f"{self.said} in this pass: {self.entries[0].statement}"
        return self.entries[0].statement if self.entries else self.values[0].name


class Edge(NamedTuple):
    """A value that a unit reads; both by number. `value` and `slot` are -1 where either end is a collapsed group."""

    source: int
    target: int
    value: int = -1
    entry: int = -1
    slot: int = -1


@dataclass
class TapeGraph:
    """`units` in the order of the tape, `edges` between them, `home`: entry id -> number of the unit that shows it.

    Numbers and lists instead of keys and dicts: what is near on the tape is then near in memory too, and a long tape
    costs no more for an entry than a short one, although no cache holds it.
    """

    units: list[Unit] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    home: dict[int, int] = field(default_factory=dict)
    lanes: list[str] = field(default_factory=lambda: ["forward"])
    losses: dict[int, int | None] = field(default_factory=dict)  # seed of a pass -> the unit of its loss

    def home_of(self, entry: Entry) -> Unit | None:
        """The unit that shows an entry."""
        number = self.home.get(entry.id)
        return None if number is None else self.units[number]

    def networkx(self) -> nx.MultiDiGraph:
        """The same as a networkx graph: nodes by unit key, with `kind`, `lane`, `title`; edges with `value`."""
        graph = nx.MultiDiGraph()
        keys = [unit.key for unit in self.units]
        graph.add_nodes_from((u.key, {"kind": u.kind, "lane": u.lane, "title": u.title}) for u in self.units)
        graph.add_edges_from((keys[e.source], keys[e.target], {"value": e.value, "slot": e.slot}) for e in self.edges)
        return graph


@dataclass(slots=True)
class Group:
    """Consecutive entries of one pass (and program line, module or source line, where the tape is not too long)."""

    key: str
    title: str
    entries: list[Entry]


def symbol_of(entry: Entry) -> str:
    if entry.aggregate:
        return "f"
    name = entry.operator
    return SYMBOLS.get(name) or name.removesuffix("0").removesuffix("Backward")[:5] or "·"


def groups_of(trace: Trace) -> list[Group]:
    """The groups that a long tape collapses into, in the order of the tape."""
    runs = _runs(trace.entries, lambda entry: (entry.pass_id, entry.group, entry.line), GROUP_LENGTH)
    if len(runs) > GROUP_COUNT:
        length = max(GROUP_LENGTH, len(trace.entries) // (GROUP_COUNT // 2))
        runs = _runs(trace.entries, lambda entry: entry.pass_id, length)
    titles = {run.id: run.title for run in trace.passes}
    return [Group(f"g{run[0].id}", _group_title(run, titles), run) for run in runs]


def _runs(entries: Iterable[Entry], key, length: int) -> list[list[Entry]]:
    runs: list[list[Entry]] = []
    last = object()
    for entry in entries:
        now = key(entry)
        if now != last or len(runs[-1]) >= length:
            runs.append([])
        runs[-1].append(entry)
        last = now
    return runs


def _group_title(run: list[Entry], titles: dict[int, str]) -> str:
    first = run[0]
    where = first.group or (f"line {first.line}" if first.line else "")
    lane = titles.get(first.pass_id, "forward")
    span = f"entries {first.id} to {run[-1].id}" if len(run) > 1 else f"entry {first.id}"
    return ", ".join(part for part in (span, where, lane) if part)


def node_count(trace: Trace) -> int:
    """How many nodes the whole tape would draw."""
    holes = sum(1 for event in trace.events if isinstance(event, Visited) and event.state in ("skipped", "pruned"))
    return len(trace.entries) + len(trace.values) + holes


def build(trace: Trace, opened: Collection[str] = (), budget: int = NODE_BUDGET) -> TapeGraph:
    """The graph of a trace. A tape over the budget is collapsed into groups, but for those `opened` (by key)."""
    graph = TapeGraph(lanes=["forward", *(run.title for run in trace.passes)])
    builder = _Builder(graph, trace, _collapsed(trace, opened, budget))
    for event in trace.events:
        tell = builder.tellers.get(type(event))
        if tell is not None:
            tell(event)
    return graph


def _collapsed(trace: Trace, opened: Collection[str], budget: int) -> dict[int, Group]:
    """Entry id -> the collapsed group that it is in."""
    if node_count(trace) <= budget:
        return {}
    keep = set(list(opened)[-OPEN_GROUPS:])
    closed = (group for group in groups_of(trace) if group.key not in keep and len(group.entries) > 1)
    return {entry.id: group for group in closed for entry in group.entries}


class _Builder:
    def __init__(self, graph: TapeGraph, trace: Trace, collapsed: dict[int, Group]):
        self.graph = graph
        self.events = trace.events
        self.collapsed = collapsed
        self.makers: dict[int, int] = {}  # value id -> the unit that it comes from
        self.groups: dict[str, Unit] = {}  # key -> a collapsed group that has been begun
        self.drawn: set[tuple[int, int]] = set()  # edges from and to collapsed groups
        self.tellers = {
            Leaf: self.leaf,
            Read: self.read,
            PassBegun: self.pass_begun,
            Recorded: self.recorded,
            Visited: self.visited,
        }

    # --- one for each kind of event that shows ---------------------------------------------------------------------

    def leaf(self, event: Leaf) -> None:
        if self.collapsed and event.pass_id is not None:
            return  # the zeros that a long pass makes
        visit = None if event.parent is None else self.events[event.parent]
        under = self.graph.home.get(visit.entry.id) if isinstance(visit, VisitBegun) else None
        self.source(event.value, "leaf", _lane(event.pass_id), under)

    def read(self, event: Read) -> None:
        if event.entry.id not in self.collapsed:
            lane, under = _lane(event.entry.pass_id), self.graph.home.get(event.entry.made_by)
            self.source(event.value, "read", lane, under)

    def pass_begun(self, event: PassBegun) -> None:
        run = event.run
        if run.seed is not None:
            seed = self.source(run.seed, "seed", _lane(run.id), None)
            self.graph.losses[seed] = self.makers.get(run.loss.id)

    def recorded(self, event: Recorded) -> None:
        entry = event.entry
        group = self.collapsed.get(entry.id)
        unit = self.own_unit(entry) if group is None else self.group_unit(group, entry)
        self.graph.home[entry.id] = unit.number
        for slot, value in enumerate(entry.inputs):
            self.connect(unit, entry, slot, value, group is not None)
        for value in entry.outputs:
            self.makers[value.id] = unit.number

    def visited(self, event: Visited) -> None:
        entry = event.entry
        if event.state in ("skipped", "pruned") and entry.id in self.graph.home and entry.id not in self.collapsed:
            self.add("hole", _lane(event.pass_id), self.graph.home[entry.id], (), (entry,), event.state)

    # --- units and edges -------------------------------------------------------------------------------------------

    def add(self, *fields) -> Unit:
        unit = Unit(len(self.graph.units), *fields)
        self.graph.units.append(unit)
        return unit

    def source(self, value: Value, kind: str, lane: int, under: int | None) -> int:
        """The unit that a value comes from; a new one, if nothing made it."""
        if value.id not in self.makers:
            self.makers[value.id] = self.add(kind, lane, under, (value,)).number
        return self.makers[value.id]

    def own_unit(self, entry: Entry) -> Unit:
        kind = "aggregate" if entry.aggregate else "entry"
        under = self.graph.home.get(entry.made_by)
        return self.add(kind, _lane(entry.pass_id), under, entry.outputs, (entry,))

    def group_unit(self, group: Group, entry: Entry) -> Unit:
        unit = self.groups.get(group.key)
        if unit is None:
            under = self.graph.home.get(entry.made_by)
            unit = self.add("group", _lane(entry.pass_id), under, (), tuple(group.entries), group.title)
            self.groups[group.key] = unit
        return unit

    def connect(self, unit: Unit, entry: Entry, slot: int, value: Value, in_group: bool) -> None:
        maker = self.makers.get(value.id)
        if maker is None:  # made before the recording began, or by what is not drawn
            if in_group or (self.collapsed and unit.lane):
                return
            maker = self.source(value, "leaf", unit.lane, unit.under)
        if maker == unit.number:
            return
        grouped = in_group or (self.groups and self.graph.units[maker].kind == "group")
        if grouped:
            if (maker, unit.number) in self.drawn:
                return
            self.drawn.add((maker, unit.number))
        unit.needs.append(maker)
        ids = (-1, -1, -1) if grouped else (value.id, entry.id, slot)
        self.graph.edges.append(Edge(maker, unit.number, *ids))


def _lane(pass_id: int | None) -> int:
    return 0 if pass_id is None else pass_id + 1
