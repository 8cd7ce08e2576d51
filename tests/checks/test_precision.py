"""In what precision something computes is found by running it; a kink, a loop or a coarse formula is no precision."""

import numpy as np
import pytest
import torch

from simplegrad import check
from simplegrad.checks.measure.precision import works_in
from simplegrad.checks.subjects.problem import Problem
from tests.checks.right.register import real


def in_numpy(dtype):
    class Made(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.from_numpy(np.sin(x.detach().numpy().astype(dtype)).astype(np.float64))

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            return g * torch.from_numpy(np.cos(ctx.saved_tensors[0].numpy().astype(dtype)).astype(np.float64))

    return Made.apply


def bisected(x):
    """The root of y + y**3 = x, as a loop finds it."""
    low, high = torch.full_like(x, -9.0), torch.full_like(x, 9.0)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = torch.where(middle + middle**3 < x, middle, low), torch.where(middle + middle**3 < x, high, middle)
    return x * (low + high).detach() / 2


CASES = {
    "double": (lambda x: x.sin(), 64),
    "kinks": (lambda x: 0.5 * x * (x + 2).clamp(0, 2), 64),
    "sorted": (lambda x: x.sort().values * x, 64),
    "a loop": (bisected, 64),
    "single": (in_numpy(np.float32), 32),
    "half": (in_numpy(np.float16), 16),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("count", [6, 200])
def test_the_precision_that_it_works_in(name, count):
    fn, bits = CASES[name]
    problem = Problem(fn, (real(count),))
    problem.probe()
    assert works_in(problem) == bits


class HardMish(torch.autograd.Function):
    """A wrong formula on one side of a kink."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 0.5 * x * (x + 2).clamp(0, 2)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        slope = (x >= -2).to(x.dtype)
        return g * torch.where((x >= -2) & (x <= 0), x, slope)


@pytest.mark.parametrize("count", [6, 60])
def test_a_wrong_formula_with_a_kink_stays_a_fault(count):
    assert check(HardMish.apply, real(count)).faults
