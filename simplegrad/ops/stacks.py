"""Operators of several tensors: one beside the other, brought to one shape, or each with each."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .calls import called, chosen, composed, formula, listed
from .joining import cat, stack
from .shapes import pad

formula("vstack", lambda tensors: cat([x.reshape(1, -1) if x.ndim < 2 else x for x in tensors], 0))
formula("column_stack", lambda tensors: cat([x.reshape(-1, 1) if x.ndim < 2 else x for x in tensors], 1))


@composed
def hstack(tensors):
    tensors = [x.reshape(1) if not x.ndim else x for x in tensors]
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1)


@composed
def dstack(tensors):
    shaped = [x.reshape(1, -1, 1) if x.ndim < 2 else x.unsqueeze(-1) if x.ndim == 2 else x for x in tensors]
    return cat(shaped, 2)


def given(tensors: tuple) -> list:
    """f(a, b) and f([a, b]) alike."""
    return listed(tensors[0] if len(tensors) == 1 else tensors)


@composed
def meshgrid(*tensors, indexing: str | None = None):
    chosen("indexing", indexing, (None, "ij", "xy"))
    axes, shape = given(tensors), tuple(x.numel() for x in given(tensors))
    grids = [
        x.reshape([-1 if at == dim else 1 for at in range(len(axes))]).expand(*shape) for dim, x in enumerate(axes)
    ]
    return tuple(x.transpose(0, 1) for x in grids) if indexing == "xy" and len(axes) > 1 else tuple(grids)


@composed
def broadcast_tensors(*tensors):
    shape = torch.broadcast_shapes(*[tuple(x.shape) for x in given(tensors)])
    return tuple(x.expand(*shape) for x in given(tensors))


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


def for_at_least(count: int) -> Callable:
    def made(*tensors):
        found = tuple(at_least(count, x) for x in given(tensors))
        return found if len(found) > 1 or isinstance(tensors[0], (tuple, list)) else found[0]

    return called(f"atleast_{count}d", made)


for _count in (1, 2, 3):
    composed(for_at_least(_count))


@composed
def block_diag(*tensors):
    parts = [at_least(2, x) for x in given(tensors)]
    wide, at, rows = sum(x.shape[1] for x in parts), 0, []
    for x in parts:
        rows.append(pad(x, (at, wide - at - x.shape[1])))
        at += x.shape[1]
    return cat(rows, 0)
