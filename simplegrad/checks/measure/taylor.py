"""Remainders of Taylor expansions: what is left of a function once the derivatives that it claims are taken off.

Evidence to look at, beside a verdict that hangs on none of it: with a right gradient the remainder falls with the
square of the step, with a wrong one in proportion to it; with a right second derivative too, with its third power.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median

import torch

from ..report import Remainders
from ..subjects.subject import Forward, Gradient, Subject
from .numbers import directions, inner, inner_sum, one_moved

STEPS = tuple(10.0 ** (-k / 2) for k in range(2, 10))
EPS = {64: 2.0**-52, 32: 2.0**-23}
NOISE = 1e3  # roundings of the function's value below which a remainder says nothing
MOST_INPUTS = 12


def remainders(subject: Subject, order: int) -> list[Remainders]:
    """For each input along one random direction, and for orders 1 and 2 as far as asked: eight remainders and their
    rate. What cannot be evaluated there is left out."""
    found = []
    ways = directions(subject.values, torch.Generator().manual_seed(77))
    for place, (name, way) in enumerate(list(zip(subject.names, ways, strict=True))[:MOST_INPUTS]):
        for level in range(1, min(order, 2) + 1):
            try:
                found.append(along(subject, place, name, way, level))
            except Exception:  # not defined so far away, or not differentiable twice: told elsewhere
                break
    return found


def along(subject: Subject, place: int, name: str, way: torch.Tensor, order: int) -> Remainders:
    """Of <incoming, outputs> as a function of one input moved along one direction."""
    value, claims = value_along(subject, place, way), claimed(subject, place, way, order)
    start = value(0.0)
    left = []
    for h in STEPS:
        taken = sum(claim * h**k / math.factorial(k) for k, claim in enumerate(claims, 1))
        left.append(abs(value(h) - start - taken))
    floor = NOISE * EPS[subject.bits] * max(abs(start), *map(abs, claims))
    return Remainders(order, name, STEPS, tuple(left), rate(STEPS, left, floor))


def value_along(subject: Subject, place: int, way: torch.Tensor) -> Callable[[float], float]:
    forward = Forward(subject)

    def value(h: float) -> float:
        return inner_sum(forward.values(one_moved(subject.values, place, way, h)), subject.incoming)

    return value


def claimed(subject: Subject, place: int, way: torch.Tensor, order: int) -> list[float]:
    """The first derivative along the direction as backward gives it, and the second as its own backward does."""
    claims = [inner(Forward(subject).vjp(subject.values, subject.incoming)[place], way)]
    if order > 1:
        weights = [way if i == place else torch.zeros_like(x) for i, x in enumerate(subject.values)]
        claims.append(inner(Gradient(subject).vjp([*subject.values, *subject.incoming], weights)[place], way))
    return claims


def rate(steps: Sequence[float], left: Sequence[float], floor: float) -> float:
    """The power of the step by which the remainder falls, between the steps where it is more than rounding."""
    told = [(h, r) for h, r in zip(steps, left, strict=True) if math.isfinite(r) and r > floor]
    slopes = [math.log(r / s) / math.log(h / k) for (h, r), (k, s) in pairwise(told)]
    return median(slopes[-4:]) if len(slopes) > 1 else math.nan
