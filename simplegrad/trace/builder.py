"""From the log of a recorder to events, when somebody reads the trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..engine import Key, Variable
from ..engine.tape import HandWritten, output_keys
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
    TapeReset,
    Value,
    VisitBegun,
    Visited,
)

if TYPE_CHECKING:
    from .recorder import Recorder
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


class Builder:
    """Makes events of the recorder's log."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self.tape = recorder.tape
        self.trace: Trace | None = None  # while events are made for it
        self.values: dict[Key, Value] = {}
        self.entries: dict[int, Entry] = {}  # by place on the tape
        self.produced: set[Key] = {key for row in self.tape.rows for key in output_keys(row)}
        self.told: set[Key] = set()  # leaves, and values whose reading has been told
        self.passes: list[RunningPass] = []
        self.sources: dict[tuple, tuple | None] = {}
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

    def add(self, kind: type[Event], line: int | None, where: tuple | None, **fields) -> int:
        running = self.passes[-1] if self.passes else None
        index = len(self.trace._events)
        fields.setdefault("parent", running and running.parent)
        fields.setdefault("source", self.source(where))
        event = kind(index=index, pass_id=running and running.run.id, line=line, **fields)
        self.trace._events.append(event)
        return index

    def source(self, where: tuple | None) -> tuple[str, int] | None:
        if where is None or where[0] is None:
            return None
        if where not in self.sources:
            code, instruction = where
            lines = [line for start, stop, line in code.co_lines() if start <= instruction < stop]
            self.sources[where] = (code.co_filename, lines[0]) if lines and lines[0] else None
        return self.sources[where]

    def value(self, variable: Variable | None, leaf: bool = False) -> Value | None:
        if variable is None:
            return None
        value = self.values.get(variable.key)
        if value is None:
            value = self.value_of_key(variable.key, variable)
            value.leaf = leaf
        if value.tensor is None:
            value.tensor = self.recorder.tensors.get(variable.key, variable.value)
            value.shape, value.dtype = self.described(value.tensor)
            self.trace._versions[value] = self.recorder.versions.get(variable.key, 0)
        return value

    def described(self, tensor: torch.Tensor) -> tuple[tuple[int, ...], str]:
        """Shape and dtype; the same two objects for all tensors alike, a tenth of the memory of an event."""
        alike = (tensor.shape, tensor.dtype)
        if alike not in self.kinds:
            self.kinds[alike] = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        return self.kinds[alike]

    def value_of_key(self, key: Key, variable: Variable | None = None) -> Value:
        """Also for a Variable that is only known to the tape: its tensor is told once somebody computes with it."""
        value = self.values.get(key)
        if value is None:
            value = self.values[key] = Value(len(self.trace._values), self.tape.name_of(key, variable), ())
            self.trace._values.append(value)
        return value

    def gradients(self, variables) -> tuple[Value | None, ...]:
        """Of several Variables, or of one that the recorder kept bare."""
        if variables is None or isinstance(variables, Variable):
            return (self.value(variables),)
        return tuple([self.value(variable) for variable in variables])

    def entry(self, index: int) -> Entry:
        """The entry at this place of the tape, also one from before the recording."""
        if index not in self.entries:
            row = self.tape.rows[index]
            inputs, outputs = (tuple([self.value_of_key(key) for key in keys]) for keys in (row[1], output_keys(row)))
            self.add_entry(index, row, inputs, outputs, None, None, before=True)
        return self.entries[index]

    def add_entry(self, index, row, inputs, outputs, line, where, before=False) -> Entry:
        rule, saved = row[0], row[3]
        running = self.passes[-1] if self.passes and not before else None
        by_hand = isinstance(rule, HandWritten)
        entry = self.entries[index] = Entry(
            id=len(self.trace._entries),
            operator=rule.function_name if by_hand else rule.name,
            text=rule.text([value.name for value in inputs], saved),
            inputs=inputs,
            outputs=outputs,
            aggregate=by_hand,
            made_by=running and running.entry and running.entry.id,
            pass_id=running and running.run.id,
            line=line,
            source=self.source(where),
            propagate_source=_definition(rule.propagate_function) if by_hand else None,
        )
        self.trace._entries.append(entry)
        return entry

    # --- one maker for each kind of row ---------------------------------------------------------------------------

    def leaf(self, line, where, variable) -> None:
        self.told.add(variable.key)
        self.add(Leaf, line, where, value=self.value(variable, leaf=True))

    def recorded(self, line, where, index, row, inputs, outputs) -> None:
        entry = self.add_entry(index, row, self.gradients(inputs), self.gradients(outputs), line, where)
        for key, value in zip(row[1], entry.inputs):
            if key not in self.produced and key not in self.told:
                self.told.add(key)
                self.add(Read, line, where, value=value, entry=entry)
        self.produced.update(output_keys(row))
        self.add(Recorded, line, where, entry=entry)

    def pass_begun(self, line, where, L, seed, wanted, none, prune) -> None:
        self.told.add(seed.key)
        run = Pass(self.trace.pass_count, self.value(L), self.value(seed), self.gradients(wanted), none, prune)
        self.trace.pass_count += 1
        outer = self.passes[-1].parent if self.passes else None
        self.passes.append(RunningPass(run, len(self.trace._events), {run.loss: run.seed}))
        self.add(PassBegun, line, where, run=run, parent=outer)

    def visit_begun(self, line, where, index, incoming) -> None:
        running, entry = self.passes[-1], self.entry(index)
        running.visit = None
        at = self.add(VisitBegun, line, where, entry=entry, incoming=self.gradients(incoming), **_own_source(entry))
        running.visit, running.entry, running.slot = at, entry, 0

    def visited(self, line, where, index, state, incoming, outgoing) -> None:
        running, entry = self.passes[-1], self.entry(index)
        running.visit = None
        gradients = {"incoming": self.gradients(incoming), "outgoing": self.gradients(outgoing)}
        self.add(Visited, line, where, entry=entry, state=state, **gradients, **_own_source(entry))

    def accumulated(self, line, where, key, contribution, total) -> None:
        running, value = self.passes[-1], self.value_of_key(key)
        first = value not in running.table
        if total is not None:
            running.table[value] = self.value(total)
        fields = {"contribution": self.value(contribution), "total": self.value(total), "first": first}
        self.add(Accumulated, line, where, entry=running.entry, slot=running.slot, value=value, **fields)
        running.slot += 1

    def pass_ended(self, line, where, results) -> None:
        running = self.passes[-1]
        running.visit = None
        table = tuple(running.table.items())
        self.add(PassEnded, line, where, run=running.run, table=table, results=self.gradients(results))
        self.passes.pop()

    def pass_failed(self, line, where, error, message) -> None:
        running = self.passes[-1]
        entry = running.entry if running.visit is not None else None
        running.visit = None
        self.add(PassFailed, line, where, run=running.run, entry=entry, error=error, message=message)
        self.passes.pop()

    def note(self, line, where, text) -> None:
        self.trace._notices.append(text.replace("this pass", f"pass {self.trace.pass_count - 1}"))

    def replaced(self, line, where, key) -> None:
        notice = REPLACED.format(name=self.value_of_key(key).name)
        if notice not in self.trace._notices:
            self.trace._notices.append(notice)

    def reset(self, line, where) -> None:
        self.add(TapeReset, line, where)
        self.entries.clear()
        self.produced.clear()
        self.values.clear()

    def failed(self, line, where, error, message, limit) -> None:
        self.passes.clear()  # a run that was broken off in the middle of one, by what no pass sees
        if limit is not None:
            self.add(LimitReached, line, where, what=limit[0], limit=limit[1], message=message)
        else:
            self.add(Failed, line, where, error=error, message=message)


@dataclass
class RunningPass:
    run: Pass
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


def _own_source(entry: Entry) -> dict:
    """A visit of a hand-written entry is at its propagate; other visits are the engine's own business."""
    return {"source": entry.propagate_source} if entry.propagate_source else {}


# What a row of the log says first: the name of what makes an event of it; and how many fields follow.
_KINDS = ("leaf", "recorded", "pass_begun", "visit_begun", "visited", "accumulated", "pass_ended", "pass_failed")
_KINDS += ("note", "replaced", "reset", "failed")
_MAKERS = {kind: getattr(Builder, kind) for kind in _KINDS}
_FIELDS = {kind: make.__code__.co_argcount - 1 for kind, make in _MAKERS.items()}
