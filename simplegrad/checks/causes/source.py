"""Lines of source: which line of forward made a value, which line of backward read it, and what to repeat."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import linecache
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from simplegrad import source_text
from simplegrad.checks.report import Place
from simplegrad.checks.subjects.slots import Slot
from simplegrad.checks.tracing import traced
from simplegrad.torch_private import DisableTorchFunctionSubclass

LARGEST = 1 << 16  # elements; a larger tensor's later changes in place are told by its version alone


# -- statements --------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def statements(code: types.CodeType) -> tuple[ast.stmt, ...]:
    """The statements of a function, at the line numbers of its file; none where the source cannot be had."""
    try:
        lines, first = inspect.getsourcelines(code)
        tree = source_text.parsed(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return ()
    ast.increment_lineno(tree, first - 1)
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.stmt))


def statement_at(code: types.CodeType, line: int) -> tuple[int, int]:
    """First and last line of the innermost statement that covers `line`, without the body of a block."""
    best = (line, line)
    for node in statements(code):
        last = _head_end(node)
        covers = node.lineno <= line <= last and not isinstance(node, ast.FunctionDef)
        if covers and (best == (line, line) or last - node.lineno <= best[1] - best[0]):
            best = (node.lineno, last)
    return best


def _head_end(node: ast.stmt) -> int:
    body = getattr(node, "body", None)
    return body[0].lineno - 1 if body and body[0].lineno > node.lineno else node.end_lineno or node.lineno


def place(code: types.CodeType, first: int, last: int | None = None) -> Place:
    """These lines of a function as a Place, each widened to its whole statement."""
    start, end = statement_at(code, first)[0], statement_at(code, last or first)[1]
    text = "".join(linecache.getline(code.co_filename, n) for n in range(start, max(start, end) + 1))
    return Place(code.co_filename, start, max(start, end), textwrap.dedent(text).rstrip("\n"))


def return_line(code: types.CodeType) -> int:
    """The last `return` of a function, or its first line."""
    return max((n.lineno for n in statements(code) if isinstance(n, ast.Return)), default=code.co_firstlineno)


def code_of(function: Any) -> types.CodeType | None:
    """The code a person wrote, below decorators; None for something that is no Python function."""
    return getattr(inspect.unwrap(function), "__code__", None)


def returned_name(code: types.CodeType, at: Place | None, place_: int) -> str:
    """The name that the `return` at these lines gives in one slot; "" where there is no such name."""
    found = [n for n in statements(code) if isinstance(n, ast.Return) and at is not None and n.lineno == at.first]
    value = found[0].value if found else None
    if isinstance(value, ast.Tuple | ast.List):
        value = value.elts[place_] if place_ < len(value.elts) else None
    elif place_:
        return ""
    return value.id if isinstance(value, ast.Name) else ""


# -- where a value was made --------------------------------------------------------------------------------------


@dataclass
class Seen:
    """An object that turned up in forward: at which line, under which name, and when it last changed."""

    value: Any
    code: types.CodeType
    first: int
    last: int
    mark: Any
    name: str = ""


@dataclass
class Watch:
    """Follows the lines of some functions and notes at which of them each value turned up."""

    codes: tuple[types.CodeType, ...]
    reachable: Callable[[], list[Slot]] = list  # what backward could read by now
    seen: dict[int, Seen] = field(default_factory=dict)
    lines: dict[types.FrameType, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        with traced(self._enter):
            yield

    def knows(self, slots: list[Slot]) -> None:
        """What was there before the first line ran."""
        code = self.codes[0]
        for value in (slot.value for slot in slots if isinstance(slot.value, torch.Tensor)):
            self.seen[id(value)] = Seen(value, code, code.co_firstlineno, code.co_firstlineno, _mark(value))

    def _enter(self, frame: types.FrameType, event: str, arg: Any) -> Callable | None:
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
            return value._version
        with DisableTorchFunctionSubclass():
            plain = value.detach().resolve_conj().resolve_neg().contiguous()
            # as bytes: numpy has no bfloat16
            return value._version, hash(plain.view(-1).view(torch.uint8).numpy(force=True).tobytes())
    return hash(value.tobytes()) if isinstance(value, np.ndarray) else None


@dataclass
class Origins:
    """Where in forward the values of some slots were made, and the local names they had there."""

    watch: Watch

    def of(self, slots: list[Slot]) -> tuple[Place | None, str]:
        """(lines that made the value, its name in forward)."""
        for slot in slots:
            seen = self.watch.seen.get(id(slot.value))
            if seen is not None and seen.value is slot.value:
                return place(seen.code, seen.first, max(seen.first, seen.last)), seen.name
        return None, ""


# -- where backward read it --------------------------------------------------------------------------------------


def line_naming(code: types.CodeType, slot_name: str) -> int | None:
    """The first line of a function that writes a slot's name, or the start of it: `ctx.info` for `ctx.info[1]`."""
    wanted = slot_name.split("[")[0].split(".")
    parts = [p for s in statements(code) for p in ast.walk(s) if isinstance(p, ast.Attribute | ast.Name)]
    while wanted and wanted != ["ctx"]:
        lines = [part.lineno for part in parts if _is_name(ast.unparse(part).split("."), wanted)]
        if lines:
            return min(lines)
        wanted = wanted[:-1]
    return None


