"""Functions of torch that put elements elsewhere, or count with neighbours, made of operators of the table."""

from __future__ import annotations

import math
from numbers import Real

import torch

from . import shapes
from .composed import chosen, composed, formula, publish
from .methods import METHODS, UnsupportedError, cat, pad, raw, stack, values_of, where

formula("ravel", lambda x: x.reshape(-1))
formula("broadcast_to", lambda x, size: x.expand(*size))
formula("tile", lambda x, dims: x.repeat(*(1,) * (x.ndim - len(dims)), *dims))
formula("fliplr", lambda x: x.flip(1))
formula("flipud", lambda x: x.flip(0))


@composed
def diff(x, n: int = 1, dim: int = -1, prepend=None, append=None):
    parts = [each for each in (prepend, x, append) if each is not None]
    x = cat(parts, dim) if len(parts) > 1 and n else x
    for _ in range(n):
        length = max(x.shape[dim] - 1, 0)
        x = x.narrow(dim, x.shape[dim] - length, length) - x.narrow(dim, 0, length)
    return x


@composed
def take_along_dim(x, indices, dim: int | None = None):
    if dim is None:
        x, indices, dim = x.reshape(-1), indices.reshape(-1), 0
    dim %= x.ndim
    around = torch.broadcast_shapes(*[tuple(1 if i == dim else n for i, n in enumerate(s.shape)) for s in (x, indices)])
    sizes = ([s.shape[i] if i == dim else n for i, n in enumerate(around)] for s in (x, indices))
    x, indices = (each.expand(*size) for each, size in zip((x, indices), sizes))
    return x.gather(dim, indices % max(x.shape[dim], 1))


vstack = formula("vstack", lambda tensors: cat([x.reshape(1, -1) if x.ndim < 2 else x for x in tensors], 0))


@composed
def hstack(tensors):
    tensors = [x.reshape(1) if not x.ndim else x for x in tensors]
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1)


formula("column_stack", lambda tensors: cat([x.reshape(-1, 1) if x.ndim < 2 else x for x in tensors], 1))


@composed
def dstack(tensors):
    shaped = [x.reshape(1, -1, 1) if x.ndim < 2 else x.unsqueeze(-1) if x.ndim == 2 else x for x in tensors]
    return cat(shaped, 2)


@composed
def rot90(x, k: int = 1, dims=(0, 1)):
    a, b = dims
    k %= 4
    x = x.flip(a, b) if k == 2 else x.flip(b) if k == 1 else x.flip(a) if k == 3 else x.clone()
    return x.transpose(a, b) if k % 2 else x


@composed
def diag_embed(x, offset: int = 0, dim1: int = -2, dim2: int = -1):
    on_it = torch.eye(x.shape[-1], dtype=torch.bool, device=x.device)
    below, beside = max(-offset, 0), max(offset, 0)
    return pad(where(on_it, x.unsqueeze(-1), 0.0), (beside, below, below, beside)).movedim((-2, -1), (dim1, dim2))


formula("diagflat", lambda x, offset=0: diag_embed(x.reshape(-1), offset))


@composed
def repeat_interleave(x, repeats, dim: int | None = None, *, output_size: int | None = None):
    x, dim = (x.reshape(-1), 0) if dim is None else (x, dim)
    places = torch.arange(x.shape[dim]).repeat_interleave(torch.as_tensor(raw(repeats)))
    return x.index_select(dim, places)


@composed
def select_scatter(x, src, dim: int, index: int):
    index %= x.shape[dim]
    parts = [x.narrow(dim, 0, index), src.unsqueeze(dim), x.narrow(dim, index + 1, x.shape[dim] - index - 1)]
    return cat(parts, dim)


@composed
def index_fill(x, dim: int, index, value):
    if not x.ndim:
        return index_fill(x.reshape(1), 0, index, value).reshape(())
    filled = torch.zeros(x.shape[dim], dtype=torch.bool, device=x.device).index_fill(0, index, True)
    return x.masked_fill(filled.reshape(-1, *[1] * (x.ndim - 1 - dim % x.ndim)), value)


formula("take", lambda x, index: x.reshape(-1)[index])
formula("msort", lambda x: x.sort(0)[0])


