"""`record()`: what runs inside becomes events, in order, nested, with their places; and nothing that runs changes."""

import gc
import inspect
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from simplegrad import Tape, TapeEntry, Variable, grad, gradient_tape, record, registry, reset_tape
from simplegrad.engine import Observer
from simplegrad.trace import LimitError
from simplegrad.trace.events import (
    Accumulated,
    Failed,
    LimitReached,
    PassBegun,
    PassEnded,
    PassFailed,
    Read,
    VisitBegun,
    Visited,
)
from tests.engine.cases import values
from tests.engine.test_operators import MODES, our_orders
from tests.engine.test_programs import PROGRAMS
from tests.trace.runs import RUNS, leaves, recorded, two_passes


@pytest.fixture(autouse=True)
def own_tape():
    with Tape():
        yield


def test_the_events_of_a_small_run():
    with record() as trace:
        a, b = leaves()
        grad((a * b).sum(name="L"), [a])
    assert [event.kind for event in trace.events] == (
        ["Leaf", "Leaf", "Recorded", "Recorded", "PassBegun"]
        + ["VisitBegun", "Recorded", "Visited", "Accumulated"]  # L = v0.sum(): its propagate expands
        + ["VisitBegun", "Recorded", "Recorded", "Visited", "Accumulated", "Accumulated"]
        + ["PassEnded"]
    )
    assert [str(entry) for entry in trace.entries] == (
        ["v0 = a * b", "L = v0.sum()", "v2 = v1.expand(4)", "v3 = v2 * b", "v4 = v2 * a"]
    )


@pytest.mark.parametrize("name", RUNS)
def test_events_nest(name):
    """A parent is a pass or a visit that has begun and not ended, of the same pass or the one around it."""
    trace, open_ones = recorded(name), [None]
    for index, event in enumerate(trace.events):
        assert event.index == index
        if isinstance(event, Failed):
            continue
        if isinstance(event, Visited) and event.state in ("propagated", "partial"):
            assert trace.events[open_ones.pop()].entry is event.entry
        if isinstance(event, PassFailed):
            while event.parent != open_ones[-1]:
                open_ones.pop()  # the visit that it broke off
        assert event.parent == (open_ones[-1] if not isinstance(event, PassBegun) else event.parent)
        if isinstance(event, PassFailed):
            assert trace.events[open_ones.pop()].pass_ is event.pass_
        if isinstance(event, (PassBegun, VisitBegun)):
            assert event.parent == open_ones[-1] or isinstance(event, VisitBegun)
            open_ones.append(index)
        if isinstance(event, PassEnded):
            assert trace.events[open_ones.pop()].pass_ is event.pass_
    assert open_ones == [None]


@pytest.mark.parametrize("name", [name for name in RUNS if name not in ("nothing", "no_pass")])
def test_accumulated_totals_are_true(name):
    """first, contribution and total fit together, and the table at the end holds the last totals."""
    runs = by_pass(recorded(name))
    assert any(isinstance(event, Accumulated) for events in runs.values() for event in events)
    for run, events in runs.items():
        table = {run.loss: run.seed}
        for event in events:
            if isinstance(event, Accumulated):
                before = table.get(event.value)
                assert event.first == (before is None)
                expected = sum_of(before, event.contribution)
                assert (event.total is None) == (expected is None)
                if expected is not None:
                    torch.testing.assert_close(event.total.tensor.expand_as(expected), expected)
                    table[event.value] = event.total
            if isinstance(event, PassEnded):
                assert dict(event.table) == table


def by_pass(trace) -> dict:
    return {run: [event for event in trace.events if event.pass_id == run.id] for run in trace.passes}


def sum_of(before, contribution):
    tensors = [value.tensor for value in (before, contribution) if value is not None]
    return sum(tensors[1:], start=tensors[0]) if tensors else None


def test_a_value_that_no_entry_produced_is_told_once():
    trace = recorded("simple_variable_wrong, none=skip, prune=none")
    reads = [event for event in trace.events if isinstance(event, Read)]
    assert [(event.value.name, str(event.entry)) for event in reads] == [("t", "v4 = v2 * t")]
    following = trace.events[reads[0].index + 1]
    assert following.kind == "Recorded" and following.entry is reads[0].entry


