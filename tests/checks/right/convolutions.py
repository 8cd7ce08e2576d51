"""Convolution, pooling and resampling by unfold, strides and indices."""

import torch
import torch.nn.functional as F
from torch.autograd import Function

from tests.checks.right.register import Cases, held, real

right = Cases()


@right(real(2, 2, 6), real(3, 2, 3, seed=1))
class Conv1d(Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        windows = x.unfold(2, w.shape[2], 1)
        return torch.einsum("nclk,ock->nol", windows, w)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        k = w.shape[2]
        dw = torch.einsum("nol,nclk->ock", g, x.unfold(2, k, 1))
        padded = F.pad(g, (k - 1, k - 1)).unfold(2, k, 1)
        dx = torch.einsum("nolk,ock->ncl", padded, w.flip(2))
        return dx, dw


@right(real(1, 2, 4, 4), real(3, 2, 3, 3, seed=1), real(3, seed=2))
class Conv2d(Function):
    """By unfold and fold, padding 1."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        columns = F.unfold(x, 3, padding=1)
        out = weight.flatten(1) @ columns + bias[:, None]
        return out.view(x.shape[0], -1, *x.shape[2:])

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        rows = grad.flatten(2)
        columns = F.unfold(x, 3, padding=1)
        grad_weight = (rows @ columns.transpose(1, 2)).sum(0).view_as(weight)
        grad_x = F.fold(weight.flatten(1).t() @ rows, x.shape[2:], 3, padding=1)
        return grad_x, grad_weight, rows.sum((0, 2))


@right(real(2, 3, 5), real(3, 2, seed=1))
class DepthwiseCausal(Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        earlier = F.pad(x, (1, 0))[..., :-1]
        return x * w[:, :1] + earlier * w[:, 1:]

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        earlier = F.pad(x, (1, 0))[..., :-1]
        later = F.pad(g, (0, 1))[..., 1:]
        dx = g * w[:, :1] + later * w[:, 1:]
        dw = torch.stack([(g * x).sum((0, 2)), (g * earlier).sum((0, 2))], 1)
        return dx, dw


@right(real(1, 2, 4, 4))
class AveragePool(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.shape = x.shape
        n, c, h, w = x.shape
        return x.view(n, c, h // 2, 2, w // 2, 2).mean((3, 5))

    @staticmethod
    def backward(ctx, g):
        spread = g[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2)
        return spread.reshape(ctx.shape) / 4


@right(real(1, 2, 4, 4))
class MaxPool(Function):
    @staticmethod
    def forward(ctx, x):
        y, where = F.max_pool2d(x, 2, return_indices=True)
        ctx.save_for_backward(where)
        ctx.shape = x.shape
        return y

    @staticmethod
    def backward(ctx, g):
        (where,) = ctx.saved_tensors
        flat = g.new_zeros(*ctx.shape[:2], ctx.shape[2] * ctx.shape[3])
        return flat.scatter_add(2, where.flatten(2), g.flatten(2)).view(ctx.shape)


@right(real(1, 2, 3, 2), 2)
class UpsampleNearest(Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)

    @staticmethod
    def backward(ctx, g):
        f = ctx.factor
        n, c, h, w = g.shape
        return g.reshape(n, c, h // f, f, w // f, f).sum((3, 5)), None


@right(real(1, 8, 2))
class Haar(Function):
    """A wavelet step: orthogonal, so that its backward is its inverse."""

    @staticmethod
    def forward(ctx, x):
        even, odd = x[:, ::2], x[:, 1::2]
        return torch.cat([even + odd, even - odd], 1) * 0.5**0.5

    @staticmethod
    def backward(ctx, g):
        low, high = g.chunk(2, 1)
        pairs = torch.stack([low + high, low - high], 2) * 0.5**0.5
        return pairs.flatten(1, 2)


@right(real(2, 4), held(4, 3, seed=1))
class FixedFilter(Function):
    @staticmethod
    def forward(ctx, x, bank):
        ctx.save_for_backward(bank)
        return x @ bank

    @staticmethod
    def backward(ctx, g):
        (bank,) = ctx.saved_tensors
        return g @ bank.t(), None


@right(real(2, 6))
class RealFourier(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.n = x.shape[-1]
        return torch.view_as_real(torch.fft.fft(x))

    @staticmethod
    def backward(ctx, g):
        return torch.fft.ifft(torch.view_as_complex(g.contiguous())).real * ctx.n
