"""Kernels that take half precision only: no right one is accused, and nearly every wrong one is found."""

import os
from functools import cache

import numpy as np
import pytest
import torch
from torch.autograd import Function

from simplegrad import check
from simplegrad.checks.clauses.half import grossly_wrong
from simplegrad.checks.subjects.problem import Problem
from tests.checks.collection.half import cases, half_only, wrong_cases

torch.set_num_threads(1)
RIGHT = {name: (fn, inputs) for name, fn, inputs in cases()}
WRONG = {name: (fn, inputs) for name, fn, inputs in wrong_cases()}
FULL = os.environ.get("SIMPLEGRAD_FULL") == "1"
SAMPLE = list(RIGHT) if FULL else list(RIGHT)[::3]
MISTAKES = sorted({name.split("-")[0] for name in WRONG})
WRONG_SAMPLE = (
    list(WRONG)
    if FULL
    else [  # each mistake, in one of the two precisions
        name for name in WRONG if ("bfloat16" in name) == MISTAKES.index(name.split("-")[0]) % 2
    ]
)


def test_there_are_as_many_as_the_figures_say():
    assert (len(RIGHT), len(WRONG)) == (100, 30)


@cache
def report_of(name):
    fn, inputs = RIGHT[name]
    return check(fn, *inputs)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_right_one_is_not_accused(name):
    assert not report_of(name).faults, str(report_of(name))


def test_most_right_ones_are_judged():
    """Not accused is not enough: nine of ten are called correct."""
    judged = [report_of(name).verdict for name in SAMPLE]
    assert judged.count("correct") >= 0.9 * len(judged), judged


def test_wrong_ones_are_found(without_search):
    assert {name.split("-")[0] for name in WRONG_SAMPLE} == set(MISTAKES)
    missed = [name for name in WRONG_SAMPLE if not check(WRONG[name][0], *WRONG[name][1]).faults]
    assert len(missed) <= len(WRONG_SAMPLE) // 10, missed


# --- what cannot be followed in double -------------------------------------------------------------------------------


class InNumpy(Function):
    """Takes float16 alone, and computes where no precision can be pretended."""

    factor = 1.0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        numbers = x.detach().numpy()
        assert numbers.dtype == np.float16
        return torch.from_numpy(np.sin(numbers))

    @classmethod
    def backward(cls, ctx, g):
        return ctx._forward_cls.factor * g * torch.from_numpy(np.cos(ctx.saved_tensors[0].numpy()))


def scaled(factor):
    return type("InNumpyScaled", (InNumpy,), {"factor": factor}).apply


def in_half(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).half().requires_grad_()


def test_a_gross_fault_is_found_without_a_reference_and_nothing_else_is_said():
    assert check(InNumpy.apply, in_half(12)).verdict == "unverified"
    assert "reference=" in check(InNumpy.apply, in_half(12)).unverified[0].sentence
    assert check(scaled(-1.0), in_half(12)).verdict == "wrong_gradient"
    assert check(scaled(0.5), in_half(12)).verdict == "wrong_gradient"
    assert check(scaled(1.0), in_half(12), reference=torch.sin).verdict == "correct"
    assert check(scaled(0.95), in_half(12), reference=torch.sin).verdict == "wrong_gradient"


@pytest.mark.parametrize("name", SAMPLE[::3])
def test_steps_of_half_precision_are_taken_for_no_fault(name):
    problem = Problem(*RIGHT[name], 32)
    problem.probe()
    assert grossly_wrong(problem) is None


class GradientInForward(Function):
    """Makes tensors of the default precision, which have to go together with what is led on in double."""

    @staticmethod
    def forward(ctx, x, target):
        half_only(x)
        p = x.float().softmax(-1)
        loss = -p.gather(-1, target[:, None]).log().mean()
        slope = p.scatter_add(-1, target[:, None], -torch.ones(len(target), 1)) / len(target)
        ctx.save_for_backward(slope.to(x.dtype))
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return (g * ctx.saved_tensors[0].float()).to(ctx.saved_tensors[0].dtype), None


def test_a_tensor_of_the_default_precision_goes_along():
    target = torch.tensor([0, 5, 2])
    assert check(lambda x: GradientInForward.apply(x, target), in_half(3, 6)).verdict == "correct"


# --- less precise inside than the inputs are -------------------------------------------------------------------------


class SingleInBackward(Function):
    factor = 1.0

    @staticmethod
    def forward(ctx, q, k):
        ctx.save_for_backward(q, k)
        return (q @ k.T).softmax(-1)

    @classmethod
    def backward(cls, ctx, g):
        q, k = ctx.saved_tensors
        p = (q.float() @ k.float().T).softmax(-1)
        d = p * (g.float() - (g.float() * p).sum(-1, keepdim=True)) * ctx._forward_cls.factor
        return (d @ k.float()).to(q.dtype), (d.T @ q.float()).to(k.dtype)


class SingleInNumpy(Function):
    factor = 1.0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(np.tanh(x.detach().numpy().astype(np.float32)).astype(np.float64))

    @classmethod
    @torch.autograd.function.once_differentiable
    def backward(cls, ctx, g):
        y = torch.from_numpy(np.tanh(ctx.saved_tensors[0].numpy().astype(np.float32)))
        return (g.float() * (1 - y * y) * ctx._forward_cls.factor).double()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_backward_in_single_precision_is_not_accused_of_its_rounding(dtype):
    q, k = (torch.randn(5, 4, generator=torch.Generator().manual_seed(s)).to(dtype).requires_grad_() for s in (0, 1))
    assert check(SingleInBackward.apply, q, k).verdict == "correct"
    halved = type("Halved", (SingleInBackward,), {"factor": 0.5})
    assert check(halved.apply, q, k).verdict == "wrong_gradient"


def test_nor_one_that_no_precision_can_be_pretended_to():
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.double).requires_grad_()
    report = check(SingleInNumpy.apply, x)
    assert not report.faults, str(report)
    assert check(type("Halved", (SingleInNumpy,), {"factor": 0.5}).apply, x).verdict == "wrong_gradient"
