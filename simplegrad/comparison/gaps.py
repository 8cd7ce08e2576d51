"""How far values of two runs lie apart: by their numbers where both kept them, else by their norms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ..trace.events import Value
from ..trace.looks import Looks, along, wide

EPS = {"float16": 2**-10, "bfloat16": 2**-7, "float64": 2**-52, "complex128": 2**-52}
ROUNDINGS = 256  # how many a result may be off by, in units of its dtype's precision, before it counts as another one
ROUNDINGS_IN_HALF = 8  # more would pass for anything
AMPLIFIED = 200  # so much may an operation enlarge what came in as rounding
AMPLIFIED_IN_HALF = 8
CANCELLING = 8  # an operand that much larger than the result is one whose rounding counts


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


def is_half(eps: float) -> bool:
    return eps > 2**-12


def allowed(eps: float) -> float:
    """The relative gap of two results that rounding explains, where nothing cancels out."""
    return (ROUNDINGS_IN_HALF if is_half(eps) else ROUNDINGS) * eps


@dataclass(frozen=True)
class Given:
    """What an operation was given, as far as rounding goes: the relative gap that `came` in, the norm of the largest
    operand (`size`) and how many elements that has (`count`), and the precision (`eps`) that its numbers were computed
    in, on both sides, before they came here; 0 where that is the dtype's own."""

    came: float = 0.0
    size: float = 0.0
    count: int = 0
    eps: float = 0.0

    def floor(self, x: Value) -> float:
        """The norm below which a result `x` may be nothing but rounding: what cancels out in a sum leaves that of its
        terms, and of n elements the sum of all has up to sqrt(n) times their norm."""
        terms = max(1.0, self.count / max(elements(x), 1)) if len(x.shape) < 2 else 1.0
        return self.size * math.sqrt(terms) / CANCELLING


def given(pairs: Iterable[tuple[Value | None, Value | None]], eps: float = 0.0) -> Given:
    """`pairs`: the operands on both sides."""
    both = list(pairs)
    known = [(norm_of(x) or 0.0, elements(x)) for pair in both for x in pair if x is not None]
    return Given(rounding(both, eps), *max(known, default=(0.0, 0)), eps)


def elements(x: Value) -> int:
    return math.prod(x.shape)


def differs(pairs: Sequence[tuple[Value | None, Value | None]], given: Given = Given()) -> bool:
    """Whether results are other ones, beyond rounding: of their own dtype, of what came in, and of what cancelled
    out."""
    for a, b in pairs:
        gap = apart(a, b)
        if gap is None or gap == 0.0:
            continue
        if gap == math.inf:
            return True
        if a.dtype != b.dtype:  # judged where both are of one dtype again
            continue
        norm, eps = max(norm_of(a) or 0.0, norm_of(b) or 0.0), max(precision(a, b), given.eps)
        most = allowed(eps) * max(1.0, given.floor(a) / norm if norm else math.inf)
        if gap > max(most, (AMPLIFIED_IN_HALF if is_half(eps) else AMPLIFIED) * given.came):
            return True
    return False


def rounding(pairs: Iterable[tuple[Value | None, Value | None]], eps: float = 0.0) -> float:
    """The largest relative gap among these that rounding explains: what came in as rounding may have grown."""
    gaps = ((apart(a, b), a, b) for a, b in pairs if a is not None and b is not None)
    return max((gap for gap, a, b in gaps if gap and gap <= allowed(max(eps, precision(a, b)))), default=0.0)
