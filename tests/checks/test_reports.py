"""What the people who filed these reports needed to hear is said."""

import functools
from pathlib import Path

import pytest
import torch

from simplegrad import check
from tests.checks.collection import reports
from tests.checks.collection.reports import REPORTS
from tests.checks.test_collection import covers

torch.set_num_threads(1)
TEXT = Path(reports.__file__).read_text().splitlines()
MARK = "# BUG"


def marked(name):
    """The marked line in this situation, or just above it for what stands outside of a function."""
    heading = TEXT.index(f"def {name}():")
    ends = (i for i in range(heading + 1, len(TEXT)) if TEXT[i].startswith(("@", "class ", "def ")))
    inside = [i + 1 for i in range(heading, next(ends, len(TEXT))) if MARK in TEXT[i]]
    above = [i + 1 for i in range(heading) if MARK in TEXT[i]]
    return inside[0] if inside else above[-1]


FAULTS = [name for name, case in REPORTS.items() if not {"correct", "unverified"} & set(case.codes)]


@functools.cache
def told_of(name):
    """A check of this situation, for all that is asked of it."""
    return check(REPORTS[name].fn, *REPORTS[name].inputs)


@pytest.mark.parametrize("name", REPORTS)
def test_the_verdict(name):
    report = told_of(name)
    assert report.verdict in REPORTS[name].codes, str(report)


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "solves_its_adjoint_in_a_hook"])
def test_the_line(name):
    report = told_of(name)
    places = [place for finding in report.faults for place in (finding.made_at, finding.read_at)]
    assert any(covers(place, marked(name)) for place in places), str(report)


@pytest.mark.parametrize("name", [name for name, case in REPORTS.items() if case.says])
def test_the_words(name):
    told = str(told_of(name))
    assert all(word in told for word in REPORTS[name].says), told
