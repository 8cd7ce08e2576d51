"""How far values of two runs lie apart: by their numbers where both kept them, else by their norms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

from ..trace.events import Value
from ..trace.looks import Looks, along, wide

EPS = {"float16": 2**-10, "bfloat16": 2**-7, "float64": 2**-52, "complex128": 2**-52}
ROUNDINGS = 256  # how many a result may be off by, in units of its dtype's precision, before it counts as another one
AMPLIFIED = 200  # so much may an operation enlarge what came in as rounding


def norm_of(value: Value) -> float | None:
    if value.tensor is not None and value.tensor.is_floating_point():
        return Looks().norm(value.tensor)
    return value.norm


def is_known(value: Value) -> bool:
    return norm_of(value) is not None or bool(value.nonfinite)


def apart(a: Value | None, b: Value | None) -> float | None:
    """How far two values differ, relative to their size: 0 equal, inf where one is None, or not finite, or of another
    shape; None where nothing is known of their numbers."""
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    if bool(a.nonfinite) != bool(b.nonfinite):
        return math.inf
    if a.nonfinite:
        return 0.0
    if a.tensor is not None and b.tensor is not None and a.tensor.shape == b.tensor.shape:
        return _tensors_apart(a.tensor, b.tensor)
    x, y = norm_of(a), norm_of(b)
    if x is None or y is None:
        return None
    return 0.0 if x == y else abs(x - y) / max(x, y)


def _tensors_apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Where one was expanded along a dimension, the other's mean along it is compared, and what lies off it is added:
    the parts are orthogonal."""
    count = a.numel()
    a, b = wide(a).nan_to_num(), wide(b).nan_to_num()
    size = max(_norm(a, count), _norm(b, count))
    (mean_a, off_a), (mean_b, off_b) = _split(a, b), _split(b, a)
    return math.hypot(_norm(mean_a - mean_b, count), _norm(off_a, count), _norm(off_b, count)) / size if size else 0.0


def _split(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    dims = along(a, b)
    mean = a.mean(dims, keepdim=True) if dims else a
    return mean, a - mean


def _norm(distinct: torch.Tensor, count: int) -> float:
    """Of `count` elements that are these ones, repeated."""
    return float(distinct.norm()) * math.sqrt(count / max(distinct.numel(), 1))


def precision(*values: Value) -> float:
    """Of the coarsest floating dtype among them. A cast to a coarser one is not part of it: it is an operation."""
    return max((EPS.get(value.dtype, 2**-23) for value in values), default=2**-23)


def differs(pairs: Sequence[tuple[Value | None, Value | None]], came: float = 0.0, size: float = 0.0) -> bool:
    """Whether results are other ones, beyond rounding: of their own dtype, of what came in (`came`, relative), and of
    what cancelled out (`size`: the norm of the largest operand)."""
    for a, b in pairs:
        gap = apart(a, b)
        if gap is None or gap == 0.0:
            continue
        if gap == math.inf:
            return True
        norm = max(norm_of(a) or 0.0, norm_of(b) or 0.0)
        if a.dtype != b.dtype:  # judged where both are of one dtype again
            continue
        allowed = ROUNDINGS * precision(a, b) * max(1.0, min(size / norm if norm else math.inf, 1e6) / 8)
        if gap > max(allowed, AMPLIFIED * came):
            return True
    return False


def rounding(pairs: Iterable[tuple[Value | None, Value | None]]) -> float:
    """The largest relative gap among these that rounding explains: what came in as rounding may have grown."""
    small = [gap for a, b in pairs if (gap := apart(a, b)) and gap <= ROUNDINGS * precision(a, b)]
    return max(small, default=0.0)
