"""A PyTorch function beside a reference: the same mathematics in plain operations, run in double precision.

What may differ is estimated, not fixed: how far the reference's own gradients move when its inputs move by their
rounding, and some roundings of what comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ...torch_private import tree_flatten, tree_unflatten
from ..causes.by_numbers import unlike_reference
from ..measure.elements import elements
from ..measure.numbers import gap, largest, plain
from ..report import BROKEN, HOLDS, Finding, Report
from ..subjects.problem import Problem

DRAWS = 4
ROUNDINGS = 8.0


def beside_reference(problem: Problem, reference: Callable, report: Report) -> None:
    """Values and first-order gradients of the function as it is given, held against those of the reference."""
    outputs = [plain(out.detach()).double() for out in problem.outputs(problem.values)[1]]
    gradients = problem.first_order(problem.values, problem.incoming)
    rounding = max(_rounding(x) for x in [*problem.values, *problem.outputs(problem.values)[1]])
    generator = torch.Generator().manual_seed(51)
    (values, truth), *moved = [
        _of_reference(problem, reference, 0.0 if k == 0 else rounding, generator) for k in range(DRAWS + 1)
    ]
    if len(values) != len(outputs) or any(a.shape != b.shape for a, b in zip(values, outputs, strict=True)):
        raise ValueError(
            f"reference= gives {len(values)} outputs, or others in shape, where {report.name} has "
            f"{len(outputs)}. It takes the same inputs and returns the same outputs."
        )
    limits = [_limit(one, [m[0][i] for m in moved], rounding) for i, one in enumerate(values)]
    gaps = [gap(a, b) for a, b in zip(outputs, values, strict=True)]
    wrong = [i for i, (apart, limit) in enumerate(zip(gaps, limits, strict=True)) if apart > limit]
    if wrong:
        sentence = f"forward does not compute what the reference computes: they differ by up to {gaps[wrong[0]]:.3g}."
        report.findings.append(Finding("wrong_value", sentence, entry=report.name, order=0))
        return
    _gradients(problem, report, gradients, truth, [m[1] for m in moved], rounding)


def _gradients(problem: Problem, report: Report, found: list, truth: list, moved: list, rounding: float) -> None:
    errors: dict[str, float] = {}
    for i, (name, expected) in enumerate(zip(problem.names[: len(truth)], truth, strict=True)):
        expected = torch.zeros_like(problem.values[i], dtype=torch.float64) if expected is None else expected
        given = torch.zeros_like(expected) if found[i] is None else plain(found[i].detach()).to(expected.dtype)
        apart, limit = gap(given, expected), _limit(expected, [m[i] for m in moved], rounding)
        errors[name] = apart
        if apart > limit:
            report.findings.append(unlike_reference(problem, report.name, name, apart, limit))
        unknown = ~torch.isfinite(expected) & (given != expected)
        if bool(unknown.any()):
            said = (
                f"The gradient of the reference is not finite at {elements(name, unknown)}: nothing was compared there."
            )
            report.findings.append(Finding("unverified", said, entry=report.name))
    report.errors.setdefault(1, errors)
    report.tell(2, BROKEN if any(f.code == "wrong_gradient" for f in report.findings) else HOLDS)


def _of_reference(problem: Problem, reference: Callable, rounding: float, generator: torch.Generator) -> tuple:
    """(outputs, gradients) of the reference in double precision, its inputs moved by up to their rounding."""
    leaves = []
    for value in problem.values[: len(problem.places)]:  # what a module holds, the reference may have otherwise
        wide = plain(value.detach()).to(torch.complex128 if value.is_complex() else torch.float64)
        draw = 2 * torch.rand(wide.shape, generator=generator, dtype=torch.float64) - 1
        leaves.append((wide * (1 + rounding * draw)).requires_grad_())
    flat = [x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in problem.flat]
    for place, leaf in zip(problem.places, leaves, strict=True):
        flat[place] = leaf
    result = reference(*tree_unflatten(flat, problem.spec))
    outputs = [out for out in tree_flatten(result)[0] if isinstance(out, torch.Tensor) and out.requires_grad]
    incoming = [g.to(out.dtype) for g, out in zip(problem.incoming, outputs, strict=False)]
    found = torch.autograd.grad(outputs, leaves, incoming, allow_unused=True)
    return [plain(out.detach()) for out in outputs], list(found)


def _limit(expected: torch.Tensor, moved: list[Any], rounding: float) -> float:
    spread = max((largest(m - expected) for m in moved if m is not None), default=0.0)
    return 4 * spread + ROUNDINGS * rounding * largest(expected) + 1e-12


def _rounding(value: torch.Tensor) -> float:
    return torch.finfo(value.dtype).eps if value.is_floating_point() else torch.finfo(torch.float64).eps
