"""What the source of a module's class says about one of its attributes: where it is set, where it would be used."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import NamedTuple

from simplegrad import source_text
from simplegrad.torch_bridge.where import OWN, kind_of
from simplegrad.torch_private import backward_of_operator
from simplegrad.trace.events import Source

Found = tuple[Source | None, tuple[Source, ...], tuple[Source, ...], Source | None]


@lru_cache(maxsize=4096)
def about(cls: type, name: str, item: str = "") -> Found:
    """(where it is set, the lines that use it, for each of them the branch that it stands in or itself, where its
    requires_grad is set). Places are the class's own and those of its bases that are no part of torch. `item`: which
    one of a list, so that a line that takes another one of it is not among those that use it."""
    made, used, branches, frozen = None, [], [], None
    for file, definition in _definitions(cls):
        each = _called_in_loops(definition, name)
        others: set[ast.AST] = set()
        for node, branch in _walk(definition, None):
            place = (file, node.lineno) if hasattr(node, "lineno") else None
            if _sets(node, name):
                made = made or place
            elif _freezes(node, name):
                frozen = frozen or place
            elif item and _takes_another(node, item):
                others.add(node.value)
            elif node in each or (_reads(node, name) and place != made and not each and node not in others):
                used.append(place)
                line = branch or each.get(node)
                branches.append((file, line) if line else place)
    return made, tuple(used), tuple(branches), frozen


@lru_cache(maxsize=4096)
def outside(code: CodeType, path: str) -> tuple[Source | None, Source | None]:
    """(where it is set, where its requires_grad is turned off) in the function, or the script, that records a run:
    where a model is built, too. `path`: of the parameter in its model. None where no line, or several, may be meant."""
    names, said = set(path.split(".")), _said_outside(code)
    made = [place for place, targets in said.sets for target in targets if target in names]
    frozen = [place for place, whose in said.freezes if not whose or whose & names]
    return made[0] if len(made) == 1 else None, frozen[0] if len(frozen) == 1 else None


class Said(NamedTuple):
    """What a function sets and freezes: places, and the names of the attributes that are meant (none: any)."""

    sets: list[tuple[Source, list[str]]]
    freezes: list[tuple[Source, set[str]]]


@lru_cache(maxsize=1024)
def _said_outside(code: CodeType) -> Said:
    """Read once for all parameters of a model."""
    found = Said([], [])
    for node in _statements(code):
        if isinstance(node, ast.Assign):
            targets = [target.attr for target in node.targets if isinstance(target, ast.Attribute)]
            found.sets.append(((code.co_filename, node.lineno), targets))
        off = [each.lineno for each in _own_parts(node) if _turns_off(each)]
        if off:
            said = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)} - _ITERATING
            found.freezes.extend(((code.co_filename, line), said) for line in off)
    return found


_ITERATING = {"parameters", "named_parameters", "modules", "children", "requires_grad", "requires_grad_", "startswith"}
_ITERATING |= {"values", "items", "endswith", "split"}


@lru_cache(maxsize=64)
def _statements(code: CodeType) -> tuple[ast.stmt, ...]:
    """Of the body of one function, or of a script outside of all; a loop is one, with its body."""
    functions = (node for node in _defined_in(code.co_filename) if not isinstance(node, ast.ClassDef))
    for node in functions:
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        if node.name == code.co_name and first == code.co_firstlineno:
            return tuple(_flat(node.body))
    return tuple(_flat(parsed(code.co_filename).body)) if code.co_name == "<module>" else ()


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.With | ast.If | ast.Try):
            yield from _flat(node.body)
        elif not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield node


def _own_parts(node: ast.stmt) -> Iterator[ast.AST]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Call | ast.Assign))


def _turns_off(node: ast.AST) -> bool:
    """`x.requires_grad_(False)`, `x.requires_grad = False`, `p.requires_grad = "head" in name`"""
    if isinstance(node, ast.Call):
        is_named = isinstance(node.func, ast.Attribute) and node.func.attr == "requires_grad_"
        return is_named and bool(node.args) and _may_be_false(node.args[0])
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    return isinstance(target, ast.Attribute) and target.attr == "requires_grad" and _may_be_false(node.value)


def _may_be_false(node: ast.AST) -> bool:
    """False, or a condition, which was False for the one that is asked about."""
    return _is_false(node) or not isinstance(node, ast.Constant)


@lru_cache(maxsize=4096)
def changed(codes: tuple[CodeType, ...], cls: type, path: str) -> Source | None:
    """The line that gave a parameter other numbers before the run, in the functions that led to it or in its class:
    `nn.init.orthogonal_(model.blocks[1].weight)`, `self.head.weight.data.mul_(2)`. Of several the one that names it
    most exactly, and of these the last."""
    names = path.split(".")
    changes = [change for code in codes for change in _changes_of(code)] + _changes_in(cls)
    found = [(len(chain), place) for chain, place in changes if _is_within(chain, names)]
    most = max((exact for exact, _ in found), default=0)
    return next((place for exact, place in reversed(found) if exact == most), None)


Change = tuple[list[str], Source]  # what may be changed, and where


@lru_cache(maxsize=1024)
def _changes_of(code: CodeType) -> list[Change]:
    return list(_changes(code.co_filename, _statements(code)))


@lru_cache(maxsize=1024)
def _changes_in(cls: type) -> list[Change]:
    methods = [(file, each) for file, definition in _definitions(cls) for each in definition.body]
    bodies = [(file, each.body) for file, each in methods if isinstance(each, ast.FunctionDef)]
    return [change for file, body in bodies for change in _changes(file, _flat(body))]


def _changes(file: str, body: Iterable[ast.stmt]) -> Iterator[Change]:
    for node in (each for statement in body for each in ast.walk(statement)):
        for chain in _changed_by(node):
            yield chain, (file, node.lineno)


def _changed_by(node: ast.AST) -> Iterator[list[str]]:
    """What a call in place, or an assignment to numbers, may change: `["blocks", "1", "weight"]`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr.endswith("_") and node.func.attr != "requires_grad_":
            yield from map(_chain, [node.func.value, *node.args[:1]])
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Subscript) or (isinstance(target, ast.Attribute) and target.attr == "data"):
                yield _chain(target)


