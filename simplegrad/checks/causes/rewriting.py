"""Small changes of a backward's text: what could stand in the place of one of its expressions.

An operation exchanged for its opposite, an operand left out, another constant, sign, name or function, a factor or a
term too few. `changes_of` lists them, the plain ones first; `repair` compiles and runs them.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from . import positions
from .positions import ALONG_AN_AXIS, REDUCES

OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
TURNED = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}
ALIKE = (
    *(("sin", "cos"), ("sinh", "cosh"), ("tanh", "sigmoid"), ("sum", "mean"), ("exp", "expm1"), ("log", "log1p")),
    *(("sqrt", "rsqrt"), ("sqrt", "square"), ("amax", "amin"), ("max", "min"), ("zeros_like", "ones_like")),
    *(("mul", "div"), ("add", "sub"), ("mul_", "div_"), ("add_", "sub_")),
)
WRAPPED = ("conj", "mT", "square", "sqrt", "exp")
MOST_NAMES = 20  # that could stand somewhere instead
MOST_UNPACKED = 6  # of them any two may be exchanged
ROUNDS = 4  # of a number that is solved for
CLOSE, EXACT = 2e-6, 1e-8  # of a number: so near it is another one
MOST_WHOLE = 64
NOTHING = 1e-7  # a number that is solved for, and as small, is rounding


class Tried(Protocol):
    """What a change is compiled and run by."""

    def compiled(self, new: ast.AST) -> Callable: ...  # the tree as it is now, `new` being new in it
    def gap(self, function: Callable) -> torch.Tensor | None: ...  # what it returns less what is right, flat


def changes_of(tree: ast.FunctionDef) -> Iterator[Change]:
    """Each change of each statement."""
    for statement in (n for n in ast.walk(tree) if isinstance(n, ast.Assign)):
        for spot, new in reordered(statement):
            yield Change(statement, spot, new, 4)
    bound, given = bound_in(tree), {each.arg for each in tree.args.args[1:]}
    for statement in (n for n in ast.walk(tree) if isinstance(n, (*STATEMENTS, *HEADS))):
        names = [name for name, line in bound.items() if line < statement.lineno][:MOST_NAMES]
        for spot in spots_of(statement):
            for rank, new in rewritten(spot, names, given):
                yield Change(statement, spot, new, max(rank, 2) if decides_alone(statement, spot) else rank)
            if is_number(spot.node) and (spot.is_operand or isinstance(spot.node.value, float)):
                yield Solved(statement, spot, copy.copy(spot.node), 1)
            elif not isinstance(spot.node, ast.Constant):
                yield Scaled(statement, spot, copy.copy(spot.node), 2)
            is_whole = isinstance(statement, ast.AugAssign) and spot.node is statement.value
            if is_whole and type(statement.op) in OPPOSITE:
                yield Operator(statement, spot, OPPOSITE[type(statement.op)]())


def reordered(statement: ast.Assign) -> Iterator[tuple[Spot, ast.expr]]:
    """Two names exchanged where what was saved is unpacked."""
    (names, *_), value = statement.targets, statement.value
    if isinstance(names, ast.Tuple) and "saved_tensors" in ast.unparse(value):
        for i, j in itertools.combinations(range(min(len(names.elts), MOST_UNPACKED)), 2):
            order = list(names.elts)
            order[i], order[j] = order[j], order[i]
            yield Spot(statement, "targets", 0, names), ast.Tuple(order, ast.Store())


def decides_alone(statement: ast.stmt, spot: Spot) -> bool:
    """Whether it is what a block is run by, and no comparison: another branch may be right for reasons of its own."""
    is_test = isinstance(statement, ast.If | ast.While) or isinstance(spot.holder, ast.IfExp) and spot.field == "test"
    return is_test and not isinstance(spot.node, ast.Compare)


def bound_in(tree: ast.FunctionDef) -> dict[str, int]:
    """Names of a backward that hold a tensor or a number, its parameters first, and the line that first binds each."""
    found = {each.arg: tree.lineno for each in tree.args.args[1:]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = min(found.get(node.id, node.lineno), node.lineno)
    return found


def is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


# -- one change ---------------------------------------------------------------------------------------------------


STATEMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
HEADS = {ast.For: "iter", ast.While: "test", ast.If: "test"}  # of blocks: what decides how often they run


@dataclass(frozen=True)
class Spot:
    """Where an expression of a statement stands: in one field of `holder`. An operand is one side of an operation."""

    holder: ast.AST
    field: str
    index: int | None
    node: ast.expr
    is_operand: bool = False

    def put(self, value: Any) -> None:
        if self.index is None:
            setattr(self.holder, self.field, value)
        else:
            getattr(self.holder, self.field)[self.index] = value


class Change:
    """`new` stands at one spot of a statement. `rank`: the least for the plainest."""

    def __init__(self, statement: ast.stmt, spot: Spot, new: Any, rank: int = 0) -> None:
        self.statement, self.spot, self.new, self.rank = statement, spot, new, rank

    @property
    def said(self) -> tuple[str, str]:
        """What stands there, and what belongs there."""
        return _text(self.spot.node), _text(self.new)

    def made(self, trying: Tried) -> Iterator[Callable]:
        """The function with the change in it; the tree is changed as long as somebody looks at it."""
        self.spot.put(self.new)
        try:
            with contextlib.suppress(Exception):  # no text that Python takes
                yield trying.compiled(self.new)
        finally:
            self.spot.put(self.spot.node)


class Operator(Change):
    """Of `a += b`, the other operator."""

    def made(self, trying: Tried) -> Iterator[Callable]:
        old, self.statement.op = self.statement.op, self.new
        try:
            yield trying.compiled(self.new)
        finally:
            self.statement.op = old

    @property
    def said(self) -> tuple[str, str]:
        return f"{SIGNS[OPPOSITE[type(self.new)]]}=", f"{SIGNS[type(self.new)]}="


SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def is_written(value: float) -> bool:
    """Whether a person would write this number: of few digits, or a plain part, root or multiple of 1 or of pi. Any
    number can be solved for; one that nobody writes stands for something that depends on the inputs."""
    digits = ((4, CLOSE), (6, EXACT))
    if any(abs(float(f"{value:.{n}g}") - value) <= apart * abs(value) for n, apart in digits):
        return True
    square = value * value
    of_pi = (part for number in (abs(value), square) for part in (number * math.pi, number / math.pi))
    return any(_is_plain(number) for number in (abs(value), square, *of_pi))


def _is_plain(value: float) -> bool:
    """A whole number, or one over it, or two."""
    whole = (value, 1 / value, 2 / value) if 1 / MOST_WHOLE <= value <= MOST_WHOLE else ()
    return any(abs(each - round(each)) <= CLOSE * each for each in whole if each >= 0.5)


class Solved(Change):
    """Another number in the place of a constant, solved for: what it gives mostly grows with it evenly."""

    def made(self, trying: Tried) -> Iterator[Callable]:
        value = self.solved(trying)
        if value is not None:
            self.new = self.written(int(value) if value == int(value) and self.is_whole else value)
            yield from super().made(trying)

    @property
    def start(self) -> float:
        return float(self.spot.node.value)

    @property
    def is_whole(self) -> bool:
        return isinstance(self.spot.node.value, int)

    def written(self, value: float) -> ast.expr:
        return ast.Constant(value)

    def solved(self, trying: Tried) -> float | None:
        """By Newton's method, as long as it comes nearer; None where it comes to nothing new."""
        value, at = self.start, self._gap(trying, self.start)
        first = None if at is None else float(at @ at)
        for _ in range(ROUNDS):
            step = 1e-4 * max(abs(value), 1.0)
            beside = self._gap(trying, value + step)
            if at is None or beside is None or at.shape != beside.shape:
                return None
            slope = (beside - at) / step
            if not float(slope @ slope) > 0:
                return None
            value -= float(at @ slope) / float(slope @ slope)
            before, at = float(at @ at), self._gap(trying, value) if abs(value) < 1e9 else None
            if at is None or float(at @ at) > max(0.25 * before, 1e-12 * first):
                return None
            if float(at @ at) <= 1e-20 * first or float(at @ at) > 0.25 * before:
                break  # as near as rounding lets it come
        if not is_written(value):
            return None
        value = round(value, 6) if abs(value) >= 1e-3 else value
        return None if value == self.start or abs(value) < NOTHING else value  # nobody writes a zero there

    def _gap(self, trying: Tried, value: float) -> torch.Tensor | None:
        self.new, made = self.written(value), super().made
        return next((trying.gap(function) for function in made(trying)), None)


