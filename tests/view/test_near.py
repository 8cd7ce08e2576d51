"""Where a person is after an edit: at the event that says the same, or at the last one before that still does."""

from __future__ import annotations

import pytest

from simplegrad import Trace
from simplegrad.language import Program
from simplegrad.view.near import near

LINES = ["a = rand(3, seed=1)", "b = a * a", "L0 = b.sum()", "da, = grad(L0, [a])", "L1 = da.sum()", "grad(L1, [a])"]


def run(*lines: str) -> Trace:
    return Program.parse("\n".join(lines)).run()


def told(trace: Trace, step: int) -> str:
    event = trace.events[step]
    entry = getattr(event, "entry", None)
    return f"{event.kind} {entry.statement if entry else ''}"


@pytest.mark.parametrize(
    "edited",
    [
        ["c = ones(2)", *LINES],  # a line before
        [*LINES, "c = a + a"],  # one behind
        [LINES[0].replace("1", "2"), *LINES[1:]],  # other numbers
    ],
)
def test_every_step_is_found_again_where_other_lines_change(edited):
    before, after = run(*LINES), run(*edited)
    for step in range(len(before.events)):
        found = near(before, step, after)
        assert told(after, found) == told(before, step) and after.events[found].pass_id == before.events[step].pass_id


def test_what_is_no_more_is_found_at_what_was_before_it():
    before, after = run(*LINES), run(*LINES[:3])
    last = near(before, len(before.events) - 1, after)
    assert told(after, last) == "Recorded L0 = b.sum()"


def test_another_program_begins_at_its_beginning():
    assert near(run(*LINES), 5, run("x = ones(2)", "y = x * 2.0")) == 0
