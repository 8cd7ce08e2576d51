"""What a function of torch would make, seen before it is made.

An operator may make much more than it is given, in a step that no list of operators foresees: repeat_interleave(10**9),
diag_embed of a long row, mse_loss of a column and a row, whose result is one number. So while one runs in a program,
what it calls is asked first, on tensors that have a shape and no memory, and each step within it is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real

import torch
from torch.overrides import TorchFunctionMode

from ..engine import Variable
from ..ops import TABLE
from ..torch_private import TorchDispatchMode
from ..trace import LimitError

COUNTS = {"repeat_interleave", "combinations", "mvlgamma"}  # which make so many, whatever their result is
LAID_OVER = {"dist", "soft_margin_loss"}  # which lay their tensors over one another within one step of torch
COUNTED = ("r", "p", "repeats", "chunks", "sections", "indices_or_sections", "indices")  # what they call the number
SPLITS = {"tensor_split", "hsplit", "vsplit", "dsplit", "chunk", "unsafe_chunk"}  # which take a number of parts

MOST_WEIGHT = 1e20  # more is as much

# Beside whose tensors a number makes nothing larger.
OPERANDS = {op.name for op in TABLE.values() if op.pointwise} | {"truediv", "floordiv", "mod", "rmul", "radd", "rsub"}


class SizesFirst(TorchFunctionMode):
    """`fits` is given the shape of whatever is about to be made, and raises where it is too large; `most`: how many
    elements it lets pass, `within`: how many in a step on the way. `computes` is told of each call, or of how
    many, `parts` how many results one has."""

    def __init__(
        self,
        fits: Callable[[Sequence[int]], None],
        most: int,
        within: int,
        computes: Callable[..., None],
        parts: Callable[[int], None],
    ):
        super().__init__()
        self.fits = fits
        self.most = most
        self.steps = Steps(fits, within)
        self.computes = computes
        self.parts = parts
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
        if name == "polygamma":
            self.computes(rounds_of(args) // 20)
        if name in SPLITS | COUNTS:
            self.fits((count_of(name, *args, **kwargs),))
        given = list(parts_of([args, *kwargs.values()]))
        if name.strip("_") in OPERANDS:
            growth = math.prod(each.numel() or 1 for each in given if isinstance(each, torch.Tensor))
        else:
            growth = math.prod(map(weight, given))
        if not growth <= self.most:  # nan is not
            self.ask(func, args, kwargs)
        made = func(*args, **kwargs)
        if isinstance(made, (list, tuple)):
            self.parts(len(made))
        return made

    def within(self, compute: Callable, *args: object):
        """torch takes a mode away while it is asked; what is called here is asked again."""
        depth, self.depth = self.depth, 0
        try:
            with self:
                return compute(*args)
        finally:
            self.depth = depth

    def ask(self, func: Callable, args: Sequence, kwargs: dict) -> None:
        given = [args, *kwargs.values()]
        if func.__name__ in LAID_OVER:
            self.steps.laid_over(given)
        if func.__name__ == "__getitem__":
            args = (args[0], without_masks(args[1]))
        try:
            with torch.device("meta"), self.steps:
                made = func(*map(without_memory, args), **{k: without_memory(each) for k, each in kwargs.items()})
        except LimitError:
            raise
        except Exception:  # torch says it better; or it depends on the numbers, as masked_select does
            self.steps.laid_over(given)
            return
        for each in parts_of(made):
            if isinstance(each, torch.Tensor):
                self.fits(each.shape)


class Steps(TorchDispatchMode):
    """The steps within a function of torch, where it is asked. None may make more than `most` elements."""

    def __init__(self, fits: Callable[[Sequence[int]], None], most: int):
        super().__init__()
        self.fits = fits
        self.most = most

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not: torch would load its compiler for it, a second of the first run."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in parts_of(made):
            if isinstance(each, torch.Tensor) and each.numel() > self.most:
                self.fits(each.shape)
        return made

    def laid_over(self, given: Sequence) -> None:
        """That these tensors make not too much where each is laid over the others."""
        try:
            shape = torch.broadcast_shapes(*[each.shape for each in parts_of(given) if isinstance(each, torch.Tensor)])
        except RuntimeError:  # they do not fit one another
            return
        if math.prod(shape) > self.most:
            self.fits(shape)


def rounds_of(given: Sequence) -> int:
    """How often torch's polygamma goes on by 1, until what is below zero is above it: within one step, nobody asks."""
    x = next(each for each in given if isinstance(each, torch.Tensor))
    return int((-x.detach()).nan_to_num(0.0).clamp(0.0, 1e7).sum(dtype=torch.float64))


def count_of(name: str, x: torch.Tensor, *given: object, **named: object) -> int:
    """How many parts there will be, or elements along a dimension that is repeated, or that each element becomes."""
    first = given[0] if given else next((named[each] for each in COUNTED if each in named), 1)
    if not isinstance(first, (int, torch.Tensor)):
        return 1
    if name in SPLITS:
        return int(first) if isinstance(first, int) else first.numel()
    if name == "mvlgamma":
        return int(first) * x.numel()
    if name == "combinations":  # of which torch makes a condition for each way to take r, before it chooses
        return max(x.numel(), 2) ** min(int(first), 64) // 200 if int(first) > 0 else 0
    repeats = torch.as_tensor(first)
    return int(repeats.sum()) * (x.numel() if repeats.numel() == 1 else 1)


def parts_of(given: object) -> Iterator:
    if isinstance(given, (list, tuple)):
        for each in given:
            yield from parts_of(each)
    else:
        yield given


def weight(given: object) -> float:
    """How many times larger a result may be for this argument, at most: vander makes a square of a row."""
    if isinstance(given, torch.Tensor):
        return max(given.numel(), 1.0) ** 2
    size = max(min(abs(given), MOST_WEIGHT), 1.0) if isinstance(given, Real) else 1.0
    return size**2 if isinstance(given, int) else size


def without_masks(index: object) -> tuple:
    """The places that an index chooses, where a part of it is a condition: how many depends on its numbers."""
    found: list = []
    for each in index if isinstance(index, tuple) else (index,):
        is_mask = isinstance(each, torch.Tensor) and each.dtype == torch.bool
        found += each.nonzero(as_tuple=True) if is_mask and each.ndim else [each]
    return tuple(found)


def without_memory(given):
    if isinstance(given, torch.Tensor):
        return given.to("meta")
    if isinstance(given, (list, tuple)):
        return type(given)([without_memory(each) for each in given])
    return torch.device("meta") if isinstance(given, torch.device) else given