class Scaled(Solved):
    """An expression times a constant, which is solved for."""

    start, is_whole = 1.0, True

    def written(self, value: float) -> ast.expr:
        return ast.BinOp(ast.Constant(value), ast.Mult(), self.spot.node)

    def solved(self, trying: Tried) -> float | None:
        value = super().solved(trying)
        return None if value == -1 else value  # a sign is tried for itself


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


# -- which changes there are ----------------------------------------------------------------------------------------


def spots_of(statement: ast.stmt) -> Iterator[Spot]:
    """Expressions of a statement that a value is computed with: no index, no keyword, no name of a function."""
    field = HEADS.get(type(statement), "value")
    value = getattr(statement, field, None)
    if value is None or (isinstance(statement, ast.Assign) and "saved_tensors" in ast.unparse(value)):
        return
    yield from _spots(statement, field, None, value, False)


def _spots(holder: ast.AST, field: str, index: int | None, node: ast.expr, is_operand: bool) -> Iterator[Spot]:
    if not isinstance(node, ast.Tuple | ast.List | ast.Starred):
        yield Spot(holder, field, index, node, is_operand)
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
            yield from _spots(node, "test", None, node.test, False)
            yield from _spots(node, "body", None, node.body, False)
            yield from _spots(node, "orelse", None, node.orelse, False)


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "np", "numpy", "math", "F", "ctx", "nn")


