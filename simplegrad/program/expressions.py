"""The interpreter's arithmetic: one method for each kind of expression that the parser lets through."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from numbers import Real

import torch

from ..engine import Tape, TapeError, Variable
from ..trace import LimitError
from .errors import RunError
from .leaves import LEAVES, check_size, shown
from .limits import Guard
from .nodes import called
from .parse import Program

BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
BINARY |= {ast.Pow: operator.pow, ast.MatMult: operator.matmul, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod}
BINARY |= {ast.BitAnd: operator.and_, ast.BitOr: operator.or_}
COMPARE = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
COMPARE |= {ast.Eq: operator.eq, ast.NotEq: operator.ne}
SIGN = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.MatMult: "@", ast.FloorDiv: "//"}
SIGN |= {ast.Mod: "%", ast.BitAnd: "&", ast.BitOr: "|", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
SIGN |= {ast.Eq: "==", ast.NotEq: "!="}
_NONE: dict = {}  # no keywords
ONLY_NUMBERS = (ast.FloorDiv, ast.Mod)
ONLY_CONDITIONS = (ast.BitAnd, ast.BitOr)


class Expressions:
    """Evaluates expressions. Values: Variables, numbers, conditions (boolean tensors), None, and lists of these.

    A method that makes a Variable takes the `name` that a statement gives to it, or None for v0, v1, …
    """

    def __init__(self, program: Program, tape: Tape, guard: Guard):
        self.program = program
        self.tape = tape
        self.guard = guard
        self.names: dict[str, object] = {}
        self.why_none: dict[str, str] = {}

    def evaluate(self, node: ast.expr, name: str | None = None):
        match node:
            case ast.Name(id=name_read):
                return self.names[name_read]
            case ast.Constant(value=value):
                return value
            case ast.BinOp():
                return self.binary(node, name)
            case ast.UnaryOp():
                return self.unary(node, name)
            case ast.Compare():
                return self.compare(node)
            case ast.List(elts=parts):
                return [self.evaluate(part) for part in parts]
            case ast.Tuple(elts=parts):
                return tuple([self.evaluate(part) for part in parts])
            case ast.Subscript():
                return self.subscript(node, name)
            case ast.Attribute(value=receiver, attr=attribute):
                return self.attribute(node, self.operand(receiver), attribute, name)
            case ast.Call():
                return self.call(node, name)
        raise RunError(f"{type(node).__name__} is no part of the language.")

    def operand(self, node: ast.expr):
        """The value of an expression that is computed with: not None."""
        value = self.evaluate(node)
        if value is None:
            raise RunError(self.none_message(node))
        return value

    def none_message(self, node: ast.expr) -> str:
        reason = self.why_none.get(node.id, "") if isinstance(node, ast.Name) else ""
        return (
            f"{self.text(node)} is None: {reason or 'a gradient that is a known zero'}. "
            f"Leave it out, ask for zeros with grad(…, none='zeros'), or add with add_optional(x, y)."
        )

    def text(self, node: ast.AST) -> str:
        """The piece of the program that a node stands for, shortened."""
        found = ast.get_source_segment(self.program.source, node) or ast.unparse(node)
        found = " ".join(found.split())
        return found if len(found) <= 60 else f"{found[:59]}…"

    def binary(self, node: ast.BinOp, name: str | None):
        left, right = self.operand(node.left), self.operand(node.right)
        compute, sign = BINARY[type(node.op)], SIGN[type(node.op)]
        if isinstance(left, Real) and isinstance(right, Real):
            return self.number(node, compute, left, right)
        if isinstance(node.op, ONLY_CONDITIONS):
            return self.conditions(node, compute, sign, left, right)
        if isinstance(node.op, ONLY_NUMBERS):
            raise RunError(f"{self.text(node)}: '{sign}' is for numbers, not for {shown(left)} and {shown(right)}.")
        left, right = self.factor(node.left, left), self.factor(node.right, right)
        if isinstance(node.op, ast.MatMult):
            if not (isinstance(left, Variable) and isinstance(right, Variable)):
                raise RunError(f"{self.text(node)}: '@' is for two tensors, not for {shown(left)} and {shown(right)}.")
            self.guard.matmul(left, right)
        else:
            self.guard.broadcast(left, right)
        return self.apply(node, name, compute, [left, right])

    def factor(self, node: ast.expr, value):
        """An operand of arithmetic: a condition counts as 0 and 1, a list has no sum."""
        if isinstance(value, torch.Tensor):
            return Variable.constant(value.to(torch.get_default_dtype()))
        if isinstance(value, (Variable, Real)):
            return value
        said = f"{self.text(node)} {'computes with' if isinstance(node, ast.Call) else 'is'}"
        if isinstance(value, Gradients) and len(value) == 1:
            raise RunError(f"{said} a list of one gradient, as grad gives it. Write: da, = grad(L0, [a]).")
        raise RunError(f"{said} {shown(value)}, and there is no arithmetic with that.")

    def number(self, node: ast.BinOp, compute: Callable, left: float, right: float) -> float:
        """Arithmetic of plain numbers; whole ones stay within 63 bits."""
        whole = isinstance(left, int) and isinstance(right, int)
        if isinstance(node.op, ast.MatMult):
            raise RunError(f"{self.text(node)}: '@' is for two tensors.")
        if whole and isinstance(node.op, ast.Pow) and abs(right) * max(abs(left), 1).bit_length() > 128:
            raise RunError(f"{self.text(node)}: this number is too large.")
        try:
            result = compute(left, right)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise RunError(f"{self.text(node)}: {error}.") from None
        if isinstance(result, complex) or (isinstance(result, int) and result.bit_length() > 63):
            raise RunError(f"{self.text(node)}: the result is no number that a tensor can hold.")
        return result

    def conditions(self, node: ast.BinOp, compute: Callable, sign: str, left, right) -> torch.Tensor:
        if not (isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor)):
            raise RunError(
                f"{self.text(node)}: '{sign}' joins two conditions, each in brackets: (x > 0) {sign} (x < 1)."
            )
        self.guard.broadcast(left, right)
        return self.condition(node, compute, left, right)

    def condition(self, node: ast.expr, compute: Callable, *operands) -> torch.Tensor:
        result = self.guarded(node, compute, operands)
        self.guard.made(result.shape)
        return result

    def unary(self, node: ast.UnaryOp, name: str | None):
        value = self.operand(node.operand)
        if isinstance(node.op, ast.Invert):
            if not isinstance(value, torch.Tensor):
                raise RunError(f"{self.text(node)}: '~' is for a condition, ~(x > 0), not for {shown(value)}.")
            return self.condition(node, operator.invert, value)
        value = self.factor(node.operand, value)
        if isinstance(node.op, ast.UAdd):
            return value
        return -value if isinstance(value, Real) else self.apply(node, name, operator.neg, [value])

    def compare(self, node: ast.Compare) -> torch.Tensor:
        sides = [self.operand(node.left), self.operand(node.comparators[0])]
        for side in sides:
            if not isinstance(side, (Variable, Real)):
                raise RunError(f"{self.text(node)}: compares a tensor with a tensor or a number, not {shown(side)}.")
        left, right = (torch.as_tensor(getattr(side, "value", side)) for side in sides)
        self.guard.broadcast(left, right)
        return self.condition(node, COMPARE[type(node.ops[0])], left, right)

    def attribute(self, node: ast.expr, value, attribute: str, name: str | None):
        if not isinstance(value, Variable):
            raise RunError(f"{self.text(node)}: '.{attribute}' is for a tensor, not for {shown(value)}.")
        if attribute == "shape":
            return tuple(value.shape)
        if attribute == "ndim":
            return value.ndim
        return self.apply(node, name, operator.attrgetter(attribute), [value])

    # --- indexing --------------------------------------------------------------------------------------------------

    def subscript(self, node: ast.Subscript, name: str | None):
        value = self.operand(node.value)
        if isinstance(value, (list, tuple)):
            return self.element(node, value)
        if not isinstance(value, Variable):
            raise RunError(f"{self.text(node)}: {shown(value)} has no elements.")
        several = isinstance(node.slice, ast.Tuple)
        parts = tuple([self.place(part) for part in (node.slice.elts if several else [node.slice])])
        self.guard.index(value, parts)
        return self.apply(node, name, operator.getitem, [value, parts])

    def element(self, node: ast.Subscript, values: Sequence):
        index = self.index(node.slice)
        if not isinstance(index, (int, slice)):
            raise RunError(f"{self.text(node)}: a list is indexed by a whole number, not by {shown(index)}.")
        return self.guarded(node, operator.getitem, (values, index))

    def place(self, node: ast.expr):
        """One part of an index into a tensor, made sure of: torch takes its time with odd lists."""
        part = self.index(node)
        check_size(part, self.guard.shape)
        if isinstance(part, slice):
            whole = all(end is None or isinstance(end, int) for end in (part.start, part.stop, part.step))
        else:
            whole = part is None or part is Ellipsis or isinstance(part, torch.Tensor) or are_whole(part)
        if not whole:
            raise RunError(f"{self.text(node)}: places are whole numbers.")
        return part

    def index(self, node: ast.expr):
        """One part of an index: a whole number, a slice, None, …, a condition, or a list of places."""
        if isinstance(node, ast.Slice):
            return slice(*[end and self.evaluate(end) for end in (node.lower, node.upper, node.step)])
        if called(node) in LEAVES:  # x[tensor([0, 2])]: the places are no leaf of the program
            value = self.leaf(node, called(node))
        else:
            value = self.evaluate(node)
        value = getattr(value, "value", value)
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            if value.ndim and not (value == value.trunc()).all():
                raise RunError(f"{self.text(node)}: places are whole numbers.")
            value = value.long()
        return value

    # --- doing it --------------------------------------------------------------------------------------------------

    def apply(self, node: ast.AST, name: str | None, compute: Callable, arguments: Sequence, keywords: dict = _NONE):
        """One operation, whose result gets the statement's name."""
        if name is None:
            return self.guarded(node, compute, arguments, keywords)
        with self.tape.naming(name):
            result = self.guarded(node, compute, arguments, keywords)
        result.name  # noqa: B018  asked for now, the name is the result's: a later x is x_1
        return result

    def guarded(self, node: ast.AST, compute: Callable, arguments: Sequence, keywords: dict = _NONE):
        """compute(…), where what torch says of it is told with the operation and the shapes."""
        try:
            return compute(*arguments, **keywords)
        except (RunError, LimitError):
            raise
        except TapeError as error:
            raise RunError(f"{self.text(node)}: {error}") from error
        except (RuntimeError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as error:
            said = str(error).split("\n")[0].rstrip(".")
            raise RunError(f"{self.text(node)}{shapes(arguments)}: {said}.") from error


class Gradients(list):
    """What `grad` gives, and for each None why it is one."""

    def __init__(self, gradients: Sequence[Variable | None], loss: Variable, wanted: Sequence[Variable]):
        super().__init__(gradients)
        self.reasons = [f"no gradient of {loss.name} came to {x.name}, which makes it a known zero" for x in wanted]


def are_whole(place) -> bool:
    return all(map(are_whole, place)) if isinstance(place, (list, tuple)) else isinstance(place, int)


def shapes(arguments: Sequence) -> str:
    """`, on shapes (3,) and (4,)`"""
    found = []
    for each in arguments:
        found += each if isinstance(each, (list, tuple)) else [each]
    said = [str(tuple(each.shape)) for each in found if hasattr(each, "shape")][:6]
    if not said:
        return ""
    return f", on shape {said[0]}" if len(said) == 1 else f", on shapes {', '.join(said[:-1])} and {said[-1]}"