def _is_name(found: list[str], wanted: list[str]) -> bool:
    if wanted == ["saved_tensors"]:
        return found[-1] == "saved_tensors"
    return found[: len(wanted)] == wanted or (len(found) > 1 and found[-1] == wanted[-1])


def heading(code: types.CodeType) -> Place:
    """A function's decorators and its `def` line."""
    starts = [node.lineno for node in statements(code) if isinstance(node, ast.FunctionDef)]
    last = max(code.co_firstlineno, min(starts, default=code.co_firstlineno))
    text = "".join(linecache.getline(code.co_filename, n) for n in range(code.co_firstlineno, last + 1))
    return Place(code.co_filename, code.co_firstlineno, last, textwrap.dedent(text).rstrip("\n"))


# -- what to repeat ----------------------------------------------------------------------------------------------


def lines_making(code: types.CodeType, names: set[str], given: set[str]) -> list[str]:
    """The statements of a function that are needed to compute `names` from `given`, in their order.

    None of them where one changes something in place: done twice, it would do it twice.
    """
    needed, kept = set(names), []
    for node in reversed(_body(code)):
        made = set().union(*(_written(s) for s in ast.walk(node) if isinstance(s, SIMPLE)))
        if not made & needed or (isinstance(node, SIMPLE) and _mentions_ctx(node)):
            continue
        if any(map(_changes_in_place, ast.walk(node))):
            return []
        kept.append(_text(code, node))
        if isinstance(node, ast.Assign) and not _is_part(node):
            needed -= made
        needed |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - given
    return kept[::-1]


def _changes_in_place(node: ast.AST) -> bool:
    """Whether it writes into what is there: `t += 1`, `t[0] = 1`, `t.mul_(2)`, `out=t`."""
    if isinstance(node, ast.AugAssign):
        return True
    if isinstance(node, ast.Assign):
        return _is_part(node)
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    return (name.endswith("_") and not name.endswith("__")) or any(k.arg == "out" for k in node.keywords)


SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr)


def _body(code: types.CodeType) -> list[ast.stmt]:
    """The statements that stand at the function's own level; a loop is one of them."""
    functions = [node for node in statements(code) if isinstance(node, ast.FunctionDef)]
    return functions[0].body if functions else []


def _text(code: types.CodeType, node: ast.stmt) -> str:
    """A statement as it stands in the file, or rewritten where others share its lines."""
    numbers = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    text = textwrap.dedent("".join(linecache.getline(code.co_filename, n) for n in numbers)).rstrip()
    try:
        alone = len(source_text.parsed(text).body) == 1
    except SyntaxError:
        alone = False
    return text if alone else ast.unparse(node)


def _is_part(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Subscript) for target in node.targets)


def _written(node: ast.stmt) -> set[str]:
    """Names that a statement binds or changes in place."""
    if isinstance(node, ast.Expr):
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            return {n.id for n in ast.walk(call.func.value) if isinstance(n, ast.Name)}
        return set()
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    found = set()
    for target in targets:
        if not isinstance(target, ast.Attribute):
            found |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
    return found


def _mentions_ctx(node: ast.stmt) -> bool:
    return any(isinstance(n, ast.Name) and n.id == "ctx" for n in ast.walk(node))
