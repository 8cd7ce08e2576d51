"""Gradients that are meant not to be forward's derivative: told by a rule, or declared."""

import torch
from torch.autograd import Function

from tests.checks.right.register import Cases, held, real

right = Cases()
BY_RULE = {"surrogate": "rule", "mutable": False}
DECLARED = {"surrogate": "declared", "mutable": False}


@right(real(5), **BY_RULE)
class RoundThrough(Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


@right(real(5), **BY_RULE)
class Binarise(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (x.abs() <= 1)


@right(real(5), 25.0, **BY_RULE)
class Spike(Function):
    @staticmethod
    def forward(ctx, potential, slope):
        ctx.save_for_backward(potential)
        ctx.slope = slope
        return (potential > 0).to(potential.dtype)

    @staticmethod
    def backward(ctx, g):
        (potential,) = ctx.saved_tensors
        return g / (1 + ctx.slope * potential.abs()) ** 2, None


@right(real(4), 0.5, **BY_RULE)
class Reverse(Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -ctx.strength * g, None


@right(real(4), held(4, low=0.0), **BY_RULE)
class ScaleGradient(Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(weight)
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        (weight,) = ctx.saved_tensors
        return g * weight, None


@right(real(2, 4), **BY_RULE)
class HardAttention(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.nn.functional.one_hot(x.argmax(-1), x.shape[-1]).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        p = ctx.saved_tensors[0].softmax(-1)
        return p * (g - (g * p).sum(-1, keepdim=True))


@right(real(6, low=-2.0, high=2.0), **DECLARED)
class ClampThrough(Function):
    """clamp, whose gradient is let through outside as well."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx, g):
        return g


@right(real(6), real(1, seed=1, low=0.3, high=0.6), 3, **DECLARED)
class LearnedStep(Function):
    @staticmethod
    def forward(ctx, x, step, levels):
        ctx.save_for_backward(x, step)
        ctx.levels = levels
        return (x / step).round().clamp(-levels, levels) * step

    @staticmethod
    def backward(ctx, g):
        x, step = ctx.saved_tensors
        u = x / step
        inside = u.abs() <= ctx.levels
        edge = u.sign() * ctx.levels
        d_step = torch.where(inside, u.round() - u, edge)
        return g * inside, (g * d_step).sum().reshape(1), None
