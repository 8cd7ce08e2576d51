"""RMSNorm that keeps its inputs alone, and computes the root mean square again in backward: right at any order."""

import torch
from torch.autograd import Function


def inverse_rms(x):
    return (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()


class RMSNorm(Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * inverse_rms(x) * weight

    @staticmethod
    def backward(ctx, dL_dy):
        x, weight = ctx.saved_tensors
        scale = inverse_rms(x)
        normal = x * scale
        dL_dnormal = dL_dy * weight
        dL_dx = scale * (dL_dnormal - normal * (dL_dnormal * normal).mean(-1, keepdim=True))
        return dL_dx, (dL_dy * normal).sum(0)


def case():
    numbers = torch.Generator().manual_seed(2)
    x = torch.randn(2, 4, dtype=torch.double, generator=numbers).requires_grad_()
    weight = torch.randn(4, dtype=torch.double, generator=numbers).requires_grad_()
    return RMSNorm.apply, (x, weight)
