"""Lines of source: whole statements as `Place`s, where a name is assigned, which lines a function has."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import types
from collections.abc import Iterator

from .. import source_text
from .report import Place


def code_of(function: object) -> types.CodeType | None:
    """The code that a person wrote for this callable; None where there is no Python code."""
    function = getattr(function, "__wrapped__", function)
    function = getattr(function, "func", function)  # functools.partial
    function = getattr(function, "__func__", function)
    own = inspect.getattr_static(type(function), "__call__", None)  # of an object that is called
    return getattr(function, "__code__", None) or getattr(own, "__code__", None)


def cells_of(function: object) -> dict[str, object]:
    """What a function closes over, by name; a name that was never assigned is left out."""
    code, cells = code_of(function), getattr(function, "__closure__", None) or ()
    found = {}
    for name, cell in zip(code.co_freevars if code else (), cells):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    return found


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> ast.Module | None:
    try:
        return source_text.parsed(text)
    except (SyntaxError, ValueError):
        return None


def tree_of(file: str) -> ast.Module | None:
    """The syntax tree of a source file, or of a text that `linecache` knows by this name."""
    return _parsed("".join(linecache.getlines(file)))


def statements(file: str) -> Iterator[ast.stmt]:
    tree = tree_of(file)
    return (node for node in ast.walk(tree) if isinstance(node, ast.stmt)) if tree else iter(())


def head_end(node: ast.stmt) -> int:
    """The last line of a statement, without the body of a block."""
    body = getattr(node, "body", None)
    if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
        return max(node.lineno, body[0].lineno - 1)
    return node.end_lineno or node.lineno


def statement_at(file: str, line: int) -> ast.stmt | None:
    """The innermost statement whose own lines (its head, if it is a block) cover this line."""
    found = [node for node in statements(file) if node.lineno <= line <= head_end(node)]
    return min(found, key=lambda node: head_end(node) - node.lineno, default=None)


def place(file: str, line: int, last: int | None = None) -> Place:
    """The whole statement at `line`, or all from there to the statement at `last`."""
    start, end = (statement_at(file, line), statement_at(file, last or line))
    first = start.lineno if start else line
    final = max(head_end(end) if end else last or line, first)
    lines = [linecache.getline(file, number).rstrip("\n") for number in range(first, final + 1)]
    indent = min((len(text) - len(text.lstrip()) for text in lines if text.strip()), default=0)
    return Place(file, first, final, "\n".join(text[indent:] for text in lines))


def function_at(file: str, line: int) -> ast.FunctionDef | ast.Lambda | None:
    """The innermost function whose lines cover this one."""
    tree = tree_of(file)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    found = [n for n in ast.walk(tree) if isinstance(n, kinds) and n.lineno <= line <= n.end_lineno] if tree else []
    return max(found, key=lambda node: node.lineno, default=None)


def assigned_at(code: types.CodeType, name: str, before: int | None = None) -> int | None:
    """The line at which a function last assigns `name` (nested functions not looked at), at most at line `before`."""
    lines = [
        node.lineno
        for node in statements(code.co_filename)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        and code.co_firstlineno <= node.lineno <= last_line(code)
        and (before is None or node.lineno <= before)
        and name in _targets(node)
    ]
    return max(lines, default=None)


def _targets(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}


def last_line(code: types.CodeType) -> int:
    return max((line for _, _, line in code.co_lines() if line), default=code.co_firstlineno)


def names_at(file: str, line: int) -> list[str]:
    """Names that the statement at a line reads, in their order."""
    node = statement_at(file, line)
    if node is None or isinstance(node, ast.FunctionDef):
        return []
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    return [n.id for n in sorted(names, key=lambda n: (n.lineno, n.col_offset))]


def line_reading(code: types.CodeType, name: str) -> int | None:
    """The first line of a function that reads `name`."""
    found = [
        n.lineno
        for n in ast.walk(tree_of(code.co_filename) or ast.Module([], []))
        if isinstance(n, ast.Name)
        and n.id == name
        and isinstance(n.ctx, ast.Load)
        and code.co_firstlineno <= n.lineno <= last_line(code)
    ]
    return min(found, default=None)


def return_line(code: types.CodeType) -> int:
    """The last `return` of a function, or its last line."""
    returns = [
        node.lineno
        for node in statements(code.co_filename)
        if isinstance(node, ast.Return) and code.co_firstlineno <= node.lineno <= last_line(code)
    ]
    return max(returns, default=last_line(code))


def lines_of(code: types.CodeType) -> set[int]:
    """Lines of a function, and of those inside it, that have something to run."""
    lines = {line for _, _, line in code.co_lines() if line and line != code.co_firstlineno}
    if code.co_firstlineno == last_line(code):
        lines.add(code.co_firstlineno)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            lines |= lines_of(constant)
    return lines


def codes_within(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_within(constant)
