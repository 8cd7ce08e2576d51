"""Ways of writing one: in place, flags, helpers, base classes, factories, inner graphs, complex numbers, numpy."""

import contextlib

import numpy as np
import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tests.checks.right.register import Cases, real

right = Cases()


@right(real(4), call=lambda apply, x: apply(x * 1))
class ExpInPlace(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        x.exp_()
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y


@right(real(3, 2), real(3, 2, seed=1), call=lambda apply, x, y: apply(x.clone(), y))
class AddScaledInPlace(Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(y)
        ctx.mark_dirty(x)
        return x.add_(y * y, alpha=0.5)

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g, g * y


@right(real(3, 4), real(4, seed=1), real(3, 1, seed=2))
class Broadcast(Function):
    """Gradients are summed to the shape of what was broadcast."""

    @staticmethod
    def forward(ctx, x, row, column):
        ctx.save_for_backward(x, row, column)
        return x * row + column

    @staticmethod
    def backward(ctx, g):
        x, row, column = ctx.saved_tensors
        return g * row, (g * x).sum_to_size(row.shape), g.sum_to_size(column.shape)


@right(real(3), real(3, seed=1, low=0.5, high=2), True)
class Flagged(Function):
    @staticmethod
    def forward(ctx, a, b, inverse):
        ctx.save_for_backward(a, b)
        ctx.inverse = inverse
        return a / b if inverse else a * b

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        if ctx.inverse:
            return g / b, -g * a / b**2, None
        return g * b, g * a, None


right.add(
    "FlaggedBothWays",
    lambda a, b: Flagged.apply(a, b, True) + Flagged.apply(b, a, False).sin(),
    real(3),
    real(3, seed=1, low=0.5, high=2),
)


class Elementwise(Function):
    """A base class: the subclasses give the function and its slope."""

    @classmethod
    def forward(cls, ctx, x):
        ctx.save_for_backward(x)
        return cls.value(x)

    @classmethod
    def backward(cls, ctx, g):
        (x,) = ctx.saved_tensors
        return g * cls.slope(x)


@right(real(4))
class Arctangent(Elementwise):
    @staticmethod
    def value(x):
        return x.atan()

    @staticmethod
    def slope(x):
        return 1 / (1 + x * x)


@right(real(4))
class Gaussian(Elementwise):
    @staticmethod
    def value(x):
        return (-x * x).exp()

    @staticmethod
    def slope(x):
        return -2 * x * (-x * x).exp()


def power_of(n):
    class Power(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**n

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return n * x ** (n - 1) * g

    return Power


right.add("Power3", power_of(3).apply, real(3))


@right(real(3), real(3, seed=1))
class InnerGraph(Function):
    """Recomputes forward with a graph, and differentiates that."""

    @staticmethod
    def inner(a, b):
        return (a * b).sin() + a**2

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return InnerGraph.inner(a, b)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            if not graph:
                a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
            y = InnerGraph.inner(a.view_as(a), b.view_as(b)) if not graph else InnerGraph.inner(a, b)
            return torch.autograd.grad(y, (a, b), g, create_graph=graph)


class SinGradient(Function):
    @staticmethod
    def forward(ctx, x, g):
        ctx.save_for_backward(x, g)
        return g * x.cos()

    @staticmethod
    def backward(ctx, gg):
        x, g = ctx.saved_tensors
        return -gg * g * x.sin(), gg * x.cos()


@right(real(4))
class SinByFunctions(Function):
    """Its backward is a Function with a backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return SinGradient.apply(x, g)


right.add("SinGradient", SinGradient.apply, real(3), real(3, seed=1))


@right(real(3, 4), mutable=False)
class NumpySort(Function):
    """Both ways in numpy: once differentiable."""

    @staticmethod
    def forward(ctx, x):
        array = x.detach().numpy()
        ctx.order = np.argsort(array, axis=1)
        return torch.from_numpy(np.take_along_axis(array, ctx.order, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        grad = np.zeros(g.shape)
        np.put_along_axis(grad, ctx.order, g.numpy(), 1)
        return torch.from_numpy(grad)


@right(torch.randn(3, dtype=torch.cdouble, generator=torch.Generator().manual_seed(0)).requires_grad_())
class ComplexCube(Function):
    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z**3

    @staticmethod
    def backward(ctx, g):
        (z,) = ctx.saved_tensors
        return g * (3 * z**2).conj()


@right(
    torch.randn(3, dtype=torch.cdouble, generator=torch.Generator().manual_seed(0)).requires_grad_(),
    torch.randn(3, dtype=torch.cdouble, generator=torch.Generator().manual_seed(1)).requires_grad_(),
)
class ComplexProduct(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b.conj()

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return g * b, g.conj() * a


@right(torch.randn(3, dtype=torch.cdouble, generator=torch.Generator().manual_seed(0)).requires_grad_())
class SquaredModulus(Function):
    """Complex in, real out."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return (z * z.conj()).real

    @staticmethod
    def backward(ctx, g):
        (z,) = ctx.saved_tensors
        return 2 * g * z


@right(real(4))
class SetUp(Function):
    """forward without a ctx, and rules for forward mode and for vmap."""

    @staticmethod
    def forward(x):
        return x.exp() * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        (x,) = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (x.exp() * (x + 1))

    @staticmethod
    def jvp(ctx, t):
        (x,) = ctx.saved_tensors
        return t * (x.exp() * (x + 1))

    @staticmethod
    def vmap(info, in_dims, x):
        return SetUp.apply(x), in_dims[0]


@right(real(4), real(4, seed=1), 2.0)
class GeneratedVmap(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, y, k):
        return k * x * y.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, y, ctx.k = inputs
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * ctx.k * y.sin(), g * ctx.k * x * y.cos(), None

    @staticmethod
    def jvp(ctx, tx, ty, _):
        x, y = ctx.saved_tensors
        return ctx.k * (tx * y.sin() + ty * x * y.cos())


@right(real(2, 3), {"scale": 2.0, "shift": [0.5]})
class DictArgument(Function):
    @staticmethod
    def forward(ctx, x, options):
        ctx.options = options
        ctx.save_for_backward(x)
        return (options["scale"] * x + options["shift"][0]).square()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        o = ctx.options
        return 2 * o["scale"] * (o["scale"] * x + o["shift"][0]) * g, None


@right(real(3), real(3, seed=1), real(3, seed=2))
class AnyNumber(Function):
    """As many tensors as one likes."""

    @staticmethod
    def forward(ctx, *tensors):
        ctx.save_for_backward(*tensors)
        return sum(t * t for t in tensors)

    @staticmethod
    def backward(ctx, g):
        return tuple(2 * g * t for t in ctx.saved_tensors)


@right(real(6), 0.4)
class Dropout(Function):
    @staticmethod
    def forward(ctx, x, p):
        mask = (torch.rand_like(x) >= p) / (1 - p)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, g):
        (mask,) = ctx.saved_tensors
        return g * mask, None


right["Dropout"].mutable = False


@right(real(3, 3))
class UnderAutocast(Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float64)
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x @ x

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g @ x.t() + x.t() @ g


@right(real(3))
class WithContexts(Function):
    """Blocks, branches and nested helpers inside of backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x > 0, x**2, x.exp() - 1)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors

        def slope(part):
            return 2 * part

        with contextlib.nullcontext():
            positive = slope(x) * g
            negative = x.exp() * g
        return torch.where(x > 0, positive, negative)


@right(real(2, 3), real(3, seed=1), call=lambda apply, x, w: apply(apply(x, w), w).sum(0))
class CalledTwice(Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return torch.tanh(x * w)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        dz = g * (1 - torch.tanh(x * w).square())
        return dz * w, (dz * x).sum(0)


@right(real(3, low=0.5, high=2.0))
class FixedPoint(Function):
    """sqrt by Newton's iteration; differentiated by the equation that its result solves."""

    @staticmethod
    def forward(ctx, x):
        y = torch.ones_like(x)
        for _ in range(60):
            new = (y + x / y) / 2
            if (new - y).abs().max() <= 1e-15 * new.abs().max():
                break
            y = new
        ctx.save_for_backward(new)
        return new

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g / (2 * y)
