"""Losses, with and without a reduction."""

import torch
from torch.autograd import Function

from tests.checks.right.register import Cases, held, real

right = Cases()
LABELS = torch.tensor([1, 0, 3])


@right(real(3, 4), LABELS)
class CrossEntropy(Function):
    @staticmethod
    def forward(ctx, logits, labels):
        ctx.save_for_backward(logits, labels)
        picked = logits.gather(1, labels[:, None]).squeeze(1)
        return (logits.logsumexp(1) - picked).mean()

    @staticmethod
    def backward(ctx, g):
        logits, labels = ctx.saved_tensors
        p = logits.softmax(1)
        onehot = torch.zeros_like(p).scatter(1, labels[:, None], 1.0)
        return g * (p - onehot) / len(labels), None


@right(real(3, 4), LABELS, 0.1)
class SmoothedCrossEntropy(Function):
    """Not reduced; the labels are smoothed."""

    @staticmethod
    def target(labels, classes, smoothing, dtype):
        uniform = smoothing / classes
        t = torch.full((len(labels), classes), uniform, dtype=dtype)
        t[torch.arange(len(labels)), labels] += 1 - smoothing
        return t

    @staticmethod
    def forward(ctx, logits, labels, smoothing):
        t = SmoothedCrossEntropy.target(labels, logits.shape[1], smoothing, logits.dtype)
        ctx.save_for_backward(logits)
        ctx.target = t
        return -(t * logits.log_softmax(1)).sum(1)

    @staticmethod
    def backward(ctx, g):
        (logits,) = ctx.saved_tensors
        grad = (logits.softmax(1) - ctx.target) * g[:, None]
        return grad, None, None


@right(real(5), held(5, seed=1, low=0.0))
class BinaryCrossEntropy(Function):
    @staticmethod
    def forward(ctx, z, y):
        ctx.save_for_backward(z, y)
        return (z.clamp(min=0) - z * y + torch.log1p(torch.exp(-z.abs()))).mean()

    @staticmethod
    def backward(ctx, g):
        z, y = ctx.saved_tensors
        return g * (torch.sigmoid(z) - y) / z.numel(), None


@right(real(6), real(6, seed=1), 0.6)
class Huber(Function):
    @staticmethod
    def forward(ctx, a, b, delta):
        ctx.save_for_backward(a, b)
        ctx.delta = delta
        d = (a - b).abs()
        return torch.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta)).sum()

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        d = (a - b).clamp(-ctx.delta, ctx.delta)
        return g * d, -g * d, None


@right(real(2, 3), real(2, 3, seed=1))
class KullbackLeibler(Function):
    """KL(softmax(a) || softmax(b)), one for each row."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return (a.softmax(-1) * (a.log_softmax(-1) - b.log_softmax(-1))).sum(-1)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        p, q = a.softmax(-1), b.softmax(-1)
        gap = a.log_softmax(-1) - b.log_softmax(-1)
        kl = (p * gap).sum(-1, keepdim=True)
        return g[:, None] * p * (gap - kl), g[:, None] * (q - p)


@right(real(5), torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.double), 2.0)
class Focal(Function):
    @staticmethod
    def forward(ctx, z, y, gamma):
        ctx.save_for_backward(z, y)
        ctx.gamma = gamma
        p = torch.sigmoid(z * (2 * y - 1))
        return -((1 - p) ** gamma * p.log()).sum()

    @staticmethod
    def backward(ctx, g):
        z, y = ctx.saved_tensors
        sign = 2 * y - 1
        p = torch.sigmoid(z * sign)
        first = ctx.gamma * p * (1 - p) ** ctx.gamma * p.log()
        second = (1 - p) ** (ctx.gamma + 1)
        return g * sign * (first - second), None, None


@right(real(3, 4), real(3, 4, seed=1), real(3, 4, seed=2), 1.5)
class Triplet(Function):
    @staticmethod
    def forward(ctx, anchor, positive, negative, margin):
        near = (anchor - positive).square().sum(1)
        far = (anchor - negative).square().sum(1)
        ctx.active = near - far + margin > 0
        ctx.save_for_backward(anchor, positive, negative)
        return (near - far + margin).clamp(min=0)

    @staticmethod
    def backward(ctx, g):
        anchor, positive, negative = ctx.saved_tensors
        g = (g * ctx.active).unsqueeze(1)
        return 2 * g * (negative - positive), 2 * g * (positive - anchor), 2 * g * (anchor - negative), None


@right(real(3, 4), real(3, 4, seed=1), 0.5)
class InfoNce(Function):
    @staticmethod
    def forward(ctx, q, k, tau):
        ctx.save_for_backward(q, k)
        ctx.tau = tau
        s = q @ k.t() / tau
        return (s.logsumexp(1) - s.diagonal()).mean()

    @staticmethod
    def backward(ctx, g):
        q, k = ctx.saved_tensors
        s = q @ k.t() / ctx.tau
        ds = (s.softmax(1) - torch.eye(len(q), dtype=s.dtype)) / len(q)
        ds = g * ds / ctx.tau
        return ds @ k, ds.t() @ q, None


@right(real(2, 5), held(2, 5, seed=1, low=0.0))
class SoftDice(Function):
    @staticmethod
    def forward(ctx, logits, target):
        p = logits.sigmoid()
        inter, total = (p * target).sum(1), p.sum(1) + target.sum(1)
        ctx.save_for_backward(logits, target)
        return 1 - (2 * inter + 1) / (total + 1)

    @staticmethod
    def backward(ctx, g):
        logits, target = ctx.saved_tensors
        p = logits.sigmoid()
        inter = (p * target).sum(1, keepdim=True)
        total = p.sum(1, keepdim=True) + target.sum(1, keepdim=True)
        dp = -(2 * target * (total + 1) - (2 * inter + 1)) / (total + 1) ** 2
        return g[:, None] * dp * p * (1 - p), None


@right(real(4), real(4, seed=1))
class LogCosh(Function):
    @staticmethod
    def forward(ctx, prediction, target):
        ctx.save_for_backward(prediction - target)
        ctx.once = True
        return (prediction - target).cosh().log().mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (d,) = ctx.saved_tensors
        grad = g * d.tanh() / d.numel()
        return grad, -grad


@right(real(3, 4), real(5, 4, seed=1), LABELS)
class FusedLinearCrossEntropy(Function):
    """A projection and its loss in one: the gradients are made in forward and scaled in backward, one loss."""

    @staticmethod
    def forward(ctx, x, w, labels):
        p = (x @ w.t()).softmax(-1)
        rows = torch.arange(len(labels))
        loss = -p[rows, labels].log().sum()
        d = p.clone()
        d[rows, labels] -= 1
        ctx.save_for_backward(d @ w, d.t() @ x)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        dx, dw = ctx.saved_tensors
        return dx * g, dw * g, None
