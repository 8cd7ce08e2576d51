"""At ties, at 0 and at infinities, where PyTorch's own samples hardly ever are: what torch says there."""

import math

import pytest
import torch
import torch.nn.functional as F

from simplegrad import Tape, Variable, grad

from .test_operators import assert_same_orders, our_orders, torch_orders

GRID = torch.tensor([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0], dtype=torch.float64)
EACH, OTHER = GRID.repeat(7), GRID.repeat_interleave(7)
TWO = [torch.logaddexp, torch.logaddexp2, torch.fmax, torch.fmin, torch.maximum, torch.minimum, torch.clamp_min]
ONE = [lambda x: F.elu(x, 0.7), F.selu, lambda x: F.celu(x, 2.0), torch.sinc, torch.special.i1, torch.relu, torch.abs]
ONE += [F.softplus, F.hardshrink, F.softshrink, F.hardtanh, F.relu6, F.hardswish, torch.sign, torch.median]
ONE += [torch.nanmedian, torch.amax, lambda x: x.logcumsumexp(0), F.mish]


@pytest.mark.parametrize("function", TWO, ids=lambda function: function.__name__)
def test_of_two_that_are_equal(function):
    with Tape():
        assert_same_orders(our_orders(function, [EACH, OTHER], orders=2), torch_orders(function, [EACH, OTHER], 2))


@pytest.mark.parametrize("function", ONE, ids=map(str, range(len(ONE))))
def test_of_one_at_0_and_where_several_are_equal(function):
    x = torch.cat([GRID, GRID[3:6]])
    with Tape():
        assert_same_orders(our_orders(function, [x], orders=1), torch_orders(function, [x], 1))


def first(function, *tensors):
    leaves = [x.clone().requires_grad_() for x in tensors]
    with Tape():
        xs = [Variable.constant(x) for x in tensors]
        r = function(*xs)
        ours = [r.value, *(g.value for g in grad(r.sum(), xs))]
    true = function(*leaves)
    return ours, [true.detach(), *torch.autograd.grad(true.sum(), leaves)]


@pytest.mark.parametrize(
    "function, numbers",
    [
        (torch.logaddexp, ([math.inf, -math.inf, math.inf, 1.0], [2.0, 2.0, -math.inf, -math.inf])),
        (torch.atan2, ([0.0, -0.0, 0.0, 1.0], [0.0, 0.0, -0.0, 0.0])),
        (torch.logit, ([0.0, 1.0, 0.5],)),
        (torch.special.entr, ([0.0, 1.0, 0.5],)),
        (lambda x: F.threshold(x, 0.5, -1.0), ([math.nan, 0.5, 1.0],)),
        (torch.nanmedian, ([math.nan, 2.0, 2.0, 3.0],)),
    ],
)
def test_at_the_ends(function, numbers):
    for mine, true in zip(*first(function, *[torch.tensor(each, dtype=torch.float64) for each in numbers])):
        torch.testing.assert_close(mine, true, equal_nan=True)


def test_two_infinities_are_the_larger_one():
    x = torch.tensor([math.inf, -math.inf])
    assert torch.equal(torch.logaddexp(Variable.constant(x), Variable.constant(x)).value, x)


def test_a_bound_that_is_nan_does_not_vanish():
    x, end = Variable.constant(torch.tensor([1.0, 2.0])), torch.tensor([math.nan, 1.5])
    assert x.clamp(min=end).value.isnan().tolist() == [True, False]
    assert x.clamp(max=end).value.isnan().tolist() == [True, False]


def test_the_second_derivative_of_sinc_at_0():
    x = Variable.constant(torch.zeros(1, dtype=torch.float64))
    (first_,) = grad(torch.sinc(x).sum(), [x])
    (second,) = grad(first_.sum(), [x])
    assert second.item() == pytest.approx(-(math.pi**2) / 3)


def test_a_ranking_at_its_margin():
    x, y, target = (torch.tensor(each) for each in ([1.0, 2.0], [1.0, 1.0], [1.0, -1.0]))
    for mine, true in zip(*first(lambda x, y: F.margin_ranking_loss(x, y, target, reduction="none"), x, y)):
        torch.testing.assert_close(mine, true)


@pytest.mark.parametrize("numbers", [[0.1] * 3, [3e38, 3e38, 1.0], [math.inf] * 3, [1.0, math.nan], [2.0, 1.0, 3.0]])
def test_a_median_is_one_of_the_numbers(numbers):
    x = Variable.constant(torch.tensor(numbers))
    for ours, theirs in ((x.median(), torch.median(x.value)), (x.nanmedian(), torch.nanmedian(x.value))):
        assert torch.equal(ours.value, theirs) or (ours.value.isnan() and theirs.isnan())
