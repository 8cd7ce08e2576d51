"""Operators that reduce dimensions, and those that go along one."""

from __future__ import annotations

import math

import torch

from .. import torch_private
from .choosing import condition, scaled, shares, where
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
mean = op(
    "mean",
    reduced("mean"),
    lambda x, dim, keepdim: x.mean(dim, keepdim),
    lambda g, r, shape, dim, keepdim: spread(over(g, count(shape, dim)), shape, dim, keepdim),
    shapes=True,
)
amax = op(
    "amax",
    reduced("amax"),
    lambda x, dim, keepdim: x.amax(() if dim is None else dim, keepdim),
    lambda g, r, x, dim, keepdim: scaled(restored(g, x.shape, dim, keepdim), shares(x, dim)),
)


def _own_place(x: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.eye(x.shape[dim], dtype=torch.bool, device=x.device)


own_place = condition("own_place", "own_place({}, {})", _own_place, pointwise=False)
prod = op(
    "prod",
    reduced("prod"),
    lambda x, dim, keepdim: x.prod(dim, keepdim),
    lambda g, r, x, dim, keepdim: restored(g, x.shape, dim, keepdim) * of_the_others(x, dim),
)


def of_the_others(x, dim: int):
    """At each place the product of all others along `dim`: right where some are 0, and at any order."""
    rows = x.movedim(dim, -1)
    return prod(where(own_place(rows, -1), 1.0, rows.unsqueeze(-2)), -1, False).movedim(-1, dim)


logsumexp = op(
    "logsumexp",
    reduced("logsumexp"),
    lambda x, dim, keepdim: x.logsumexp(tuple(range(x.ndim)) if dim is None else dim, keepdim),
    lambda g, r, x, dim, keepdim: restored(g, x.shape, dim, keepdim) * (x - restored(r, x.shape, dim, keepdim)).exp(),
    in_torch=lambda x, dim, keepdim: reduced("logsumexp")(
        x, f"tuple(range({x}.dim()))" if dim == "None" else dim, keepdim
    ),
)
softmax = op(
    "softmax",
    "{}.softmax(dim={})",
    lambda x, dim: x.softmax(dim),
    lambda g, r, x, dim: softmax_backward(g, r, dim),
    alike=True,
)
log_softmax = op(
    "log_softmax",
    "{}.log_softmax(dim={})",
    lambda x, dim: x.log_softmax(dim),
    lambda g, r, x, dim: g - r.exp() * g.sum(dim=dim, keepdim=True),
    alike=True,
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
)
