"""Right Functions whose backward takes many statements, helpers, a base class, NumPy, loops and changes in place.

`CASES[name] = (fn, inputs)`. Where a line of them is changed, a checker has to find that line among the others.
"""

import numpy as np
import torch
from torch.autograd import Function

CASES = {}


def real(*shape, seed=0, low=-1.0, high=1.0):
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(*shape, generator=generator, dtype=torch.double)
    return (low + (high - low) * draw).requires_grad_()


def case(*inputs, name=None):
    def register(cls):
        CASES[name or cls.__name__] = (cls.apply, inputs)
        return cls

    return register


@case(real(3, 5), real(5, seed=1), real(5, seed=2))
class StepwiseLayerNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        mean = x.mean(-1, keepdim=True)
        var = ((x - mean) ** 2).mean(-1, keepdim=True)
        ctx.save_for_backward(x, weight)
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        n = x.shape[-1]
        mean = x.mean(-1, keepdim=True)
        centred = x - mean
        var = (centred * centred).sum(-1, keepdim=True) / n
        std = torch.sqrt(var + 1e-5)
        normed = centred / std
        grad_bias = grad.sum(0)
        grad_weight = (grad * normed).sum(0)
        grad_normed = grad * weight
        first = grad_normed.mean(-1, keepdim=True)
        second = (grad_normed * normed).mean(-1, keepdim=True)
        inner = grad_normed - first
        inner = inner - normed * second
        grad_x = inner / std
        return grad_x, grad_weight, grad_bias


@case(real(6, 4), real(4, seed=1), real(4, seed=2))
class BatchNorm(Function):
    @staticmethod
    def forward(ctx, x, gamma, beta):
        mu = x.mean(0)
        var = x.var(0, unbiased=False)
        istd = 1 / torch.sqrt(var + 1e-4)
        xhat = (x - mu) * istd
        ctx.save_for_backward(x, gamma)
        return gamma * xhat + beta

    @staticmethod
    def backward(ctx, dy):
        x, gamma = ctx.saved_tensors
        m = x.shape[0]
        mu = x.mean(0)
        var = ((x - mu) ** 2).mean(0)
        istd = (var + 1e-4) ** -0.5
        xmu = x - mu
        dbeta = dy.sum(0)
        dgamma = (dy * xmu * istd).sum(0)
        dxhat = dy * gamma
        dvar = (dxhat * xmu).sum(0) * -0.5 * istd**3
        dmu = -(dxhat * istd).sum(0)
        dx = dxhat * istd
        dx = dx + dvar * 2 * xmu / m
        dx = dx + dmu / m
        return dx, dgamma, dbeta


@case(real(3, 4), real(3, 4, seed=1), real(3, 4, seed=2))
class Attention(Function):
    @staticmethod
    def forward(ctx, q, k, v):
        scale = q.shape[-1] ** -0.5
        p = torch.softmax(q @ k.t() * scale, -1)
        ctx.save_for_backward(q, k, v)
        return p @ v

    @staticmethod
    def backward(ctx, do):
        q, k, v = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        s = q @ k.t() * scale
        p = torch.softmax(s, -1)
        dv = p.t() @ do
        dp = do @ v.t()
        row = (dp * p).sum(-1, keepdim=True)
        ds = p * (dp - row)
        ds = ds * scale
        dq = ds @ k
        dk = ds.t() @ q
        return dq, dk, dv


@case(real(2, 3), real(2, 4, seed=1), real(2, 4, seed=2), real(3, 16, seed=3), real(4, 16, seed=4))
class LstmCell(Function):
    @staticmethod
    def forward(ctx, x, h, c, w, u):
        i, f, o, z = (x @ w + h @ u).chunk(4, -1)
        new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(z)
        ctx.save_for_backward(x, h, c, w, u)
        return torch.sigmoid(o) * torch.tanh(new), new

    @staticmethod
    def backward(ctx, dh, dc):
        x, h, c, w, u = ctx.saved_tensors
        gates = x @ w + h @ u
        i, f, o, z = gates.chunk(4, -1)
        i = torch.sigmoid(i)
        f = torch.sigmoid(f)
        o = torch.sigmoid(o)
        z = torch.tanh(z)
        new = f * c + i * z
        t = torch.tanh(new)
        do = dh * t
        dnew = dc + dh * o * (1 - t * t)
        df = dnew * c
        di = dnew * z
        dz = dnew * i
        dc_before = dnew * f
        di = di * i * (1 - i)
        df = df * f * (1 - f)
        do = do * o * (1 - o)
        dz = dz * (1 - z * z)
        dgates = torch.cat([di, df, do, dz], -1)
        dx = dgates @ w.t()
        dh_before = dgates @ u.t()
        dw = x.t() @ dgates
        du = h.t() @ dgates
        return dx, dh_before, dc_before, dw, du


