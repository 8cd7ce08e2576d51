"""The statements of a forward that compute a value again, for a backward that should not keep it."""

from __future__ import annotations

import ast
import functools
import linecache
import textwrap
import types

from ... import source_text
from ..source import ASSIGNMENTS, body_of


def lines_making(code: types.CodeType, names: set[str], given: set[str]) -> list[str]:
    """The statements of a function that are needed to compute `names` from `given`, in their order.

    None of them where one changes something in place: done twice, it would do it twice.
    """
    return list(_lines_making(code, frozenset(names), frozenset(given)))


@functools.lru_cache(maxsize=256)
def _lines_making(code: types.CodeType, names: frozenset[str], given: frozenset[str]) -> list[str]:
    needed, kept = set(names), []
    for node in reversed(body_of(code)):
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


SIMPLE = (*ASSIGNMENTS, ast.Expr)


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
