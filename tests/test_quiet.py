"""Warnings of one thread are muted, and of no other; nothing of it is left."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from simplegrad import check, quiet
from simplegrad.quiet import muted
from tests.checks.test_left_alone import Sinh


@pytest.fixture
def shown():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield seen


def texts(shown):
    return [str(each.message) for each in shown]


def test_this_thread_only(shown):
    with muted():
        warnings.warn("mine", stacklevel=1)
        other = threading.Thread(target=lambda: warnings.warn("of another thread", stacklevel=1))
        other.start()
        other.join()
    warnings.warn("afterwards", stacklevel=1)
    assert texts(shown) == ["of another thread", "afterwards"]


def test_one_within_another(shown):
    with muted():
        with muted():
            pass
        warnings.warn("mine", stacklevel=1)
    assert texts(shown) == []


def test_filters_are_as_they_were_after_any_order_of_leaving():
    before = list(warnings.filters)
    first, second = muted(), muted()
    first.__enter__()
    with warnings.catch_warnings():  # makes a list of its own
        second.__enter__()
        first.__exit__(None, None, None)
        warnings.simplefilter("ignore")
    second.__exit__(None, None, None)
    assert warnings.filters == before


def test_filters_are_as_they_were_when_somebody_else_took_a_copy():
    """A catch_warnings of another thread that begins inside and ends outside, and one the other way round."""
    before = list(warnings.filters)
    theirs, mine = warnings.catch_warnings(), muted()
    mine.__enter__()
    theirs.__enter__()
    mine.__exit__(None, None, None)
    assert warnings.filters == before
    theirs.__exit__(None, None, None)
    assert warnings.filters == before
    theirs, mine = warnings.catch_warnings(), muted()
    theirs.__enter__()
    mine.__enter__()
    theirs.__exit__(None, None, None)
    mine.__exit__(None, None, None)
    assert warnings.filters == before


def test_what_somebody_reset_inside_is_muted_from_the_next_on(shown):
    with muted():
        warnings.simplefilter("always")
        warnings.resetwarnings()
        with muted():
            warnings.warn("mine", stacklevel=1)
    assert texts(shown) == [] and warnings.filters == []


def test_what_was_shown_once_is_not_shown_again():
    """The once-per-line memory of Python is the host's, and a muted stretch does not clear it."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(3):
            with muted():
                pass
            warnings.warn("of a line", stacklevel=1)
    assert texts(seen) == ["of a line"]


def test_checks_in_threads_leave_the_filters_alone(shown):
    def host():
        while not stop.is_set():
            warnings.warn("of the host", stacklevel=1)
            told.append(1)

    class Loud(Sinh):
        @staticmethod
        def forward(ctx, x):
            warnings.warn("of what is checked", stacklevel=1)
            return Sinh.forward(ctx, x)

    x = torch.ones(3, dtype=torch.double, requires_grad=True)
    check(Loud.apply, x)  # the first one imports what adds filters of its own
    before, stop, told = list(warnings.filters), threading.Event(), []
    thread = threading.Thread(target=host)
    thread.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(each.ok for each in pool.map(lambda _: check(Loud.apply, x), range(8)))
    finally:
        stop.set()
        thread.join()
    assert warnings.filters == before
    assert texts(shown) == ["of the host"] * len(told)


def test_ctrl_c_while_it_begins_leaves_no_filter(monkeypatch):
    def interrupted(mine):
        real(mine)
        raise KeyboardInterrupt

    before, real = list(warnings.filters), quiet._enter
    monkeypatch.setattr(quiet, "_enter", interrupted)
    with pytest.raises(KeyboardInterrupt), quiet.muted():
        pass
    assert list(warnings.filters) == before and not quiet._inside
