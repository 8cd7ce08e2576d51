"""A fault has one code, whether an aggregate or a torch.autograd.Function has it, and neither right twin has any."""

import pytest
import torch

from simplegrad import Variable, check
from tests.checks.collection import PAIRS
from tests.checks.collection.functions import TAPE_ALONE, TWINS
from tests.checks.collection.more import BOTH
from tests.checks.test_collection import bug_lines, covers

torch.set_num_threads(1)
CODES = {pair.name: pair.code for pair in PAIRS if pair.name in TWINS}
INPUTS = {pair.name: pair.inputs for pair in PAIRS}


def leaves(tensors):
    return [x.double().clone().requires_grad_() for x in tensors]


def variables(tensors):
    return [Variable.constant(x.clone()) for x in tensors]


def bugs(cls):
    return bug_lines(cls.forward) | bug_lines(cls.backward)


def bug_lines_of(pair):
    """Where the Function's own methods have no mark, the rule that both use has it."""
    return bugs(pair.function[0]) or {line for cell in cells(pair.function[0].backward) for line in bug_lines(cell)}


def cells(function):
    contents = [cell.cell_contents for cell in function.__closure__ or ()]
    return [each for each in contents if callable(each)]


def test_every_fault_stands_twice():
    assert {*TWINS} | {*TAPE_ALONE} == {pair.name for pair in PAIRS}
    assert not {*TWINS} & {*TAPE_ALONE}


@pytest.mark.parametrize("name", TWINS)
def test_a_broken_function_gets_the_code_of_its_aggregate(name):
    report = check(TWINS[name][0].apply, *leaves(INPUTS[name]))
    assert report.verdict == CODES[name], str(report)


@pytest.mark.parametrize("name", TWINS)
def test_its_line_is_named(name):
    broken = TWINS[name][0]
    finding = check(broken.apply, *leaves(INPUTS[name])).faults[0]
    assert all(covers(finding.made_at, line) or covers(finding.read_at, line) for line in bugs(broken)), finding


@pytest.mark.parametrize("name", TWINS)
def test_a_right_function_is_correct(name):
    report = check(TWINS[name][1].apply, *leaves(INPUTS[name]), order=3)
    assert report.verdict == "correct", str(report)


@pytest.mark.parametrize("name", BOTH)
def test_both_broken_ones_get_their_code(name):
    pair = BOTH[name]
    on_the_tape = check(pair.aggregate[0], *variables(pair.inputs))
    as_function = check(pair.function[0].apply, *leaves(pair.inputs))
    assert (on_the_tape.verdict, as_function.verdict) == (pair.code, pair.code), f"{on_the_tape}\n{as_function}"


@pytest.mark.parametrize("name", BOTH)
def test_both_lines_and_explanations_are_there(name):
    pair = BOTH[name]
    found = check(pair.function[0].apply, *leaves(pair.inputs)).faults[0]
    assert pair.explanation in found.explanation
    assert any(covers(found.made_at, line) or covers(found.read_at, line) for line in bug_lines_of(pair)), found


@pytest.mark.parametrize("name", BOTH)
def test_both_right_ones_are_correct(name):
    pair = BOTH[name]
    for report in (
        check(pair.aggregate[1], *variables(pair.inputs)),
        check(pair.function[1].apply, *leaves(pair.inputs)),
    ):
        assert report.verdict == "correct", str(report)
