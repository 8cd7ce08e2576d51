"""What a function of torch would make, seen before it is made.

An operator may make much more than it is given, in a step that no list of operators foresees: repeat_interleave(10**9),
diag_embed of a long row, mse_loss of a column and a row, whose result is one number. So where its arguments might allow
that, what it calls is asked first, on tensors that have a shape and no memory, and each step within it is looked at.
What was asked once is known: an answer depends on shapes and numbers that are not in tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from numbers import Real

import torch
from torch.overrides import TorchFunctionMode

from ..engine import Variable
from ..engine.tape import HandWritten
from ..ops import TABLE
from ..torch_private import TorchDispatchMode
from .leaves import LEAVES

COUNTS = {"repeat_interleave", "combinations", "mvlgamma"}  # which make so many, whatever their result is
LAID_OVER = {"dist", "soft_margin_loss"}  # which lay their tensors over one another within one step of torch
COUNTED = ("r", "p", "repeats", "chunks", "sections", "indices_or_sections", "indices")  # what they call the number
SPLITS = {"tensor_split", "hsplit", "vsplit", "dsplit", "chunk", "unsafe_chunk"}  # which take a number of parts

MOST_WEIGHT = 1e20  # more is as much
TENSORS = (Variable, torch.Tensor)

NOTHING = nullcontext()
SLOW = {"polygamma"}  # which takes its time over a few elements
ASKED = SLOW | COUNTS | LAID_OVER | SPLITS
# As large as their tensors laid over one another, whatever numbers stand beside them.
OPERANDS = {op.name for op in TABLE.values() if op.pointwise} | {"truediv", "floordiv", "mod", "rmul", "radd", "rsub"}
OPERANDS -= ASKED
# As large as one tensor for each element of another, at most.
PRODUCTS = {op.name for op in TABLE.values() if op.alike} - OPERANDS
PRODUCTS |= {"matmul", "sum", "mean", "amax", "logsumexp", "sum_to_size", "item"}
PRODUCTS |= {"reshape", "view", "transpose", "permute", "t", "T", "mT", "squeeze", "unsqueeze", "flatten"}
# Whose vjps make nothing larger than what they are of.
NEVER_LARGER = OPERANDS | PRODUCTS | {op.name for op in TABLE.values() if op.shapes}


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
        self.most_within = within
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
        name = func.__name__
        if name == "__get__":  # a shape, a dtype: most calls are this
            return func(*args)
        kwargs = kwargs or {}
        if Variable in types:
            return self.within(Variable.__torch_function__, func, types, args, kwargs)
        self.computes()
        if name in SLOW:
            self.computes(rounds_of(args) // 20)
        if name in SPLITS | COUNTS:
            self.fits((count_of(name, *args, **kwargs),))
        if self.may_grow(name, [args, *kwargs.values()]):
            self.ask(func, args, kwargs)
        made = func(*args, **kwargs)
        if isinstance(made, (list, tuple)):
            self.parts(len(made))
        return made

    def where_needed(self, name: str, given: Sequence) -> AbstractContextManager:
        """Itself, to call a function of this name with; where that can make nothing large, nothing."""
        is_large = name in ASKED or name not in LEAVES and self.may_grow(name, given)  # a leaf sees to its own size
        return self if is_large else NOTHING

    def around(self, row: tuple) -> AbstractContextManager:
        """Itself, to propagate an entry with; see rows.py."""
        if row[0].__class__ is HandWritten:
            shapes = (*row[0].input_shapes, *row[6])
            return self if math.prod([max(math.prod(shape), 1) ** 2 for shape in shapes]) > self.most else NOTHING
        return NOTHING if row[0].op.name in NEVER_LARGER else self

    def may_grow(self, name: str, given: Sequence) -> bool:
        """Whether it may make more than `most` elements, as far as its name and the sizes of its arguments say."""
        name, parts = name.strip("_"), parts_of(given)
        if name in OPERANDS:
            return laid_over(given).numel() > self.most
        if name in PRODUCTS:
            return math.prod([math.prod(x.shape) or 1 for x in parts if isinstance(x, TENSORS)]) > self.most
        return not math.prod(map(weight, parts)) <= self.most  # nan is not

    def within(self, compute: Callable, *args: object):
        """torch takes a mode away while it is asked; what is called here is asked again."""
        depth, self.depth = self.depth, 0
        try:
            with self:
                return compute(*args)
        finally:
            self.depth = depth

    def ask(self, func: Callable, args: Sequence, kwargs: dict) -> None:
        if func.__name__ == "__getitem__":
            args = (args[0], without_masks(args[1]))
        question = (func, frozen(args), frozen(tuple(kwargs.items())), self.most, self.most_within)
        try:
            shape = too_large(*question)
        except TypeError:  # of a generator, a dictionary, there is no hash
            shape = too_large.__wrapped__(*question)
        if shape is not None:
            self.fits(shape)


@lru_cache(maxsize=4096)
def too_large(func: Callable, args: tuple, kwargs: tuple, most: int, within: int) -> Sequence[int] | None:
    """The shape of what `func` would make, or of a step within it, where that is larger than it may be."""
    args, kwargs = without_memory(args), dict(without_memory(kwargs))
    given = [args, *kwargs.values()]
    laid = laid_over(given)
    if func.__name__ in LAID_OVER and laid.numel() > within:
        return laid
    try:
        with torch.device("meta"), Steps(within):
            made = func(*args, **kwargs)
    except TooLarge as found:
        return found.shape
    except Exception:  # torch says it better; or it depends on the numbers, as masked_select does
        return laid if laid.numel() > within else None
    return next((x.shape for x in parts_of(made) if isinstance(x, torch.Tensor) and x.numel() > most), None)


class TooLarge(Exception):
    """A step would make this shape."""

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.shape = shape


class Steps(TorchDispatchMode):
    """The steps within a function of torch, where it is asked. None may make more than `most` elements."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not: torch would load its compiler for it, a second of the first run."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in parts_of(made):
            if isinstance(each, torch.Tensor) and each.numel() > self.most:
                raise TooLarge(each.shape)
        return made


