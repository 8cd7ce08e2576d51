"""Gradient reversal, for adversarial training: forward changes nothing, backward turns the sign. Wrong on purpose."""

import torch
from torch.autograd import Function


class GradientReversal(Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, dL_dy):
        return -ctx.strength * dL_dy, None


def reversed_features(x):
    return torch.tanh(GradientReversal.apply(x, 0.5))


def case():
    x = torch.tensor([0.5, -1.0, 2.0], dtype=torch.double, requires_grad=True)
    return reversed_features, (x,)
