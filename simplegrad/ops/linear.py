"""Products of matrices."""

from __future__ import annotations

import operator

from .table import op


def left(g, r, a, b):
    if b.ndim == 1:
        return g * b if a.ndim == 1 else g.unsqueeze(-1) * b
    if a.ndim == 1:
        return (b @ g.unsqueeze(-1)).squeeze(-1)
    return g @ b.mT


def right(g, r, a, b):
    if a.ndim == 1:
        return g * a if b.ndim == 1 else a.unsqueeze(-1) * g.unsqueeze(-2)
    if b.ndim == 1:
        return (a.mT @ g.unsqueeze(-1)).squeeze(-1)
    return a.mT @ g


matmul = op("matmul", "{} @ {}", operator.matmul, left, right, takes=lambda x, other: (x, other))