def rewritten(spot: Spot, names: list[str], given: set[str]) -> Iterator[tuple[int, ast.expr]]:
    """What could stand there instead, each with a rank: what is plain comes first. `given`: incoming gradients."""
    holder, node = spot.holder, spot.node
    if isinstance(node, ast.Constant):
        return
    yield from ((-1 if is_minus(node) else 0, new) for new in plainer(node))
    if isinstance(node, ast.Name) and node.id == "ctx":
        return
    if not is_minus(node):
        yield 1, ast.UnaryOp(ast.USub(), node)
    if isinstance(node, ast.Name):
        yield from ((3, ast.Name(name, ast.Load())) for name in names if name != node.id)
    yield from ((4, _called(node, name)) for name in WRAPPED)
    yield from ((2, new) for new in placed(spot))
    yield from ((1, new) for new in positions.counts(node, names))
    if spot.is_operand or isinstance(holder, (*STATEMENTS, ast.Tuple, ast.Call, ast.Attribute)):
        for name in names:
            for rank, operator in ((5, ast.Mult), (6, ast.Div), (7, ast.Add), (7, ast.Sub)):
                yield rank - 3 * (name in given), ast.BinOp(node, operator(), ast.Name(name, ast.Load()))


def placed(spot: Spot) -> Iterator[ast.expr]:
    """The same taken from another place."""
    holder, node = spot.holder, spot.node
    if isinstance(holder, ast.If | ast.IfExp) and spot.field == "test":
        yield from positions.other_branch(node)
    elif isinstance(node, ast.Subscript):
        yield from positions.elsewhere(node)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in REDUCES:
        yield from positions.kept_or_not(node)
    elif isinstance(holder, ast.Call) and isinstance(holder.func, ast.Name) and holder.func.id == "range":
        yield from positions.beside(node)


def is_minus(node: ast.expr) -> bool:
    """A minus that stands there is likelier one too many than one that does not is forgotten: few stand anywhere."""
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)


def plainer(node: ast.expr) -> Iterator[ast.expr]:
    """Operators exchanged, something left out, another function of its kind."""
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) in OPPOSITE:
                yield ast.BinOp(left, OPPOSITE[type(op)](), right)
            yield from (left, right)
            if isinstance(op, ast.Sub | ast.Div | ast.MatMult):
                yield ast.BinOp(right, op, left)
            yield from positions.added_within(node)
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Compare(ops=[op]) if type(op) in TURNED:
            yield ast.Compare(node.left, [TURNED[type(op)]()], node.comparators)
        case ast.Call(func=ast.Attribute(value=owner, attr=name) as function):
            for pair in (pair for pair in ALIKE if name in pair):
                other = pair[1] if name == pair[0] else pair[0]
                yield ast.Call(ast.Attribute(owner, other, ast.Load()), node.args, node.keywords)
            if node.args or not _is_module(owner):
                yield node.args[0] if _is_module(owner) else function.value
            if name == "where" and len(node.args) == 3:
                yield ast.Call(function, [node.args[0], node.args[2], node.args[1]], node.keywords)
            if name in ALONG_AN_AXIS:
                yield from positions.along_others(node)
        case ast.Attribute(value=owner, attr="mT" | "T" | "H"):
            yield owner


def _called(node: ast.expr, name: str) -> ast.expr:
    if name == "mT":
        return ast.Attribute(node, name, ast.Load())
    return ast.Call(ast.Attribute(node, name, ast.Load()), [], [])
