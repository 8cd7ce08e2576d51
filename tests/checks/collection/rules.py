"""Faults of the rule alone: one rule, with its mistake, as an aggregate's propagate and as a Function's backward.

`RULES[name]` is (codes, inputs, broken pair, right pair); a pair is (aggregate, Function). Any of the codes says what
is wrong: which of them depends on what is known of forward on that subject.
"""

from __future__ import annotations

import torch
from torch.autograd import Function

from simplegrad import TapeEntry, Variable, gradient_tape

from .aggregates import rand

RULES: dict[str, tuple] = {}
PARTIAL = {"wrong_gradient", "wrong_partial"}
LACKING = {*PARTIAL, "missing_use"}


def aggregate(forward, rule):
    """`forward` of tensors; `rule`: gradients, inputs and outputs in, gradients out."""

    def apply(*inputs):
        made = forward(*(x.value for x in inputs))
        outputs = [Variable(y) for y in (made if isinstance(made, tuple) else (made,))]

        def propagate(gradients):
            return list(rule(*gradients, *inputs, *outputs))

        gradient_tape.append(TapeEntry([x.name for x in inputs], [y.name for y in outputs], propagate))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return apply


def function(forward, rule):
    def keeps(ctx, *inputs):
        made = forward(*inputs)
        ctx.set_materialize_grads(not isinstance(made, tuple))
        ctx.save_for_backward(*inputs, *(made if isinstance(made, tuple) else (made,)))
        return made

    def backward(ctx, *gradients):
        return tuple(rule(*gradients, *ctx.saved_tensors))

    return type("Made", (Function,), {"forward": staticmethod(keeps), "backward": staticmethod(backward)})


def rules(codes, *inputs):
    """Decorate a function that returns a forward, the broken rule and the right one."""

    def register(make):
        forward, *both = make()
        RULES[make.__name__] = codes, inputs, *((aggregate(forward, rule), function(forward, rule)) for rule in both)
        return make

    return register


@rules(PARTIAL, rand(2, 3), rand(2, 3, seed=1))
def a_mean_not_divided():
    return (
        lambda a, b: (a - b).square().mean(),
        lambda g, a, b, y: [2 * g * (a - b), -2 * g * (a - b)],
        lambda g, a, b, y: [g * (a - b) / 3, -g * (a - b) / 3],
    )


@rules(LACKING, rand(2, 4))
def softmax_not_projected():
    return (
        lambda x: x.softmax(-1),
        lambda g, x, y: [g * y],
        lambda g, x, y: [g * y - y * (g * y).sum(dim=-1, keepdim=True)],
    )


@rules(LACKING, rand(2, 3))
def softmax_along_the_other_axis():
    return (
        lambda x: x.softmax(-1),
        lambda g, x, y: [y * (g - (g * y).sum(dim=0, keepdim=True))],
        lambda g, x, y: [y * (g - (g * y).sum(dim=-1, keepdim=True))],
    )


@rules(PARTIAL, rand(3, 4), rand(4, seed=1))
def bias_by_the_mean():
    return (
        lambda x, b: (x + b).tanh(),
        lambda g, x, b, y: [g * (1 - y * y), (g * (1 - y * y)).mean(dim=0)],
        lambda g, x, b, y: [g * (1 - y * y), (g * (1 - y * y)).sum(dim=0)],
    )


@rules(LACKING, rand(5))
def unit_vector_not_projected():
    def right(g, x, y):
        return [(g - y * (g * y).sum()) / (x * x).sum().sqrt()]

    return lambda x: x / x.square().sum().sqrt(), lambda g, x, y: [g / (x * x).sum().sqrt()], right


@rules(PARTIAL, rand(3, 4))
def rows_weighted_by_the_first():
    return (
        lambda x: x.square().sum(1),
        lambda g, x, y: [2 * x * g[0]],
        lambda g, x, y: [2 * x * g.reshape(3, 1)],
    )


@rules(PARTIAL, rand(3, 3), rand(3, 3, seed=1))
def matrix_not_transposed():
    return lambda a, b: a @ b, lambda g, a, b, y: [g @ b, a.T @ g], lambda g, a, b, y: [g @ b.T, a.T @ g]


@rules({"wrong_order"}, rand(4), rand(4, seed=1), rand(4, seed=2))
def three_in_a_ring():
    return (
        lambda a, b, c: a * b + c,
        lambda g, a, b, c, y: [g * a, g, g * b],
        lambda g, a, b, c, y: [g * b, g * a, g],
    )


@rules(LACKING, torch.tensor([-0.5, 0.4, 3.0, 7.0, 6.5, 2.0]))
def upper_bound_forgotten():
    return lambda x: x.clamp(0, 6), lambda g, x, y: [g * (x > 0)], lambda g, x, y: [g * ((x > 0) & (x < 6))]


@rules(PARTIAL, rand(4), rand(4, seed=1))
def quotient_without_its_minus():
    return lambda a, b: a / b, lambda g, a, b, y: [g / b, g * y / b], lambda g, a, b, y: [g / b, -(g * y / b)]


@rules({"double_counted"}, rand(4))
def residual_twice():
    def inner(g, x):
        return g * (1 - x.tanh() * x.tanh())

    return lambda x: x + x.tanh(), lambda g, x, y: [g + g + inner(g, x)], lambda g, x, y: [g + inner(g, x)]


@rules({"missing_use"}, rand(4))
def residual_lost():
    def inner(g, x):
        return g * (1 - x.tanh() * x.tanh())

    return lambda x: x + x.tanh(), lambda g, x, y: [inner(g, x)], lambda g, x, y: [g + inner(g, x)]


def both_known_or_not(g, h, a, b, y, z):
    if g is None or h is None:
        return [None, None] if g is h else [h, h] if g is None else [g * b, g * a]
    return [g * b + h, g * a + h]


@rules({"none_not_handled"}, rand(4), rand(4, seed=1))
def none_comes_for_one_output():
    return lambda a, b: (a * b, a + b), lambda g, h, a, b, y, z: [g * b + h, g * a + h], both_known_or_not


@rules({"ignored_output_gradient"}, rand(4), rand(4, seed=1))
def one_output_ignored():
    def first_alone(g, h, a, b, y, z):
        return [None, None] if g is None else [g * b, g * a]

    return lambda a, b: (a * b, a + b), first_alone, both_known_or_not


@rules({"not_linear"}, rand(4))
def clips_what_comes():
    return lambda x: x.sin(), lambda g, x, y: [g.clamp(-0.1, 0.1) * x.cos()], lambda g, x, y: [g * x.cos()]


@rules({"graph_cut_in_backward", "raw_tensor_captured"}, rand(4))
def a_number_on_the_way():
    return (
        lambda x: 0.5 * x.square().sum() ** 2,
        lambda g, x, y: [2 * g * x * float((x * x).sum())],
        lambda g, x, y: [2 * g * x * (x * x).sum()],
    )
