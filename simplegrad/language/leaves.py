"""Functions of the program language that make leaves: tensor, rand, zeros, … They give tensors, of floats always."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from numbers import Real
from types import FunctionType

import torch

from .errors import RunError

Check = Callable[[tuple], None]

# What leaves are made of in this context; None: torch's default, which belongs to the process, so that a file that is
# being read in another thread may have another one for a moment.
leaf_dtype: ContextVar[torch.dtype | None] = ContextVar("simplegrad_leaf_dtype", default=None)


def dtype_of_leaves() -> torch.dtype:
    return leaf_dtype.get() or torch.get_default_dtype()


class Leaves:
    """What the language's `tensor(…)`, `rand(…)` and so on make. `fits` is told every shape before it is made."""

    def __init__(self, fits: Check = lambda shape: None):
        self.fits = fits
        self.seed = 0  # for a call that gives none

    def tensor(self, data) -> torch.Tensor:
        """tensor([1.0, 2.0]), tensor([[1, 2], [3, 4]]), tensor(2.0)"""
        check_size(data, self.fits)
        check_numbers(data)
        if are_answers(data):
            raise RunError("a tensor holds numbers. A condition is computed: tensor([1, 0]) > 0 for [True, False].")
        try:
            return torch.tensor(data, dtype=dtype_of_leaves())
        except (ValueError, TypeError) as error:
            said = str(error).split("\n")[0]
            raise RunError(f"all rows must be lists of the same length ({said}).") from None

    def rand(self, *sizes, seed=None) -> torch.Tensor:
        """rand(2, 3, seed=1): from 0 to 1, the same each time; without a seed, a seed by its place in the program"""
        return torch.rand(self.sizes(sizes), generator=self.generator(seed), dtype=dtype_of_leaves())

    def randn(self, *sizes, seed=None) -> torch.Tensor:
        """randn(2, 3, seed=1): around 0, with variance 1"""
        return torch.randn(self.sizes(sizes), generator=self.generator(seed), dtype=dtype_of_leaves())

    def zeros(self, *sizes) -> torch.Tensor:
        return torch.zeros(self.sizes(sizes), dtype=dtype_of_leaves())

    def ones(self, *sizes) -> torch.Tensor:
        return torch.ones(self.sizes(sizes), dtype=dtype_of_leaves())

    def full(self, size, fill_value) -> torch.Tensor:
        return torch.full(self.sizes((size,)), float(number(fill_value)), dtype=dtype_of_leaves())

    def eye(self, n, m=None) -> torch.Tensor:
        return torch.eye(*self.sizes((n, n if m is None else m)), dtype=dtype_of_leaves())

    def arange(self, start, end=None, step=1) -> torch.Tensor:
        """arange(6), arange(1, 7), arange(0, 1, 0.25)"""
        start, end = (0, start) if end is None else (start, end)
        if not number(step):
            raise RunError("the step must not be 0.")
        self.fits((max(math.ceil((number(end) - number(start)) / step), 0),))
        return torch.arange(start, end, step, dtype=dtype_of_leaves())

    def linspace(self, start, end, steps) -> torch.Tensor:
        return torch.linspace(float(number(start)), float(number(end)), *self.sizes((steps,)), dtype=dtype_of_leaves())

    def sizes(self, sizes: tuple) -> tuple[int, ...]:
        sizes = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
        for size in sizes:
            if not isinstance(size, int) or size < 0:
                raise RunError(f"sizes are whole numbers, not {shown(size)}: rand(2, 3) has 2 rows of 3.")
        self.fits(sizes)
        return sizes

    def generator(self, seed) -> torch.Generator:
        if seed is not None and not isinstance(seed, int):
            raise RunError(f"seed is a whole number, not {shown(seed)}.")
        return torch.Generator().manual_seed((self.seed if seed is None else seed) % (1 << 63))


LEAVES = ("tensor", "rand", "randn", "zeros", "ones", "full", "eye", "arange", "linspace")
RANDOM = ("rand", "randn")


def check_size(data, fits: Check) -> None:
    """That a list of lists is not too large: a = [a, a], thirty times, is short to write and endless to walk."""
    waiting, count = [data], 0
    while waiting:
        each = waiting.pop()
        if isinstance(each, (list, tuple)):
            count += len(each)
            fits((count,))
            waiting += each


def check_numbers(data) -> None:
    for each in data if isinstance(data, (list, tuple)) else ():
        check_numbers(each)
    if not isinstance(data, (list, tuple, Real)):
        joins = "To join what was computed, use stack([x, y]); for a copy, x.clone(); for a constant, x.detach()"
        raise RunError(f"a tensor holds numbers, not {shown(data)}. {joins}.")


def are_answers(data) -> bool:
    """Whether it is of True and False alone."""
    return all(map(are_answers, data)) and bool(data) if isinstance(data, (list, tuple)) else isinstance(data, bool)


def number(value) -> float:
    if not isinstance(value, Real):
        raise RunError(f"expected a number, not {shown(value)}.")
    return value


def shown(value) -> str:
    """A value of the language, in words."""
    if value is None:
        return "None"
    if hasattr(value, "node"):  # a symbol, while an expression is compiled
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, torch.Tensor):
        return f"a {'condition' if value.dtype == torch.bool else 'raw tensor'} of shape {tuple(value.shape)}"
    if hasattr(value, "shape"):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, FunctionType):
        return f"the function {value.__name__}"
    if hasattr(value, "propagate"):
        return "a TapeEntry"
    return repr(value)[:40]
