"""A trace as compact JSON for the player: what changes at each step, and the texts of what is shown.

The player keeps, for each variable and entry, the short history of its states (as trace/replay.py does) and looks a
step up in it, so any step costs the same and going back is as cheap as going on. Ids are places in the lists; -1 stands
for None.
"""

from __future__ import annotations

import gzip
import json
import linecache
import math
import os
from functools import lru_cache

import torch

from ..trace.events import (
    Accumulated,
    Entry,
    Event,
    Failed,
    Leaf,
    LimitReached,
    PassBegun,
    PassEnded,
    Read,
    Recorded,
    TapeReset,
    Value,
    VisitBegun,
    Visited,
)
from ..trace.trace import Trace
from .sentences import Narrator, formulas, shape_text

ENTRY_STATES = ("pending", "active", "propagated", "partial", "skipped", "pruned")
VALUE_TEXTS = 40_000  # beyond that many variables their numbers are left out, for the sake of the page's memory
LONGEST_EXCERPT = 2000  # lines of a source file
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_EXAMPLES = (os.path.join(_PACKAGE, "aggregates.py"), os.path.join(_PACKAGE, "gallery") + os.sep)


def payload(trace: Trace) -> dict:
    """Everything about a trace that the player shows, figure aside."""
    narrator = Narrator(trace.kind)
    encoder = _Encoder(trace, narrator)
    events, sentences = [], []
    for event in trace.events:
        events.append(encoder.event(event))
        sentences.append(narrator.tell(event))
    return {
        "kind": trace.kind,
        "title": trace.title,
        "events": events,
        "sentences": sentences,
        "entries": [encoder.entry(entry) for entry in trace.entries],
        "values": [encoder.value(value) for value in trace.values],
        "passes": [[run.title, run.loss.name, [x.id for x in run.wanted]] for run in trace.passes],
        "program": trace.program.splitlines(),
        "sources": encoder.sources(),
        "bindings": {variable: name for name, variable in getattr(trace, "bindings", {}).items() if name != variable},
        "notices": list(trace.notices),
        "error": trace.error is not None,
    }


def as_json(data: dict) -> bytes:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def packed(data: dict) -> bytes:
    """As JSON, compressed: a trace repeats itself, and of 100,000 entries it is 7 MB instead of 40."""
    return gzip.compress(as_json(data), compresslevel=1, mtime=0)


class _Encoder:
    """Event -> [kind, parent, pass, line, source file, source line, …what happened]."""

    def __init__(self, trace: Trace, narrator: Narrator):
        self.narrator = narrator
        self.files: dict[str, int] = {}
        self.lines: dict[str, set[int]] = {}
        # a program has its own text; of Python's lines those in hand-written rules are told beside it
        rules = {entry.propagate_source[0] for entry in trace.entries if entry.propagate_source}
        self.only = rules if trace.program else None
        self.with_texts = len(trace.values) <= VALUE_TEXTS

    def event(self, event: Event) -> list:
        file, line = self.source(event.source)
        head = [0, _id(event.parent), _id(event.pass_id), event.line or 0, file, line]
        match event:
            case Leaf(value=value):
                return ["leaf", *head[1:], value.id]
            case Recorded(entry=entry):
                return ["recorded", *head[1:], entry.id]
            case Read(value=value, entry=entry):
                return ["read", *head[1:], value.id, entry.id]
            case PassBegun(run=run):
                return ["begun", *head[1:], run.id, _ids((run.loss, run.seed))]
            case VisitBegun(entry=entry, incoming=incoming):
                return ["visit", *head[1:], entry.id, _ids(incoming)]
            case Visited(entry=entry, state=state, incoming=incoming, outgoing=outgoing):
                return [state, *head[1:], entry.id, _ids(incoming), _ids(outgoing)]
            case Accumulated(entry=entry, value=value, contribution=contribution, total=total, slot=slot):
                kind = "nothing" if contribution is None else "accumulated"
                return [kind, *head[1:], entry.id, slot, value.id, *_ids((contribution, total))]
            case PassEnded(run=run, results=results):
                return ["ended", *head[1:], run.id, _ids(results)]
            case TapeReset():
                return ["reset", *head[1:]]
            case Failed() | LimitReached():
                return ["failed", *head[1:]]
        raise TypeError(f"{event.kind}: no code for this kind of event.")

    def source(self, source) -> tuple[int, int]:
        if source is None or is_ours(source[0]) or (self.only is not None and source[0] not in self.only):
            return -1, 0
        file, line = source
        self.lines.setdefault(file, set()).add(line)
        return self.files.setdefault(file, len(self.files)), line

    def entry(self, entry: Entry) -> list:
        ids = ([x.id for x in entry.inputs], [x.id for x in entry.outputs])
        return [
            entry.statement,
            _id(entry.pass_id),
            _id(entry.made_by),
            entry.line or 0,
            *ids,
            self.formulas(entry),
            entry.group,
        ]

    def formulas(self, entry: Entry) -> list[str]:
        return formulas(entry) if self.with_texts else []

    def value(self, value: Value) -> list:
        text = self.narrator.text(value) if self.with_texts else value.note
        most = largest(value)
        zero = value.is_zero if most == -1 else most == 0
        return [value.name, shape_text(value.shape), text, int(zero), int(value.leaf), most]

    def sources(self) -> list:
        """[name, first line, lines] of each file that the trace touches, cut to what surrounds the lines touched."""
        return [[os.path.basename(file), *_excerpt(file, self.lines[file])] for file in self.files]


def largest(value: Value) -> float:
    """The largest absolute value, for breakpoints: -1 where it is not known, -2 for NaN and infinity."""
    tensor = value.tensor
    if tensor is None or not tensor.numel() or tensor.dtype == torch.bool:
        return -1
    found = float(tensor.detach().abs().max())
    return found if math.isfinite(found) else -2


@lru_cache(maxsize=1024)  # asked for each event
def is_ours(file: str) -> bool:
    """Code of this package, which is nobody's program; the aggregates are there to be read."""
    path = os.path.abspath(file)
    return path.startswith(_PACKAGE) and not path.startswith(_EXAMPLES)


def _excerpt(file: str, touched: set[int]) -> tuple[int, list[str]]:
    """The functions from the first to the last line touched, if the file can be read and that is no book."""
    lines = linecache.getlines(file)
    first, last = min(touched), max(touched)
    if not 0 < last <= len(lines) or last - first > LONGEST_EXCERPT:
        return 1, []
    while first > 1 and not (_is_outer(lines[first - 1]) and not _is_outer(lines[first - 2])):
        first -= 1
    while last < len(lines) and not _is_outer(lines[last]):
        last += 1
    return first, [line.rstrip() for line in lines[first - 1 : last]]


def _is_outer(line: str) -> bool:
    """At the margin: where a function (or its decorator) begins, and the one before has ended."""
    return bool(line.strip()) and not line[0].isspace()


def _id(number: int | None) -> int:
    return -1 if number is None else number


def _ids(values) -> list[int]:
    return [-1 if value is None else value.id for value in values]
