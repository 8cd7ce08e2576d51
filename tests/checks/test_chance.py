"""Random numbers belong to the process: checks at the same time, and a host that draws meanwhile."""

import contextlib
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from simplegrad import TapeEntry, Variable, check, gradient_tape
from simplegrad.checks.runs import chance
from tests.checks.test_left_alone import Escaping, Sinh

KEPT = 0.7


def mask_like(x):
    return (torch.rand_like(x) < KEPT).to(x.dtype) / KEPT


class Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        mask = mask_like(x)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class DrawnAgain(Dropout):
    @staticmethod
    def backward(ctx, g):
        return g * mask_like(g)


def on_tape(again):
    """Dropout as an aggregate, with the mask kept, or drawn again in `propagate`."""

    def dropout(x):
        mask = mask_like(x.value)
        r = Variable(x.value * mask)

        def propagate(dL_doutputs):
            (dL_dr,) = dL_doutputs
            return [dL_dr * Variable.constant(mask_like(x.value) if again else mask)]

        gradient_tape.append(TapeEntry([x], [r], propagate))
        return r

    return dropout


def sinh_on_tape(x):
    r = Variable(torch.sinh(x.value))

    def propagate(dL_doutputs):
        return [dL_doutputs[0] * (x.exp() + (-x).exp()) * 0.5]

    gradient_tape.append(TapeEntry([x], [r], propagate))
    return r


def with_numpy(x):
    return Sinh.apply(x * torch.from_numpy(np.random.rand(*x.shape)))


def with_python(x):
    return Sinh.apply(x * random.random())


def report_of(target):
    x = torch.linspace(0.1, 1, 6, dtype=torch.float64)
    return check(target, Variable.constant(x) if target in (*TAPED, sinh_on_tape) else x.requires_grad_())


def verdict(target):
    return report_of(target).verdict


TAPED = (on_tape(False), on_tape(True))
DRAWING = {
    "Function": (Dropout.apply, "correct"),
    "Function, drawn again": (DrawnAgain.apply, "not_repeatable"),
    "aggregate": (TAPED[0], "correct"),
    "aggregate, drawn again": (TAPED[1], "not_repeatable"),
    "numpy": (with_numpy, "correct"),
    "Python": (with_python, "correct"),
}
DRAWS_NOTHING = {
    "Function": (Sinh.apply, "correct"),
    "Function that is wrong": (Escaping.apply, "escaped_temporary"),
    "aggregate": (sinh_on_tape, "correct"),
}


@contextlib.contextmanager
def host_that_draws():
    """Another thread of the process, which draws from every generator all the while."""
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            torch.rand(3), np.random.rand(), random.random()

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("name", DRAWING)
def test_what_draws_gets_its_verdict_alone(name):
    target, expected = DRAWING[name]
    assert verdict(target) == expected


def test_checks_at_the_same_time_do_not_meet():
    names = [*DRAWING, *DRAWING]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda name: verdict(DRAWING[name][0]), names))
    assert dict(zip(names, found, strict=True)) == {name: expected for name, (_, expected) in DRAWING.items()}


@pytest.mark.parametrize("name", DRAWING)
def test_numbers_that_a_host_drew_meanwhile_are_noticed(name, monkeypatch):
    """A thread that draws now and then: between evaluations, whose numbers are then others."""
    target, expected = DRAWING[name]
    monkeypatch.setattr(chance, "others", lambda: True)
    real, seeds = chance.seed_all, []

    def seed_all():
        real()
        seeds.append(1)
        if len(seeds) % 3 == 0:  # as another thread would: right after a seed, never as much as before
            torch.rand(len(seeds)), np.random.rand(len(seeds)), random.random()

    monkeypatch.setattr(chance, "seed_all", seed_all)
    assert verdict(target) == "unverified"
    monkeypatch.setattr(chance, "seed_all", real)
    assert verdict(target) == expected


def test_a_host_that_drew_once_costs_one_more_run(monkeypatch):
    monkeypatch.setattr(chance, "others", lambda: True)
    real, seeds = chance.seed_all, []

    def seed_all():
        real()
        seeds.append(1)
        if len(seeds) == 20:
            torch.rand(1)

    monkeypatch.setattr(chance, "seed_all", seed_all)
    assert verdict(Dropout.apply) == "correct"


@pytest.mark.parametrize("name", ["Function", "Function, drawn again", "aggregate", "aggregate, drawn again"])
def test_a_host_that_draws_all_the_while(name):
    """It is told that nothing could be judged; never a fault, and never `correct`, of what depends on it."""
    target, expected = DRAWING[name]
    with host_that_draws():
        report = report_of(target)
    assert report.verdict in ("unverified", expected)
    if report.verdict == "unverified":
        (finding,) = report.findings
        assert "Other threads of this process drew random numbers" in finding.sentence


