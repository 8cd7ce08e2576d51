"""What a check may not leave changed: state that a function reaches, gradients, random numbers, who traces."""

import queue
import random
import sys
import threading

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import Function

from simplegrad import Variable, check

SEEN, COUNTS = [], {"calls": 0}


class Sinh(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sinh(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * torch.cosh(x)


class Escaping(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.kept = torch.cosh(x)
        return torch.sinh(x)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.kept


NORM = torch.nn.BatchNorm1d(3).double()


def rows():
    return torch.randn(4, 3, dtype=torch.double, requires_grad=True)


def through_a_global(x):
    SEEN.append(float(x.detach().sum()))
    COUNTS["calls"] += 1
    return Sinh.apply(NORM(x))


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def is_as_before(module, kept):
    return all(torch.equal(value, kept[name]) for name, value in module.state_dict().items())


def test_what_is_reached_by_globals():
    kept = state_of(NORM)
    check(through_a_global, rows())
    assert (SEEN, COUNTS) == ([], {"calls": 0})
    assert is_as_before(NORM, kept)


def test_what_is_reached_by_a_closure():
    norm, seen = torch.nn.BatchNorm1d(3), []
    kept = state_of(norm)
    check(lambda x: (seen.append(1), Escaping.apply(norm(x)))[1], rows().float().detach().requires_grad_())
    assert seen == [] and is_as_before(norm, kept)


def test_gradients_that_somebody_has():
    weight = torch.ones(3, dtype=torch.double, requires_grad=True)
    weight.grad = grad = torch.full((3,), 7.0, dtype=torch.double)

    def accumulates(x):
        with torch.enable_grad():
            (weight * 2).sum().backward()
        return Sinh.apply(x * weight)

    check(accumulates, rows())
    assert weight.grad is grad and torch.equal(grad, torch.full((3,), 7.0, dtype=torch.double))


def test_random_numbers_go_on():
    x = rows()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    check(Escaping.apply, x)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("cls", [Sinh, Escaping])
def test_the_callers_grad_mode_changes_no_verdict(mode, cls):
    x = rows()
    with mode():
        report = check(cls.apply, x)
    assert report.verdict == check(cls.apply, x).verdict
    with torch.inference_mode():
        held = torch.ones(3, dtype=torch.double)
        report = check(lambda x, y: Sinh.apply(x * y), x, held)
    assert report.ok, str(report)


def test_who_traced_before_sees_the_lines_of_backward():
    seen = set()

    def tracer(frame, event, arg):
        if frame.f_code is Escaping.backward.__code__ or frame.f_code is Escaping.forward.__code__:
            seen.add((frame.f_code.co_name, frame.f_lineno))
            return tracer
        return None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        report = check(Escaping.apply, rows())
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    first = Escaping.backward.__code__.co_firstlineno
    assert report.verdict == "escaped_temporary" and report.faults[0].made_at is not None
    assert ("backward", first + 2) in seen
    assert {name for name, _ in seen} == {"forward", "backward"}


def test_what_other_threads_wait_for():
    """A lock, an event or a queue that a function reaches is somebody's who waits: it is not put back."""
    rung, told = threading.Event(), queue.Queue()

    def forward(x):
        rung.set()
        told.put(1)
        return Sinh.apply(x)

    check(forward, rows())
    assert rung.is_set() and told.qsize() > 1


def test_a_generator_of_the_functions_own():
    for own in (np.random.RandomState(1), np.random.default_rng(1), random.Random(1), torch.Generator().manual_seed(1)):

        def factor(own=own):
            if isinstance(own, torch.Generator):
                return torch.rand(1, generator=own).item()
            return own.random()

        def forward(x, factor=factor):
            return Sinh.apply(x * factor())

        assert check(forward, rows()).ok, own


@pytest.mark.parametrize("mode", [lambda: torch.device("meta"), FakeTensorMode])
def test_where_no_tensor_has_numbers_nothing_is_judged(mode):
    x = rows()
    with mode():
        y = torch.ones(3, requires_grad=True)
        for target, given in ((Sinh.apply, x), (Sinh.apply, y), (lambda a: a * 2.0, Variable.constant(y.detach()))):
            with pytest.raises(ValueError, match="tensors without numbers"):
                check(target, given)
    with pytest.raises(ValueError, match="its inputs are tensors without numbers"):
        check(Sinh.apply, y)
    assert check(Sinh.apply, x).ok
