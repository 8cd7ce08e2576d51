"""What came of trying one clause on one rule, and when two answers to one question are the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

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
    if a is None or b is None:
        present = a if a is not None else b
        return present is not None and bool((present != 0).any())
    if a.shape != b.shape:
        return True
    a, b = a.detach(), b.detach()
    bits = min(torch.finfo(x.dtype).bits if x.is_floating_point() or x.is_complex() else 64 for x in (a, b))
    size = max((float(x.abs().nan_to_num(0, 0, 0).max()) for x in (a, b) if x.numel()), default=0.0)
    return not torch.allclose(a, b.to(a.dtype), rtol=0, atol=ROUNDING.get(bits, ROUNDING[16]) * size, equal_nan=True)


def told_once(error: Exception) -> str:
    """The kind of an error and its first line."""
    line = (str(error).splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {line}"
