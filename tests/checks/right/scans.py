"""Recurrences, cumulative operations, cells."""

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tests.checks.right.register import Cases, real

right = Cases()


@right(real(2, 4))
class CumulativeSum(Function):
    @staticmethod
    def forward(ctx, x):
        return x.cumsum(1)

    @staticmethod
    def backward(ctx, g):
        return g.flip(1).cumsum(1).flip(1)


@right(real(2, 4))
class LogCumulativeSumExp(Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.logcumsumexp(x, -1)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        weighted = g * torch.exp(-y)
        return torch.exp(x) * weighted.flip(-1).cumsum(-1).flip(-1)


@right(real(4, 2), real(2, seed=1, low=0.3, high=0.9))
class LinearRecurrence(Function):
    """h[t] = a h[t - 1] + x[t]"""

    @staticmethod
    def forward(ctx, x, a):
        states, h = [], torch.zeros_like(x[0])
        for row in x:
            h = a * h + row
            states.append(h)
        out = torch.stack(states)
        ctx.save_for_backward(a, out)
        return out

    @staticmethod
    def backward(ctx, g):
        a, out = ctx.saved_tensors
        dh = torch.zeros_like(g[0])
        da = torch.zeros_like(a)
        dx = []
        for t in range(len(g) - 1, -1, -1):
            dh = g[t] + a * dh
            dx.append(dh)
            if t > 0:
                da = da + dh * out[t - 1]
        return torch.stack(dx[::-1]), da


@right(real(3, 2), real(2, 2, seed=1), real(2, seed=2))
class TanhRnn(Function):
    """Keeps its states, which are its outputs."""

    @staticmethod
    def forward(ctx, x, w, h0):
        h, states = h0, []
        for row in x:
            h = torch.tanh(row + h @ w)
            states.append(h)
        out = torch.stack(states)
        ctx.save_for_backward(w, h0, out)
        return out

    @staticmethod
    def backward(ctx, g):
        w, h0, out = ctx.saved_tensors
        dh, dw, dx = torch.zeros_like(h0), torch.zeros_like(w), []
        for t in reversed(range(out.shape[0])):
            previous = out[t - 1] if t else h0
            dz = (g[t] + dh) * (1 - out[t] ** 2)
            dw = dw + torch.outer(previous, dz)
            dh = dz @ w.t()
            dx.insert(0, dz)
        return torch.stack(dx), dw, dh


@right(real(5), 0.7)
class ExponentialAverage(Function):
    @staticmethod
    def forward(ctx, x, keep):
        ctx.keep = keep
        y = torch.empty_like(x)
        last = 0.0
        for i in range(len(x)):
            last = keep * last + (1 - keep) * x[i]
            y[i] = last
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        grad = torch.empty_like(g)
        carried = 0.0
        for i in range(len(g) - 1, -1, -1):
            carried = ctx.keep * carried + g[i]
            grad[i] = (1 - ctx.keep) * carried
        return grad, None


@right(real(2, 6), real(2, 3, seed=1))
class GruGates(Function):
    @staticmethod
    def forward(ctx, gates, h):
        ctx.save_for_backward(gates, h)
        z, n = gates.chunk(2, 1)
        z = torch.sigmoid(z)
        return (1 - z) * torch.tanh(n) + z * h

    @staticmethod
    def backward(ctx, g):
        gates, h = ctx.saved_tensors
        z, n = gates.chunk(2, 1)
        z, n = torch.sigmoid(z), torch.tanh(n)
        dz = g * (h - n) * z * (1 - z)
        dn = g * (1 - z) * (1 - n * n)
        return torch.cat([dz, dn], 1), g * z


@right(real(2, 8), real(2, 2, seed=1))
class LstmCell(Function):
    """Two outputs, h and c."""

    @staticmethod
    def forward(ctx, gates, c):
        i, f, o, u = gates.chunk(4, 1)
        new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(u)
        ctx.save_for_backward(gates, c, new)
        return torch.sigmoid(o) * torch.tanh(new), new

    @staticmethod
    def backward(ctx, dh, dc):
        gates, c, new = ctx.saved_tensors
        i, f, o, u = gates.chunk(4, 1)
        i, f, o, u = i.sigmoid(), f.sigmoid(), o.sigmoid(), u.tanh()
        t = new.tanh()
        dnew = dc + dh * o * (1 - t * t)
        di = dnew * u * i * (1 - i)
        df = dnew * c * f * (1 - f)
        do = dh * t * o * (1 - o)
        du = dnew * i * (1 - u * u)
        return torch.cat([di, df, do, du], 1), dnew * f


@right(real(2, 3, low=0.5, high=1.5))
class CumulativeProduct(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.cumprod(-1)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return (g * y).flip(-1).cumsum(-1).flip(-1) / x
