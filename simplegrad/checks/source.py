"""Lines of source: whole statements as `Place`s, where a name is assigned or read, which lines a function has.

`where` is a file's name, or a function's code: then only its own lines are parsed.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import linecache
import textwrap
import types
from collections.abc import Iterable, Iterator
from typing import Any

from .. import source_text
from .report import Place

Where = str | types.CodeType
ASSIGNMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign)


def code_of(function: Any) -> types.CodeType | None:
    """The code that a person wrote for this callable, below decorators; None where there is no Python code."""
    function = inspect.unwrap(function)
    function = function.func if isinstance(function, functools.partial) else function
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


@functools.lru_cache(maxsize=256)
def _statements_of(code: types.CodeType) -> tuple[ast.stmt, ...]:
    """Those of a function, at the line numbers of its file; none where the source cannot be had."""
    try:
        lines, first = inspect.getsourcelines(code)
        tree = source_text.parsed(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return ()
    ast.increment_lineno(tree, first - 1)
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.stmt))


def statements(where: Where) -> Iterator[ast.stmt]:
    if isinstance(where, types.CodeType):
        return iter(_statements_of(where))
    tree = tree_of(where)
    return (node for node in ast.walk(tree) if isinstance(node, ast.stmt)) if tree else iter(())


def head_end(node: ast.stmt) -> int:
    """The last line of a statement, without the body of a block."""
    body = getattr(node, "body", None)
    if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
        return max(node.lineno, body[0].lineno - 1)
    return node.end_lineno or node.lineno


def statement_at(where: Where, line: int) -> ast.stmt | None:
    """The innermost statement whose own lines (its head, if it is a block) cover this line."""
    found = [node for node in statements(where) if node.lineno <= line <= head_end(node)]
    return min(found, key=lambda node: head_end(node) - node.lineno, default=None)


def place(where: Where, line: int, last: int | None = None) -> Place:
    """The whole statement at `line`, or all from there to the statement at `last`."""
    start, end = (statement_at(where, line), statement_at(where, last or line))
    first = start.lineno if start else line
    return lines_at(where, first, max(head_end(end) if end else last or line, first))


def lines_at(where: Where, first: int, last: int) -> Place:
    """These lines as they stand, without what all of them are indented by."""
    file = where.co_filename if isinstance(where, types.CodeType) else where
    text = "".join(linecache.getline(file, number) for number in range(first, last + 1))
    return Place(file, first, last, textwrap.dedent(text).rstrip())


NEAR = 4  # lines that may be named together


def together(places: Iterable[Place]) -> Place | None:
    """All of these statements as one place where they stand close to each other; None where they do not: which of them
    it is would be a guess."""
    found = sorted(places, key=lambda each: each.first)
    if not found or len({each.file for each in found}) > 1:
        return None
    first, last = found[0].first, max(each.last for each in found)
    is_one = all((each.first, each.last) == (first, last) for each in found)
    return found[0] if is_one else lines_at(found[0].file, first, last) if last - first < NEAR else None


def goes_into(at: Place, others: Iterable[Place]) -> bool:
    """Whether a name that a statement binds is read in one of the others."""
    node = statement_at(at.file, at.first)
    names = _targets(node) if isinstance(node, ASSIGNMENTS) else set()
    return any(names & names_read(other) for other in others)


def is_alias(at: Place, code: types.CodeType) -> bool:
    """Whether a statement gives another name to what has one, in the function or around it."""
    node = statement_at(at.file, at.first)
    value = node.value if isinstance(node, ast.Assign) else None
    root = value
    while isinstance(root, ast.Attribute):
        root = root.value
    return isinstance(root, ast.Name) and (root is value or root.id not in code.co_varnames)


def names_read(at: Place) -> set[str]:
    """Names that a statement reads."""
    node = statement_at(at.file, at.first)
    read = ast.walk(node) if node is not None else ()
    return {n.id for n in read if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def writing(code: types.CodeType, at: Place) -> Iterator[ast.stmt]:
    """Statements that set elements of what the statement at this place binds."""
    made = statement_at(code, at.first)
    names = _targets(made) if isinstance(made, ast.Assign) else set()
    for node in statements(code):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        roots = (each.value for each in targets if isinstance(each, ast.Subscript))
        if any(isinstance(root, ast.Name) and root.id in names for root in roots):
            yield node


def only_passes_on(at: Place) -> bool:
    """Whether a statement returns several names, and does nothing with any of them."""
    value = getattr(statement_at(at.file, at.first), "value", None)
    elements = value.elts if isinstance(value, ast.Tuple) else []
    names = [each for each in elements if isinstance(each, ast.Name)]
    return len(names) > 1 and all(isinstance(each, ast.Name | ast.Constant) for each in elements)


def arranged_names(node: ast.stmt | None) -> list[str]:
    """The names that a statement only puts beside each other, where it does nothing else with them."""
    value = getattr(node, "value", None)
    names: list[str] = []
    for call in (c for c in ast.walk(value) if isinstance(c, ast.Call)) if value is not None else ():
        is_joining = isinstance(call.func, ast.Attribute) and call.func.attr in (
            "cat",
            "concat",
            "stack",
            "hstack",
            "vstack",
        )
        for each in ast.walk(call.args[0]) if is_joining and call.args else ():
            names += [e.id for e in getattr(each, "elts", ()) if isinstance(e, ast.Name)]
    return names


def emptied_after(code: types.CodeType | None, at: Place) -> Place | None:
    """The statement `x = x` that stands after the one that binds x: something was there that is gone."""
    if code is None or at.file != code.co_filename:
        return None
    before = statement_at(code, at.first)
    names = _targets(before) if isinstance(before, ASSIGNMENTS) else set()
    for node in statements(code):
        is_empty = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == ast.unparse(node.value)
        if is_empty and node.lineno > at.last and _targets(node) & names:
            return place(code, node.lineno)
    return None


def heading(code: types.CodeType) -> Place:
    """A function's decorators and its `def` line."""
    starts = [node.lineno for node in statements(code) if isinstance(node, ast.FunctionDef)]
    return lines_at(code, code.co_firstlineno, max(code.co_firstlineno, min(starts, default=code.co_firstlineno)))


