"""No right Function is accused, whatever style it is written in."""

import pytest
import torch

from simplegrad import check
from simplegrad.checks.report import Report
from tests.checks.right import RIGHT, Right

torch.set_num_threads(1)


def judged(case: Right) -> Report:
    declared = {"surrogate": True} if case.surrogate == "declared" else {}
    return check(case.fn, *case.inputs, **declared)


def test_there_are_many_of_them():
    assert len(RIGHT) >= 120


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_one_is_correct(name):
    report = judged(RIGHT[name])
    assert report.verdict == "correct", str(report)
    assert report.ok and not report.faults


@pytest.mark.parametrize("name", [name for name, case in RIGHT.items() if not case.surrogate])
def test_it_is_right_indeed(name):
    """By gradcheck, which is asked here about the collection, not about check."""
    case = RIGHT[name]

    def alike(*inputs):
        torch.manual_seed(3)
        return case.fn(*inputs)

    assert torch.autograd.gradcheck(alike, case.inputs)
