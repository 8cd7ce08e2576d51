"""Why a gradient is so, and the parameters of a run, as data for the browser."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from simplegrad import record_torch
from simplegrad.language import EXAMPLES
from simplegrad.view.why_view import answer, diagnosis, parameters


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.cut, self.unused = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.used(x) * self.cut(x).detach()


@pytest.fixture(scope="module")
def trace():
    torch.manual_seed(0)
    model = Net()
    with record_torch(model) as trace:
        model(torch.ones(2, 3)).square().mean().backward()
    return trace


def test_an_answer_has_its_line_and_steps_that_can_be_gone_to(trace):
    told = answer(trace, "cut.weight")
    assert (told["state"], told["cause"]) == ("none", "detach")
    assert "detach()" in told["place"][1]
    assert all(step is None or 0 <= step < len(trace.events) for _, step in told["chain"])


def test_a_name_that_is_not_there_is_an_answer_too(trace):
    assert "no tensor called 'cutt.weight'" in answer(trace, "cutt.weight")["sentence"]


def test_what_is_worth_knowing_is_told_without_being_asked(trace):
    assert {row["name"]: row["cause"] for row in diagnosis(trace)} == {
        "cut.weight": "detach",
        "unused.weight": "unused",
    }


def test_parameters_are_listed_with_the_state_of_their_gradient(trace):
    rows = {row[0]: row for row in parameters(trace)}
    assert rows["used.weight"][5] == "value" and rows["used.weight"][4] > 0
    assert rows["cut.weight"][4:] == [None, "none", None, 9, []]


def test_frozen_parameters_are_listed_as_such():
    model = torch.nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    with record_torch(model, values="norm") as trace:
        model(torch.ones(2)).sum().backward()
    assert {row[0]: (row[1], row[5]) for row in parameters(trace)} == {
        "weight": ("frozen", "none"),
        "bias": ("parameter", "value"),
    }


def test_a_variable_of_a_tape_can_be_asked_about():
    run = EXAMPLES["gradient-of-gradient"].program.run(aggregate="simple_variable_wrong")
    assert answer(run, "a")["cause"] == "escaped temporary"
    assert diagnosis(run) == [] and parameters(run) == []


def test_a_parameter_has_its_zeros_and_a_histogram_where_numbers_were_kept():
    model = torch.nn.Linear(2, 2)
    rows = {}
    for values in ("norm", "full"):
        with record_torch(model, values=values) as trace:
            model(torch.tensor([0.0, 4.0])).sum().backward()
        model.zero_grad()
        rows[values] = next(row for row in parameters(trace) if row[0] == "weight")
    *_, zeros, count, drawn = rows["full"]
    assert (zeros, count) == (0.5, 4)
    titles, [low, high, counts, lost] = [title for title, _ in drawn], drawn[1][1]
    assert titles == ["numbers", "gradient that the last pass brought"]
    assert (low, high, lost, counts[0], counts[-1], sum(counts)) == (0.0, 4.0, 0, 2, 2, 4)
    assert rows["norm"][-3:] == [0.5, 4, []]
