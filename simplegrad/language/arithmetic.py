"""Arithmetic of a run: what `_binary`, `_unary`, `_compare`, `_attribute` and `_subscript` of a written program do."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from numbers import Real

import torch

from ..engine import TapeError, Variable, current_tape
from ..trace import LimitError
from .errors import RunError, in_words
from .leaves import check_size, shown
from .limits import Guard, watching
from .names import FIELDS
from .syntax import BINARY, UNARY

_COMPUTE = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow}
_COMPUTE |= {"@": operator.matmul, "//": operator.floordiv, "%": operator.mod, "&": operator.and_, "|": operator.or_}
_COMPARED = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
_COMPARED |= {ast.Eq: operator.eq, ast.NotEq: operator.ne}
_SIGNS = {"-": operator.neg, "+": operator.pos, "~": operator.invert}
_NONE: dict = {}  # no keywords
NO_VALUE = "a gradient that is a known zero, or what a function without 'return' gives"
MOST_SHOWN = 60  # characters of a piece of the text in a message


class Arithmetic:
    """On Variables, raw tensors (conditions are boolean ones), numbers, None, and lists of these.

    `number` says for which node of the text a call was written; `name` is what the statement calls its result.
    """

    def __init__(self, source: str, nodes: Sequence[ast.AST], guard: Guard):
        self.source = source
        self.nodes = nodes
        self.own_guard = guard
        self.why_none: dict[str, str] = {}

    @property
    def guard(self) -> Guard:
        """That of the run which this is a part of: a function may be called by another program, or by `check`."""
        return watching() or self.own_guard

    def text(self, node: ast.AST) -> str:
        """The piece of the program that a node stands for, shortened."""
        found = ast.get_source_segment(self.source, node) or ast.unparse(node)
        found = " ".join(found.split())
        return found if len(found) <= MOST_SHOWN else f"{found[: MOST_SHOWN - 1]}…"

    def operand(self, node: ast.expr, value):
        """The value of an expression that is computed with: not None."""
        if value is None:
            raise RunError(self.none_message(node))
        return value

    def none_message(self, node: ast.expr) -> str:
        reason = self.why_none.get(node.id, "") if isinstance(node, ast.Name) else ""
        if isinstance(node, ast.Constant):
            return "None stands where a tensor or a number belongs."
        return (
            f"{self.text(node)} is None: {reason or NO_VALUE}. "
            f"Leave it out, ask for zeros with grad(…, none='zeros'), or add with add_optional(x, y)."
        )

    # --- operators ---------------------------------------------------------------------------------------------------

    def binary(self, number: int, left, right, name: str | None = None, in_place: bool = False):
        node = self.nodes[number]
        left, right = self.operand(node.left, left), self.operand(node.right, right)
        sign = BINARY[type(node.op)]
        compute = _COMPUTE[sign]
        if is_number(left) and is_number(right):
            return self.number(node, sign, compute, left, right)
        if sign in "&|":
            return self.conditions(node, compute, sign, left, right)
        if in_place and is_raw(left):
            raise RunError(f"{self.text(node)}: values never change. Write t = t {sign} …, which makes a new one.")
        left, right = self.factor(node.left, left, right), self.factor(node.right, right, left)
        if sign == "@" and (is_number(left) or is_number(right)):
            raise RunError(f"{self.text(node)}: '@' is for two tensors, not for {shown(left)} and {shown(right)}.")
        return self.apply(node, name, compute, [left, right])

    def factor(self, node: ast.expr, value, other=None):
        """An operand of arithmetic: beside a Variable a condition counts as 0 and 1; a list has no sum."""
        if self.is_condition(value) and not is_raw(other):
            return float(value) if isinstance(value, bool) else self.as_numbers(value)
        if self.is_tensor(value) or isinstance(value, Real) or self.is_size(value):
            return value
        is_operand = not isinstance(node, ast.Call) or other is not None
        said = f"{self.text(node)} {'is' if is_operand else 'computes with'}"
        if isinstance(value, Gradients) and len(value) == 1:
            raise RunError(f"{said} a list of one gradient, as grad gives it. Write: da, = grad(L0, [a]).")
        if isinstance(value, tuple) and hasattr(value, "n_sequence_fields"):
            raise RunError(f"{said} several results, {' and '.join(fields_of(value))}. Take one: m, i = x.max(dim=0).")
        if isinstance(value, (list, tuple)):
            raise RunError(f"{said} {shown(value)}, and lists cannot be computed with. Take its elements out first.")
        raise RunError(f"{said} {shown(value)}, which cannot be computed with.")

    def number(self, node: ast.BinOp, sign: str, compute: Callable, left: float, right: float) -> float:
        """Arithmetic of plain numbers; whole ones stay within 63 bits."""
        whole = isinstance(left, int) and isinstance(right, int)
        if sign == "@":
            raise RunError(f"{self.text(node)}: '@' is for two tensors.")
        if sign in "&|" and not (isinstance(left, bool) and isinstance(right, bool)):
            return self.conditions(node, compute, sign, left, right)
        if whole and sign == "**" and abs(right) * max(abs(left), 1).bit_length() > 128:
            raise RunError(f"{self.text(node)}: this number is too large.")
        try:
            result = compute(left, right)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise RunError(f"{self.text(node)}: {error}.") from None
        if isinstance(result, complex) or (isinstance(result, int) and result.bit_length() > 63):
            raise RunError(f"{self.text(node)}: the result is not a number that a tensor can hold.")
        return result

    def conditions(self, node: ast.BinOp, compute: Callable, sign: str, left, right) -> torch.Tensor:
        if not (self.is_condition(left) and self.is_condition(right)):
            raise RunError(
                f"{self.text(node)}: '{sign}' joins two conditions, each in brackets: (x > 0) {sign} (x < 1)."
            )
        return self.condition(node, compute, left, right)

    def as_numbers(self, condition: torch.Tensor):
        return Variable.constant(condition.to(torch.get_default_dtype()))

    # What is what: a Machine that computes with something else than tensors says it otherwise.

    def is_condition(self, value) -> bool:
        return isinstance(value, bool) or is_condition(value)

    def is_tensor(self, value) -> bool:
        return isinstance(value, (Variable, torch.Tensor))

    def is_size(self, value) -> bool:
        """Whether it is a whole number that is not known yet."""
        return False

    def condition(self, node: ast.expr, compute: Callable, *operands) -> torch.Tensor:
        result = self.guarded(node, compute, operands)
        self.guard.made(result.shape)
        return result

    def unary(self, number: int, value, name: str | None = None):
        node = self.nodes[number]
        sign, value = UNARY[type(node.op)], self.operand(node.operand, value)
        if sign == "~":
            if not self.is_condition(value):
                raise RunError(f"{self.text(node)}: '~' is for a condition, ~(x > 0), not for {shown(value)}.")
            return (not value) if isinstance(value, bool) else self.condition(node, operator.invert, value)
        value = self.factor(node.operand, value)
        if sign == "+":
            return value
        return -value if is_number(value) else self.apply(node, name, operator.neg, [value])

    def compare(self, number: int, left, right):
        node = self.nodes[number]
        compute, sides = _COMPARED[type(node.ops[0])], (node.left, node.comparators[0])
        left, right = (self.operand(each, value) for each, value in zip(sides, (left, right)))
        for side in (left, right):
            if not (self.is_tensor(side) or isinstance(side, Real) or self.is_size(side)):
                raise RunError(f"{self.text(node)}: compares a tensor with a tensor or a number, not {shown(side)}.")
        if is_number(left) and is_number(right):
            return compute(left, right)
        return self.compared(node, compute, left, right)

    def compared(self, node: ast.Compare, compute: Callable, left, right) -> torch.Tensor:
        left, right = (torch.as_tensor(getattr(side, "value", side)) for side in (left, right))
        return self.condition(node, compute, left, right)

    def attribute(self, number: int, value, attribute: str, name: str | None = None):
        node = self.nodes[number]
        value = self.operand(node.value, value)
        if attribute in FIELDS:
            return self.field(node, value, attribute, name)
        if not isinstance(value, (Variable, torch.Tensor)):
            raise RunError(f"{self.text(node)}: '.{attribute}' is for a tensor, not for {shown(value)}.")
        if attribute == "shape":
            return value.shape
        if attribute == "ndim":
            return value.ndim
        if attribute in ("value", "name"):
            if isinstance(value, torch.Tensor):
                raise RunError(f"{self.text(node)}: '.{attribute}' is for a Variable, and this is a tensor already.")
            return getattr(value, attribute)
        return self.apply(node, name, operator.attrgetter(attribute), [value])

    def field(self, node: ast.Attribute, value, field: str, name: str | None):
        """One of several results, by the name that torch gives it."""
        if isinstance(value, tuple) and hasattr(value, field):
            self.name_result(getattr(value, field), name, ())
            return getattr(value, field)
        if hasattr(value, "n_sequence_fields"):
            said = f"the results are {', '.join(fields_of(value))}"
        elif self.is_tensor(value):
            said = "this is one tensor. Along a dimension there are values and indices: x.max(dim=0).values"
        else:
            said = f"{shown(value)} has none"
        raise RunError(f"{self.text(node)}: there is no '.{field}': {said}.")

    # --- indexing ----------------------------------------------------------------------------------------------------

    def subscript(self, number: int, value, parts: tuple, name: str | None = None):
        node = self.nodes[number]
        value = self.operand(node.value, value)
        if isinstance(value, (list, tuple)):
            return self.element(node, value, parts)
        if not isinstance(value, (Variable, torch.Tensor)):
            raise RunError(f"{self.text(node)}: {shown(value)} has no elements.")
        written = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        parts = tuple([self.place(each, part) for each, part in zip(written, parts)])
        index = parts if isinstance(node.slice, ast.Tuple) else parts[0]
        return self.apply(node, name, operator.getitem, [value, index])

    def element(self, node: ast.Subscript, values: Sequence, parts: tuple):
        index = parts[0] if len(parts) == 1 else None
        if not isinstance(index, (int, slice)):
            raise RunError(f"{self.text(node)}: a list is indexed by a whole number, not by {shown(parts[-1])}.")
        return self.guarded(node, operator.getitem, (values, index))

    def slice(self, number: int, start, stop, step) -> slice:
        if is_number(step) and step <= 0:
            raise RunError(f"{self.text(self.nodes[number])}: the step of a slice is 1 or more, as torch has it.")
        return slice(start, stop, step)

    def place(self, node: ast.expr, part):
        """One part of an index into a tensor, made sure of: torch takes its time with odd lists."""
        part = getattr(part, "value", part)
        if isinstance(part, torch.Tensor) and part.is_floating_point():
            if part.ndim and not (part == part.trunc()).all():
                raise RunError(f"{self.text(node)}: places are whole numbers.")
            part = part.long()
        check_size(part, self.guard.shape)
        if isinstance(part, slice):
            whole = all(end is None or isinstance(end, int) for end in (part.start, part.stop, part.step))
        else:
            whole = part is None or part is Ellipsis or isinstance(part, torch.Tensor) or are_whole(part)
        if not whole:
            raise RunError(f"{self.text(node)}: places are whole numbers.")
        return part

    # --- doing it ----------------------------------------------------------------------------------------------------

    def apply(self, node: ast.AST, name: str | None, compute: Callable, arguments: Sequence, keywords: dict = _NONE):
        """One operation, whose result gets the statement's name."""
        self.note("computes")
        if name is None:
            return self.counted(self.guarded(node, compute, arguments, keywords))
        with current_tape().naming(name):
            result = self.counted(self.guarded(node, compute, arguments, keywords))
        if isinstance(result, Variable):
            result.name  # noqa: B018  asked for now, the name is the result's: a later x is x_1
        return result

    def note(self, what: str) -> None:
        """Something was computed."""

    def counted(self, result):
        """A raw tensor counts as a Variable does, of which the tape tells; so does each of several results."""
        if isinstance(result, torch.Tensor):
            self.guard.made(result.shape)
        elif isinstance(result, (list, tuple)):
            for each in result:
                self.counted(each)
        return result

    def guarded(self, node: ast.AST, compute: Callable, arguments: Sequence, keywords: dict = _NONE):
        """compute(…), where what torch says of it is told with the operation and the shapes."""
        self.guard.operation()
        try:
            with self.guard.sizes.where_needed(getattr(compute, "__name__", ""), (*arguments, *keywords.values())):
                return compute(*arguments, **keywords)
        except (RunError, LimitError):
            raise
        except TapeError as error:
            error.add_note(f"in {self.text(node)}")
            raise
        except (RuntimeError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as error:
            said = in_words(str(error).split("\n")[0].rstrip("."))
            raise RunError(f"{self.text(node)}{shapes(arguments)}: {said}.") from error


class Gradients(list):
    """What `grad` gives, and for each None why it is one."""

    def __init__(self, gradients: Sequence[Variable | None], loss: Variable, wanted: Sequence[Variable]):
        super().__init__(gradients)
        self.reasons = [f"no gradient of {loss.name} came to {x.name}, which makes it a known zero" for x in wanted]


def fields_of(value: tuple) -> list[str]:
    """The names that torch gives to several results."""
    return [name for name in FIELDS if hasattr(value, name)] or ["without names: take them apart, a, b = …"]


def is_number(value) -> bool:
    return isinstance(value, Real)


def is_condition(value) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bool


def is_raw(value) -> bool:
    """A tensor of numbers that is no Variable."""
    return isinstance(value, torch.Tensor) and value.dtype != torch.bool


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
