"""A straight-through estimator: forward rounds, backward acts as if it had not. Not the derivative, and no bug."""

import torch
from torch.autograd import Function


class RoundThrough(Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, dL_dy):
        return dL_dy


def squared(x):
    return RoundThrough.apply(x).square()


def case():
    x = torch.tensor([0.4, -1.2, 2.6], dtype=torch.double, requires_grad=True)
    return squared, (x,)
