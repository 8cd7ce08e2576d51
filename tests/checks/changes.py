"""Small changes that make a right backward wrong, each a mistake that people make: texts in place of expressions.

Most change `backward`. What is saved is changed in `forward` or `setup_context`; the line that reads it in backward
counts as changed too, since nothing but the meaning of names tells which of the two is wrong.
"""

from __future__ import annotations

import ast
import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
TURNED = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}
OTHER_CALL = {
    "sin": "cos",
    "cos": "sin",
    "sinh": "cosh",
    "cosh": "sinh",
    "tanh": "sigmoid",
    "sigmoid": "tanh",
    "sum": "mean",
    "mean": "sum",
    "exp": "expm1",
    "log": "log1p",
    "sqrt": "square",
    "rsqrt": "sqrt",
}
DROPPED_METHODS = {"t", "conj", "flip", "square", "clamp", "exp", "tanh", "sqrt"}
ALONG_AN_AXIS = {"sum", "mean", "amax", "amin", "cumsum", "softmax", "log_softmax", "logsumexp", "flip", "norm"}
ROOTS = {"sqrt", "rsqrt", "log", "reciprocal"}


@dataclass
class Change:
    """`node` is replaced by the text `after`. `also`: what is wrong as well, if `node` is."""

    kind: str
    node: ast.expr
    after: str
    also: ast.stmt | None = None


def changes(methods: dict[str, ast.FunctionDef]) -> Iterator[Change]:
    """Of one class: its methods by name."""
    backward = methods["backward"]
    yield from in_backward(backward)
    for name in ("forward", "setup_context"):
        if name in methods:
            yield from in_what_is_kept(methods[name], backward)


def in_backward(function: ast.FunctionDef) -> Iterator[Change]:
    incoming = {arg.arg for arg in function.args.args[1:]}
    names = names_before(function)
    for node in ast.walk(function):
        match node:
            case ast.BinOp():
                yield from of_operation(node)
            case ast.UnaryOp(op=ast.USub(), operand=operand) if not _is_number(operand):
                yield Change("sign", node, ast.unparse(operand))
            case ast.Call():
                yield from of_call(node)
                yield from of_arguments(node)
            case ast.Compare(ops=[op]) if type(op) in TURNED:
                yield Change("comparison", node, ast.unparse(_with(node, ops=[TURNED[type(op)]()])))
            case ast.Return(value=ast.expr() as value):
                yield from of_return(value)
            case ast.Assign():
                yield from of_assignment(node)
            case ast.Name(ctx=ast.Load()):
                yield from of_name(node, incoming, names)
            case ast.Attribute(attr="T" | "mT" | "mH" | "H"):
                yield Change("transposed", node, ast.unparse(node.value))
            case ast.Subscript():
                yield from of_index(node)
            case ast.If(test=test) | ast.IfExp(test=test):
                yield Change("branch", test, f"not ({ast.unparse(test)})")


def of_assignment(node: ast.Assign) -> Iterator[Change]:
    if _is_saved(node):
        yield from of_order(node.targets[0])
    elif not _is_unpacking(node):
        yield Change("sign", node.value, f"-({ast.unparse(node.value)})")
        yield Change("factor", node.value, f"2 * ({ast.unparse(node.value)})")


def of_order(names: ast.expr) -> Iterator[Change]:
    """What is saved, unpacked in another order."""
    for i, j in itertools.pairwise(range(len(names.elts))) if isinstance(names, ast.Tuple) else ():
        order = list(names.elts)
        order[i], order[j] = order[j], order[i]
        yield Change("saved", names, ast.unparse(ast.Tuple(order, ast.Load()))[1:-1])


def of_name(node: ast.Name, incoming: set[str], names: dict[str, int]) -> Iterator[Change]:
    """A gradient that is left out; the name that was bound last before this one, in its place."""
    if node.id in incoming:
        yield Change("ignored", node, f"torch.ones_like({node.id})")
    others = [name for name, line in names.items() if line < node.lineno and name != node.id]
    if others and node.id in names:
        before = [name for name in others if names[name] <= names[node.id]]
        yield Change("name", node, (before or others)[-1])


def names_before(function: ast.FunctionDef) -> dict[str, int]:
    """What a backward binds, and the line where it does so first."""
    found = {arg.arg: function.lineno for arg in function.args.args[1:]}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = min(found.get(node.id, node.lineno), node.lineno)
    return dict(sorted(found.items(), key=lambda each: each[1]))


def of_index(node: ast.Subscript) -> Iterator[Change]:
    """A part that begins or ends one later, another axis of a shape, another flag."""
    what = ast.unparse(node.value)
    kind = "needs" if what.endswith("needs_input_grad") else "count" if what.endswith("shape") else "index"
    for each in ast.walk(node.slice):
        if isinstance(each, ast.Constant) and type(each.value) is int:
            yield Change(kind, each, repr(each.value + 1 if each.value >= 0 else each.value - 1))
            if each.value not in (0, -1):
                yield Change(kind, each, repr(each.value - 1 if each.value > 0 else each.value + 1))


def in_what_is_kept(function: ast.FunctionDef, backward: ast.FunctionDef) -> Iterator[Change]:
    """In `forward`: another tensor or number is saved than the one that backward takes it for."""
    names = [arg.arg for arg in function.args.args[1:]]
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Attribute(attr="save_for_backward"), args=args):
                read = next((each for each in ast.walk(backward) if _is_saved(each)), None)
                for i, one in enumerate(args):
                    other = next((n for n in names if isinstance(one, ast.Name) and n != one.id), None)
                    if i + 1 < len(args) and not any(isinstance(a, ast.Starred) for a in args):
                        order = [*args[:i], args[i + 1], one, *args[i + 2 :]]
                        yield Change("kept", node, ast.unparse(_with(node, args=order)), read)
                    if other is not None:
                        yield Change("kept", one, other, read)
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="ctx"), attr=name)], value=value):
                read = next((each for each in statements(backward) if reads(each, name)), None)
                if not ast.unparse(value).endswith(("shape", "size()")):
                    yield Change("kept", value, f"2 * ({ast.unparse(value)})", read)


