"""What the source of a module's class says about one of its attributes: where it is set, where it would be used."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterator
from functools import lru_cache
from types import FunctionType

from simplegrad import source_text
from simplegrad.torch_bridge.where import OWN, kind_of
from simplegrad.trace.events import Source

Found = tuple[Source | None, tuple[Source, ...], tuple[Source, ...], Source | None]


@lru_cache(maxsize=4096)
def about(cls: type, name: str) -> Found:
    """(where it is set, the lines that use it, for each of them the branch that it stands in or itself, where its
    requires_grad is set). Places are the class's own and those of its bases that are no part of torch."""
    made, used, branches, frozen = None, [], [], None
    for file, definition in _definitions(cls):
        for node, branch in _walk(definition, None):
            place = (file, node.lineno) if hasattr(node, "lineno") else None
            if _sets(node, name):
                made = made or place
            elif _freezes(node, name):
                frozen = frozen or place
            elif _is_own(node, name) and isinstance(node.ctx, ast.Load) and place != made:
                used.append(place)
                branches.append((file, branch) if branch else place)
    return made, tuple(used), tuple(branches), frozen


def return_of(cls: type) -> Source | None:
    """The last `return` of a Function's backward."""
    code = getattr(inspect.unwrap(cls.backward), "__code__", None)
    if code is None:
        return None
    for node in ast.walk(parsed(code.co_filename)):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            returns = [each.lineno for each in ast.walk(node) if isinstance(each, ast.Return)]
            if first == code.co_firstlineno and returns:
                return code.co_filename, max(returns)
    return code.co_filename, code.co_firstlineno


def _definitions(cls: type) -> Iterator[tuple[str, ast.ClassDef]]:
    for base in cls.__mro__:
        functions = [f for f in vars(base).values() if isinstance(f, FunctionType)]
        codes = [f.__code__ for f in functions if kind_of(f.__code__.co_filename) == OWN]
        for code in codes[:1]:
            tree = parsed(code.co_filename)
            around = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.ClassDef)
                and node.name == base.__name__
                and node.lineno <= code.co_firstlineno <= node.end_lineno
            ]
            if around:
                yield code.co_filename, around[-1]


@lru_cache(maxsize=64)
def parsed(file: str) -> ast.Module:
    try:
        return source_text.parsed("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _walk(node: ast.AST, branch: int | None) -> Iterator[tuple[ast.AST, int | None]]:
    """Every node below, with the line of the innermost `if` whose branch it stands in."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                inner = branch
                if isinstance(node, ast.If | ast.IfExp) and name != "test":
                    inner = node.test.lineno if isinstance(node, ast.IfExp) else node.lineno
                yield child, inner
                yield from _walk(child, inner)


def _is_own(node: ast.AST, name: str) -> bool:
    """`self.name`"""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == name
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


def _sets(node: ast.AST, name: str) -> bool:
    """`self.name = ...`, `self.register_buffer("name", ...)`"""
    if isinstance(node, ast.Assign):
        targets = [each for t in node.targets for each in (t.elts if isinstance(t, ast.Tuple) else [t])]
        return any(_is_own(target, name) for target in targets)
    if isinstance(node, ast.AnnAssign):
        return _is_own(node.target, name)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        registers = node.func.attr in ("register_buffer", "register_parameter", "add_module", "register_module")
        return registers and isinstance(node.args[0], ast.Constant) and node.args[0].value == name
    return False


def _freezes(node: ast.AST, name: str) -> bool:
    """`self.name.requires_grad_(False)`, `self.name.weight.requires_grad = False`"""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "requires_grad_":
        target = node.func.value
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        if node.targets[0].attr != "requires_grad":
            return False
        target = node.targets[0].value
    else:
        return False
    return any(_is_own(inner, name) for inner in ast.walk(target))
