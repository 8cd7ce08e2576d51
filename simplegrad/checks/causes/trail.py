"""The trail of a backward: every value that it computes, the statement that computed it, and what moves with it.

`followed(run, code)` runs a backward and notes the result of each operation where it was called: the instruction, the
statement, and the chain of calls that led there, in helpers and base classes too. Given `changes`, the result noted at
a site is replaced as the backward runs. So the question "which statement is wrong?" is put to the run itself: change
what a statement computes, and see whether the gradient comes out right. Nothing here reads a source text.

Operations of PyTorch are seen by a function mode. What plain Python, NumPy or another Function computes is seen where
it is bound to a name, line by line.
"""

from __future__ import annotations

import dis
import functools
import math
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from ...torch_private import DisableTorchFunction
from .. import source
from ..measure.numbers import plain
from ..report import Place
from ..runs.watch import Watch
from .owner import Owner

MOST = 2000  # notes of one run: a loop of many steps is cut off there

Spot = tuple[types.CodeType, int]  # a code and the instruction it is at


@dataclass(frozen=True)
class Site:
    """Where a value came from: the calls from backward down to the operation, and which of its results it is.

    `name` is set for a value seen only when it was bound to that local name.
    """

    calls: tuple[Spot, ...]
    position: int = 0
    name: str = ""

    @property
    def code(self) -> types.CodeType:
        return self.calls[-1][0]

    @property
    def line(self) -> int:
        return line_of(*self.calls[-1])

    @property
    def statement(self) -> Place:
        return source.place(self.code, self.line)

    def statement_of(self, level: int) -> Place:
        """The statement at this depth of the calls: 0 is backward's own."""
        code, spot = self.calls[level]
        return source.place(code, line_of(code, spot))


@dataclass
class Note:
    """One value of a run, as it was when it was computed (tensors are copies)."""

    site: Site
    operation: str  # "mul", or "=" for a value that was seen when it was bound to a name
    value: Any
    made: Any = None  # the object itself, alive as long as the note is
    func: Callable | None = None
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    in_place: bool = False


@dataclass
class Ran:
    """What a followed backward returned, the line at which it returned, and its notes."""

    returned: Any
    notes: list[Note]
    returned_at: Place | None = None
    bound: dict[str, Place] = field(default_factory=dict)  # local of backward -> the statement that bound it last
    locals: dict[str, Any] = field(default_factory=dict)  # backward's locals as it returned
    lines: set[int] = field(default_factory=set)  # of backward, that were run
    handed: dict[int, Place] = field(default_factory=dict)  # id of what a helper returned -> where
    given: set[int] = field(default_factory=set)  # ids of what was there before it ran


Change = Callable[[Any], Any]


def followed(
    run: Callable[[], Any],
    codes: Collection[types.CodeType],
    owner: Owner,
    changes: dict[Site, Change] | None = None,
    lines: bool = True,
) -> Ran:
    """Run a backward (or a forward); note what it computes, and change what `changes` says.

    Args:
        run: calls it and gives what it returns.
        codes: its code; a forward may have that of `setup_context` too.
        owner: whose frames count.
        changes: site -> the value put in place of the one computed there, each time.
        lines: also see what is bound to names. Without it only operations of PyTorch are seen: quicker.

    A run with changes of operations alone, or of names alone, notes nothing.
    """
    if changes and len({bool(site.name) for site in changes}) == 1:
        is_named = any(site.name for site in changes)
        with Renamed(codes, owner, changes) if is_named else Changed(codes, owner, changes):
            return Ran(run(), [])
    trail = Trail(codes, owner, changes or {})
    watch = Names(trail) if lines else None
    with trail:
        if watch is None:
            returned = run()
        else:
            with watch:
                returned = run()
    ran = Ran(returned, trail.notes)
    if watch is not None:
        ran.returned_at, ran.bound = watch.returned_at, watch.bound
        ran.locals, ran.lines, ran.handed = watch.locals, watch.ran_at, watch.handed
    return ran


