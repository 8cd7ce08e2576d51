"""What came of trying one clause on one rule, and when two answers to one question are the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..measure.numbers import is_floating, unlike
from ..report import Finding

ROUNDING = {64: 1e-9, 32: 1e-4, 16: 5e-2}  # relative, of sums that may be added up in another order


@dataclass
class Tried:
    """`state` and `why` as in `report.tell`, with the findings that go with them."""

    state: str
    why: str = ""
    findings: list[Finding] = field(default_factory=list)


def apart(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    """Whether two tensors differ beyond rounding; None is a zero, and NaN is the same as NaN."""
    real = [x for x in (a, b) if is_floating(x)]
    bits = min((torch.finfo(x.dtype).bits for x in real), default=64)
    return bool(unlike([a], [b], ROUNDING.get(bits, ROUNDING[16])))
