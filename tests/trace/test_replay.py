"""`trace.at(k)` is what one gets by going through the first k events, one after another, for every k."""

from dataclasses import dataclass, field

import pytest
import torch

from simplegrad import Tape, Variable, grad, record
from simplegrad.trace.events import (
    Accumulated,
    Leaf,
    PassBegun,
    PassEnded,
    PassFailed,
    Read,
    Recorded,
    TapeReset,
    VisitBegun,
    Visited,
)
from simplegrad.trace.replay import Replay
from tests.trace.runs import RUNS, recorded


@dataclass
class Running:
    pass_: object
    table: dict = field(default_factory=dict)
    entries: dict = field(default_factory=dict)
    ended: bool = False


class Naive:
    """All of the state, kept up event by event."""

    def __init__(self):
        self.entries: list = []
        self.values: list = []
        self.stack: list[Running] = []
        self.current: Running | None = None

    def know(self, *values):
        self.values += [value for value in dict.fromkeys(values) if value not in self.values]

    def add(self, event):
        if isinstance(event, (Leaf, Read)):
            self.know(event.value)
        elif isinstance(event, Recorded):
            self.entries.append(event.entry)
            self.know(*event.entry.inputs, *event.entry.outputs)
        elif isinstance(event, PassBegun):
            self.current = Running(event.pass_, {event.pass_.loss: event.pass_.seed})
            self.stack.append(self.current)
            self.know(event.pass_.loss)
        elif isinstance(event, VisitBegun):
            self.current.entries[event.entry] = "active"
        elif isinstance(event, Visited):
            self.current.entries[event.entry] = event.state
        elif isinstance(event, Accumulated):
            self.current.table[event.value] = event.total
            self.know(event.value)
        elif isinstance(event, PassEnded):
            self.stack.pop().ended = True
            self.current = self.stack[-1] if self.stack else self.current
        elif isinstance(event, PassFailed):
            self.stack.pop()
            self.current = self.stack[-1] if self.stack else self.current
        elif isinstance(event, TapeReset):
            self.entries, self.values, self.current = [], [], None

    def gradient(self, value) -> tuple:
        if self.current is None or (value not in self.current.table and not self.current.ended):
            return "unreached", None
        gradient = self.current.table.get(value)
        if gradient is None:
            return "none", None
        return ("value" if gradient.tensor.any() else "zero"), gradient


@pytest.mark.parametrize("name", RUNS)
def test_at_every_k(name):
    trace, naive = recorded(name), Naive()
    for k in range(len(trace) + 1):
        if k:
            naive.add(trace.events[k - 1])
        state = trace.at(k)
        assert list(state.entries) == naive.entries
        assert list(state.gradients) == [value.name for value in naive.values]
        assert len(state.gradients) == len(naive.values)
        for value in naive.values:
            found = state.gradient(value)
            assert (found.state, found.value) == naive.gradient(value), (k, value)
            assert state.gradients[value.name] == found
        states = naive.current.entries if naive.current else {}
        assert [state.entry_state(entry) for entry in trace.entries] == [
            states.get(entry, "pending") for entry in trace.entries
        ]
        assert state.pass_ is (naive.current and naive.current.pass_)
        if k:
            event = trace.events[k - 1]
            assert (state.event, state.line, state.source) == (event, event.line, event.source)
            assert state.entry is getattr(event, "entry", None)


def test_every_state_of_gradients_and_entries_comes_up():
    gradients, entries = set(), set()
    for name in RUNS:
        trace = recorded(name)
        for k in range(len(trace) + 1):
            state = trace.at(k)
            gradients |= {gradient.state for gradient in state.gradients.values()}
            entries |= {state.entry_state(entry) for entry in state.entries}
    assert gradients == {"unreached", "none", "zero", "value"}
    assert entries == {"pending", "active", "propagated", "partial", "skipped", "pruned"}


@pytest.mark.parametrize("k", [-1, 10_000])
def test_outside_of_the_trace(k):
    with pytest.raises(IndexError, match=rf"^at\({k}\): this trace has 2 events, so k is 0 to 2.$"):
        leaves_only().at(k)


def leaves_only():
    with Tape(), record() as trace:
        Variable.constant(torch.ones(1))
        Variable.constant(torch.ones(1))
    return trace


def test_entries_so_far_are_a_sequence():
    entries = recorded("simple, none=skip, prune=none").at(5).entries
    assert entries[-1] is list(entries)[-1] and entries[:2] == list(entries)[:2]
    with pytest.raises(IndexError):
        entries[len(entries)]


def test_a_name_that_is_not_there():
    with pytest.raises(KeyError):
        recorded("no_pass").at(1).gradients["nobody"]


def test_a_name_used_again_after_a_reset_is_another_row():
    trace = recorded("the_tape_is_reset")
    ends = [event for event in trace.events if isinstance(event, PassEnded)]
    found = [trace.at(event.index + 1).gradients["a"].value.tensor.tolist() for event in ends[:2]]
    assert found == [[3.0, 1.5, 6.0, 2.0], [4.5, 2.25, 9.0, 3.0]]


def test_a_known_zero_is_told_from_a_computed_one():
    trace = recorded("known_zeros")
    gradients = trace.at(len(trace)).gradients
    assert (gradients["a"].state, gradients["b"].state) == ("zero", "zero")
    assert recorded("no_pass").at(3).gradients["a"].state == "unreached"


def test_before_and_after_a_pass_nothing_is_unreached_and_none():
    trace = recorded("simple_variable_wrong, none=skip, prune=none")
    begun = [event.index for event in trace.events if isinstance(event, PassBegun)][1]
    assert trace.at(begun + 1).gradients["a"].state == "unreached"
    assert trace.at(len(trace)).gradients["a"].state == "none"  # the bug: t's dependence on a was never declared
    assert trace.at(len(trace)).gradients["b"].state == "value"


def histories(trace) -> int:
    """How many facts a replay of the trace keeps."""
    replay = Replay(trace.events, trace.value_named)
    changes = [h for each in replay.passes for h in (*each.gradients.values(), *each.entries.values())]
    return sum(len(each) // 2 for each in changes) + len(replay.value_known_at) + len(replay.recorded_at)


def test_memory_grows_with_the_number_of_events_and_not_with_its_square():
    short, long = chain(50), chain(200)
    assert histories(short) <= 3 * len(short) and histories(long) <= 3 * len(long)


def chain(length: int):
    with Tape(), record() as trace:
        x = y = Variable.constant(torch.ones(2))
        for _ in range(length):
            y = (y * x).sin()
        (g,) = grad(y.sum(), [x])
        grad((g * g).sum(), [x])
    return trace
