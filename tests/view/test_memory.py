"""What the app keeps is bounded, and what nobody shows any more is let go: counted in things and in bytes."""

import gc
import weakref

import pytest
import torch
from streamlit.testing.v1 import AppTest

from simplegrad import Tape, Trace, Variable, grad, record
from simplegrad.files import UserFiles
from simplegrad.view import compare_view, session
from simplegrad.view.bounded import Bounded
from simplegrad.view.session import Shown, from_query, trace_of, view_of
from simplegrad.view.views import MOST_OPENED, TraceView, bytes_of

from .conftest import chain
from .test_pages import APP, fine

COST = 300_000


@pytest.fixture(autouse=True)
def caches(monkeypatch):
    """Those of the session, empty and small."""
    for name, count in (("TRACES", 4), ("VIEWS", 4), ("COMPARISONS", 2)):
        cache = Bounded(count, COST)
        monkeypatch.setattr(session, name, cache)
        if hasattr(compare_view, name):
            monkeypatch.setattr(compare_view, name, cache)


def shown(number: int, size: int = 4) -> Shown:
    """What a session asks for that nobody else does."""
    return from_query(Shown(program="text", text=f"a = rand({size}) * {number}\ngrad((a * a).sum(), [a])").query())


def alive(things: list[weakref.ref]) -> int:
    gc.collect()
    return sum(thing() is not None for thing in things)


def test_a_run_that_is_over_lets_go_of_its_tape():
    with Tape() as tape, record() as trace:
        x = Variable.constant(torch.ones(3), name="x")
        grad((x * x).sum(), [x])
        assert len(trace) > 0  # while it runs the tape is needed
        y = x.sin()
    gone = [weakref.ref(each) for each in (tape, x, y)]
    del tape, x, y
    assert trace.entries[-1].operator == "sin"
    assert alive(gone) == 0


def test_sessions_keep_no_more_than_is_said_together():
    runs = []
    for number in range(20):
        trace = trace_of(shown(number))
        runs += [weakref.ref(trace), weakref.ref(view_of(trace))]
        del trace
        assert session.TRACES.total <= COST and session.VIEWS.total <= COST
    assert 2 <= alive(runs) <= 2 * (4 + 4)
    assert runs[0]() is None and runs[-1]() is not None


def test_large_runs_go_sooner():
    runs = [weakref.ref(trace_of(shown(number, size=20_000))) for number in range(8)]
    assert alive(runs) == 1 == len(session.TRACES)


def test_a_view_counts_the_run_that_it_keeps():
    view = view_of(trace_of(shown(1)))
    assert session.VIEWS.total == view.bytes > bytes_of(view.trace) + len(view.payload)


def test_opening_one_group_after_another_keeps_few_pictures():
    view = TraceView(chain(4_000))
    groups = [unit.key for unit in view.graph.units if unit.kind == "group"]
    assert len(groups) > 2 * MOST_OPENED
    pictures = [weakref.ref(view.with_opened([group])) for group in groups]
    assert alive(pictures) == MOST_OPENED
    assert view.with_opened([groups[-1]]) is pictures[-1]()


def test_a_comparison_counts_both_runs():
    runs = [trace_of(shown(number)) for number in range(6)]
    gone = [weakref.ref(compare_view.comparison_of(left, right)) for left, right in zip(runs, runs[1:])]
    assert session.COMPARISONS.total == sum(map(bytes_of, runs[-3:-1])) + sum(map(bytes_of, runs[-2:]))
    assert alive(gone) == 2


def test_a_saved_trace_that_was_saved_again_is_let_go(tmp_path):
    path = tmp_path / "run.trace"
    files, gone = UserFiles([path]), []
    for number in range(3):
        trace_of(shown(number, size=10 + number)).save(path)
        assert files.refresh()
        gone.append(weakref.ref(files.traces["run.trace"]))
    assert isinstance(gone[-1](), Trace) and alive(gone) == 1


def test_what_a_closed_session_showed_is_let_go():
    app_of(shown(0))  # with the first session of a process app.py freezes what is there, so that one stays
    app = app_of(shown(1))
    gone = [weakref.ref(last(cache)) for cache in (session.TRACES, session.VIEWS)]
    del app
    for number in range(2, 8):
        view_of(trace_of(shown(number)))
    assert alive(gone) == 0


def app_of(asked: Shown) -> AppTest:
    """A session whose address asks for this."""
    app = AppTest.from_file(APP, default_timeout=60)
    for name, value in asked.query().items():
        app.query_params[name] = value
    fine(app.run())
    return app


def last(cache: Bounded):
    """What was used last of what is kept."""
    return [thing for thing, _ in cache._kept.values()][-1]
