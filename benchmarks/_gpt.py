"""A model of nanoGPT's kind whose parts are custom Functions, six of them; two have a backward that is wrong."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.autograd import Function

EPS = 1e-5


class Affine(Function):
    """x w' + b. Right."""

    @staticmethod
    def forward(ctx, x, w, b):
        ctx.save_for_backward(x, w)
        return x @ w.t() + b

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        rows = g.flatten(0, -2)
        return g @ w, rows.t() @ x.flatten(0, -2), rows.sum(0)


class LayerNorm(Function):
    """Normalised along the last axis. Wrong: the gradient of x lacks the term that comes from the variance."""

    @staticmethod
    def forward(ctx, x, w, b):
        ctx.save_for_backward(x, w)
        return nn.functional.layer_norm(x, x.shape[-1:], w, b, EPS)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.pow(2).mean(-1, keepdim=True) + EPS).rsqrt()
        normed, inner = centred * scale, g * w
        gx = scale * (inner - inner.mean(-1, keepdim=True))
        over = tuple(range(x.dim() - 1))
        return gx, (g * normed).sum(over), g.sum(over)


class Gelu(Function):
    """By the tanh formula. Wrong: the inner derivative has 0.0044715 where 3 times 0.044715 belongs."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return nn.functional.gelu(x, approximate="tanh")

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        k = math.sqrt(2 / math.pi)
        t = torch.tanh(k * (x + 0.044715 * x**3))
        slope = k * (1 + 0.0044715 * x * x)
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)


class CausalSoftmax(Function):
    """Of scores along the last axis, what comes later masked. Right."""

    @staticmethod
    def forward(ctx, scores, scale):
        size = scores.shape[-1]
        later = torch.ones(size, size, dtype=torch.bool, device=scores.device).triu(1)
        weights = (scores * scale).masked_fill(later, -math.inf).softmax(-1)
        ctx.save_for_backward(weights)
        ctx.scale = scale
        return weights

    @staticmethod
    def backward(ctx, g):
        (weights,) = ctx.saved_tensors
        return ctx.scale * weights * (g - (g * weights).sum(-1, keepdim=True)), None


class Residual(Function):
    """x + gain * y, the gain one number. Right."""

    @staticmethod
    def forward(ctx, x, y, gain):
        ctx.save_for_backward(y, gain)
        return x + gain * y

    @staticmethod
    def backward(ctx, g):
        y, gain = ctx.saved_tensors
        return g, g * gain, (g * y).sum()


class CrossEntropy(Function):
    """Mean over all tokens. Right."""

    @staticmethod
    def forward(ctx, logits, targets):
        log_p = logits.log_softmax(-1)
        ctx.save_for_backward(logits, targets)
        return -log_p.gather(1, targets[:, None]).mean()

    @staticmethod
    def backward(ctx, g):
        logits, targets = ctx.saved_tensors
        hot = nn.functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
        return g * (logits.softmax(-1) - hot) / len(targets), None


FAULTY = {"LayerNorm", "Gelu"}
RIGHT = {"Affine", "CausalSoftmax", "Residual", "CrossEntropy"}


class Linear(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Affine.apply(x, self.weight, self.bias)


class Norm(nn.LayerNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return LayerNorm.apply(x, self.weight, self.bias)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.between, self.heads = Norm(width), Norm(width), heads
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.wide, self.narrow = Linear(width, 4 * width), Linear(4 * width, width)
        self.gains = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.qkv(self.before(x)).chunk(3, -1)
        q, k, v = [part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts]
        weights = CausalSoftmax.apply(q @ k.transpose(-2, -1), (width // self.heads) ** -0.5)
        mixed = self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))
        x = Residual.apply(x, mixed, self.gains[0])
        return Residual.apply(x, self.narrow(Gelu.apply(self.wide(self.between(x)))), self.gains[1])


class Gpt(nn.Module):
    def __init__(self, words: int = 65, length: int = 128, width: int = 384, layers: int = 6, heads: int = 6) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.last, self.head = Norm(width), Linear(width, words)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens) + self.places.weight[: tokens.shape[1]]
        return CrossEntropy.apply(self.head(self.last(self.blocks(x))).flatten(0, 1), targets.flatten())


def step(model: Gpt, optimizer: torch.optim.Optimizer, tokens: torch.Tensor) -> torch.Tensor:
    """One step of training on (batch, length + 1) tokens."""
    optimizer.zero_grad()
    loss = model(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    optimizer.step()
    return loss.detach()
