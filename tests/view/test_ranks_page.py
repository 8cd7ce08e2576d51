"""The Ranks page: which rank is at fault, ranks by passes, and the way to a rank's own trace."""

import json
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from simplegrad import Trace
from simplegrad.view.player.ranks import open_rank
from simplegrad.view.ranks_view import facts_of, runs_of
from tests.comparison.ranks.conftest import folder  # noqa: F401  # the traces that those tests make

from .conftest import components

PAGE = Path(__file__).parents[2] / "pages" / "ranks.py"


def opened(monkeypatch, *files):
    monkeypatch.setattr(sys, "argv", ["app.py", *map(str, files)])
    return AppTest.from_file(str(PAGE), default_timeout=60).run()


@pytest.fixture
def files(folder):  # noqa: F811
    return [folder / f"one_batch_more.{rank}.trace" for rank in range(2)]


def test_the_first_bad_cell_is_marked(monkeypatch, files):
    page = opened(monkeypatch, *files)
    assert not page.exception
    (told,) = components(page)
    assert (told["what"], told["rank"], told["ok"]) == ("hang", 1, False)
    assert [row["bad"] for row in told["rows"]] == [None, told["rows"][1]["bad"]]
    assert told["rows"][1]["bad"] is not None
    assert told["rows"][0]["name"] == "one_batch_more.0.trace"
    assert told["rows"][0]["error"]


def test_without_ranks_it_says_how_to_get_them(monkeypatch, files):
    page = opened(monkeypatch, files[0])
    assert not page.exception
    assert "record_torch(model, save=" in page.info[0].value.replace("\\", "")
    assert not components(page)


def test_runs_are_told_apart_by_their_names(folder):  # noqa: F811
    names = ["joined.0.trace", "joined.1.trace", "sharded.0.trace", "sharded.1.trace", "micro_batches.3.trace"]
    traces = {name: Trace.load(folder / name) for name in names}
    runs = runs_of({**traces, "alone": Trace()})
    assert list(runs) == ["joined.{rank}.trace", "sharded.{rank}.trace"]
    assert runs["joined.{rank}.trace"] == {0: "joined.0.trace", 1: "joined.1.trace"}
    told = facts_of(runs["joined.{rank}.trace"], traces)
    assert told["ok"] and json.dumps(told, allow_nan=False)
    assert told["rows"][0]["cells"][0][3] > 0  # collectives of its first pass


def test_a_rank_that_is_not_there_opens_nothing():
    assert open_rank({"rank": 7, "step": 0}, {0: "a"}, {}) is None
    assert open_rank({"rank": 0, "step": "1; alert(1)"}, {0: "a"}, {"a": Trace()}) is None
