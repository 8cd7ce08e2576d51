"""Attention and what stands around it."""

import torch
from torch.autograd import Function

from tests.checks.right.register import Cases, real

right = Cases()


@right(real(3, 2), real(4, 2, seed=1), real(4, 3, seed=2))
class Attention(Function):
    @staticmethod
    def forward(ctx, q, k, v):
        ctx.save_for_backward(q, k, v)
        return (q @ k.t() * q.shape[-1] ** -0.5).softmax(-1) @ v

    @staticmethod
    def backward(ctx, do):
        q, k, v = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        p = (q @ k.t() * scale).softmax(-1)
        dv = p.t() @ do
        dp = do @ v.t()
        ds = p * (dp - (dp * p).sum(-1, keepdim=True))
        dq = scale * ds @ k
        dk = scale * ds.t() @ q
        return dq, dk, dv


@right(real(2, 3, 2), real(2, 3, 2, seed=1), real(2, 3, 2, seed=2))
class CausalAttention(Function):
    """Batched, and flash style: the row's log-sum-exp is an output, so that nothing undeclared is kept."""

    @staticmethod
    def forward(ctx, q, k, v):
        s = torch.einsum("bid,bjd->bij", q, k)
        s = s.masked_fill(torch.ones_like(s).triu(1).bool(), float("-inf"))
        lse = s.logsumexp(-1)
        o = torch.einsum("bij,bjd->bid", (s - lse[..., None]).exp(), v)
        ctx.save_for_backward(q, k, v, o, lse)
        return o, lse

    @staticmethod
    def backward(ctx, do, dlse):
        q, k, v, o, lse = ctx.saved_tensors
        s = torch.einsum("bid,bjd->bij", q, k)
        s = s.masked_fill(torch.ones_like(s).triu(1).bool(), float("-inf"))
        p = (s - lse[..., None]).exp()
        dv = torch.einsum("bij,bid->bjd", p, do)
        dp = torch.einsum("bid,bjd->bij", do, v)
        delta = (do * o).sum(-1) - dlse
        ds = p * (dp - delta[..., None])
        dq = torch.einsum("bij,bjd->bid", ds, k)
        dk = torch.einsum("bij,bid->bjd", ds, q)
        return dq, dk, dv


@right(real(3, 2), real(4, 2, seed=1), real(4, 3, seed=2))
class LinearAttention(Function):
    @staticmethod
    def forward(ctx, q, k, v):
        ctx.save_for_backward(q, k, v)
        return q @ (k.t() @ v)

    @staticmethod
    def backward(ctx, g):
        q, k, v = ctx.saved_tensors
        dq = dk = dv = None
        if ctx.needs_input_grad[0]:
            dq = g @ (k.t() @ v).t()
        if ctx.needs_input_grad[1]:
            dk = v @ (q.t() @ g).t()
        if ctx.needs_input_grad[2]:
            dv = k @ (q.t() @ g)
        return dq, dk, dv


@right(real(3, 4), torch.arange(3.0, dtype=torch.double))
class Rotary(Function):
    @staticmethod
    def angles(x, positions):
        rates = 10.0 ** -torch.arange(x.shape[-1] // 2, dtype=x.dtype)
        turn = positions[:, None] * rates
        return turn.cos(), turn.sin()

    @staticmethod
    def forward(ctx, x, positions):
        ctx.save_for_backward(positions)
        cos, sin = Rotary.angles(x, positions)
        first, second = x.chunk(2, -1)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)

    @staticmethod
    def backward(ctx, g):
        (positions,) = ctx.saved_tensors
        cos, sin = Rotary.angles(g, positions)
        first, second = g.chunk(2, -1)
        return torch.cat([first * cos + second * sin, second * cos - first * sin], -1), None


@right(real(3, 3), real(5, seed=1))
class RelativeBias(Function):
    """scores[i, j] + bias[j - i + n - 1]"""

    @staticmethod
    def index(n):
        return torch.arange(n)[None, :] - torch.arange(n)[:, None] + n - 1

    @staticmethod
    def forward(ctx, scores, bias):
        ctx.n = scores.shape[0]
        return scores + bias[RelativeBias.index(ctx.n)]

    @staticmethod
    def backward(ctx, g):
        index = RelativeBias.index(ctx.n).flatten()
        db = g.new_zeros(2 * ctx.n - 1).index_add(0, index, g.flatten())
        return g, db


@right(real(4, 3), real(3, 2, seed=1), real(2, seed=2))
class Linear(Function):
    @staticmethod
    def forward(ctx, input, weight, bias=None):
        ctx.save_for_backward(input, weight, bias)
        output = input.mm(weight)
        if bias is not None:
            output += bias.unsqueeze(0).expand_as(output)
        return output

    @staticmethod
    def backward(ctx, grad_output):
        input, weight, bias = ctx.saved_tensors
        grad_input = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_input = grad_output.mm(weight.t())
        if ctx.needs_input_grad[1]:
            grad_weight = input.t().mm(grad_output)
        if bias is not None and ctx.needs_input_grad[2]:
            grad_bias = grad_output.sum(0)
        return grad_input, grad_weight, grad_bias
