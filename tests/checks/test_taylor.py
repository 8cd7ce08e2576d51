"""The evidence: remainders of Taylor expansions fall by the power that a right derivative gives, and not otherwise."""

from __future__ import annotations

import json
import math

import pytest
import torch

from simplegrad import TapeEntry, Variable, check, gradient_tape


def function(first: float = 1.0, keeps: bool = False):
    """sin, with a first derivative times `first`, or one that keeps the cosine and so loses its own derivative."""

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x.cos() if keeps else x)
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            (kept,) = ctx.saved_tensors
            return first * g * (kept if keeps else kept.cos())

    return Sine.apply


X = torch.tensor([0.4, 1.1, -0.7], dtype=torch.float64, requires_grad=True)


def rates(fn, order=2) -> dict[int, float]:
    return {each.order: each.rate for each in check(fn, X, order=order).evidence}


def test_right_derivatives_leave_what_falls_with_the_next_power():
    assert rates(function()) == {1: pytest.approx(2, abs=0.2), 2: pytest.approx(3, abs=0.2)}


def test_a_wrong_first_derivative_leaves_what_falls_with_the_step():
    assert rates(function(1.5), order=1) == {1: pytest.approx(1, abs=0.2)}


def test_a_lost_second_derivative_leaves_what_falls_with_the_square():
    assert rates(function(keeps=True))[2] == pytest.approx(2, abs=0.2)


def test_of_a_linear_function_nothing_is_left():
    assert all(math.isnan(each.rate) for each in check(lambda x: 3 * x, X).evidence)


def test_it_is_printed_and_goes_into_json():
    report = check(function(), X)
    assert "power 2.0 (right: 2) for x at order 1" in str(report)
    assert len(json.loads(json.dumps(report.as_json()))["evidence"][0]["remainders"]) == 8


def test_asking_for_it_changes_nothing_outside():
    torch.manual_seed(5)
    report = check(function(), X)
    before = torch.get_rng_state()
    assert report.evidence and torch.equal(before, torch.get_rng_state())


def on_the_tape(first: float = 1.0, keeps: bool = False):
    """The same as an aggregate."""

    def sine(x):
        kept = Variable(x.value.cos())
        r = Variable(x.value.sin())
        append = [x.name], [r.name], lambda g: [first * g[0] * (kept if keeps else x.cos())]
        gradient_tape.append(TapeEntry(*append))
        return r

    return sine


@pytest.mark.parametrize(
    ("aggregate", "order", "expected"),
    [(on_the_tape(), 2, {1: 2, 2: 3}), (on_the_tape(1.5), 1, {1: 1}), (on_the_tape(keeps=True), 2, {1: 2, 2: 2})],
)
def test_an_aggregate_has_the_same_evidence(aggregate, order, expected):
    evidence = check(aggregate, Variable.constant(X.detach()), order=order).evidence
    assert {each.order: each.rate for each in evidence} == pytest.approx(expected, abs=0.2)