def _chain(node: ast.AST) -> list[str]:
    """`["blocks", "1", "weight"]` of `model.blocks[1].weight.data`"""
    names: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
        elif isinstance(node.slice, ast.Constant):
            names.append(str(node.slice.value))
        node = node.value
    return [name for name in reversed(names) if name != "data"]


def _is_within(chain: list[str], names: list[str]) -> bool:
    count = len(chain)
    return bool(chain) and any(names[k : k + count] == chain for k in range(len(names) - count + 1))


def _is_false(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _takes_another(node: ast.AST, item: str) -> bool:
    """`self.parts[1]`, where the item is another one than "1"."""
    is_constant = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
    return is_constant and str(node.slice.value) != item


def _called_in_loops(definition: ast.ClassDef, name: str) -> dict[ast.AST, int | None]:
    """Where the items of `self.name` are called, in loops over it: `for i, part in enumerate(self.name): part(x)`. Of
    each the loop's line, where that goes over a part of them."""
    found: dict[ast.AST, int | None] = {}
    for loop in ast.walk(definition):
        if isinstance(loop, ast.For) and any(_is_own(each, name) for each in ast.walk(loop.iter)):
            items = {each.id for each in ast.walk(loop.target) if isinstance(each, ast.Name)}
            calls = (each for part in loop.body for each in ast.walk(part) if isinstance(each, ast.Call))
            line = loop.lineno if any(isinstance(each, ast.Subscript) for each in ast.walk(loop.iter)) else None
            found |= {call.func: line for call in calls if isinstance(call.func, ast.Name) and call.func.id in items}
    return found


def backward_of(cls: type) -> CodeType | None:
    """The backward of a Function as somebody wrote it; of an operator what was registered, not what torch put around
    that."""
    return getattr(inspect.unwrap(backward_of_operator(cls) or cls.backward), "__code__", None)


def return_of(cls: type) -> Source | None:
    """The last `return` of a Function's backward."""
    code = backward_of(cls)
    if code is None:
        return None
    for node in _defined_in(code.co_filename):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            returns = [each.lineno for each in ast.walk(node) if isinstance(each, ast.Return)]
            if first == code.co_firstlineno and returns:
                return code.co_filename, max(returns)
    return code.co_filename, code.co_firstlineno


@lru_cache(maxsize=1024)
def _definitions(cls: type) -> list[tuple[str, ast.ClassDef]]:
    """Of itself and of its bases that are no part of torch: the file of each, and what stands there."""
    found = []
    for base in cls.__mro__:
        functions = [f for f in vars(base).values() if isinstance(f, FunctionType)]
        codes = [f.__code__ for f in functions if kind_of(f.__code__.co_filename) == OWN]
        for code in codes[:1]:
            around = [
                node
                for node in _defined_in(code.co_filename)
                if isinstance(node, ast.ClassDef)
                and node.name == base.__name__
                and node.lineno <= code.co_firstlineno <= node.end_lineno
            ]
            if around:
                found.append((code.co_filename, _with_self(around[-1])))
    return found


def _with_self(definition: ast.ClassDef) -> ast.ClassDef:
    """The same, its methods' first parameter being called `self`, whatever its author calls it."""
    for method in definition.body:
        first = method.args.args[:1] if isinstance(method, ast.FunctionDef) else []
        names = (node for node in ast.walk(method) if first and isinstance(node, ast.Name) and node.id == first[0].arg)
        if not any(
            isinstance(each, ast.Name) and each.id == "staticmethod" for each in getattr(method, "decorator_list", ())
        ):
            for node in names:
                node.id = "self"
    return definition


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@lru_cache(maxsize=64)
def _defined_in(file: str) -> list[Definition]:
    """Its classes and functions, also inside of others, found once: files have ten thousand lines."""
    return [node for node in ast.walk(parsed(file)) if isinstance(node, Definition)]


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


def _reads(node: ast.AST, name: str) -> bool:
    return _is_own(node, name) and isinstance(node.ctx, ast.Load)


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
