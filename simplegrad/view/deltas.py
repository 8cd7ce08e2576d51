"""A trace as compact JSON for the player: what changes at each step, and the texts of what is shown.

The player keeps, for each variable and entry, the short history of its states (as trace/replay.py does) and looks a
step up in it, so any step costs the same and going back is as cheap as going on. Ids are places in the lists; -1 stands
for None.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable

from ..graph.search import modules_of
from ..trace.events import (
    Accumulated,
    Entry,
    Event,
    Failed,
    Leaf,
    LimitReached,
    PassBegun,
    PassEnded,
    PassFailed,
    Read,
    Recorded,
    TapeReset,
    Value,
    VisitBegun,
    Visited,
)
from ..trace.looks import Looks
from ..trace.texts import LONGEST, around, called, is_ours, lines_of
from ..trace.trace import Trace
from .contract import NOT_FINITE, NOWHERE, UNKNOWN, WIDTHS, EntryRow, EventRow, ModuleRow, PassRow, SourceRow, ValueRow
from .sentences import Narrator, formulas, shape_text

ENTRY_STATES = ("pending", "active", "propagated", "partial", "skipped", "pruned")
MOST_CHARACTERS = 200_000_000  # of all sentences, and of all formulas; what is beyond is left out
ASKED_EACH = 500  # events
LONGEST_STATEMENT = 5_000  # characters of an entry
VALUE_TEXTS = 40_000  # beyond that many variables their numbers are left out, for the sake of the page's memory


def payload(trace: Trace, asked: Callable[[], None] = lambda: None) -> dict:
    """Everything about a trace that the player shows, figure aside. `asked` is called now and then, and may raise."""
    narrator = Narrator(trace.kind)
    encoder = _Encoder(trace, narrator)
    events, sentences = [], []
    room = MOST_CHARACTERS
    for number, event in enumerate(trace.events):
        if number % ASKED_EACH == 0:
            asked()
        row = encoder.event(event)
        events.append(row[: WIDTHS[row.kind]])  # without the fields that its kind has not
        sentences.append(narrator.tell(event) if room > 0 else "")
        room -= len(sentences[-1])
    if sentences and trace.about:
        sentences[0] = f"{trace.about} {sentences[0]}"
    return {
        "kind": trace.kind,
        "title": trace.title,
        "events": events,
        "sentences": sentences,
        "entries": [encoder.entry(entry) for entry in trace.entries],
        "values": [encoder.value(value) for value in trace.values],
        "passes": [PassRow(pass_.title, pass_.loss.name, [x.id for x in pass_.wanted]) for pass_ in trace.passes],
        "modules": [ModuleRow(each.title, each.entries[0].id, len(each.entries)) for each in modules_of(trace.entries)],
        "program": trace.program.splitlines(),
        "printed": [[after, text] for after, _, text in trace.printed],
        "sources": encoder.sources(),
        "bindings": {variable: name for name, variable in getattr(trace, "bindings", {}).items() if name != variable},
        "notices": list(trace.notices),
        "error": trace.error is not None,
    }


def as_json(data: dict) -> bytes:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")  # lone surrogates


def packed(data: dict) -> bytes:
    """As JSON, compressed: a trace repeats itself, and of 100,000 entries it is 7 MB instead of 40."""
    return gzip.compress(as_json(data), compresslevel=1, mtime=0)


def _called(file: str) -> str:
    """What a file is called on a page; the text of a program, and what the compiler wrote, have none."""
    if file.startswith("<"):
        return file[1:-1].rsplit(" ", 1)[0]
    return called(file)


class _Encoder:
    """Events, entries, values and sources of a trace as the rows of contract.py."""

    def __init__(self, trace: Trace, narrator: Narrator):
        self.narrator = narrator
        self.texts = trace.texts
        self.room = MOST_CHARACTERS
        self.files: dict[str, int] = {}
        self.lines: dict[str, set[int]] = {}
        # a program has its own text; of Python's lines those in hand-written rules are told beside it
        rules = {entry.propagate_source[0] for entry in trace.entries if entry.propagate_source}
        self.only = rules if trace.program else None
        self.with_texts = len(trace.values) <= VALUE_TEXTS

    def event(self, event: Event) -> EventRow:
        head = (_id(event.parent), _id(event.pass_id), event.line or 0, *self.source(event.source))
        match event:
            case Leaf(value=value):
                return EventRow("leaf", *head, value.id)
            case Recorded(entry=entry):
                return EventRow("recorded", *head, entry.id)
            case Read(value=value, entry=entry):
                return EventRow("read", *head, value.id, entry.id)
            case PassBegun(pass_=pass_):
                return EventRow("begun", *head, pass_.id, _ids((pass_.loss, pass_.seed)))
            case VisitBegun(entry=entry, incoming=incoming):
                return EventRow("visit", *head, entry.id, _ids(incoming))
            case Visited(entry=entry, state=state, incoming=incoming, outgoing=outgoing):
                return EventRow(state, *head, entry.id, _ids(incoming), _ids(outgoing))
            case Accumulated(entry=entry, value=value, contribution=contribution, total=total, slot=slot):
                lost = value in self.narrator.nothing.escaped
                kind = "nothing" if contribution is None else "lost" if lost else "accumulated"
                return EventRow(kind, *head, entry.id, slot, value.id, *_ids((contribution, total)))
            case PassEnded(pass_=pass_, results=results):
                return EventRow("ended", *head, pass_.id, _ids(results))
            case PassFailed(pass_=pass_):
                return EventRow("broken", *head, pass_.id)
            case TapeReset():
                return EventRow("reset", *head)
            case Failed() | LimitReached():
                return EventRow("failed", *head)
        raise TypeError(f"{event.kind}: no row for this kind of event.")

    def source(self, source) -> tuple[int, int]:
        if source is None or is_ours(source[0]) or (self.only is not None and source[0] not in self.only):
            return -1, 0
        file, line = source
        self.lines.setdefault(file, set()).add(line)
        return self.files.setdefault(file, len(self.files)), line

    def entry(self, entry: Entry) -> EntryRow:
        ids = ([x.id for x in entry.inputs], [x.id for x in entry.outputs])
        return EntryRow(
            entry.statement[:LONGEST_STATEMENT],
            _id(entry.pass_id),
            _id(entry.made_by),
            entry.line or 0,
            *ids,
            self.formulas(entry),
            entry.group,
        )

    def formulas(self, entry: Entry) -> list[str]:
        said = formulas(entry) if self.with_texts and self.room > 0 else []
        self.room -= sum(map(len, said))
        return said

    def value(self, value: Value) -> ValueRow:
        text = self.narrator.text(value) if self.with_texts else value.note
        most = largest(value, self.narrator.looks)
        zero = value.is_zero if most == UNKNOWN else most == 0
        return ValueRow(value.name, shape_text(value.shape), text, int(zero), int(value.leaf), most)

    def sources(self) -> list[SourceRow]:
        """Each file that the trace touches, cut to what surrounds the lines touched."""
        return [
            SourceRow(_called(file), *_excerpt(lines_of(file, self.texts), self.lines[file])) for file in self.files
        ]


def largest(value: Value, seen: Looks) -> float:
    """The largest absolute value, for breakpoints; UNKNOWN or NOT_FINITE where there is none."""
    if value.tensor is None and not value.is_finite:
        return NOT_FINITE
    found = None if value.tensor is None else seen.largest(value.tensor)
    if found is None:
        return UNKNOWN
    return found if math.isfinite(found) else NOT_FINITE


def _excerpt(lines: list[str], touched: set[int]) -> tuple[int, list[str]]:
    """The functions from the first to the last line touched, if they are known and that is no book."""
    first, last = min(touched), max(touched)
    if not 0 < last <= len(lines) or last - first > LONGEST:
        return 1, []
    first, last = around(lines, first, last)
    return first, [line.rstrip() for line in lines[first - 1 : last]]


def _id(number: int | None) -> int:
    return NOWHERE if number is None else number


def _ids(values) -> list[int]:
    return [NOWHERE if value is None else value.id for value in values]
