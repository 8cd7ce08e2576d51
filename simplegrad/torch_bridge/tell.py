"""From what `record_torch` logged to events: the same ones that the tape engine's recorder tells."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from simplegrad.torch_bridge import source as source_text
from simplegrad.torch_bridge.operations import settled, sizes
from simplegrad.torch_bridge.rows import Gradient, Kept, Node, Place, Recorder, visit_of
from simplegrad.torch_bridge.tell_calls import CallTeller
from simplegrad.torch_bridge.where import innermost, line, module_path
from simplegrad.torch_private import function_name
from simplegrad.trace import Trace
from simplegrad.trace.calls import Filled
from simplegrad.trace.events import (
    Accumulated,
    Entry,
    Event,
    Failed,
    Leaf,
    LimitReached,
    Pass,
    PassBegun,
    PassEnded,
    PassFailed,
    Recorded,
    Table,
    Value,
    VisitBegun,
    Visited,
)

# Rows that make calls, and go on where the graph is full.
_BESIDE = {"call", "module", "optimizer", "inference", "attribute", "held", "mode", "no_sync", "pass_mark", "compiled"}
_BESIDE |= {"collective", "share"}
_UNTOLD = "Part of what was noted could not be told"
UNSEEN_SUM = "a sum inside the engine, not seen"


@dataclass
class Running:
    """A pass that has begun and not ended."""

    pass_: Pass
    index: int  # of its PassBegun
    roots: list[Place]
    ahead: Ahead
    table: dict[Value, Value] = field(default_factory=dict)
    came: dict[Place, int] = field(default_factory=dict)  # how many contributions came so far
    visited: set[int] = field(default_factory=set)
    visit: int | None = None  # index of the VisitBegun that is open
    entry: Entry | None = None  # the one visited last

    @property
    def parent(self) -> int:
        return self.index if self.visit is None else self.visit


@dataclass
class Ahead:
    """What a pass will turn out to have done, read from the log before it is told."""

    contributions: dict[Place, int] = field(default_factory=dict)
    final: dict[Place, Gradient] = field(default_factory=dict)  # the sums that nodes were given in the end
    results: list[Any] = field(default_factory=list)


class Teller:
    """Makes events of the recorder's log, when they are asked for."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.values: dict[Place, Value] = {}
        self.entries: dict[int, Entry] = {}
        self.passes: list[Running] = []
        self.taken: set[str] = set()
        self.made: list[int] = []  # nodes that passes made and that are not told yet, by sequence number, last first
        self.sums: set[int] = set()  # those that the engine made to add contributions
        self.done = False
        self.by_sequence: dict[int, int] = {}  # sequence number -> node
        self.by_sequence_of: list[int] = []  # nodes that stand in there
        self.calls = CallTeller(self)
        self.flaws: dict[tuple, str] = {}  # (sequence number, name, output) of a node -> "nan" or "inf"
        self.aside: list[tuple] = []  # rows of what is not finite and belongs to no node, to be told in order

    def has_more(self) -> bool:
        return bool(self.recorder.log) or self.calls.has_news()

    def build(self, trace: Trace) -> None:
        """Events for all that was logged since the last time."""
        self.trace = trace
        careful, self.ahead = self.recorder.careful, []
        if not self.recorder.is_over:
            with careful(_UNTOLD):
                self.recorder.name_leaves()
        log = self.recorder.log[:]
        del self.recorder.log[: len(log)]  # the run may go on meanwhile, in its own thread
        with careful(_UNTOLD):
            self.ahead = self._look_ahead(log)
        log.reverse()
        while log:  # what is told is let go of
            row = log.pop()
            if row and (not self.done or row[0] in _BESIDE):
                try:
                    row = visit_of(row) if row[0] == "visited" else row
                    getattr(self, row[0])(*row[1:])
                except Exception as error:
                    self.recorder.trouble(_UNTOLD, error)
        with careful(_UNTOLD):
            if not self.done:
                self._tell_aside()
            self.calls.finish()

    # -- reading ahead -------------------------------------------------------------------------------------------

    def _look_ahead(self, log: list[tuple]) -> list[Ahead]:
        """One Ahead for each pass in the order in which they begin; also which nodes the passes made."""
        found, open_, outgoing, incoming = [], [running.ahead for running in self.passes], set(), set()
        for kind, *row in filter(None, log):
            if kind == "begun":
                found.append(Ahead())
                open_.append(found[-1])
                open_[-1].targets = row[3]
                for place in row[1]:
                    if place is not None:
                        open_[-1].contributions[place] = 1
            elif kind == "visited" and open_:
                self._read_visit(open_[-1], visit_of((kind, *row)), incoming, outgoing)
            elif kind == "pass_failed" and open_:
                open_.pop()
            elif kind == "ended" and open_:
                ahead = open_.pop()
                ahead.results = row[0]
                ahead.final.update({p: g for p, g in zip(ahead.targets, row[0], strict=False) if p and g})
                incoming |= {self.recorder.known.get(g[0]) for g in row[0] if g is not None}
            elif kind == "made_nodes":
                self.made += [i for i in range(*row) if self.nodes[i].leaf is None]
        self.made.sort(key=lambda i: -self.nodes[i].sequence)
        self.sums = self._sums(incoming - outgoing - {None}, outgoing)
        return found[::-1]

    def _read_visit(self, ahead: Ahead, row: tuple, incoming: set, outgoing: set) -> None:
        _, index, came, went, _ = row
        if not self.nodes[index].shapes:
            self.nodes[index].shapes = tuple(() if g is None else tuple(g[2]) for g in came)
        for output, gradient in enumerate(came):
            if gradient is not None:
                ahead.final[(index, output)] = gradient
                incoming.add(self.recorder.known.get(gradient[0]))
        for edge, gradient in zip(self.edges(index), went, strict=False):
            if gradient is not None:
                outgoing.add(self.recorder.known.get(gradient[0]))
                if edge is not None:
                    ahead.contributions[edge] = ahead.contributions.get(edge, 0) + 1

    def _sums(self, final: set[int], outgoing: set[int]) -> set[int]:
        """The engine's own additions: those that gave a node its gradient, and the partial sums before them."""
        found, todo, made = set(), list(final), set(self.made)
        while todo:
            index = todo.pop()
            if index in made and index not in outgoing and self.nodes[index].name.startswith("Add"):
                found.add(index)
                todo += [edge[0] for edge in self.edges(index) if edge is not None and edge[0] not in found]
        return found

    # -- nodes and values ----------------------------------------------------------------------------------------

    def node_numbered(self, sequence: int) -> int | None:
        """The node of the forward or of a pass that got this sequence number."""
        for index in range(len(self.by_sequence_of), len(self.nodes)):
            node = self.nodes[index]
            self.by_sequence_of.append(index)
            if node.leaf is None:
                self.by_sequence[node.sequence] = index
        return self.by_sequence.get(sequence)

    @property
    def nodes(self) -> list[Node]:
        return self.recorder.nodes

    def edges(self, index: int) -> tuple[Place | None, ...]:
        edges = self.nodes[index].edges
        resolved = all(edge is None or isinstance(edge[0], int) for edge in edges)
        return edges if resolved else self.recorder.edges_of(self.nodes[index])

    def fresh(self, name: str) -> str:
        number, wanted = 0, name or "v0"
        if not name:
            number = len(self.trace._values)
            wanted = f"v{number}"
        while wanted in self.taken:
            number += 1
            wanted = f"{name}_{number}" if name else f"v{number}"
        self.taken.add(wanted)
        return wanted

    def new_value(self, name: str, shape: Any, dtype: Any = "", **more: Any) -> Value:
        shown = str(dtype).removeprefix("torch.") or "float32"
        value = Value(len(self.trace._values), self.fresh(name), sizes(shape), dtype=shown, **more)
        self.trace._values.append(value)
        return value

    def value(self, place: Place) -> Value:
        """The Variable that a node's output, or a leaf, is in the trace."""
        if place not in self.values:
            node = self.nodes[place[0]]
            if node.leaf is not None:
                shape, dtype, name, kept, norm, flaw, _ = node.leaf
                norm, flaw = settled(norm, flaw)
                value = self.new_value(name, shape, dtype, leaf=True, norm=norm, nonfinite=flaw)
                self.values[place] = self._keeping(value, kept)
                self.add(Leaf, None, value)
            else:
                shape = node.shapes[place[1]] if place[1] < len(node.shapes) else ()
                flaw = self.flaws.get((node.sequence, node.name, place[1]))
                self.values[place] = self.new_value(self.recorder.called.get(place, ""), shape, nonfinite=flaw)
        return self.values[place]

    def gradient(self, gradient: Gradient | None) -> Value | None:
        """A gradient as a Variable: the output of the node that computed it, or a constant."""
        if gradient is None:
            return None
        node, output, shape, dtype, kept, norm, flaw = gradient
        norm, flaw = settled(norm, flaw)
        note = "" if norm is None or kept is not None else f"norm {norm:.4g}"
        index = self.recorder.known.get(node)
        if index is None:
            return self._keeping(self.new_value("", shape, dtype, note=note, nonfinite=flaw, norm=norm), kept)
        value = self.value((index, output))
        value.shape, value.dtype = sizes(shape), str(dtype).removeprefix("torch.")
        value.note, value.nonfinite = value.note or note, value.nonfinite or flaw
        value.norm = norm if value.norm is None else value.norm
        return self._keeping(value, kept)

    def _keeping(self, value: Value, kept: Kept | None) -> Value:
        """The value with its tensor, unless it has one; the trace says so if that is changed later."""
        if kept is not None and value.tensor is None:
            value.tensor, value.version = kept
        return value

    def entry(self, index: int, made_by: Entry | None = None) -> Entry:
        if index not in self.entries:
            self._record(index, made_by)
        return self.entries[index]

    def _record(self, index: int, made_by: Entry | None) -> None:
        node = self.nodes[index]
        inputs = tuple(self.value(edge) for edge in self.edges(index) if edge is not None)
        operator = (
            function_name(node.custom) if node.custom else re.sub(r"Backward\d*$", "", node.name.rsplit("::", 1)[-1])
        )
        running = self.passes[-1] if self.passes else None
        where = self.recorder.lines.get(node.sequence)
        source = self.source(where)
        entry = self.entries[index] = Entry(
            id=len(self.trace._entries),
            operator=operator,
            text=f"{operator}({', '.join(value.name for value in inputs)})",
            inputs=inputs,
            outputs=tuple(self.value((index, k)) for k in range(max(len(node.shapes), 1))),
            aggregate=node.custom is not None,
            made_by=made_by and made_by.id,
            pass_id=running and running.pass_.id,
            source=source,
            propagate_source=_backward_of(node.custom),
            returns_at=source_text.return_of(node.custom) if node.custom else None,
            group=module_path(where) or (made_by.group if made_by else ""),
        )
        self.trace._entries.append(entry)
        self.add(Recorded, source, entry)

    # -- events --------------------------------------------------------------------------------------------------

    def add(self, kind: type[Event], source: tuple[str, int] | None, *fields: Any, parent: int | None = None) -> int:
        """One more, as a row (see trace/rows.py); `fields`: the kind's own. `parent`: of what begins a pass."""
        running = self.passes[-1] if self.passes else None
        if running is None:
            self.trace._events.add((kind, None, None, None, source, *fields))
        else:
            parent = running.parent if kind is not PassBegun else parent
            self.trace._events.add((kind, parent, running.pass_.id, None, source, *fields))
        return len(self.trace._events) - 1

    def source(self, where: Any) -> tuple[str, int] | None:
        """The line of a Site, or of one (code, instruction)."""
        return line(where if isinstance(where, tuple) else innermost(where))

    # -- one method for each kind of row -------------------------------------------------------------------------

    def nodes_seen(self, first: int, last: int) -> None:
        """Nodes of the forward part, in the order in which they were made."""
        new = [i for i in range(first, last) if self.nodes[i].leaf is None]
        for index in sorted(new, key=lambda i: self.nodes[i].sequence):
            running = self.passes[-1] if self.passes else None
            self._tell_aside(self.nodes[index].sequence)
            self.entry(index, running and running.entry)

    def begun(
        self, where: Any, roots: list, seeds: list, targets: list, accumulates: bool = True, befores: Any = ()
    ) -> None:
        self._tell_aside()
        places = [place for place in roots if place is not None and place[0] >= 0]
        losses = [self.value(place) for place in places]
        wanted = tuple(self.value(place) for place in targets if place is not None and place[0] >= 0)
        outer = self.passes[-1] if self.passes else None
        starts = [self.gradient(seed) for seed in seeds]
        loss = losses[0] if losses else self.new_value("", ())
        pass_ = Pass(
            self.trace.pass_count, loss, starts[0] if starts else None, wanted, "skip", "ahead" if wanted else "none"
        )
        self.trace.pass_count += 1
        running = Running(pass_, len(self.trace._events), places, self.ahead.pop() if self.ahead else Ahead())
        running.targets, running.accumulates = targets, accumulates
        running.befores = {index: settled(norm, flaw) for index, norm, flaw in befores}
        running.table.update({a: b for a, b in zip(losses, starts, strict=False) if b is not None})
        running.came.update(dict.fromkeys(places, 1))
        self.passes.append(running)
        self.add(PassBegun, self.source(where), pass_, parent=outer and outer.parent)

    def visiting(self, index: int, incoming: list) -> None:
        """A custom Function's backward is entered: what happens until it is left is inside."""
        running, entry = self.passes[-1], self.entry(index)
        values = self._incoming(index, incoming)
        running.visit = self.add(VisitBegun, entry.propagate_source, entry, *values)
        running.entry, running.open = entry, values

    def visited(self, index: int, incoming: list, outgoing: list, sequence: int) -> None:
        running, entry = self.passes[-1], self.entry(index)
        running.visited.add(index)
        self._tell_made(sequence, sums_only=True, made_by=running.entry)
        values = self._incoming(index, incoming)
        nothing = not any(values) and not any(g is not None for g in outgoing)
        if running.visit is None and not nothing:
            running.visit = self.add(VisitBegun, entry.propagate_source, entry, *values)
        running.entry = entry
        self._tell_made(sequence, made_by=entry)
        self._tell_aside()
        pairs = [(edge, g) for edge, g in zip(self.edges(index), outgoing, strict=False) if edge is not None]
        went = tuple(self.gradient(g) for _, g in pairs)
        running.visit = None
        state = "skipped" if nothing else "propagated" if all(values) else "partial"
        came = values[0] if len(values) == 1 else values
        self.add(Visited, entry.propagate_source, entry, state, came, *went)
        for slot, ((edge, _), contribution) in enumerate(zip(pairs, went, strict=True)):
            self._accumulate(running, entry, slot, edge, contribution)

    def _incoming(self, index: int, incoming: list) -> tuple[Value | None, ...]:
        """The incoming gradients; the table knows most of them already, as sums of what came."""
        running, values = self.passes[-1], []
        for output, gradient in enumerate(incoming):
            known = running.table.get(self.value((index, output)))
            if known is not None and gradient is not None and self._is_replaced(known, gradient):
                known = None
            values.append(None if gradient is None else known or self.gradient(gradient))
        return tuple(values)

    def _is_replaced(self, known: Value, gradient: Gradient) -> bool:
        """A hook of the tensor's own stands between what came and what the node is given."""
        norm, flaw = settled(*gradient[5:])
        return known.note != UNSEEN_SUM and flaw is not None and (norm, flaw) != (known.norm, known.nonfinite)

    def _accumulate(self, running: Running, entry: Entry, slot: int, place: Place, contribution: Value | None) -> None:
        value = self.value(place)
        before, first = running.table.get(value), running.came.get(place, 0) == 0
        total = before if contribution is None else contribution
        if contribution is not None:
            running.came[place] = running.came.get(place, 0) + 1
            if before is not None:
                total = self._sum(running, place)
            running.table[value] = total
        self.add(Accumulated, None, entry, slot, value, contribution, total, first)

    def _sum(self, running: Running, place: Place) -> Value:
        """What the engine added up: seen where the sum is handed on, not on the way there."""
        final = running.ahead.final.get(place)
        if final is not None and running.came[place] == running.ahead.contributions.get(place):
            return self.gradient(final)
        return self.new_value("", self.value(place).shape, note=UNSEEN_SUM)

    def _tell_made(self, before: int, made_by: Entry | None, sums_only: bool = False) -> None:
        """Entries for the nodes numbered below `before`; with `sums_only`, the engine's additions at their front."""
        while self.made and self.nodes[self.made[-1]].sequence < before:
            if sums_only and self.made[-1] not in self.sums:
                return
            self._tell_aside(self.nodes[self.made[-1]].sequence)
            self.entry(self.made.pop(), made_by)

    def ended(self, results: list, afters: Any = ()) -> None:
        running = self.passes[-1]
        self._tell_made(1 << 63, made_by=running.entry)
        for index in self._not_run(running):
            self.add(Visited, None, self.entry(index), "pruned", ())
        found = []
        for place, gradient in zip(running.targets, results, strict=False):
            known = running.table.get(self.value(place)) if place else None
            found.append(None if gradient is None else known or self.gradient(gradient))
        self.add(PassEnded, None, running.pass_, Table(running.table), *found)
        for index, *after in afters:
            self._filled(running, index, settled(*after))
        self.passes.pop()

    def pass_failed(self, error: str, message: str, where: tuple | None) -> None:
        """What the pass made is its own; what follows belongs to it no longer."""
        running = self.passes[-1]
        self._tell_made(1 << 63, made_by=running.entry)
        self._tell_aside()
        entry = running.entry if running.visit is not None else None
        running.visit = None
        self.calls.errors.append(self.add(PassFailed, self.source(where), running.pass_, error, message, entry))
        self.passes.pop()

    def _filled(self, running: Running, index: int, after: tuple) -> None:
        """What the pass did to the .grad of one leaf."""
        place, before = (index, 0), running.befores.get(index, (None, None))
        came = running.table.get(self.values[place]) if place in self.values else None
        self.trace._filled.append(
            Filled(
                pass_id=running.pass_.id,
                value=self.value(place),
                before=before[0],
                after=after[0],
                accumulates=running.accumulates,
                before_kind=before[1] or "",
                after_kind=after[1] or "",
                came=came,
            )
        )

    def _not_run(self, running: Running) -> list[int]:
        """Nodes that the loss leads to and that the engine left out."""
        todo, seen = [place[0] for place in running.roots], set()
        while todo:
            index = todo.pop()
            if index not in seen:
                seen.add(index)
                todo += [edge[0] for edge in self.edges(index) if edge is not None]
        left = [i for i in seen - running.visited if self.nodes[i].leaf is None]
        return sorted(left, key=lambda i: -self.nodes[i].sequence)

    def nonfinite(self, sequence: int, place: tuple | None, kind: str, *told: Any) -> None:
        """A result that is not finite; `told`: where, note, name, (shape, dtype), "born", "came in" or ""."""
        if place is not None:
            self.flaws[place] = kind
        if told[-1]:
            self.aside.append((sequence, place, kind, *told))

    def _tell_aside(self, before: float = float("inf")) -> None:
        """What is not finite and no entry will show: results of no node, or of one that no backward reached."""
        rows = [row for row in self.aside if row[0] <= before]
        self.aside = [row for row in self.aside if row[0] > before]
        reached = {(node.sequence, node.name) for node in self.nodes} if rows else set()
        for _, place, kind, where, note, name, (shape, dtype), how in rows:
            if place is None or place[:2] not in reached:
                value = self.new_value(name, shape, dtype, note=note, nonfinite=kind, leaf=how == "came in")
                self.add(Leaf, self.source(where), value)

    def made_nodes(self, first: int, last: int) -> None:
        """Told already, at the visits that made them."""

    def call(self, *row: Any) -> None:
        self.calls.add("call", row)

    def module(self, *row: Any) -> None:
        self.calls.add("module", row)

    def optimizer(self, *row: Any) -> None:
        self.calls.add("optimizer", row)

    def inference(self, *row: Any) -> None:
        self.calls.add("inference", row)

    def attribute(self, *row: Any) -> None:
        self.calls.add("attribute", row)

    def mode(self, *row: Any) -> None:
        self.calls.add("mode", row)

    def no_sync(self, *row: Any) -> None:
        self.calls.add("no_sync", row)

    def compiled(self, *row: Any) -> None:
        self.calls.add("compiled", row)

    def pass_mark(self, *row: Any) -> None:
        self.calls.add("pass_mark", row)

    def collective(self, *row: Any) -> None:
        self.calls.add("collective", row)

    def share(self, *row: Any) -> None:
        self.calls.add("share", row)

    def held(self, rows: list) -> None:
        self.calls.held(rows)

    def failed(self, error: BaseException, where: tuple | None) -> None:
        self._tell_aside()
        index = self.add(Failed, self.source(where), type(error).__name__, str(error))
        self.calls.errors.append(index)

    def limit(self, limit: int) -> None:
        message = f"The graph has more than {limit} autograd nodes; the rest is not in the trace."
        self.add(LimitReached, None, "nodes", limit, message)
        self.done = True


def _operator(node: str) -> str:
    """`Mul` of MulBackward0"""
    return re.sub(r"Backward\d*$", "", node.rsplit("::", 1)[-1])


def _backward_of(custom: type | None) -> tuple[str, int] | None:
    code = source_text.backward_of(custom) if custom else None
    return (code.co_filename, code.co_firstlineno) if code else None
