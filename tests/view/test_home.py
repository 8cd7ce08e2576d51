"""What `/` opens: by what its address says, by the files of the command line, by what was open there."""

from __future__ import annotations

import pytest
import torch

from simplegrad import record_torch
from simplegrad.files import UserFiles
from simplegrad.language import EXAMPLES
from simplegrad.view.player import home
from simplegrad.view.player.learn import learn_page
from simplegrad.view.player.pytorch import pytorch_page
from simplegrad.view.player.step import step_page

AGGREGATE = "import simplegrad\n@simplegrad.aggregate\ndef at_home(a):\n    return a + a\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of PyTorch, a run of the tape, and a file of aggregates."""
    made = tmp_path_factory.mktemp("home")
    x = torch.tensor([4.0], requires_grad=True)
    with record_torch("norm") as trace:
        x.sqrt().sum().backward()
    trace.save(made / "torch.trace")
    EXAMPLES["exercise"].program.run().save(made / "tape.trace")
    (made / "ops.py").write_text(AGGREGATE)
    return made


@pytest.mark.parametrize(
    "names, query, wanted",
    [
        ("", {}, learn_page),
        ("", {"program": "exercise"}, step_page),
        ("", {"step": "3"}, step_page),
        ("", {"break": "none"}, step_page),
        ("", {"case": "sinh-bad", "step": "3"}, pytorch_page),
        ("torch.trace", {}, pytorch_page),
        ("torch.trace", {"step": "3"}, pytorch_page),
        ("torch.trace", {"program": "file:torch.trace", "step": "3"}, step_page),
        ("ops.py torch.trace", {}, pytorch_page),
        ("tape.trace", {}, step_page),
        ("ops.py", {}, step_page),
        ("ops.py", {"case": "sinh-bad"}, pytorch_page),
    ],
)
def test_the_page_is_the_one_that_is_meant(folder, monkeypatch, names, query, wanted):
    files = UserFiles([folder / name for name in names.split()])
    files.refresh()
    assert not files.problems
    monkeypatch.setattr(home.st, "query_params", query)
    monkeypatch.setattr(home.st, "session_state", {})
    assert home.meant(files if names else None) is wanted


def test_a_program_that_was_open_there_stays(monkeypatch):
    monkeypatch.setattr(home.st, "query_params", {})
    monkeypatch.setattr(home.st, "session_state", {})
    home.page.state_of_step().keep(home.page.shown_last())
    assert home.meant(None) is step_page
    home.st.session_state["learning"] = object()
    assert home.meant(None) is learn_page