@pytest.mark.parametrize("name", DRAWS_NOTHING)
def test_a_host_that_draws_changes_no_verdict_of_what_does_not(name):
    """On a busy machine the host may draw in every stretch of an evaluation, and then that is said."""
    target, expected = DRAWS_NOTHING[name]
    with host_that_draws():
        found = {verdict(target) for _ in range(4)}
    assert expected in found and found <= {expected, "unverified"}


@pytest.mark.parametrize("name", DRAWS_NOTHING)
def test_what_draws_nothing_is_not_seeded(name, monkeypatch):
    """The numbers of a host that draws meanwhile are those it would have drawn, and no check waits for another."""
    monkeypatch.setattr(chance, "seed_all", None)
    monkeypatch.setattr(chance, "_turn", None)
    target, expected = DRAWS_NOTHING[name]
    assert verdict(target) == expected


@pytest.mark.parametrize("name", DRAWING)
def test_the_hosts_numbers_go_on(name):
    def drawn():
        return torch.rand(1).item(), np.random.rand(), random.random()

    def seeded():
        torch.manual_seed(3), np.random.seed(3), random.seed(3)

    seeded()
    expected = drawn()
    seeded()
    verdict(DRAWING[name][0])
    assert drawn() == expected


def test_a_check_that_never_ends_keeps_no_other_from_ending(monkeypatch):
    monkeypatch.setattr(chance, "WAITING", 0.05)
    begun, end = threading.Event(), threading.Event()

    def waits(x):
        if isinstance(chance._before.get(), chance.Seeded):  # then it is its turn
            begun.set()
            end.wait(30)
        return Dropout.apply(x)

    stuck = threading.Thread(target=lambda: report_of(waits))
    stuck.start()
    try:
        assert begun.wait(30)
        assert verdict(Dropout.apply) == "correct"
    finally:
        end.set()
        stuck.join()


@torch.library.custom_op("chance::noisy", mutates_args=())
def noisy(x: torch.Tensor) -> torch.Tensor:
    return x + torch.rand_like(x)


def test_who_drew_is_told_from_the_operations_of_this_thread():
    """Also of what runs so long that another thread draws in each of its evaluations."""
    own, x = torch.Generator(), torch.zeros(3)

    def sample(function):
        return lambda: (function(), None)[1]

    with host_that_draws():
        assert chance.draws_by_torch(sample(lambda: torch.ones(3).sin())) is False
        assert chance.draws_by_torch(sample(lambda: torch.rand(3, generator=own))) is False
        assert chance.draws_by_torch(sample(lambda: torch.rand(3))) is True
        assert chance.draws_by_torch(sample(lambda: torch.nn.functional.dropout(x, 0.5))) is True
        assert chance.draws_by_torch(sample(lambda: noisy(x))) is None
        assert not chance.draws_nothing(sample(lambda: np.random.rand()))
        assert not chance.draws_nothing(sample(lambda: noisy(x)))


drawn_as = np.random.rand


class Holds:
    drawn = np.random.random_sample


def held(x, draw=np.random.rand):
    return Sinh.apply(x * draw())


CALLS = {
    "by name": with_numpy,
    "by another name": lambda x: Sinh.apply(x * drawn_as()),
    "by a default": held,
    "by an attribute": lambda x: Sinh.apply(x * Holds().drawn.__self__.random_sample()),
    "of Python": with_python,
    "of Python, below": lambda x: Sinh.apply(x * random.gauss(0, 1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_may_draw_is_seen_in_its_calls(name):
    x = torch.linspace(0.1, 1, 6, dtype=torch.float64, requires_grad=True)
    assert any(chance.draws_by_calls(lambda: CALLS[name](x)))


@pytest.mark.parametrize("name", DRAWS_NOTHING)
def test_where_others_draw_in_every_stretch_it_is_told_by_its_calls(name, monkeypatch):
    """As on a busy machine: each time that the interpreter's lock is free, somebody draws."""
    here, real = threading.get_ident(), chance.places

    def places():
        if threading.get_ident() == here:
            torch.rand(1), np.random.rand(), random.random()
        return real()

    monkeypatch.setattr(chance, "others", lambda: True)
    monkeypatch.setattr(chance, "places", places)
    target, expected = DRAWS_NOTHING[name]
    assert verdict(target) == expected


def test_who_is_told_of_calls_goes_on_being_told():
    told = []
    sys.setprofile(lambda *of: told.append(of))
    try:
        assert chance.draws_by_calls(lambda: None) == (None, None)
        assert sys.getprofile() is not None
    finally:
        sys.setprofile(None)
