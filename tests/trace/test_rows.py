"""Events are made when they are read, and names and texts when somebody asks for them; what they say is the same."""

import gc
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import FrozenInstanceError, replace
from threading import Barrier

import pytest
import torch

from simplegrad import Tape, Variable, grad, record
from simplegrad.trace.events import Accumulated, Entry, Event, PassBegun, PassEnded, Value, Visited
from simplegrad.trace.rows import Events


def recorded(n=20):
    with Tape(), record() as trace:
        x = Variable.constant(torch.tensor([0.5, 1.5]), name="x")
        z = x
        for _ in range(n):
            z = z.sin() * x
        (g,) = grad(z.sum(), [x])
        grad((g * g).sum(), [x])
    return trace


def test_an_event_that_is_read_twice_is_equal_and_one_key():
    trace = recorded()
    assert list(trace.events) == list(trace) == [trace[k] for k in range(len(trace))]
    assert len({*trace.events, *trace.events}) == len(trace)
    assert [event.index for event in trace.events] == list(range(len(trace)))
    assert trace[3] != trace[4] and trace[-1] == trace[len(trace) - 1]
    with pytest.raises(IndexError):
        trace[len(trace)]


def test_events_of_a_kind_are_those_that_a_look_at_all_finds():
    events = recorded().events
    for kind in (PassBegun, Accumulated, Visited):
        assert events.of(kind) == [event for event in events if isinstance(event, kind)] != []


def test_what_was_read_keeps_no_event_and_no_tuple_for_each():
    trace = recorded(200)
    assert len(trace.entries) > 1000 and all(event.index >= 0 for event in trace.events)
    gc.collect()
    kept, here = gc.get_objects(), {value for entry in trace.entries for value in entry.outputs}
    assert not any(isinstance(each, Event) and each in trace.events[each.index : each.index + 1] for each in kept)
    alone = [each for each in kept if type(each) is tuple and len(each) == 1 and isinstance(each[0], Value)]
    assert len([each for each in alone if each[0] in here]) < 10


def test_fields_are_tuples_whatever_is_kept():
    trace = recorded()
    for event in trace.events:
        for name in {"incoming", "outgoing", "results"} & {*type(event).__match_args__}:
            assert isinstance(getattr(event, name), tuple), event
    assert all(isinstance(entry.inputs + entry.outputs, tuple) for entry in trace.entries)
    (ended, _) = trace.events.of(PassEnded)
    assert all(isinstance(x, Value) and isinstance(g, Value) for x, g in ended.table) and len(ended.table) > 20
    assert ended.table == tuple(ended.table) != () and ended.table[0] == (trace.value_named("v40"), ended.pass_.seed)
    assert {ended.table: 1}[tuple(ended.table)] == 1


def test_an_event_is_a_copy_and_cannot_be_changed():
    trace = recorded(2)
    for event in trace.events:
        for name in type(event).__match_args__:
            with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
                setattr(event, name, None)
        with pytest.raises(FrozenInstanceError):
            del event.line
        assert copy(event) == event != replace(event, line=3) and trace[event.index] == event


def test_what_is_replaced_may_have_more_members():
    trace = recorded(2)
    last = trace.events.of(Visited)[0]
    before = trace[last.index + 1 :]
    trace._events.replace(replace(last, outgoing=(*last.outgoing, *last.outgoing)))
    assert trace[last.index].outgoing == 2 * last.outgoing and trace[last.index + 1 :] == before


def test_events_that_are_made_already_can_be_given_and_replaced():
    trace = recorded()
    again = Events(trace.events)
    assert list(again) == list(trace.events)
    first = again[0]
    again.replace(type(first)(0, None, None, 7, None, first.value))
    assert again[0].line == 7 and again[1:] == trace[1:]


def test_the_text_of_an_entry_may_have_braces():
    x = Value(0, "x", ())
    assert Entry(0, "f", "f({x}, {})", (x,), (x,)).statement == "x = f({x}, {})"


def test_names_do_not_depend_on_which_is_asked_for_first():
    """Of a Variable of another tape that would have a name of this one, too."""
    with Tape():
        other = Variable.constant(torch.ones(2))
    with Tape(), record() as trace:
        x = Variable.constant(torch.ones(2))
        y = x * other
        y * other
    assert [event.entry.statement for event in reversed(trace.events) if hasattr(event, "entry")][0] == "v2 = v1 * v0"
    assert [value.name for value in trace.values] == ["v0_1", "v0", "v1", "v2"]


def test_a_variable_of_before_a_reset_takes_no_name_from_one_of_now():
    with Tape() as tape, record() as trace:
        old = Variable.constant(torch.ones(2)) * 2
        tape.reset()
        Variable.constant(torch.ones(2)) * 3
        assert len(trace) == 5
        assert old.name == "v1_1"
    assert trace.transcript().splitlines()[-2:] == ["v0 = tensor([1., 1.])", "v1 = v0 * 3"]


def test_threads_that_ask_for_names_at_once_are_told_the_same():
    for _ in range(20):
        trace, start = recorded(40), Barrier(8)

        def names(trace=trace, start=start):
            start.wait()
            return [value.name for value in trace.values] + [entry.statement for entry in trace.entries]

        with ThreadPoolExecutor(8) as pool:
            told = [future.result() for future in [pool.submit(names) for _ in range(8)]]
        assert all(each == told[0] for each in told) and len({*told[0][: len(trace.values)]}) == len(trace.values)
