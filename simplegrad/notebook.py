"""The notebook's own names: `from simplegrad.notebook import *` runs code written for it, and prints what it printed.

Nothing here computes. The printing reads a trace of the current tape, line by line as its events come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Dict, List, NamedTuple, Optional  # noqa: UP035  the notebook's first cell imports these

import torch

from .engine import Tape, TapeEntry, Variable, add_optional, current_tape, fresh_name, grad, gradient_tape
from .trace import Recorder, Trace, record
from .trace.events import PassFailed
from .trace.transcript import lines as _lines

__all__ = [
    "Callable",
    "Dict",
    "List",
    "NamedTuple",
    "Optional",
    "TapeEntry",
    "Variable",
    "add_optional",
    "fresh_name",
    "grad",
    "gradient_tape",
    "operator_add",
    "operator_expand",
    "operator_mul",
    "operator_sum",
    "reset_tape",
    "show",
    "torch",
]


class _PrintedLog(list):
    """A recorder's log that is read as soon as something is written to it."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    def __iadd__(self, row: tuple) -> _PrintedLog:
        self.extend(row)
        trace = self.recorder.trace
        for event in trace.events:
            if not isinstance(event, PassFailed):  # the error says that itself
                for line in _lines(event):
                    print(line)
        trace._events.clear()
        return self


def _print_what_happens(tape: Tape) -> None:
    if not any(isinstance(getattr(observer, "log", None), _PrintedLog) for observer in tape.observers):
        printer = Recorder(tape)
        printer.log = _PrintedLog(printer)
        printer.may_wait = False
        tape.observers = (*tape.observers, printer)


_recording = ExitStack()  # what happens since the last reset, for `show`
_runs: list[Trace] = []


def _record_what_happens(tape: Tape) -> None:
    _recording.close()
    _runs[:] = [_recording.enter_context(record(tape))]


def reset_tape() -> None:
    """Forget what the current tape recorded, start names anew at v0, and print what happens from now on."""
    tape = current_tape()
    _recording.close()
    tape.reset()
    _print_what_happens(tape)
    _record_what_happens(tape)


def show(height: int = 760) -> None:
    """Draw what happened since the last `reset_tape()`, to be stepped through."""
    _runs[-1].show(height)


def operator_mul(self: Variable, rhs: Variable | float) -> Variable:
    return self * rhs


def operator_add(self: Variable, rhs: Variable) -> Variable:
    return self + rhs


def operator_sum(self: Variable, name: str | None = None) -> Variable:
    return self.sum(name=name)


def operator_expand(self: Variable, sizes: Sequence[int] | int) -> Variable:
    return self.expand(*(sizes if isinstance(sizes, Sequence) else (sizes,)))


_print_what_happens(current_tape())
_record_what_happens(current_tape())
