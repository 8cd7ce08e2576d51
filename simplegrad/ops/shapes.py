"""Operators that give elements another shape or order, and compute nothing. Their vjps read shapes, no numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from .calls import UnsupportedError, composed, formula, listed, method, raw, sizes_of
from .joining import along
from .table import Op, of_tensors, op


def moving(name: str, text, forward, *vjps, **more) -> Op:
    return op(name, text, forward, *vjps, shapes=True, **more)


def moved(name: str, *vjps, **more) -> Op:
    return of_tensors(name, *vjps, shapes=True, **more)


def of_sizes(name: str):
    return lambda x, sizes: f"{x}.{name}({sizes})"


reshape = moving(
    "reshape",
    of_sizes("reshape"),
    torch.reshape,
    lambda g, r, shape, sizes: g.reshape(shape),
    takes=lambda x, *sizes, shape=None: (x, sizes_of(sizes, shape)),
)
expand = moving(  # repeats dimensions of size 1, and new ones in front, without copying; -1: as it is
    "expand",
    of_sizes("expand"),
    lambda x, sizes: x.expand(sizes),
    lambda g, r, shape, sizes: summed(g, shape),
    takes=lambda x, *sizes, size=None: (x, sizes_of(sizes, size)),
)
sum_to_size = moving(  # the backward of expand: sums what broadcasting repeated
    "sum_to_size",
    lambda x, sizes: f"{x}.sum_to_size({sizes})" if sizes else f"{x}.sum()",
    lambda x, sizes: x.sum_to_size(sizes) if sizes else x.sum(),
    lambda g, r, shape, sizes: g if g.shape == shape else g.expand(shape),
    takes=lambda x, *size: (x, sizes_of(size)),
)


def summed(g, shape):
    """A gradient in the shape of what was broadcast to the shape that it has."""
    return g if g.shape == shape else g.sum_to_size(shape)


unsqueeze = moved("unsqueeze", lambda g, r, shape, dim: g.squeeze(dim), takes=lambda x, dim: (x, dim))
squeeze = moving(
    "squeeze",
    lambda x, dims: f"{x}.squeeze({'' if dims == 'None' else f'({dims})' if ',' in dims else dims})",
    lambda x, dims: x.squeeze() if dims is None else x.squeeze(dims),
    lambda g, r, shape, dims: g.reshape(shape),
    takes=lambda x, *dims, dim=None: (x, squeezed(dims if dim is None else (dim,))),
)


def squeezed(dims: tuple) -> int | tuple[int, ...] | None:
    return None if not dims else dims[0] if isinstance(dims[0], int) else tuple(dims[0])


flatten = moved(
    "flatten",
    lambda g, r, shape, start, end: g.reshape(shape),
    takes=lambda x, start_dim=0, end_dim=-1: (x, start_dim, end_dim),
)
transpose = moving(
    "transpose",
    lambda x, *dims: f"{x}.mT" if {*dims} == {"-1", "-2"} else f"{x}.transpose({', '.join(dims)})",
    torch.transpose,
    lambda g, r, shape, dim0, dim1: g.transpose(dim0, dim1),
    takes=lambda x, dim0, dim1: (x, dim0, dim1),
)
t = moved("t", lambda g, r, shape: g.t(), takes=lambda x: (x,))
reversed_dims = moving("T", "{}.T", lambda x: x.permute(tuple(range(x.ndim - 1, -1, -1))), lambda g, r, shape: g.T)
permute = moved(
    "permute",
    lambda g, r, shape, dims: g.permute(*_inverse(dims, len(dims))),
    takes=lambda x, *order, dims=None: (x, sizes_of(order, dims)),
)


def _inverse(dims, count: int) -> list[int]:
    positive = [dim % count for dim in dims]
    return [positive.index(dim) for dim in range(count)]


flip = moved(
    "flip",
    lambda g, r, shape, dims: g.flip(*dims),
    alike=True,
    takes=lambda x, *axes, dims=None: (x, sizes_of(axes, dims)),
)
rolled = moving(
    "roll",
    "{}.roll(({}), ({}))",
    torch.roll,
    lambda g, r, shape, shifts, dims: g.roll(tuple([-shift for shift in shifts]), dims),
    alike=True,
)


@composed
def roll(x, shifts, dims=None):
    if dims is None or dims == ():
        return x.flatten().roll(shifts, 0).reshape(x.shape)
    return rolled(x, tuple(listed(shifts)), tuple(listed(dims)))


triu = moved(
    "triu", lambda g, r, shape, diagonal: g.triu(diagonal), alike=True, takes=lambda x, diagonal=0: (x, diagonal)
)
tril = moved(
    "tril", lambda g, r, shape, diagonal: g.tril(diagonal), alike=True, takes=lambda x, diagonal=0: (x, diagonal)
)


def _folded(g, shape, times):
    """Of the gradient of what was repeated, the sum of all copies."""
    sizes = [1] * (len(times) - len(shape)) + [shape[i] for i in range(len(shape))]
    apart = g.reshape(*[each for pair in zip(times, sizes) for each in pair])
    return apart.sum(tuple(range(0, 2 * len(times), 2))).reshape(shape) if times else g


repeat = moving(
    "repeat",
    of_sizes("repeat"),
    lambda x, times: x.repeat(times),
    lambda g, r, shape, times: _folded(g, shape, times),
    takes=lambda x, *times, repeats=None: (x, sizes_of(times, repeats)),
)
padded = moving(
    "pad",
    "pad({}, ({}), value={})",
    lambda x, pad, value: torch.nn.functional.pad(x, pad, value=value),
    lambda g, r, shape, sizes, value: padded(g, tuple([-n for n in sizes]), 0.0),
    code="pad({}, {}, value={})",
    in_torch="torch.nn.functional.pad({}, {}, value={})",
)


cast = moving(
    "cast",
    "{}.to({})",
    lambda x, dtype, before: x.to(dtype),
    lambda g, r, shape, dtype, before: cast(g, before, dtype),
    alike=True,
)

# --- made of those -----------------------------------------------------------------------------------------------

formula("expand_as", lambda x, other: x.expand(other.shape))
formula("view_as", lambda x, other: x.reshape(other.shape))
formula("adjoint", lambda x: x.mT)
formula("ravel", lambda x: x.reshape(-1))
formula("broadcast_to", lambda x, size: x.expand(*size))


@composed
def tile(x, *sizes, dims: Sequence[int] | None = None):
    """As repeat, with a 1 in front where too few are given."""
    counts = sizes_of(sizes, dims)
    return x.repeat(*(1,) * (x.ndim - len(counts)), *counts)


formula("fliplr", lambda x: x.flip(1))
formula("flipud", lambda x: x.flip(0))
formula("select", lambda x, dim, index: x[along(dim, index)])


@method
def view(x, *shape: int):
    return x.to(shape[0]) if isinstance(shape[0], torch.dtype) else reshape(x, sizes_of(shape))


@composed
def unflatten(x, dim: int, sizes):
    dim %= x.ndim
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


@composed
def movedim(x, source, destination):
    source, destination = ([each % x.ndim for each in listed(dims)] for dims in (source, destination))
    rest = iter(each for each in range(x.ndim) if each not in source)
    return x.permute(*[source[destination.index(i)] if i in destination else next(rest) for i in range(x.ndim)])


@composed
def narrow(x, dim: int, start, length):
    start = int(start)
    start = start + x.shape[dim] if start < 0 else start
    return x[along(dim, slice(start, start + length))]


@composed
def split(x, split_size, dim: int = 0) -> tuple:
    """Parts of `split_size` along `dim`, the last one maybe shorter; or of the sizes in a list."""
    total = x.shape[dim]
    if isinstance(split_size, int):
        split_size = [min(split_size, total - at) for at in range(0, total, split_size or 1)] or [0]
    if sum(split_size) != total:
        raise UnsupportedError(f"split: sizes {list(split_size)} add up to {sum(split_size)}, dim {dim} is {total}.")
    ends = [0, *accumulate(split_size)]
    return tuple(x.narrow(dim, start, stop - start) for start, stop in zip(ends, ends[1:]))


@composed
def chunk(x, chunks: int, dim: int = 0) -> tuple:
    if isinstance(chunks, int) and chunks < 1:
        raise UnsupportedError(f"chunk: {chunks} parts; at least 1.")
    size = (x.shape[dim] + (chunks - 1)) // chunks
    return x.split(size, dim) if size else tuple(x.narrow(dim, 0, 0) for _ in range(chunks))


@composed
def unbind(x, dim: int = 0) -> tuple:
    return tuple(x.select(dim, i) for i in range(x.shape[dim]))


@composed
def split_with_sizes(x, split_sizes, dim: int = 0) -> tuple:
    return x.split(list(split_sizes), dim)


@composed
def tensor_split(x, indices_or_sections, dim: int = 0) -> tuple:
    n, parts = x.shape[dim], raw(indices_or_sections)
    parts = parts.tolist() if isinstance(parts, torch.Tensor) else parts
    if isinstance(parts, int):
        small, more = divmod(n, parts)  # one by one, so that whoever watches can end it
        return tuple(x.narrow(dim, at * small + min(at, more), small + (at < more)) for at in range(parts))
    ends = [0, *[slice(each).indices(n)[1] for each in parts], n]
    return tuple(x.narrow(dim, start, max(stop - start, 0)) for start, stop in zip(ends, ends[1:]))


@composed
def hsplit(x, sections) -> tuple:
    return tensor_split(x, sections, 0 if x.ndim == 1 else 1)


@composed
def vsplit(x, sections) -> tuple:
    return tensor_split(x, sections, 0)


@composed
def dsplit(x, sections) -> tuple:
    return tensor_split(x, sections, 2)


@method
def unfold(x, dimension: int, size: int, step: int):
    """Windows along a dimension, `step` apart; what is within one is a new last dimension."""
    rows = x if x.ndim else x.reshape(1)
    dim = dimension % rows.ndim
    places = torch.arange((rows.shape[dim] - size) // step + 1).unsqueeze(1) * step + torch.arange(size)
    found = rows[along(dim, places)].movedim(dim + 1, -1)
    return found if x.ndim else found.reshape(size)


@composed
def pad(input, pad, mode: str = "constant", value=None):
    """torch.nn.functional.pad"""
    if isinstance(pad, int) or len(pad) % 2:
        raise UnsupportedError("pad: two numbers for each dimension, from the last one on: pad(x, (1, 1)).")
    if mode == "constant":
        return padded(input, tuple(pad), 0.0 if value is None else value)
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


@composed
def rot90(x, k: int = 1, dims=(0, 1)):
    a, b = dims
    k %= 4
    x = x.flip(a, b) if k == 2 else x.flip(b) if k == 1 else x.flip(a) if k == 3 else x.clone()
    return x.transpose(a, b) if k % 2 else x
