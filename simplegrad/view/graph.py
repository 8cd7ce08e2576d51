"""The structure that the picture shows: units (entries, collapsed groups, sources, holes) and what flows between them.

A unit is what takes a place in the layout: an entry with its outputs, a value that no entry made (a leaf, a seed, an
escaped temporary), a hole where a pass skipped an entry, or a group of entries collapsed into one. Built in one walk
of the trace; what is drawn is bounded by collapsing, whatever the length of the tape.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

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
    """`key` is stable between redraws: e12 an entry, v7 a source, h1-12 a hole, g40 a group (by its first entry).

    `lane`: 0 the forward part, p + 1 the pass p. `under`: the key of the unit whose propagate recorded it.
    `needs`: keys of the units whose values it reads.
    """

    key: str
    kind: str  # entry, aggregate, group, leaf, seed, read, hole
    lane: int
    symbol: str
    title: str
    under: str | None = None
    values: tuple[Value, ...] = ()
    entries: tuple[Entry, ...] = ()
    needs: list[str] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class Edge:
    """A value that a unit reads. `value` and `slot` are -1 where either end is a collapsed group."""

    source: str
    target: str
    value: int = -1
    entry: int = -1
    slot: int = -1


@dataclass
class TapeGraph:
    """`units` in the order of the tape, `edges` between them, `home`: entry id -> key of the unit that shows it."""

    units: dict[str, Unit] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    home: dict[int, str] = field(default_factory=dict)
    lanes: list[str] = field(default_factory=lambda: ["forward"])
    losses: dict[str, str] = field(default_factory=dict)  # key of a pass's seed -> key of the unit of its loss

    def networkx(self) -> nx.MultiDiGraph:
        """The same as a networkx graph: nodes by unit key, with `kind`, `lane`, `title`; edges with `value`."""
        graph = nx.MultiDiGraph()
        graph.add_nodes_from((u.key, {"kind": u.kind, "lane": u.lane, "title": u.title}) for u in self.units.values())
        graph.add_edges_from((e.source, e.target, {"value": e.value, "slot": e.slot}) for e in self.edges)
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
    collapsed = _collapsed(trace, opened, budget)
    builder = _Builder(graph, collapsed)
    for event in trace.events:
        builder.add(event)
    return graph


def _collapsed(trace: Trace, opened: Collection[str], budget: int) -> dict[int, Group]:
    """Entry id -> the collapsed group that it is in."""
    if node_count(trace) <= budget:
        return {}
    keep = set(list(opened)[-OPEN_GROUPS:])
    closed = (group for group in groups_of(trace) if group.key not in keep and len(group.entries) > 1)
    return {entry.id: group for group in closed for entry in group.entries}


class _Builder:
    def __init__(self, graph: TapeGraph, collapsed: dict[int, Group]):
        self.graph = graph
        self.collapsed = collapsed
        self.makers: dict[Value, str] = {}  # value -> key of the unit that it comes from
        self.visiting: dict[int, Entry] = {}  # index of a VisitBegun -> its entry
        self.drawn: set[tuple[str, str]] = set()

    def add(self, event) -> None:
        match event:
            case VisitBegun(entry=entry):
                self.visiting[event.index] = entry
            case Leaf(value=value):
                self.source(value, "leaf", _lane(event.pass_id), self.within(event.parent))
            case Read(value=value, entry=entry):
                self.source(value, "read", _lane(entry.pass_id), self.home(entry.made_by), reader=entry)
            case PassBegun(run=run) if run.seed is not None:
                self.source(run.seed, "seed", _lane(run.id), None)
                self.graph.losses[f"v{run.seed.id}"] = self.makers.get(run.loss)
            case Recorded(entry=entry):
                self.entry(entry)
            case Visited(entry=entry, state="skipped" | "pruned" as state):
                self.hole(entry, state, event.pass_id)

    def within(self, parent: int | None) -> str | None:
        entry = self.visiting.get(parent)
        return self.home(entry.id) if entry else None

    def home(self, entry_id: int | None) -> str | None:
        return self.graph.home.get(entry_id)

    def source(self, value: Value, kind: str, lane: int, under: str | None, reader: Entry | None = None) -> None:
        if value in self.makers or (reader is not None and reader.id in self.collapsed):
            return
        if self.collapsed and kind == "leaf" and lane:
            return  # the zeros that a long pass makes
        key = f"v{value.id}"
        self.graph.units[key] = Unit(key, kind, lane, "", value.name, under, (value,))
        self.makers[value] = key

    def entry(self, entry: Entry) -> None:
        group = self.collapsed.get(entry.id)
        unit = self.own_unit(entry) if group is None else self.group_unit(group, entry)
        self.graph.home[entry.id] = unit.key
        for slot, value in enumerate(entry.inputs):
            self.connect(unit, entry, slot, value, group is not None)
        for value in entry.outputs:
            self.makers[value] = unit.key

    def own_unit(self, entry: Entry) -> Unit:
        key = f"e{entry.id}"
        kind = "aggregate" if entry.aggregate else "entry"
        under = self.home(entry.made_by)
        unit = Unit(key, kind, _lane(entry.pass_id), symbol_of(entry), entry.statement, under, entry.outputs, (entry,))
        self.graph.units[key] = unit
        return unit

    def group_unit(self, group: Group, entry: Entry) -> Unit:
        unit = self.graph.units.get(group.key)
        if unit is None:
            under = self.home(entry.made_by)
            title = f"{len(group.entries)} entries: {group.title}"
            lane, entries = _lane(entry.pass_id), tuple(group.entries)
            unit = Unit(group.key, "group", lane, str(len(entries)), title, under, (), entries)
            self.graph.units[group.key] = unit
        return unit

    def connect(self, unit: Unit, entry: Entry, slot: int, value: Value, in_group: bool) -> None:
        maker = self.makers.get(value)
        if maker is None:  # made before the recording began, or by what is not drawn
            if in_group:
                return
            self.source(value, "leaf", unit.lane, unit.under)
            maker = self.makers.get(value)
        if maker is None or maker == unit.key:
            return
        grouped = in_group or self.graph.units[maker].kind == "group"
        if grouped and (maker, unit.key) in self.drawn:
            return
        self.drawn.add((maker, unit.key))
        unit.needs.append(maker)
        ids = (-1, -1, -1) if grouped else (value.id, entry.id, slot)
        self.graph.edges.append(Edge(maker, unit.key, *ids))

    def hole(self, entry: Entry, state: str, pass_id: int) -> None:
        if entry.id in self.collapsed or entry.id not in self.graph.home:
            return
        key = f"h{pass_id}-{entry.id}"
        title = f"{state} in this pass: {entry.statement}"
        self.graph.units[key] = Unit(key, "hole", _lane(pass_id), "", title, self.home(entry.id), (), (entry,))


def _lane(pass_id: int | None) -> int:
    return 0 if pass_id is None else pass_id + 1
