"""Clause 3: backward is linear in the incoming gradient; zeros in, zeros out."""

from __future__ import annotations

import torch

from simplegrad.checks.causes import source
from simplegrad.checks.clauses.steps import Steps, parting
from simplegrad.checks.numbers import directions, largest, unlike
from simplegrad.checks.report import Finding
from simplegrad.checks.subjects.function import Rule, gradient_of

FACTOR = -1000.0
TOLERANCE = {64: 1e-7, 32: 2e-4}


def linear(rule: Rule, rough: float = 0.0) -> Finding | None:
    """`rough`: the precision of what backward computes in, where that is less than the inputs have."""
    tolerance = max(TOLERANCE[rule.bits], 30 * rough)
    g = rule.incoming
    once = rule.gradient
    none = gradient_of(rule, rule.values, [torch.zeros_like(v) for v in g])
    if any(largest(x) > tolerance * largest(y) for x, y in zip(none, once, strict=True)):
        return _finding(rule, "with an incoming gradient of zeros it gives gradients that are not zero", 0.0)
    more = gradient_of(rule, rule.values, [FACTOR * v for v in g])
    scaled = [None if x is None else FACTOR * x for x in once]
    if unlike(more, scaled, tolerance, finite=True):
        return _finding(
            rule, f"{FACTOR:g} times the incoming gradient gives not {FACTOR:g} times the gradients", FACTOR
        )
    other = directions(g, torch.Generator().manual_seed(8), scaled=False)
    second = gradient_of(rule, rule.values, other)
    both = gradient_of(rule, rule.values, [a + b for a, b in zip(g, other, strict=True)])
    total = [a if b is None else b if a is None else a + b for a, b in zip(once, second, strict=True)]
    size = max(map(largest, [*once, *second]), default=0.0)
    if unlike(both, total, tolerance, size, finite=True):
        return _finding(rule, "the gradients of a sum of two incoming gradients are not the sum of those of each", 2.0)
    return None


def _finding(rule: Rule, how: str, factor: float) -> Finding:
    return Finding(
        "not_linear",
        f"backward of {rule.name} is not linear in the incoming gradient: {how}. Autograd adds up gradients before it "
        f"calls backward, so what comes out depends on how often an output is used.",
        entry=rule.name,
        read_at=_line(rule, factor),
        order=1,
    )


def _line(rule: Rule, factor: float):
    """The first line after which a value is neither the same for both incoming gradients nor scaled as they are."""

    def holds(a: torch.Tensor, b: torch.Tensor) -> bool:
        if not a.is_floating_point() and not a.is_complex():
            return True
        scale = max(largest(a), largest(b))
        return any(largest(b - f * a) <= 1e-6 * scale for f in (1.0, factor or 0.5, (factor or 0.5) ** 2, 0.0))

    code = source.code_of(rule.call.backward)
    runs = []
    for by in (1.0, factor or 0.5):
        steps = Steps(code)
        ran = rule.alone.forward()
        with steps.watching():
            rule.alone.backward(ran, [v if v is None else by * v for v in rule.all_incoming()])
        runs.append(steps)
    return parting(*runs, holds) or (source.place(code, source.return_line(code)) if code else None)
