"""The document that trace.json holds (store.py describes it): made of a trace, and made into one again."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from operator import attrgetter
from typing import NoReturn

import torch

from .calls import CALL_KINDS, WITHIN, Call, Filled, Held
from .events import KINDS, Entry, Event, Pass, Recorded, Table, Value, Visited
from .looks import MOST_DIMENSIONS, can_be_looked_at, distinct
from .ranks import DONE, STARTED, WAITS, Collective, Share
from .replay import Replay
from .rows import NAMES, Events, closed, row_of
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


class Packed:
    """Rows on their way into a file, made text a thousand at a time: as objects, a long run's are a gigabyte, which
    Python's collector walks through again and again."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.rows: list[object] = []
        self.count = 0

    def append(self, row: object) -> None:
        self.rows.append(row)
        self.count += 1
        if len(self.rows) == 1000:
            self._pack()

    def _pack(self) -> None:
        if self.rows:
            self.texts.append(_json(self.rows)[1:-1])
            self.rows.clear()

    def text(self) -> str:
        self._pack()
        return f"[{','.join(self.texts)}]"


class Writer:
    """Makes the document. `places` remembers where a value, an entry or a pass was put."""

    def __init__(self, trace: Trace):
        self.tensors = TensorsWritten()
        self.places: dict[object, int] = {}
        self.sources: list[list] = []
        self.rows = {"values": Packed(), "entries": Packed(), "passes": Packed()}
        for value in trace.values:
            self.place(value)
        listed = self.rows["values"].count
        for entry in trace.entries:
            self.place(entry)
        tape, events = self.rows["entries"].count, Packed()
        for row in trace.events.rows():
            kind, *fields = closed(row)
            events.append(self.fields(kind, fields, {"kind": kind.__name__}))
        beside = {name: self.packed(getattr(trace, name)) for name in _BESIDE if getattr(trace, name)}
        self.about = {"format": FORMAT, "version": VERSION, **{name: str(getattr(trace, name)) for name in _ABOUT}}
        self.about |= {"notices": [*map(str, trace.notices), *self.notices], "bindings": _names(trace)}
        self.about |= {"texts": excerpts(map(tuple, self.sources), trace.texts), "sources": self.sources}
        self.about |= {"listed": listed, "tape": tape}
        self.about |= {n: getattr(trace, n) for n in _RANK if getattr(trace, n) is not None}
        if trace.printed:
            self.about["printed"] = [list(line) for line in trace.printed]
        self.lists = {**self.rows, "events": events, **beside}

    def text(self) -> str:
        """The document as JSON."""
        lists = [f'"{name}":{rows.text()}' for name, rows in self.lists.items()]
        return ",".join([_json(self.about)[:-1], *lists]) + "}"

    def packed(self, things: list) -> Packed:
        rows = Packed()
        for thing in things:
            rows.append(self.object(thing))
        return rows

    @property
    def notices(self) -> list[str]:
        return [NOT_KEPT.format(self.tensors.without)] if self.tensors.without else []

    def place(self, thing: Value | Entry | Pass) -> int:
        """Where it stands in its list; put there now if it is new. What it refers to gets its place before it."""
        place = self.places.get(thing)
        if place is None:
            kind, row = self.row(thing)
            place = self.places[thing] = self.rows[kind].count
            self.rows[kind].append(row)
        return place

    def row(self, thing: Value | Entry | Pass) -> tuple[str, dict]:
        if isinstance(thing, Entry):
            return "entries", self.object(thing)
        if isinstance(thing, Pass):
            return "passes", self.object(thing)
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

    def object(self, thing: Entry | Pass | Call | Held | Filled | Collective | Share) -> dict:
        return self.fields(type(thing), _getter(type(thing))(thing), {})

    def fields(self, kind: type, values: Iterable, written: dict) -> dict:
        for (name, write, usual, may_lack), value in zip(_written(kind), values):
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
            self.places[source] = len(self.sources)
            self.sources.append(list(source))
        return self.places[source]


