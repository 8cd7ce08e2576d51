"""`Operators`: what a Variable and a symbol can do. Python's operators stand here, the methods come from the others."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, Self

import torch

from . import linear, places, pointwise, shapes
from .calls import FUNCTIONS, METHODS, UnsupportedError, called, publish
from .table import Op


def of_two(op: Op) -> Callable:
    return called(op.name, lambda self, other: op(self, other))


def swapped(op: Op) -> Callable:
    return called(op.name, lambda self, other: op(other, self))


def number_last(op: Op) -> Callable:
    """Swapped, but for a number, which stands on the right."""
    return called(op.name, lambda self, other: op(self, other) if isinstance(other, Real) else op(other, self))


class Operators:
    """Base of Variables and symbols. `bind` is given an operator and its arguments."""

    __slots__ = ()
    shape: Any
    dtype: torch.dtype
    named: Callable[[str, Callable], Any]  # what is computed, its result under this name

    __add__, __radd__ = of_two(pointwise.add), number_last(pointwise.add)
    __sub__, __rsub__ = of_two(pointwise.sub), swapped(pointwise.sub)
    __mul__, __rmul__ = of_two(pointwise.mul), number_last(pointwise.mul)
    __truediv__, __rtruediv__ = of_two(pointwise.div), swapped(pointwise.div)
    __pow__, __rpow__ = of_two(pointwise.pow), swapped(pointwise.pow)
    __mod__, __rmod__ = of_two(pointwise.remainder), swapped(pointwise.remainder)
    __matmul__, __rmatmul__ = of_two(linear.matmul), swapped(linear.matmul)

    def __floordiv__(self, other) -> Self:
        return self.div(other, rounding_mode="floor")

    def __rfloordiv__(self, other) -> Self:
        return pointwise.step(other / self, "floor")

    def __neg__(self) -> Self:
        return pointwise.neg(self)

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Self:
        return pointwise.abs(self)

    def __getitem__(self, index) -> Self:
        """x[index]: ints, slices, None, …, lists, and integer or boolean tensors, as in torch."""
        return places.index(self, places.parts_of(index))

    def __setitem__(self, index, value) -> None:
        raise UnsupportedError(
            "x[…] = value: a value never changes, since a rule may have kept it. Make the new one: "
            "y = x.index_put((index,), values), x.scatter(dim, index, source), or where(condition, a, x)."
        )

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> Self:
        return shapes.reversed_dims(self)

    @property
    def mT(self) -> Self:
        return shapes.transpose(self, -2, -1)


# What torch has under several names.
OTHER_NAMES = {
    "mul": "multiply", "sub": "subtract", "div": "divide true_divide", "abs": "absolute", "neg": "negative",
    "cat": "concat concatenate", "vstack": "row_stack", "transpose": "swapaxes swapdims", "movedim": "moveaxis",
    "clamp": "clip", "trunc": "fix", "sigmoid": "expit", "logsigmoid": "log_sigmoid", "threshold": "_threshold",
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "atan2": "arctan2", "digamma": "psi", "lgamma": "gammaln", "outer": "ger", "addmm": "addmv baddbmm",
    "mvlgamma": "multigammaln", "inv": "inverse", "pinv": "pinverse", "trapezoid": "trapz", "view_as": "reshape_as",
    "zeros_like": "empty_like", "chunk": "unsafe_chunk", "split": "unsafe_split",
    "positive": "real conj conj_physical resolve_conj resolve_neg",  # all numbers are real here
}  # fmt: skip
# Which torch has twice, since one of them is a view.
COPIES = "diagonal expand narrow permute select squeeze t transpose unbind unfold unsqueeze view split_with_sizes"

for _name, _others in OTHER_NAMES.items():
    for _other in _others.split():
        publish(_other, FUNCTIONS[_name])
for _name in COPIES.split():
    publish(f"{_name}_copy", METHODS[_name])
for _name, _method in METHODS.items():
    setattr(Operators, _name, _method)
