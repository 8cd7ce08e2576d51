"""Which one small change of a backward's text makes a wrong gradient right: it is tried, not guessed.

An operation exchanged for its opposite, an operand left out, another constant, sign, name or function, a factor or a
term too few: each such change of one expression is compiled and run, and those under which every gradient comes out
right at every sample are kept. Where all of them lie in one statement, that statement is wrong, and how is known.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import inspect
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ..numbers import plain
from ..report import Place
from ..subjects.alone import Ran
from . import source
from .samples import Sample, Samples, is_real

MOST_TRIED = 700  # changes of one backward
LONGEST = 2.0  # seconds
ENOUGH = 6  # changes that repair it

OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
TURNED = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}
ALIKE = (
    *(("sin", "cos"), ("sinh", "cosh"), ("tanh", "sigmoid"), ("sum", "mean"), ("exp", "expm1"), ("log", "log1p")),
    *(("sqrt", "rsqrt"), ("sqrt", "square"), ("amax", "amin"), ("max", "min"), ("zeros_like", "ones_like")),
)
WRAPPED = ("conj", "mT", "square", "sqrt", "exp")


@dataclass(frozen=True)
class Repair:
    """`before` written as `after` makes every gradient right. `statement` is the whole statement, changed."""

    place: Place
    before: str
    after: str
    statement: str

    @property
    def said(self) -> str:
        return f"with `{self.after}` in the place of `{self.before}` it is right"


def repair(samples: Samples, near: Place | None = None) -> Repair | None:
    """The change that repairs it, where those that do agree on one statement, or one of them lies `near`.

    `near`: the statement that is likely wrong; one that stands in a helper is changed nowhere else.
    """
    try:
        trying = Trying(samples)
        found = list(trying.repairs()) if near is None or trying.has(near) else []
    except Exception:  # a text that cannot be had, or compiled by itself
        return None
    if len({each.place for each in found}) == 1:
        return found[0]
    return next((each for each in found if each.place == near), None)


class Trying:
    """One backward, as a tree that is changed, compiled and put back."""

    def __init__(self, samples: Samples) -> None:
        self.samples, self.alone = samples, samples.alone
        self.function = inspect.unwrap(self.alone.call.backward)
        self.owner = getattr(self.function, "__self__", None)  # of a class method
        self.function = getattr(self.function, "__func__", self.function)
        self.code = source.code_of(self.function)
        found = [n for n in source.statements(self.code) if isinstance(n, ast.FunctionDef)]
        self.tree = copy.deepcopy(found[0])
        self.tree.decorator_list = []
        self.screen = min(1, len(samples.each) - 1)
        self.names = self.locals_of()
        self.until = time.monotonic() + LONGEST

    def has(self, place: Place) -> bool:
        is_within = self.tree.lineno <= place.first <= (self.tree.end_lineno or self.tree.lineno)
        return place.file == self.code.co_filename and is_within

    def locals_of(self) -> list[str]:
        """Names of backward that hold a tensor or a number, its parameters included."""
        stored = [n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        return list(dict.fromkeys([*(a.arg for a in self.tree.args.args[1:]), *stored]))[:12]

    def repairs(self) -> Iterator[Repair]:
        found, changes = 0, sorted(self.changes(), key=lambda each: each[1].rank)
        for statement, change in changes[:MOST_TRIED]:
            if time.monotonic() > self.until or found >= ENOUGH:
                return
            for done in change.made(self):
                if self.is_right(done):
                    found += 1
                    text = " ".join(ast.unparse(statement).split())
                    place = source.place(self.code, statement.lineno, statement.end_lineno)
                    yield Repair(place, change.before, change.after, text)

    def changes(self) -> Iterator[tuple[ast.stmt, Change]]:
        for statement in (n for n in ast.walk(self.tree) if isinstance(n, STATEMENTS)):
            if isinstance(statement, ast.AugAssign) and type(statement.op) in OPPOSITE:
                yield statement, Operator(statement, "op", None, OPPOSITE[type(statement.op)]())
            for spot in spots_of(statement):
                for rank, new in rewritten(spot, self.names):
                    yield statement, Change(*spot[:3], new, rank)
                node = spot[3]
                if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and spot[4]:
                    yield statement, Solved(*spot[:3], copy.copy(node), 1)

    # -- running -----------------------------------------------------------------------------------------------

    def compiled(self) -> Callable:
        """The tree as it is now, as a function with the globals and closure variables of the right one."""
        free = self.code.co_freevars
        body: list[ast.stmt] = [_bound(name) for name in free] + [self.tree]
        empty = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        outer = ast.FunctionDef("outer", empty, body, [])
        module = ast.fix_missing_locations(ast.Module([outer], []))
        code = compile(module, self.code.co_filename, "exec")
        inner = _code_named(_code_named(code, "outer"), self.tree.name)
        cells = dict(zip(free, self.function.__closure__ or ()))
        closure = tuple(cells[name] for name in inner.co_freevars)
        made = types.FunctionType(inner, self.function.__globals__, self.tree.name, self.function.__defaults__, closure)
        made.__kwdefaults__ = self.function.__kwdefaults__
        return made if self.owner is None else types.MethodType(made, self.owner)

    def returned(self, function: Callable, sample: Sample, ran: Ran | None = None) -> list[Any]:
        ran = ran or self.alone.forward(sample.values)
        incoming = [g.clone() if isinstance(g, torch.Tensor) else g for g in sample.incoming]
        with torch.no_grad():
            found = function(ran.ctx, *incoming)
        found = tuple(found) if isinstance(found, tuple | list) else (found,)
        return [found[i] if i < len(found) else None for i in self.alone.call.differentiated]

    def is_right(self, function: Callable) -> bool:
        """At every sample, the one that tells most first."""
        each = self.samples.each
        with contextlib.suppress(Exception):  # a change may make it anything
            return all(
                self.samples.right(g, sample, i)
                for sample in (each[self.screen], *each)
                for i, g in enumerate(self.returned(function, sample))
            )
        return False

    def gap(self, function: Callable) -> torch.Tensor | None:
        """What is returned less what is right, as one row of numbers."""
        sample = self.samples.each[self.screen]
        with contextlib.suppress(Exception):
            rows = []
            for g, t in zip(self.returned(function, sample), sample.truth, strict=True):
                if not is_real(t):
                    continue
                apart = (plain(t.new_zeros(()) if g is None else g.detach()) - plain(t.detach())).flatten()
                rows.append(torch.view_as_real(apart).flatten() if apart.is_complex() else apart)
            return torch.cat(rows).double()
        return None


def _bound(name: str) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None))


def _code_named(code: types.CodeType, name: str) -> types.CodeType:
    return next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)


# -- one change ---------------------------------------------------------------------------------------------------


STATEMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)


class Change:
    """`new` stands in one field of one node of the tree."""

    def __init__(self, holder: ast.AST, field: str, index: int | None, new: Any, rank: int = 0) -> None:
        self.holder, self.field, self.index, self.new, self.rank = holder, field, index, new, rank
        self.old = self.get()
        self.before, self.after = _text(self.old), _text(new)

    def get(self) -> Any:
        found = getattr(self.holder, self.field)
        return found if self.index is None else found[self.index]

    def put(self, value: Any) -> None:
        if self.index is None:
            setattr(self.holder, self.field, value)
        else:
            getattr(self.holder, self.field)[self.index] = value

    def made(self, trying: Trying) -> Iterator[Callable]:
        """The function with the change in it; the tree is changed as long as somebody looks at it."""
        self.put(self.new)
        try:
            with contextlib.suppress(Exception):  # no text that Python takes
                yield trying.compiled()
        finally:
            self.put(self.old)


class Operator(Change):
    """Of `a += b`, the other operator."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.before, self.after = (f"{SIGNS[type(op)]}=" for op in (self.old, self.new))


SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


class Solved(Change):
    """Another number in the place of a constant, solved for: what it gives mostly grows with it evenly."""

    def made(self, trying: Trying) -> Iterator[Callable]:
        start = float(self.old.value)
        value, best = start, None
        for _ in range(4):
            at, beside = self._gap(trying, value), self._gap(trying, value + 1e-4 * max(abs(value), 1.0))
            if at is None or beside is None or at.shape != beside.shape:
                return
            slope = (beside - at) / (1e-4 * max(abs(value), 1.0))
            size = float(slope @ slope)
            if not size > 0:
                return
            value -= float(at @ slope) / size
            if not abs(value) < 1e9:
                return
            best = round(value, 6) if abs(value) >= 1e-3 else value
        if best is None or best == start:
            return
        self.new = ast.Constant(int(best) if best == int(best) and isinstance(self.old.value, int) else best)
        self.after = _text(self.new)
        yield from super().made(trying)

    def _gap(self, trying: Trying, value: float) -> torch.Tensor | None:
        self.new, made = ast.Constant(value), super().made
        return next((trying.gap(function) for function in made(trying)), None)


def _text(node: Any) -> str:
    return (
        " ".join(ast.unparse(node).split()) if isinstance(node, ast.AST) and not isinstance(node, ast.operator) else ""
    )


