"""Everything at once in one process: what each thread gets is what it gets alone, and nothing of it is left."""

import gc
import os
import random
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch

from simplegrad import Tape, Variable, check, grad, record, record_torch
from simplegrad.locks import cached_property
from tests.checks.test_left_alone import Escaping, Sinh
from tests.checks.test_turns import WrongJvp

ROOT = Path(__file__).parent.parent
ROUNDS = 2
numbers = torch.Generator().manual_seed(4)
DATA, WANTED = torch.randn(8, 3, generator=numbers), torch.randn(8, 1, generator=numbers)


def model():
    made = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape))
    return made


def losses(module, steps=3):
    optimizer, found = torch.optim.SGD(module.parameters(), 0.1), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (module(DATA) - WANTED).square().mean()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def recorded():
    module = model()
    with record_torch(module) as trace:
        found = losses(module, 2)
    return found, len(trace.events), len(trace.calls), trace.transcript()


def taped():
    with Tape(), record() as trace:
        a = Variable(torch.linspace(0, 1, 4), name="a")
        (first,) = grad((a.tanh() * a).sum(), [a])
        grad((first * first).sum(), [a])
    return trace.transcript()


def verdict_of(cls):
    return check(cls.apply, torch.linspace(0.1, 1, 4, dtype=torch.double).requires_grad_()).verdict


WORK = {
    "recording": recorded,
    "another recording": recorded,
    "a tape": taped,
    "training": lambda: losses(model()),
    "Sinh": lambda: verdict_of(Sinh),
    "Escaping": lambda: verdict_of(Escaping),
    "WrongJvp": lambda: verdict_of(WrongJvp),
}


def state():
    names = torch.autograd.graph, torch.autograd.function.BackwardCFunction, torch.nn.Module, torch.inference_mode
    told = [{k: v for k, v in vars(each).items() if not k.startswith("__w")} for each in names]
    settings = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    python = sys.gettrace(), sys.getprofile(), sys.getrecursionlimit(), gc.isenabled(), gc.get_threshold()
    return told, settings, python, list(warnings.filters), random.getstate()


def test_all_at_once():
    alone = {name: work() for name, work in WORK.items()}  # imports what is loaded when it is used, too
    before, found = state(), {name: [] for name in WORK}
    start = threading.Barrier(len(WORK))

    def run(name, work):
        start.wait()
        for _ in range(ROUNDS):
            found[name].append(work())

    threads = [threading.Thread(target=run, args=each) for each in WORK.items()]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == {name: [answer] * ROUNDS for name, answer in alone.items()}
    assert state() == before


FORKING = """
import os, signal, threading
from simplegrad import quiet, source_text
from simplegrad.checks.runs import chance, turns
from tests.test_threads import Sinh, WrongJvp, verdict_of

held, end = threading.Event(), threading.Event()

def hold():
    with chance._turn, turns._levels, turns._mutations, quiet._lock, source_text._one_at_a_time:
        held.set()
        end.wait(60)

verdict_of(Sinh)
holder = threading.Thread(target=hold)
holder.start()
assert held.wait(10)
child = os.fork()
if not child:
    signal.alarm(20)  # a child that waits ends by this
    wrong = [verdict_of(Sinh) != "correct", verdict_of(WrongJvp) != "wrong_jvp", not source_text.parsed("1")]
    with chance.one_at_a_time():
        os._exit(sum(2 << place for place, is_so in enumerate(wrong) if is_so))  # by which of them
status = os.waitpid(child, 0)[1]
end.set()
holder.join()
assert status == 0, status
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_forked_while_locks_are_held_waits_for_nobody():
    """Those who held them in the parent are threads that the child has not. In a process of its own: what other tests
    have left running holds locks of torch, which no child gets free."""
    ran = subprocess.run([sys.executable, "-c", FORKING], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_a_backward_that_never_ends_stops_no_other_check():
    begun, end = threading.Event(), threading.Event()

    class Waits(Sinh):
        @staticmethod
        def backward(ctx, g):
            if threading.current_thread() is stuck:
                begun.set()
                end.wait(60)
            return Sinh.backward(ctx, g)

    stuck = threading.Thread(target=lambda: verdict_of(Waits))
    stuck.start()
    try:
        assert begun.wait(30)
        others = threading.Thread(target=lambda: found.append(verdict_of(Sinh)))
        found = []
        others.start()
        others.join(30)
        assert found == ["correct"]
    finally:
        end.set()
        stuck.join()


def test_a_property_that_is_being_computed_stops_no_other_object():
    begun, end = threading.Event(), threading.Event()

    class Slow:
        def __init__(self, waits):
            self.waits = waits

        @cached_property
        def made(self):
            if self.waits:
                begun.set()
                end.wait(60)
            return object()

    thread = threading.Thread(target=lambda: Slow(True).made)
    thread.start()
    try:
        assert begun.wait(10)
        quick, found = Slow(False), []
        other = threading.Thread(target=lambda: found.append(quick.made))
        other.start()
        other.join(10)
        assert found == [quick.made]
    finally:
        end.set()
        thread.join()
