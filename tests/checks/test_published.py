"""Functions after published ones get the verdict that is true of them, and escapes the names of what escaped."""

import pytest
import torch

from simplegrad import check
from tests.checks.collection.published import ESCAPED, PUBLISHED

torch.set_num_threads(1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_verdict(name):
    case = PUBLISHED[name]
    report = check(case.fn, *case.inputs)
    assert report.verdict == case.code, str(report)


@pytest.mark.parametrize("name", [name for name, case in PUBLISHED.items() if case.code == ESCAPED])
def test_what_escaped_is_named(name):
    case = PUBLISHED[name]
    report = check(case.fn, *case.inputs)
    escaped = [finding for finding in report.faults if finding.code == ESCAPED]
    assert {finding.slot for finding in escaped} == case.slots, str(report)
    assert all(finding.made_at and finding.read_at and finding.fix for finding in escaped), str(report)
