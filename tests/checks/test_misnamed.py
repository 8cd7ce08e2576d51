"""Saved in one order and unpacked in another, or another value saved: told as that, and where; and what helpers do."""

import torch
from torch.autograd import Function

from simplegrad import check
from tests.checks.right.register import held, real

torch.set_num_threads(1)


def function(forward, backward):
    return type("Made", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def quotient(ctx, a, b):
    ctx.save_for_backward(a, b)
    return a / b


def wrong_at_first(fn, *inputs):
    """The findings of order 1, each with the text of its lines."""
    report = check(fn, *inputs, order=1)
    assert report.faults, str(report)
    return [(each, each.read_at.text if each.read_at else "") for each in report.faults]


def test_unpacked_in_another_order():
    def swapped(ctx, g):
        b, a = ctx.saved_tensors
        return g / b, -g * a / b**2

    given = real(3, low=0.5), real(3, seed=1, low=0.5)
    ((finding, text),) = wrong_at_first(function(quotient, swapped).apply, *given)
    assert finding.code == "wrong_gradient"
    assert "b, a = ctx.saved_tensors" in text and "ctx.save_for_backward(a, b)" in finding.made_at.text
    assert "`a` stands where `b` belongs" in finding.explanation
    assert finding.fix == "a, b = ctx.saved_tensors"


def test_of_a_product_the_slots_are_not_accused():
    def forward(ctx, a, b):
        ctx.save_for_backward(b, a)
        return a * b

    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return g * b, g * a

    ((finding, text),) = wrong_at_first(function(forward, backward).apply, real(3), real(3, seed=1))
    assert finding.code == "wrong_gradient" and "saved_tensors" in text


def test_another_value_is_saved():
    def keeps_the_input(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(x)
        return y

    def of_the_output(ctx, g):
        (y,) = ctx.saved_tensors
        return g * (1 - y * y)

    ((finding, _),) = wrong_at_first(function(keeps_the_input, of_the_output).apply, real(3))
    assert "`x` stands where `y` belongs" in finding.explanation
    assert "ctx.save_for_backward(x)" in finding.made_at.text


def test_another_number_is_kept():
    def keeps_half(ctx, x, slope):
        ctx.slope = slope / 2
        return x * slope

    def scales(ctx, g):
        return g * ctx.slope, None

    ((finding, _),) = wrong_at_first(function(keeps_half, scales).apply, real(3), 3.0)
    assert "ctx.slope = slope / 2" in finding.made_at.text and finding.fix == "ctx.slope = slope"


def test_other_names_for_what_is_right_are_no_fault():
    def other_names(ctx, g):
        b, a = ctx.saved_tensors
        return g / a, -g * b / a**2

    given = real(3, low=0.5), real(3, seed=1, low=0.5)
    assert check(function(quotient, other_names).apply, *given).verdict == "correct"


def test_a_branch_that_is_not_taken_is_named():
    def asks_the_wrong_way(ctx, g):
        a, b = ctx.saved_tensors
        ga = gb = None
        if ctx.needs_input_grad[0]:
            ga = g / b
        if not ctx.needs_input_grad[1]:
            gb = -g * a / b**2
        return ga, gb

    given = real(3, low=0.5), real(3, seed=1, low=0.5)
    found = wrong_at_first(function(quotient, asks_the_wrong_way).apply, *given)
    assert any(each.code == "missing_gradient" and "if not ctx" in text for each, text in found)


def twice_the_cosine(g, x):
    y = x.cos()
    return g * y * 2


def test_a_helper_that_is_called_twice_in_one_line():
    def sines(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a.sin() + b.sin()

    def helped(ctx, g):
        a, b = ctx.saved_tensors
        return twice_the_cosine(g, a), twice_the_cosine(g, b)

    ((_, text),) = wrong_at_first(function(sines, helped).apply, real(3), real(3, seed=1))
    assert "return g * y * 2" in text


def test_another_count():
    def mean(ctx, x, mask):
        ctx.save_for_backward(mask)
        return (x * mask).sum() / mask.sum()

    def over_all(ctx, g):
        (mask,) = ctx.saved_tensors
        n = mask.numel()
        share = g / n
        return share * mask, None

    mask = torch.tensor([1.0, 0, 1, 1, 0, 1], dtype=torch.double)
    ((finding, text),) = wrong_at_first(function(mean, over_all).apply, real(6), mask)
    assert "mask.numel()" in text and "mask.sum()" in finding.fix


def test_what_is_right_as_it_is_is_not_accused():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    def lost(ctx, g):
        (x,) = ctx.saved_tensors
        s = x.sigmoid()
        return g * (s + x * s)

    ((_, text),) = wrong_at_first(function(forward, lost).apply, real(4))
    assert "return g * (s + x * s)" in text


def test_a_place_one_beside():
    def forward(ctx, x, w):
        ctx.save_for_backward(w)
        y = x.clone()
        y[1:] += w * x[:-1]
        return y

    def backward(ctx, g):
        (w,) = ctx.saved_tensors
        gx = g.clone()
        gx[:-2] += w * g[2:]
        return gx, None

    ((_, text),) = wrong_at_first(function(forward, backward).apply, real(5), held(1))
    assert "gx[:-2]" in text


def nothing_of(g, x):
    return None if x.sum() < 1e9 else g


def cubed(ctx, x):
    ctx.save_for_backward(x)
    return x**3


def test_a_helper_that_returns_none():
    def helped(ctx, g):
        (x,) = ctx.saved_tensors
        return nothing_of(g, x)

    ((finding, text),) = wrong_at_first(function(cubed, helped).apply, real(3))
    assert finding.code == "missing_gradient" and "return None if" in text


def scaled(g, x):
    return g * x


def test_a_helper_that_is_right_for_one_is_not_accused_of_the_other():
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    def backward(ctx, g):
        a, b = ctx.saved_tensors
        ga = scaled(g, b)
        gb = scaled(g, b)
        return ga, gb

    ((_, text),) = wrong_at_first(function(forward, backward).apply, real(3), real(3, seed=1))
    assert text == "gb = scaled(g, b)"


def test_a_real_gradient_of_a_complex_input():
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return (z * z.conj()).real

    def real_part(ctx, g):
        return 2 * g

    ((finding, text),) = wrong_at_first(function(forward, real_part).apply, real(3, 2, dtype=torch.cdouble))
    assert finding.code in ("wrong_gradient", "wrong_partial") and text == "return 2 * g"
