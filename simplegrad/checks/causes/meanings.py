"""Values with a meaning at every sample, which may rightly turn up in a backward; and whether something is one."""

from __future__ import annotations

from typing import Any

import torch

from ..measure.numbers import near, plain
from .samples import Known, Samples

Meaning = list[Known]  # one known value at each sample


def meanings(samples: Samples) -> list[Meaning]:
    """Each known value at all samples; tensors of one number are left out, since they turn up anywhere."""
    rows = [s.known for s in samples.each]
    if len({len(row) for row in rows}) > 1:  # forward took another way
        return []
    found: dict[tuple, list[Meaning]] = {}
    for column in zip(*rows, strict=True):
        value = column[0].value
        if not isinstance(value, torch.Tensor) or not value.numel() or is_constant([c.value for c in column]):
            continue
        alike = found.setdefault(likeness(value), [])
        if not any(all(equal(a.value, b.value) for a, b in zip(column, other)) for other in alike):
            alike.append(list(column))
    return [meaning for alike in found.values() for meaning in alike]


def likeness(value: torch.Tensor) -> tuple:
    """The same for equal values, and seldom for others."""
    return value.shape, value.dtype, f"{float(plain(value.detach()).to(torch.complex128).abs().sum()):.6g}"


def is_constant(values: list[torch.Tensor]) -> bool:
    first = plain(values[0]).flatten()[0]
    return all(bool((plain(v) == first).all()) for v in values)


def is_alike(a: torch.Tensor, b: Any) -> bool:
    """Whether they are of one kind and shape, axes of length 1 apart."""
    if not isinstance(b, torch.Tensor) or a.dtype != b.dtype:
        return False
    return [n for n in a.shape if n != 1] == [n for n in b.shape if n != 1]


def means(values: list[Any], meaning: Meaning) -> bool:
    """Whether a site's values are those of a known one at all samples."""
    return all(
        is_alike(m.value, v) and near(v, m.value.reshape(v.shape), 1e-7) for v, m in zip(values, meaning, strict=True)
    )


def equal(a: Any, b: Any, tolerance: float = 1e-9) -> bool:
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and near(a, b, tolerance) and torch.equal(a.isfinite(), b.isfinite())
