"""Operators of a list of Variables: the rule of each is one, which is told its place in the list."""

from __future__ import annotations

import torch

from .calls import UnsupportedError
from .table import op


def along(dim: int, part) -> tuple:
    """The index that takes `part` of dimension `dim`: [:, part], or [..., part, :] counted from the end."""
    return (*[slice(None)] * dim, part) if dim >= 0 else (..., part, *[slice(None)] * (-dim - 1))


def piece(g, shapes, dim: int, place: int):
    """Of the gradient of what was joined, the part of one. An empty part of other dimensions, as torch takes it, has
    none."""
    sizes = [0 if len(shape) != g.ndim else shape[dim] for shape in shapes]
    if len(shapes[place]) != g.ndim:
        return None
    start, stop = _sum(sizes[:place]), _sum(sizes[: place + 1])
    return g[along(dim, slice(start if place else None, None if place == len(shapes) - 1 else stop))]


def _sum(sizes):
    total = 0
    for size in sizes:
        total = size if isinstance(total, int) and total == 0 else total + size
    return total


def joined(name: str, tensors, dim) -> tuple:
    if not isinstance(dim, int):
        raise UnsupportedError(f"{name}: joins a list of tensors, {name}([x, y]); dim is a whole number.")
    return list(tensors), dim


cat = op(
    "cat",
    "cat([{}], dim={})",
    torch.cat,
    lambda g, r, shapes, dim, place: piece(g, shapes, dim, place),
    shapes=True,
    each=True,
    in_torch="torch.cat([{}], dim={})",
    takes=lambda tensors, dim=0: joined("cat", tensors, dim),
)
stack = op(
    "stack",
    "stack([{}], dim={})",
    torch.stack,
    lambda g, r, shapes, dim, place: g[along(dim, place)],
    shapes=True,
    each=True,
    in_torch="torch.stack([{}], dim={})",
    takes=lambda tensors, dim=0: joined("stack", tensors, dim),
)