class Trail(TorchFunctionMode):
    """Notes the operations of PyTorch, and changes their results where it is asked to."""

    def __init__(self, codes: Collection[types.CodeType], owner: Owner, changes: dict[Site, Change]) -> None:
        super().__init__()
        self.codes, self.owner, self.changes = codes, owner, changes
        self.notes: list[Note] = []
        self.known: dict[int, Any] = {}  # objects that an operation returned, or that were seen bound to a name

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        calls = self.calls(sys._getframe(1))
        if not calls or len(self.notes) >= MOST:
            return result
        if getattr(func, "__name__", "") == "__setitem__":
            self.noted(Site(calls), func, args, kwargs, args[0])
            return result
        if isinstance(result, tuple | list) and any(isinstance(x, torch.Tensor) for x in result):
            parts = [self.noted(Site(calls, i), func, args, kwargs, x) for i, x in enumerate(result)]
            same = all(a is b for a, b in zip(parts, result, strict=True))
            return result if same else rebuilt(result, parts)
        return self.noted(Site(calls), func, args, kwargs, result)

    def noted(self, site: Site, func: Callable, args: tuple, kwargs: dict | None, result: Any) -> Any:
        if not isinstance(result, torch.Tensor) or result.is_meta:
            return result
        in_place = any(result is x for x in tensors_in((args, kwargs or {})))
        result = self.changed(site, result, in_place)
        if result.is_floating_point() or result.is_complex() or result.dtype == torch.bool:
            name = getattr(func, "__name__", "")
            self.notes.append(Note(site, name, copy_of(result), result, func, args, kwargs or {}, in_place))
        self.known[id(result)] = result
        return result

    def changed(self, site: Site, result: torch.Tensor, in_place: bool) -> torch.Tensor:
        change = self.changes.get(site)
        if change is None:
            return result
        with DisableTorchFunction():
            new = change(result.detach().clone())
            if in_place:
                with torch.no_grad():
                    result.copy_(new)
                return result
            return new

    def calls(self, frame: types.FrameType | None) -> tuple[Spot, ...]:
        """The person's frames from backward down to the one that called; empty outside of backward."""
        found = []
        while frame is not None:
            if self.owner.has(frame.f_code):
                found.append((frame.f_code, frame.f_lasti))
            if frame.f_code in self.codes:
                return tuple(reversed(found))
            frame = frame.f_back
        return ()


class Changed(Trail):
    """Only changes results, and notes nothing: most runs of a search are of this kind."""

    def __init__(self, codes: Collection[types.CodeType], owner: Owner, changes: dict[Site, Change]) -> None:
        super().__init__(codes, owner, changes)
        self.spots = {site.calls[-1] for site in changes}

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        frame = sys._getframe(1)
        while frame is not None and not self.owner.has(frame.f_code):
            frame = frame.f_back
        if frame is None or (frame.f_code, frame.f_lasti) not in self.spots:
            return result
        calls = self.calls(frame)
        if getattr(func, "__name__", "") == "__setitem__":
            self.changed(Site(calls), args[0], True)
            return result
        if isinstance(result, tuple | list) and any(isinstance(x, torch.Tensor) for x in result):
            return rebuilt(result, [self.put(Site(calls, i), args, kwargs, x) for i, x in enumerate(result)])
        return self.put(Site(calls), args, kwargs, result)

    def put(self, site: Site, args: tuple, kwargs: dict | None, result: Any) -> Any:
        if site not in self.changes or not isinstance(result, torch.Tensor) or result.is_meta:
            return result
        return self.changed(site, result, any(result is x for x in tensors_in((args, kwargs or {}))))


class Names(Watch):
    """Follows, line by line, what a person's functions bind to names."""

    def __init__(self, trail: Trail) -> None:
        self.trail = trail
        self.lines: dict[types.FrameType, int] = {}  # the instruction at which a frame's last line began
        self.seen: dict[types.FrameType, dict[str, int]] = {}  # what each name of a frame held: its id
        self.returned_at: Place | None = None
        self.bound: dict[str, Place] = {}
        self.locals: dict[str, Any] = {}
        self.ran_at: set[int] = set()
        self.handed: dict[int, Place] = {}

    def _called(self, frame: types.FrameType, event: str, arg: Any) -> Callable | None:
        if not self.trail.owner.has(frame.f_code) or not self.trail.calls(frame):
            return None
        self.seen[frame] = {name: id(value) for name, value in frame.f_locals.items()}
        self.lines[frame] = frame.f_lasti
        return self._line

    def _line(self, frame: types.FrameType, event: str, arg: Any) -> Callable:
        if event in ("line", "return"):
            self._bound_in(frame)
            self._stored_in(frame)
            self.lines[frame] = frame.f_lasti
        if frame.f_code in self.trail.codes:
            self.ran_at.add(frame.f_lineno)
        if event == "return" and frame.f_code in self.trail.codes:
            self.returned_at = source.place(frame.f_code, frame.f_lineno)
            self.locals |= frame.f_locals
        elif event == "return" and (at := source.place(frame.f_code, frame.f_lineno)).text:  # what is a person's
            self.handed.setdefault(id(arg), at)
            self.trail.known[id(arg)] = arg  # kept alive, as above
        return self._line

    def _bound_in(self, frame: types.FrameType) -> None:
        """Note what the line that just ended bound: what no operation of PyTorch is known to have made."""
        seen, held = self.seen[frame], frame.f_locals
        for name, value in list(held.items()):
            if seen.get(name) == id(value) or name.startswith("."):
                continue
            if carries(value):
                held[name] = value = self._note(frame, name, value)
            seen[name] = id(value)
            self.trail.known[id(value)] = value  # kept alive, so that no other object gets its id

    def _stored_in(self, frame: types.FrameType) -> None:
        """Remember the statement of backward that bound a name last, also to what it was before."""
        if frame.f_code in self.trail.codes:
            line = line_of(frame.f_code, self.lines[frame])
            for name in stored_names(frame.f_code).get(line, ()):
                self.bound[name] = source.place(frame.f_code, line)

    def _note(self, frame: types.FrameType, name: str, value: Any) -> Any:
        value = self._changed(frame, name, value)
        if len(self.trail.notes) < MOST:
            self.trail.notes.append(Note(self._site(frame, name), "=", copy_of(value), made=value))
        return value

    def _site(self, frame: types.FrameType, name: str) -> Site:
        return Site((*self.trail.calls(frame.f_back), (frame.f_code, self.lines[frame])), 0, name)

    def _changed(self, frame: types.FrameType, name: str, value: Any) -> Any:
        change = self.trail.changes.get(self._site(frame, name)) if self.trail.changes else None
        if change is None:
            return value
        with DisableTorchFunction():
            return change(copy_of(value))