def laid_over(given: Sequence) -> torch.Size:
    """The shape of these tensors where each is laid over the others; () where they do not fit one another."""
    try:
        return torch.broadcast_shapes(*[x.shape for x in parts_of(given) if isinstance(x, TENSORS)])
    except RuntimeError:
        return torch.Size()


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
    if isinstance(given, TENSORS):
        return max(math.prod(given.shape), 1.0) ** 2
    return max(min(abs(given), MOST_WEIGHT), 1.0) ** 2 if isinstance(given, Real) else 1.0


def without_masks(index: object) -> tuple:
    """The places that an index chooses, where a part of it is a condition: how many depends on its numbers."""
    found: list = []
    for each in index if isinstance(index, tuple) else (index,):
        is_mask = isinstance(each, torch.Tensor) and each.dtype == torch.bool
        found += each.nonzero(as_tuple=True) if is_mask and each.ndim else [each]
    return tuple(found)


def frozen(given: object) -> tuple:
    """What it is, without its numbers: what an answer depends on."""
    if isinstance(given, torch.Tensor):
        return torch.Tensor, (given.shape, given.dtype)
    if isinstance(given, (list, tuple)):
        return list if isinstance(given, list) else tuple, tuple(map(frozen, given))
    return type(given), given  # 1 is not True


def without_memory(found: tuple) -> object:
    """Of `frozen` what it was, its tensors without memory."""
    kind, given = found
    if kind is torch.Tensor:
        return torch.empty(given[0], dtype=given[1], device="meta")
    if kind is list or kind is tuple:
        return kind(map(without_memory, given))
    return torch.device("meta") if isinstance(given, torch.device) else given
