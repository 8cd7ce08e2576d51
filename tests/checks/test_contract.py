"""Faults of the contract: told with code and line where gradcheck, gradgradcheck and opcheck are silent."""

from pathlib import Path

import pytest
import torch

from simplegrad import check
from tests.checks.collection import contract
from tests.checks.collection.contract import CONTRACT
from tests.checks.test_collection import covers

torch.set_num_threads(1)


TEXT = Path(contract.__file__).read_text().splitlines()


def marked(name):
    """The line with the mark that follows the heading of this fault."""
    heading = TEXT.index(f"def {name}():")
    return next(i + 1 for i in range(heading, len(TEXT)) if "# BUG" in TEXT[i])


def names_its_line(name, report):
    places = [place for finding in report.faults for place in (finding.made_at, finding.read_at)]
    return any(covers(place, marked(name)) for place in places)


@pytest.mark.parametrize("name", CONTRACT)
def test_the_broken_one_gets_its_code(name):
    fault = CONTRACT[name]
    report = check(fault.broken, *fault.inputs)
    assert report.verdict in fault.codes, str(report)


@pytest.mark.parametrize("name", CONTRACT)
def test_its_line_is_named(name):
    fault = CONTRACT[name]
    report = check(fault.broken, *fault.inputs)
    assert names_its_line(name, report), str(report)


@pytest.mark.parametrize("name", CONTRACT)
def test_the_right_one_is_correct(name):
    fault = CONTRACT[name]
    report = check(fault.right, *fault.inputs)
    assert report.verdict == "correct", str(report)
