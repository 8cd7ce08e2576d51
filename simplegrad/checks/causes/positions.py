"""Small changes of where something is taken: another axis, a place one beside, another count, another branch."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator

ALONG_AN_AXIS = {"sum", "mean", "amax", "amin", "cumsum", "softmax", "logsumexp", "flip", "unsqueeze", "squeeze", "cat"}
REDUCES = {"sum", "mean", "amax", "amin", "logsumexp"}
AXES = (-1, 0, 1, -2, 2)
ROOTS = {"sqrt", "rsqrt", "log", "reciprocal"}


def along_others(node: ast.Call) -> Iterator[ast.expr]:
    """The same call along another axis."""
    for i, each in enumerate(node.args):
        for other in other_axes(each):
            yield ast.Call(node.func, [*node.args[:i], other, *node.args[i + 1 :]], node.keywords)
    for i, each in enumerate(node.keywords):
        if each.arg in ("dim", "axis"):
            for other in other_axes(each.value):
                keywords = [*node.keywords[:i], ast.keyword(each.arg, other), *node.keywords[i + 1 :]]
                yield ast.Call(node.func, node.args, keywords)
                if node.func.attr in REDUCES and all(each.arg != "keepdim" for each in node.keywords):
                    yield ast.Call(node.func, node.args, [*keywords, ast.keyword("keepdim", ast.Constant(True))])


def other_axes(node: ast.expr) -> Iterator[ast.expr]:
    value = whole(node)
    if value is not None:
        yield from (ast.Constant(other) for other in AXES if other != value)


def whole(node: ast.expr) -> int | None:
    """The whole number that is written there."""
    with contextlib.suppress(ValueError):  # no constant
        value = ast.literal_eval(node)
        return value if type(value) is int else None
    return None


def kept_or_not(node: ast.Call) -> Iterator[ast.expr]:
    """The axis that a reduction runs along kept where it was not, and the other way round."""
    rest = [each for each in node.keywords if each.arg != "keepdim"]
    if len(rest) < len(node.keywords):
        yield ast.Call(node.func, node.args, rest)
    elif node.args or rest:
        yield ast.Call(node.func, node.args, [*rest, ast.keyword("keepdim", ast.Constant(True))])


def added_within(node: ast.BinOp) -> Iterator[ast.expr]:
    """`x.rsqrt() + e` as `(x + e).rsqrt()`."""
    call = node.left
    if not isinstance(node.op, ast.Add) or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return
    if call.func.attr in ROOTS and len(call.args) == 1:
        yield ast.Call(call.func, [ast.BinOp(call.args[0], ast.Add(), node.right)], call.keywords)
    elif call.func.attr in ROOTS:
        owner = ast.BinOp(call.func.value, ast.Add(), node.right)
        yield ast.Call(ast.Attribute(owner, call.func.attr, ast.Load()), [], call.keywords)


def beside(node: ast.expr) -> Iterator[ast.expr]:
    """The places before and after the one that is written there."""
    value = whole(node)
    if value is not None:
        yield from (ast.Constant(other) for other in (value + 1, value - 1))
    elif isinstance(node, ast.Name | ast.BinOp | ast.Attribute | ast.Call):
        yield from (ast.BinOp(node, operator(), ast.Constant(1)) for operator in (ast.Add, ast.Sub))
        if isinstance(node, ast.BinOp) and whole(node.right) == 1:
            yield node.left


def elsewhere(node: ast.Subscript) -> Iterator[ast.expr]:
    """The same with one number of its index another."""
    for new in other_index(node.slice):
        yield ast.Subscript(node.value, new, ast.Load())


def other_index(index: ast.expr) -> Iterator[ast.expr]:
    if isinstance(index, ast.Tuple):
        for i, each in enumerate(index.elts):
            yield from (
                ast.Tuple([*index.elts[:i], new, *index.elts[i + 1 :]], ast.Load()) for new in other_index(each)
            )
    elif isinstance(index, ast.Slice):
        yield from (ast.Slice(new, index.upper, index.step) for new in beside(index.lower or ast.Constant(0)))
        yield from (ast.Slice(index.lower, new, index.step) for new in beside(index.upper) if index.upper is not None)
    elif not isinstance(index, ast.Constant) or type(index.value) is int:
        yield from beside(index)


def counts(node: ast.expr, names: list[str]) -> Iterator[ast.expr]:
    """Of what is counted: another count of it, or of another name."""
    counted = counted_by(node)
    if counted is None:
        return
    for of in (counted, *(ast.Name(name, ast.Load()) for name in names if name != ast.unparse(counted))):
        size = ast.Attribute(of, "shape", ast.Load())
        yield from (ast.Subscript(size, ast.Constant(axis), ast.Load()) for axis in AXES)
        yield from (ast.Call(ast.Attribute(of, how, ast.Load()), [], []) for how in ("numel", "sum"))


def counted_by(node: ast.expr) -> ast.expr | None:
    """The tensor whose elements, or length, or axis is counted."""
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr="numel" | "size")):
            return owner
        case ast.Call(func=ast.Name(id="len"), args=[owner]):
            return owner
        case ast.Subscript(value=ast.Attribute(value=owner, attr="shape")):
            return owner
    return None


def other_branch(test: ast.expr) -> Iterator[ast.expr]:
    """A branch that is taken where it was not; of a list of flags another one."""
    yield test.operand if isinstance(test, ast.UnaryOp) else ast.UnaryOp(ast.Not(), test)
    if isinstance(test, ast.Subscript):
        yield from elsewhere(test)