def trapezoids(y, x, dx: Real, dim: int):
    """The areas under straight lines between neighbours."""
    n = max(y.shape[dim] - 1, 0)
    means = (y.narrow(dim, y.shape[dim] - n, n) + y.narrow(dim, 0, n)) * 0.5
    if x is None:
        return means * dx
    x = x.reshape(-1, *[1] * (y.ndim - 1 - dim % y.ndim)) if x.ndim == 1 else x
    return means * x.diff(dim=dim if x.ndim == y.ndim else 0)


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


trapezoid = formula("trapezoid", lambda y, x=None, *, dx=1.0, dim=-1: trapezoids(y, x, dx, dim).sum(dim))
split_with_sizes = formula("split_with_sizes", lambda x, split_sizes, dim=0: x.split(list(split_sizes), dim))


@composed
def tensor_split(x, indices_or_sections, dim: int = 0):
    n, parts = x.shape[dim], raw(indices_or_sections)
    parts = parts.tolist() if isinstance(parts, torch.Tensor) else parts
    if isinstance(parts, int):
        small, more = divmod(n, parts)  # one by one, so that whoever watches can end it
        return tuple(x.narrow(dim, at * small + min(at, more), small + (at < more)) for at in range(parts))
    ends = [0, *[slice(each).indices(n)[1] for each in parts], n]
    return tuple(x.narrow(dim, start, max(stop - start, 0)) for start, stop in zip(ends, ends[1:]))


formula("hsplit", lambda x, sections: tensor_split(x, sections, 0 if x.ndim == 1 else 1))
formula("vsplit", lambda x, sections: tensor_split(x, sections, 0))
formula("dsplit", lambda x, sections: tensor_split(x, sections, 2))


def listed(tensors: tuple) -> list:
    """f(a, b) and f([a, b]) alike."""
    return list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else list(tensors)


@composed
def meshgrid(*tensors, indexing: str | None = None):
    chosen("indexing", indexing, (None, "ij", "xy"))
    axes, shape = listed(tensors), tuple(x.numel() for x in listed(tensors))
    grids = [
        x.reshape([-1 if at == dim else 1 for at in range(len(axes))]).expand(*shape) for dim, x in enumerate(axes)
    ]
    return tuple(x.transpose(0, 1) for x in grids) if indexing == "xy" and len(axes) > 1 else tuple(grids)


@composed
def broadcast_tensors(*tensors):
    shape = torch.broadcast_shapes(*[tuple(x.shape) for x in listed(tensors)])
    return tuple(x.expand(*shape) for x in listed(tensors))


@composed
def cartesian_prod(*tensors):
    grids = meshgrid(*tensors)
    return stack([x.reshape(-1) for x in grids], 1) if len(grids) > 1 else grids[0]


@composed
def combinations(x, r: int = 2, with_replacement: bool = False):
    return x[torch.combinations(torch.arange(x.shape[0]), r, with_replacement)]


def at_least(count: int, x):
    """With so many dimensions: 3 of a matrix has its new one behind, all others before."""
    if count == 3 and x.ndim in (1, 2):
        return x.reshape(1, -1, 1) if x.ndim == 1 else x.unsqueeze(-1)
    return x.reshape(*[1] * (count - x.ndim), *x.shape) if x.ndim < count else x


def for_at_least(count: int) -> None:
    def made(*tensors):
        found = tuple(at_least(count, x) for x in listed(tensors))
        return found if len(found) > 1 or isinstance(tensors[0], (tuple, list)) else found[0]

    made.__name__ = f"atleast_{count}d"
    publish(made.__name__, made)


for _count in (1, 2, 3):
    for_at_least(_count)


@composed
def block_diag(*tensors):
    parts = [at_least(2, x) for x in listed(tensors)]
    wide, at, rows = sum(x.shape[1] for x in parts), 0, []
    for x in parts:
        rows.append(pad(x, (at, wide - at - x.shape[1])))
        at += x.shape[1]
    return cat(rows, 0)


@composed
def vander(x, N: int | None = None, increasing: bool = False):
    powers = linalg_vander(x, N=N)
    return powers if increasing else powers.flip(-1)


