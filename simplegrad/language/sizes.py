"""What a function of torch would make, seen before it is made.

An operator may make much more than it is given, in a step that no list of operators foresees: repeat_interleave(10**9),
diag_embed of a long row. So while one runs in a program, what it calls is asked first, on tensors that have a shape and
no memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch.overrides import TorchFunctionMode

from ..engine import Variable
from ..ops import TABLE

# Whose results grow faster than the product of all that they are given, by name.
GROWS = {"combinations", "diag_embed", "diagflat", "diag", "cov", "corrcoef", "pdist"}
SPLITS = {"tensor_split", "hsplit", "vsplit", "dsplit", "chunk", "unsafe_chunk"}  # which take a number of parts

# Beside whose tensors a number makes nothing larger.
OPERANDS = {op.name for op in TABLE.values() if op.pointwise} | {"truediv", "floordiv", "mod", "rmul", "radd", "rsub"}


class SizesFirst(TorchFunctionMode):
    """`fits` is given the shape of whatever is about to be made, and raises where it is too large; `most`: how many
    elements it lets pass. `computes` is told of each call."""

    def __init__(self, fits: Callable[[Sequence[int]], None], most: int, computes: Callable[[], None]):
        super().__init__()
        self.fits = fits
        self.most = most
        self.computes = computes
        self.depth = 0  # what is within it already is not asked twice

    def __enter__(self) -> SizesFirst:
        self.depth += 1
        return super().__enter__() if self.depth == 1 else self

    def __exit__(self, *error: object) -> None:
        self.depth -= 1
        if not self.depth:
            super().__exit__(*error)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if Variable in types:
            return self.within(Variable.__torch_function__, func, types, args, kwargs)
        self.computes()
        name = getattr(func, "__name__", "")
        if name in SPLITS or name == "repeat_interleave":
            self.fits((count_of(name, *args, **kwargs),))
        parts = parts_of([args, *kwargs.values()])
        if name.strip("_") in OPERANDS:
            parts = (each for each in parts if not isinstance(each, int))
        if name in GROWS or math.prod(map(weight, parts)) > self.most:
            self.ask(func, args, kwargs)
        return func(*args, **kwargs)

    def within(self, compute: Callable, *args: object):
        """torch takes a mode away while it is asked; what is called here is asked again."""
        depth, self.depth = self.depth, 0
        try:
            with self:
                return compute(*args)
        finally:
            self.depth = depth

    def ask(self, func: Callable, args: Sequence, kwargs: dict) -> None:
        try:
            with torch.device("meta"):
                made = func(*map(without_memory, args), **{k: without_memory(each) for k, each in kwargs.items()})
        except Exception:  # which torch itself says better; or its result is no larger than what it is given
            return
        for each in parts_of(made):
            if isinstance(each, torch.Tensor):
                self.fits(each.shape)


def count_of(name: str, x: torch.Tensor, *given: object, **named: object) -> int:
    """How many parts there will be, or elements along a dimension that is repeated."""
    first = next(iter((*given, *named.values())), 1)
    if not isinstance(first, (int, torch.Tensor)):
        return 1
    if name in SPLITS:
        return int(first) if isinstance(first, int) else first.numel()
    repeats = torch.as_tensor(first)
    return int(repeats.sum()) * (x.numel() if repeats.numel() == 1 else 1)


def parts_of(given: object) -> Iterator:
    if isinstance(given, (list, tuple)):
        for each in given:
            yield from parts_of(each)
    else:
        yield given


def weight(given: object) -> int:
    """How many times larger a result may be for this argument, at most."""
    if isinstance(given, torch.Tensor):
        return max(given.numel(), 1)
    return max(given * given, 1) if isinstance(given, int) else 1


def without_memory(given):
    if isinstance(given, torch.Tensor):
        return given.to("meta")
    if isinstance(given, (list, tuple)):
        return type(given)([without_memory(each) for each in given])
    return torch.device("meta") if isinstance(given, torch.device) else given
