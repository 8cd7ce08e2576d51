"""From the log of a recorder to events, when somebody reads the trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Protocol

import torch

from ..engine import Key
from ..engine.rows import inputs_of, outputs_of
from ..engine.tape import HandWritten, Tape
from .events import (
    Accumulated,
    Entry,
    Event,
    Failed,
    Leaf,
    LimitReached,
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
    opened,
)

if TYPE_CHECKING:
    from .trace import Trace

REPLACED = (
    "{name} was given another tensor, {name}.value = …, after it had been used. The trace shows it with the tensor "
    "that it had first; what was computed from it since was computed from the other one."
)
NOT_READ = "A part of this run could not be read: {error}. Events after number {index} are missing."


class LimitError(Exception):
    """Raised inside a run that passed one of its limits; the trace ends with a LimitReached event."""

    def __init__(self, what: str, limit: float, message: str):
        super().__init__(message)
        self.what = what
        self.limit = limit


class Logged(Protocol):
    """What a recorder has written down: rows, the tensors that it saw, and how often each had been changed by then."""

    tape: Tape
    log: list
    tensors: dict[Key, torch.Tensor]
    versions: dict[Key, int]

    @property
    def is_over(self) -> bool: ...  # nothing more will be written


class Builder:
    """Makes events of what was logged."""

    def __init__(self, recorder: Logged):
        self.recorder = recorder
        self.tape = recorder.tape
        self.trace: Trace | None = None  # while events are made for it
        self.values: dict[Key, Value] = {}
        self.ones: dict[Key, tuple[Value]] = {}  # each alone in a tuple, the same one wherever it stands alone
        self.entries: dict[int, Entry] = {}  # by place on the tape
        self.produced: set[Key] = self.tape.rows.outputs()
        self.told: set[Key] = set()  # leaves, and values whose reading has been told
        self.passes: list[RunningPass] = []
        self.sources: dict[tuple[int, int], tuple] = {}  # code (by id, and itself), instruction -> line
        self.kinds: dict[tuple, tuple] = {}

    def has_more(self) -> bool:
        """Whether there is something that no event has been made of, or that the tape has yet to tell."""
        self.tape.catch_up()
        return bool(self.recorder.log)

    def build(self, trace: Trace) -> None:
        """Events for all that has been logged since the last time."""
        log, self.trace = self.recorder.log, trace
        rows, at = list(log), 0
        del log[:]
        try:
            while at < len(rows):
                make, end = _MAKERS[rows[at]], at + 1 + _FIELDS[rows[at]]
                make(self, *rows[at + 1 : end])
                at = end
        except Exception as error:
            trace._notices.append(
                NOT_READ.format(error=f"{type(error).__name__}: {error}", index=len(trace._events) - 1)
            )
            raise
        finally:
            self.trace = None

    def add(self, kind: type[Event], line: int | None, source: Source | None, **fields) -> None:
        """An event of the pass that runs, if one does."""
        running, events = self.passes[-1] if self.passes else None, self.trace._events
        parent, pass_id = (None, None) if running is None else (running.parent, running.pass_.id)
        events.append(kind(index=len(events), parent=parent, pass_id=pass_id, line=line, source=source, **fields))

    def begin(self, kind: type, line: int | None, source: Source | None) -> Event:
        """The same of a kind that is `opened`, quickly. Once its own fields are set, `end` makes it what it is."""
        running, events = self.passes[-1] if self.passes else None, self.trace._events
        event = _new(kind)
        event.index, event.line, event.source = len(events), line, source
        if running is None:
            event.parent = event.pass_id = None
        else:
            visit = running.visit
            event.parent, event.pass_id = running.index if visit is None else visit, running.pass_id
        return event

    def end(self, event: Event, kind: type[Event]) -> None:
        event.__class__ = kind
        self.trace._events.append(event)

    def source(self, code: CodeType | None, instruction: int) -> Source | None:
        if code is None:
            return None
        found = self.sources.get((id(code), instruction))
        if found is None:
            lines = [line for start, stop, line in code.co_lines() if start <= instruction < stop]
            line = (code.co_filename, lines[0]) if lines and lines[0] else None
            found = self.sources[id(code), instruction] = code, line
        return found[1]

    def value(self, key: Key | None) -> Value | None:
        """Of a Variable that the recorder has seen."""
        if key is None:
            return None
        value = self.values.get(key)
        if value is None:
            value = self.value_of_key(key)
        if value.tensor is None and key in self.recorder.tensors:
            value.tensor = self.recorder.tensors[key]
            value.shape, value.dtype = self.described(value.tensor)
            self.trace._versions[value] = self.recorder.versions.get(key, 0)
        return value

    def described(self, tensor: torch.Tensor) -> tuple[tuple[int, ...], str]:
        """Shape and dtype; the same two objects for all tensors alike, a tenth of the memory of an event."""
        alike = (tensor.shape, tensor.dtype)
        found = self.kinds.get(alike)
        if found is None:
            found = self.kinds[alike] = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        return found

    def value_of_key(self, key: Key) -> Value:
        """Also for a Variable that is only known to the tape: its tensor is told once somebody computes with it."""
        value = self.values.get(key)
        if value is None:
            value = self.values[key] = Value(len(self.trace._values), self.tape.name_of(key), ())
            self.trace._values.append(value)
        return value

    def several(self, keys: tuple[Key | None, ...] | Key | None) -> tuple[Value | None, ...]:
        """Of several Variables, or of one, whose key the recorder kept without a tuple."""
        if keys.__class__ is tuple:
            return self.ones.get(keys[0]) or self.one(keys[0]) if len(keys) == 1 else tuple(map(self.value, keys))
        return self.ones.get(keys) or self.one(keys)

    def one(self, key: Key | None) -> tuple[Value | None]:
        found = self.ones[key] = (self.value(key),)
        return found

    def entry(self, index: int) -> Entry:
        """The entry at this place of the tape, also one from before the recording."""
        entry = self.entries.get(index)
        if entry is None:
            row = self.tape.rows.entry(index)
            inputs, outputs = (tuple(map(self.value_of_key, keys)) for keys in (inputs_of(row), outputs_of(row)))
            entry = self.add_entry(index, row, inputs, outputs, None, None, before=True)
        return entry

    def add_entry(self, index, row, inputs, outputs, line, source, before=False) -> Entry:
        rule, one, two = row[0], row[4], row[5]
        running = self.passes[-1] if self.passes and not before else None
        by_hand = rule.__class__ is HandWritten
        entry = _new(_Entry)
        entry.id, entry.group = len(self.trace._entries), ""
        entry.operator = rule.function_name if by_hand else rule.name
        entry.text = rule.text([value.name for value in inputs], one, two)
        entry.inputs, entry.outputs, entry.aggregate = inputs, outputs, by_hand
        entry.made_by = running and running.entry and running.entry.id
        entry.pass_id = running and running.pass_id
        entry.line, entry.source, entry.returns_at = line, source, None
        entry.propagate_source = _definition(rule.propagate_function) if by_hand else None
        entry.__class__ = Entry
        self.entries[index] = entry
        self.trace._entries.append(entry)
        return entry

    # --- one maker for each kind of row; its arguments are the row's fields -----------------------------------------

    def leaf(self, line, code, instruction, key) -> None:
        self.told.add(key)
        is_new, value = key not in self.values, self.value(key)
        value.leaf = value.leaf or is_new
        self.add(Leaf, line, self.source(code, instruction), value=value)

    def recorded(self, line, code, instruction, index) -> None:
        row, source = self.tape.rows.entry(index), self.source(code, instruction)
        keys, output = inputs_of(row), row[1]
        entry = self.add_entry(index, row, self.several(keys), self.several(output), line, source)
        for key, value in zip(keys, entry.inputs):
            if key not in self.produced and key not in self.told:
                self.told.add(key)
                self.add(Read, line, source, value=value, entry=entry)
        self.produced.update(output) if output.__class__ is tuple else self.produced.add(output)
        event = self.begin(_Recorded, line, source)
        event.entry = entry
        self.end(event, Recorded)

    def pass_begun(self, line, code, instruction, L, seed, wanted, none, prune) -> None:
        self.told.add(seed)
        gradients = tuple(map(self.value, wanted))
        pass_ = Pass(self.trace.pass_count, self.value(L), self.value(seed), gradients, none, prune)
        self.trace.pass_count += 1
        outer, events = self.passes[-1] if self.passes else None, self.trace._events
        self.passes.append(RunningPass(pass_, pass_.id, len(events), {pass_.loss: pass_.seed}))
        place = {"line": line, "source": self.source(code, instruction), "parent": outer and outer.parent}
        events.append(PassBegun(index=len(events), pass_id=pass_.id, pass_=pass_, **place))

    def visit_begun(self, line, index, incoming) -> None:
        running, entry = self.passes[-1], self.entry(index)
        running.visit = None
        # a visit of a hand-written entry is at its propagate; other visits are the engine's own business
        event = self.begin(_VisitBegun, line, entry.propagate_source)
        event.entry, event.incoming = entry, self.several(incoming)
        self.end(event, VisitBegun)
        running.visit, running.entry, running.slot = event.index, entry, 0

    def visited(self, line, index, state, incoming, outgoing) -> None:
        self.passes[-1].visit = None
        entry = self.entry(index)
        event = self.begin(_Visited, line, entry.propagate_source)
        event.entry, event.state = entry, state
        event.incoming, event.outgoing = self.several(incoming), self.several(outgoing)
        self.end(event, Visited)

    def accumulated(self, line, key, contribution, total) -> None:
        running, value = self.passes[-1], self.values.get(key) or self.value_of_key(key)
        event = self.begin(_Accumulated, line, None)
        event.entry, event.slot, event.value = running.entry, running.slot, value
        event.first = value not in running.table
        came = event.contribution = self.value(contribution)
        after = event.total = came if total == contribution else self.value(total)
        if after is not None:
            running.table[value] = after
        running.slot += 1
        self.end(event, Accumulated)

    def pass_ended(self, line, results) -> None:
        running = self.passes[-1]
        running.visit = None
        table = tuple(running.table.items())
        self.add(PassEnded, line, None, pass_=running.pass_, table=table, results=tuple(map(self.value, results)))
        self.passes.pop()

    def pass_failed(self, line, code, instruction, error, message) -> None:
        running, source = self.passes[-1], self.source(code, instruction)
        entry = running.entry if running.visit is not None else None
        running.visit = None
        self.add(PassFailed, line, source, pass_=running.pass_, entry=entry, error=error, message=message)
        self.passes.pop()

    def note(self, text) -> None:
        self.trace._notices.append(text.replace("this pass", f"pass {self.trace.pass_count - 1}"))

    def replaced(self, key) -> None:
        notice = REPLACED.format(name=self.value_of_key(key).name)
        if notice not in self.trace._notices:
            self.trace._notices.append(notice)

    def reset(self, line, code, instruction) -> None:
        self.add(TapeReset, line, self.source(code, instruction))
        for found in (self.entries, self.produced, self.values, self.ones):
            found.clear()

    def failed(self, line, code, instruction, error, message, limit) -> None:
        self.passes.clear()  # a run that was broken off in the middle of one, by what no pass sees
        source = self.source(code, instruction)
        if limit is not None:
            self.add(LimitReached, line, source, what=limit[0], limit=limit[1], message=message)
        else:
            self.add(Failed, line, source, error=error, message=message)


@dataclass(slots=True)
class RunningPass:
    pass_: Pass
    pass_id: int
    index: int  # of its PassBegun
    table: dict[Value, Value]
    visit: int | None = None  # index of the VisitBegun whose propagate is running
    entry: Entry | None = None  # the one visited last: additions of its contributions belong to it
    slot: int = 0  # whose next contribution is the one for this input

    @property
    def parent(self) -> int:
        return self.index if self.visit is None else self.visit


def _definition(propagate: Callable) -> tuple[str, int] | None:
    code = getattr(propagate, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else None


_new = object.__new__
_Entry = opened(Entry)
_Recorded, _VisitBegun, _Visited, _Accumulated = map(opened, (Recorded, VisitBegun, Visited, Accumulated))

# What a row of the log says first: the name of what makes an event of it; and how many fields follow.
_KINDS = ("leaf", "recorded", "pass_begun", "visit_begun", "visited", "accumulated", "pass_ended", "pass_failed")
_KINDS += ("note", "replaced", "reset", "failed")
_MAKERS = {kind: getattr(Builder, kind) for kind in _KINDS}
_FIELDS = {kind: make.__code__.co_argcount - 1 for kind, make in _MAKERS.items()}
