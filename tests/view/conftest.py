"""Traces to show: the gradient of a gradient, and long chains."""

from __future__ import annotations

import pytest
import torch

from simplegrad import Tape, Trace, Variable, grad, record
from simplegrad.program import EXAMPLES


def example(name: str, aggregate: str = "simple_variable_wrong", **modes) -> Trace:
    return EXAMPLES[name].program.run(aggregate=aggregate, **modes)


def chain(length: int, passes: int = 1) -> Trace:
    """sin after sin, and one pass or two over it."""
    with Tape(), record() as trace:
        x = z = Variable.constant(torch.full((3,), 0.5), name="x")
        for _ in range(length):
            z = z.sin()
        L = z.sum()
        for _ in range(passes):
            (dx,) = grad(L, [x], prune="ahead")
            L = dx.sum()
    return trace


@pytest.fixture(scope="session")
def wrong() -> Trace:
    return example("gradient-of-gradient")
