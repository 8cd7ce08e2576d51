"""Kernels that take half precision only: no right one is accused, and nearly every wrong one is found."""

import os

import pytest
import torch

from simplegrad import check
from tests.checks.collection.half import cases, wrong_cases

torch.set_num_threads(1)
RIGHT = {name: (fn, inputs) for name, fn, inputs in cases()}
SAMPLE = list(RIGHT) if os.environ.get("SIMPLEGRAD_FULL") == "1" else list(RIGHT)[::3]
WRONG = {name: (fn, inputs) for name, fn, inputs in wrong_cases()}


def test_there_are_as_many_as_the_figures_say():
    assert (len(RIGHT), len(WRONG)) == (100, 30)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_right_one_is_not_accused(name):
    fn, inputs = RIGHT[name]
    report = check(fn, *inputs)
    assert not report.faults, str(report)


def test_most_right_ones_are_judged():
    """Not accused is not enough: nine of ten are called correct."""
    judged = [check(RIGHT[name][0], *RIGHT[name][1]).verdict for name in SAMPLE]
    assert judged.count("correct") >= 0.9 * len(judged), judged


def test_wrong_ones_are_found():
    missed = [name for name, (fn, inputs) in WRONG.items() if not check(fn, *inputs).faults]
    assert len(missed) <= 3, missed
