"""Functions of matrices."""

import torch
from torch.autograd import Function

from tests.checks.right.register import Cases, real

right = Cases()


def well(n, seed=0):
    """A matrix far from singular."""
    return (real(n, n, seed=seed).detach() + 3 * torch.eye(n, dtype=torch.double)).requires_grad_()


@right(well(3))
class Inverse(Function):
    @staticmethod
    def forward(ctx, a):
        b = torch.linalg.inv(a)
        ctx.save_for_backward(b)
        return b

    @staticmethod
    def backward(ctx, g):
        (b,) = ctx.saved_tensors
        return -b.mT @ g @ b.mT


@right(well(3), real(3, 2, seed=1))
class Solve(Function):
    @staticmethod
    def forward(ctx, a, b):
        x = torch.linalg.solve(a, b)
        ctx.save_for_backward(a, x)
        return x

    @staticmethod
    def backward(ctx, g):
        a, x = ctx.saved_tensors
        gb = torch.linalg.solve(a.t(), g)
        return -gb @ x.t(), gb


@right(well(3))
class LogDet(Function):
    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return torch.linalg.slogdet(a)[1]

    @staticmethod
    def backward(ctx, g):
        (a,) = ctx.saved_tensors
        return g * torch.linalg.inv(a).t()


@right(real(3), real(3, 3, seed=1))
class QuadraticForm(Function):
    @staticmethod
    def forward(ctx, x, m):
        ctx.save_for_backward(x, m)
        return x @ m @ x

    @staticmethod
    def backward(ctx, g):
        x, m = ctx.saved_tensors
        return g * (m @ x + m.t() @ x), g * torch.outer(x, x)


@right(real(2, 3), real(2, 4, seed=1), real(5, 3, 4, seed=2))
class Bilinear(Function):
    @staticmethod
    def forward(ctx, x, y, w):
        ctx.save_for_backward(x, y, w)
        return torch.einsum("ni,oij,nj->no", x, w, y)

    @staticmethod
    def backward(ctx, g):
        x, y, w = ctx.saved_tensors
        dx = torch.einsum("no,oij,nj->ni", g, w, y)
        dy = torch.einsum("no,oij,ni->nj", g, w, x)
        dw = torch.einsum("no,ni,nj->oij", g, x, y)
        return dx, dy, dw


@right(real(4, 3))
class Gram(Function):
    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.t() @ a

    @staticmethod
    def backward(ctx, g):
        (a,) = ctx.saved_tensors
        return a @ (g + g.t())


@right(real(2, 2), real(3, 2, seed=1))
class Kronecker(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return torch.kron(a, b)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        blocks = g.reshape(a.shape[0], b.shape[0], a.shape[1], b.shape[1])
        return torch.einsum("ikjl,kl->ij", blocks, b), torch.einsum("ikjl,ij->kl", blocks, a)


@right(real(3), real(3, seed=1))
class Cross(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return torch.linalg.cross(a, b)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return torch.linalg.cross(b, g), torch.linalg.cross(g, a)


@right(real(3, 2), real(4, 2, seed=1))
class SquaredDistances(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return (a[:, None] - b[None]).square().sum(-1)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        da = 2 * (g.sum(1, keepdim=True) * a - g @ b)
        db = 2 * (g.sum(0)[:, None] * b - g.t() @ a)
        return da, db


@right(real(3, 2), real(4, 2, seed=1), real(seed=2, low=0.5, high=1.5))
class RbfKernel(Function):
    @staticmethod
    def forward(ctx, a, b, scale):
        k = torch.exp(-0.5 * (a[:, None] - b[None]).square().sum(-1) / scale**2)
        ctx.save_for_backward(a, b, scale, k)
        return k

    @staticmethod
    def backward(ctx, g):
        a, b, scale, k = ctx.saved_tensors
        gap = a[:, None] - b[None]
        inner = (g * k / scale**2)[..., None] * gap
        ds = (g * k * gap.square().sum(-1)).sum() / scale**3
        return -inner.sum(1), inner.sum(0), ds


@right(real(3), call=lambda apply, x: apply(x))
class Rotation(Function):
    """The matrix of a small rotation, to the second order of the angle."""

    @staticmethod
    def hat(v):
        zero = torch.zeros_like(v[0])
        return torch.stack([zero, -v[2], v[1], v[2], zero, -v[0], -v[1], v[0], zero]).view(3, 3)

    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        h = Rotation.hat(v)
        return torch.eye(3, dtype=v.dtype) + h + 0.5 * h @ h

    @staticmethod
    def backward(ctx, g):
        (v,) = ctx.saved_tensors
        h = Rotation.hat(v)
        d = g + 0.5 * (h.t() @ g + g @ h.t())
        return torch.stack([d[2, 1] - d[1, 2], d[0, 2] - d[2, 0], d[1, 0] - d[0, 1]])


@right(real(2, 3), real(4, 2, seed=1), real(3, 4, seed=2))
class TraceOfProduct(Function):
    @staticmethod
    def forward(ctx, a, b, c):
        ctx.save_for_backward(a, b, c)
        return torch.trace(a @ c @ b)

    @staticmethod
    def backward(ctx, g):
        a, b, c = ctx.saved_tensors
        return g * (c @ b).t(), g * (a @ c).t(), g * (b @ a).t()
