"""A gradient penalty: the slope of a small network at x is a part of the loss, so its backward is a double backward."""

import torch
from torch.autograd import Function


class Softplus(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.log1p(torch.exp(x))

    @staticmethod
    def backward(ctx, dL_dy):
        (x,) = ctx.saved_tensors
        return dL_dy * torch.sigmoid(x)


def penalty(x, inner, outer):
    score = Softplus.apply(x @ inner) @ outer
    (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return (slope.norm(dim=-1) - 1).square().mean()


def case():
    numbers = torch.Generator().manual_seed(3)
    x, inner, outer = (torch.randn(shape, dtype=torch.double, generator=numbers) for shape in ((2, 3), (3, 4), (4, 1)))
    return penalty, (x.requires_grad_(), inner.requires_grad_(), outer.requires_grad_())
