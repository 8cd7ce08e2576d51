"""The state of a run after any number of its events, without running anything again.

Each variable and each entry keeps the short history of what happened to it; a state looks its answers up there by
bisection, so going to any event costs the same, and memory grows with the number of events.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simplegrad.locks import cached_property

from .events import (
    Accumulated,
    Entry,
    Event,
    Leaf,
    Pass,
    PassBegun,
    PassEnded,
    PassFailed,
    Read,
    Recorded,
    Source,
    TapeReset,
    Value,
    VisitBegun,
    Visited,
)

if TYPE_CHECKING:
    from .rows import Events

UNREACHED, NONE, ZERO, NONFINITE, VALUE = "unreached", "none", "zero", "nonfinite", "value"
PENDING, ACTIVE, PROPAGATED, PARTIAL, SKIPPED, PRUNED = (
    "pending",
    "active",
    "propagated",
    "partial",
    "skipped",
    "pruned",
)


@dataclass(frozen=True, slots=True)
class Gradient:
    """One row of the gradient table: its `state` (the five above), and as `value` the gradient, if there is one."""

    state: str
    value: Value | None = None


class Replay:
    """The histories of a trace's events. `at(k)` is the state after the first k of them.

    `value_named`: name -> the trace's value, or None; for those of which no event tells.
    """

    def __init__(self, events: Events, value_named: Callable[[str], Value | None]):
        self.events = events
        self.value_named = value_named
        self.pass_begins: list[int] = []  # indices of PassBegun events
        self.passes: list[PassHistory] = []
        self.recorded_at: list[int] = []  # indices of Recorded events
        self.resets = [0]  # where a new tape begins: 0, and the indices of TapeReset events
        self.value_known_at: dict[Value, int] = {}  # in the order of the indices
        self.stack: list[PassHistory] = []  # the passes that run
        self.running: History = History()  # which pass is the current one, at any event
        for index, row in enumerate(events.rows()):
            tell = _TELLERS.get(row[0])
            if tell is not None:
                tell(self, index, *row[5:])

    # --- one for each kind of event; its arguments are the event's own fields --------------------------------------

    def known_from(self, index: int, value: Value, _entry: Entry | None = None) -> None:
        self.value_known_at.setdefault(value, index)

    def recorded(self, index: int, entry: Entry) -> None:
        self.recorded_at.append(index)
        for value in (*entry.inputs, *entry.outputs):
            self.value_known_at.setdefault(value, index)

    def pass_begun(self, index: int, pass_: Pass) -> None:
        history = PassHistory(pass_, index)
        self.pass_begins.append(index)
        self.passes.append(history)
        self.stack.append(history)
        self.running.add(index, history)
        self.known_from(index, pass_.loss)
        if pass_.seed is not None:
            history.gradient(pass_.loss).add(index, pass_.seed)

    def visit_begun(self, index: int, entry: Entry, *_incoming: Value | None) -> None:
        self.stack[-1].entry(entry).add(index, ACTIVE)

    def visited(self, index: int, entry: Entry, state: str, *_gradients: Value | None) -> None:
        self.stack[-1].entry(entry).add(index, state)

    def accumulated(self, index, _entry, _slot, value: Value, _contribution, total: Value | None, _first) -> None:
        self.stack[-1].gradient(value).add(index, total)
        self.value_known_at.setdefault(value, index)

    def pass_ended(self, index: int, *_: object) -> None:
        self.stack.pop().end = index
        self.go_on(index)

    def pass_failed(self, index: int, *_: object) -> None:
        self.stack.pop()  # without an end: what did not come is not known to be zero
        self.go_on(index)

    def go_on(self, index: int) -> None:
        if self.stack:
            self.running.add(index, self.stack[-1])

    def reset(self, index: int) -> None:
        self.resets.append(index)
        self.running.add(index, None)

    def tape_at(self, k: int) -> int:
        """Index of the event with which the tape of the state `at(k)` began."""
        return self.resets[max(bisect_left(self.resets, k) - 1, 0)]

    @cached_property
    def known(self) -> tuple[list[int], list[Value]]:
        """The values in the order in which they came, and since when they are known."""
        return list(self.value_known_at.values()), list(self.value_known_at)

    @cached_property
    def named(self) -> dict[str, History]:
        """name -> the values of this name, by the beginning of the tape that they are on; where there is one tape, its
        names are the trace's."""
        names: dict[str, History] = {}
        if len(self.resets) == 1:
            return names
        for value, index in self.value_known_at.items():
            names.setdefault(value.name, History()).add(self.tape_at(index + 1), value)
        return names

    def at(self, k: int) -> State:
        if not 0 <= k <= len(self.events):
            raise IndexError(f"at({k}): this trace has {len(self.events)} events, so k is 0 to {len(self.events)}.")
        return State(self, k)


