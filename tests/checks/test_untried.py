"""What a check did not ask is said: beside the clause that it belongs to, or below all of them."""

import json
from pathlib import Path

import pytest
import torch

from simplegrad import Variable, check
from simplegrad.checks.commands.attempt import Result
from simplegrad.checks.commands.command import as_json
from simplegrad.targets import Target
from simplegrad.view.pytorch_view import clauses_of
from tests.checks.right.register import real
from tests.checks.test_clauses_on_tape import A, right, square

OUTSIDE = torch.randn(3, dtype=torch.double).requires_grad_()
LAYER = torch.nn.Linear(3, 3).double()


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mask):
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, g):
        (mask,) = ctx.saved_tensors
        return g * mask, None


def why(report, number):
    return report.clauses[number - 1].why


def test_beside_each_clause_of_a_function():
    report = check(lambda x: Scaled.apply(x, torch.ones(3, dtype=torch.double)), real(3))
    assert report.ok
    assert why(report, 1) == "on cpu, not under autocast"
    assert why(report, 7) == "not with sparse ones"
    assert "jvp" in why(report, 10) and "torch.library" in why(report, 11) and "half" in why(report, 12)


def test_under_autocast_it_says_so():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = check(lambda x: x.sin(), real(3))
    assert why(report, 1) == "on cpu, under the autocast that is on"


def test_beside_each_clause_of_an_aggregate():
    report = check(square(right), Variable.constant(A))
    assert "None for all" in why(report, 5) and "create_graph" in why(report, 9)


def test_below_all_clauses_what_none_of_them_asks():
    def fn(x, mask):
        return LAYER(Scaled.apply(x, mask)) * OUTSIDE

    x = real(3)
    x.register_hook(lambda g: g)
    report = check(fn, x, torch.ones(3, dtype=torch.double))
    said = " | ".join(report.untried)
    assert report.ok and str(report).endswith("not tried at all: " + "; ".join(report.untried))
    for each in ("OUTSIDE", "the parameters of LAYER", "mask", "the hooks on x", "torch.func", "checkpoint"):
        assert each in said


@pytest.mark.parametrize("subject", [(torch.sin, real(3)), (square(right), Variable.constant(A))])
def test_json_and_the_page_say_it_too(subject):
    report = check(*subject)
    result = Result(Target("x", "function", str(Path(__file__)), 1, None), report)
    assert json.loads(as_json([result]))[0]["untried"] == report.untried == clauses_of(report)["untried"] != []


def test_no_error_stands_beside_correct_where_that_order_is_refused_or_meant_otherwise():
    class Once(torch.autograd.Function):
        forward = staticmethod(lambda ctx, x: (ctx.save_for_backward(x), x**3)[1])

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            return 3 * g * ctx.saved_tensors[0] ** 2

    class Through(torch.autograd.Function):
        forward = staticmethod(lambda ctx, x: x.round())
        backward = staticmethod(lambda ctx, g: g)

    once, through = check(Once.apply, real(3)), check(Through.apply, real(3))
    assert once.ok and list(once.errors) == [1] and "once_differentiable" in why(once, 4)
    assert through.ok and 1 not in through.errors
