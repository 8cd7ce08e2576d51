"""What a long tape collapses into: groups of entries that follow each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..trace.events import Entry, Pass
from .boxes import Box

GROUP_LENGTH = 250  # entries that a collapsed group holds at most, unless there are too many groups
GROUP_COUNT = 600


@dataclass(slots=True, eq=False)
class Group:
    """Consecutive entries of one pass (and program line, module or source line, where the tape is not too long), or
    those of the module `box`."""

    key: str
    title: str
    entries: list[Entry]
    box: Box | None = None


def groups_of(entries: list[Entry], passes: Iterable[Pass]) -> list[Group]:
    """The groups of a graph's entries, in the order of the tape."""
    runs = runs_of(entries, lambda entry: (entry.pass_id, entry.group, entry.line), GROUP_LENGTH)
    if len(runs) > GROUP_COUNT:
        length = max(GROUP_LENGTH, len(entries) // (GROUP_COUNT // 2))
        runs = runs_of(entries, lambda entry: entry.pass_id, length)
    titles = {run.id: run.title for run in passes}
    return [Group(f"g{run[0].id}", _title(run, titles), run) for run in runs]


def runs_of(entries: Iterable[Entry], key, length: int) -> list[list[Entry]]:
    """Entries that follow each other with the same key, `length` at most in one list."""
    runs: list[list[Entry]] = []
    last = object()
    for entry in entries:
        now = key(entry)
        if now != last or len(runs[-1]) >= length:
            runs.append([])
        runs[-1].append(entry)
        last = now
    return runs


def _title(run: list[Entry], titles: dict[int, str]) -> str:
    first = run[0]
    where = first.group or (f"line {first.line}" if first.line else "")
    lane = titles.get(first.pass_id, "forward")
    span = f"entries {first.id} to {run[-1].id}" if len(run) > 1 else f"entry {first.id}"
    return ", ".join(part for part in (span, where, lane) if part)