_json = json.JSONEncoder(separators=(",", ":")).encode


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
        self.at: str | tuple[str, int] = ""  # what is being read, for messages: a field, or a list and a place in it
        self.sources = [self.source_row(row, i) for i, row in enumerate(self.list_of("sources", document))]
        self.values = [self.value_row(row, at) for at, row in self.rows("values")]
        self.entries = self.all_of(Entry, "entries")
        self.passes = self.all_of(Pass, "passes")

    def trace(self) -> Trace:
        events = self.events()
        self.check_order(events)
        trace = Trace((), self.entries[: self.count("tape")], self.values[: self.count("listed")])
        trace._events = events
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
        at = self.at if isinstance(self.at, str) else f"{self.at[0]}[{self.at[1]}]"
        raise WrongDocument(f"trace.json{', ' + at if at else ''}: {what}. {DAMAGED}")

    # --- rows ---

    def rows(self, name: str) -> Iterator[tuple[tuple[str, int], object]]:
        """Each with where it stands, once: what has been read is let go of."""
        rows = self.list_of(name, self.document)
        for place in range(len(rows)):
            row, rows[place] = rows[place], None
            yield (name, place), row

    def list_of(self, name: str, row: dict) -> list:
        self.at = name
        if not isinstance(row.get(name), list):
            self.wrong(f"a list was expected, not {_said(row.get(name))}")
        return row[name]

    def all_of(self, kind: type, name: str) -> list:
        return [self.made(kind, row, at) for at, row in self.rows(name)]

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
        self.at = ("sources", index)
        right = isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and is_whole(row[1])
        if not right or len(row[0]) > LONGEST_TEXT:
            self.wrong(f"[file, line] was expected, not {_said(row)}")
        return (row[0], row[1])

    def value_row(self, row: object, at: tuple[str, int]) -> Value:
        self.at = at
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
        self.document.setdefault(name, [])
        return self.all_of(kind, name)

    def made(self, kind: type, row: object, at: tuple[str, int]) -> Entry | Pass | Call | Held | Filled:
        """An entry, a pass or what stands beside events, of the fields of its row."""
        return kind(**self.fields(kind, row, at))

    def fields(self, kind: type, row: object, at: tuple[str, int]) -> dict[str, object]:
        """Those of an object, or of an event, as far as the row has them; what it may lack and lacks is not there."""
        self.at = at
        if not isinstance(row, dict):
            self.wrong(f"an object was expected, not {_said(row)}")
        found: dict[str, object] = {}
        for name, read, or_none, choices, must in _read(kind):
            if name in row:
                field = row[name]
                found[name] = thing = None if field is None and or_none else read(self, field)
                if choices is not None and thing not in choices:
                    self.wrong(f"{name} is {_said(field)}, not one of {', '.join(choices)}")
            elif must:
                self.wrong(f"'{name}' is missing")
        return found

    def events(self) -> Events:
        """As rows, which is how a trace keeps them: nobody may want an event made of one."""
        events = Events()
        for at, row in self.rows("events"):
            self.at = at
            kind = KINDS.get(row.get("kind")) if isinstance(row, dict) else None
            if kind is None:
                self.wrong(f"an event of a known kind was expected, not {_said(row)}")
            if "run" in row:  # as files of version 1 call it
                row = {"pass_": row["run"], **row}
            field = self.fields(kind, row, at).get
            events.add(row_of(kind, map(field, NAMES[kind])))
        return events

    def check_order(self, events: Events) -> None:
        passes, entries = {pass_.id for pass_ in self.passes}, {entry.id for entry in self.entries}
        for index, parent, pass_id in events.looked_up(Event, "parent", "pass_id"):
            self.at = ("events", index)
            if parent is not None and not parent < index:
                self.wrong(f"its parent {parent} is not an event before it")
            if pass_id is not None and pass_id not in passes:
                self.wrong(f"there is no pass {pass_id}")
        waiting = set(self.entries[: self.count("tape")])
        for index, entry in events.looked_up(Recorded, "entry"):
            self.at = ("events", index)
            if entry not in waiting:
                self.wrong("its entry is not one of the tape's, or was recorded before")
            waiting.remove(entry)
        for place, entry in enumerate(self.entries):
            self.at = ("entries", place)
            if entry.made_by is not None and not (entry.made_by in entries and entry.made_by < entry.id):
                self.wrong(f"there is no entry {entry.made_by} that could have made it")
            if entry.pass_id is not None and entry.pass_id not in passes:
                self.wrong(f"there is no pass {entry.pass_id}")

    def check_beside(self, trace: Trace) -> None:
        """What calls and what stands beside them refer to is there, and lies before them: whoever follows it ends."""
        calls, begun = trace._calls, {pass_.id for pass_ in trace.passes}
        for place, call in enumerate(calls):
            self.at = ("calls", place)
            if call.id != place:
                self.wrong(f"its id {call.id} is not its place")
            if call.inside is not None and call.inside >= place:
                self.wrong(f"the call {call.inside} that it ran in is not before it")
        for name, rows in (("calls", calls), ("filled", trace._filled), ("shares", trace._shares)):
            for place, row in enumerate(rows):
                if row.pass_id is not None and row.pass_id not in begun:
                    self.at = (name, place)
                    self.wrong(f"no pass {row.pass_id} begins")
        for place, row in enumerate(trace._collectives):
            if row.call >= len(calls):
                self.at = ("collectives", place)
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


