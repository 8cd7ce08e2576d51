"""The operators as people call them: torch's names and arguments, once for Variables and symbols alike.

A method makes of torch's arguments those of the operator in the table (`dim` a number, a tuple or None; sizes a tuple),
or is composed of others. `FUNCTIONS` are the same as functions: torch.tanh(x), torch.nn.functional.relu(x), tanh(x).
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from numbers import Real
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch

from . import choosing, joining, linear, pointwise, reductions, shapes
from .table import TABLE, Op

Dim = int | Sequence[int] | None
X = TypeVar("X")
MOST_DECIMALS = 300  # that round takes: floats have no more


class UnsupportedError(TypeError):
    """Arguments that torch takes and this operator does not. The message says which, and what to write instead."""


def dims_of(dim: Dim) -> int | tuple[int, ...] | None:
    if isinstance(dim, (list, tuple)):
        return (tuple(dim) if len(dim) > 1 else dim[0]) if dim else None
    return dim


def sizes_of(sizes: tuple) -> tuple:
    """f(2, 3), f((2, 3)) and f(*x.shape) alike."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def of_two(op: Op) -> Callable[[X, Any], X]:
    def method(self, other):
        return op(self, other)

    return called(op.name, method)


def swapped(op: Op) -> Callable[[X, Any], X]:
    def method(self, other):
        return op(other, self)

    return called(op.name, method)


def number_last(op: Op) -> Callable[[X, Any], X]:
    """Swapped, but for a number, which stands on the right."""

    def method(self, other):
        return op(self, other) if isinstance(other, Real) else op(other, self)

    return called(op.name, method)


def stepping(name: str) -> Callable[[X], X]:
    """Constant between steps: its gradient is 0."""

    def method(self):
        return pointwise.step(self, name)

    return called(name, method)


def casting(dtype: torch.dtype) -> Callable[[X], X]:
    def method(self, memory_format=None):
        return self.to(dtype)

    return called(str(dtype).removeprefix("torch."), method)


def called(name: str, method: Callable) -> Callable:
    method.__name__ = method.__qualname__ = name  # which messages say
    return method


