"""A recorder may be told of a pass over a pass only when the trace is read: nothing in the trace tells that."""

import contextlib
import gc
import inspect
import weakref
from functools import partial

import pytest
import torch
from hypothesis import given, settings

from simplegrad import Tape, Trace, Variable, compile_aggregate, fresh_name, grad, record, reset_tape
from simplegrad.engine.deferred import put_off_on
from simplegrad.trace import Recorder
from simplegrad.trace.events import Failed, PassBegun
from tests.engine.cases import CASES, values
from tests.engine.test_operators import loss_of
from tests.engine.test_programs import PROGRAMS
from tests.trace.alike import as_data, assert_same

X = torch.tensor([0.5, 2.0])


def cube(x):
    return x * x * x


def passes(function, tensors, prune="ahead"):
    """Two passes, the second over the first."""
    xs = [Variable.constant(x) for x in tensors]
    L = loss_of([function(*xs)], Variable.constant)
    first = grad(L, xs, prune=prune)
    L = loss_of([None if g is None else g * g for g in first], Variable.constant)
    return xs, [None] * len(xs) if L is None else grad(L, xs, prune=prune)


@contextlib.contextmanager
def told_at_once():
    Recorder.may_wait = False
    try:
        yield
    finally:
        Recorder.may_wait = True


def both(run) -> tuple[Trace, Trace]:
    """The traces of a run that is told late and of one that is told at once."""
    with Tape() as tape, record() as late:
        run()
    was_deferred = put_off_on(tape) is not None
    with told_at_once(), Tape() as tape, record() as at_once:
        run()
    assert put_off_on(tape) is None and was_deferred == (len(at_once.passes) > 1)
    return late, at_once


