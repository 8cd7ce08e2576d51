"""Faults written as both at once: what a backward may do wrong whatever it is a backward of.

`BOTH[name]` has a code, inputs, the broken and the right aggregate, and the broken and the right Function.
`# BUG` marks the line that a check must name.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.autograd import Function

from simplegrad import TapeEntry, Variable, gradient_tape

from .aggregates import rand


@dataclass
class Both:
    code: str
    inputs: tuple
    aggregate: tuple  # broken, right
    function: tuple  # broken, right
    explanation: str = ""  # a word that finding.explanation has to have


BOTH: dict[str, Both] = {}


def both(code, *inputs, explanation=""):
    """Decorate a function that returns (broken aggregate, right one, broken Function, right one)."""

    def register(make):
        a, b, c, d = make()
        BOTH[make.__name__] = Both(code, inputs, (a, b), (c, d), explanation)
        return make

    return register


def entry(inputs, output, propagate):
    gradient_tape.append(TapeEntry([x.name for x in inputs], [output.name], propagate))
    return output


def class_of(name, forward, backward):
    return type(name, (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def keep(ctx, *tensors):
    ctx.save_for_backward(*tensors)


def product(rule):
    """a * b on the tape, with this rule (g, a, b) -> [da, db]."""

    def times(a, b):
        r = Variable(a.value * b.value)
        return entry([a, b], r, lambda dL: rule(dL[0], a, b))

    return times


def product_function(rule):
    def forward(ctx, a, b):
        keep(ctx, a, b)
        return a * b

    def backward(ctx, g):
        return tuple(rule(g, *ctx.saved_tensors))

    return class_of("Product", forward, backward)


def of_products(broken, right):
    return product(broken), product(right), product_function(broken), product_function(right)


def right_product(g, a, b):
    return [g * b, g * a]


@both("wrong_gradient", rand(4), rand(4, seed=1), explanation="2")
def everything_doubled():
    def doubled(g, a, b):
        g = g * 2  # BUG
        return [g * b, g * a]

    return of_products(doubled, right_product)


@both("wrong_gradient", rand(4), rand(4, seed=1), explanation="sign")
def everything_negated():
    def negated(g, a, b):
        g = -g  # BUG
        return [g * b, g * a]

    return of_products(negated, right_product)


@both("missing_gradient", rand(4), rand(4, seed=1))
def one_is_none():
    def none(g, a, b):
        return [g * b, None]  # BUG

    return of_products(none, right_product)


@both("not_linear", rand(4), rand(4, seed=1))
def squares_what_comes():
    def squared(g, a, b):
        g = g * g  # BUG
        return [g * b, g * a]

    return of_products(squared, right_product)


@both("not_linear", rand(4), rand(4, seed=1))
def adds_a_constant():
    def added(g, a, b):
        decay = b * 0.01
        return [g * b + decay, g * a]  # BUG

    return of_products(added, right_product)


@both("nonfinite_gradient", torch.zeros(3))
def norm_at_zero():
    def norm(rule):
        def of(x):
            r = Variable(x.value.square().sum().sqrt())
            return entry([x], r, lambda dL: [rule(dL[0], x, r)])

        return of

    def norm_function(rule):
        def forward(ctx, x):
            r = x.square().sum().sqrt()
            keep(ctx, x, r)
            return r

        return class_of("Norm", forward, lambda ctx, g: rule(g, *ctx.saved_tensors))

    def divided(g, x, r):
        return g * x / r  # BUG

    def guarded(g, x, r):
        return g * x / (r + 1e-12)

    return norm(divided), norm(guarded), norm_function(divided), norm_function(guarded)


@both("input_mutated", rand(4))
def input_written_over():
    def in_place(x):
        r = Variable(x.value.square())
        x.value.mul_(3)  # BUG
        return entry([x], r, lambda dL: [dL[0] * r.sqrt() * 2])

    def beside(x):
        r = Variable(x.value.square())
        return entry([x], r, lambda dL: [dL[0] * r.sqrt() * 2])

    def silent(ctx, x):
        y = x.square()
        x.data.mul_(3)  # BUG
        keep(ctx, y)
        return y

    def saves(ctx, x):
        y = x.square()
        keep(ctx, y)
        return y

    def backward(ctx, g):
        return 2 * g * ctx.saved_tensors[0].sqrt()

    return in_place, beside, class_of("Square", silent, backward), class_of("Square", saves, backward)


@both("captured_value_mutated", rand(4))
def backward_scales_what_it_kept():
    def tape(rule):
        def square(x):
            r = Variable(x.value.square())
            gain = Variable.constant(torch.full_like(x.value, 4))
            return entry([x], r, lambda dL: [rule(dL[0], gain, x)])

        return square

    def in_place(g, gain, x):
        gain.value.mul_(0.5)  # BUG
        return g * gain * x

    def beside(g, gain, x):
        return g * gain * x * 0.5

    def forward(ctx, x):
        ctx.gain = torch.full_like(x, 4)
        keep(ctx, x)
        return x.square()

    def changes(ctx, g):
        ctx.gain.mul_(0.5)  # BUG
        return g * ctx.gain * ctx.saved_tensors[0]

    def leaves(ctx, g):
        return g * ctx.gain * ctx.saved_tensors[0] * 0.5

    return tape(in_place), tape(beside), class_of("Square", forward, changes), class_of("Square", forward, leaves)


@both("not_repeatable", rand(4))
def noise_in_backward():
    def tape(rule):
        def square(x):
            r = Variable(x.value.square())
            return entry([x], r, lambda dL: [rule(dL[0], x)])

        return square

    def noisy(g, x):
        noise = Variable.constant(torch.randn(x.shape).to(x.dtype) * 0.1)  # BUG
        return g * (x * 2 + noise)

    def quiet(g, x):
        return g * x * 2

    def saves(ctx, x):
        keep(ctx, x)
        return x.square()

    def with_noise(ctx, g):
        (x,) = ctx.saved_tensors
        noise = torch.randn_like(x) * 0.1  # BUG
        return g * (2 * x + noise)

    def without(ctx, g):
        return 2 * g * ctx.saved_tensors[0]

    return tape(noisy), tape(quiet), class_of("Square", saves, with_noise), class_of("Square", saves, without)


@both("not_repeatable", rand(6))
def another_mask_in_backward():
    def drawn(x):
        return (torch.rand(x.shape) > 0.5).to(x.dtype)

    def again(x):
        r = Variable(x.value * drawn(x))
        return entry([x], r, lambda dL: [dL[0] * Variable.constant(drawn(x))])  # BUG

    def kept(x):
        mask = Variable.constant(drawn(x))
        r = Variable(x.value * mask.value)
        return entry([x], r, lambda dL: [dL[0] * mask])

    def draws(ctx, x):
        return x * drawn(x)

    def draws_again(ctx, g):
        return g * drawn(g)  # BUG

    def keeps(ctx, x):
        ctx.mask = drawn(x)
        return x * ctx.mask

    def uses(ctx, g):
        return g * ctx.mask

    return again, kept, class_of("Drop", draws, draws_again), class_of("Drop", keeps, uses)


@both("raises", rand(4), rand(4, seed=1))
def backward_raises():
    def raises(g, a, b):
        raise KeyError("scale")  # BUG

    return of_products(raises, right_product)


@both("wrong_order", rand(4), rand(4, seed=1))
def product_swapped():
    def swapped(g, a, b):
        return [g * a, g * b]  # BUG

    return of_products(swapped, right_product)


@both("wrong_count", rand(4), rand(4, seed=1))
def one_too_many():
    def three(g, a, b):
        return [g * b, g * a, g]  # BUG

    return of_products(three, right_product)