class Renamed(Names):
    """Only changes what is bound to some names, and notes nothing."""

    def __init__(self, codes: Collection[types.CodeType], owner: Owner, changes: dict[Site, Change]) -> None:
        super().__init__(Trail(codes, owner, changes))
        self.names = {(site.code, site.name) for site in changes}
        self.followed = {code for code, _ in self.names}

    def _called(self, frame: types.FrameType, event: str, arg: Any) -> Callable | None:
        return super()._called(frame, event, arg) if frame.f_code in self.followed else None

    def _line(self, frame: types.FrameType, event: str, arg: Any) -> Callable:
        if event in ("line", "return"):
            self._bound_in(frame)
            self.lines[frame] = frame.f_lasti
        return self._line

    def _bound_in(self, frame: types.FrameType) -> None:
        seen, held, code = self.seen[frame], frame.f_locals, frame.f_code
        for name in [name for of, name in self.names if of is code and name in held]:
            value = held[name]
            if seen.get(name) != id(value) and carries(value):
                held[name] = value = self._changed(frame, name, value)
            seen[name] = id(value)
            self.trail.known[id(value)] = value  # kept alive, so that no other object gets its id


@functools.lru_cache(maxsize=256)
def stored_names(code: types.CodeType) -> dict[int, frozenset[str]]:
    """The local names that each line of a function binds."""
    found: dict[int, set[str]] = {}
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_FAST" and instruction.positions and instruction.positions.lineno:
            found.setdefault(instruction.positions.lineno, set()).add(instruction.argval)
    return {line: frozenset(names) for line, names in found.items()}


def birth(notes: Iterable[Note]) -> Note | None:
    """The first operation that made of finite numbers what is not finite."""
    return next((n for n in notes if not is_finite(n.value) and all(map(is_finite, n.args))), None)


def is_finite(value: Any) -> bool:
    """Whether a tensor, or a number, holds neither NaN nor an infinity; of anything else it is."""
    if isinstance(value, torch.Tensor):
        with DisableTorchFunction():
            return not carries(value) or bool(torch.isfinite(plain(value.detach())).all())
    return not isinstance(value, float) or math.isfinite(value)


def carries(value: Any) -> bool:
    """Whether a value may be part of a gradient: a floating tensor, array or number."""
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() or value.is_complex() or value.dtype == torch.bool
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "fc"
    return isinstance(value, int | float | complex) and not isinstance(value, bool)


def copy_of(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        with DisableTorchFunction():
            return value.detach().clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def tensors_in(value: Any, depth: int = 3) -> Iterator[torch.Tensor]:
    """The tensors among arguments, in lists and tuples too."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and isinstance(value, tuple | list):
        for one in value:
            yield from tensors_in(one, depth - 1)
    elif depth and isinstance(value, dict):
        for one in value.values():
            yield from tensors_in(one, depth - 1)


def rebuilt(like: Any, parts: list) -> Any:
    """A tuple of results with other parts; PyTorch's named ones are given a sequence."""
    return parts if isinstance(like, list) else type(like)(parts)


def line_of(code: types.CodeType, instruction: int) -> int:
    """The line of an instruction."""
    for start, end, line in code.co_lines():
        if line is not None and start <= instruction < end:
            return line
    return code.co_firstlineno