def statements(function: ast.FunctionDef) -> Iterator[ast.stmt]:
    return (each for each in ast.walk(function) if isinstance(each, ast.stmt) and not hasattr(each, "body"))


def reads(statement: ast.stmt, name: str) -> bool:
    return any(isinstance(each, ast.Attribute) and each.attr == name for each in ast.walk(statement))


def of_operation(node: ast.BinOp) -> Iterator[Change]:
    left, right = ast.unparse(node.left), ast.unparse(node.right)
    if type(node.op) in SWAPPED:
        yield Change("operator", node, ast.unparse(_with(node, op=SWAPPED[type(node.op)]())))
        yield Change("term" if isinstance(node.op, ast.Add | ast.Sub) else "factor", node, left)
    if isinstance(node.op, ast.Add | ast.Sub):
        yield Change("term", node, right if isinstance(node.op, ast.Add) else f"-({right})")
    if isinstance(node.op, ast.Mult):
        yield Change("factor", node, right)
    if isinstance(node.op, ast.Pow):
        yield Change("power", node, f"({left}) ** (({right}) + 1)")
        yield Change("power", node, left)
    for side in (node.left, node.right):
        if isinstance(side, ast.Constant) and isinstance(side.value, int | float):
            yield Change("constant", side, repr(side.value + 1))
            yield Change("constant", side, repr(side.value * 0.5))


def of_call(node: ast.Call) -> Iterator[Change]:
    if not isinstance(node.func, ast.Attribute):
        return
    name, owner = node.func.attr, node.func.value
    if name in OTHER_CALL:
        yield Change("function", node, ast.unparse(_with(node, func=_with(node.func, attr=OTHER_CALL[name]))))
    if name in DROPPED_METHODS and not (isinstance(owner, ast.Name) and owner.id == "torch"):
        yield Change("call", node, ast.unparse(owner))
    if name == "where" and len(node.args) == 3:
        yield Change("branches", node, ast.unparse(_with(node, args=[node.args[0], node.args[2], node.args[1]])))


def of_arguments(node: ast.Call) -> Iterator[Change]:
    """Another axis, an axis that is lost, a small number added too late."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name in ALONG_AN_AXIS:
        given = [each.value for each in node.keywords if each.arg in ("dim", "axis")] or node.args[-1:]
        for axis in given:
            for each in ast.walk(axis):
                if isinstance(each, ast.Constant | ast.UnaryOp) and _whole(each) is not None:
                    yield Change("axis", each, repr({-1: 0, 0: 1, 1: 0}.get(_whole(each), _whole(each) - 1)))
                    break
        for each in (k for k in node.keywords if k.arg == "keepdim"):
            yield Change("keepdim", each.value, f"not ({ast.unparse(each.value)})")
    if name in ("t", "transpose", "swapaxes", "permute") and not (
        isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
    ):
        yield Change("transposed", node, ast.unparse(node.func.value))
    added = node.args[0] if node.args else node.func.value if name else None
    if name in ROOTS and isinstance(added, ast.BinOp) and isinstance(added.op, ast.Add):
        early = _with(node, args=[added.left]) if node.args else _with(node, func=_with(node.func, value=added.left))
        yield Change("late", node, f"{ast.unparse(early)} + {ast.unparse(added.right)}")
    if name == "sum" and not node.args and not node.keywords:
        yield Change("count", node, f"{ast.unparse(node.func.value)}.numel()")
    if name == "size" and node.args and _whole(node.args[0]) is not None:
        yield Change("count", node.args[0], repr(_whole(node.args[0]) + 1))
    if isinstance(node.func, ast.Name) and node.func.id in ("range", "reversed"):
        for each in (a for a in node.args if not isinstance(a, ast.Starred) and node.func.id == "range"):
            yield Change("index", each, f"{ast.unparse(each)} - 1")


def of_return(value: ast.expr) -> Iterator[Change]:
    several = value.elts if isinstance(value, ast.Tuple) else [value]
    real = [i for i, each in enumerate(several) if not _is_none(each)]
    for i in real:
        each = several[i]
        yield Change("zeros", each, f"torch.zeros_like({ast.unparse(each)})")
        yield Change("none", each, "None")
        yield Change("sign", each, f"-({ast.unparse(each)})")
        yield Change("factor", each, f"0.5 * ({ast.unparse(each)})")
    for i, j in itertools.pairwise(real):
        order = list(several)
        order[i], order[j] = order[j], order[i]
        yield Change("swapped", value, ast.unparse(ast.Tuple(order, ast.Load()))[1:-1])


def _with(node: ast.expr, **fields: object) -> ast.expr:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _whole(node: ast.expr) -> int | None:
    """The whole number that is written there."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if type(value) is int else None


def _is_saved(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and "saved_tensors" in ast.unparse(node.value)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)


def _is_unpacking(node: ast.Assign) -> bool:
    """`(x,) = ctx.saved_tensors`, or an attribute of ctx: no gradient is computed there."""
    names = {each.id for each in ast.walk(node.value) if isinstance(each, ast.Name)}
    return isinstance(node.targets[0], ast.Tuple) or names <= {"ctx", "len"} or _is_none(node.value)
