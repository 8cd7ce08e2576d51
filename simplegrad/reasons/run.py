"""A PyTorch trace, looked up by what questions ask: who read a value, what came to it, what led where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from heapq import merge
from typing import Any

from simplegrad.locks import cached_property

from ..graph.whole import FLOWS, TraceGraph, graph_of
from ..trace import calls as kinds
from ..trace.calls import Call, Filled, Held
from ..trace.events import Accumulated, Entry, Event, Pass, PassBegun, Value, Visited
from ..trace.trace import Trace
from .answer import Cause


class Run:
    """Made once for a trace. Each table is made when something reads it first."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.events = trace.events
        self.calls = trace.calls
        self.held = {held.path: held for held in trace.held}
        self.begun = {event.pass_.id: event for event in self.events.of(PassBegun)}
        self._leading: dict[Value, set] = {}
        self.births: dict[Value, Cause | None] = {}  # by the loss: see broken.py
        self.ways: dict[tuple[int, Value], Any] = {}  # what way.py has found
        self.moved: dict[Value, bool] = {}  # factors that a step moves: see shrunk.py
        self.vanished: dict[int, dict[Value, list[tuple[int, Accumulated]]]] = defaultdict(dict)  # see faded.py
        self.filled: dict[Value, list[Filled]] = defaultdict(list)
        for filled in trace.filled:
            self.filled[filled.value].append(filled)

    def ready(self) -> Run:
        """What nearly every question reads is there, so that a question takes the time of its own chain."""
        for table in ("graph", "_visits", "_came", "flowing_in", "leads_to_a_loss", "_by_kind", "_ends", "_call_of"):
            getattr(self, table)
        return self

    @cached_property
    def graph(self) -> TraceGraph:
        return graph_of(self.trace)

    # -- events, of which there are many: where they stand is kept, and they are made when a chain leads to them ------

    def visit(self, pass_id: int | None, entry: Entry) -> Visited | None:
        """What a pass did at an entry, if it came there."""
        place = self._visits[pass_id].get(entry)
        return None if place is None else self.events.made(place)

    @cached_property
    def _visits(self) -> dict[int | None, dict[Entry, int]]:
        found: dict[int | None, dict[Entry, int]] = defaultdict(dict)
        for place, pass_id, entry in self.events.looked_up(Visited, "pass_id", "entry"):
            found[pass_id][entry] = place
        return found

    def came(self, pass_id: int | None, value: Value) -> list[Accumulated]:
        """What a pass brought to a value, one event for each use of it."""
        places = self._came[pass_id].get(value, ())
        return [self.events.made(place) for place in ((places,) if type(places) is int else places)]

    @cached_property
    def _came(self) -> dict[int | None, dict[Value, int | list[int]]]:
        """A list only where there are several: most values are used once."""
        found: dict[int | None, dict[Value, int | list[int]]] = defaultdict(dict)
        for place, pass_id, value in self.events.looked_up(Accumulated, "pass_id", "value"):
            here = found[pass_id]
            known = here.get(value)
            if known is None:
                here[value] = place
            elif type(known) is int:
                here[value] = [known, place]
            else:
                known.append(place)
        return found

    # -- calls -------------------------------------------------------------------------------------------------------

    @cached_property
    def flowing(self) -> list[Call]:
        """Calls of the forward part that make values of values, those inside of a custom Function aside."""
        return [call for call in self.calls if call in self.graph]

    @cached_property
    def flowing_in(self) -> dict[str, list[Call]]:
        """The same, by the module that they belong to."""
        found: dict[str, list[Call]] = defaultdict(list)
        for call in self.flowing:
            found[call.module].append(call)
        return found

    @cached_property
    def modules_run(self) -> dict[str, list[Call]]:
        """The modules whose forward ran, by their paths."""
        found: dict[str, list[Call]] = defaultdict(list)
        for mark in self.marks(kinds.MODULE):
            found[mark.module].append(mark)
        return found

    def last_read(self, value: Value | None) -> Value | None:
        """The same tensor as it was when something read it last: each change in place made a new value of it."""
        seen, before, after = value, len(self.calls), None
        while seen is not None:
            changed = self.graph.call_giving(seen)
            if any(call is not after for call in self.graph.calls_reading(seen)) or self.reads_inside.get(seen):
                return seen
            is_change = changed is not None and changed.kind == kinds.IN_PLACE and changed.inputs
            if not is_change or changed.id >= before:  # of a trace from elsewhere, values may lead in a circle
                return value
            seen, before, after = changed.inputs[0], changed.id, changed
        return value

    @cached_property
    def objects_held(self) -> set[int]:
        """The ids of all that the model holds."""
        return {id(held.value) for held in self.held.values()}

    @cached_property
    def reads_inside(self) -> dict[Value, list[Call]]:
        """The same for what runs in the forward of a custom Function."""
        found: dict[Value, list[Call]] = defaultdict(list)
        for call in self.calls:
            if call.inside is not None and call.kind in FLOWS:
                for value in call.inputs:
                    found[value].append(call)
        return found

    @cached_property
    def losses(self) -> list[Value]:
        """What the passes begin at, those within another pass aside."""
        return [event.pass_.loss for event in self.begun.values() if event.parent is None]

    @cached_property
    def leads_to_a_loss(self) -> set:
        return set(self.graph.before(*(loss for loss in self.losses if loss in self.graph)))

    def leading_to(self, loss: Value) -> set:
        """What leads to one of the losses, kept for the next question."""
        if loss not in self._leading:
            self._leading[loss] = set(self.graph.before(loss)) if loss in self.graph else set()
        return self._leading[loss]

    def marks(self, *wanted: str) -> Iterator[Call]:
        """Calls of these kinds, in their order."""
        return merge(*(self._by_kind.get(kind, ()) for kind in wanted), key=lambda call: call.id)

    @cached_property
    def _by_kind(self) -> dict[str, list[Call]]:
        found: dict[str, list[Call]] = defaultdict(list)
        for call in self.calls:
            found[call.kind].append(call)
        return found

    @cached_property
    def flawed(self) -> dict[int | None, list[Visited]]:
        """Visits that were given what is not finite, or passed it on, in their order, by the pass."""
        found: dict[int | None, list[Visited]] = defaultdict(list)
        for visit in self.events.of(Visited):
            if any(g is not None and g.nonfinite for g in (*visit.incoming, *visit.outgoing)):
                found[visit.pass_id].append(visit)
        return found

    @cached_property
    def in_hooks(self) -> dict[int | None, list[Call]]:
        """What ran in hooks and has a line, by the pass."""
        found: dict[int | None, list[Call]] = defaultdict(list)
        for call in self.calls:
            if call.within == "hook" and call.source is not None:
                found[call.pass_id].append(call)
        return found

    @cached_property
    def steps(self) -> list[Call]:
        return list(self.marks(kinds.STEP))

    # -- passes ------------------------------------------------------------------------------------------------------

    def pass_event(self, pass_id: int) -> PassBegun:
        return self.begun[pass_id]

    def pass_of(self, pass_id: int) -> Pass:
        return self.begun[pass_id].pass_

    def end_of(self, pass_id: int) -> int:
        """Index of the last event of a pass."""
        return self._ends[pass_id]

    @cached_property
    def _ends(self) -> dict[int, int]:
        return {pass_id: place for place, pass_id in self.events.looked_up(Event, "pass_id") if pass_id is not None}

    @cached_property
    def by_id(self) -> dict[int, Entry]:
        return {entry.id: entry for entry in self.trace.entries}

    def line_of(self, entry: Entry) -> tuple[str, int] | None:
        """The entry's own line; of one that a pass recorded, that of the forward entry whose backward did."""
        seen: Entry | None = entry
        while seen is not None:
            if seen.source is not None and (seen.made_by is None or self.by_id[seen.made_by].aggregate):
                return seen.source
            seen = self.by_id.get(seen.made_by) if seen.made_by is not None else None
        return entry.source

    def call_of(self, entry: Entry) -> Call | None:
        """The operation that autograd recorded as this entry."""
        return self._call_of.get(entry)

    @cached_property
    def _call_of(self) -> dict[Entry, Call]:
        found: dict[Entry, Call] = {}
        for call in self.calls:
            for entry in call.entries:
                if entry not in found or call.kind == kinds.FUNCTION:
                    found[entry] = call
        return found

    def value_of(self, held: Held) -> Value | None:
        return held.value


def run_of(trace: Trace) -> Run:
    """The Run of a trace, made anew where the trace has grown since."""
    size = len(trace.events)
    known = trace.__dict__.get("_run")
    if known is None or known[0] != size:
        known = trace.__dict__["_run"] = (size, Run(trace))
    return known[1]
