"""Where a trace keeps its events: one flat list of what they say, and an event when somebody reads one.

A run has as many events as a program has calls. An object for each was half of what a trace was made of, and of what
Python's collector then walked through again and again. So a row has, side by side, the class of the event and its
fields after `index`, and the event is made of it each time that it is asked for: equal to the one before, not the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import make_dataclass
from operator import attrgetter
from typing import Any, overload

from .events import KINDS, Event, PassEnded, VisitBegun, Visited, several


class Events(Sequence[Event]):
    """The events of a trace, in order."""

    __slots__ = ("flat", "ends")

    def __init__(self, events: Iterable[Event] = ()):
        self.flat: list = []
        self.ends = array("q", [0])  # where each row ends, and the next begins
        for event in events:
            self.append(event)

    def add(self, row: tuple) -> None:
        """One more: its class and its fields after `index`, which is its place."""
        flat = self.flat
        flat += row
        self.ends.append(len(flat))

    def append(self, event: Event) -> None:
        """One that is made already; its `index` becomes its place."""
        self.add(_row(event))

    def replace(self, event: Event) -> None:
        """Put it in the place of the one that is there."""
        ends, row = self.ends, _row(event)
        start, end = ends[event.index : event.index + 2]
        self.flat[start:end] = row
        for place in range(event.index + 1, len(ends) if len(row) != end - start else 0):
            ends[place] += len(row) - (end - start)

    def clear(self) -> None:
        self.flat.clear()
        del self.ends[1:]

    def of(self, kind: type[Event]) -> list[Event]:
        """All of this class, without a look at the others."""
        return [self.made(place) for place, start in enumerate(self.ends[:-1]) if self.flat[start] is kind]

    def rows(self) -> Iterator[list]:
        """Of each its class and its fields after `index`, as they are kept, for who needs no event."""
        flat, start = self.flat, 0
        for end in self.ends[1:]:
            yield flat[start:end]
            start = end

    def looked_up(self, kind: type[Event], *names: str) -> Iterator[tuple]:
        """(place, these fields) of all of this class, or of every event where that is Event: for those who look through
        a long run, as no event is made. Not for fields that hold several things."""
        flat, starts, is_any = self.flat, self.ends[:-1], kind is Event
        places = [place for place, start in enumerate(starts) if is_any or flat[start] is kind]
        columns = [kind.__match_args__.index(name) for name in names]
        return zip(places, *[[flat[starts[place] + column] for place in places] for column in columns])

    def in_order(self, fields: Mapping[type[Event], str]) -> Iterator[tuple[int, type[Event], Any]]:
        """(place, class, that field) of all of these classes, in order, and likewise without an event made."""
        columns = {kind: kind.__match_args__.index(name) for kind, name in fields.items()}
        flat = self.flat
        for place, start in enumerate(self.ends[:-1]):
            column = columns.get(flat[start])
            if column is not None:
                yield place, flat[start], flat[start + column]

    def made(self, place: int) -> Event:
        return _event(place, self.flat[self.ends[place] : self.ends[place + 1]])

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[Event]:
        return map(_event, range(len(self)), self.rows())

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...

    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        places = range(len(self))[index]
        return self.made(places) if isinstance(places, int) else list(map(self.made, places))

    def __repr__(self) -> str:
        return repr(list(self))


NAMES = {kind: tuple(name for name in kind.__match_args__ if name != "index") for kind in KINDS.values()}
_FIELDS = {kind: attrgetter(*names) for kind, names in NAMES.items()}
# A tuple for each event would be as much as an object for each. So where the last field is one, it lies open at the end
# of the row; and of `incoming`, which mostly has one member, see `several`.
_OPEN = {kind: len(kind.__match_args__) - 1 for kind in (VisitBegun, Visited, PassEnded)}
_INCOMING = Visited.__match_args__.index("incoming")


def closed(row: list) -> list:
    """The row with all fields as the event has them."""
    kind = row[0]
    last = _OPEN.get(kind)
    if last is not None:
        row[last:] = (tuple(row[last:]),)
        if kind is Visited:
            row[_INCOMING] = several(row[_INCOMING])
    return row


def _event(place: int, row: list) -> Event:
    kind = row[0]
    if kind in _OPEN:
        closed(row)
    row[0] = place
    event = _FILLED[kind](*row)
    event.__class__ = kind
    return event


def _row(event: Event) -> tuple:
    return row_of(type(event), _FIELDS[type(event)](event))


def row_of(kind: type[Event], fields: Iterable) -> tuple:
    """Of an event of this class; `fields`: all but `index`, as the event has them."""
    row = (kind, *fields)
    return (*row[:-1], *row[-1]) if kind in _OPEN else row


def _filled(kind: type) -> type:
    """A class with the same slots, for an event that is being made: a frozen one sets each field by a call of its own,
    which takes four times as long."""
    return type(
        kind.__name__,
        kind.__bases__,
        {
            "__slots__": kind.__slots__,
            "__init__": make_dataclass(kind.__name__, kind.__match_args__).__init__,
            "__setattr__": object.__setattr__,
            "__delattr__": object.__delattr__,
        },
    )


_FILLED = {kind: _filled(kind) for kind in KINDS.values()}
