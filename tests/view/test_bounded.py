"""A thing is made once, however many ask for it at the same moment; what raised, or was stopped, is made again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from simplegrad.view.bounded import Bounded
from simplegrad.view.views import TraceView

from .conftest import chain

MANY = 8
PATIENCE = 20  # seconds, for what takes none


class Maker:
    """Makes a number, and is in no hurry: `enough` says when the others have had time to ask too."""

    def __init__(self, raises: BaseException | None = None):
        self.began, self.enough = threading.Event(), threading.Event()
        self.calls, self.raises = count(1), raises

    def __call__(self) -> int:
        number = next(self.calls)
        self.began.set()
        assert self.enough.wait(PATIENCE)
        if self.raises is not None and number == 1:
            raise self.raises
        return number


def asked_at_once(maker: Maker, get) -> list:
    """What each of the many was given, exceptions too."""

    def answer():
        try:
            return get()
        except BaseException as error:
            return error

    with ThreadPoolExecutor(MANY) as threads:
        asked = [threads.submit(answer) for _ in range(MANY)]
        assert maker.began.wait(PATIENCE)
        while sum(each.running() for each in asked) < MANY:
            pass
        maker.enough.set()
        return [each.result(PATIENCE) for each in asked]


def test_one_makes_it_and_the_others_wait():
    cache, maker = Bounded(4, 4), Maker()
    assert asked_at_once(maker, lambda: cache.get("key", maker)) == [1] * MANY
    assert next(maker.calls) == 2


def test_another_key_does_not_wait():
    cache, maker = Bounded(4, 4), Maker()
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(cache.get, "slow", maker)
        assert maker.began.wait(PATIENCE)
        assert cache.get("quick", lambda: "made") == "made"
        maker.enough.set()
        assert slow.result(PATIENCE) == 1


def test_an_exception_is_told_to_all_who_waited_and_not_kept():
    cache, maker = Bounded(4, 4), Maker(raises=ValueError("no"))
    answers = asked_at_once(maker, lambda: cache.get("key", maker))
    assert all(answer is maker.raises or answer == 2 for answer in answers)  # 2: it asked when the first was over
    assert cache.get("key", lambda: "again") in (2, "again")


def test_a_cost_that_cannot_be_told_is_an_exception_too():
    cache = Bounded(4, 4)
    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda: 1, lambda made: made // 0)
    assert cache.get("key", lambda: 2) == 2


class Stopped(BaseException):
    """As Streamlit stops the run of a page that was closed."""


def test_who_was_stopped_takes_nobody_along():
    cache, maker = Bounded(4, 4), Maker(raises=Stopped())
    answers = asked_at_once(maker, lambda: cache.get("key", maker))
    assert [answer for answer in answers if answer != 2] == [maker.raises]
    assert next(maker.calls) == 3


def test_the_parts_of_a_view_are_made_once(monkeypatch):
    maker, view = Maker(), TraceView(chain(3))
    monkeypatch.setattr("simplegrad.view.views.picture", lambda trace, opened: maker())
    assert asked_at_once(maker, lambda: view.graph) == [1] * MANY
