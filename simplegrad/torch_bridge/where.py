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

OWN, NOT_OWN, BOUNDARY, CHECKPOINT = range(4)
_TORCH = str(Path(torch.__file__).parent)
_PACKAGE = str(Path(__file__).parent)
_PYTHON = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_INSTALLED = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
_BOUNDARIES = tuple(str(Path(__file__).parent / name) for name in ("patches.py", "record.py"))
_CHECKPOINT = str(Path(torch.__file__).parent / "utils" / "checkpoint.py")
CALLS_A_MODULE = torch.nn.Module._call_impl.__code__
_kinds: dict[str, int] = {}  # file -> whose its frames are


class Context:
    """Something that runs: a module's forward, a pass, a Function's forward or backward. `site`: where it was begun."""

    __slots__ = ("kind", "outer", "site", "what")

    def __init__(self, kind: str, what: Any, site: Site, outer: Context | None) -> None:
        self.kind, self.what, self.site, self.outer = kind, what, site, outer


class Site:
    """`own`: (code, instruction) of a person's own frames, innermost first, up to the `context` that they run in.
    `via`: the frames of others that lie between the innermost own one and what happened, innermost first.
    `is_checkpointed`: torch's checkpoint ran it."""

    __slots__ = ("context", "is_checkpointed", "own", "via")

    def __init__(self, own: tuple, via: tuple, context: Context | None, is_checkpointed: bool) -> None:
        self.own, self.via, self.context, self.is_checkpointed = own, via, context, is_checkpointed


def kind_of(file: str) -> int:
    kind = _kinds.get(file)
    if kind is None:
        foreign = file.startswith((_TORCH, _PACKAGE)) or (file.startswith(_PYTHON) and not file.startswith(_INSTALLED))
        foreign = foreign or file.startswith("<frozen ")
        special = {**dict.fromkeys(_BOUNDARIES, BOUNDARY), _CHECKPOINT: CHECKPOINT}
        kind = _kinds[file] = special.get(file, NOT_OWN if foreign else OWN)
    return kind


def site(frame: Any, context: Context | None, begins: bool = False) -> Site:
    """From this frame outwards. What is called by a stand-in for one of torch's names belongs to `context`; `begins`:
    a pass does, which such stand-ins themselves lead to."""
    own, via, kinds, is_checkpointed = [], [], _kinds, False
    while frame is not None and frame.f_code.co_filename in _BOUNDARIES:
        frame = frame.f_back
    while frame is not None:
        code = frame.f_code
        kind = kinds.get(code.co_filename)
        if kind is None:
            kind = kind_of(code.co_filename)
        if kind == OWN:
            own.append((code, frame.f_lasti))
        elif kind == BOUNDARY:
            if own or not begins:
                break
        elif code is CALLS_A_MODULE:
            if context is not None:
                break
        else:
            if kind == CHECKPOINT:
                is_checkpointed = True
            if not own:
                via.append((code, frame))
        frame = frame.f_back
    through = tuple([(code, *_decorated(code, inner)) for code, inner in via])
    return Site(tuple(own), through, context, is_checkpointed)


def _decorated(code: CodeType, frame: Any) -> tuple:
    """The function that a decorator of torch's (`@torch.no_grad()`) is about to call."""
    if code.co_name not in ("decorate_context", "generator_context"):
        return ()
    func = frame.f_locals.get("func")
    return (func.__code__,) if hasattr(func, "__code__") else ()


def stack(where: Site | None) -> list[tuple[CodeType, int]]:
    """All own frames, innermost first, through the modules and passes that they run in."""
    found: list[tuple[CodeType, int]] = []
    while where is not None:
        found += where.own
        where = where.context.site if where.context is not None else None
    return found


def innermost(where: Site | None) -> tuple[CodeType, int] | None:
    while where is not None:
        if where.own:
            return where.own[0]
        where = where.context.site if where.context is not None else None
    return None


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
