"""Clause 12 where nothing but half precision can be had: forward itself, moved far, beside what the gradient says.

A value in half precision moves in steps, which large moves outweigh. That tells a wrong sign, a lost term or a factor
of two, and no small fault: what does not differ grossly is not called correct.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..causes.by_numbers import steps_apart
from ..measure.looks import FLOOR
from ..measure.numbers import drawn, moved, plain
from ..measure.sizes import reach
from ..report import Finding
from ..subjects.problem import HALF, Problem

STEPS = (0.05, 0.1)
DRAWS = 8
GROSS = 0.12  # of what the gradient says, squared and summed over all draws: a third of it
ROUNDINGS = 4.0


def grossly_wrong(problem: Problem) -> Finding | None:
    """The first input whose gradient is another than forward's moves say, at both steps."""
    try:
        outputs = [plain(y.detach()) for y in problem.outputs(problem.values)[1]]
        gradients = problem.first_order(problem.values, problem.incoming)
        for i, name in enumerate(problem.names):
            told = [_apart(problem, i, gradients[i], outputs, step) for step in STEPS]
            if all(apart > GROSS for apart, _, _ in told):
                return steps_apart(problem, name, *told[0][1:])
    except Exception:  # it cannot be moved so far
        return None
    return None


def _apart(problem: Problem, i: int, gradient: Any, outputs: Sequence[torch.Tensor], h: float) -> tuple:
    """(how far the two are apart beyond rounding; of the last draw: what the gradient says, what forward's values)"""
    gaps, sizes, said, found = 0.0, 1e-300, 0.0, 0.0
    for draw in range(DRAWS):
        x = problem.values[i]
        way = drawn(x, torch.Generator().manual_seed(90 + draw)) * reach(x)
        ends = [moved(x, way, sign * h) for sign in (1, -1)]
        move = plain(ends[0]).double() - plain(ends[1]).double()
        along = torch.zeros_like(move) if gradient is None else plain(gradient.detach()).double() * move
        after = [problem.outputs([*problem.values[:i], end, *problem.values[i + 1 :]])[1] for end in ends]
        triples = [(w.double(), plain(a.detach()), plain(b.detach())) for w, a, b in zip(problem.incoming, *after)]
        found = sum(float((w * (a.double() - b.double())).sum()) for w, a, b in triples)
        noise = sum(float((w * y.double()).square().sum()) for w, y in zip(problem.incoming, outputs)) ** 0.5
        said = float(along.sum())
        least = FLOOR[32] * float(move.abs().max()) * sum(float(w.abs().max()) for w in problem.incoming if w.numel())
        gaps += max(0.0, abs(said - found) - ROUNDINGS * _eps(outputs) * noise - least) ** 2
        sizes += max(float(along.square().sum()) ** 0.5, abs(found)) ** 2
    return gaps / sizes, said / (2 * h), found / (2 * h)


def _eps(outputs: Sequence[torch.Tensor]) -> float:
    return max((torch.finfo(y.dtype).eps for y in outputs if y.dtype in HALF), default=2.0**-8)
