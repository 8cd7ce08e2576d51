"""The document that trace.json holds (store.py describes it): made of a trace, and made into one again."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
from collections.abc import Callable
from functools import cache
from typing import NoReturn

import torch

from .calls import CALL_KINDS, WITHIN, Call, Filled, Held
from .events import KINDS, Entry, Event, Pass, Recorded, Table, Value, Visited
from .looks import MOST_DIMENSIONS, can_be_looked_at, distinct
from .ranks import DONE, STARTED, WAITS, Collective, Share
from .replay import Replay
from .texts import MOST_FILES, MOST_LINES, excerpts
from .trace import Trace

FORMAT, VERSION = "simplegrad trace", 2
MOST_ELEMENTS = 1 << 32  # of one tensor, expanded: what is repeated takes no memory, and is never written out
LONGEST_NAME = 500  # characters of a name, an operator, a dtype; they stand in sentences again and again
LONGEST_TEXT = 1_000_000  # of anything else
DAMAGED = "The file is damaged or was cut off. Copy it anew, or save the trace again with trace.save(path)."
_ABOUT = ("title", "program", "aggregate", "kind")
_RANK = ("rank", "world", "seed")
_BESIDE = {
    "calls": Call,
    "held": Held,
    "filled": Filled,
    "collectives": Collective,
    "shares": Share,
}  # lists of a trace beside its events
# Of these, what a field usually is is left out.
_USUAL = {
    kind: {field.name: field.default for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING}
    for kind in _BESIDE.values()
}
_NO_USUAL = object()
# Texts that are one of a few, by which others look things up.
_CHOICES = {
    (Visited, "state"): ("propagated", "partial", "skipped", "pruned"),
    (Pass, "none"): ("skip", "zeros"),
    (Pass, "prune"): ("none", "ahead"),
    (Call, "kind"): CALL_KINDS,
    (Call, "within"): WITHIN,
    (Held, "grad"): ("none", "zero", "nan", "tiny", "huge", "value"),
    (Filled, "before_kind"): ("", "nan", "inf"),
    (Filled, "after_kind"): ("", "nan", "inf"),
    (Collective, "state"): (DONE, WAITS, STARTED),
}
_KINDS = ("tape", "torch")
_NONFINITE = ("nan", "inf", "")
# Fields that are left out where they are empty.
_OF_EVENTS = ("parent", "pass_id", "line", "source")
_LEFT_OUT = {*_OF_EVENTS, "propagate_source", "returns_at", "made_by", "group", "aggregate"}


NOT_KEPT = (
    "The file does not hold the tensors of {} values: they have no numbers (of the meta device, fake), or a layout, a "
    "dtype or a number of dimensions that no file holds."
)


class WrongDocument(Exception):
    """What is wrong with a file; `load` adds which one it is."""


class Writer:
    """Makes the document. `places` remembers where a value, an entry or a pass was put."""

    def __init__(self, trace: Trace):
        self.tensors = TensorsWritten()
        self.places: dict[object, int] = {}
        self.rows: dict[str, list] = {"sources": [], "values": [], "entries": [], "passes": []}
        for value in trace.values:
            self.place(value)
        listed = len(self.rows["values"])
        for entry in trace.entries:
            self.place(entry)
        tape = len(self.rows["entries"])
        events = [self.event(event) for event in trace.events]
        beside = {name: [self.fields(each) for each in getattr(trace, name)] for name in _BESIDE}
        about = {name: str(getattr(trace, name)) for name in _ABOUT}
        about |= {"notices": [*map(str, trace.notices), *self.notices], "bindings": _names(trace)}
        about |= {"texts": excerpts(map(tuple, self.rows["sources"]), trace.texts)}
        self.document = {"format": FORMAT, "version": VERSION, **about}
        self.document |= {**self.rows, "listed": listed, "tape": tape, "events": events}
        self.document |= {name: rows for name, rows in beside.items() if rows}
        self.document |= {n: getattr(trace, n) for n in _RANK if getattr(trace, n) is not None}
        if trace.printed:
            self.document["printed"] = [list(line) for line in trace.printed]

    @property
    def notices(self) -> list[str]:
        return [NOT_KEPT.format(self.tensors.without)] if self.tensors.without else []

    def place(self, thing: Value | Entry | Pass) -> int:
        """Where it stands in its list; put there now if it is new. What it refers to gets its place before it."""
        place = self.places.get(thing)
        if place is None:
            kind, row = self.row(thing)
            place = self.places[thing] = len(self.rows[kind])
            self.rows[kind].append(row)
        return place

    def row(self, thing: Value | Entry | Pass) -> tuple[str, dict]:
        if isinstance(thing, Entry):
            return "entries", self.fields(thing)
        if isinstance(thing, Pass):
            return "passes", self.fields(thing)
        shape = thing.shape if len(thing.shape) <= MOST_DIMENSIONS else (math.prod(thing.shape),)
        fields = {"id": thing.id, "name": _cut(thing.name), "shape": list(shape), "dtype": thing.dtype}
        if thing.leaf:
            fields["leaf"] = True
        if thing.nonfinite is not None:
            fields["nonfinite"] = thing.nonfinite
        if thing.norm is not None:
            fields["norm"] = thing.norm
        key, note = self.tensors.add(thing.tensor)
        return "values", fields | ({"tensor": key} if key else {}) | _not_empty("note", _cut(thing.note or note))

    def event(self, event: Event) -> dict:
        return {"kind": event.kind, **self.fields(event)}

    def fields(self, thing: Event | Entry | Pass | Call | Held | Filled | Collective | Share) -> dict:
        written = {}
        for name, write, usual, may_lack in _written(type(thing)):
            value = getattr(thing, name)
            if value is None or write is None:
                if value != usual and not (may_lack and (value is None or value is False or value == "")):
                    written[name] = value
            elif usual is _NO_USUAL or value != usual:
                written[name] = write(self, value)
        return written

    def pair(self, pair: tuple[Value, Value]) -> list[int]:
        return [self.place(value) for value in pair]

    def source(self, source: tuple) -> int:
        source = (str(source[0]), int(source[1]))
        if source not in self.places:
            self.places[source] = len(self.rows["sources"])
            self.rows["sources"].append(list(source))
        return self.places[source]


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _names(trace: Trace) -> dict[str, str]:
    return {_cut(name): _cut(variable) for name, variable in trace.bindings.items()}


def _not_empty(name: str, text: str) -> dict:
    return {name: text} if text else {}


class TensorsWritten:
    """The tensors of a file, each part of memory once."""

    def __init__(self):
        self.kept: dict[str, torch.Tensor] = {}
        self.keys: dict[tuple, str] = {}
        self.without = 0  # values whose tensors no file holds

    def add(self, tensor: torch.Tensor | None) -> tuple[str, str]:
        """(key, ""), or ("", why there is none)."""
        if tensor is None:
            return "", ""
        if not can_be_looked_at(tensor):
            kinds = [str(each).removeprefix("torch.") for each in (tensor.layout, tensor.dtype)]
            kind = kinds[tensor.layout is torch.strided] if tensor.dim() <= MOST_DIMENSIONS else f"{tensor.dim()} dims"
            self.without += 1
            return "", f"its tensor was not kept: {kind} on {tensor.device}"
        kind = "complex" if tensor.is_complex() else "t"
        tensor = plain(tensor)
        memory = (kind, tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        if memory not in self.keys:
            self.keys[memory] = f"{kind}{len(self.kept)}"
            self.kept[self.keys[memory]] = tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)
        return self.keys[memory], ""


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without history, with real numbers, and with nothing in it twice that expanding repeated."""
    tensor = tensor.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
    return distinct(torch.view_as_real(tensor) if tensor.is_complex() else tensor)


