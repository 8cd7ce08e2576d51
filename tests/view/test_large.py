"""Long tapes: the work is counted, what is drawn is bounded, and what is kept is let go. Never a time."""

import gc
import weakref

import torch

from simplegrad import Tape, Variable, grad, record
from simplegrad.view import sentences
from simplegrad.view.graph import NODE_BUDGET, build, node_count
from simplegrad.view.layout import layout
from simplegrad.view.views import Bounded, TraceView, bytes_of

from .conftest import chain


def products(length: int):
    """z = (z * x).sin(), and a pass over it, in which each visit records several entries."""
    with Tape(), record() as trace:
        x = z = Variable.constant(torch.full((3,), 0.5), name="x")
        for _ in range(length):
            z = (z * x).sin()
        grad(z.sum(), [x], prune="ahead")
    return trace


class Counted(dict):
    """A dict that counts what is asked of it."""

    asked = 0

    def __getitem__(self, key):
        Counted.asked += 1
        return super().__getitem__(key)

    def get(self, key, default=None):
        Counted.asked += 1
        return super().get(key, default)

    def __contains__(self, key):
        Counted.asked += 1
        return super().__contains__(key)


def steps_of_layout(length: int) -> tuple[int, int]:
    """How often the layout looks a unit up, and for how many units and edges."""
    graph = build(products(length), budget=10**9)
    graph.units = Counted(graph.units)
    Counted.asked = 0
    layout(graph)
    return Counted.asked, len(graph.units) + len(graph.edges)


def test_the_layout_looks_up_as_much_per_unit_and_edge_on_a_tape_sixteen_times_as_long():
    short, long = (asked / size for asked, size in (steps_of_layout(n) for n in (50, 800)))
    assert 0 < long <= 1.1 * short


def test_a_tape_that_fits_is_not_collapsed():
    trace = products(200)
    assert node_count(trace) <= NODE_BUDGET
    assert not any(unit.kind == "group" for unit in build(trace).units.values())


def test_what_is_sent_for_the_picture_does_not_grow_with_the_tape():
    sizes = {}
    for length in (3_000, 12_000):
        view = TraceView(chain(length))
        sizes[length] = len(view.drawing.nodes), len(view.drawing_json) + len(view.figure.to_json())
        assert 0 < sizes[length][0] <= NODE_BUDGET
    assert sizes[12_000][1] < 5 * sizes[3_000][1] < 500_000


def test_what_many_visits_recorded_is_not_piled_up_when_its_owner_is_collapsed():
    trace = products(2_000)
    view = TraceView(trace)
    group = view.graph.home[trace.entries[-400].id]
    opened = TraceView(trace, [group])
    rows = max(layout(opened.graph).rows)
    entries = next(unit for unit in view.graph.units.values() if unit.key == group).entries
    assert len(entries) == 250 and all(opened.graph.home[entry.id] == f"e{entry.id}" for entry in entries)
    assert rows <= 8


def test_a_value_is_put_into_words_once(monkeypatch):
    asked = []
    text = sentences.value_text
    monkeypatch.setattr(sentences, "value_text", lambda value: asked.append(value) or text(value))
    trace = products(40)
    assert TraceView(trace).payload
    assert len(asked) == len(set(asked)) == len(trace.values)


def test_a_trace_costs_what_its_tensors_hold():
    with Tape(), record() as trace:
        x = Variable.constant(torch.zeros(1000), name="x")
        x.sin()
    assert 2 * 4000 < bytes_of(trace) < 2 * 4000 + 10_000


def test_a_trace_that_the_cache_let_go_of_is_gone():
    kept = Bounded(count=2, cost=10**9)
    tensor = torch.zeros(10)
    gone = weakref.ref(tensor)

    def run(tensors):
        with Tape(), record() as trace:
            Variable.constant(tensors.pop()).sin()
        return TraceView(trace)

    tensors = [torch.ones(10), torch.ones(10), tensor]
    del tensor
    kept.get("first", lambda: run(tensors), lambda view: len(view.payload))
    gc.collect()
    assert gone() is not None
    for key in ("second", "third"):
        kept.get(key, lambda: run(tensors), lambda view: len(view.payload))
    gc.collect()
    assert gone() is None