@composed
def linalg_vander(x, *, N: int | None = None):
    x = x if x.ndim else x.reshape(1)
    powers = range(x.shape[-1] if N is None else N)  # numbers: an exponent that is a tensor has a gradient, NaN below 0
    return stack([x**n for n in powers], -1) if len(powers) else x.unsqueeze(-1)[..., :0]


formula("cumulative_trapezoid", lambda y, x=None, *, dx=1.0, dim=-1: trapezoids(y, x, dx, dim).cumsum(dim))


# --- values put into others ------------------------------------------------------------------------------------------


formula("fill", lambda x, value: x.masked_fill(torch.ones((), dtype=torch.bool, device=x.device), value))


@composed
def index_copy(x, dim: int, index, source):
    if not x.ndim:
        return source.reshape(())
    return x.movedim(dim, 0).index_put((index,), source.movedim(dim, 0)).movedim(0, dim)


@composed
def put(x, index, source, accumulate: bool = False):
    """At these places of x, counted as if it had one dimension."""
    flat = x.reshape(-1).index_put((raw(index).reshape(-1),), source.reshape(-1), accumulate)
    return flat.reshape(x.shape)


@composed
def slice_scatter(x, src, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1):
    return index_copy(x, dim, torch.arange(x.shape[dim])[start:end:step], src)


@composed
def diagonal_scatter(x, src, offset: int = 0, dim1: int = 0, dim2: int = 1):
    at = torch.arange(src.shape[-1])
    index = (at + max(-offset, 0), at + max(offset, 0))
    return x.movedim((dim1, dim2), (0, 1)).index_put(index, src.movedim(-1, 0)).movedim((0, 1), (dim1, dim2))


@composed
def masked_scatter(x, mask, source):
    """The elements of `source`, in their order, where the mask is True."""
    shape = torch.broadcast_shapes(tuple(x.shape), tuple(mask.shape))
    mask = raw(mask).expand(shape)
    places = (mask.reshape(-1).cumsum(0) - 1).clamp(min=0)
    return where(mask, source.reshape(-1)[places].reshape(shape), x) if source.numel() else x.expand(*shape)


@composed
def scatter_reduce(x, dim: int, index, src, reduce: str, *, include_self: bool = True):
    chosen("reduce", reduce, ("sum", "mean", "amax", "amin", "prod"))
    if not x.ndim:
        x, index, src = (each.reshape(1) for each in (x, index, src))
        return scatter_reduce(x, 0, index, src, reduce, include_self=include_self).reshape(())
    if reduce in ("amax", "amin"):
        return extremes(x, dim, index, src, reduce, include_self)
    if reduce == "prod":
        return products(x if include_self else x.scatter(dim, index, 1.0), dim, index, src)
    sums = (x if include_self else x.scatter(dim, index, 0.0)).scatter_add(dim, index, src)
    if reduce == "sum":
        return sums
    ones = torch.ones(tuple(x.shape), dtype=x.dtype, device=x.device)
    ones = ones if include_self else ones.scatter(dim, index, 0.0)
    return sums / ones.scatter_add(dim, index, torch.ones_like(index, dtype=x.dtype)).clamp(min=1)


def products(x, dim: int, index, src):
    """Times what comes to each place, one after the other: right where some are 0, and at any order."""
    ones = torch.ones(tuple(x.shape), dtype=x.dtype, device=x.device)
    for at in range(index.shape[dim]):
        x = x * shapes.scatter(ones, dim, raw(index).narrow(dim, at, 1), src.narrow(dim, at, 1))
    return x


def extremes(x, dim: int, index, src, reduce: str, include_self: bool):
    """The mean of those that are largest, which share a gradient."""
    values, given = values_of(x), values_of(src)
    found = torch.scatter_reduce(values, dim, index, given, reduce, include_self=include_self)
    used = torch.zeros_like(values).scatter(dim, index, 1.0) > 0
    own = (values == found) & (include_self | ~used)
    among = given.narrow(dim, 0, index.shape[dim]) if given.shape[dim] > index.shape[dim] else given
    come = among == found.gather(dim, index)
    count = own.to(x.dtype).scatter_add(dim, index, come.to(x.dtype)).clamp(min=1)
    return where(own, x, 0.0).scatter_add(dim, index, where(come, src, 0.0)) / count


