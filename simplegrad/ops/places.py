"""Elements by their places: what is taken from there, and what is put or added there."""

from __future__ import annotations

from numbers import Real

import torch

from .calls import UnsupportedError, chosen, composed, formula, raw, values_of
from .choosing import where
from .joining import along, cat
from .shapes import moved, moving, padded, summed


def _put(g: torch.Tensor, shape: torch.Size, index: tuple) -> torch.Tensor:
    zeros = g.new_zeros(shape)
    if all(not isinstance(part, (torch.Tensor, list)) for part in index):
        zeros[index] = g
    else:  # index an array of positions, so that whatever torch makes of the index is what we put back to
        positions = torch.arange(zeros.numel(), device=zeros.device).reshape(shape)[index].flatten()
        zeros.view(-1).index_add_(0, positions, g.flatten())
    return zeros


index = moving("index", "{}[{}]", lambda x, index: x[index], lambda g, r, shape, index: zeros_with(g, shape, index))
zeros_with = moving(  # zeros of a shape with g added at an index: a place taken twice gets both
    "zeros_with",
    lambda g, shape, index: f"zeros({shape}).index_put([{index}], {g})",
    _put,
    lambda g, r, of_g, shape, index: g[index],
    code="zeros_with({}, {}, {})",
)


def _add_at(g: torch.Tensor, shape: torch.Size, dim: int, index: torch.Tensor) -> torch.Tensor:
    return g.new_zeros(shape).scatter_add(dim, index, g)


gather = moved(
    "gather",
    lambda g, r, shape, dim, index: add_at(g, shape, dim, index),
    takes=lambda x, dim, index, *, sparse_grad=False: (x, dim, index),
)
add_at = moving(  # zeros of a shape with g added at places along a dimension: the backward of gather
    "add_at",
    lambda g, shape, dim, index: f"zeros({shape}).scatter_add({dim}, {index}, {g})",
    _add_at,
    lambda g, r, of_g, shape, dim, index: g.gather(dim, index),
    code="add_at({}, {}, {}, {})",
)
index_put = moving(  # a new value: what `x[indices] = values` is in place
    "index_put",
    "{}.index_put([{}], {}, accumulate={})",
    lambda x, index, values, accumulate: x.index_put(index, values, accumulate),
    lambda g, r, shape, index, of_values, accumulate: g if accumulate else emptied(g, index),
    None,
    lambda g, r, shape, index, of_values, accumulate: summed(g[index], of_values),
    alike=True,
    takes=lambda x, indices, values, accumulate=False: (x, tuple(indices), values, accumulate),
)


def _emptied(g: torch.Tensor, index: tuple) -> torch.Tensor:
    return g.index_put(index, g.new_zeros(()))


emptied = moving(
    "emptied",
    "{}.index_put([{}], 0)",
    _emptied,
    lambda g, r, shape, index: emptied(g, index),
    alike=True,
    code="emptied({}, {})",
)
scattered = moved(
    "scatter",
    lambda g, r, shape, dim, index, of_source: scattered_number(g, dim, index, 0),
    None,
    None,
    lambda g, r, shape, dim, index, of_source: picked(g, dim, index, of_source),
    alike=True,
)
scattered_number = moving(
    "scatter_number",
    "{}.scatter({}, {}, {})",
    torch.scatter,
    lambda g, r, shape, dim, index, number: scattered_number(g, dim, index, 0),
    alike=True,
)
scatter_add = moved(
    "scatter_add",
    lambda g, r, shape, dim, index, of_source: g,
    None,
    None,
    lambda g, r, shape, dim, index, of_source: picked(g, dim, index, of_source),
    alike=True,
    takes=lambda x, dim, index, src: (x, dim, index, src),
)


def picked(g, dim, index, shape):
    """What came of a source, of which only as much was used as there are places."""
    found = g.gather(dim, index)
    return found if found.shape == shape else padded_to(found, shape)


def padded_to(g, shape):
    missing = [shape[place] - g.shape[place] for place in reversed(range(len(shape)))]
    return padded(g, tuple([n for each in missing for n in (0, each)]), 0.0)


index_add = moved(
    "index_add",
    lambda g, r, shape, dim, index, of_source: g,
    None,
    None,
    lambda g, r, shape, dim, index, of_source: g.index_select(dim, index),
    alike=True,
    takes=lambda x, dim, index, source, *, alpha=1: (x, dim, index, source if alpha == 1 else source * alpha),
)


# --- made of those -----------------------------------------------------------------------------------------------

formula("take", lambda x, index: x.reshape(-1)[index])


def parts_of(index) -> tuple:
    """The parts of an index. A list of lists, slices or tensors is taken for a tuple of them, as torch does."""
    several = (list, tuple, slice, torch.Tensor, type(None), type(...))
    if isinstance(index, list) and any(isinstance(part, several) or hasattr(part, "shape") for part in index):
        return tuple(index)
    return index if isinstance(index, tuple) else (index,)


@composed
def index_select(x, dim: int, index):
    return x.reshape(1)[index].reshape(()) if x.shape == () else x[along(dim, index)]


@composed
def masked_select(x, mask):
    shape = torch.broadcast_shapes(x.shape, mask.shape)
    return x.expand(shape)[raw(mask).expand(shape)]


@composed
def take_along_dim(x, indices, dim: int | None = None):
    if dim is None:
        x, indices, dim = x.reshape(-1), indices.reshape(-1), 0
    dim %= x.ndim
    around = torch.broadcast_shapes(*[tuple(1 if i == dim else n for i, n in enumerate(s.shape)) for s in (x, indices)])
    sizes = ([s.shape[i] if i == dim else n for i, n in enumerate(around)] for s in (x, indices))
    x, indices = (each.expand(*size) for each, size in zip((x, indices), sizes))
    return x.gather(dim, indices % max(x.shape[dim], 1))


@composed
def scatter(x, dim: int, index, src=None, *, value: Real | None = None, reduce: str | None = None):
    if reduce is not None:
        raise UnsupportedError("scatter(…, reduce=…) is not there on Variables; scatter_add adds.")
    source = value if src is None else src
    return (scattered_number if isinstance(source, Real) else scattered)(x, dim, index, source)


@composed
def repeat_interleave(x, repeats, dim: int | None = None, *, output_size: int | None = None):
    x, dim = (x.reshape(-1), 0) if dim is None else (x, dim)
    places = torch.arange(x.shape[dim]).repeat_interleave(torch.as_tensor(raw(repeats)))
    return x.index_select(dim, places)


@composed
def index_fill(x, dim: int, index, value):
    if not x.ndim:
        return index_fill(x.reshape(1), 0, index, value).reshape(())
    filled = torch.zeros(x.shape[dim], dtype=torch.bool, device=x.device).index_fill(0, index, True)
    return x.masked_fill(filled.reshape(-1, *[1] * (x.ndim - 1 - dim % x.ndim)), value)


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
def select_scatter(x, src, dim: int, index: int):
    index %= x.shape[dim]
    parts = [x.narrow(dim, 0, index), src.unsqueeze(dim), x.narrow(dim, index + 1, x.shape[dim] - index - 1)]
    return cat(parts, dim)


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
        x = x * scattered(ones, dim, raw(index).narrow(dim, at, 1), src.narrow(dim, at, 1))
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