_TELLERS = {
    Leaf: Replay.known_from,
    Read: Replay.known_from,
    Recorded: Replay.recorded,
    PassBegun: Replay.pass_begun,
    VisitBegun: Replay.visit_begun,
    Visited: Replay.visited,
    Accumulated: Replay.accumulated,
    PassEnded: Replay.pass_ended,
    PassFailed: Replay.pass_failed,
    TapeReset: Replay.reset,
}


class History(list):
    """What something was, from which event on: index, value, index, value, … One list, where three objects for each
    variable would have Python's collector walk through everything once more."""

    __slots__ = ()

    def add(self, index: int, value) -> None:
        self += (index, value)

    def before(self, k: int, default=None):
        """The last value that came with an event before k."""
        place = bisect_left(range(0, len(self), 2), k, key=self.__getitem__)
        return self[2 * place - 1] if place else default


class PassHistory:
    def __init__(self, pass_: Pass, begin: int):
        self.pass_ = pass_
        self.begin = begin
        self.end: int | None = None
        self.gradients: dict[Value, History] = {}  # in the order in which they were first reached
        self.entries: dict[Entry, History] = {}

    def gradient(self, value: Value) -> History:
        found = self.gradients.get(value)
        if found is None:
            found = self.gradients[value] = History()
        return found

    def entry(self, entry: Entry) -> History:
        found = self.entries.get(entry)
        if found is None:
            found = self.entries[entry] = History()
        return found


_NOT_YET = object()


class State:
    """The run after its first `k` events. Everything is looked up when asked for.

    `event`: the last of the k events. `pass_`: the pass that runs, or the last that ran. `gradients`: its table,
    variable name -> Gradient. `entries`: those on the tape so far; `entry_state(entry)`; `entry`: the current one.
    """

    __slots__ = ("_replay", "k")

    def __init__(self, replay: Replay, k: int):
        self._replay = replay
        self.k = k

    @property
    def event(self) -> Event | None:
        return self._replay.events[self.k - 1] if self.k else None

    @property
    def history(self) -> PassHistory | None:
        return self._replay.running.before(self.k)

    @property
    def pass_(self) -> Pass | None:
        return self.history and self.history.pass_

    @property
    def run(self) -> Pass | None:
        """Its older name, which programs still say."""
        return self.pass_

    @property
    def in_pass(self) -> bool:
        return self.event is not None and self.event.pass_id is not None

    @property
    def entry(self) -> Entry | None:
        return getattr(self.event, "entry", None)

    @property
    def line(self) -> int | None:
        return self.event and self.event.line

    @property
    def source(self) -> Source | None:
        return self.event and self.event.source

    @property
    def entries(self) -> Sequence[Entry]:
        recorded_at = self._replay.recorded_at
        first = bisect_left(recorded_at, self._replay.tape_at(self.k))
        return EntriesSoFar(self._replay, first, bisect_left(recorded_at, self.k) - first)

    def entry_state(self, entry: Entry) -> str:
        """pending, active, propagated, partial, skipped or pruned, in the current pass."""
        history = self.history
        if history is None or entry not in history.entries:
            return PENDING
        return history.entries[entry].before(self.k, PENDING)

    def gradient(self, value: Value) -> Gradient:
        """The row of the gradient table of the current pass for this variable."""
        history = self.history
        found = _NOT_YET
        if history is not None and value in history.gradients:
            found = history.gradients[value].before(self.k, _NOT_YET)
        if found is _NOT_YET:
            ended = history is not None and history.end is not None and history.end < self.k
            return Gradient(NONE if ended else UNREACHED)
        if found is None:
            return Gradient(NONE)
        return Gradient(NONFINITE if not found.is_finite else ZERO if found.is_zero else VALUE, found)

    @property
    def gradients(self) -> Mapping[str, Gradient]:
        return GradientTable(self)


class EntriesSoFar(Sequence):
    """The first n entries of a tape, without copying them."""

    def __init__(self, replay: Replay, first: int, count: int):
        self._replay = replay
        self._first = first
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(self._count))]
        if not -self._count <= i < self._count:
            raise IndexError(i)
        return self._replay.events[self._replay.recorded_at[self._first + i % self._count]].entry


class GradientTable(Mapping):
    """dL_d of the current pass: a row for every variable known so far, by name."""

    def __init__(self, state: State):
        self._state = state

    def _known(self) -> tuple[int, int]:
        replay, k = self._state._replay, self._state.k
        indices = replay.known[0]
        return bisect_left(indices, replay.tape_at(k)), bisect_left(indices, k)

    def __getitem__(self, name: str) -> Gradient:
        replay = self._state._replay
        history = replay.named.get(name)
        value = history and history.before(replay.tape_at(self._state.k) + 1)
        value = value or replay.value_named(name)
        if value is None:
            raise KeyError(name)
        return self._state.gradient(value)

    def __iter__(self) -> Iterator[str]:
        first, stop = self._known()
        return (value.name for value in self._state._replay.known[1][first:stop])

    def __len__(self) -> int:
        first, stop = self._known()
        return stop - first
