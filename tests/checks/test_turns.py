"""What torch allows once in a process: forward mode, and graphs whose saved tensors may be changed."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.autograd import forward_ad

from simplegrad import TapeEntry, Variable, check, gradient_tape
from simplegrad.checks.runs import turns


class WrongJvp(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return torch.sinh(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return g * torch.cosh(ctx.saved_tensors[0])

    @staticmethod
    def jvp(ctx, t):
        return t * torch.sinh(ctx.saved_tensors[0])


def exp_squared(x):
    """What autograd saved of forward is changed in place before its backward."""
    t = x.value.exp()
    r = Variable(t * t)
    t.mul_(2)
    gradient_tape.append(TapeEntry([x], [r], lambda dL_doutputs: [dL_doutputs[0] * (r + r)]))
    return r


def verdict():
    return check(WrongJvp.apply, torch.linspace(0.1, 1, 4, dtype=torch.double).requires_grad_()).verdict


def test_checks_in_forward_mode_at_the_same_time():
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: verdict(), range(8))) == ["wrong_jvp"] * 8


def in_forward_mode(seconds):
    """A thread of somebody else's that is in forward mode for so long."""
    entered, end = threading.Event(), threading.Event()

    def run():
        with forward_ad.dual_level():
            entered.set()
            end.wait(seconds)

    thread = threading.Thread(target=run)
    thread.start()
    assert entered.wait(10)
    return lambda: (end.set(), thread.join())


def test_somebody_else_in_forward_mode_is_waited_for(monkeypatch):
    monkeypatch.setattr(turns, "WAITING", 60)
    leave = in_forward_mode(0.3)
    try:
        assert verdict() == "wrong_jvp"
    finally:
        leave()


def test_somebody_who_stays_in_forward_mode_is_told(monkeypatch):
    monkeypatch.setattr(turns, "WAITING", 0.05)
    leave = in_forward_mode(60)
    try:
        assert verdict() == "unverified"
    finally:
        leave()
    assert verdict() == "wrong_jvp"


def test_checks_of_what_changes_saved_values_at_the_same_time(monkeypatch):
    real, used = turns.mutation_allowed, []
    monkeypatch.setattr("simplegrad.checks.tape.case.mutation_allowed", lambda: used.append(1) or real())
    x = torch.linspace(0.1, 1, 4, dtype=torch.double)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: check(exp_squared, Variable.constant(x)).verdict, range(8)))
    assert found == ["correct"] * 8
    assert used
