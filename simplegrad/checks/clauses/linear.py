"""Clause 3: backward is linear in the incoming gradient; zeros in, zeros out."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..measure.numbers import directions, is_floating, largest, unlike
from ..report import Finding, Place
from ..subjects.subject import Gradients, Rule, gradient_of
from .solver import NEAR, stops_by_incoming
from .steps import beside_it, parting, stepped

FACTOR, OTHER = -1024.0, 700.0  # a power of two scales all that is linear without rounding
TOLERANCE = {64: 1e-7, 32: 2e-4}
STOPS = 1e-4  # what a backward that iterates may leave over, as at the first order


def linear(rule: Rule, rough: float = 0.0, steady: bool = True) -> Finding | None:
    """`rough`: the precision of what backward computes in, where that is less than the inputs have. `steady`: backward
    gives the same again, so that it can be asked several times after one forward."""
    tolerance = max(TOLERANCE[rule.bits], 30 * rough)
    run, g = rule.run(rule.values), rule.incoming

    def asked(incoming: list[torch.Tensor]) -> Gradients:
        return run.gradients(incoming, keep=True) if steady else gradient_of(rule, rule.values, incoming)

    once = rule.gradient if steady else asked(g)
    none = asked([torch.zeros_like(v) for v in g])
    if any(largest(x) > tolerance * largest(y) for x, y in zip(none, once, strict=True)):
        return _finding(rule, "with an incoming gradient of zeros it gives gradients that are not zero", 0.0)
    other = directions(g, torch.Generator().manual_seed(8), scaled=False)
    second = asked(other)
    mixed = asked([FACTOR * a + OTHER * b for a, b in zip(g, other, strict=True)])
    if not unlike(mixed, _sum(once, second, FACTOR, OTHER), tolerance, finite=True):  # all at one go; else which of it
        return None
    more = asked([FACTOR * v for v in g])
    scaled = [None if x is None else FACTOR * x for x in once]
    if unlike(more, scaled, tolerance, finite=True):
        how = f"{FACTOR:g} times the incoming gradient does not give {FACTOR:g} times the gradients"
        return _unless_it_stops(
            rule, _finding(rule, how, FACTOR), unlike_by(more, scaled), [g, [FACTOR * v for v in g]]
        )
    both = asked([a + b for a, b in zip(g, other, strict=True)])
    size = max(map(largest, [*once, *second]), default=0.0)
    size = max(size, _rounding([*g, *other]) / tolerance)  # a saturated softmax gives what rounding leaves of g - g
    if unlike(both, _sum(once, second), tolerance, size, finite=True):
        how = "the gradients of a sum of two incoming gradients are not the sum of those of each"
        by = unlike_by(both, _sum(once, second), size)
        return _unless_it_stops(rule, _finding(rule, how, 2.0), by, [g, other, [a + b for a, b in zip(g, other)]])
    return None


def unlike_by(found: Gradients, expected: Gradients, size: float = 0.0) -> Callable[[float], bool]:
    return lambda tolerance: bool(unlike(found, expected, tolerance, size, finite=True))


def _unless_it_stops(
    rule: Rule, finding: Finding, is_apart: Callable[[float], bool], ways: list[list[torch.Tensor]]
) -> Finding | None:
    """A backward that iterates until it is near enough is linear up to where it stops, and no further."""
    if is_apart(NEAR) or not stops_by_incoming(rule, ways):
        return finding
    if not is_apart(STOPS):
        return None
    sentence = (
        f"{rule.backward_said} iterates; how often depends on the incoming gradient. It is linear in it up to where it "
        f"stops, and whether the rest is more than that cannot be told."
    )
    return Finding("unverified", sentence, entry=rule.name)


def _rounding(incoming: list[torch.Tensor]) -> float:
    """By how much a difference of incoming gradients may be off."""
    known = [4 * torch.finfo(v.dtype).eps * largest(v) for v in incoming if is_floating(v)]
    return max(known, default=0.0)


def _sum(one: Gradients, other: Gradients, a: float = 1.0, b: float = 1.0) -> Gradients:
    """a times the one and b times the other; None is zeros."""
    parts = [[by * g for by, g in ((a, x), (b, y)) if g is not None] for x, y in zip(one, other, strict=True)]
    return [sum(part) if part else None for part in parts]


def _finding(rule: Rule, how: str, factor: float) -> Finding:
    return Finding(
        "not_linear",
        f"{rule.backward_said} is not linear in the incoming gradient: {how}. Autograd adds up gradients before it "
        f"calls backward, so what comes out depends on how often an output is used.",
        entry=rule.name,
        read_at=_line(rule, factor),
        order=1,
    )


def _line(rule: Rule, factor: float) -> Place | None:
    """The first line after which a value is neither the same for both incoming gradients nor scaled as they are."""

    def holds(a: torch.Tensor, b: torch.Tensor) -> bool:
        if not a.is_floating_point() and not a.is_complex():
            return True
        scale = max(largest(a), largest(b))
        return any(largest(b - f * a) <= 1e-6 * scale for f in (1.0, factor or 0.5, (factor or 0.5) ** 2, 0.0))

    runs = [stepped(rule, [v if v is None else by * v for v in rule.all_incoming()]) for by in (1.0, factor or 0.5)]
    at = parting(*runs, holds)
    return rule.returned_at() if at is None else beside_it(*runs, at) or at
