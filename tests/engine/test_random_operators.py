"""Random programs over every operator that Variables have: values and gradients of order 1 to 3 are torch's.

Each step is one of PyTorch's own samples of an operator (see opinfo.py), so that an operator that is added is drawn
too. Its first operand hangs on the result of the step before, and goes through others that leave its numbers as they
are: views, broadcasting, operands taken twice.
"""

import itertools
import os
import random
import warnings
from functools import cache

import pytest
import torch

from simplegrad import Tape, TapeError, Variable, grad
from simplegrad.ops import UnsupportedError
from tests.engine.opinfo import (
    MOST_ELEMENTS,
    WRONG_IN_TORCH,
    alike,
    forms,
    ours,
    outputs,
    raw,
    tensors,
    variables,
    weighted,
)
from tests.engine.test_operators import MODES

FULL = "SIMPLEGRAD_FULL" in os.environ
PROGRAMS = 3000 if FULL else 40
SAME = {  # x again, by another way
    "x": lambda x: x,
    "x * 2 - x": lambda x: x * 2 - x,
    "reshape": lambda x: x.reshape(-1).reshape(x.shape),
    "transpose": lambda x: x.transpose(0, -1).transpose(-1, 0) if x.ndim else x,
    "expand": lambda x: x.unsqueeze(0).expand(3, *x.shape)[1],
    "cat": lambda x: torch.cat([x, x * 2]).narrow(0, 0, x.shape[0]) if x.ndim else x,
    "stack": lambda x: torch.stack([x * 0.25, x * 0.75], -1).sum(-1),
    "where": lambda x: torch.where(x > 0, x, x * 1.0),
    "flip": lambda x: x.flip(0).flip(0) if x.ndim else x,
    "asinh": lambda x: x.sinh().asinh(),
    "clone": lambda x: x.clone() * 0.5 + x.detach() * 0.5,
}


class Step:
    """An operator on one of its samples, whose first operand hangs on what came before."""

    def __init__(self, place: int, dice: random.Random):
        self.name = operators()[place].name
        self.sample = dice.choice(samples(place))
        self.function = dice.choice([*forms(operators()[place])])
        self.ways = [dice.choice([*SAME]) for _ in range(2)]

    def __call__(self, before, leaves: list, convert):
        args = [convert(x, leaves) for x in (self.sample.input, *self.sample.args)]
        kwargs = {key: convert(x, leaves) for key, x in self.sample.kwargs.items()}
        if isinstance(args[0], (Variable, torch.Tensor)) and args[0].dtype.is_floating_point:
            for way in self.ways:
                args[0] = SAME[way](args[0])
            args[0] = args[0] if before is None else args[0] + before
        found = [r for r in outputs(self.function(*args, **kwargs)) if r.dtype.is_floating_point and r.numel()]
        return sum(r.tanh().mean() for r in found) * 1e-3 if found else before

    def __repr__(self) -> str:
        return f"{self.name} of {' '.join(self.ways)}"


# What draws numbers or rounds them; and what has a wrong third derivative in torch (see test_opinfo.py).
LEFT_OUT = ("nn.functional.rrelu", "bfloat16", "half", "float", "to", *WRONG_IN_TORCH)


@cache
def operators() -> list:
    return [info for info in ours() if info.name not in LEFT_OUT]


@cache
def samples(place: int) -> list:
    info = operators()[place]
    found = [*itertools.islice(info.sample_inputs("cpu", torch.float64, requires_grad=True), 60)]
    return [each for each in found if sum(x.numel() for x in tensors_of(each)) < MOST_ELEMENTS // 10] or found


def tensors_of(sample) -> list[torch.Tensor]:
    return [x for x in (sample.input, *sample.args) if isinstance(x, torch.Tensor)]


def climbed(steps: list[Step], is_ours: bool, none: str = "skip", prune: str = "none") -> list[list]:
    """The result, and the gradients of each order, of all leaves."""
    leaves, r = [], None
    for step in steps:
        r = step(r, leaves, variables if is_ours else tensors)
    found = [[r * 1e3] if r is not None else []]
    for _ in range(3):
        L = weighted(found[-1], Variable.constant if is_ours else lambda x: x)
        if L is None or not leaves or not (is_ours or L.requires_grad):
            break
        if is_ours:
            gradients = grad(L, leaves, none=none, prune=prune)
        else:
            gradients = torch.autograd.grad(L, leaves, create_graph=True, allow_unused=True)
        found.append([None if g is None else g * g * 0.5 + g for g in gradients])
    return [[None if x is None else raw(x) for x in row] for row in found]


def parts(mine: list[list], theirs: list[list]) -> str:
    """Where the two part, or "". What is None is zero; where torch's is not finite, or huge, neither is judged."""
    for order in range(max(len(mine), len(theirs))):
        rows = [each[order] if order < len(each) else [None] * len(mine[-1]) for each in (mine, theirs)]
        for place, (a, b) in enumerate(zip(*rows)):
            shape = next((x.shape for x in (a, b) if x is not None), ())
            a, b = (torch.zeros(shape, dtype=torch.float64) if x is None else x for x in (a, b))
            if not b.isfinite().all() or (b.abs() > 1e6).any():
                return ""
            if a.shape != b.shape or not alike(a, b, torch.float64, order):
                return f"order {order}, leaf {place}: {a.tolist()} for {b.tolist()}"
    return ""


def known(seed: int) -> tuple[random.Random, list[Step]]:
    dice = random.Random(seed)
    chosen = dice.choices(range(len(operators())), k=dice.choice([1, 2, 2, 3]))
    return dice, [Step(place, dice) for place in chosen if samples(place)]


@pytest.mark.parametrize("start", range(0, PROGRAMS, 10))
def test_random_programs_over_all_operators_agree_with_torch(start):
    for seed in range(start, start + 10):
        assert not wrong(seed), seed


def wrong(seed: int) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dice, steps = known(seed)
        none, prune = dice.choice(MODES)
        try:
            theirs = climbed(steps, False)
            with Tape():
                said = parts(climbed(steps, True, none, prune), theirs)
        except (RuntimeError, UnsupportedError) as error:  # torch has no second derivative of it; we say what we lack
            return str(error) if isinstance(error, TapeError) else ""
        return said and f"{steps}, none={none}, prune={prune}: {said}"
