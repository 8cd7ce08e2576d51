"""Layers that divide by a norm or a deviation. Those that keep statistics say that they go no further than order 1."""

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tests.checks.right.register import Cases, held, real

right = Cases()


@right(real(2, 4), real(4, seed=1), real(4, seed=2), 1e-5)
class LayerNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        mean = x.mean(-1, keepdim=True)
        rstd = (x.var(-1, unbiased=False, keepdim=True) + eps).rsqrt()
        return (x - mean) * rstd * weight + bias

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        mean = x.mean(-1, keepdim=True)
        rstd = (x.var(-1, unbiased=False, keepdim=True) + ctx.eps).rsqrt()
        normed = (x - mean) * rstd
        dn = dy * weight
        c1 = dn.mean(-1, keepdim=True)
        c2 = (dn * normed).mean(-1, keepdim=True)
        dx = (dn - c1 - normed * c2) * rstd
        return dx, (dy * normed).sum(0), dy.sum(0), None


@right(real(2, 3, 4), real(4, seed=1))
class RmsNorm(Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return w * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        n = x.shape[-1]
        r = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        gw = g * w
        dot = (gw * x).sum(-1, keepdim=True)
        grad_x = r * gw - r**3 * x * dot / n
        grad_w = (g * x * r).flatten(0, -2).sum(0)
        return grad_x, grad_w


@right(real(2, 4, 3), real(4, seed=1), 2)
class GroupNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, groups):
        ctx.save_for_backward(x, weight)
        ctx.groups = groups
        return GroupNorm.normed(x, groups)[0] * weight[:, None]

    @staticmethod
    def normed(x, groups):
        rows = x.reshape(x.shape[0], groups, -1)
        centred = rows - rows.mean(-1, keepdim=True)
        inverse = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        return (centred * inverse).view_as(x), inverse

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        y, inverse = GroupNorm.normed(x, ctx.groups)
        dw = (g * y).sum((0, 2))
        rows = (g * weight[:, None]).reshape(x.shape[0], ctx.groups, -1)
        yr = y.reshape_as(rows)
        dx = inverse * (rows - rows.mean(-1, keepdim=True) - yr * (rows * yr).mean(-1, keepdim=True))
        return dx.view_as(x), dw, None


@right(real(5, 3), real(3, seed=1), held(3), held(3, seed=3, low=0.5))
class BatchNorm(Function):
    """Training mode; the running statistics are updated on the way, and not differentiated."""

    @staticmethod
    def forward(ctx, x, gamma, running_mean, running_var):
        mean, var = x.mean(0), x.var(0, unbiased=False)
        running_mean.mul_(0.9).add_(mean, alpha=0.1)
        running_var.mul_(0.9).add_(var, alpha=0.1)
        ctx.mark_dirty(running_mean, running_var)
        ctx.mark_non_differentiable(running_mean, running_var)
        std = (var + 1e-5).sqrt()
        xhat = (x - mean) / std
        ctx.save_for_backward(xhat, std, gamma)
        return gamma * xhat, running_mean, running_var

    @staticmethod
    @once_differentiable
    def backward(ctx, g, _mean, _var):
        xhat, std, gamma = ctx.saved_tensors
        n = g.shape[0]
        dgamma = (g * xhat).sum(0)
        dbeta = g.sum(0)
        dx = gamma / (n * std) * (n * g - dbeta - xhat * dgamma)
        return dx, dgamma, None, None


@right(real(3, 4))
class UnitRows(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x / x.norm(dim=-1, keepdim=True)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        n = x.square().sum(-1, keepdim=True).sqrt()
        u = x / n
        return (g - u * (u * g).sum(-1, keepdim=True)) / n


@right(real(3, 4), real(3, 1, seed=1, low=0.5, high=2))
class WeightNorm(Function):
    @staticmethod
    def forward(ctx, v, length):
        ctx.save_for_backward(v, length)
        return length * v / v.norm(2, dim=1, keepdim=True)

    @staticmethod
    def backward(ctx, grad_w):
        v, length = ctx.saved_tensors
        norm = (v * v).sum(1, keepdim=True).sqrt()
        direction = v / norm
        grad_length = (grad_w * direction).sum(1, keepdim=True)
        grad_v = length / norm * (grad_w - grad_length * direction)
        return grad_v, grad_length


@right(real(3, 4), real(3, 4, seed=1))
class Cosine(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        na = (a * a).sum(-1, keepdim=True).sqrt()
        nb = (b * b).sum(-1, keepdim=True).sqrt()
        c = (a * b).sum(-1, keepdim=True) / (na * nb)
        g = g.unsqueeze(-1)
        da = g * (b / (na * nb) - c * a / na**2)
        db = g * (a / (na * nb) - c * b / nb**2)
        return da, db


@right(real(2, 3, 2, 2), real(3, seed=1), real(3, seed=2))
class ChannelNorm(Function):
    """A normalisation over channels that keeps its statistics: once differentiable, and it says so."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        n, c, h, w = x.size()
        mu = x.mean(1, keepdim=True)
        var = (x - mu).pow(2).mean(1, keepdim=True)
        y = (x - mu) / (var + 1e-6).sqrt()
        ctx.save_for_backward(y, var, weight)
        return weight.view(1, c, 1, 1) * y + bias.view(1, c, 1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        y, var, weight = ctx.saved_tensors
        n, c, h, w = grad_output.size()
        g = grad_output * weight.view(1, c, 1, 1)
        mean_g = g.mean(dim=1, keepdim=True)
        mean_gy = (g * y).mean(dim=1, keepdim=True)
        gx = 1.0 / torch.sqrt(var + 1e-6) * (g - y * mean_gy - mean_g)
        return gx, (grad_output * y).sum(dim=(0, 2, 3)), grad_output.sum(dim=(0, 2, 3))
