"""Equal in numbers: whether two tensors are the same up to rounding, and finding the equals of one among many."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

import torch

from ..trace.events import Value
from ..trace.looks import along, wide


def same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    """Equal up to the rounding of the coarser of the two. None is a known zero: the same as computed zeros."""
    if a is None or b is None:
        present = a if a is not None else b
        return present is None or not wide(present).any()
    return a.shape == b.shape and difference(a, b) <= tolerance(a, b)


def tolerance(a: torch.Tensor, b: torch.Tensor) -> float:
    """How far apart two ways of computing one thing may come out."""
    coarsest = max(torch.finfo(x.dtype).eps if x.dtype.is_floating_point else 0.0 for x in (a, b))
    return 300 * coarsest * max(largest(a), largest(b))


def largest(x: torch.Tensor) -> float:
    """The largest finite absolute value in it."""
    x = wide(x)
    finite = x[torch.isfinite(x)].abs()
    return float(finite.max()) if finite.numel() else 0.0


def difference(a: torch.Tensor | None, b: torch.Tensor | None) -> float:
    """The largest absolute difference, None counting as zeros; infinite where shapes or NaNs do not agree."""
    if a is None or b is None:
        present = a if a is not None else b
        return 0.0 if present is None or not present.numel() else float(wide(present).abs().max())
    if a.shape != b.shape:
        return math.inf
    if not a.numel():
        return 0.0
    a, b = wide(a), wide(b)
    if _farthest(a.isnan().double(), b.isnan().double()):
        return math.inf
    return _farthest(a, b)


def _farthest(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference of any number of `a` to any that stands in the same place of `b`: where one was expanded
    along a dimension, to the ends of what the other holds along it."""
    (low_a, high_a), (low_b, high_b) = _ends(a, b), _ends(b, a)
    pairs = [(low_a, high_b)] if low_a is high_a and low_b is high_b else [(low_a, high_b), (high_a, low_b)]
    return max(_apart(x, y) for x, y in pairs)


def _ends(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    dims = along(a, b)
    return (a.amin(dims, keepdim=True), a.amax(dims, keepdim=True)) if dims else (a, a)


def _apart(a: torch.Tensor, b: torch.Tensor) -> float:
    apart = (a - b).abs()
    apart[(a == b) | (a.isnan() & b.isnan())] = 0.0  # also infinities of one sign
    return math.inf if apart.isnan().any() else float(apart.max())


class Pool:
    """Values among which to look for equals. Bounded work for each question, however many are alike."""

    LOOKS = 32

    def __init__(self, values: Iterable[tuple[int, Value]]):
        self._by_shape: dict[tuple, list[tuple[float, int]]] = {}
        self._values: dict[int, Value] = {}
        self._marks: dict[int, float] = {}
        for place, value in values:
            self.add(place, value)

    def add(self, place: int, value: Value) -> None:
        if value.tensor is not None:
            self._values[place] = value
            self._marks[place] = fingerprint(value.tensor)
            insort(self._by_shape.setdefault(tuple(value.shape), []), (self._marks[place], place))

    def take(self, place: int) -> None:
        """Out of the pool with it; nothing is done if it is not in there."""
        value = self._values.pop(place, None)
        if value is not None:
            row = self._by_shape[tuple(value.shape)]
            row.pop(bisect_left(row, (self._marks[place], place)))

    def equals(self, value: Value) -> Iterator[int]:
        """Places of the first few that are the same in numbers."""
        return (place for place in self.alike(value) if self.is_same(value, place))

    def alike(self, value: Value) -> list[int]:
        """Places of the first few that may be the same, told by one number each: `is_same` then looks at them all."""
        if value.tensor is None:
            return []
        mark = fingerprint(value.tensor)
        rounded = tolerance(value.tensor, value.tensor) + 2**-40 * largest(value.tensor)
        slack = rounded * math.prod(_weight(*each) for each in enumerate(value.tensor.shape))
        row = self._by_shape.get(tuple(value.shape), [])
        start = bisect_left(row, (mark - slack, -1))
        return [place for at, place in row[start : start + self.LOOKS] if at <= mark + slack]

    def is_same(self, value: Value, place: int) -> bool:
        return same(value.tensor, self._values[place].tensor)


def fingerprint(x: torch.Tensor) -> float:
    """One number for a tensor: nearly equal tensors have nearly equal ones."""
    numbers = wide(x)
    for dim, size in reversed(list(enumerate(x.shape))):
        if numbers.shape[dim] == size:
            numbers = (numbers * _weights(dim, size)).sum(-1)
        else:
            numbers = numbers[..., 0] * _weight(dim, size)
    mark = float(numbers)
    return mark if math.isfinite(mark) else 0.0


_cached: dict[tuple[int, int], torch.Tensor] = {}


def _weights(dim: int, size: int) -> torch.Tensor:
    """Of the elements along a dimension."""
    if (dim, size) not in _cached:
        if len(_cached) > 64:
            _cached.clear()
        _cached[dim, size] = 1.0 + torch.cos(dim + torch.arange(size, dtype=torch.float64))
    return _cached[dim, size]


def _weight(dim: int, size: int) -> float:
    """Their sum, which needs none of them."""
    return size + math.sin(size / 2) * math.cos(dim + (size - 1) / 2) / math.sin(0.5)
