"""How precisely something computes, whatever its inputs are: found by running it at points a few roundings apart.

A kernel may work in single precision on doubles, and a table or a constant may be in half. What differs by no more than
that is no fault. Second differences tell: those of a smooth function fall with the square of the step, those of
roundings stay as large as they are.
"""

from __future__ import annotations

from typing import Any

import torch

from .numbers import drawn, moved, plain
from .subjects.subject import Forward, Gradient, Subject

STEP = {32: 2.0**-21, 16: 2.0**-5}  # some roundings of each precision, relative
ROUNDING = {32: 2.0**-24, 16: 2.0**-11}
FALLS = 6.0  # times, where the step is a quarter: what falls more is smooth


def works_in(subject: Subject) -> int:
    """64, 32 or 16: the bits of the numbers that forward and backward compute in."""
    found = [_bits(map) for map in (Forward(subject), Gradient(subject))]
    return min(found)


def _bits(map: Any) -> int:
    try:
        for bits, step in STEP.items():
            far, close = (_second_difference(map, by) for by in (step, step / 4))
            if far > 0.1 * ROUNDING[bits] and FALLS * close > far:
                return bits
    except Exception:  # not defined beside the point
        return 64
    return 64


def _second_difference(map: Any, step: float) -> float:
    """Of the values along one random way, relative to their size: the mean over all elements."""
    generator = torch.Generator().manual_seed(71)
    ways = [torch.sign(plain(drawn(x, generator)).real) * plain(x.detach()).abs() for x in map.at]
    ends = [map.values([moved(x, way, s * step) for x, way in zip(map.at, ways, strict=True)]) for s in (1, 0, -1)]
    triples = [[plain(y.detach()) for y in each] for each in zip(*ends, strict=True) if each[0] is not None]
    left, size = 0.0, 0.0
    for ahead, here, behind in triples:
        known = torch.isfinite(ahead) & torch.isfinite(here) & torch.isfinite(behind)
        left += float((ahead - 2 * here + behind).abs().double()[known].sum())
        size += float(here.abs().double()[known].sum())
    return left / size if size else 0.0
