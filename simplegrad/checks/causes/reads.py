"""Which statement of a backward reads a value that enters the gradient: one whose change moves it, not a `.shape`."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

from ..measure.numbers import unlike
from ..report import Place
from ..subjects.alone import Alone
from ..subjects.slots import Path
from .owner import Owner
from .suspects import stirred
from .trail import Change, Note, Site, followed

MOST = 12  # reads of one value that are tried


def read_at(alone: Alone, incoming: list[Any], code: types.CodeType, paths: list[Path]) -> Place | None:
    """The first statement that takes the value at these paths into an operation on which the gradient depends."""
    base, notes, values = _run(alone, incoming, code, paths)
    tried: list[Site] = []
    for note in notes:
        if note.site in tried or len(tried) >= MOST or not any(a is v for a in _arguments(note) for v in values):
            continue
        tried.append(note.site)
        try:
            moved, _, _ = _run(alone, incoming, code, paths, {note.site: stirred})
        except Exception:  # another value does not pass a check of the author's, or fits nothing that follows
            continue
        if unlike(base, moved, 0.0):
            return note.site.statement
    return None


def _run(
    alone: Alone,
    incoming: list[Any],
    code: types.CodeType,
    paths: list[Path],
    changes: dict[Site, Change] | None = None,
) -> tuple[list[Any], list[Note], list[Any]]:
    ran = alone.forward()
    values = [slot.value for slot in ran.slots if slot.path in paths]
    found = followed(lambda: alone.backward(ran, incoming), {code}, Owner(code), changes, lines=False)
    return found.returned, found.notes, values


def _arguments(note: Note) -> Iterator[Any]:
    for value in (*note.args, *note.kwargs.values()):
        yield from value if isinstance(value, tuple | list) else (value,)
