"""`record()`: log what runs inside, to be made into events, without changing a bit of it.

While the run goes on, only short tuples are kept (`log`); events are made of them when somebody reads the trace (see
builder.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from weakref import ref

import torch

from ..engine import Key, Observer, Tape, Variable, current_tape, gradient_tape
from ..engine.lent import version_of
from ..engine.tape import HandWritten
from .builder import Builder, LimitError
from .trace import Trace

_PACKAGE = Path(__file__).parent.parent
# Frames that are not what a person wrote: the engine, the interpreter of programs, ourselves.
_FOLDERS = ("ops", "engine", "trace", "language")
_INTERNAL = {str(path) for folder in _FOLDERS for path in (_PACKAGE / folder).glob("*.py")}
_INTERNAL.add(str(_PACKAGE / "notebook.py"))
_PROGRAM = "<program "  # the file that the code of a program of the small language is in

__all__ = ["LimitError", "Recorder", "record"]


@contextmanager
def record(tape: Tape | None = None) -> Iterator[Trace]:
    """`with record() as trace:` records what runs on the current tape (or on `tape`), in this context.

    A run that raises keeps its events, with the error as the last; the exception goes on.
    """
    tape = current_tape() if tape is None or tape is gradient_tape else tape
    tape.catch_up()
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

    may_wait = True  # while the run goes on: the trace asks for what it was not told yet

    def __init__(self, tape: Tape):
        self.tape = tape
        self.rows = tape.rows
        self.line: int | None = None
        self.log: list = []  # flat, a kind and its fields in turn: a tuple for each were much to keep, and to walk over
        # (see builder.py: the makers' arguments are the fields); of Variables their keys
        self.where: tuple | None = None  # (code, instruction) of the running pass, for what its rules record
        self.then: tuple | None = None  # (line, (code, instruction)) of a pass that is told later
        self.tensors: dict[Key, torch.Tensor] = {}  # of each Variable, as it was when it was first seen
        self.versions: dict[Key, int] = {}  # how often that had been changed in place by then, where it had been
        self.trace = Trace()
        self.trace._builder = Builder(self)
        self.for_trace = ref(self.trace)

    # --- what the engine tells, in the order of the run; these run on the hot path --------------------------------

    def place(self) -> tuple:
        return self.line, _caller()

    def at(self, place: tuple | None) -> None:
        self.then = place

    def note(self, text: str) -> None:
        self.log += ("note", text)

    def leaf(self, variable: Variable) -> None:
        self.see(variable)
        code, instruction = _caller()
        self.log += ("leaf", self.line, code, instruction, variable.key)

    def recorded(self, inputs: tuple, outputs: tuple) -> None:
        tensors = self.tensors
        seen = tensors.get
        for x in inputs:
            if seen(x.key) is not x._value:
                self.see(x)
        try:
            for r in outputs:
                value = tensors[r.key] = r._value
                if value._version:
                    self.see(r)
        except (RuntimeError, AttributeError):  # of an inference mode, or in a torch that does not: nobody counts
            for r in outputs:
                tensors[r.key] = r._value
        code, instruction = self.where or _caller()
        self.log += ("recorded", self.line, code, instruction, len(self.rows) - 1)

    def see(self, x: Variable) -> None:
        """Keep the tensor that this Variable has now; what its `value` is later is not what this run computed with."""
        seen = self.tensors.setdefault(x.key, x._value)
        if seen is x._value:
            self.versions.setdefault(x.key, version_of(x._value))
        elif self.then is None:
            self.log += ("replaced", x.key)
        if x.key not in self.tape.keys and getattr(x, "_given", None):
            self.tape.name_of(x.key, x)  # of another tape, or of before a reset: this one does not know its name

    def pass_begun(self, L: Variable, seed: Variable, wanted: list, none: str, prune: str) -> None:
        for x in (L, seed, *wanted):
            self.see(x)
        line, (code, instruction) = self.then or (self.line, _caller())
        keys = tuple(map(key_of, wanted))
        self.log += ("pass_begun", line, code, instruction, L.key, seed.key, keys, none, prune)

    def visit_begun(self, index: int, dL_doutputs: list) -> None:
        self.log += ("visit_begun", self.line, index, keys_of(dL_doutputs))
        # rules of our own operators are nobody's source line; what they record came from the call of grad
        self.where = None if self.tape.rows.rule(index).__class__ is HandWritten else _NOWHERE

    def visited(self, index: int, state: str, dL_doutputs: list, dL_dinputs: list) -> None:
        if self.then is not None:
            self.see_again(dL_dinputs)
        else:
            tensors = self.tensors
            for g in dL_dinputs:
                if g is not None and g.key not in tensors:
                    self.see(g)  # which a hand-written propagate made without recording how
        outgoing = map(key_of, dL_dinputs)
        self.log += ("visited", self.line, index, state, keys_of(dL_doutputs), len(dL_dinputs), *outgoing)
        self.where = _NOWHERE  # additions that follow are grad's own

    def see_again(self, gradients: Sequence[Variable | None]) -> None:
        """Gradients of a pass that is told later have the tensors of then."""
        for g in gradients:
            if g is not None:
                self.tensors[g.key] = value = g._value
                version = version_of(value)
                if version or g.key in self.versions:
                    self.versions[g.key] = version

    def accumulated(self, key: Key, contribution: Variable | None, total: Variable | None) -> None:
        if total is None:
            self.log += ("accumulated", self.line, key, None, None)
            return
        if self.then is not None:
            self.see_again((total,))
        self.log += ("accumulated", self.line, key, None if contribution is None else contribution.key, total.key)

    def pass_ended(self, dL_d: dict, results: list) -> None:
        self.where = None
        if self.then is not None:
            self.see_again(results)
        self.log += ("pass_ended", self.line, tuple(map(key_of, results)))

    def pass_failed(self, error: BaseException) -> None:
        self.where = None
        code, instruction = _raised_at(error)
        self.log += ("pass_failed", self.line, code, instruction, type(error).__name__, said(error))

    def reset(self) -> None:
        trace = self.for_trace()
        if trace is not None:
            self.tape.catch_up()
        if not self.is_over:
            code, instruction = _caller()
            self.log += ("reset", self.line, code, instruction)
        if trace is not None:
            trace._built()  # names are about to be given out anew
        self.tensors.clear()
        self.versions.clear()

    def failed(self, error: BaseException) -> None:
        self.tape.catch_up()
        limit = (error.what, error.limit) if isinstance(error, LimitError) else None
        code, instruction = _raised_at(error)
        self.log += ("failed", self.line, code, instruction, type(error).__name__, said(error), limit)

    def finish(self) -> None:
        """The run is over. Who has the trace keeps it; it and what it was logged in are no cycle any more."""
        self.where = self.trace = None

    @property
    def is_over(self) -> bool:
        return self.trace is None


_NOWHERE = (None, 0)


def key_of(x: Variable | None) -> Key | None:
    return None if x is None else x.key


def keys_of(variables: Sequence[Variable | None]) -> tuple[Key | None, ...] | Key | None:
    """Keys, not Variables: the log keeps nothing alive, and Python's collector has nothing in it to look through. Of
    one, which is the usual number, without a tuple around it."""
    if len(variables) == 1:
        (x,) = variables
        return None if x is None else x.key
    return tuple(map(key_of, variables))


def said(error: BaseException) -> str:
    """What an error says, with its notes."""
    return str(error) + "".join(f" ({note})" for note in getattr(error, "__notes__", ()))


def _caller() -> tuple:
    """(code, instruction) of the innermost frame that is a person's own."""
    frame = sys._getframe(3)  # past whoever called an observer, which is the engine
    while frame is not None and frame.f_code.co_filename in _INTERNAL:
        frame = frame.f_back
    return (frame.f_code, frame.f_lasti) if frame is not None and not _is_statement(frame.f_code) else _NOWHERE


def _is_statement(code) -> bool:
    """Whether it is the top of a program of the small language, whose place is its line."""
    return code.co_name == "<module>" and code.co_filename.startswith(_PROGRAM)


def _raised_at(error: BaseException) -> tuple:
    """The same for the innermost own frame of a traceback."""
    found, traceback = _NOWHERE, error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename not in _INTERNAL and not _is_statement(code):
            found = (traceback.tb_frame.f_code, traceback.tb_lasti)
        traceback = traceback.tb_next
    return found
