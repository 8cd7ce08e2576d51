"""A trace as the text that the notebook prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .events import (
    Accumulated,
    Entry,
    Event,
    Failed,
    Leaf,
    LimitReached,
    PassBegun,
    PassEnded,
    PassFailed,
    Recorded,
    Value,
    VisitBegun,
    Visited,
)
from .looks import printable
from .texts import called

if TYPE_CHECKING:
    from .rows import Events

_RULE = "-" * 24
_SILENT = {VisitBegun, Visited, Accumulated}  # nothing is printed at them


def transcript(events: Events, printed: Sequence[tuple[int, int | None, str]] = ()) -> str:
    """`printed`: what the program printed itself, each line after so many events."""
    told, waiting = [], list(reversed(printed))
    for index, row in enumerate(events.rows()):
        if row[0] in _SILENT:
            continue
        while waiting and waiting[-1][0] <= index:
            told.append(waiting.pop()[2])
        told += _recorded(row[-1]) if row[0] is Recorded else lines(events.made(index))
    return "\n".join([*told, *(text for _, _, text in reversed(waiting))])


def lines(event: Event) -> Iterator[str]:
    """What the notebook prints at this event."""
    match event:
        case Leaf(value=value):
            yield f"{value.name} = {_shown(value)}"
        case Recorded(entry=entry):
            yield from _recorded(entry)
        case PassBegun(pass_=pass_):
            yield f"d{pass_.loss.name} {_RULE}"
        case PassEnded(pass_=pass_, table=table):
            for value, gradient in table:
                yield f"d{pass_.loss.name}_d{value.name} = {gradient.name}"
            yield _RULE
        case PassFailed(pass_=pass_):
            yield f"d{pass_.loss.name} failed{_at(event)}: {event.error}: {event.message}"
            yield _RULE
        case Failed():
            yield f"the run failed{_at(event)}: {event.error}: {event.message}"
        case LimitReached(message=message):
            yield message


def _recorded(entry: Entry) -> tuple[str, ...]:
    """Hand-written entries print nothing, as in the notebook."""
    return () if entry.aggregate else (entry.statement,)


def _at(event: Event) -> str:
    """Where it happened: the line of the program, or else of the Python file."""
    if event.line is not None:
        return f" at line {event.line}"
    return f" at {called(event.source[0])}:{event.source[1]}" if event.source else ""


def _shown(value: Value) -> object:
    """The tensor; where it was not kept or is too large a text, what is known of it. None would be a known zero."""
    if value.tensor is not None and printable(value.tensor):
        return value.tensor
    return f"a {value.dtype} tensor of shape {value.shape}{f', {value.note}' if value.note else ''}"
