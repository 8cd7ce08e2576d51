"""Where a trace keeps its events: one flat list of what they say, and an event when somebody reads one.

A run has as many events as a program has calls. An object for each was half of what a trace was made of, and of what
Python's collector then walked through again and again. So a row has, side by side, the class of the event and its
fields after `index`, and the event is made of it each time that it is asked for: equal to the one before, not the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import overload

from .events import KINDS, Event, several


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
        start, end = self.ends[event.index], self.ends[event.index + 1]
        self.flat[start:end] = _row(event)

    def clear(self) -> None:
        self.flat.clear()
        del self.ends[1:]

    def of(self, kind: type[Event]) -> list[Event]:
        """All of this class, without a look at the others."""
        return [self.made(place) for place in range(len(self)) if self.flat[self.ends[place]] is kind]

    def made(self, place: int) -> Event:
        return _event(place, self.flat[self.ends[place] : self.ends[place + 1]])

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[Event]:
        flat, start = self.flat, 0
        for place, end in enumerate(self.ends[1:]):
            yield _event(place, flat[start:end])
            start = end

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...

    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        places = range(len(self))[index]
        return self.made(places) if isinstance(places, int) else list(map(self.made, places))

    def __repr__(self) -> str:
        return repr(list(self))


_FIELDS = {kind: attrgetter(*[name for name in kind.__match_args__ if name != "index"]) for kind in KINDS.values()}


# Where a row may have a single value in place of a tuple: see `several`.
_SEVERAL = {
    kind: [at for at, field in enumerate(fields(kind)) if field.name in ("incoming", "outgoing", "table")]
    for kind in KINDS.values()
}


def _event(place: int, row: list) -> Event:
    kind, row[0] = row[0], place
    for at in _SEVERAL[kind]:
        row[at] = several(row[at])
    return kind(*row)


def _row(event: Event) -> tuple:
    return (type(event), *_FIELDS[type(event)](event))
