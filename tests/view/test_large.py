"""Long tapes: the work is counted, what is drawn is bounded, and what is kept is let go. Never a time."""

import gc
import weakref

import torch

from simplegrad import Tape, Variable, grad, record
from simplegrad.graph import NODE_BUDGET, graph_of, node_count, picture
from simplegrad.graph import units as units_module
from simplegrad.graph import whole as whole_module
from simplegrad.view import layout as layout_module
from simplegrad.view import sentences
from simplegrad.view.bounded import Bounded
from simplegrad.view.layout import layout
from simplegrad.view.views import TraceView, bytes_of
from tests.counting import lines_run

from .conftest import chain


def products(length: int):
    """z = (z * x).sin(), and a pass over it, in which each visit records several entries."""
    with Tape(), record() as trace:
        x = z = Variable.constant(torch.full((3,), 0.5), name="x")
        for _ in range(length):
            z = (z * x).sin()
        grad(z.sum(), [x], prune="ahead")
    return trace


def lines_of_graph_and_layout(length: int) -> tuple[float, float]:
    """Of either, for each unit and edge; nothing is collapsed."""
    trace = products(length)
    assert len(trace) > 0  # its events are made when they are asked for
    whole, kept = lines_run(whole_module, lambda: graph_of(trace))
    building, graph = lines_run(units_module, lambda: picture(trace, budget=10**9))
    laying_out, _ = lines_run(layout_module, lambda: layout(graph))
    assert graph_of(trace) is kept  # made once: the picture reads it
    size = len(graph.units) + graph.number_of_edges()
    return (whole + building) / size, laying_out / size


def test_graph_and_layout_do_as_much_per_unit_and_edge_on_a_tape_sixteen_times_as_long():
    for short, long in zip(lines_of_graph_and_layout(50), lines_of_graph_and_layout(800)):
        assert 1 < long <= 1.05 * short


def test_a_tape_that_fits_is_not_collapsed():
    trace = products(200)
    assert node_count(trace) <= NODE_BUDGET
    assert not any(unit.kind == "group" for unit in picture(trace).units)


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
    group = view.graph.home[trace.entries[-400]].key
    opened = TraceView(trace, [group])
    rows = max(layout(opened.graph).rows)
    entries = next(unit for unit in view.graph.units if unit.key == group).entries
    assert len(entries) == 250 and all(opened.graph.home[entry].key == f"e{entry.id}" for entry in entries)
    assert rows <= 8


def test_a_value_is_put_into_words_once(monkeypatch):
    asked = []
    text = sentences.value_text
    monkeypatch.setattr(sentences, "value_text", lambda value, *_: asked.append(value) or text(value))
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
