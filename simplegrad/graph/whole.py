"""The graph of a trace: its own Values, Entries and Calls are the nodes, and what flows between them the edges.

    value -> entry -> value      what the tape recorded: an entry reads its inputs and makes its outputs
    value -> call -> value       of a PyTorch run with numbers: what flowed, whether or not autograd followed
    visited                      a node of its own where a pass skipped or pruned an entry: a hole

Edges carry nothing, and nodes neither, but for a value that no entry made: what it is (`kind`: leaf, seed or read), the
pass it belongs to, and `by`, the entry that brought it about. All the rest stands in the Entry, the Value and the Call.
Nodes stand in the order of the run. A tape of 100,000 entries has 200,000 nodes and takes 0.4 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from weakref import WeakKeyDictionary, ref

import networkx as nx

from simplegrad.locks import cached_property

from ..trace import calls as kinds
from ..trace.calls import Call
from ..trace.events import Entry, Leaf, PassBegun, Read, Recorded, Value, VisitBegun, Visited
from ..trace.rows import Events
from ..trace.trace import Trace

FLOWS = (kinds.OPERATION, kinds.FUNCTION, kinds.IN_PLACE, kinds.LEAVES, kinds.NEW_LEAF, kinds.COPY, kinds.SCALE)
NOTHING: Mapping = MappingProxyType({})  # the attributes of all that has none: one for them all
_KNOWN: WeakKeyDictionary[Trace, tuple[int, ref[TraceGraph]]] = WeakKeyDictionary()


class TraceGraph(nx.DiGraph):
    """A networkx graph like any other to those who read it. `makers`: what an entry made -> that entry."""

    def __init__(self, incoming_graph_data=None, **attributes):
        self.makers: dict[Value, Entry] = {}
        super().__init__(incoming_graph_data, **attributes)

    # Written to networkx's own tables: by add_node and add_edge, a long tape would take twice the time.

    def put(self, node: Value | Entry | Call | Visited, attributes: Mapping = NOTHING) -> None:
        """A node with these attributes, if it is none yet."""
        if node not in self._node:
            self._node[node] = attributes
            self._succ[node], self._pred[node] = {}, {}

    def join(self, source: Value | Entry | Call, target: Value | Entry | Call) -> None:
        self._succ[source][target] = self._pred[target][source] = NOTHING

    def put_entry(self, entry: Entry) -> None:
        """An entry, what it reads, and what it makes. What nobody made was there before the recording began."""
        nodes, after, before = self._node, self._succ, self._pred
        for value in entry.inputs:
            if value not in nodes:
                self.put(value, {"kind": "leaf", "pass_id": entry.pass_id, "by": entry})
            after[value][entry] = NOTHING
        nodes[entry] = NOTHING
        before[entry] = dict.fromkeys(entry.inputs, NOTHING)
        after[entry] = dict.fromkeys(entry.outputs, NOTHING)
        for value in entry.outputs:
            self.makers[value] = entry
            if value in nodes:
                before[value][entry] = NOTHING
            else:
                nodes[value], after[value], before[value] = NOTHING, {}, {entry: NOTHING}

    # -- what is asked of it -------------------------------------------------------------------------------------------

    @property
    def entries(self) -> list[Entry]:
        return [node for node in self if type(node) is Entry]

    def readers(self, value: Value) -> list[Entry]:
        """The entries that read a value, in the order of the tape."""
        return [node for node in self._succ.get(value, ()) if type(node) is Entry]

    @cached_property
    def tape(self) -> nx.DiGraph:
        """Values and entries alone: what a gradient can go through, against the arrows."""
        return nx.subgraph_view(self, filter_node=lambda node: type(node) is not Call)

    @cached_property
    def flow(self) -> nx.DiGraph:
        """Values and calls alone: what was computed from what, whether or not autograd followed."""
        return nx.subgraph_view(self, filter_node=lambda node: type(node) is not Entry)

    # Through a view that filters nodes, as `nx.ancestors(graph.flow, end)` walks, each step costs ten times as much.

    def before(self, *ends: Value | Call) -> list[Value | Call]:
        """What leads to any of these by the flow of values, and these."""
        return _reached(ends, self._pred)

    def after(self, *starts: Value | Call) -> list[Value | Call]:
        """What comes from any of these by the flow of values, and these."""
        return _reached(starts, self._succ)

    def calls_reading(self, value: Value) -> list[Call]:
        return [node for node in self._succ.get(value, ()) if type(node) is Call]

    def call_giving(self, value: Value) -> Call | None:
        """The last call that gave a value, one that changed it by another name aside."""
        given = [node for node in self._pred.get(value, ()) if type(node) is Call and value in node.outputs]
        return given[-1] if given else None


def _reached(starts: Iterable[Value | Call], near: Mapping) -> list[Value | Call]:
    found = list(dict.fromkeys(starts))
    seen = set(found)
    for node in found:  # grows while it is walked
        new = [each for each in near[node] if type(each) is not Entry and each not in seen]
        seen.update(new)
        found += new
    return found


def graph_of(trace: Trace) -> TraceGraph:
    """The graph of a trace; the one that somebody still reads, where the trace has not grown since."""
    size = len(trace.events)
    known = _KNOWN.get(trace)
    graph = known[1]() if known is not None and known[0] == size else None
    if graph is None:
        graph = _made(trace)
        _KNOWN[trace] = (size, ref(graph))
    return graph


def _made(trace: Trace) -> TraceGraph:
    graph, events = TraceGraph(), trace.events
    for place, kind, field in events.in_order(_READ):
        if kind is Recorded:
            graph.put_entry(field)
        elif kind is not Visited or field in _HOLES:
            _TELLERS[kind](graph, events[place], events)
    for call in trace.calls:
        if call.kind in FLOWS and call.within in ("", "recomputed") and call.inside is None:
            _put_call(graph, call)
    return graph


def _leaf(graph: TraceGraph, event: Leaf, events: Events) -> None:
    visit = None if event.parent is None else events[event.parent]
    by = visit.entry if isinstance(visit, VisitBegun) else None
    graph.put(event.value, {"kind": "leaf", "pass_id": event.pass_id, "by": by})


def _read(graph: TraceGraph, event: Read, events: Events) -> None:
    graph.put(event.value, {"kind": "read", "pass_id": event.entry.pass_id, "by": event.entry})


def _pass_begun(graph: TraceGraph, event: PassBegun, events: Events) -> None:
    pass_ = event.pass_
    if pass_.seed is not None:
        graph.put(pass_.seed, {"kind": "seed", "pass_id": pass_.id, "by": graph.makers.get(pass_.loss)})


def _visited(graph: TraceGraph, event: Visited, events: Events) -> None:
    graph.put(event)


_TELLERS = {Leaf: _leaf, Read: _read, PassBegun: _pass_begun, Visited: _visited}
_READ = {Recorded: "entry", Visited: "state", Leaf: "value", Read: "value", PassBegun: "pass_"}
_HOLES = ("skipped", "pruned")


def _put_call(graph: TraceGraph, call: Call) -> None:
    graph.put(call)
    for value in call.inputs:
        graph.put(value)
        graph.join(value, call)
    for value in (*(x for x in call.outputs if x not in call.inputs), *call.aliases):
        graph.put(value)
        graph.join(call, value)
