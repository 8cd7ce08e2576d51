"""Functions whose backward reads a value that autograd cannot follow: `CASES[name] = (fn, inputs, slots)`.

Each keeps the value in another way. `slots` are names by which the finding may call it; all of them are wrong.
"""

import collections
import functools
import types
import weakref
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.autograd import Function

CASES = {}


def real(*shape, seed=0, low=None, high=1.0):
    generator = torch.Generator().manual_seed(seed)
    if low is None:
        return torch.randn(*shape, dtype=torch.double, generator=generator).requires_grad_()
    drawn = torch.rand(*shape, dtype=torch.double, generator=generator)
    return (drawn * (high - low) + low).requires_grad_()


def case(*slots, inputs=lambda: (real(3),), fn=None):
    def register(cls):
        CASES[cls.__name__] = (fn or cls.apply, inputs(), slots)
        return cls

    return register


class InGlobalDict(Function):
    @staticmethod
    def forward(ctx, x):
        KEPT["e"] = x.exp()
        return KEPT["e"] * x

    @staticmethod
    def backward(ctx, g):
        return g * KEPT["e"] * (1 + KEPT["e"].log())


KEPT = {}
CASES["InGlobalDict"] = (InGlobalDict.apply, (real(3),), ("KEPT['e']",))


def _with_closure():
    box = []

    class InClosureList(Function):
        @staticmethod
        def forward(ctx, x):
            box.clear()
            box.append(x.exp())
            return box[0] * 2

        @staticmethod
        def backward(ctx, g):
            return 2 * g * box[0]

    return InClosureList.apply


CASES["InClosureList"] = (_with_closure(), (real(3),), ("box[0]",))


def _with_nonlocal():
    kept = None

    class InNonlocal(Function):
        @staticmethod
        def forward(ctx, x):
            nonlocal kept
            kept = x.tanh()
            return kept * 1

        @staticmethod
        def backward(ctx, g):
            return g * (1 - kept * kept)

    return InNonlocal.apply


CASES["InNonlocal"] = (_with_nonlocal(), (real(3),), ("kept",))

LAST = None


class InGlobal(Function):
    @staticmethod
    def forward(ctx, x):
        global LAST
        LAST = x.sin()
        return LAST**2

    @staticmethod
    def backward(ctx, g):
        return g * 2 * LAST * torch.sqrt(1 - LAST**2)


CASES["InGlobal"] = (InGlobal.apply, (real(3, low=0.1),), ("LAST",))


@case("InClassAttribute.kept")
class InClassAttribute(Function):
    kept = None

    @staticmethod
    def forward(ctx, x):
        InClassAttribute.kept = x.exp()
        return InClassAttribute.kept * 3

    @staticmethod
    def backward(ctx, g):
        return 3 * g * InClassAttribute.kept


BY_CONTEXT = {}


class InCacheByContext(Function):
    @staticmethod
    def forward(ctx, x):
        BY_CONTEXT.clear()
        BY_CONTEXT[id(ctx)] = x.sigmoid()
        return BY_CONTEXT[id(ctx)] * 1

    @staticmethod
    def backward(ctx, g):
        s = BY_CONTEXT[id(ctx)]
        return g * s * (1 - s)


CASES["InCacheByContext"] = (InCacheByContext.apply, (real(3),), ("BY_CONTEXT[...]",))


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("norm", torch.zeros((), dtype=torch.double))
        self.cache = None

    def forward(self, x):
        return OnModule.apply(x, self)


class OnModule(Function):
    @staticmethod
    def forward(ctx, x, module):
        module.cache = x.square().sum()
        ctx.module = module
        ctx.save_for_backward(x)
        return x * module.cache

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * ctx.module.cache + 2 * x * (g * x).sum(), None


CASES["OnModule"] = (Scale(), (real(4),), ("ctx.module.cache",))


class OnBuffer(Function):
    @staticmethod
    def forward(ctx, x, module):
        module.norm = x.square().sum()
        ctx.module = module
        ctx.save_for_backward(x)
        return x * module.norm

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * ctx.module.norm + 2 * x * (g * x).sum(), None


