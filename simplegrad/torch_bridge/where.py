"""Where something happens: the frames that are a person's own, and what they stand in (modules, passes, Functions).

While a run goes on only code objects and instruction numbers are kept; lines are made of them when somebody asks.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from types import CodeType
from typing import Any

import torch

from simplegrad.trace.events import Source

OWN, NOT_OWN, CHECKPOINT, OURS = range(4)
MOST_AROUND = 16  # frames that may have called for a recording
_TORCH = str(Path(torch.__file__).parent)
_PACKAGE = str(Path(__file__).parent)
_PYTHON = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_INSTALLED = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
_CHECKPOINT = str(Path(torch.__file__).parent / "utils" / "checkpoint.py")
_DECORATED = torch.no_grad()(lambda: None).__code__  # of what torch's decorators put around a function
_kinds: dict[str, int] = {}  # file -> whose its frames are


class Context:
    """Something that runs: a module's forward, a pass, a Function's forward or backward.

    `where`: the Site at which it began. `frame`: the one that it runs in, None once it is over.
    """

    __slots__ = ("frame", "kind", "outer", "what", "where")

    def __init__(self, kind: str, what: Any, outer: Context | None, where: Site | None, frame: Any) -> None:
        self.kind, self.what, self.outer, self.where, self.frame = kind, what, outer, where, frame


class Site:
    """Where something happens: `frames`, code and instruction in turn, from the innermost frame outwards. They end at
    the frame of the `context` if `is_inside`: what is further out is known from where that began.

    `own`: (code, instruction) of a person's own frames, innermost first. `via`: code of the frames of others that lie
    between the innermost own one and what happened, innermost first. `decorated`: code of the function that a decorator
    of torch's (`@torch.no_grad()`) is about to call. `is_checkpointed`: torch's checkpoint runs it.
    """

    __slots__ = ("_read", "context", "decorator", "frames", "is_inside")

    def __init__(self, frames: Any, context: Context | None, is_inside: bool = False, decorator: Any = None) -> None:
        self.frames, self.context, self.is_inside, self.decorator = frames, context, is_inside, decorator
        self._read: tuple | None = None

    @property
    def own(self) -> tuple[tuple[CodeType, int], ...]:
        return self._parts()[0]

    @property
    def via(self) -> tuple[CodeType, ...]:
        return self._parts()[1]

    @property
    def is_checkpointed(self) -> bool:
        return self._parts()[2]

    @property
    def decorated(self) -> CodeType | None:
        return self._parts()[3]

    def _parts(self) -> tuple:
        """Those of the site that is furthest out first: contexts may lie deeper in each other than Python's stack."""
        if self._read is not None:
            return self._read
        todo, around = [], ((), (), False, None)
        site: Site | None = self
        while site is not None and site._read is None:
            todo.append(site)
            site = site.context.where if site.is_inside and site.context is not None else None
        if site is not None:
            around = site._read
        for each in reversed(todo):
            around = each._read = each._within(*around)
        return around

    def _within(self, outer: tuple, outer_via: tuple, is_checkpointed: bool, outer_decorated: Any) -> tuple:
        own, via = [], []
        for code, instruction in zip(self.frames[::2], self.frames[1::2]):
            kind = kind_of(code.co_filename)
            if kind == OWN:
                own.append((code, instruction))
            elif kind != OURS:
                is_checkpointed = is_checkpointed or kind == CHECKPOINT
                if not own:
                    via.append(code)
        if own:  # tuples, which Python's collector leaves alone: there is a site for each operation
            return (*own, *outer), tuple(via), is_checkpointed, self.decorator
        return outer, (*via, *outer_via), is_checkpointed, outer_decorated or self.decorator


def kind_of(file: str) -> int:
    kind = _kinds.get(file)
    if kind is None:
        foreign = file.startswith((_TORCH, "<frozen "))
        foreign = foreign or (file.startswith(_PYTHON) and not file.startswith(_INSTALLED))
        ours = file.startswith(_PACKAGE)
        kind = OURS if ours else CHECKPOINT if file == _CHECKPOINT else NOT_OWN if foreign else OWN
        _kinds[file] = kind
    return kind


def running(frame: Any) -> frozenset[Any]:
    """This frame and those around it: a block that somebody's own `__enter__` began goes on in one of the others."""
    found = []
    while frame is not None and len(found) < MOST_AROUND:
        found.append(frame)
        frame = frame.f_back
    return frozenset(found)


def site(frame: Any, context: Context | None, around: frozenset[Any] = frozenset()) -> Site:
    """From this frame outwards, to that of the `context`, or to the first of those that ran as the recording began."""
    frames: list[Any] = []
    decorator = None
    stop = context.frame if context is not None else None
    last: frozenset[Any] = around if context is None else frozenset()
    while frame is not stop and frame is not None:
        code = frame.f_code
        frames.append(code)
        frames.append(frame.f_lasti)
        if code is _DECORATED and not any(kind_of(each.co_filename) == OWN for each in frames[::2]):
            decorator = getattr(frame.f_locals.get("func"), "__code__", None)
        if frame in last:
            break
        frame = frame.f_back
    # a tuple of code and numbers is left alone by Python's collector
    return Site(tuple(frames), context, frame is not None and context is not None, decorator)


def stack(where: Site | None) -> tuple[tuple[CodeType, int], ...]:
    """All own frames, innermost first."""
    return where.own if where is not None else ()


def innermost(where: Site | None) -> tuple[CodeType, int] | None:
    return where.own[0] if where is not None and where.own else None


def line(pair: tuple[CodeType, int] | None) -> Source | None:
    """(file, line) of one frame."""
    if pair is None:
        return None
    code, instruction = pair
    known = _lines.get((id(code), instruction))
    if known is not None and known[0] is code:
        return known[1]
    lines = [number for start, stop, number in code.co_lines() if start <= instruction < stop]
    found = (code.co_filename, lines[0]) if lines and lines[0] else None
    if len(_lines) > 100_000:
        _lines.clear()
    _lines[id(code), instruction] = code, found
    return found


_lines: dict[tuple[int, int], tuple[CodeType, Source | None]] = {}


def raised_at(error: BaseException) -> tuple[CodeType, int] | None:
    """The innermost own frame of a traceback."""
    found, traceback = None, error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if kind_of(code.co_filename) == OWN:
            found = (code, traceback.tb_lasti)
        traceback = traceback.tb_next
    return found


def module_path(where: Site | None) -> str:
    """Path of the innermost module whose forward this happens in; "" in none."""
    context = where.context if where is not None else None
    while context is not None:
        if context.kind == "module":
            return context.what.path or ""
        context = context.outer
    return ""


def part_of_pass(where: Site | None) -> str:
    """ "" in the forward part; in a pass "backward" of a custom Function, "recomputed" by a checkpoint, or "hook"."""
    context, inner = where.context if where is not None else None, ""
    while context is not None:
        if context.kind == "backward" and not inner:
            inner = "backward"
        if context.kind == "pass":
            return inner or ("recomputed" if where.is_checkpointed else "hook")
        context = context.outer
    return ""