@pytest.mark.parametrize("name", ["simple", "simple_recompute", "simple_variable"])
def test_right_variants_read_nothing_that_no_entry_produced(name):
    trace = recorded(f"{name}, none=skip, prune=none")
    assert not [event for event in trace.events if isinstance(event, Read)]


def test_source_lines_are_the_callers():
    first = inspect.currentframe().f_lineno
    with record() as trace:
        a, b = leaves()
        r = registry["simple_recompute"](a, b)
        grad(r.sum(name="L"), [a])
    here = {entry.outputs[0].name: entry.source for entry in trace.entries}
    assert here["L"] == (__file__, first + 4)
    aggregates = inspect.getsourcefile(registry["simple_recompute"].function)
    lines = Path(aggregates).read_text().splitlines()
    file, line = here[r.name]
    assert file == aggregates and "gradient_tape.append" in lines[line - 1]
    recomputed = next(entry for entry in trace.entries if entry.text == "a + b")
    assert recomputed.source[0] == aggregates and "t = a + b" in lines[recomputed.source[1] - 1]
    file, line = next(entry.propagate_source for entry in trace.entries if entry.aggregate)
    assert file == aggregates and "def propagate" in lines[line - 1]


def test_what_a_pass_records_is_under_the_entry_that_recorded_it():
    trace = recorded("simple_recompute, none=skip, prune=none")
    by_hand = next(entry for entry in trace.entries if entry.aggregate)
    made = [str(entry) for entry in trace.entries if entry.made_by == by_hand.id and entry.pass_id == 0]
    assert made == ["v3 = a + b", "v4 = v2 * b", "v5 = v2 * v3", "v6 = v4 + v5"]
    assert all(entry.made_by is None for entry in trace.entries if entry.pass_id is None)


@settings(max_examples=40, deadline=None)
@given(PROGRAMS)
def test_results_are_bit_equal_with_and_without_recording(program):
    tensors = values(program.shapes, seed=program.seed)
    for none, prune in MODES:
        with Tape():
            plain = our_orders(program, tensors, none, prune, orders=2)
        with Tape(), record() as trace:
            watched = our_orders(program, tensors, none, prune, orders=2)
        assert len(trace.events) > 0
        for order, other in zip(plain, watched):
            assert all(torch.equal(g, h) for g, h in zip(order, other))


@settings(max_examples=60, deadline=None)
@given(PROGRAMS)
def test_recording_changes_no_name_and_no_entry(program):
    """Also where the engine puts off what a pass over another pass records until somebody asks for it."""
    tensors = values(program.shapes, seed=program.seed)
    for none, prune in MODES:
        lines = []
        for observers in ((), (Observer(),)):
            with Tape() as tape:
                tape.observers = observers
                our_orders(program, tensors, none, prune, orders=3)
                lines.append(repr(gradient_tape))
        assert lines[0] == lines[1]


def test_a_recording_leaves_nothing_on_the_tape():
    with Tape() as tape, record():
        two_passes(registry["simple"])
    assert not tape.observers


def test_a_run_that_raises_keeps_its_events_the_error_last():
    with pytest.raises(RuntimeError, match="as planned"), record() as trace:
        RUNS["it_raises_in_propagate"]()
    last = trace.events[-1]
    assert isinstance(last, Failed) and trace.error == last
    entry = "r = it_raises_in_propagate(a)"
    assert (last.error, last.message) == ("RuntimeError", f"as planned (in the propagate of entry 0, '{entry}')")
    assert "raise RuntimeError" in Path(last.source[0]).read_text().splitlines()[last.source[1] - 1]
    assert [str(entry) for entry in trace.entries][-1] == "v3 = v2 * 2"
    assert [event.kind for event in trace.events[-3:-1]] == ["Recorded", "PassFailed"]
    assert trace.events[-2].entry.statement == entry


def test_recording_after_a_run_that_raised():
    with pytest.raises(RuntimeError), record():
        RUNS["it_raises_in_propagate"]()
    with record() as trace:
        two_passes(registry["simple"])
    assert trace.error is None and len(trace.passes) == 2


def test_a_run_that_passed_a_limit_ends_with_it():
    with pytest.raises(LimitError), record() as trace:
        leaves()
        raise LimitError("entries", 10, "more than 10 entries")
    last = trace.events[-1]
    assert isinstance(last, LimitReached) and trace.error == last
    assert (last.what, last.limit, last.message) == ("entries", 10, "more than 10 entries")