class Reader:
    """Makes the trace of a document, and believes nothing that it has not looked at."""

    def __init__(self, document: dict, tensors: dict[str, torch.Tensor]):
        self.document = document
        self.tensors = tensors
        self.shaped: dict[tuple, torch.Tensor] = {}
        self.alike: dict = {}  # texts, numbers and shapes: one object for all that are equal, as in a recorded trace
        self.at = ""  # what is being read, for messages
        self.sources = [self.source_row(row, i) for i, row in enumerate(self.list_of("sources", document))]
        self.values = [self.value_row(row, i) for i, row in enumerate(self.list_of("values", document))]
        self.entries = self.all_of(Entry, "entries")
        self.passes = self.all_of(Pass, "passes")

    def trace(self) -> Trace:
        events = [self.event(row, index) for index, row in enumerate(self.list_of("events", self.document))]
        self.check_order(events)
        trace = Trace(events, self.entries[: self.count("tape")], self.values[: self.count("listed")])
        trace.texts = self.texts()
        for name in _ABOUT:
            setattr(trace, name, self.text(self.document.get(name, ""), name))
        if trace.kind not in _KINDS:
            self.wrong(f"kind is {_said(trace.kind)}, not one of {', '.join(_KINDS)}")
        trace.bindings = self.names("bindings")
        trace._notices = [self.text(notice, "notices") for notice in self.list_of("notices", self.document)]
        trace.printed = self.printed(len(events))
        trace._calls, trace._held = self.beside("calls", Call), self.beside("held", Held)
        trace._filled = self.beside("filled", Filled)
        trace._collectives, trace._shares = self.beside("collectives", Collective), self.beside("shares", Share)
        for name in _RANK:
            self.at = name
            setattr(trace, name, None if self.document.get(name) is None else self.whole(self.document[name]))
        self.check_beside(trace)
        trace.pass_count = len(trace.passes)
        try:
            Replay(trace.events, trace.value_named)
        except (LookupError, AttributeError):
            self.wrong("its passes and visits do not nest")
        return trace

    def wrong(self, what: str) -> NoReturn:
        raise WrongDocument(f"trace.json{', ' + self.at if self.at else ''}: {what}. {DAMAGED}")

    # --- rows ---

    def list_of(self, name: str, row: dict) -> list:
        self.at = name
        if not isinstance(row.get(name), list):
            self.wrong(f"a list was expected, not {_said(row.get(name))}")
        return row[name]

    def all_of(self, kind: type, name: str) -> list:
        rows = self.list_of(name, self.document)
        return [self.made(kind, row, f"{name}[{i}]") for i, row in enumerate(rows)]

    def count(self, name: str) -> int:
        self.at = name
        return self.whole(self.document.get(name))

    def names(self, at: str) -> dict[str, str]:
        self.at, names = at, self.document.get(at, {})
        if not isinstance(names, dict):
            self.wrong(f"an object was expected, not {_said(names)}")
        return {self.name(name): self.name(text) for name, text in names.items()}

    def texts(self) -> dict[str, list[tuple[int, list[str]]]]:
        """What stood in the files that the sources name; a file of before they were kept has none."""
        self.at, texts = "texts", self.document.get("texts", {})
        if not isinstance(texts, dict) or len(texts) > MOST_FILES:
            self.wrong(f"an object of at most {MOST_FILES:,} files was expected, not {_said(texts)}")
        return {file: [self.chunk(row) for row in self.listed(chunks)] for file, chunks in texts.items()}

    def chunk(self, row: object) -> tuple[int, list[str]]:
        first, lines = row if isinstance(row, list) and len(row) == 2 else (None, None)
        if not (is_whole(first) and 0 < first <= MOST_LINES and isinstance(lines, list) and len(lines) <= MOST_LINES):
            self.wrong(f"[first line, lines] was expected, not {_said(row)}")
        return first, [self.text(line) for line in lines]

    def printed(self, events: int) -> tuple[tuple[int, int | None, str], ...]:
        """What the program printed; a file of before it was kept has none."""
        self.at = "printed"
        return tuple(self.printed_row(row, events) for row in self.listed(self.document.get("printed", [])))

    def printed_row(self, row: object, events: int) -> tuple[int, int | None, str]:
        after, line, text = row if isinstance(row, list) and len(row) == 3 else (None, None, None)
        if not (is_whole(after) and after <= events and (line is None or is_whole(line))):
            self.wrong(f"[events before it, line, text] was expected, not {_said(row)}")
        return after, line, self.text(text)

    def source_row(self, row: object, index: int) -> tuple[str, int]:
        self.at = f"sources[{index}]"
        right = isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and is_whole(row[1])
        if not right or len(row[0]) > LONGEST_TEXT:
            self.wrong(f"[file, line] was expected, not {_said(row)}")
        return (row[0], row[1])

    def value_row(self, row: object, index: int) -> Value:
        self.at = f"values[{index}]"
        if not isinstance(row, dict):
            self.wrong(f"an object was expected, not {_said(row)}")
        shape, dtype, key = row.get("shape"), self.name(row.get("dtype")), row.get("tensor")
        if not (isinstance(shape, list) and all(is_whole(size) for size in shape)):
            self.wrong(f"a shape was expected, not {_said(shape)}")
        if len(shape) > MOST_DIMENSIONS:
            self.wrong(f"{len(shape):,} dimensions are more than the {MOST_DIMENSIONS} that a tensor may have")
        if math.prod(shape) > MOST_ELEMENTS:
            self.wrong(f"{math.prod(shape):,} elements are more than the {MOST_ELEMENTS:,} that a tensor may have")
        shape = self.alike.setdefault(tuple(shape), tuple(shape))
        tensor = None if key is None else self.tensor(key, shape)
        name, note = self.name(row.get("name")), self.name(row.get("note", ""))
        looked = None if row.get("nonfinite") is None else self.text(row["nonfinite"])
        if looked not in (None, *_NONFINITE):
            self.wrong(f"nonfinite is {_said(looked)}, not one of {', '.join(map(repr, _NONFINITE))}")
        norm = None if row.get("norm") is None else self.number(row["norm"])
        return Value(self.whole(row.get("id")), name, shape, tensor, dtype, bool(row.get("leaf")), note, looked, norm)

    def tensor(self, key: object, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor of this key in this shape; values of one key and shape share it."""
        if not isinstance(key, str) or key not in self.tensors:
            self.wrong(f"tensors.safetensors has no tensor {_said(key)}")
        if (key, shape) not in self.shaped:
            tensor = self.tensors[key]
            try:
                tensor = torch.view_as_complex(tensor) if key.startswith("complex") else tensor
                self.shaped[key, shape] = tensor if tensor.shape == shape else tensor.expand(shape)
            except RuntimeError as error:
                self.wrong(f"tensor {key} does not go with shape {list(shape)} ({str(error).splitlines()[0]})")
        return self.shaped[key, shape]

    def beside(self, name: str, kind: type) -> list:
        """Rows of what a PyTorch run tells beside events; a file that has none is as good."""
        rows = self.list_of(name, {name: self.document.get(name, [])})
        return [self.made(kind, row, f"{name}[{i}]") for i, row in enumerate(rows)]

    def made(self, kind: type, row: object, at: str, **more) -> Event | Entry | Pass:
        """An entry, a pass or an event, of the fields of its row."""
        self.at = at
        if not isinstance(row, dict):
            self.wrong(f"an object was expected, not {_said(row)}")
        for name, codec in _codecs(kind):
            if name in row:
                field = row[name]
                more[name] = None if field is None and codec.or_none else codec.read(self, field)
                if more[name] not in _CHOICES.get((kind, name), (more[name],)):
                    self.wrong(f"{name} is {_said(field)}, not one of {', '.join(_CHOICES[kind, name])}")
            elif name not in _LEFT_OUT and name not in _USUAL.get(kind, {}):
                self.wrong(f"'{name}' is missing")
            elif name in _OF_EVENTS:
                more[name] = None
        return kind(**more)

    def event(self, row: object, index: int) -> Event:
        self.at = f"events[{index}]"
        kind = row.get("kind") if isinstance(row, dict) else None
        if not isinstance(kind, str) or kind not in KINDS:
            self.wrong(f"an event of a known kind was expected, not {_said(row)}")
        if "run" in row:  # as files of version 1 call it
            row = {"pass_": row["run"], **row}
        return self.made(KINDS[kind], row, self.at, index=index)

    def check_order(self, events: list[Event]) -> None:
        passes, entries = {pass_.id for pass_ in self.passes}, {entry.id for entry in self.entries}
        for event in events:
            self.at = f"events[{event.index}]"
            if event.parent is not None and not event.parent < event.index:
                self.wrong(f"its parent {event.parent} is not an event before it")
            if event.pass_id is not None and event.pass_id not in passes:
                self.wrong(f"there is no pass {event.pass_id}")
        waiting = set(self.entries[: self.count("tape")])
        for event in events:
            self.at = f"events[{event.index}]"
            if isinstance(event, Recorded):
                if event.entry not in waiting:
                    self.wrong("its entry is not one of the tape's, or was recorded before")
                waiting.remove(event.entry)
        for place, entry in enumerate(self.entries):
            self.at = f"entries[{place}]"
            if entry.made_by is not None and not (entry.made_by in entries and entry.made_by < entry.id):
                self.wrong(f"there is no entry {entry.made_by} that could have made it")
            if entry.pass_id is not None and entry.pass_id not in passes:
                self.wrong(f"there is no pass {entry.pass_id}")

    def check_beside(self, trace: Trace) -> None:
        """What calls and what stands beside them refer to is there, and lies before them: whoever follows it ends."""
        calls, begun = trace._calls, {pass_.id for pass_ in trace.passes}
        for place, call in enumerate(calls):
            self.at = f"calls[{place}]"
            if call.id != place:
                self.wrong(f"its id {call.id} is not its place")
            if call.inside is not None and call.inside >= place:
                self.wrong(f"the call {call.inside} that it ran in is not before it")
        for name, rows in (("calls", calls), ("filled", trace._filled), ("shares", trace._shares)):
            for place, row in enumerate(rows):
                if row.pass_id is not None and row.pass_id not in begun:
                    self.at = f"{name}[{place}]"
                    self.wrong(f"no pass {row.pass_id} begins")
        for place, row in enumerate(trace._collectives):
            if row.call >= len(calls):
                self.at = f"collectives[{place}]"
                self.wrong(f"there is no call {row.call}")

    # --- fields ---

    def text(self, x: object, at: str | None = None) -> str:
        self.at = at or self.at
        if not isinstance(x, str):
            self.wrong(f"a text was expected, not {_said(x)}")
        if len(x) > LONGEST_TEXT:
            self.wrong(f"{len(x):,} characters are more than the {LONGEST_TEXT:,} that a text may have")
        return self.alike.setdefault(x, x)

    def name(self, x: object) -> str:
        if isinstance(x, str) and len(x) > LONGEST_NAME:
            self.wrong(f"{len(x):,} characters are more than the {LONGEST_NAME} that a name may have")
        return self.text(x)

    def whole(self, x: object) -> int:
        if is_whole(x):
            return self.alike.setdefault(x, x)
        self.wrong(f"a number from 0 was expected, not {_said(x)}")

    def number(self, x: object) -> float:
        return x if isinstance(x, float) or is_whole(x) else self.wrong(f"a number was expected, not {_said(x)}")

    def truth(self, x: object) -> bool:
        return x if isinstance(x, bool) else self.wrong(f"true or false was expected, not {_said(x)}")

    def chosen(self, things: list, place: object) -> object:
        if type(place) is int and 0 <= place < len(things):
            return things[place]
        self.wrong(f"a place from 0 to {len(things) - 1} was expected, not {_said(place)}")

    def listed(self, row: object) -> list:
        return row if isinstance(row, list) else self.wrong(f"a list was expected, not {_said(row)}")

    def pair(self, row: object) -> tuple[Value, Value]:
        if not isinstance(row, list) or len(row) != 2:
            self.wrong(f"[value, gradient] was expected, not {_said(row)}")
        return self.chosen(self.values, row[0]), self.chosen(self.values, row[1])


def _said(x: object) -> str:
    if isinstance(x, (list, dict)) and len(x) > 20:
        return f"{'a list' if isinstance(x, list) else 'an object'} of {len(x):,}"
    text = json.dumps(x)
    return text if len(text) <= 40 else text[:37] + "..."


def is_whole(x: object) -> bool:
    """A number from 0 that 63 bits hold, of JSON; True and False are none."""
    return type(x) is int and 0 <= x < 1 << 63


# --- how a field of each type is written and read ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """`write`: None for what JSON has itself. `or_none`: the field may be None, which neither of the two sees."""

    write: Callable[[Writer, object], object] | None
    read: Callable[[Reader, object], object]
    or_none: bool = False


def _place_in(name: str) -> Codec:
    """Something of a list of its own, by its place there."""
    return Codec(Writer.place, lambda reader, place: reader.chosen(getattr(reader, name), place))


def _many(codec: Codec) -> Codec:
    write, read, or_none = codec.write, codec.read, codec.or_none
    return Codec(
        lambda writer, xs: [None if x is None and or_none else write(writer, x) for x in xs],
        lambda reader, xs: tuple([None if x is None and or_none else read(reader, x) for x in reader.listed(xs)]),
    )


_VALUE = _place_in("values")
_ENTRY = _place_in("entries")
_SOURCE = Codec(Writer.source, lambda reader, place: reader.chosen(reader.sources, place))
_CODECS = {
    "str": Codec(None, Reader.text),
    "int": Codec(None, Reader.whole),
    "float": Codec(None, Reader.number),
    "bool": Codec(None, Reader.truth),
    "Value": _VALUE,
    "Entry": _ENTRY,
    "Pass": _place_in("passes"),
    "Source": _SOURCE,
    "tuple[Value, ...]": _many(_VALUE),
    "tuple[Value | None, ...]": _many(dataclasses.replace(_VALUE, or_none=True)),
    "Table": Codec(
        lambda writer, table: [writer.pair(pair) for pair in table],
        lambda reader, rows: Table(dict(map(reader.pair, reader.listed(rows)))),
    ),
    "tuple[Entry, ...]": _many(_ENTRY),
    "tuple[Source, ...]": _many(_SOURCE),
    "tuple[str, ...]": _many(Codec(lambda writer, x: x, Reader.text)),
    "tuple[int, ...]": _many(Codec(lambda writer, x: x, Reader.whole)),
    "tuple[float, ...]": _many(Codec(lambda writer, x: x, Reader.number)),
}


@cache
def _written(kind: type) -> tuple[tuple[str, Callable | None, object, bool], ...]:
    """For each field its name, how it is written, its usual value, and whether it may be left out where it is empty."""
    usual = _USUAL.get(kind, {})
    return tuple((n, codec.write, usual.get(n, _NO_USUAL), n in _LEFT_OUT) for n, codec in _codecs(kind))


@cache
def _codecs(kind: type) -> tuple[tuple[str, Codec], ...]:
    """The fields of an event, an entry or a pass, by their annotations in events.py."""
    parameters = inspect.signature(kind).parameters.values()
    return tuple((each.name, _codec(each.annotation)) for each in parameters if each.name != "index")


def _codec(annotation: str) -> Codec:
    codec = _CODECS[annotation.removesuffix(" | None")]
    return dataclasses.replace(codec, or_none=annotation.endswith(" | None"))
