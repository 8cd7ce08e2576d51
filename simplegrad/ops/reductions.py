"""Sums, means, products, the largest: what reduces dimensions, and what goes along one."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import torch

from .. import torch_private
from .calls import as_dtype, composed, dims_of, formula, values_of
from .choosing import condition, masked, scaled, shares, where
from .joining import cat
from .numbers import over
from .table import op


def reduced(name: str):
    """`x.sum(dim=0, keepdim=True)`: what says nothing new is left out."""

    def text(x: str, dim: str, keepdim: str) -> str:
        dim = f"({dim})" if "," in dim else dim
        needs_dim = keepdim == "True" and name != "amax"  # torch's sum takes no keepdim alone
        said = [f"dim={dim}"] * (dim != "None" or needs_dim) + ["keepdim=True"] * (keepdim == "True")
        return f"{x}.{name}({', '.join(said)})"

    return text


def restored(g, shape, dim, keepdim: bool):
    """A gradient of a reduction's result as one of its input: the reduced dimensions are there again, of size 1."""
    if keepdim or dim is None or not len(shape):
        return g
    dims = (dim,) if isinstance(dim, int) else dim
    if min(dims) < 0 <= max(dims):
        dims = [each % len(shape) for each in dims]
    for each in sorted(dims, key=abs):  # from the outside in: 0, 1, … or -1, -2, …
        g = g.unsqueeze(each)
    return g


def spread(g, shape, dim, keepdim: bool):
    """The gradient of a sum: the same one for each element that was added."""
    g = restored(g, shape, dim, keepdim)
    return g if g.shape == shape else g.expand(shape)


def count(shape, dim):
    """How many elements a mean is of."""
    if dim is None:
        return shape.numel()
    if isinstance(shape, tuple) and not shape:
        return 1
    dims = (dim,) if isinstance(dim, int) else dim
    return math.prod((shape[each] for each in dims), start=1)


sum = op(
    "sum",
    reduced("sum"),
    lambda x, dim, keepdim: x.sum() if dim is None and not keepdim else x.sum(dim, keepdim),
    lambda g, r, shape, dim, keepdim: spread(g, shape, dim, keepdim),
    shapes=True,
)


def named_sum(x, dim=None, keepdim: bool = False, name: str | None = None, *, dtype=None):
    """The sum over `dim`: an int, several, or None for all. `name` names the result, as in the notebook."""
    if isinstance(dim, str):  # the notebook's x.sum('L0')
        dim, name = None, dim
    if name is not None:
        return x.named(name, lambda: x.sum(dim, keepdim, dtype=dtype))
    return sum(as_dtype(x, dtype), dims_of(dim), bool(keepdim))


formula("sum", named_sum)
mean = op(
    "mean",
    reduced("mean"),
    lambda x, dim, keepdim: x.mean(dim, keepdim),
    lambda g, r, shape, dim, keepdim: spread(over(g, count(shape, dim)), shape, dim, keepdim),
    shapes=True,
    takes=lambda x, dim=None, keepdim=False, *, dtype=None: (as_dtype(x, dtype), dims_of(dim), bool(keepdim)),
)
amax = op(
    "amax",
    reduced("amax"),
    lambda x, dim, keepdim: x.amax(() if dim is None else dim, keepdim),
    lambda g, r, x, dim, keepdim: scaled(restored(g, x.shape, dim, keepdim), shares(x, dim)),
    takes=lambda x, dim=None, keepdim=False: (x, dims_of(dim), bool(keepdim)),
)
formula("amin", lambda x, dim=None, keepdim=False: -((-x).amax(dim, keepdim)))
formula("max", lambda x, dim=None, keepdim=False: extreme(x, "max", dim, keepdim))
formula("min", lambda x, dim=None, keepdim=False: extreme(x, "min", dim, keepdim))


def extreme(x, name: str, dim, keepdim: bool):
    """The largest or smallest of all; along `dim`, (values, indices); of two tensors, that of each pair."""
    if dim is None:
        return x.amax() if name == "max" else x.amin()
    if not isinstance(dim, int) or isinstance(dim, bool):
        return x.maximum(dim) if name == "max" else x.minimum(dim)
    values, indices = getattr(torch, name)(values_of(x), dim, True)
    found = x.gather(dim, indices) if x.ndim else x.clone()
    made = getattr(torch.return_types, name)
    return made((found if keepdim or not x.ndim else found.squeeze(dim), indices if keepdim else indices.squeeze(dim)))


