"""Operators that move elements and compute nothing. Their vjps read shapes, no numbers."""

from __future__ import annotations

import torch

from .table import Op, op


def moving(name: str, text, forward, *vjps, **more) -> Op:
    return op(name, text, forward, *vjps, shapes=True, **more)


def of_sizes(name: str):
    return lambda x, sizes: f"{x}.{name}({sizes})"


reshape = moving("reshape", of_sizes("reshape"), torch.reshape, lambda g, r, shape, sizes: g.reshape(shape))
expand = moving(
    "expand", of_sizes("expand"), lambda x, sizes: x.expand(sizes), lambda g, r, shape, sizes: summed(g, shape)
)
sum_to_size = moving(
    "sum_to_size",
    lambda x, sizes: f"{x}.sum_to_size({sizes})" if sizes else f"{x}.sum()",
    lambda x, sizes: x.sum_to_size(sizes) if sizes else x.sum(),
    lambda g, r, shape, sizes: g if g.shape == shape else g.expand(shape),
)


def summed(g, shape):
    """A gradient in the shape of what was broadcast to the shape that it has."""
    return g if g.shape == shape else g.sum_to_size(shape)


unsqueeze = moving("unsqueeze", "{}.unsqueeze({})", torch.unsqueeze, lambda g, r, shape, dim: g.squeeze(dim))
squeeze = moving(
    "squeeze",
    lambda x, dims: f"{x}.squeeze({'' if dims == 'None' else f'({dims})' if ',' in dims else dims})",
    lambda x, dims: x.squeeze() if dims is None else x.squeeze(dims),
    lambda g, r, shape, dims: g.reshape(shape),
)
flatten = moving("flatten", "{}.flatten({}, {})", torch.flatten, lambda g, r, shape, start, end: g.reshape(shape))
transpose = moving(
    "transpose",
    lambda x, *dims: f"{x}.mT" if {*dims} == {"-1", "-2"} else f"{x}.transpose({', '.join(dims)})",
    torch.transpose,
    lambda g, r, shape, dim0, dim1: g.transpose(dim0, dim1),
)
t = moving("t", "{}.t()", torch.t, lambda g, r, shape: g.t())
reversed_dims = moving("T", "{}.T", lambda x: x.permute(*range(x.ndim - 1, -1, -1)), lambda g, r, shape: g.T)
permute = moving(
    "permute", "{}.permute({})", torch.permute, lambda g, r, shape, dims: g.permute(*_inverse(dims, len(dims)))
)


def _inverse(dims, count: int) -> list[int]:
    positive = [dim % count for dim in dims]
    return [positive.index(dim) for dim in range(count)]


flip = moving("flip", "{}.flip({})", torch.flip, lambda g, r, shape, dims: g.flip(*dims), alike=True)
roll = moving(
    "roll",
    "{}.roll(({}), ({}))",
    torch.roll,
    lambda g, r, shape, shifts, dims: g.roll(tuple([-shift for shift in shifts]), dims),
    alike=True,
)
triu = moving("triu", "{}.triu({})", torch.triu, lambda g, r, shape, diagonal: g.triu(diagonal), alike=True)
tril = moving("tril", "{}.tril({})", torch.tril, lambda g, r, shape, diagonal: g.tril(diagonal), alike=True)


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
)
pad = moving(
    "pad",
    "pad({}, ({}), value={})",
    lambda x, pad, value: torch.nn.functional.pad(x, pad, value=value),
    lambda g, r, shape, sizes, value: pad(g, tuple([-n for n in sizes]), 0.0),
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

# --- places --------------------------------------------------------------------------------------------------------


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


gather = moving(
    "gather", "{}.gather({}, {})", torch.gather, lambda g, r, shape, dim, index: add_at(g, shape, dim, index)
)
add_at = moving(  # zeros of a shape with g added at places along a dimension: the backward of gather
    "add_at",
    lambda g, shape, dim, index: f"zeros({shape}).scatter_add({dim}, {index}, {g})",
    _add_at,
    lambda g, r, of_g, shape, dim, index: g.gather(dim, index),
    code="add_at({}, {}, {}, {})",
)
index_put = moving(
    "index_put",
    "{}.index_put([{}], {}, accumulate={})",
    lambda x, index, values, accumulate: x.index_put(index, values, accumulate),
    lambda g, r, shape, index, of_values, accumulate: g if accumulate else emptied(g, index),
    None,
    lambda g, r, shape, index, of_values, accumulate: summed(g[index], of_values),
    alike=True,
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
scatter = moving(
    "scatter",
    "{}.scatter({}, {}, {})",
    torch.scatter,
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
scatter_add = moving(
    "scatter_add",
    "{}.scatter_add({}, {}, {})",
    torch.scatter_add,
    lambda g, r, shape, dim, index, of_source: g,
    None,
    None,
    lambda g, r, shape, dim, index, of_source: picked(g, dim, index, of_source),
    alike=True,
)


def picked(g, dim, index, shape):
    """What came of a source, of which only as much was used as there are places."""
    found = g.gather(dim, index)
    return found if found.shape == shape else padded_to(found, shape)


def padded_to(g, shape):
    missing = [shape[place] - g.shape[place] for place in reversed(range(len(shape)))]
    return pad(g, tuple([n for each in missing for n in (0, each)]), 0.0)


index_add = moving(
    "index_add",
    "{}.index_add({}, {}, {})",
    torch.index_add,
    lambda g, r, shape, dim, index, of_source: g,
    None,
    None,
    lambda g, r, shape, dim, index, of_source: g.index_select(dim, index),
    alike=True,
)
