"""What the Learn page hears of the browser."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from simplegrad.lessons import course, exercise
from simplegrad.view.player import learn


class Anew(Exception):
    """The page is run again."""


def test_an_answer_told_while_the_server_was_away_is_judged_by_the_next_one(monkeypatch):
    """A new session has it from the start, as no change of anything."""
    told = SimpleNamespace(check={"id": "4", "text": exercise("4").model, "n": "1"}, lesson=None, go=None)

    def anew():
        raise Anew

    monkeypatch.setattr(learn, "_component", lambda: lambda **said: told)
    monkeypatch.setattr(learn.st, "rerun", anew)
    learning = learn.Learning(number=4)
    with pytest.raises(Anew):
        learn.reading.__wrapped__(learning, course()[3], "stage")
    assert learning.replies["4"].solved
    learn.reading.__wrapped__(learning, course()[3], "stage")  # heard once
