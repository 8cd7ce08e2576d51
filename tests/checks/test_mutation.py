"""A sample of the mutants, and all of them under SIMPLEGRAD_FULL=1."""

import os

import pytest
import torch

from tests.checks import mutation
from tests.checks.mutants import loaded, mutable, mutants_of
from tests.checks.right import HOME

torch.set_num_threads(1)
FULL = os.environ.get("SIMPLEGRAD_FULL") == "1"


@pytest.fixture(scope="module")
def figures():
    return mutation.measured(1 if FULL else 97)


def least(goal: float, count: int) -> float:
    """What a sample of this size has to reach: of all mutants the goal itself, of fewer less by two standard errors."""
    return goal if FULL else goal - 2 * (goal * (1 - goal) / count) ** 0.5


def test_there_is_something_to_measure(figures):
    assert len(figures.asked) >= (2500 if FULL else 30), figures.text


def test_wrong_ones_are_found(figures):
    assert figures.share("is_found") >= least(mutation.FOUND, len(figures.asked)), figures.text


def test_their_causes_are_named(figures):
    assert figures.share("has_cause") >= least(mutation.CAUSE, len(figures.asked)), figures.text


def test_their_lines_are_named(figures):
    assert figures.share("has_line") >= least(mutation.LINE, len(figures.asked)), figures.text


def most(goal: float, count: int) -> float:
    """What a sample may reach at most, likewise."""
    return goal if FULL else goal + 2 * (goal * (1 - goal) / count) ** 0.5


def test_seldom_a_wrong_line_or_a_wrong_cause(figures):
    assert figures.share("has_wrong_line") <= most(mutation.WRONG_LINE, len(figures.asked)), figures.text
    assert figures.share("has_wrong_cause") <= most(mutation.WRONG_CAUSE, len(figures.asked)), figures.text


def test_of_two_faults_no_other_line_is_named():
    two = mutation.measured(17 if FULL else 307, mutants=mutation.twice_wrong)
    assert len(two.asked) >= 3 and two.share("is_found") == 1, two.text
    assert two.share("has_wrong_line") <= most(mutation.WRONG_LINE, len(two.asked)), two.text


@pytest.mark.parametrize("name", mutable()[::9])
def test_a_mutant_keeps_its_lines(name):
    for mutant in mutants_of(name):
        with loaded(mutant) as (fn, inputs):
            assert callable(fn) and inputs
        assert len(mutant.text.splitlines()) == len(HOME[name].read_text().splitlines())
