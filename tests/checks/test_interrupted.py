"""Ctrl-C may come at any line of a check: no mode, tracer or lock stays behind, and the next check is as ever."""

import ctypes
import random
import sys
import threading
import time

import pytest
import torch
from torch.autograd import Function

from simplegrad import check
from simplegrad.checks.causes.trail import Trail
from simplegrad.checks.runs import chance, turns
from simplegrad.checks.runs.watch import Watch


class HalfTheProduct(Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        scaled = 0.5 * g
        return scaled * y, g * x


class Dropped(Function):
    @staticmethod
    def forward(ctx, x):
        mask = (torch.rand_like(x) > 0.5).to(x.dtype)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, g):
        (mask,) = ctx.saved_tensors
        return g * mask


def leaf():
    return torch.linspace(0.5, 2, 4, dtype=torch.double).requires_grad_()


def subjects():
    return [(HalfTheProduct.apply, (leaf(), leaf())), (Dropped.apply, (leaf(),))]


def left_behind():
    """What an interrupted check could have left in this thread and process."""
    modes = torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()
    return modes, sys.gettrace(), sys.getprofile(), torch.is_grad_enabled(), taken()


def drawn():
    return torch.get_rng_state().numpy().tobytes()


def taken():
    """Locks that another thread does not get."""
    held = []

    def ask():
        for lock in (chance._turn, turns._levels, turns._mutations):
            if lock.acquire(timeout=0.2):
                lock.release()
            else:
                held.append(lock)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return held


@pytest.fixture
def another_thread():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.parametrize("kind", [chance.Operations, Trail, Watch])
def test_nothing_stays_that_was_being_put_on(kind, monkeypatch, another_thread):
    entered, before = kind.__enter__, left_behind()

    def interrupted(self):
        entered(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kind, "__enter__", interrupted)
        met = 0
        for fn, inputs in subjects():
            try:
                check(fn, *inputs)
            except KeyboardInterrupt:
                met += 1
            assert left_behind() == before
        assert met
    assert [check(fn, *inputs).verdict for fn, inputs in subjects()] == ["wrong_partial", "correct"]


def test_an_interrupt_at_any_moment_leaves_nothing():
    main, delays, before, random_state = threading.get_ident(), random.Random(5), left_behind(), drawn()

    def strike(after):
        time.sleep(after)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(KeyboardInterrupt))

    for k in range(16):
        fn, inputs = subjects()[k % 2]
        thread = threading.Thread(target=strike, args=(0.08 * delays.random(),))
        with pytest.raises(KeyboardInterrupt):
            thread.start()
            while True:
                check(fn, *inputs)
        thread.join()
        assert left_behind() == before
        if k % 2:  # it draws, and the thread that strikes may have drawn too: nobody knows where generators were
            random_state = drawn()
        assert drawn() == random_state
    assert [check(fn, *inputs).verdict for fn, inputs in subjects()] == ["wrong_partial", "correct"]
