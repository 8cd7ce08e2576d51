"""Elementwise functions, and gates."""

import math

import torch
from torch.autograd import Function

from tests.checks.right.register import Cases, real

right = Cases()


@right(real(5))
class TanhGelu(Function):
    """0.5 x (1 + tanh(k (x + 0.044715 x^3)))"""

    K = math.sqrt(2 / math.pi)

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 0.5 * x * (1 + torch.tanh(TanhGelu.K * (x + 0.044715 * x**3)))

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        t = torch.tanh(TanhGelu.K * (x + 0.044715 * x**3))
        slope = TanhGelu.K * (1 + 3 * 0.044715 * x**2)
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * slope)


@right(real(5))
class ErfGelu(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        cdf = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        pdf = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return grad_output * (cdf + x * pdf)


@right(real(2, 3))
class Swish(Function):
    @staticmethod
    def forward(ctx, i):
        result = i * torch.sigmoid(i)
        ctx.save_for_backward(i)
        return result

    @staticmethod
    def backward(ctx, grad_output):
        i = ctx.saved_tensors[0]
        sigmoid_i = torch.sigmoid(i)
        return grad_output * (sigmoid_i * (1 + i * (1 - sigmoid_i)))


@right(real(4))
class Mish(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.mul(torch.tanh(torch.nn.functional.softplus(x)))

    @staticmethod
    def backward(ctx, grad_output):
        x = ctx.saved_variables[0]
        x_sigmoid = torch.sigmoid(x)
        x_tanh_sp = torch.nn.functional.softplus(x).tanh()
        return grad_output.mul(x_tanh_sp + x * x_sigmoid * (1 - x_tanh_sp * x_tanh_sp))


@right(real(4), 1.7)
class Softplus(Function):
    @staticmethod
    def forward(ctx, x, beta):
        ctx.beta = beta
        ctx.save_for_backward(x)
        return (1 + (beta * x).exp()).log() / beta

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g / (1 + (-ctx.beta * x).exp()), None


@right(real(5), 0.8)
class Elu(Function):
    @staticmethod
    def forward(ctx, x, alpha):
        y = torch.where(x > 0, x, alpha * (x.exp() - 1))
        ctx.save_for_backward(y)
        ctx.alpha = alpha
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return torch.where(y > 0, g, g * (y + ctx.alpha)), None


@right(real(6), 0.1)
class LeakyRelu(Function):
    @staticmethod
    def forward(ctx, x, slope):
        ctx.save_for_backward(x)
        ctx.slope = slope
        return x.clamp(min=0) + slope * x.clamp(max=0)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        grad = g.clone()
        grad[x < 0] *= ctx.slope
        return grad, None


@right(real(4))
class SquaredRelu(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.relu(x) ** 2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * torch.relu(x) * g


@right(real(6, low=-5, high=5))
class HardSwish(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * (x + 3).clamp(0, 6) / 6

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        inner = (2 * x + 3) / 6
        slope = torch.where(x < -3, torch.zeros_like(x), torch.where(x > 3, torch.ones_like(x), inner))
        return g * slope


@right(real(3, 4), real(4, seed=1, low=0.5, high=2))
class Snake(Function):
    """x + sin(a x)^2 / a with an `a` for each channel."""

    @staticmethod
    def forward(ctx, x, a):
        ctx.save_for_backward(x, a)
        return x + torch.sin(a * x) ** 2 / a

    @staticmethod
    def backward(ctx, g):
        x, a = ctx.saved_tensors
        s2 = torch.sin(2 * a * x)
        gx = g * (1 + s2)
        ga = (g * (x * s2 / a - torch.sin(a * x) ** 2 / a**2)).sum(0)
        return gx, ga


@right(real(3, 6))
class Glu(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        value, gate = x.chunk(2, dim=-1)
        return value * torch.sigmoid(gate)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        value, gate = x.chunk(2, dim=-1)
        s = torch.sigmoid(gate)
        return torch.cat([g * s, g * value * s * (1 - s)], dim=-1)


@right(real(2, 4), real(2, 4, seed=1))
class SwiGlu(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * torch.sigmoid(a) * b

    @staticmethod
    def backward(ctx, dc):
        a, b = ctx.saved_tensors
        sig = torch.sigmoid(a)
        silu = a * sig
        db = dc * silu
        da = dc * (silu * (1 - sig) + sig) * b
        return da, db


@right(real(2, 3, 2), real(3, seed=1, low=0.1, high=0.4))
class PRelu(Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return torch.where(x > 0, x, weight.view(1, -1, 1) * x)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        negative = x <= 0
        grad_x = torch.where(negative, weight.view(1, -1, 1) * g, g)
        grad_w = (g * x * negative).sum(dim=(0, 2))
        return grad_x, grad_w


@right(real(2, 4))
class Softmax(Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.softmax(x, dim=-1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return y * (dy - (y * dy).sum(dim=-1, keepdim=True))


@right(real(2, 4))
class LogSoftmax(Function):
    @staticmethod
    def forward(ctx, x):
        out = x - torch.logsumexp(x, dim=1, keepdim=True)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, g):
        (out,) = ctx.saved_tensors
        return g - out.exp() * g.sum(dim=1, keepdim=True)


@right(real(2, 5))
class Sparsemax(Function):
    """The Euclidean projection onto the simplex."""

    @staticmethod
    def forward(ctx, z):
        ordered = z.sort(dim=-1, descending=True).values
        count = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype)
        support = 1 + count * ordered > ordered.cumsum(-1)
        size = support.sum(-1, keepdim=True)
        tau = (ordered.cumsum(-1).gather(-1, size - 1) - 1) / size
        p = (z - tau).clamp(min=0)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx, g):
        (p,) = ctx.saved_tensors
        inside = (p > 0).to(g.dtype)
        mean = (g * inside).sum(-1, keepdim=True) / inside.sum(-1, keepdim=True)
        return inside * (g - mean)


@right(real(4, low=0.2, high=2))
class XLogX(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return x * x.log()

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.x.log() + 1)
