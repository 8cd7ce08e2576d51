"""Kernels that take bfloat16 and float16 only, right ones and wrong ones.

Three ways of computing: in the given precision, in single precision inside, and with float8 inside. `cases()` gives
`(name, fn, inputs)` of the right ones, in both precisions and two sizes; `wrong_cases()` those of the wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.autograd import Function

PRECISIONS = (torch.bfloat16, torch.float16)
RIGHT: dict[str, tuple[type[Function], Callable]] = {}
WRONG: dict[str, tuple[type[Function], Callable]] = {}


def kernel(table: dict, *shapes):
    """Register a Function; `shapes` of its tensors, where "n" is a size to choose and a float is passed as it is."""

    def register(cls):
        def inputs(dtype, n):
            generator = torch.Generator().manual_seed(n)
            return tuple(
                torch.randn([n if d == "n" else d for d in shape], generator=generator).to(dtype).requires_grad_()
                if isinstance(shape, tuple)
                else shape
                for shape in shapes
            )

        table[cls.__name__] = (cls, inputs)
        return cls

    return register


def cases(table: dict | None = None, sizes=(3, 8)) -> Iterator[tuple[str, Callable, tuple]]:
    for name, (cls, inputs) in (RIGHT if table is None else table).items():
        for dtype in PRECISIONS:
            for n in sizes:
                yield f"{name}-{str(dtype).removeprefix('torch.')}-{n}", cls.apply, inputs(dtype, n)


def wrong_cases() -> Iterator[tuple[str, Callable, tuple]]:
    return cases(WRONG, sizes=(8,))


def half_only(*tensors):
    for x in tensors:
        if x.dtype not in PRECISIONS:
            raise TypeError(f"this kernel takes bfloat16 or float16, and got {x.dtype}")


class Half(Function):
    """Elementwise: `value(x)` and `slope(x)`, in the given precision, or in single where `wide` is set."""

    wide = False

    @classmethod
    def forward(cls, ctx, x):
        half_only(x)
        ctx.save_for_backward(x)
        return cls.value(x.float() if cls.wide else x).to(x.dtype)

    @classmethod
    def backward(cls, ctx, g):
        (x,) = ctx.saved_tensors
        slope = cls.slope(x.float() if cls.wide else x)
        return (g * slope).to(x.dtype)


def elementwise(table, name, value, slope, wide=False):
    methods = {"value": staticmethod(value), "slope": staticmethod(slope), "wide": wide}
    kernel(table, (2, "n"))(type(name, (Half,), methods))


def gelu_slope(x):
    cdf = 0.5 * (1 + torch.erf(x / 2**0.5))
    return cdf + x * torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5


SLOPES = {
    "Tanh": (torch.tanh, lambda x: 1 - torch.tanh(x) ** 2),
    "Sigmoid": (torch.sigmoid, lambda x: torch.sigmoid(x) * (1 - torch.sigmoid(x))),
    "Silu": (lambda x: x * torch.sigmoid(x), lambda x: torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x)))),
    "Gelu": (lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)), gelu_slope),
    "Exp": (torch.exp, torch.exp),
    "Square": (torch.square, lambda x: 2 * x),
    "Relu": (torch.relu, lambda x: (x > 0).to(x.dtype)),
    "Sine": (torch.sin, torch.cos),
}
for _name, (_value, _slope) in SLOPES.items():
    elementwise(RIGHT, _name, _value, _slope)
    elementwise(RIGHT, f"{_name}InSingle", _value, _slope, wide=True)

elementwise(WRONG, "TanhWithoutSquare", torch.tanh, lambda x: 1 - torch.tanh(x))
elementwise(WRONG, "SigmoidDoubled", torch.sigmoid, lambda x: 2 * torch.sigmoid(x) * (1 - torch.sigmoid(x)))
elementwise(WRONG, "SiluWithoutProduct", SLOPES["Silu"][0], torch.sigmoid)
elementwise(WRONG, "GeluOneTerm", SLOPES["Gelu"][0], lambda x: 0.5 * (1 + torch.erf(x / 2**0.5)), wide=True)
elementwise(WRONG, "SineNegated", torch.sin, lambda x: -torch.cos(x), wide=True)
elementwise(WRONG, "SquareZero", torch.square, torch.zeros_like)
elementwise(WRONG, "ExpIgnoresInput", torch.exp, torch.ones_like)


@kernel(RIGHT, (2, "n"), ("n",))
class RmsNorm(Function):
    @staticmethod
    def forward(ctx, x, w):
        half_only(x, w)
        ctx.save_for_backward(x, w)
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5) * w.float()).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        wide, g = x.float(), g.float()
        r = torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5)
        n, gn = wide * r, g * w.float()
        gx = r * (gn - n * (gn * n).mean(-1, keepdim=True))
        return gx.to(x.dtype), (g * n).sum(0).to(w.dtype)


@kernel(WRONG, (2, "n"), ("n",))
class RmsNormWithoutProjection(Function):
    forward = RmsNorm.forward

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        wide, g = x.float(), g.float()
        r = torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5)
        return (r * g * w.float()).to(x.dtype), (g * wide * r).sum(0).to(w.dtype)


@kernel(RIGHT, (3, "n"), ("n", 2))
class Matmul(Function):
    @staticmethod
    def forward(ctx, x, w):
        half_only(x, w)
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.t(), x.t() @ g


@kernel(WRONG, (3, "n"), ("n", 2))
class MatmulHalf(Function):
    forward = Matmul.forward

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.t(), 0.5 * x.t() @ g


@kernel(RIGHT, (3, "n"), ("n", 2), (2,))
class LinearInSingle(Function):
    @staticmethod
    def forward(ctx, x, w, b):
        half_only(x, w, b)
        ctx.save_for_backward(x, w)
        return (x.float() @ w.float() + b.float()).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        wide = g.float()
        return (
            (wide @ w.float().t()).to(x.dtype),
            (x.float().t() @ wide).to(w.dtype),
            wide.sum(0).to(g.dtype),
        )


@kernel(WRONG, (3, "n"), ("n", 2), (2,))
class LinearMeanOfBias(Function):
    forward = LinearInSingle.forward

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.t(), x.t() @ g, g.mean(0)


@kernel(RIGHT, (2, "n"))
class Softmax(Function):
    @staticmethod
    def forward(ctx, x):
        half_only(x)
        y = x.softmax(-1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return y * (g - (g * y).sum(-1, keepdim=True))


@kernel(WRONG, (2, "n"))
class SoftmaxWithoutSum(Function):
    forward = Softmax.forward

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return y * g


@kernel(RIGHT, (2, "n"), ("n",), ("n",))
class LayerNorm(Function):
    @staticmethod
    def forward(ctx, x, w, b):
        half_only(x)
        ctx.save_for_backward(x, w)
        wide = x.float()
        n = (wide - wide.mean(-1, keepdim=True)) * (wide.var(-1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
        return (n * w.float() + b.float()).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        wide, g = x.float(), g.float()
        r = (wide.var(-1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
        n = (wide - wide.mean(-1, keepdim=True)) * r
        gn = g * w.float()
        gx = r * (gn - gn.mean(-1, keepdim=True) - n * (gn * n).mean(-1, keepdim=True))
        return gx.to(x.dtype), (g * n).sum(0).to(x.dtype), g.sum(0).to(x.dtype)


@kernel(WRONG, (2, "n"), ("n",), ("n",))
class LayerNormWithoutMean(Function):
    forward = LayerNorm.forward

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        wide, g = x.float(), g.float()
        r = (wide.var(-1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
        n = (wide - wide.mean(-1, keepdim=True)) * r
        gn = g * w.float()
        gx = r * (gn - n * (gn * n).mean(-1, keepdim=True)) - gn
        return gx.to(x.dtype), (g * n).sum(0).to(x.dtype), g.sum(0).to(x.dtype)


@kernel(RIGHT, (3, "n"), (4, "n"), (4, 2))
class Attention(Function):
    @staticmethod
    def forward(ctx, q, k, v):
        half_only(q, k, v)
        ctx.save_for_backward(q, k, v)
        s = q.float() @ k.float().t() * q.shape[-1] ** -0.5
        return (s.softmax(-1) @ v.float()).to(q.dtype)

    @staticmethod
    def backward(ctx, g):
        q, k, v = (t.float() for t in ctx.saved_tensors)
        scale, wide = q.shape[-1] ** -0.5, g.float()
        p = (q @ k.t() * scale).softmax(-1)
        gp = wide @ v.t()
        gs = p * (gp - (gp * p).sum(-1, keepdim=True)) * scale
        return (gs @ k).to(g.dtype), (gs.t() @ q).to(g.dtype), (p.t() @ wide).to(g.dtype)


@kernel(WRONG, (3, "n"), (4, "n"), (4, 2))
class AttentionWithoutScale(Function):
    forward = Attention.forward

    @staticmethod
    def backward(ctx, g):
        q, k, v = (t.float() for t in ctx.saved_tensors)
        scale, wide = q.shape[-1] ** -0.5, g.float()
        p = (q @ k.t() * scale).softmax(-1)
        gp = wide @ v.t()
        gs = p * (gp - (gp * p).sum(-1, keepdim=True))
        return (gs @ k).to(g.dtype), (gs.t() @ q).to(g.dtype), (p.t() @ wide).to(g.dtype)


@kernel(RIGHT, (3, "n"), ("n", 4))
class LinearInFloat8(Function):
    """Both operands rounded to float8 on the way in, with a scale each; the backward uses the rounded ones."""

    @staticmethod
    def rounded(x):
        scale = x.float().abs().max() / 448
        return (x.float() / scale).to(torch.float8_e4m3fn).float() * scale

    @staticmethod
    def forward(ctx, x, w):
        half_only(x, w)
        a, b = LinearInFloat8.rounded(x), LinearInFloat8.rounded(w)
        ctx.save_for_backward(x, w)
        return (a @ b).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        a, b, wide = LinearInFloat8.rounded(x), LinearInFloat8.rounded(w), g.float()
        return (wide @ b.t()).to(x.dtype), (a.t() @ wide).to(w.dtype)


@kernel(WRONG, (3, "n"), ("n", 4))
class LinearInFloat8Doubled(Function):
    forward = LinearInFloat8.forward

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        a, b, wide = LinearInFloat8.rounded(x), LinearInFloat8.rounded(w), g.float()
        return (2 * wide @ b.t()).to(x.dtype), (a.t() @ wide).to(w.dtype)


@kernel(RIGHT, (2, "n"), (2, "n"))
class SwiGlu(Function):
    @staticmethod
    def forward(ctx, a, b):
        half_only(a, b)
        ctx.save_for_backward(a, b)
        return (torch.nn.functional.silu(a.float()) * b.float()).to(a.dtype)

    @staticmethod
    def backward(ctx, g):
        a, b = (t.float() for t in ctx.saved_tensors)
        s = torch.sigmoid(a)
        ga = g * b * (s + a * s * (1 - s))
        return ga.to(g.dtype), (g * a * s).to(g.dtype)


@kernel(RIGHT, (4, "n"), 0.5)
class CrossEntropy(Function):
    @staticmethod
    def forward(ctx, logits, weight):
        half_only(logits)
        ctx.save_for_backward(logits)
        ctx.weight = weight
        wide = logits.float()
        return (weight * (wide.logsumexp(-1) - wide[:, 0]).mean()).to(logits.dtype)

    @staticmethod
    def backward(ctx, g):
        (logits,) = ctx.saved_tensors
        p = logits.float().softmax(-1)
        p[:, 0] -= 1
        return (g.float() * ctx.weight * p / len(p)).to(logits.dtype), None


@kernel(WRONG, (4, "n"), 0.5)
class CrossEntropyForgetsTheMean(Function):
    forward = CrossEntropy.forward

    @staticmethod
    def backward(ctx, g):
        (logits,) = ctx.saved_tensors
        p = logits.float().softmax(-1)
        p[:, 0] -= 1
        return (g.float() * ctx.weight * p).to(logits.dtype), None