_scale = Scale()
CASES["OnBuffer"] = (lambda x: OnBuffer.apply(x, _scale), (real(4),), ("ctx.module.norm",))


class Stats(NamedTuple):
    mean: torch.Tensor
    size: int


@case("ctx.stats.mean")
class InNamedTuple(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.stats = Stats(x.mean(), x.numel())
        ctx.save_for_backward(x)
        return (x - ctx.stats.mean) ** 2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        d = 2 * g * (x - ctx.stats.mean)
        return d - d.sum() / ctx.stats.size


@dataclass(frozen=True)
class Frozen:
    root: torch.Tensor


@case("ctx.frozen.root", inputs=lambda: (real(3, low=0.5, high=2.0),))
class InFrozenDataclass(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.frozen = Frozen(x.sqrt())
        return ctx.frozen.root.clone()

    @staticmethod
    def backward(ctx, g):
        return g / (2 * ctx.frozen.root)


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


@case("ctx.kept.value")
class InSlots(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.kept = Slotted(x.exp())
        return ctx.kept.value + 1

    @staticmethod
    def backward(ctx, g):
        return g * ctx.kept.value


@case("ctx.queue[0]")
class InDeque(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.queue = collections.deque([x.cos(), x.sin()])
        return ctx.queue[1] * 1

    @staticmethod
    def backward(ctx, g):
        return g * ctx.queue[0]


@case("ctx.rule.d", "ctx.rule.__closure__[0]", "ctx.rule.slope")
class InLambda(Function):
    @staticmethod
    def forward(ctx, x):
        slope = 3 * x**2
        ctx.rule = lambda g: g * slope
        return x**3

    @staticmethod
    def backward(ctx, g):
        return ctx.rule(g)


@case("ctx.rule.args[0]")
class InPartial(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.rule = functools.partial(torch.mul, 3 * x**2)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return ctx.rule(g)


@case("ctx.rule.keywords['other']")
class InPartialKeyword(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.rule = functools.partial(torch.mul, other=3 * x**2)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return ctx.rule(g)


class Solver:
    def __init__(self, a):
        self.inverse = torch.linalg.inv(a)

    def solve(self, b):
        return self.inverse @ b


@case(
    "ctx.solve.inverse", inputs=lambda: ((real(3, 3) + 3 * torch.eye(3)).detach().requires_grad_(), real(3, 2, seed=1))
)
class InBoundMethod(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.solve = Solver(a).solve
        ctx.save_for_backward(a, b)
        return ctx.solve(b)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        inverse = ctx.solve.__self__.inverse
        gb = inverse.t() @ g
        return -gb @ (torch.linalg.solve(a, b)).t(), gb


@case("ctx.inner.kept")
class InNamespace(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.inner = types.SimpleNamespace(kept=x.exp())
        return ctx.inner.kept * 1

    @staticmethod
    def backward(ctx, g):
        return g * ctx.inner.kept


@case("ctx.t")
class Data(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.t = x.exp().data
        return ctx.t * 1

    @staticmethod
    def backward(ctx, g):
        return g * ctx.t


@case("saved_tensors[0]")
class DetachedTemporary(Function):
    @staticmethod
    def forward(ctx, x):
        s = torch.sigmoid(x)
        ctx.save_for_backward(s.detach(), x)
        return x * s

    @staticmethod
    def backward(ctx, g):
        s, x = ctx.saved_tensors
        return g * (s + x * s * (1 - s))


@case("ctx.array")
class NumpyOnContext(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.array = np.exp(x.detach().numpy())
        return torch.from_numpy(ctx.array * 1)

    @staticmethod
    def backward(ctx, g):
        return g * torch.from_numpy(ctx.array)


@case("ctx.length")
class Item(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.length = x.norm().item()
        ctx.save_for_backward(x)
        return x / ctx.length

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g / ctx.length - x * (g * x).sum() / ctx.length**3


@case("ctx.values[0]", "ctx.values[1]", "ctx.values[2]")
class ToList(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.values = x.exp().tolist()
        return x.exp()

    @staticmethod
    def backward(ctx, g):
        return g * torch.tensor(ctx.values, dtype=g.dtype)


@case("saved_tensors[0]", inputs=lambda: (real(2, 6),))
class ViewOfInput(Function):
    @staticmethod
    def forward(ctx, x):
        a, b = x.chunk(2, dim=-1)
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return torch.cat([g * b, g * a], -1)


@case("saved_tensors[0]", inputs=lambda: (real(3, 2),), fn=lambda x: Contiguous.apply(x.t()))
class Contiguous(Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g


@case("saved_tensors[0]", inputs=lambda: (real(4),))
class CastDown(Function):
    @staticmethod
    def forward(ctx, x):
        wide = x.to(torch.float64) * 1.0
        ctx.save_for_backward(wide)
        return (wide**3).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


@case("saved_tensors[0]", inputs=lambda: (real(6),))
class KeptInHalf(Function):
    """In half precision, in which differences see nothing move."""

    @staticmethod
    def forward(ctx, x):
        y = x.sigmoid()
        ctx.save_for_backward(y.half())
        return y

    @staticmethod
    def backward(ctx, g):
        y = ctx.saved_tensors[0].to(g.dtype)
        return g * y * (1 - y)


@case("saved_tensors[0]", inputs=lambda: (real(6),))
class RoundedToHalf(Function):
    """The same, cast back before it is saved."""

    @staticmethod
    def forward(ctx, x):
        y = x.sigmoid()
        ctx.save_for_backward(y.to(torch.bfloat16).to(x.dtype))
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y * (1 - y)


@case("saved_tensors[2]", inputs=lambda: (real(3, 5).detach().float().requires_grad_(), real(5).detach().float()))
class RmsInBfloat16(Function):
    @staticmethod
    def forward(ctx, x, w):
        wide = x.bfloat16()
        rms = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        ctx.save_for_backward(x, w, rms)
        return (wide * rms).to(x.dtype) * w

    @staticmethod
    def backward(ctx, g):
        x, w, rms = ctx.saved_tensors
        wide, scaled = x.bfloat16(), (g * w).bfloat16()
        normed = wide * rms
        dx = rms * (scaled - normed * (scaled * normed).mean(-1, keepdim=True))
        return dx.to(x.dtype), None


class HiddenOutput(Function):
    """Returned, but marked as not differentiable."""

    @staticmethod
    def forward(ctx, x):
        e = x.exp()
        ctx.mark_non_differentiable(e)
        ctx.save_for_backward(x, e)
        return e * x, e

    @staticmethod
    def backward(ctx, g, _):
        x, e = ctx.saved_tensors
        return g * e * (1 + x)


CASES["HiddenOutput"] = (lambda x: HiddenOutput.apply(x)[0], (real(3),), ("saved_tensors[1]",))


@case("saved_tensors[2]", inputs=lambda: (real(4, 3), real(2, 3, seed=1)))
class SoftmaxLoss(Function):
    @staticmethod
    def forward(ctx, x, w):
        p = torch.softmax(x @ w.t(), -1)
        ctx.save_for_backward(x, w, p)
        return -p[:, 0].log().mean()

    @staticmethod
    def backward(ctx, g):
        x, w, p = ctx.saved_tensors
        d = p.clone()
        d[:, 0] -= 1
        d = g * d / len(d)
        return d @ w, d.t() @ x


@case("ctx.scale", inputs=lambda: (real(4),))
class SetupContext(Function):
    @staticmethod
    def forward(x):
        return x / x.abs().max()

    @staticmethod
    def setup_context(ctx, inputs, output):
        (x,) = inputs
        ctx.scale = x.abs().max()
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        top = (x.abs() == x.abs().max()).to(x.dtype) * x.sign()
        return g / ctx.scale - top * (g * x).sum() / ctx.scale**2


@case("saved_tensors[0]", inputs=lambda: (torch.randn(3, dtype=torch.cdouble, requires_grad=True),))
class ComplexInput(Function):
    @staticmethod
    def forward(ctx, z):
        e = torch.exp(z)
        ctx.save_for_backward(e)
        return e * 2

    @staticmethod
    def backward(ctx, g):
        (e,) = ctx.saved_tensors
        return g * 2 * e.conj()


@case("saved_tensors[0]", inputs=lambda: (torch.randn(8, requires_grad=True),))
class SinglePrecision(Function):
    @staticmethod
    def forward(ctx, x):
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        t = torch.tanh(x)
        ctx.save_for_backward(t)
        return t * 2

    @staticmethod
    def backward(ctx, g):
        (t,) = ctx.saved_tensors
        return 2 * g * (1 - t * t)


@case("ctx.noise", inputs=lambda: (real(5),))
class Stochastic(Function):
    """Noise in proportion to the input, kept."""

    @staticmethod
    def forward(ctx, x):
        ctx.noise = torch.randn_like(x) * x
        return ctx.noise * x

    @staticmethod
    def backward(ctx, g):
        return 2 * g * ctx.noise


def _statistics(ctx, x):
    ctx.mean, ctx.var = x.mean(0), x.var(0, unbiased=False)


@case("ctx.mean", "ctx.var", inputs=lambda: (real(5, 2),))
class ByHelper(Function):
    @staticmethod
    def forward(ctx, x):
        _statistics(ctx, x)
        ctx.save_for_backward(x)
        return (x - ctx.mean) / (ctx.var + 1e-3).sqrt()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return _normal_backward(ctx, x, g)


def _normal_backward(ctx, x, g):
    inv = (ctx.var + 1e-3).rsqrt()
    h = (x - ctx.mean) * inv
    return inv * (g - g.mean(0) - h * (g * h).mean(0))


class GradOfBilinear(Function):
    """The derivative of a Function, itself a Function."""

    @staticmethod
    def forward(ctx, g, t):
        ctx.save_for_backward(g, t)
        return g * t

    @staticmethod
    def backward(ctx, gg):
        g, t = ctx.saved_tensors
        return gg * t, gg * g


@case("saved_tensors[0]")
class BackwardByFunction(Function):
    @staticmethod
    def forward(ctx, x):
        t = x.exp()
        ctx.save_for_backward(t)
        return t * 1

    @staticmethod
    def backward(ctx, g):
        return GradOfBilinear.apply(g, ctx.saved_tensors[0])


@case("x._kept", "saved_tensors[0]._kept", "ctx.x._kept")
class OnTensor(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        x._kept = x.cos()
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.x._kept


@case("ctx.layers[1].y", "ctx.layers[0].y")
class RepeatedBlocks(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.layers, h = [], x
        for _ in range(2):
            h = torch.tanh(h)
            ctx.layers.append(types.SimpleNamespace(y=h))
        return h * 1

    @staticmethod
    def backward(ctx, g):
        for layer in reversed(ctx.layers):
            g = g * (1 - layer.y**2)
        return g


@case("saved_tensors[1]", inputs=lambda: (real(3), real(3, seed=1)))
class OneOfTwoInputs(Function):
    """Only the second input's gradient is wrong."""

    @staticmethod
    def forward(ctx, x, w):
        e = w.exp()
        ctx.save_for_backward(x, e)
        return x * e

    @staticmethod
    def backward(ctx, g):
        x, e = ctx.saved_tensors
        return g * e, g * e * x


class Twice(nn.Module):
    """A good Function and a bad one in a module of plain operations."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return BadSwish.apply(self.linear(x)).sum() + self.linear(x).tanh().sum()


class BadSwish(Function):
    @staticmethod
    def forward(ctx, x):
        s = x.sigmoid()
        ctx.save_for_backward(x, s)
        return x * s

    @staticmethod
    def backward(ctx, g):
        x, s = ctx.saved_tensors
        return g * (s + x * s * (1 - s))


torch.manual_seed(0)
CASES["ModuleWithBadSwish"] = (Twice(), (torch.randn(2, 3, requires_grad=True),), ("saved_tensors[1]",))


@case("ctx.weak", "saved_tensors[0]")
class SaveAndWeak(Function):
    @staticmethod
    def forward(ctx, x):
        t = x.exp()
        ctx.save_for_backward(t)
        ctx.weak = weakref.ref(t)
        return t + x

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.saved_tensors[0] + 1)


class Weakly(Function):
    """Only a weak reference on ctx; something else keeps the tensor alive."""

    alive = []

    @staticmethod
    def forward(ctx, x):
        t = x.exp()
        Weakly.alive[:] = [t]
        ctx.weak = weakref.ref(t)
        return t + x

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.weak() + 1)


CASES["Weakly"] = (Weakly.apply, (real(3),), ("ctx.weak()", "Weakly.alive[0]"))


@case("ctx.normal.loc", "ctx.normal.scale", inputs=lambda: (real(4),))
class InDistribution(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.normal = torch.distributions.Normal(x.sin(), x.exp())
        ctx.save_for_backward(x)
        return ctx.normal.loc * ctx.normal.scale

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (x.cos() * ctx.normal.scale + ctx.normal.loc * ctx.normal.scale)


@case("ctx.both")
class InSet(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.both = {x.exp()}
        return x.exp()

    @staticmethod
    def backward(ctx, g):
        (e,) = ctx.both
        return g * e


@case("ctx.bytes")
class Pickled(Function):
    @staticmethod
    def forward(ctx, x):
        e = x.exp()
        ctx.bytes = e.numpy().tobytes()
        return e

    @staticmethod
    def backward(ctx, g):
        return g * torch.frombuffer(bytearray(ctx.bytes), dtype=g.dtype)


@case("ctx.qr[0]", "ctx.qr[1]", inputs=lambda: (real(3, 3), real(3, seed=1)))
class InReturnType(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.qr = torch.linalg.qr(a)
        ctx.x = x = torch.linalg.solve_triangular(ctx.qr.R, (ctx.qr.Q.t() @ b)[:, None], upper=True)[:, 0]
        return x

    @staticmethod
    def backward(ctx, g):
        gb = ctx.qr.Q @ torch.linalg.solve_triangular(ctx.qr.R.t(), g[:, None], upper=False)[:, 0]
        return -gb[:, None] * ctx.x[None], gb


@case("saved_tensors[0]", inputs=lambda: (real(4),))
class CustomBackward(Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(ctx, x):
        t = torch.tanh(x)
        ctx.save_for_backward(t)
        return t * 2

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, g):
        (t,) = ctx.saved_tensors
        return 2 * g * (1 - t * t)


def _with_generator():
    source = np.random.default_rng(3)

    class OwnGenerator(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.t = torch.from_numpy(source.random(3)) * x.exp()
            return ctx.t * 1

        @staticmethod
        def backward(ctx, g):
            return g * ctx.t

    return OwnGenerator.apply


CASES["OwnGenerator"] = (_with_generator(), (real(3),), ("ctx.t",))


@case("saved_tensors[3]", "saved_tensors[9]", inputs=lambda: (real(3),))
class ManySteps(Function):
    """Thirty states of a recurrence, all saved."""

    @staticmethod
    def forward(ctx, x):
        states = [x * 1.0]
        for _ in range(30):
            states.append(torch.tanh(0.9 * states[-1]))
        ctx.save_for_backward(*states)
        return states[-1].clone()

    @staticmethod
    def backward(ctx, g):
        for state in reversed(ctx.saved_tensors[1:]):
            g = 0.9 * g * (1 - state**2)
        return g


class Fixed(Function):
    """A fixed point found without a graph; the last step is on a graph of its own."""

    @staticmethod
    def forward(ctx, x):
        z = torch.zeros_like(x)
        for _ in range(60):
            z = torch.tanh(0.5 * z + x)
        with torch.enable_grad():
            ctx.z = z.detach().requires_grad_()
            ctx.c = x.detach().requires_grad_()
            ctx.f = torch.tanh(0.5 * ctx.z + ctx.c)
        return z.clone()

    @staticmethod
    def backward(ctx, g):
        fz, fc = torch.autograd.grad(ctx.f, (ctx.z, ctx.c), torch.ones_like(g), create_graph=True)
        return g / (1 - fz) * fc


CASES["Fixed"] = (Fixed.apply, (real(3),), ("ctx.z", "ctx.c"))


@case("saved_tensors[0]", inputs=lambda: (real(4),))
class GivesHalf(Function):
    """Computes in half precision and returns that, as under autocast."""

    @staticmethod
    def forward(ctx, x):
        y = x.half().exp()
        ctx.save_for_backward(y.float())
        return y

    @staticmethod
    def backward(ctx, g):
        return (g * ctx.saved_tensors[0]).to(torch.float64)
