"""LayerNorm that keeps mean and rstd for its backward, as fused kernels do: right once, wrong twice."""

import torch
from torch.autograd import Function


class LayerNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        mean = x.mean(-1, keepdim=True)
        rstd = ((x - mean).square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        ctx.save_for_backward(x, weight, mean, rstd)
        return (x - mean) * rstd * weight + bias

    @staticmethod
    def backward(ctx, dL_dy):
        x, weight, mean, rstd = ctx.saved_tensors
        normal = (x - mean) * rstd
        dL_dnormal = dL_dy * weight
        along = (dL_dnormal * normal).mean(-1, keepdim=True)
        dL_dx = rstd * (dL_dnormal - dL_dnormal.mean(-1, keepdim=True) - normal * along)
        return dL_dx, (dL_dy * normal).sum(0), dL_dy.sum(0)


def case():
    numbers = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, dtype=torch.double, generator=numbers).requires_grad_()
    weight = torch.randn(4, dtype=torch.double, generator=numbers).requires_grad_()
    bias = torch.zeros(4, dtype=torch.double, requires_grad=True)
    return LayerNorm.apply, (x, weight, bias)