def _places_in(name: str, or_none: bool = False) -> Codec:
    """Several of such a list."""

    def write(writer: Writer, things: tuple) -> list:
        known = writer.places
        return [known[x] if x in known else None if x is None and or_none else writer.place(x) for x in things]

    def read(reader: Reader, places: object) -> tuple:
        things, most = getattr(reader, name), len(getattr(reader, name))
        return tuple(
            [
                things[x]
                if type(x) is int and 0 <= x < most
                else None
                if x is None and or_none
                else reader.chosen(things, x)
                for x in reader.listed(places)
            ]
        )

    return Codec(write, read)


def _many(read: Callable[[Reader, object], object]) -> Codec:
    """Several of what JSON has itself."""
    return Codec(lambda writer, xs: list(xs), lambda reader, xs: tuple([read(reader, x) for x in reader.listed(xs)]))


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
    "tuple[Value, ...]": _places_in("values"),
    "tuple[Value | None, ...]": _places_in("values", or_none=True),
    "Table": Codec(
        lambda writer, table: [writer.pair(pair) for pair in table],
        lambda reader, rows: Table(dict(map(reader.pair, reader.listed(rows)))),
    ),
    "tuple[Entry, ...]": _places_in("entries"),
    "tuple[Source, ...]": Codec(
        lambda writer, xs: [writer.source(x) for x in xs],
        lambda reader, xs: tuple([reader.chosen(reader.sources, x) for x in reader.listed(xs)]),
    ),
    "tuple[str, ...]": _many(Reader.text),
    "tuple[int, ...]": _many(Reader.whole),
    "tuple[float, ...]": _many(Reader.number),
}


@cache
def _written(kind: type) -> tuple[tuple[str, Callable | None, object, bool], ...]:
    """For each field its name, how it is written, its usual value, and whether it may be left out where it is empty."""
    usual = _USUAL.get(kind, {})
    return tuple((n, codec.write, usual.get(n, _NO_USUAL), n in _LEFT_OUT) for n, codec in _codecs(kind))


@cache
def _getter(kind: type) -> Callable[[object], tuple]:
    """All of these fields at once."""
    return attrgetter(*[name for name, _ in _codecs(kind)])


@cache
def _read(kind: type) -> tuple[tuple[str, Callable, bool, tuple | None, bool], ...]:
    """For each field its name, how it is read, whether it may be None, what it is one of, whether it must be there."""
    usual = _USUAL.get(kind, {})
    return tuple(
        (n, codec.read, codec.or_none, _CHOICES.get((kind, n)), n not in _LEFT_OUT and n not in usual)
        for n, codec in _codecs(kind)
    )


@cache
def _codecs(kind: type) -> tuple[tuple[str, Codec], ...]:
    """The fields of an event, an entry or a pass, by their annotations in events.py."""
    parameters = inspect.signature(kind).parameters.values()
    return tuple((each.name, _codec(each.annotation)) for each in parameters if each.name != "index")


def _codec(annotation: str) -> Codec:
    codec = _CODECS[annotation.removesuffix(" | None")]
    return dataclasses.replace(codec, or_none=annotation.endswith(" | None"))
