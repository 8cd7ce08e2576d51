"""What is counted with neighbours: differences, slopes, areas; and powers."""

from __future__ import annotations

from numbers import Real

import torch

from .calls import UnsupportedError, chosen, composed, formula, raw
from .joining import cat, stack


@composed
def diff(x, n: int = 1, dim: int = -1, prepend=None, append=None):
    parts = [each for each in (prepend, x, append) if each is not None]
    x = cat(parts, dim) if len(parts) > 1 and n else x
    for _ in range(n):
        length = max(x.shape[dim] - 1, 0)
        x = x.narrow(dim, x.shape[dim] - length, length) - x.narrow(dim, 0, length)
    return x


def trapezoids(y, x, dx: Real, dim: int):
    """The areas under straight lines between neighbours."""
    n = max(y.shape[dim] - 1, 0)
    means = (y.narrow(dim, y.shape[dim] - n, n) + y.narrow(dim, 0, n)) * 0.5
    if x is None:
        return means * dx
    x = x.reshape(-1, *[1] * (y.ndim - 1 - dim % y.ndim)) if x.ndim == 1 else x
    return means * x.diff(dim=dim if x.ndim == y.ndim else 0)


formula("trapezoid", lambda y, x=None, *, dx=1.0, dim=-1: trapezoids(y, x, dx, dim).sum(dim))
formula("cumulative_trapezoid", lambda y, x=None, *, dx=1.0, dim=-1: trapezoids(y, x, dx, dim).cumsum(dim))


@composed
def gradient(x, *, spacing=1, dim=None, edge_order: int = 1):
    """By differences of neighbours along each of `dim`, which are `spacing` apart, or at these coordinates."""
    dims = list(range(x.ndim)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    chosen("edge_order", edge_order, (1, 2))
    spacing = 1 if spacing is None else spacing
    spacing = [raw(each) for each in spacing] if isinstance(spacing, (list, tuple)) else [spacing] * len(dims)
    return [slopes(x.movedim(each, -1), apart, edge_order).movedim(-1, each) for each, apart in zip(dims, spacing)]


def slopes(x, apart, edge_order: int):
    """The slope, at each place of the last dimension, of the parabola through it and its neighbours."""
    n = x.shape[-1]
    if n <= edge_order:
        raise UnsupportedError(f"gradient(…, edge_order={edge_order}): each dimension has {edge_order + 1} or more.")
    h = apart.diff() if isinstance(apart, torch.Tensor) and apart.ndim else apart * torch.ones(n - 1, dtype=x.dtype)
    steep = x.diff(dim=-1) / h
    a, b = h[:-1], h[1:]
    inner = (steep[..., :-1] * b + steep[..., 1:] * a) / (a + b)
    first, last = steep[..., :1], steep[..., -1:]
    if edge_order == 2:
        bend = steep.diff(dim=-1) / (a + b)
        first, last = first - bend[..., :1] * h[0], last + bend[..., -1:] * h[-1]
    return cat([first, inner, last], -1)


@composed
def vander(x, N: int | None = None, increasing: bool = False):
    powers = linalg_vander(x, N=N)
    return powers if increasing else powers.flip(-1)


@composed
def linalg_vander(x, *, N: int | None = None):
    x = x if x.ndim else x.reshape(1)
    powers = range(x.shape[-1] if N is None else N)  # numbers: an exponent that is a tensor has a gradient, NaN below 0
    return stack([x**n for n in powers], -1) if len(powers) else x.unsqueeze(-1)[..., :0]