@case(real(4, 3), real(4, 3, seed=1))
class CosineSimilarity(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        g = g.unsqueeze(-1)
        na = a.norm(dim=-1, keepdim=True)
        nb = b.norm(dim=-1, keepdim=True)
        dot = (a * b).sum(-1, keepdim=True)
        denominator = na * nb
        cosine = dot / denominator
        da = b / denominator - cosine * a / na**2
        db = a / denominator - cosine * b / nb**2
        return g * da, g * db


def sigmoid_slope(s):
    rest = 1 - s
    return s * rest


@case(real(5, low=-2, high=2), real(5, seed=1))
class SwishWithHelper(Function):
    @staticmethod
    def forward(ctx, x, beta):
        ctx.save_for_backward(x, beta)
        return x * torch.sigmoid(beta * x)

    @staticmethod
    def backward(ctx, g):
        x, beta = ctx.saved_tensors
        u = beta * x
        s = torch.sigmoid(u)
        slope = sigmoid_slope(s)
        shared = x * slope
        gx = g * (s + beta * shared)
        gbeta = g * x * shared
        return gx, gbeta


class Elementwise(Function):
    """A base class: what is particular to a function stands in `value` and `slope`."""

    @staticmethod
    def value(x):
        raise NotImplementedError

    @classmethod
    def setup_context(cls, ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def multiplied(g, d):
        return g * d


@case(real(6, low=-3, high=3))
class Gelu(Elementwise):
    @staticmethod
    def forward(x):
        return 0.5 * x * (1 + torch.tanh(0.79788456 * (x + 0.044715 * x**3)))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        cube = x * x * x
        inner = 0.79788456 * (x + 0.044715 * cube)
        t = torch.tanh(inner)
        dinner = 0.79788456 * (1 + 3 * 0.044715 * x * x)
        dt = 1 - t * t
        left = 0.5 * (1 + t)
        right = 0.5 * x * dt * dinner
        return Elementwise.multiplied(g, left + right)


@case(real(4, 3), real(3, 5, seed=1), real(5, seed=2), real(5, 2, seed=3))
class TwoLayers(Function):
    @staticmethod
    def forward(ctx, x, w1, b1, w2):
        h = torch.relu(x @ w1 + b1)
        ctx.save_for_backward(x, w1, b1, w2)
        return h @ w2

    @staticmethod
    def backward(ctx, g):
        x, w1, b1, w2 = ctx.saved_tensors
        pre = x @ w1 + b1
        h = pre.clamp(min=0)
        dx = dw1 = db1 = dw2 = None
        dh = g @ w2.t()
        dpre = dh.clone()
        dpre[pre <= 0] = 0
        if ctx.needs_input_grad[0]:
            dx = dpre @ w1.t()
        if ctx.needs_input_grad[1]:
            dw1 = x.t() @ dpre
        if ctx.needs_input_grad[2]:
            db1 = dpre.sum(0)
        if ctx.needs_input_grad[3]:
            dw2 = h.t() @ g
        return dx, dw1, db1, dw2


@case(real(5), real(3, seed=1))
class LoopedConvolution(Function):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x, k)
        return torch.stack([(x[i : i + len(k)] * k).sum() for i in range(len(x) - len(k) + 1)])

    @staticmethod
    def backward(ctx, g):
        x, k = ctx.saved_tensors
        gx = torch.zeros_like(x)
        gk = torch.zeros_like(k)
        width = len(k)
        for i in range(len(g)):
            gx[i : i + width] += g[i] * k
            gk += g[i] * x[i : i + width]
        return gx, gk


@case(real(4, low=0.3, high=2), real(4, seed=1, low=0.3, high=2))
class NumpyPower(Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return torch.from_numpy(x.detach().numpy() ** y.detach().numpy())

    @staticmethod
    def backward(ctx, g):
        x, y = (t.detach().numpy() for t in ctx.saved_tensors)
        grad = g.numpy()
        power = np.power(x, y - 1)
        by_x = y * power
        logs = np.log(x)
        by_y = x * power * logs
        gx = grad * by_x
        gy = grad * by_y
        return torch.from_numpy(gx), torch.from_numpy(gy)


@case(real(4, 4), real(4, seed=1))
class QuadraticForm(Function):
    @staticmethod
    def forward(ctx, a, x):
        ctx.save_for_backward(a, x)
        return x @ a @ x

    @staticmethod
    def backward(ctx, g):
        a, x = ctx.saved_tensors
        ga = g * torch.outer(x, x)
        left = a @ x
        right = a.t() @ x
        gx = left + right
        gx *= g
        return ga, gx


@case(real(5, 4), torch.tensor([1, 0, 3, 2, 2]))
class CrossEntropy(Function):
    @staticmethod
    def forward(ctx, logits, target):
        shifted = logits - logits.max(-1, keepdim=True).values
        logp = shifted - shifted.exp().sum(-1, keepdim=True).log()
        ctx.save_for_backward(logits, target)
        return -logp.gather(1, target[:, None]).mean()

    @staticmethod
    def backward(ctx, g):
        logits, target = ctx.saved_tensors
        p = torch.softmax(logits, -1)
        hot = torch.zeros_like(p)
        hot.scatter_(1, target[:, None], 1.0)
        difference = p - hot
        rows = logits.shape[0]
        mean = difference / rows
        return g * mean, None


@case(real(3, 3), real(3, seed=1))
class SolveLinear(Function):
    @staticmethod
    def forward(ctx, a, b):
        eye = 3 * torch.eye(len(a), dtype=a.dtype)
        x = torch.linalg.solve(a + eye, b)
        ctx.save_for_backward(a, x)
        return x

    @staticmethod
    def backward(ctx, g):
        a, x = ctx.saved_tensors
        eye = 3 * torch.eye(len(a), dtype=a.dtype)
        system = a + eye
        adjoint = torch.linalg.solve(system.t(), g)
        ga = -torch.outer(adjoint, x)
        gb = adjoint
        return ga, gb


@case(real(4, low=0.2, high=1.5), real(4, seed=1, low=0.5, high=2.0))
class GaussianNll(Function):
    @staticmethod
    def forward(ctx, mean, scale):
        ctx.save_for_backward(mean, scale)
        ctx.target = 0.7
        z = (ctx.target - mean) / scale
        return 0.5 * z**2 + scale.log()

    @staticmethod
    def backward(ctx, g):
        mean, scale = ctx.saved_tensors
        half = 0.5
        twice = 2 * half
        difference = ctx.target - mean
        precision = 1 / (scale * scale)
        gmean = -twice * difference * precision
        square = difference**2
        gscale = 1 / scale - square * precision / scale
        return gmean * g, gscale * g
