"""`record()`: turn what runs inside into events, without changing a bit of it.

While the run goes on, only short tuples are kept (`log`); events are made of them when somebody reads the trace.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import ref

import torch

from ..engine import Key, Observer, Tape, Variable, current_tape
from ..engine.speed import collector_paused
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
    Read,
    Recorded,
    TapeReset,
    Value,
    VisitBegun,
    Visited,
)
from .trace import Trace

CHANGED_SINCE = (
    "Tensors that pass {} reads were changed in place after it ran and before this trace was first looked at. Its "
    "gradients are shown as they were computed; what its rules computed on the way, as computed from those tensors now."
)

_PACKAGE = Path(__file__).parent.parent
# Frames that are not what a person wrote: the engine, the interpreter of programs, ourselves.
_INTERNAL = {str(path) for folder in ("engine", "trace", "program") for path in (_PACKAGE / folder).glob("*.py")}
_INTERNAL.add(str(_PACKAGE / "notebook.py"))


class LimitError(Exception):
    """Raised inside a run that passed one of its limits; the trace ends with a LimitReached event."""

    def __init__(self, what: str, limit: float, message: str):
        super().__init__(message)
        self.what = what
        self.limit = limit


@contextmanager
def record(tape: Tape | None = None) -> Iterator[Trace]:
    """`with record() as trace:` records what runs on the current tape (or on `tape`), in this context.

    A run that raises keeps its events, with the error as the last; the exception goes on.
    """
    tape = current_tape() if tape is None else tape
    tape.settle()
    recorder = Recorder(tape)
    tape.observers = (*tape.observers, recorder)
    try:
        yield recorder.trace
    except BaseException as error:
        recorder.failed(error)
        raise
    finally:
        tape.unwatch(recorder)
        recorder.finish()


class Recorder(Observer):
    """Watches one tape. `line` may be set to the program line that runs."""

    told_late = True  # while the run goes on: the trace asks for what it was not told yet

    def __init__(self, tape: Tape):
        self.tape = tape
        self.line: int | None = None
        self.log: list[tuple] = []
        self.where: tuple | None = None  # (code, instruction) of the running pass, for what its rules record
        self.late: tuple | None = None  # the same of a pass that is still to be told
        self.trace = Trace()
        self.trace._builder = Builder(self)
        self.for_trace = ref(self.trace)

    # --- what the engine tells, in the order of the run; these run on the hot path --------------------------------

    def leaf(self, variable: Variable) -> None:
        self.log.append((_LEAF, self.line, _caller(), variable))

    def recorded(self, inputs: tuple, outputs: tuple) -> None:
        entries = self.tape.entries
        self.log.append((_RECORDED, self.line, self.where or _caller(), len(entries) - 1, entries[-1], inputs, outputs))

    def pass_deferred(self) -> None:
        self.late = _caller()

    def pass_begun(self, L: Variable, seed: Variable, wanted: list, none: str, prune: str) -> None:
        self.log.append((_PASS_BEGUN, self.line, self.late or _caller(), L, seed, wanted, none, prune))
        self.late = None

    def visit_begun(self, index: int, dL_doutputs: list) -> None:
        self.log.append((_VISIT_BEGUN, self.line, None, index, dL_doutputs))
        # rules of our own operators are nobody's source line; what they record came from the call of grad
        self.where = None if self.tape.entries[index][0].__class__ is HandWritten else _NOWHERE

    def visited(self, index: int, state: str, dL_doutputs: list, dL_dinputs: list) -> None:
        self.log.append((_VISITED, self.line, None, index, state, dL_doutputs, dL_dinputs))
        self.where = _NOWHERE  # additions that follow are grad's own

    def accumulated(self, key: Key, contribution: Variable | None, total: Variable | None) -> None:
        self.log.append((_ACCUMULATED, self.line, None, key, contribution, total))

    def pass_ended(self, dL_d: dict, results: list) -> None:
        self.where = None
        self.log.append((_PASS_ENDED, self.line, None, results))

    def changed_since(self) -> None:
        self.log.append((_CHANGED, self.line, None))

    def reset(self) -> None:
        if not self.is_over:
            self.log.append((_RESET, self.line, _caller()))
        trace = self.for_trace()
        if trace is not None:
            trace._built()  # names are about to be given out anew

    def failed(self, error: BaseException) -> None:
        self.catch_up()
        self.log.append((_FAILED, self.line, _raised_at(error), error))

    def finish(self) -> None:
        """The run is over. Who has the trace keeps it; it and what it was logged in are no cycle any more."""
        self.where = self.trace = None

    # --- what the trace asks ----------------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Log the pass that is still to be told."""
        if self.late is not None:
            self.tape.settle()

    @property
    def is_over(self) -> bool:
        return self.trace is None


