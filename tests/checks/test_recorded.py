"""What a check of a PyTorch function ran is a trace, made when it is asked for, in which each finding has a step."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import Function

from simplegrad import check
from simplegrad.trace import Trace
from simplegrad.trace.events import Failed, VisitBegun

X = torch.tensor([0.4, 1.1, -0.7], requires_grad=True)


def function(forward, backward):
    return type("Made", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}).apply


def keeps(ctx, x):
    ctx.save_for_backward(x)
    return x.sin()


def keeps_cosine(ctx, x):
    ctx.save_for_backward(x.cos())
    return x.sin()


def times_sine(ctx, g):
    return g * ctx.saved_tensors[0].sin()


def times_kept(ctx, g):
    return g * ctx.saved_tensors[0]


def raises(ctx, g):
    raise ValueError("no gradient today")


def test_a_wrong_gradient_shows_where_its_backward_runs():
    report = check(lambda x: (2 * function(keeps, times_sine)(x)).sum(), X)
    (finding,) = [each for each in report.faults if each.order == 1]
    event = report.trace.events[finding.step]
    assert isinstance(event, VisitBegun) and event.entry.operator == "Made" and event.pass_id == 0


def test_an_escape_shows_in_the_second_pass_in_what_that_backward_recorded():
    report = check(function(keeps_cosine, times_kept), X)
    (finding,) = report.faults
    event = report.trace.events[finding.step]
    by_hand = next(entry for entry in report.trace.entries if entry.aggregate)
    assert (event.pass_id, event.entry.made_by) == (1, by_hand.id)


def test_a_run_that_raises_ends_with_that():
    report = check(function(keeps, raises), X)
    assert isinstance(report.trace.events[report.faults[0].step], Failed)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_right_function_has_a_trace_too(order):
    report = check(function(keeps, lambda ctx, g: g * ctx.saved_tensors[0].cos()), X, order=order)
    assert report.ok and isinstance(report.trace, Trace)
    assert len(report.trace.passes) == min(order, 2)


def test_it_is_not_made_before_somebody_asks_and_leaves_nothing_changed():
    calls, module = [], torch.nn.BatchNorm1d(3)

    def counted(x):
        calls.append(1)
        return module(x)

    report = check(counted, torch.rand(4, 3, requires_grad=True))
    before, statistics = torch.get_rng_state(), module.running_mean.clone()
    assert report.trace.events
    assert calls == [] and torch.equal(module.running_mean, statistics)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_page_steps_to_the_fault():
    report = check(function(keeps_cosine, times_kept), X)
    assert '"step"' in report.to_html(include_plotlyjs=False)