def test_a_recording_within_a_recording():
    with record() as outer:
        a, b = leaves()
        with record() as inner:
            r = a * b
        grad(r.sum(), [a])
    assert [str(entry) for entry in inner.entries] == ["v0 = a * b"]
    assert [event.kind for event in inner.events] == ["Read", "Read", "Recorded"]
    assert len(outer.passes) == 1 and len(outer.entries) > 3


def test_a_pass_over_entries_from_before_the_recording():
    a, b = leaves()
    L = (a * b).sum(name="L")
    with record() as trace:
        (da,) = grad(L, [a])
    assert [event.entry.statement for event in trace.events if isinstance(event, Visited)] == (
        ["L = v0.sum()", "v0 = a * b"]
    )
    assert trace.at(len(trace)).gradients["a"].value.name == da.name


def test_a_trace_can_be_read_while_it_is_made():
    with record() as trace:
        a, b = leaves()
        assert (len(trace), len(trace.entries), trace.at(2).gradients["a"].state) == (2, 0, "unreached")
        grad(a * b, [a])
        assert len(trace.passes) == 1 and trace.at(len(trace)).gradients["a"].state == "value"


def test_record_of_another_tape():
    other = Tape()
    with record(other) as trace:
        leaves()
        with other:
            Variable.constant(torch.ones(1), name="mine")
    assert [value.name for value in trace.values] == ["mine"]


def test_nothing_is_recorded_after_the_end():
    with record() as trace:
        leaves()
    leaves()
    assert len(trace) == 2


def test_a_reset_is_an_event_and_names_start_anew():
    trace = recorded("the_tape_is_reset")
    assert [event.kind for event in trace.events].count("TapeReset") == 2
    assert [value.name for value in trace.values].count("L") == 2
    assert trace.value_named("L") is [value for value in trace.values if value.name == "L"][-1]


def test_values_keep_their_tensors_by_reference():
    with record() as trace:
        a, _ = leaves()
    assert trace.value_named("a").tensor is a.value
    assert trace.value_named("a").leaf and trace.value_named("a").dtype == "float32"


def test_two_calls_of_one_aggregate_in_one_program():
    f = registry["simple_variable"]
    with record() as trace:
        a, b = leaves()
        da, db = grad((f(a, b) * f(b, a)).sum(name="L"), [a, b])
    assert [entry.statement for entry in trace.entries if entry.aggregate] == [
        "v0, t_v = simple_variable(a, b)",
        "v1, t_v_1 = simple_variable(b, a)",
    ]
    x, y = (value.value.clone().requires_grad_() for value in (a, b))
    true = torch.autograd.grad(((x + y) * y * ((y + x) * x)).sum(), [x, y])
    torch.testing.assert_close([da.value, db.value], list(true))


def test_the_transcript_of_a_hand_written_entry_shows_only_what_it_records():
    reset_tape()
    with record() as trace:
        a = Variable.constant(torch.ones(()), name="a")
        r = Variable(a.value * 2, "r")
        gradient_tape.append(TapeEntry(["a"], ["r"], lambda dL_doutputs: [dL_doutputs[0] * 2]))
        grad(r, [a])
    rule = "-" * 24
    assert trace.transcript() == f"a = 1.0\ndr {rule}\nv1 = v0 * 2\ndr_dr = v0\ndr_da = v1\n{rule}"


def test_a_trace_that_nobody_has_is_gone_at_once():
    """Without the collector: what was logged is much, and in no cycle once the run is over."""
    gc.collect()
    gc.disable()
    try:
        for asked in (False, True):
            with Tape(), record() as trace:
                x = Variable.constant(torch.ones(2))
                grad((x * x).sum(), [x])
            assert not asked or trace.events
            gone, kept = weakref.ref(trace), weakref.ref(x)
            del trace, x
            assert gone() is None and kept() is None, f"events asked for: {asked}"
    finally:
        gc.enable()


def test_a_trace_that_nobody_has_read_keeps_no_variable_alive():
    with Tape(), record() as trace:
        x = Variable.constant(torch.tensor([1.0, 2.0]))
        y = weakref.ref(x * 2)
        assert y() is None
    assert [entry.operator for entry in trace.entries] == ["mul_number"]
    assert trace.entries[0].outputs[0].tensor.tolist() == [2.0, 4.0]