class Operators:
    """What a Variable and a symbol can do. `bind` is given an operator and its arguments."""

    __slots__ = ()
    shape: Any
    dtype: torch.dtype
    named: Callable[[str, Callable], Any]  # what is computed, its result under this name

    @property
    def ndim(self) -> int:
        return len(self.shape)

    # --- arithmetic ------------------------------------------------------------------------------------------------

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

    def add(self, other, *, alpha: Real = 1) -> Self:
        return self + (other if alpha == 1 else other * alpha)

    def sub(self, other, *, alpha: Real = 1) -> Self:
        return self - (other if alpha == 1 else other * alpha)

    def rsub(self, other, *, alpha: Real = 1) -> Self:
        return other - (self if alpha == 1 else self * alpha)

    def mul(self, other) -> Self:
        return self * other

    def div(self, other, *, rounding_mode: str | None = None) -> Self:
        if rounding_mode not in (None, "floor", "trunc"):
            raise UnsupportedError(f"div(…, rounding_mode={rounding_mode!r}): expected None, 'floor' or 'trunc'.")
        quotient = self / other
        return quotient if rounding_mode is None else pointwise.step(quotient, rounding_mode)

    def pow(self, exponent) -> Self:
        return self**exponent

    def remainder(self, other) -> Self:
        return self % other

    atan2, hypot, xlogy = of_two(pointwise.atan2), of_two(pointwise.hypot), of_two(pointwise.xlogy)

    def neg(self) -> Self:
        return -self

    def matmul(self, other) -> Self:
        """torch's matmul: vectors, matrices and batches of them."""
        return self @ other

    def outer(self, vec2) -> Self:
        check_dims("outer", (self, vec2), (1, 1))
        return self.unsqueeze(-1) * vec2

    # --- functions of each element -----------------------------------------------------------------------------------

    # exp, sin, tanh, … need no more than their lines in the table: see `method_of`. Their names, for editors:

    if TYPE_CHECKING:

        def of_each_element(self) -> Self: ...

        exp = exp2 = expm1 = log = log2 = log10 = log1p = sqrt = rsqrt = square = reciprocal = of_each_element
        sin = cos = tan = asin = acos = atan = sinh = cosh = tanh = asinh = acosh = atanh = erf = of_each_element
        erfc = erfinv = lgamma = digamma = sigmoid = of_each_element

    def polygamma(self, n: int) -> Self:
        return pointwise.polygamma(self, n)

    def relu(self, inplace: bool = False) -> Self:
        _not_in_place("relu", inplace)
        return pointwise.relu(self)

    def abs(self) -> Self:
        return abs(self)

    def silu(self, inplace: bool = False) -> Self:
        """x * sigmoid(x)"""
        _not_in_place("silu", inplace)
        return self * self.sigmoid()

    def gelu(self, approximate: str = "none") -> Self:
        if approximate == "tanh":
            inner = (self + self**3 * 0.044715) * math.sqrt(2 / math.pi)
            return self * 0.5 * (inner.tanh() + 1)
        if approximate != "none":
            raise UnsupportedError(f"gelu(…, approximate={approximate!r}): expected 'none' or 'tanh'.")
        return self * 0.5 * ((self * math.sqrt(0.5)).erf() + 1)

    def softplus(self, beta: Real = 1, threshold: Real = 20) -> Self:
        """log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold."""
        return pointwise.softplus(self, beta, threshold)

    def logsigmoid(self) -> Self:
        return pointwise.logsigmoid(self)

    floor, ceil, trunc, sign = stepping("floor"), stepping("ceil"), stepping("trunc"), stepping("sign")

    def round(self, *, decimals: int = 0) -> Self:
        if not isinstance(decimals, int) or abs(decimals) > MOST_DECIMALS:
            raise UnsupportedError(f"round: decimals is {decimals}; it must be a whole number from -300 to 300.")
        scale = 10**decimals
        return pointwise.step(self, "round") if not decimals else pointwise.step(self * scale, "round") / scale

    def clamp(self, min=None, max=None) -> Self:
        """Held between `min` and `max`, numbers or tensors."""
        if min is None and max is None:
            raise UnsupportedError("clamp: write min=…, max=… or both.")
        if all(end is None or isinstance(end, Real) for end in (min, max)):
            return pointwise.clamp(self, min, max)
        held = self if min is None else where((self < min) | (min != min), min, self)  # NaN holds nothing
        return held if max is None else where((held > max) | (max != max), max, held)

    def logit(self, eps: Real | None = None) -> Self:
        return pointwise.logit(self if eps is None else self.clamp(eps, 1 - eps))

    # --- choosing ----------------------------------------------------------------------------------------------------

    def maximum(self, other) -> Self:
        return pointwise.clamp(self, other, None) if isinstance(other, Real) else choosing.maximum(self, other)

    def minimum(self, other) -> Self:
        return pointwise.clamp(self, None, other) if isinstance(other, Real) else choosing.minimum(self, other)

    def where(self, condition, other) -> Self:
        return where(condition, self, other)

    def masked_fill(self, mask, value) -> Self:
        """`value`, a number or a scalar, where the mask is True."""
        return choosing.masked(self, mask) if isinstance(value, Real) and value == 0 else where(mask, value, self)

    def triu(self, diagonal: int = 0) -> Self:
        return shapes.triu(self, diagonal)

    def tril(self, diagonal: int = 0) -> Self:
        return shapes.tril(self, diagonal)

    # --- reductions --------------------------------------------------------------------------------------------------

    def sum(self, dim=None, keepdim: bool = False, name: str | None = None, *, dtype=None) -> Self:
        """The sum over `dim`: an int, several, or None for all. `name` names the result, as in the notebook."""
        if isinstance(dim, str):  # the notebook's x.sum('L0')
            dim, name = None, dim
        if name is not None:
            return self.named(name, lambda: self.sum(dim, keepdim, dtype=dtype))
        return reductions.sum(_to(self, dtype), dims_of(dim), bool(keepdim))

    def mean(self, dim: Dim = None, keepdim: bool = False, *, dtype=None) -> Self:
        return reductions.mean(_to(self, dtype), dims_of(dim), bool(keepdim))

    def amax(self, dim: Dim = None, keepdim: bool = False) -> Self:
        return reductions.amax(self, dims_of(dim), bool(keepdim))

    def amin(self, dim: Dim = None, keepdim: bool = False) -> Self:
        return -((-self).amax(dim, keepdim))

    def max(self, dim=None, keepdim: bool = False):
        """The largest of all; along `dim`, (values, indices); of two tensors, the larger of each pair."""
        return _extreme(self, "max", dim, keepdim)

    def min(self, dim=None, keepdim: bool = False):
        return _extreme(self, "min", dim, keepdim)

    def var(self, dim: Dim = None, unbiased: bool | None = None, keepdim: bool = False, *, correction=None) -> Self:
        """The mean squared distance from the mean, of n elements over n - correction (1, unless it is said)."""
        if isinstance(dim, bool):  # torch's var(unbiased)
            dim, unbiased = None, dim
        if unbiased is not None:
            correction = int(unbiased)
        dim, less = dims_of(dim), 1 if correction is None else correction
        away = self - self.mean(dim, True)
        n = reductions.count(self.shape, dim)
        rest = n if less == 0 else n - less
        return (away * away).sum(dim, keepdim) / (max(rest, 0) if isinstance(rest, Real) else rest)

    def std(self, dim: Dim = None, unbiased: bool | None = None, keepdim: bool = False, *, correction=None) -> Self:
        return _root(self.var(dim, unbiased, keepdim, correction=correction))

    def norm(self, p="fro", dim: Dim = None, keepdim: bool = False, dtype=None) -> Self:
        if p == "nuc":
            return FUNCTIONS["matrix_norm"](self, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
        return vector_norm(self, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)

    def prod(self, dim: int | None = None, keepdim: bool = False, *, dtype=None) -> Self:
        """The product along a dimension, pairs first, so that its gradients are right where there are zeros too."""
        x = _to(self, dtype)
        if x.shape == ():
            return x.clone()
        x, dim = (x.reshape(-1), 0) if dim is None else (x, dim)
        return _product(x, dim, keepdim) if isinstance(x.shape[dim], int) else reductions.prod(x, dim, bool(keepdim))

    def cumsum(self, dim: int, *, dtype=None) -> Self:
        return reductions.cumsum(_to(self, dtype), dim)

    def logsumexp(self, dim: Dim = None, keepdim: bool = False) -> Self:
        return reductions.logsumexp(self, dims_of(dim), bool(keepdim))

    def softmax(self, dim: int | None = -1, dtype=None, _stacklevel: int = 3) -> Self:
        return reductions.softmax(_to(self, dtype), _of_softmax(self, dim))

    def log_softmax(self, dim: int | None = -1, dtype=None, _stacklevel: int = 3) -> Self:
        return reductions.log_softmax(_to(self, dtype), _of_softmax(self, dim))

    # --- shapes ------------------------------------------------------------------------------------------------------

    def expand(self, *sizes: int, size=None) -> Self:
        """Repeat dimensions of size 1 (and new ones in front) without copying, to the given sizes (-1: as it is)."""
        return shapes.expand(self, sizes_of(sizes if size is None else (size,)))

    def expand_as(self, other) -> Self:
        return self.expand(other.shape)

    def sum_to_size(self, *size: int) -> Self:
        """The backward of `expand`: sum what broadcasting repeated, until the shape is `size`."""
        return shapes.sum_to_size(self, sizes_of(size))

    def reshape(self, *sizes: int, shape: Sequence[int] | None = None) -> Self:
        return shapes.reshape(self, sizes_of(sizes if shape is None else (shape,)))

    def view(self, *shape: int) -> Self:
        return self.to(shape[0]) if isinstance(shape[0], torch.dtype) else shapes.reshape(self, sizes_of(shape))

    def view_as(self, other) -> Self:
        return self.reshape(other.shape)

    reshape_as = view_as

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
        return shapes.flatten(self, start_dim, end_dim)

    def unflatten(self, dim: int, sizes) -> Self:
        dim %= self.ndim
        return self.reshape(*self.shape[:dim], *sizes, *self.shape[dim + 1 :])

    def squeeze(self, *dims, dim=None) -> Self:
        dims = dims if dim is None else (dim,)
        return shapes.squeeze(self, None if not dims else dims[0] if isinstance(dims[0], int) else tuple(dims[0]))

    def unsqueeze(self, dim: int) -> Self:
        return shapes.unsqueeze(self, dim)

    def transpose(self, dim0: int, dim1: int) -> Self:
        return shapes.transpose(self, dim0, dim1)

    def t(self) -> Self:
        return shapes.t(self)

    @property
    def T(self) -> Self:
        return shapes.reversed_dims(self)

    @property
    def mT(self) -> Self:
        return shapes.transpose(self, -2, -1)

    def adjoint(self) -> Self:
        return self.mT

    def permute(self, *order: int, dims: Sequence[int] | None = None) -> Self:
        return shapes.permute(self, tuple(sizes_of(order if dims is None else (dims,))))

    def movedim(self, source, destination) -> Self:
        count = self.ndim
        source, destination = ([each % count for each in _listed(dims)] for dims in (source, destination))
        rest = iter(each for each in range(count) if each not in source)
        order = [source[destination.index(i)] if i in destination else next(rest) for i in range(count)]
        return self.permute(*order)

    def flip(self, *axes: int, dims: Sequence[int] | None = None) -> Self:
        return shapes.flip(self, sizes_of(axes if dims is None else (dims,)))

    def roll(self, shifts, dims=None) -> Self:
        if dims is None or dims == ():
            return self.flatten().roll(shifts, 0).reshape(self.shape)
        return shapes.roll(self, tuple(_listed(shifts)), tuple(_listed(dims)))

    def repeat(self, *times: int, repeats: Sequence[int] | None = None) -> Self:
        return shapes.repeat(self, sizes_of(times if repeats is None else (repeats,)))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Self, ...]:
        if isinstance(chunks, int) and chunks < 1:
            raise UnsupportedError(f"chunk: {chunks} parts; at least 1.")
        size = (self.shape[dim] + (chunks - 1)) // chunks
        return self.split(size, dim) if size else tuple(self.narrow(dim, 0, 0) for _ in range(chunks))

    def split(self, split_size, dim: int = 0) -> tuple[Self, ...]:
        """Parts of `split_size` along `dim`, the last one maybe shorter; or of the sizes in a list."""
        total = self.shape[dim]
        if isinstance(split_size, int):
            split_size = [min(split_size, total - at) for at in range(0, total, split_size or 1)] or [0]
        if sum(split_size) != total:
            raise UnsupportedError(
                f"split: sizes {list(split_size)} add up to {sum(split_size)}, dim {dim} is {total}."
            )
        ends = [0, *accumulate(split_size)]
        return tuple(self.narrow(dim, start, stop - start) for start, stop in zip(ends, ends[1:]))

    def narrow(self, dim: int, start, length) -> Self:
        start = int(start)
        start = start + self.shape[dim] if start < 0 else start
        return self[joining.along(dim, slice(start, start + length))]

    def select(self, dim: int, index: int) -> Self:
        return self[joining.along(dim, index)]

    def unbind(self, dim: int = 0) -> tuple[Self, ...]:
        return tuple(self.select(dim, i) for i in range(self.shape[dim]))

    def detach(self) -> Self:
        """The same value as a new leaf: no gradient flows through it."""
        return pointwise.detach(self)

    def unfold(self, dimension: int, size: int, step: int) -> Self:
        """Windows along a dimension, `step` apart; what is within one is a new last dimension."""
        x = self if self.ndim else self.reshape(1)
        dim = dimension % x.ndim
        places = torch.arange((x.shape[dim] - size) // step + 1).unsqueeze(1) * step + torch.arange(size)
        found = x[joining.along(dim, places)].movedim(dim + 1, -1)
        return found if self.ndim else found.reshape(size)

    def contiguous(self, memory_format=torch.contiguous_format) -> Self:
        return self

    def clone(self, *, memory_format=torch.preserve_format) -> Self:
        return pointwise.clone(self)

    # --- places ------------------------------------------------------------------------------------------------------

    def __getitem__(self, index) -> Self:
        """x[index]: ints, slices, None, …, lists, and integer or boolean tensors, as in torch."""
        return shapes.index(self, parts_of(index))

    def __setitem__(self, index, value) -> None:
        raise UnsupportedError(
            "x[…] = value: a value never changes, since a rule may have kept it. Make the new one: "
            "y = x.index_put((index,), values), x.scatter(dim, index, source), or where(condition, a, x)."
        )

    def gather(self, dim: int, index, *, sparse_grad: bool = False) -> Self:
        return shapes.gather(self, dim, index)

    def index_select(self, dim: int, index) -> Self:
        if self.shape == ():
            return self.reshape(1)[index].reshape(())
        return shapes.index(self, joining.along(dim, index))

    def masked_select(self, mask) -> Self:
        shape = torch.broadcast_shapes(self.shape, mask.shape)
        return self.expand(shape)[raw(mask).expand(shape)]

    def index_put(self, indices: Sequence, values, accumulate: bool = False) -> Self:
        """A new value, with `values` at these indices: what `x[indices] = values` is in place."""
        return shapes.index_put(self, tuple(indices), values, accumulate)

    def index_add(self, dim: int, index, source, *, alpha: Real = 1) -> Self:
        return shapes.index_add(self, dim, index, source if alpha == 1 else source * alpha)

    def scatter(self, dim: int, index, src=None, *, value: Real | None = None, reduce: str | None = None) -> Self:
        if reduce is not None:
            raise UnsupportedError("scatter(…, reduce=…) is not there on Variables; scatter_add adds.")
        source = value if src is None else src
        if isinstance(source, Real):
            return shapes.scattered_number(self, dim, index, source)
        return shapes.scatter(self, dim, index, source)

    def scatter_add(self, dim: int, index, src) -> Self:
        return shapes.scatter_add(self, dim, index, src)

    # --- dtypes ------------------------------------------------------------------------------------------------------

    def to(self, *args, dtype=None, **others) -> Self:
        """As another dtype. Devices are not changed: a Variable stays where its tensor is."""
        wanted = [dtype, *args]
        for each in [*wanted[1:], *others.values()]:
            if isinstance(each, (str, torch.device)) and torch.device(each).type != self.device.type:
                raise UnsupportedError(f"x.to({str(each)!r}): move the tensor before it becomes a Variable.")
        dtype = next((getattr(each, "dtype", each) for each in wanted if _has_dtype(each)), None)
        if dtype is not None and dtype.is_complex:
            raise UnsupportedError(f"x.to({dtype}): the engine computes with real numbers alone.")
        return self if dtype is None or dtype == self.dtype else shapes.cast(self, dtype, self.dtype)

    def type(self, dtype) -> Self:
        return self.to(dtype)

    def type_as(self, other) -> Self:
        return self.to(other.dtype)

    float, double = casting(torch.float32), casting(torch.float64)
    half, bfloat16 = casting(torch.float16), casting(torch.bfloat16)


def parts_of(index) -> tuple:
    """The parts of an index. A list of lists, slices or tensors is taken for a tuple of them, as torch does."""
    several = (list, tuple, slice, torch.Tensor, type(None), type(...))
    if isinstance(index, list) and any(isinstance(part, several) or hasattr(part, "shape") for part in index):
        return tuple(index)
    return index if isinstance(index, tuple) else (index,)


def raw(x):
    return getattr(x, "value", x)


def values_of(x):
    """The numbers of x alone, through which no gradient flows: a tensor, or what stands for one in the compiler."""
    weights = getattr(x, "weights", None)
    return torch.as_tensor(raw(x)).detach() if weights is None else weights


def _has_dtype(each: object) -> bool:
    return isinstance(each, torch.dtype) or isinstance(getattr(each, "dtype", None), torch.dtype)


def _to(x, dtype: torch.dtype | None):
    return x if dtype is None else x.to(dtype)


def _listed(x) -> list:
    return list(x) if isinstance(x, (tuple, list)) else [x]


def _not_in_place(name: str, inplace: bool) -> None:
    if inplace:
        raise UnsupportedError(f"{name}(…, inplace=True): a value never changes here. Write y = {name}(x).")


def _of_softmax(x, dim: int | None) -> int:
    """The dimension that torch.nn.functional takes where it is given None: the classes of (n, classes)."""
    return dim if dim is not None else 0 if x.ndim in (0, 1, 3) else 1


def _root(x):
    """The square root of what is not negative, whose gradient at 0 is 0, as torch's of std and norm."""
    zero = x == 0
    return choosing.masked(where(zero, 1.0, x).sqrt(), zero)


def _extreme(x, name: str, dim, keepdim: bool):
    if dim is None:
        return x.amax() if name == "max" else x.amin()
    if not isinstance(dim, int) or isinstance(dim, bool):
        return x.maximum(dim) if name == "max" else x.minimum(dim)
    values, indices = getattr(torch, name)(values_of(x), dim, True)
    found = x.gather(dim, indices) if x.ndim else x.clone()
    made = getattr(torch.return_types, name)
    return made((found if keepdim or not x.ndim else found.squeeze(dim), indices if keepdim else indices.squeeze(dim)))


def _product(x, dim: int, keepdim: bool):
    n = x.shape[dim]
    while n > 1:
        half = n // 2
        pairs = x.narrow(dim, 0, half) * x.narrow(dim, half, half)
        x = joining.cat([pairs, x.narrow(dim, 2 * half, n - 2 * half)], dim) if n % 2 else pairs
        n = x.shape[dim]
    if n == 0:
        return x.sum(dim, keepdim) + 1
    return x if keepdim else x.squeeze(dim)


def where(condition, a, b):
    """a where the condition (boolean, no gradient flows through it) is True, else b; one of them may be a number."""
    return choosing.where(condition, a, b)


def check_joined(name: str, dim: object) -> None:
    if not isinstance(dim, int):
        raise UnsupportedError(f"{name}: joins a list of tensors, {name}([x, y]); dim is a whole number.")


def cat(tensors: Sequence, dim: int = 0):
    check_joined("cat", dim)
    return joining.cat(list(tensors), dim)


def stack(tensors: Sequence, dim: int = 0):
    check_joined("stack", dim)
    return joining.stack(list(tensors), dim)


def zeros_like(input, *, dtype=None, **others):
    """A leaf of zeros. Of whole numbers, for which there is no gradient, a plain tensor."""
    return _like(pointwise.zeros_like, input, dtype)


def ones_like(input, *, dtype=None, **others):
    return _like(pointwise.ones_like, input, dtype)


def _like(made: Callable, x, dtype: torch.dtype | None):
    if dtype is None:
        return made(x)
    return made(raw(x).to(dtype)) if not dtype.is_floating_point else made(x).to(dtype)


def full_like(input, fill_value: Real, *, dtype=None, **others):
    return ones_like(input, dtype=dtype) * fill_value


def pad(input, pad: Sequence[int], mode: str = "constant", value: Real | None = None):
    """torch.nn.functional.pad"""
    if isinstance(pad, int) or len(pad) % 2:
        raise UnsupportedError("pad: two numbers for each dimension, from the last one on: pad(x, (1, 1)).")
    if mode == "constant":
        return shapes.pad(input, tuple(pad), 0.0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise UnsupportedError(f"pad(…, mode={mode!r}): expected 'constant', 'reflect', 'replicate' or 'circular'.")
    for place, (left, right) in enumerate(zip(pad[::2], pad[1::2])):
        dim, cut, n = -1 - place, 0, input.shape[-1 - place]
        if mode == "circular":  # less than nothing takes away first
            cut, n = -min(left, 0), n + min(left, 0) + min(right, 0)
            left, right = max(left, 0), max(right, 0)
        at = torch.arange(-left, n + right)
        mirrored = (n - 1) - ((n - 1) - at.abs()).abs()
        at = {"reflect": mirrored, "replicate": at.clamp(0, n - 1), "circular": at % max(n, 1)}[mode]
        input = input.index_select(dim, at + cut)
    return input


def linear_(input, weight, bias=None):
    product = input @ weight.t()
    return product if bias is None else product + bias


def vector_norm(x, ord: Real = 2, dim: Dim = None, keepdim: bool = False, *, dtype=None):
    """torch.linalg.vector_norm"""
    x, dim = _to(x, dtype), dims_of(dim)
    if isinstance(ord, str):
        raise UnsupportedError(f"norm(p={ord!r}): a number, or 'fro'. Norms of matrices are not here.")
    if ord == 2:
        return _root((x * x).sum(dim, keepdim))
    size = x.abs()
    if ord == math.inf:
        return size.amax(dim, keepdim)
    if ord == -math.inf:
        return size.amin(dim, keepdim)
    if ord == 0:
        return where(x == 0, 0.0, size * 0.0 + 1.0).sum(dim, keepdim)
    return size.sum(dim, keepdim) if ord == 1 else _power_norm(size, ord, dim, keepdim)


def _power_norm(size, ord: Real, dim, keepdim: bool):
    """(sum of size**ord) ** (1 / ord). Where that is 0 its gradient is 0, as torch's; an element's too."""
    wide, zero = (_is_zero(size, ord, dim, keep) for keep in (True, keepdim))
    size = where(wide, 1.0, size)
    none = size == 0
    powers = choosing.masked(where(none, 1.0, size) ** ord, none) if 0 < ord < 1 else size**ord
    return choosing.masked(powers.sum(dim, keepdim) ** (1.0 / ord), zero)


def _is_zero(size, ord: Real, dim, keepdim: bool):
    return (size.sum(dim, keepdim) if ord > 0 else size.amin(dim, keepdim)) == 0


def linalg_norm(x, ord=None, dim: Dim = None, keepdim: bool = False, *, dtype=None):
    """torch.linalg.norm: of a vector, or of a matrix by its sums of rows or columns."""
    x, dim = _to(x, dtype), dims_of(dim)
    if ord is None or ord == "fro" or isinstance(dim, int) or (dim is None and x.ndim == 1):
        return vector_norm(x, 2 if ord in (None, "fro") else ord, dim, keepdim)
    if ord not in (1, -1, math.inf, -math.inf):
        raise UnsupportedError(f"linalg.norm(…, ord={ord!r}) of a matrix: only 'fro', 1, -1, inf and -inf.")
    rows, columns = (each % x.ndim for each in ((-2, -1) if dim is None else dim))
    added, chosen = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = x.abs().sum(added, True)
    found = sums.amax(chosen, True) if ord > 0 else sums.amin(chosen, True)
    return found if keepdim else found.squeeze(dim=(rows, columns))


def var_mean(x, dim: Dim = None, unbiased=None, keepdim: bool = False, *, correction=None) -> tuple:
    dim, unbiased = (None, dim) if isinstance(dim, bool) else (dim, unbiased)
    return x.var(dim, unbiased, keepdim, correction=correction), x.mean(dims_of(dim), keepdim)


def std_mean(x, dim: Dim = None, unbiased=None, keepdim: bool = False, *, correction=None) -> tuple:
    var, mean = var_mean(x, dim, unbiased, keepdim, correction=correction)
    return _root(var), mean


def einsum(equation: str, *operands):
    """torch.einsum: each operand laid out along all indices, multiplied, and summed over those not asked for."""
    if not isinstance(equation, str):
        raise UnsupportedError("einsum: first comes a text that names the dimensions, einsum('ij,jk->ik', x, y).")
    operands = operands[0] if len(operands) == 1 and isinstance(operands[0], (tuple, list)) else operands
    left, arrow, asked = equation.replace(" ", "").partition("->")
    names = left.split(",")
    if len(names) != len(operands):
        raise UnsupportedError(f"einsum({equation!r}): {len(operands)} operands for {len(names)} terms.")
    own = [x.ndim - len(term) + 3 if "." in term else 0 for x, term in zip(operands, names)]  # dims that ... stands for
    dots = "0123456789"[: max(own)]
    terms = [term.replace("...", dots[len(dots) - count :]) for term, count in zip(names, own)]
    counted = "".join(terms)
    asked = asked.replace("...", dots) if arrow else dots + "".join(sorted(
        i for i in set(counted) - set(dots) if counted.count(i) == 1
    ))  # fmt: skip
    for x, term in zip(operands, terms):
        if len(term) != x.ndim:
            raise UnsupportedError(f"einsum({equation!r}): {term!r} stands for a tensor of {x.ndim} dimensions.")
    if not set(asked) <= set(counted) or len(set(asked)) < len(asked):
        raise UnsupportedError(f"einsum({equation!r}): after '->' each letter stands once, and on the left too.")
    rest = [i for i in dict.fromkeys(counted) if i not in asked]
    order = [*asked, *rest]
    product = None
    for x, term in zip(operands, terms):
        part = _laid_out(x, term, order)
        product = part if product is None else product * part
    return product.sum(tuple(range(len(asked), len(order)))) if rest else product


def _laid_out(x, term: str, order: list[str]):
    """x, of the indices in `term`, with a dimension for each index in `order`."""
    while len(set(term)) < len(term):  # a diagonal
        twice = next(i for i in term if term.count(i) > 1)
        first, second = [at for at, each in enumerate(term) if each == twice][:2]
        n = torch.arange(x.shape[first])
        x, term = x.movedim((first, second), (0, 1))[n, n], twice + term.replace(twice, "", 2)
    present = [i for i in order if i in term]
    x = x.permute(*[term.index(i) for i in present]) if present else x
    for place, i in enumerate(order):
        x = x if i in term else x.unsqueeze(place)
    return x


NUMPYS_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def with_numpys_names(function: Callable) -> Callable:
    """The same, which takes `axis=` for `dim=` and `keepdims=` for `keepdim=`, as torch does."""
    if "dim" not in inspect.signature(function).parameters:
        return function

    @functools.wraps(function)
    def either(*args, **kwargs):
        for name in NUMPYS_NAMES.keys() & kwargs.keys():
            if NUMPYS_NAMES[name] in kwargs:
                raise UnsupportedError(
                    f"{function.__name__}: {NUMPYS_NAMES[name]} and {name} say the same, give one of them."
                )
            kwargs[NUMPYS_NAMES[name]] = kwargs.pop(name)
        try:
            return function(*args, **kwargs)
        except (IndexError, TypeError) as error:
            raise told_of_dim(function, args, error) from error

    return either


def signature_of(ours: Callable) -> str:
    plain = inspect.Parameter.empty
    parameters = [each.replace(annotation=plain) for each in inspect.signature(ours).parameters.values()]
    return f"On Variables it takes {ours.__name__}{inspect.Signature(parameters)}.".replace("(self, ", "(x, ")


def told_of_dim(function: Callable, args: tuple, error: Exception) -> Exception:
    """What Python says of a shape that is asked for a dimension which it has not, in torch's words; of a keyword that
    is not there, those that are."""
    if f"{function.__name__}() got an unexpected" in str(error):
        return UnsupportedError(f"{error}. {signature_of(function)}")
    if str(error) == "tuple index out of range" and hasattr(args[0], "shape"):
        n = max(len(args[0].shape), 1)
        return IndexError(f"{function.__name__}: Dimension out of range (expected to be in range of [{-n}, {n - 1}])")
    if str(error).startswith("tuple indices must be integers or slices"):
        return UnsupportedError(f"{function.__name__}: dim is one whole number here.")
    return error


def method_of(op: Op) -> Callable:
    def method(self):
        return op(self)

    method.__doc__ = f"torch.{op.name} of each element."
    return called(op.name, method)


for _op in TABLE.values():  # an operator of each element needs no more than its line in the table
    if _op.pointwise and _op.text == f"{{}}.{_op.name}()" and _op.name not in vars(Operators):
        setattr(Operators, _op.name, method_of(_op))

METHODS: dict[str, Callable] = {}
for _name, _method in [*vars(Operators).items()]:
    if inspect.isfunction(_method) and not _name.startswith("_"):
        _method.__qualname__ = _name  # which Python says of arguments that do not fit
        METHODS[_name] = with_numpys_names(_method)
        setattr(Operators, _name, METHODS[_name])
FUNCTIONS: dict[str, Callable] = {
    name: f for name, f in METHODS.items() if name not in ("view", "to", "type", "type_as")
}
cat, stack = with_numpys_names(cat), with_numpys_names(stack)
FUNCTIONS |= {"where": where, "cat": cat, "stack": stack, "pad": pad, "linear": linear_, "einsum": einsum}
FUNCTIONS |= {"zeros_like": zeros_like, "ones_like": ones_like, "empty_like": zeros_like, "full_like": full_like}
FUNCTIONS |= {
    "linalg_norm": with_numpys_names(linalg_norm),
    "log_sigmoid": METHODS["logsigmoid"],
    "vector_norm": with_numpys_names(vector_norm),
    "var_mean": with_numpys_names(var_mean),
    "std_mean": with_numpys_names(std_mean),
}
_OTHER_NAMES = {
    "multiply": "mul", "subtract": "sub", "divide": "div", "true_divide": "div", "absolute": "abs", "negative": "neg",
    "concat": "cat", "concatenate": "cat",
    "swapaxes": "transpose", "swapdims": "transpose", "moveaxis": "movedim", "clip": "clamp",
    "expit": "sigmoid", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "arctan2": "atan2", "fix": "trunc", "ger": "outer",
    "psi": "digamma", "gammaln": "lgamma",
}  # fmt: skip
ALIASES: dict[str, Callable] = {other: FUNCTIONS[name] for other, name in _OTHER_NAMES.items()}


def product_of(name: str, *wanted: int) -> Callable:
    """matmul, of tensors of so many dimensions alone."""

    def product(self, other):
        check_dims(name, (self, other), wanted)
        return self @ other

    product.__name__ = name
    return product


def check_dims(name: str, operands: Sequence, wanted: Sequence[int]) -> None:
    found = [raw(x).ndim if isinstance(raw(x), torch.Tensor) else n for x, n in zip(operands, wanted)]
    if found != list(wanted):
        said = " and ".join(f"{n}" for n in wanted)
        raise UnsupportedError(f"{name}: of {said} dimensions, got {' and '.join(map(str, found))}.")


for _name, _dims in {"mm": (2, 2), "bmm": (3, 3), "mv": (2, 1), "dot": (1, 1)}.items():
    ALIASES[_name] = product_of(_name, *_dims)
_AS_METHODS = {k: v for k, v in ALIASES.items() if k not in ("concat", "concatenate")}
for _name, _method in _AS_METHODS.items():
    setattr(Operators, _name, _method)


def named_operator(name: str) -> Callable | None:
    """Ours for a function of torch, of torch.nn.functional, torch.special or torch.linalg, or a method of a tensor."""
    if name not in FUNCTIONS:
        name = name.removeprefix("special_").removeprefix("linalg_")
    return FUNCTIONS.get(name) or ALIASES.get(name) or METHODS.get(name)