def _own_place(x: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.eye(x.shape[dim], dtype=torch.bool, device=x.device)


own_place = condition("own_place", "own_place({}, {})", _own_place, pointwise=False)
products = op(  # along one dimension
    "prod",
    reduced("prod"),
    lambda x, dim, keepdim: x.prod(dim, keepdim),
    lambda g, r, x, dim, keepdim: restored(g, x.shape, dim, keepdim) * of_the_others(x, dim),
)


def of_the_others(x, dim: int):
    """At each place the product of all others along `dim`: right where some are 0, and at any order."""
    rows = x.movedim(dim, -1)
    return products(where(own_place(rows, -1), 1.0, rows.unsqueeze(-2)), -1, False).movedim(-1, dim)


@composed
def prod(x, dim: int | None = None, keepdim: bool = False, *, dtype=None):
    """The product along a dimension, pairs first, so that its gradients are right where there are zeros too."""
    x = as_dtype(x, dtype)
    if x.shape == ():
        return x.clone()
    x, dim = (x.reshape(-1), 0) if dim is None else (x, dim)
    return of_pairs(x, dim, keepdim) if isinstance(x.shape[dim], int) else products(x, dim, bool(keepdim))


def of_pairs(x, dim: int, keepdim: bool):
    n = x.shape[dim]
    while n > 1:
        half = n // 2
        pairs = x.narrow(dim, 0, half) * x.narrow(dim, half, half)
        x = cat([pairs, x.narrow(dim, 2 * half, n - 2 * half)], dim) if n % 2 else pairs
        n = x.shape[dim]
    if n == 0:
        return x.sum(dim, keepdim) + 1
    return x if keepdim else x.squeeze(dim)


logsumexp = op(
    "logsumexp",
    reduced("logsumexp"),
    lambda x, dim, keepdim: x.logsumexp(tuple(range(x.ndim)) if dim is None else dim, keepdim),
    lambda g, r, x, dim, keepdim: restored(g, x.shape, dim, keepdim) * (x - restored(r, x.shape, dim, keepdim)).exp(),
    in_torch=lambda x, dim, keepdim: reduced("logsumexp")(
        x, f"tuple(range({x}.dim()))" if dim == "None" else dim, keepdim
    ),
    takes=lambda x, dim=None, keepdim=False: (x, dims_of(dim), bool(keepdim)),
)


def of_classes(x, dim: int | None) -> int:
    """The dimension that torch.nn.functional takes where it is given None: the classes of (n, classes)."""
    return dim if dim is not None else 0 if x.ndim in (0, 1, 3) else 1


softmax = op(
    "softmax",
    "{}.softmax(dim={})",
    lambda x, dim: x.softmax(dim),
    lambda g, r, x, dim: softmax_backward(g, r, dim),
    alike=True,
    takes=lambda x, dim=-1, dtype=None, _stacklevel=3: (as_dtype(x, dtype), of_classes(x, dim)),
)
log_softmax = op(
    "log_softmax",
    "{}.log_softmax(dim={})",
    lambda x, dim: x.log_softmax(dim),
    lambda g, r, x, dim: g - r.exp() * g.sum(dim=dim, keepdim=True),
    alike=True,
    takes=lambda x, dim=-1, dtype=None, _stacklevel=3: (as_dtype(x, dtype), of_classes(x, dim)),
)
softmax_backward = op(
    "softmax_backward",
    "softmax_backward({}, {}, {})",
    lambda d, s, dim: torch_private.softmax_backward(d, s, dim, d.dtype),
    lambda g, r, d, s, dim: softmax_backward(g, s, dim),  # of (d - (d * s).sum(dim, True)) * s
    lambda g, r, d, s, dim: g * d - g * (d * s).sum(dim=dim, keepdim=True) - d * (g * s).sum(dim=dim, keepdim=True),
    alike=True,
    in_torch="torch.ops.aten._softmax_backward_data({0}, {1}, {2}, {0}.dtype)",
)
cumsum = op(
    "cumsum",
    "{}.cumsum(dim={})",
    lambda x, dim: x.cumsum(dim),
    lambda g, r, x, dim: g.flip(dim).cumsum(dim).flip(dim),
    alike=True,
    takes=lambda x, dim, *, dtype=None: (as_dtype(x, dtype), dim),
)


@composed
def nansum(x, dim=None, keepdim: bool = False, *, dtype=None):
    return masked(x, x != x).sum(dim, keepdim, dtype=dtype)


@composed
def nanmean(x, dim=None, keepdim: bool = False, *, dtype=None):
    there = (x == x).to(x.dtype).sum(dim if dim != () else None, keepdim=keepdim)
    return x.nansum(dim if dim != () else None, keepdim, dtype=dtype) / there


formula("softmin", lambda x, dim=-1, dtype=None, _stacklevel=3: (-x).softmax(dim, dtype))


def running(x, dim: int, combined: Callable):
    """Along a dimension, what `combined` makes of each element and all before it."""
    if not x.ndim or not x.shape[dim]:
        return x.clone()
    parts = [x.narrow(dim, 0, 1)]
    for i in range(1, x.shape[dim]):
        parts.append(combined(parts[-1], x.narrow(dim, i, 1)))
    return cat(parts, dim)


formula("cumprod", lambda x, dim, *, dtype=None: running(as_dtype(x, dtype), dim, operator.mul))
formula("logcumsumexp", lambda x, dim: running(x, dim, lambda a, b: a.logaddexp(b)))