@pytest.mark.parametrize("prune", ["none", "ahead"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_operator_gives_the_same_trace(case, prune):
    tensors = values(case.shapes, case.lowest)
    assert_same(*both(lambda: passes(case.function, tensors, prune)))


@settings(max_examples=60, deadline=None)
@given(PROGRAMS.filter(lambda program: all(step.table != "aggregate" for step in program.steps)))
def test_random_programs_give_the_same_trace(program):
    tensors = values(program.shapes, seed=program.seed)
    for prune in ("none", "ahead"):
        assert_same(*both(partial(passes, program, tensors, prune)))


@pytest.mark.parametrize("prune", ["none", "ahead"])
def test_a_compiled_aggregate_gives_the_same_trace(prune):
    f = compile_aggregate("t = a + b\nt * b * t.sin()", name="compiled_late")
    late, at_once = both(lambda: passes(f, [X, X + 1], prune))
    assert_same(late, at_once)
    assert any(entry.aggregate for entry in late.entries)


def test_nothing_is_recorded_until_it_is_asked_for():
    with Tape() as tape, record() as trace:
        (x,), (h,) = passes(cube, [X])
        assert put_off_on(tape) is not None
        before = len(tape.rows)
    assert len(tape.rows) == before
    assert len(trace.passes) == 2 and len(tape.rows) > before
    assert trace.events[-1].results[0].tensor is h.value
    with tape:
        assert trace.events[-1].results[0].name == h.name


# What may come after the pass, inside the recording.
LATER = {
    "nothing": lambda trace, x, h: None,
    "an operation": lambda trace, x, h: h * x,
    "a name": lambda trace, x, h: h.name,
    "a leaf": lambda trace, x, h: Variable.constant(torch.ones(2)) * h,
    "a leaf with a name": lambda trace, x, h: Variable.constant(torch.ones(2), name="y"),
    "a name without a Variable": lambda trace, x, h: fresh_name(),
    "a third pass": lambda trace, x, h: grad(h, [x]),
    "a third and a fourth": lambda trace, x, h: grad(grad(h, [x])[0], [x]),
    "a look at the trace": lambda trace, x, h: (len(trace), h * h),
    "a reset": lambda trace, x, h: (reset_tape(), h.detach() * x),
    "a pass over none of it": lambda trace, x, h: grad(cube(Variable.constant(X)), [x]),
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
def test_what_comes_later_comes_after_it(later):
    traces = []
    for recording in (contextlib.nullcontext, told_at_once):
        with recording(), Tape(), record() as trace:
            (x,), (h,) = passes(cube, [X])
            later(trace, x, h)
        traces.append(trace)
    assert_same(*traces)


def test_an_error_is_the_last_event():
    with contextlib.suppress(ValueError), Tape(), record() as trace:
        passes(cube, [X])
        raise ValueError("as planned")
    assert len(trace.passes) == 2 and isinstance(trace.error, Failed)


def test_the_line_is_that_of_the_call():
    def run():
        x = Variable.constant(X)
        (g,) = grad(cube(x).sum(), [x])
        grad(g.sum(), [x])

    late, at_once = both(run)
    line = inspect.getsourcelines(run)[1]
    for trace in (late, at_once):
        begun = [event.source for event in trace.events if isinstance(event, PassBegun)]
        assert begun == [(__file__, line + 2), (__file__, line + 3)]


def test_two_who_watch_are_told_the_same():
    with Tape(), record() as one, record() as two:
        passes(cube, [X])
    assert len(one.passes) == 2
    assert_same(one, two)


def test_who_came_later_is_not_told():
    with Tape(), record() as outer:
        passes(cube, [X])
        with record() as inner:
            pass
    assert (len(inner.passes), len(outer.passes)) == (0, 2)


@pytest.mark.parametrize("change", ["in place", "another tensor"])
def test_gradients_are_those_of_then_when_tensors_were_changed(change):
    """As after a step of an optimizer, before the trace was looked at."""

    def run():
        (x,), _ = passes(cube, [X.clone()])
        if change == "in place":
            x.value -= 0.25
        else:
            x.value = x.value - 0.25

    late, at_once = both(run)
    assert sum("pass 1" in notice for notice in late.notices) == 1  # asked for first
    assert not any("pass 1" in notice for notice in at_once.notices)
    x = late.value_named("v0")
    assert any("v0 was changed in place" in notice for notice in late.notices) == (change == "in place")
    assert change == "in place" or x.tensor.tolist() == X.tolist()
    assert totals(late) == totals(at_once) and len(totals(late)) > 10


def totals(trace) -> list:
    return [as_data(event.total.tensor) for event in trace.events if event.kind == "Accumulated" and event.total]


def test_no_change_no_notice():
    """Not a number is equal to itself here."""
    with Tape(), record() as trace:
        (_,), (h,) = passes(lambda x: (x - x) / (x - x) * x, [X])
    assert trace.events and h.value.isnan().all() and not trace.notices


def test_a_trace_keeps_its_names_and_values_when_the_tape_is_reset():
    """Also one that watches no more, and that nobody has read."""
    with Tape() as tape:
        a = Variable.constant(X, name="a")
        before = a * 2
        with record() as trace:
            (x,), _ = passes(cube, [X])
            grad(before * x, [a])
        reset_tape()
        assert not tape.entries
        Variable.constant(X, name="a") * 3
    assert len(trace.passes) == 3 and trace.events[-1].kind == "PassEnded"
    names = [value.name for value in trace.values]
    assert len(set(names)) == len(names) and not any("_" in name for name in names)
    visited = [event.entry.statement for event in trace.events if event.kind == "Visited" and event.pass_id == 2]
    assert visited[-1] == "v0 = a * 2"


def test_a_trace_that_nobody_has_is_told_nothing():
    gc.collect()
    gc.disable()
    try:
        with Tape() as tape, record() as trace:
            passes(cube, [X])
        assert put_off_on(tape).awaited()
        gone = weakref.ref(trace)
        del trace
        assert gone() is None and not put_off_on(tape).awaited()
    finally:
        gc.enable()
