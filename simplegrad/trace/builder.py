"""From the log of a recorder to events, when somebody reads the trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any

from ..engine import Key
from ..engine.rows import inputs_of
from ..engine.tape import HandWritten
from .events import (
    Accumulated,
    Entry,
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
    Table,
    TapeReset,
    Value,
    VisitBegun,
    Visited,
    described,
    several,
)

if TYPE_CHECKING:
    from .rows import Events
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
    """Makes events of what a recorder has written down: rows, the tensors that it saw, and how often each had been
    changed by then."""

    def __init__(self, recorder: Any):
        self.recorder = recorder
        self.tape = recorder.tape
        self.trace: Trace | None = None  # while events are made for it
        self.events: Events | None = None  # of this trace
        self.values: dict[Key, Value] = {}
        self.untold: dict[Key, Value] = {}  # whose tensors nobody has seen yet
        self.entries: dict[int, Entry] = {}  # by place on the tape
        self.known: set[Key] = self.tape.rows.outputs()  # and leaves, and values whose reading has been told
        self.passes: list[RunningPass] = []
        self.within: tuple[int | None, int | None] = (None, None)  # `parent` and `pass_id` of what happens now
        self.sources: dict[tuple[int, int], tuple] = {}  # code (by id, and itself), instruction -> line

    def has_more(self) -> bool:
        """Whether there is something that no event has been made of, or that the tape has yet to tell."""
        self.tape.catch_up()
        return bool(self.recorder.log)

    def build(self, trace: Trace) -> None:
        """Events for all that has been logged since the last time."""
        log, self.trace, self.events = self.recorder.log, trace, trace._events
        self.add = self.events.add
        rows, at = list(log), 0
        del log[:]
        try:
            while at < len(rows):
                make, end = _MAKERS[rows[at]], at + 1 + _FIELDS[rows[at]]
                if rows[at] == "visited":
                    end += rows[end - 1]  # so many outgoing gradients follow
                make(self, *rows[at + 1 : end])
                at = end
        except Exception as error:
            trace._notices.append(
                NOT_READ.format(error=f"{type(error).__name__}: {error}", index=len(trace._events) - 1)
            )
            raise
        finally:
            self.trace = self.events = self.add = None

    def source(self, code: CodeType | None, instruction: int) -> Source | None:
        if code is None:
            return None
        found = self.sources.get((id(code), instruction))
        if found is None:
            lines = [line for start, stop, line in code.co_lines() if start <= instruction < stop]
            line = (code.co_filename, lines[0]) if lines and lines[0] else None
            found = self.sources[id(code), instruction] = code, line
        return found[1]

    def value(self, key: Key) -> Value:
        return self.values.get(key) or self.new_value(key)

    def new_value(self, key: Key) -> Value:
        """Also of a Variable that only the tape knows so far: its tensor is told once somebody computes with it."""
        value, tensor = self.untold.pop(key, None), self.recorder.tensors.get(key)
        if value is None:
            values = self.trace._values
            value = Value.of_tape(len(values), key, self.tape.names)
            values.append(value)
            if self.tape.eras[0].start != self.tape.start:
                self.tape.name_of(key)  # now: else a Variable of before a reset might be asked, and take the name
        elif tensor is not None:
            value.shape, value.dtype = described(tensor)
        if tensor is None:
            self.untold[key] = value
        else:
            self.values[key], value.tensor, value.version = value, tensor, self.recorder.versions.get(key, 0)
        return value

    def several(self, keys: tuple[Key | None, ...] | Key | None) -> tuple[Value | None, ...] | Value | None:
        """Of several Variables a tuple; of one, whose key the recorder kept without a tuple, its Value without one."""
        if keys.__class__ is not tuple:
            return None if keys is None else self.values.get(keys) or self.new_value(keys)
        return tuple([None if key is None else self.value(key) for key in keys])

    def entry(self, index: int) -> Entry:
        """The entry at this place of the tape, also one from before the recording."""
        return self.entries.get(index) or self.add_entry(index, self.tape.rows.entry(index), None, None, None, None)

    def add_entry(self, index, row, line, source, pass_id, made_by) -> Entry:
        rule, output, left, right, one, two, _, _ = row
        by_hand = rule.__class__ is HandWritten
        entry = self.entries[index] = Entry.of_tape(
            len(self.trace._entries),
            rule.function_name if by_hand else rule.name,
            rule.template(len(inputs_of(row)), one, two),
            self.several(left),
            right if right is None else self.value(right),
            self.several(output),
            by_hand,
            made_by,
            pass_id,
            line,
            source,
            _definition(rule.propagate_function) if by_hand else None,
        )
        self.trace._entries.append(entry)
        return entry

    # --- one maker for each kind of row; its arguments are the row's fields -----------------------------------------

    def leaf(self, line, code, instruction, key) -> None:
        self.known.add(key)
        is_new, value = key not in self.values and key not in self.untold, self.value(key)
        value.leaf = value.leaf or is_new
        self.add((Leaf, *self.within, line, self.source(code, instruction), value))

    def recorded(self, line, code, instruction, index) -> None:
        row, known, within = self.tape.rows.entry(index), self.known, self.within
        source = None if code is None else self.source(code, instruction)
        made_by = self.passes[-1].entry if self.passes else None
        entry = self.add_entry(index, row, line, source, within[1], made_by and made_by.id)
        for key in inputs_of(row):
            if key not in known:
                known.add(key)
                self.add((Read, *within, line, source, self.value(key), entry))
        output = row[1]
        known.update(output) if output.__class__ is tuple else known.add(output)
        self.add((Recorded, *within, line, source, entry))

    def pass_begun(self, line, code, instruction, L, seed, wanted, none, prune) -> None:
        self.known.add(seed)
        gradients = tuple(map(self.value, wanted))
        pass_ = Pass(self.trace.pass_count, self.value(L), self.value(seed), gradients, none, prune)
        self.trace.pass_count += 1
        begun, parent = len(self.events), self.within[0]
        self.passes.append(RunningPass(pass_, begun, {pass_.loss: pass_.seed}, self.within))
        self.add((PassBegun, parent, pass_.id, line, self.source(code, instruction), pass_))
        self.within = begun, pass_.id

    def visit_begun(self, line, index, incoming) -> None:
        running, entry = self.passes[-1], self.entry(index)
        here = running.begun, running.pass_.id
        # a visit of a hand-written entry is at its propagate; other visits are the engine's own business
        self.add((VisitBegun, *here, line, entry.propagate_source, entry, *several(self.several(incoming))))
        running.entry, running.slot, self.within = entry, 0, (len(self.events) - 1, here[1])

    def visited(self, line, index, state, incoming, _count, *outgoing) -> None:
        running, entry = self.passes[-1], self.entry(index)
        here = self.within = running.begun, running.pass_.id
        incoming, outgoing = self.several(incoming), map(self.several, outgoing)
        self.add((Visited, *here, line, entry.propagate_source, entry, state, incoming, *outgoing))

    def accumulated(self, line, key, contribution, total) -> None:
        running, value = self.passes[-1], self.value(key)
        table, slot = running.table, running.slot
        first, came = value not in table, self.several(contribution)
        after = came if total == contribution else self.several(total)
        if after is not None:
            table[value] = after
        self.add((Accumulated, *self.within, line, None, running.entry, slot, value, came, after, first))
        running.slot = slot + 1

    def pass_ended(self, line, results) -> None:
        running = self.passes.pop()
        here = running.begun, running.pass_.id
        self.add((PassEnded, *here, line, None, running.pass_, Table(running.table), *self.several(results)))
        self.within = running.outside

    def pass_failed(self, line, code, instruction, error, message) -> None:
        running, source = self.passes.pop(), self.source(code, instruction)
        here = running.begun, running.pass_.id
        entry = None if self.within == here else running.entry
        self.add((PassFailed, *here, line, source, running.pass_, error, message, entry))
        self.within = running.outside

    def note(self, text) -> None:
        self.trace._notices.append(text.replace("this pass", f"pass {self.trace.pass_count - 1}"))

    def replaced(self, key) -> None:
        notice = REPLACED.format(name=self.value(key).name)
        if notice not in self.trace._notices:
            self.trace._notices.append(notice)

    def reset(self, line, code, instruction) -> None:
        self.add((TapeReset, *self.within, line, self.source(code, instruction)))
        for found in (self.entries, self.values, self.untold):
            found.clear()

    def failed(self, line, code, instruction, error, message, limit) -> None:
        self.passes.clear()  # a run that was broken off in the middle of one, by what no pass sees
        here = None, None, line, self.source(code, instruction)
        self.add((Failed, *here, error, message) if limit is None else (LimitReached, *here, *limit, message))
        self.within = None, None


@dataclass(slots=True)
class RunningPass:
    pass_: Pass
    begun: int  # index of its PassBegun
    table: dict[Value, Value]
    outside: tuple[int | None, int | None]  # what it happens within
    entry: Entry | None = None  # the one visited last: additions of its contributions belong to it
    slot: int = 0  # whose next contribution is the one for this input


def _definition(propagate: Callable) -> tuple[str, int] | None:
    code = getattr(propagate, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else None


# What a row of the log says first: the name of what makes an event of it; and how many fields follow.
_KINDS = ("leaf", "recorded", "pass_begun", "visit_begun", "visited", "accumulated", "pass_ended", "pass_failed")
_KINDS += ("note", "replaced", "reset", "failed")
_MAKERS = {kind: getattr(Builder, kind) for kind in _KINDS}
_FIELDS = {kind: make.__code__.co_argcount - 1 for kind, make in _MAKERS.items()}
