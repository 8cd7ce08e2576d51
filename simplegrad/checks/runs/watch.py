"""Running code watched line by line: who appended an entry, which lines ran, at which of them a value turned up.

A trace function of the interpreter, for this thread only: nothing is patched, other threads notice nothing, and whoever
watches already goes on beside it. `Watch` is told of calls; what it wants to know of their lines is a class's own.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...engine import Tape, TapeEntry, Variable
from ...torch_private import DisableTorchFunctionSubclass, changes
from ..report import Place
from ..source import code_of, codes_within, place
from ..subjects.slots import Slot
from .tracing import traced

_OURS = str(Path(__file__).parents[2])
_PARTS = ("engine", "ops", "trace", "language", "checks", "comparison", "compiler", "torch_bridge")
_FOLDERS = tuple(f"{_OURS}/{part}/" for part in _PARTS)
_FOLDERS += (f"{Path(torch.__file__).parent}/", "<frozen")
_CHECKS = f"{_OURS}/checks/"
_MADE = Variable.__init__.__code__
_APPEND = Tape.append.__code__
_DETACH = Variable.detach.__code__


def is_ours(file: str) -> bool:
    """Whether a file belongs to the engine, to a reader of its runs or to torch, and so to nobody's own code."""
    return file.startswith(_FOLDERS)


@dataclass
class Made:
    """A Variable somebody made by hand: the caller's code and line, and the value as it was."""

    variable: Variable
    code: types.CodeType | None
    line: int
    version: int
    value: torch.Tensor | None = None  # a copy, where copies were asked for
    in_pass: bool = False

    @property
    def at(self) -> Place | None:
        return place(self.code.co_filename, self.line) if self.code else None


class Watch:
    """`with watch:` what runs inside is watched."""

    def __enter__(self) -> Watch:
        self._tracing = traced(self._called)
        self._tracing.__enter__()
        return self

    def __exit__(self, *_) -> None:
        self._tracing.__exit__(None, None, None)

    def _called(self, frame: types.FrameType, event: str, arg: Any) -> Callable | None:
        """A call begins; what is returned is told of its lines."""
        raise NotImplementedError


class TapeWatch(Watch):
    """What the engine does not tell. `copies`: keep each made value as it was at first."""

    def __init__(self, copies: bool = False):
        self.copies = copies
        self.made: dict[int, Made] = {}  # by id of the Variable, which is kept alive here
        self.appended: TapeEntry | None = None  # the one that is being recorded
        self.appended_from: tuple[types.CodeType, int] | None = None
        self.lines: dict[types.CodeType, set[int]] = {}  # of the functions followed, which lines ran
        self.last: dict[types.CodeType, int] = {}  # and which one last
        self.passes = 0  # how many passes are running

    def follow(self, propagate: Callable) -> None:
        """Note from now on which lines of this function run, and of those inside it."""
        code = code_of(propagate)
        for each in codes_within(code) if code else ():
            self.lines.setdefault(each, set())

    def _called(self, frame: types.FrameType, event: str, arg: object) -> Callable | None:
        code = frame.f_code
        if code is _MADE:
            return self._made if self._note_maker(frame) else None
        if code is _APPEND:
            self.appended = frame.f_locals["entry"]
            self.appended_from = _own_caller(frame)
        elif code is _DETACH and not self.passes:
            return self._detached
        elif code in self.lines:
            return self._line
        return None

    def _line(self, frame: types.FrameType, event: str, arg: object) -> Callable:
        if event == "line":
            self.lines[frame.f_code].add(frame.f_lineno)
            self.last[frame.f_code] = frame.f_lineno
        return self._line

    def _note_maker(self, frame: types.FrameType) -> bool:
        return isinstance(frame.f_locals.get("value"), torch.Tensor)

    def _made(self, frame: types.FrameType, event: str, arg: object) -> Callable | None:
        if event == "return":
            variable, value = frame.f_locals["self"], frame.f_locals["value"]
            code, line = _own_caller(frame) or (None, 0)
            kept = value.detach().clone() if self.copies else None
            self.made[id(variable)] = Made(variable, code, line, changes(value), kept, bool(self.passes))
        return self._made

    def _detached(self, frame: types.FrameType, event: str, arg: object) -> Callable:
        """Variable.detach() in forward says that no gradient flows: then none does in the truth either."""
        if event == "return" and isinstance(arg, Variable):
            arg._value = arg._value.detach()
        return self._detached


