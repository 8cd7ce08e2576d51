"""The same sinh, mended: the two exponentials are outputs, so what comes back to them goes on to x."""

import torch
from torch.autograd import Function


class SinhGood(Function):
    @staticmethod
    def forward(ctx, x):
        expx = torch.exp(x)
        expnegx = torch.exp(-x)
        ctx.save_for_backward(expx, expnegx)
        return (expx - expnegx) / 2, expx, expnegx

    @staticmethod
    def backward(ctx, dL_dy, dL_dexpx, dL_dexpnegx):
        expx, expnegx = ctx.saved_tensors
        return dL_dy * (expx + expnegx) / 2 + dL_dexpx * expx - dL_dexpnegx * expnegx


def sinh(x):
    return SinhGood.apply(x)[0]


def case():
    x = torch.tensor([0.5, -1.0, 2.0], dtype=torch.double, requires_grad=True)
    return sinh, (x,)
