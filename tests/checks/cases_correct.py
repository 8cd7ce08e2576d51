"""Functions that a rule of thumb would call wrong and that are right: `CASES[name] = (fn, inputs)`."""

import math

import numpy as np
import torch
from cases_escaped import Frozen, real
from torch import nn
from torch.autograd import Function

CASES = {}


def case(inputs=lambda: (real(3),)):
    def register(cls):
        CASES[cls.__name__] = (cls.apply, inputs())
        return cls

    return register


@case()
class OutputInObject(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.kept = Frozen(x.exp())
        return ctx.kept.root

    @staticmethod
    def backward(ctx, g):
        return g * ctx.kept.root


@case()
class OutputOnContext(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.y = y = torch.tanh(x)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * (1 - ctx.y**2)


@case()
class InputOnContext(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.x**2 * g


@case()
class StraightThrough(Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, g):
        return g


CASES["StraightThroughInside"] = (lambda x: StraightThrough.apply(x).sin() * x, (real(4),))


@case()
class SurrogateSpike(Function):
    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx, g):
        (u,) = ctx.saved_tensors
        return g / (1 + (math.pi * u) ** 2)


@case()
class UnusedTemporary(Function):
    @staticmethod
    def forward(ctx, x):
        t = x.exp()
        ctx.save_for_backward(x, t)
        ctx.debug = {"norm": x.norm().item(), "all": [t, t * 2]}
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        x, t = ctx.saved_tensors
        assert t.shape == x.shape
        return g * x.cos()


@case()
class ShapeAndIndices(Function):
    @staticmethod
    def forward(ctx, x):
        ordered, ctx.order = x.sort()
        ctx.shape = x.shape
        return ordered * 1

    @staticmethod
    def backward(ctx, g):
        return torch.zeros(ctx.shape, dtype=g.dtype).scatter(0, ctx.order, g)


@case(inputs=lambda: (torch.tensor([-1.0, 0.0, 2.0], requires_grad=True),))
class KinkAtZero(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0) ** 2 / 2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x.clamp(min=0)


@case(inputs=lambda: (torch.ones(4, requires_grad=True),))
class TiedMaximum(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.max() * 1

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        top = (x == x.max()).to(x.dtype)
        return g * top / top.sum()


@case(inputs=lambda: (real(4), real(1, seed=1, low=0.5)))
class LearnedStep(Function):
    """LSQ: round(x / s) * s with its own gradient for the step."""

    @staticmethod
    def forward(ctx, x, s):
        ctx.save_for_backward(x, s)
        return (x / s).round() * s

    @staticmethod
    def backward(ctx, g):
        x, s = ctx.saved_tensors
        q = x / s
        return g * (q.abs() < 4), (g * (q.round() - q)).sum().reshape(1)


@case(inputs=lambda: (real(3),))
class Reversal(Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -0.3 * g


@case(inputs=lambda: (real(3, 3), real(3, 3, seed=1)))
class MatmulNoneGradient(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return g @ b.t(), a.t() @ g if ctx.needs_input_grad[1] else None


class Several(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x.sin(), x.cos(), (x > 0), "text"

    @staticmethod
    def backward(ctx, gs, gc, _, __):
        (x,) = ctx.saved_tensors
        parts = [
            p for p in (None if gs is None else gs * x.cos(), None if gc is None else -gc * x.sin()) if p is not None
        ]
        return sum(parts) if parts else None


CASES["SeveralOutputs"] = (lambda x: Several.apply(x)[:2], (real(3),))
CASES["SecondOutputOnly"] = (lambda x: Several.apply(x)[1], (real(3),))


@case(inputs=lambda: (real(3),))
class InnerFunctionInForward(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return OutputOnContext.apply(x) * 2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * g * (1 - torch.tanh(x) ** 2)


@case(inputs=lambda: (torch.randn(3, dtype=torch.cdouble, requires_grad=True),))
class ComplexSquare(Function):
    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z * z

    @staticmethod
    def backward(ctx, g):
        (z,) = ctx.saved_tensors
        return g * 2 * z.conj()


class Moving(nn.Module):
    """Running statistics that the output uses: each evaluation must start from the same ones."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        with torch.no_grad():
            self.scale.mul_(0.9).add_(0.1 * self.calls)
        return Scaled.apply(x, self.scale)


class Scaled(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = float(scale)
        return x**2 * ctx.scale

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * g * x * ctx.scale, None


CASES["RunningState"] = (Moving(), (torch.randn(4, requires_grad=True),))


@case(inputs=lambda: (torch.randn(6, requires_grad=True),))
class SingleOnly(Function):
    @staticmethod
    def forward(ctx, x):
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        ctx.save_for_backward(x)
        return torch.tanh(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (1 - torch.tanh(x) ** 2)


@case(inputs=lambda: (real(6),))
class SingleInside(Function):
    """Computes in float32 whatever it is given."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.tanh(x.float()).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        y = torch.tanh(x.float())
        return (g.float() * (1 - y * y)).to(x.dtype)


@case(inputs=lambda: (real(5, low=-3, high=3),))
class GradModeAware(Function):
    """Uses what it saved for the first order, and computes anew when a graph is wanted."""

    @staticmethod
    def forward(ctx, x):
        s = torch.sigmoid(x)
        ctx.save_for_backward(x, s)
        return x * s

    @staticmethod
    def backward(ctx, g):
        x, s = ctx.saved_tensors
        if torch.is_grad_enabled():
            s = torch.sigmoid(x)
        return g * (s + x * s * (1 - s))


@case(inputs=lambda: (real(3),))
class GraphKeptOnInput(Function):
    """Forward builds a graph on the input itself: autograd follows it."""

    @staticmethod
    def forward(ctx, x):
        with torch.enable_grad():
            ctx.e = x.exp()
        return ctx.e.detach() * 2

    @staticmethod
    def backward(ctx, g):
        return 2 * g * ctx.e


@case(inputs=lambda: (real(4),))
class NumpyForward(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(np.sin(x.detach().numpy()))

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x.cos()


@case(inputs=lambda: (real(3, low=0.5, high=2.0),))
class ImplicitRoot(Function):
    """x -> sqrt(x) by Newton steps, differentiated through its own output."""

    @staticmethod
    def forward(ctx, x):
        y = torch.ones_like(x)
        for _ in range(30):
            y = (y + x / y) / 2
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g / (2 * y)


@case(inputs=lambda: (real(2, 3), torch.tensor([2, 0])))
class IntegerInput(Function):
    @staticmethod
    def forward(ctx, x, i):
        ctx.save_for_backward(x, i)
        return x.gather(1, i[:, None]) ** 2

    @staticmethod
    def backward(ctx, g):
        x, i = ctx.saved_tensors
        return torch.zeros_like(x).scatter(1, i[:, None], 2 * g * x.gather(1, i[:, None])), None


class OldStyle(Function):
    """Without @staticmethod, as some packages write it."""

    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x.cos()


CASES["OldStyle"] = (OldStyle.apply, (real(3),))
CASES["PlainTorch"] = (lambda x, w: torch.nn.functional.layer_norm(x, (4,), w), (real(3, 4), real(4)))
CASES["DetachedByHand"] = (lambda x: x * x.detach(), (real(3),))


@case(inputs=lambda: ([1.5, 2.5], real(3)))
class ListArgument(Function):
    @staticmethod
    def forward(ctx, powers, x):
        ctx.powers = powers
        ctx.save_for_backward(x)
        return sum(x.abs() ** p for p in powers)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return None, g * sum(p * x.abs() ** (p - 1) for p in ctx.powers) * x.sign()


@case(inputs=lambda: (real(4),))
class SavesBySum(Function):
    """Temporaries of an input that does not require grad, and of shapes and constants."""

    @staticmethod
    def forward(ctx, x):
        ctx.grid = torch.linspace(0, 1, x.numel(), dtype=x.dtype) ** 2
        ctx.size = float(x.numel())
        ctx.save_for_backward(x)
        return (x * x * ctx.grid).sum() / ctx.size

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * g * x * ctx.grid / ctx.size


@case(inputs=lambda: (real(2, 5).detach().expand(3, 2, 5).requires_grad_(),))
class Expanded(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square().sum(0)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g


@case(inputs=lambda: (real(3, 4),))
class HardAttention(Function):
    """argmax forward, softmax backward, recomputed from the input."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.nn.functional.one_hot(x.argmax(-1), x.shape[-1]).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        p = torch.softmax(ctx.saved_tensors[0], -1)
        return p * (g - (g * p).sum(-1, keepdim=True))


CASES["PenaltyThroughANetwork"] = (
    lambda x: StraightThroughSign.apply(torch.tanh(x) * 3).cos().sum(-1) + InputOnContext.apply(x).sum(-1),
    (real(2, 3),),
)


class StraightThroughSign(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.saved_tensors[0].abs() <= 1)


@case(inputs=lambda: (real(3, 5),))
class RmsInBfloat16Recomputed(Function):
    """Rounded to eight bits on both ways, which differences alone would take for an error."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        wide = x.bfloat16()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        wide, g = x.bfloat16(), g.bfloat16()
        rms = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        normed = wide * rms
        return (rms * (g - normed * (g * normed).mean(-1, keepdim=True))).to(x.dtype)


@case(inputs=lambda: (real(4),))
class GivesHalfOfItsInput(Function):
    """The same, from the saved input: compared as well, and not merely left unverified."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.half().exp()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return (g * x.half().exp()).to(x.dtype)


@case(inputs=lambda: (real(3),))
class InsistsOnHalf(Function):
    """Differences of its forward are steps: no reason to say that backward gives another gradient."""

    @staticmethod
    def forward(ctx, x):
        half = x.half()
        assert half.dtype == torch.float16
        ctx.save_for_backward(x)
        return half.float().sin().to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos()