def _own_caller(frame: types.FrameType) -> tuple[types.CodeType, int] | None:
    """Code and line of the innermost frame that is a person's own; None for what the check itself calls."""
    found = frame.f_back
    while found is not None and is_ours(found.f_code.co_filename):
        if found.f_code.co_filename.startswith(_CHECKS):
            return None
        found = found.f_back
    return (found.f_code, found.f_lineno) if found is not None else None


def own_line() -> tuple[str, int] | None:
    """File and line of what called a torch function, seen from the mode that was told of it; None as above."""
    found = _own_caller(sys._getframe(1))
    return (found[0].co_filename, found[1]) if found else None


# -- where a value was made ------------------------------------------------------------------------------------------

LARGEST = 1 << 16  # elements; a larger tensor's later changes in place are told by its version alone


@dataclass
class Seen:
    """An object that turned up in forward: at which line, under which name, and when it last changed."""

    value: Any
    code: types.CodeType
    first: int
    last: int
    mark: Any
    name: str = ""


class ValueWatch(Watch):
    """Follows the lines of some functions and notes at which of them each value turned up."""

    def __init__(self, codes: tuple[types.CodeType, ...], reachable: Callable[[], list[Slot]] = list) -> None:
        self.codes, self.reachable = codes, reachable  # `reachable`: what backward could read by now
        self.seen: dict[int, Seen] = {}
        self.lines: dict[types.FrameType, int] = {}

    def origin(self, slots: list[Slot]) -> tuple[Place | None, str]:
        """(lines that made the value that is in these slots, the local name that it had there)."""
        for slot in slots:
            seen = self.seen.get(id(slot.value))
            if seen is not None and seen.value is slot.value:
                return place(seen.code, seen.first, max(seen.first, seen.last)), seen.name
        return None, ""

    def _called(self, frame: types.FrameType, event: str, arg: Any) -> Callable | None:
        if frame.f_code not in self.codes:
            return None
        for name, value in list(frame.f_locals.items()):  # arguments, which no line here made
            self._note(frame, frame.f_lineno, name, value)
        return self._line

    def _line(self, frame: types.FrameType, event: str, arg: Any) -> Callable:
        done = self.lines.get(frame, frame.f_lineno)
        for name, value in list(frame.f_locals.items()):
            self._note(frame, done, name, value)
        for slot in self.reachable():
            self._note(frame, done, "", slot.value)
        self.lines[frame] = frame.f_lineno
        return self._line

    def _note(self, frame: types.FrameType, line: int, name: str, value: Any, inside: int = 2) -> None:
        if isinstance(value, torch.Tensor | np.ndarray | np.generic | float | complex):
            known = self.seen.get(id(value))
            if known is None:
                self.seen[id(value)] = Seen(value, frame.f_code, line, line, _mark(value), name)
            elif known.mark != (mark := _mark(value)):
                known.mark, known.last = mark, line
            elif name and not known.name:
                known.name = name
        elif inside and isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                self._note(frame, line, "", item, inside - 1)


def _mark(value: Any) -> Any:
    """Something that differs once the value was changed in place."""
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.numel() > LARGEST or value.is_cuda:
            return changes(value)
        with DisableTorchFunctionSubclass():
            numbers = value.detach().resolve_conj().resolve_neg().contiguous()
            # as bytes: numpy has no bfloat16
            return changes(value), hash(numbers.view(-1).view(torch.uint8).numpy(force=True).tobytes())
    return hash(value.tobytes()) if isinstance(value, np.ndarray) else None