# --- statistics ------------------------------------------------------------------------------------------------------


@composed
def cov(x, *, correction: int = 1, fweights=None, aweights=None):
    """Covariances of the rows."""
    rows = x if x.ndim == 2 else x.reshape(1, -1)
    given = [each for each in (fweights, aweights) if each is not None]
    if not given:
        away = rows - rows.mean(1, True)
        found = away @ away.mT / max(rows.shape[1] - correction, 0)
    else:
        weights = given[0] if len(given) == 1 else given[1] * given[0]
        total = weights.sum()
        less = correction if aweights is None else (weights * aweights).sum() / total * correction
        away = rows - (rows * weights).sum(1, True) / total
        found = away * weights @ away.mT / (total - less).clamp(min=0)
    return found if found.numel() > 1 else found.reshape(())


@composed
def corrcoef(x):
    found = cov(x)
    if not found.ndim:
        return found / found
    scale = found.diagonal().sqrt()
    return (found / scale.unsqueeze(1) / scale).clamp(-1, 1)


@composed
def nanmean(x, dim=None, keepdim: bool = False, *, dtype=None):
    there = (x == x).to(x.dtype).sum(dim if dim != () else None, keepdim=keepdim)
    return x.nansum(dim if dim != () else None, keepdim, dtype=dtype) / there


@composed
def quantile(x, q, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"):
    """Of values in order, that at a share q of the way; between two, a part of each."""
    found = at_shares(x, q, dim, keepdim, interpolation)
    lost = raw(x).isnan().any() if dim is None else raw(x).isnan().any(dim, keepdim)
    return where(lost, math.nan, found)


@composed
def nanquantile(x, q, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"):
    return at_shares(x, q, dim, keepdim, interpolation)


def at_shares(x, q, dim: int | None, keepdim: bool, interpolation: str):
    """Of what is no NaN; a sort puts those last."""
    chosen("interpolation", interpolation, ("linear", "lower", "higher", "midpoint", "nearest"))
    rows = (x.reshape(-1) if dim is None else x.movedim(dim, -1) if x.ndim else x.reshape(1)).sort(-1)[0]
    shares = torch.tensor(q, dtype=x.dtype, device=x.device) if isinstance(q, Real) else q
    last = (raw(rows).isnan().logical_not().sum(-1, True) - 1).clamp(min=0)
    at = shares.reshape(-1) * last.to(x.dtype)
    if interpolation in ("lower", "higher", "nearest"):
        at = {"lower": at.floor(), "higher": at.ceil(), "nearest": at.round()}[interpolation].detach()
    below, above = raw(at).floor(), raw(at).ceil()
    low, high = rows.gather(-1, below.long()), rows.gather(-1, above.long())
    found = (low + (high - low) * (0.5 if interpolation == "midpoint" else at - below)).movedim(-1, 0)
    if keepdim:
        found = found.reshape(-1, *[1] * x.ndim) if dim is None or not x.ndim else found.unsqueeze(dim + (dim >= 0))
    return found if shares.ndim else found[0]


@composed
def aminmax(x, *, dim: int | None = None, keepdim: bool = False):
    return torch.return_types.aminmax((x.amin(dim, keepdim), x.amax(dim, keepdim)))


@composed
def renorm(x, p: Real, dim: int, maxnorm: Real):
    """Each part along `dim` made smaller, so that its norm is at most `maxnorm`."""
    norms = x.norm(p, [at for at in range(x.ndim) if at != dim % x.ndim], True)
    return where(norms > maxnorm, x * (maxnorm / (norms + 1e-7)), x)


for _name, _function in (("row_stack", vstack), ("trapz", trapezoid)):
    publish(_name, _function)
_COPIES = "diagonal expand narrow permute select squeeze t transpose unbind unfold unsqueeze view split_with_sizes"
for _name in _COPIES.split():  # which torch has under two names, since one of them is a view
    publish(f"{_name}_copy", METHODS[_name])
publish("unsafe_chunk", METHODS["chunk"])
publish("unsafe_split", METHODS["split"])
