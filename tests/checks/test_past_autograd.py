"""What a function writes past autograd into values that are kept for backward is no cut that it means."""

import pytest
import torch

from simplegrad import check
from tests.checks.right.register import real


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return 2 * g * ctx.saved_tensors[0]


def by_data(x):
    y = 2 * x
    z = Square.apply(y)
    y.data.add_(1)  # BUG
    return z


def of_an_operation(x):
    y = 2 * x
    z = y * y
    y.detach().mul_(3)  # BUG: a version counter is shared with detach(), but not by .data
    return z


def in_numpy(x):
    y = 2 * x
    z = y * y
    y.detach().numpy()[...] = 0  # BUG
    return z


@pytest.mark.parametrize("fn", [by_data, in_numpy])
def test_a_value_that_is_written_to_before_backward(fn):
    report = check(fn, real(3))
    assert report.verdict == "captured_value_mutated", str(report)
    (told,) = report.faults
    assert told.slot == "y"


def test_its_line_is_named():
    (told,) = check(by_data, real(3)).faults
    assert "# BUG" in told.read_at.text and "add_" in told.sentence


def test_what_autograd_objects_to_itself_raises():
    assert check(of_an_operation, real(3)).verdict == "raises"


BUFFER = torch.zeros(3, dtype=torch.double)


def keeps_a_statistic(x):
    y = 2 * x
    BUFFER.copy_(y.detach())
    return Square.apply(y)


def changes_a_copy(x):
    y = 2 * x
    z = Square.apply(y)
    y.detach().clone().add_(1)
    return z


@pytest.mark.parametrize("fn", [keeps_a_statistic, changes_a_copy])
def test_what_changes_nothing_that_is_kept_is_right(fn):
    assert check(fn, real(3)).verdict == "correct"