# -- which changes there are ----------------------------------------------------------------------------------------

Spot = tuple[ast.AST, str, int | None, ast.expr, bool]  # where an expression stands; whether it is an operand


def spots_of(statement: ast.stmt) -> Iterator[Spot]:
    """Expressions of a statement that a value is computed with: no index, no keyword, no name of a function."""
    value = getattr(statement, "value", None)
    if value is None or (isinstance(statement, ast.Assign) and "saved_tensors" in ast.unparse(value)):
        return
    yield from _spots(statement, "value", None, value, False)


def _spots(holder: ast.AST, field: str, index: int | None, node: ast.expr, is_operand: bool) -> Iterator[Spot]:
    if not isinstance(node, ast.Tuple | ast.List | ast.Starred):
        yield holder, field, index, node, is_operand
    match node:
        case ast.Tuple() | ast.List():
            for i, each in enumerate(node.elts):
                yield from _spots(node, "elts", i, each, False)
        case ast.BinOp():
            yield from _spots(node, "left", None, node.left, True)
            yield from _spots(node, "right", None, node.right, True)
        case ast.UnaryOp():
            yield from _spots(node, "operand", None, node.operand, True)
        case ast.Compare():
            yield from _spots(node, "left", None, node.left, True)
        case ast.Attribute():
            if not _is_module(node.value):
                yield from _spots(node, "value", None, node.value, False)
        case ast.Call():
            if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
                yield from _spots(node.func, "value", None, node.func.value, False)
            for i, each in enumerate(node.args):
                yield from _spots(node, "args", i, each, False)
        case ast.Subscript():
            yield from _spots(node, "value", None, node.value, False)
        case ast.IfExp():
            yield from _spots(node, "body", None, node.body, False)
            yield from _spots(node, "orelse", None, node.orelse, False)


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "np", "numpy", "math", "F", "ctx", "nn")


def rewritten(spot: Spot, names: list[str]) -> Iterator[tuple[int, ast.expr]]:
    """What could stand there instead, each with a rank: what is plain comes first."""
    holder, _, _, node, is_operand = spot
    if isinstance(node, ast.Constant):
        return
    yield from ((0, new) for new in plainer(node))
    if isinstance(node, ast.Name) and node.id == "ctx":
        return
    if not (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)):
        yield 2, ast.UnaryOp(ast.USub(), node)
    if isinstance(node, ast.Name):
        yield from ((3, ast.Name(name, ast.Load())) for name in names if name != node.id)
    yield from ((4, _called(node, name)) for name in WRAPPED)
    if is_operand or isinstance(holder, (*STATEMENTS, ast.Tuple, ast.Call)):
        for name in names:
            for rank, operator in ((5, ast.Mult), (6, ast.Div), (7, ast.Add), (7, ast.Sub)):
                yield rank, ast.BinOp(node, operator(), ast.Name(name, ast.Load()))


def plainer(node: ast.expr) -> Iterator[ast.expr]:
    """Operators exchanged, something left out, another function of its kind."""
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) in OPPOSITE:
                yield ast.BinOp(left, OPPOSITE[type(op)](), right)
            yield from (left, right)
            if isinstance(op, ast.Sub | ast.Div | ast.MatMult):
                yield ast.BinOp(right, op, left)
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Compare(ops=[op]) if type(op) in TURNED:
            yield ast.Compare(node.left, [TURNED[type(op)]()], node.comparators)
        case ast.Call(func=ast.Attribute(value=owner, attr=name) as function):
            for pair in (pair for pair in ALIKE if name in pair):
                other = pair[1] if name == pair[0] else pair[0]
                yield ast.Call(ast.Attribute(owner, other, ast.Load()), node.args, node.keywords)
            yield node.args[0] if _is_module(owner) and node.args else function.value
            if name == "where" and len(node.args) == 3:
                yield ast.Call(function, [node.args[0], node.args[2], node.args[1]], node.keywords)
        case ast.Attribute(value=owner, attr="mT" | "T" | "H"):
            yield owner


def _called(node: ast.expr, name: str) -> ast.expr:
    if name == "mT":
        return ast.Attribute(node, name, ast.Load())
    return ast.Call(ast.Attribute(node, name, ast.Load()), [], [])
