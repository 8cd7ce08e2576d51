"""sinh as PyTorch's tutorial on double backward warns of it: it keeps e^x and e^-x, which autograd cannot follow."""

import torch
from torch.autograd import Function


class SinhBad(Function):
    @staticmethod
    def forward(ctx, x):
        expx = torch.exp(x)
        expnegx = torch.exp(-x)
        ctx.expx = expx
        ctx.expnegx = expnegx
        return (expx - expnegx) / 2

    @staticmethod
    def backward(ctx, dL_dy):
        return dL_dy * (ctx.expx + ctx.expnegx) / 2


def case():
    x = torch.tensor([0.5, -1.0, 2.0], dtype=torch.double, requires_grad=True)
    return SinhBad.apply, (x,)
