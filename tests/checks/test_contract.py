"""Faults of the contract: told with code and line where gradcheck, gradgradcheck and opcheck are silent."""

from pathlib import Path

import pytest
import torch

from simplegrad import check
from tests.checks.collection import contract, operators
from tests.checks.collection.contract import CONTRACT
from tests.checks.collection.operators import OPERATORS
from tests.checks.test_collection import covers

torch.set_num_threads(1)

EACH = [(CONTRACT, name) for name in CONTRACT] + [(OPERATORS, name) for name in OPERATORS]
of_each = pytest.mark.parametrize(
    ("faults", "name"), EACH, ids=[f"{'operator_' * (faults is OPERATORS)}{name}" for faults, name in EACH]
)
TEXTS = {
    id(faults): Path(module.__file__).read_text().splitlines()
    for faults, module in ((CONTRACT, contract), (OPERATORS, operators))
}


def marked(faults, name):
    """The line with the mark that follows the heading of this fault."""
    text = TEXTS[id(faults)]
    heading = text.index(f"def {name}():")
    return next(i + 1 for i in range(heading, len(text)) if "# BUG" in text[i])


def names_its_line(faults, name, report):
    places = [place for finding in report.faults for place in (finding.made_at, finding.read_at)]
    return any(covers(place, marked(faults, name)) for place in places)


@of_each
def test_the_broken_one_gets_its_code_and_its_line(faults, name):
    fault = faults[name]
    report = check(fault.broken, *fault.inputs)
    assert report.verdict in fault.codes, str(report)
    assert names_its_line(faults, name, report), str(report)


@of_each
def test_the_right_one_is_correct(faults, name):
    fault = faults[name]
    report = check(fault.right, *fault.inputs)
    assert report.verdict == "correct", str(report)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_is_told_of_in_its_own_words(name):
    fault = OPERATORS[name]
    report = check(fault.broken, *fault.inputs)
    assert all(finding.entry.startswith("contract::") for finding in report.faults), report.faults
    told = "\n".join(f"{finding.sentence}\n{finding.fix}" for finding in report.faults)
    assert "staticmethod" not in told and "GeneratedBackward" not in told, told