def function_at(file: str, line: int) -> ast.FunctionDef | ast.Lambda | None:
    """The innermost function whose lines cover this one."""
    tree = tree_of(file)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    found = [n for n in ast.walk(tree) if isinstance(n, kinds) and n.lineno <= line <= n.end_lineno] if tree else []
    return max(found, key=lambda node: node.lineno, default=None)


def assigned_in(tree: ast.AST, name: str) -> list[int]:
    """Lines at which something under a node assigns `name`, in their order."""
    return sorted(node.lineno for node in ast.walk(tree) if isinstance(node, ASSIGNMENTS) and name in _targets(node))


def assigned_at(code: types.CodeType, name: str, before: int | None = None) -> int | None:
    """The line at which a function last assigns `name` (nested functions not looked at), at most at line `before`."""
    last = last_line(code) if before is None else min(before, last_line(code))
    lines = assigned_in(tree_of(code.co_filename) or ast.Module([], []), name)
    return max((line for line in lines if code.co_firstlineno <= line <= last), default=None)


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
    return max((n.lineno for n in statements(code) if isinstance(n, ast.Return)), default=last_line(code))


def returned_at(code: types.CodeType | None) -> Place | None:
    """That line, as a statement."""
    return place(code, return_line(code)) if code else None


def only_statement(code: types.CodeType) -> Place | None:
    """The one statement of a backward that does more than to take out what ctx keeps; None of several."""
    body = [node for node in body_of(code) if not _takes_out(node) and not _is_text(node)]
    return place(code, body[0].lineno) if len(body) == 1 and isinstance(body[0], ast.Return) else None


def _takes_out(node: ast.stmt) -> bool:
    """Whether it is `x, w = ctx.saved_tensors`, `n = ctx.n` or several of these in one."""
    values = [node.value] if isinstance(node, ast.Assign) else []
    values = [part for v in values for part in (v.elts if isinstance(v, ast.Tuple) else [v])]
    return bool(values) and all(isinstance(v, ast.Attribute) and isinstance(v.value, ast.Name) for v in values)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def returned_names(code: types.CodeType, at: Place | None, place_: int) -> list[str]:
    """The names in what the `return` at these lines gives in one slot; in all of it, where that is no plain tuple."""
    value, is_slot = _returned(code, at, place_)
    if is_slot or value is None:
        return [value.id] if isinstance(value, ast.Name) else []
    return sorted({n.id for n in ast.walk(value) if isinstance(n, ast.Name)})


def returns_call(code: types.CodeType, at: Place | None, place_: int) -> bool:
    """Whether a function is called for what the `return` at these lines gives in one slot."""
    return isinstance(_returned(code, at, place_)[0], ast.Call)


def _returned(code: types.CodeType, at: Place | None, place_: int) -> tuple[ast.expr | None, bool]:
    """(what a `return` gives, whether that is in this slot alone)."""
    found = [n for n in statements(code) if isinstance(n, ast.Return) and at is not None and n.lineno == at.first]
    value = found[0].value if found else None
    if isinstance(value, ast.Tuple | ast.List):
        return (value.elts[place_] if place_ < len(value.elts) else None), True
    return value, False


def untaken(code: types.CodeType, name: str, ran: set[int]) -> Place | None:
    """The head of a branch that was run by, not into: one whose body binds `name`."""
    for node in statements(code):
        if isinstance(node, ast.If) and node.lineno in ran:
            binds = [each for each in ast.walk(node) if isinstance(each, ASSIGNMENTS)]
            if any(name in _targets(each) and each.lineno not in ran for each in binds):
                return place(code, node.lineno)
    return None


def bound_otherwise(text: str, names: dict[str, str]) -> str:
    """An assignment whose targets have other names."""
    tree = _parsed(text)
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Assign):
        return ""
    statement = copy.deepcopy(tree.body[0])
    for node in (node for target in statement.targets for node in ast.walk(target)):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    targets = [ast.unparse(target).removeprefix("(").removesuffix(")") for target in statement.targets]
    return " = ".join([*targets, ast.unparse(statement.value)])


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


def naming_at(code: types.CodeType | None, slot_name: str) -> Place | None:
    """That line, as a statement."""
    line = line_naming(code, slot_name) if code is not None else None
    return place(code, line) if code is not None and line is not None else None


def _is_name(found: list[str], wanted: list[str]) -> bool:
    if wanted == ["saved_tensors"]:
        return found[-1] == "saved_tensors"
    return found[: len(wanted)] == wanted or (len(found) > 1 and found[-1] == wanted[-1])


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


def body_of(code: types.CodeType) -> list[ast.stmt]:
    """The statements that stand at the function's own level; a loop is one of them."""
    functions = [node for node in statements(code) if isinstance(node, ast.FunctionDef)]
    return functions[0].body if functions else []