_NOWHERE = (None, 0)
(
    _LEAF,
    _RECORDED,
    _PASS_BEGUN,
    _VISIT_BEGUN,
    _VISITED,
    _ACCUMULATED,
    _PASS_ENDED,
    _CHANGED,
    _RESET,
    _FAILED,
) = range(10)


def _caller() -> tuple:
    """(code, instruction) of the innermost frame that is a person's own."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename in _INTERNAL:
        frame = frame.f_back
    return (frame.f_code, frame.f_lasti) if frame is not None else _NOWHERE


def _raised_at(error: BaseException) -> tuple:
    """The same for the innermost own frame of a traceback."""
    found, traceback = _NOWHERE, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename not in _INTERNAL:
            found = (traceback.tb_frame.f_code, traceback.tb_lasti)
        traceback = traceback.tb_next
    return found


class Builder:
    """Makes events of the recorder's log, when they are asked for."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self.tape = recorder.tape
        self.trace: Trace | None = None  # while events are made for it
        self.values: dict[Key, Value] = {}
        self.entries: dict[int, Entry] = {}  # by place on the tape
        self.produced: set[Key] = {key for row in self.tape.entries for key in output_keys(row)}
        self.told: set[Key] = set()  # leaves, and values whose reading has been told
        self.passes: list[RunningPass] = []
        self.sources: dict[tuple, tuple | None] = {}
        self.kinds: dict[tuple, tuple] = {}

    def has_more(self) -> bool:
        """Whether there is something that no event has been made of; also of a pass that the engine has put off."""
        self.recorder.catch_up()
        return bool(self.recorder.log)

    def build(self, trace: Trace) -> None:
        """Events for all that has been logged since the last time."""
        log = list(self.recorder.log)
        self.recorder.log.clear()
        self.trace = trace
        try:
            with collector_paused(kept=True):
                for row in log:
                    _MAKERS[row[0]](self, *row[1:])
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
            value.tensor = variable.value
            value.shape, value.dtype = self.described(variable.value)
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
        return tuple([self.value(variable) for variable in variables])

    def entry(self, index: int) -> Entry:
        """The entry at this place of the tape, also one from before the recording."""
        if index not in self.entries:
            row = self.tape.entries[index]
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

    def changed_since(self, line, where) -> None:
        self.trace._notices.append(CHANGED_SINCE.format(self.trace.pass_count - 1))

    def reset(self, line, where) -> None:
        self.add(TapeReset, line, where)
        self.entries.clear()
        self.produced.clear()
        self.values.clear()

    def failed(self, line, where, error) -> None:
        if isinstance(error, LimitError):
            self.add(LimitReached, line, where, what=error.what, limit=error.limit, message=str(error))
        else:
            notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
            self.add(Failed, line, where, error=type(error).__name__, message=f"{error}{notes}")


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


_MAKERS = (
    Builder.leaf,
    Builder.recorded,
    Builder.pass_begun,
    Builder.visit_begun,
    Builder.visited,
    Builder.accumulated,
    Builder.pass_ended,
    Builder.changed_since,
    Builder.reset,
    Builder.failed,
)
