"""Programs that visitors run: how many at once, for how long, and that a run whose page was closed ends."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from simplegrad.settings import RUN_SECONDS
from simplegrad.trace.events import LimitReached
from simplegrad.view import running
from simplegrad.view.bounded import Bounded
from simplegrad.view.running import Turns, asker, run
from simplegrad.view.views import TraceView

LONG = "x = rand(4)\nfor i in range(5000):\n    x = x.sin()\ngrad(x.sum(), [x])\n"


class Closed(BaseException):
    """As Streamlit ends the run of a page that was closed."""


def test_so_many_run_at_once_and_the_others_wait():
    turns, most, now, lock = Turns(lambda: 3), [], [0], threading.Lock()

    def work(_):
        with turns.turn(lambda: None):
            with lock:
                now[0] += 1
                most.append(now[0])
            time.sleep(0.01)
            with lock:
                now[0] -= 1

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(40)))
    assert max(most) <= 3 and len(most) == 40 and turns.taken == 0


def test_who_waits_and_is_closed_leaves_no_turn_taken():
    turns = Turns(lambda: 1)

    def closed():
        raise Closed

    with turns.turn(lambda: None):
        with pytest.raises(Closed), turns.turn(closed):
            pass
        assert turns.taken == 1
    assert turns.taken == 0


def test_a_run_whose_page_was_closed_ends(monkeypatch):
    asked = []

    def closed():
        asked.append(1)
        if len(asked) > 2:
            raise Closed

    monkeypatch.setattr(asker, "still", closed)
    with pytest.raises(Closed):
        run(LONG, "simple")
    assert running.turns.taken == 0


def test_another_who_waits_for_the_same_run_gets_it_nevertheless(monkeypatch):
    cache, mine = Bounded(4, 10**9), threading.local()

    def still():
        if getattr(mine, "is_closed", None) and mine.is_closed():
            raise Closed

    monkeypatch.setattr(asker, "still", still)
    began = threading.Event()

    def visitor(closes: bool):
        calls = []

        def is_closed():
            calls.append(1)
            began.set()
            return closes and len(calls) > 3

        mine.is_closed = is_closed
        try:
            return len(cache.get("key", lambda: run(LONG, "simple"), lambda _: 1))
        except Closed:
            return "closed"

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(visitor, True)
        assert began.wait(20)
        second = threads.submit(visitor, False)
        assert first.result(60) == "closed" and second.result(60) > 500


def test_the_seconds_of_a_run_are_a_setting(monkeypatch):
    monkeypatch.setenv(RUN_SECONDS.name, "0.05")
    last = run(LONG, "simple").error
    assert isinstance(last, LimitReached) and (last.what, last.limit) == ("seconds", 0.05)


def test_events_are_a_limit_too():
    """A link of some hundred letters, that asked for a minute and two gigabytes."""
    text = "a = rand(4)\nL = (a*a).sum()\n" + "grad(L,[a])\n" * 998
    last = run(text, "simple").error
    assert isinstance(last, LimitReached) and last.what in ("events", "seconds")


def test_what_is_made_for_the_browser_of_a_closed_page_is_not_made_to_its_end(monkeypatch):
    view = TraceView(run(LONG, "simple"))

    def closed():
        raise Closed

    monkeypatch.setattr(asker, "still", closed)
    with pytest.raises(Closed):
        _ = view.payload
    monkeypatch.setattr(asker, "still", lambda: None)
    assert view.payload


def test_what_a_file_sets_while_it_is_read_changes_no_visitors_run():
    """torch's default dtype belongs to the process; a file with another one may be read in another thread."""
    text = "x = rand(3)\ny = ones(3)\nz = linspace(0, 1, 3)\ngrad((x * y * z * 2.5).sum(), [x])\n"
    before = run(text, "simple_variable")
    torch.set_default_dtype(torch.float64)
    try:
        meanwhile = run(text, "simple_variable")
    finally:
        torch.set_default_dtype(torch.float32)
    values = [[each.tensor for each in trace.values] for trace in (before, meanwhile)]
    assert all(a.dtype == b.dtype and a.equal(b) for a, b in zip(*values, strict=True))
