"""Every broken aggregate of the collection gets its code and its line; no twin gets a finding."""

import functools
import inspect

import pytest
import torch

from simplegrad import Variable, check
from tests.checks.collection import PAIRS

torch.set_num_threads(1)


def variables(tensors):
    return [Variable.constant(x) for x in tensors]


def bug_lines(function):
    lines, first = inspect.getsourcelines(function)
    return {first + i for i, line in enumerate(lines) if "# BUG" in line}


def covers(place, line):
    return place is not None and place.first <= line <= place.last


def by_name(pair):
    return pair.name


@functools.cache
def report_of(name):
    """What a check says of the broken one, for all that is asked of it."""
    (pair,) = (each for each in PAIRS if each.name == name)
    return check(pair.broken, *variables(pair.inputs))


def test_there_are_at_least_24_pairs():
    assert len(PAIRS) >= 24
    assert len({pair.name for pair in PAIRS}) == len(PAIRS)


@pytest.mark.parametrize("pair", PAIRS, ids=by_name)
def test_the_broken_one_gets_its_code(pair):
    report = report_of(pair.name)
    assert report.verdict == pair.code, str(report)
    assert not report.ok


@pytest.mark.parametrize("pair", PAIRS, ids=by_name)
def test_the_finding_names_the_line_the_slot_and_the_order(pair):
    finding = report_of(pair.name).faults[0]
    for line in bug_lines(pair.broken):
        assert covers(finding.made_at, line) or covers(finding.read_at, line), finding
    if pair.slot:
        assert finding.slot == pair.slot
    assert finding.order == pair.order
    assert finding.sentence


@pytest.mark.parametrize("pair", PAIRS, ids=by_name)
def test_the_step_shows_it(pair):
    report = report_of(pair.name)
    for finding in report.faults:
        assert finding.step is not None
        assert 0 <= finding.step < len(report.trace.events)


@pytest.mark.parametrize("pair", PAIRS, ids=by_name)
def test_the_twin_gets_no_fault(pair):
    report = check(pair.twin, *variables(pair.inputs), order=3)
    assert report.ok, str(report)
    assert {note.code for note in report.notes} <= {*pair.notes}, str(report)


ESCAPES = [pair for pair in PAIRS if pair.code == "escaped_temporary"]


@pytest.mark.parametrize("pair", ESCAPES, ids=by_name)
def test_what_an_escape_drops_was_verified(pair):
    (finding,) = report_of(pair.name).faults
    assert finding.dropped
    assert all(value.any() for value in finding.dropped.values())
