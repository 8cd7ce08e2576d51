"""Several outputs, some of them not differentiable, some unused."""

import torch
from torch.autograd import Function

from tests.checks.right.register import Cases, real

right = Cases()


@right(real(4))
class SinCos(Function):
    @staticmethod
    def forward(ctx, x):
        s, c = x.sin(), x.cos()
        ctx.save_for_backward(s, c)
        return s, c

    @staticmethod
    def backward(ctx, gs, gc):
        s, c = ctx.saved_tensors
        return gs * c - gc * s


@right(real(3, 4))
class MeanAndVariance(Function):
    """Gradients are not materialised: either may be None."""

    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        mean = x.mean(1)
        ctx.save_for_backward(x, mean)
        return mean, (x - mean[:, None]).square().mean(1)

    @staticmethod
    def backward(ctx, g_mean, g_var):
        x, mean = ctx.saved_tensors
        n = x.shape[1]
        grad = None
        if g_mean is not None:
            grad = (g_mean / n)[:, None].expand_as(x)
        if g_var is not None:
            spread = 2 * g_var[:, None] * (x - mean[:, None]) / n
            grad = spread if grad is None else grad + spread
        return grad


@right(real(3, low=0.5, high=2), real(3, seed=1))
class PolarToCartesian(Function):
    @staticmethod
    def forward(ctx, r, angle):
        ctx.save_for_backward(r, angle)
        return r * angle.cos(), r * angle.sin()

    @staticmethod
    def backward(ctx, gx, gy):
        r, angle = ctx.saved_tensors
        g_r = gx * angle.cos() + gy * angle.sin()
        g_angle = r * (gy * angle.cos() - gx * angle.sin())
        return g_r, g_angle


@right(real(3, 5), call=lambda apply, x: apply(x)[0])
class MaxWithIndex(Function):
    @staticmethod
    def forward(ctx, x):
        top, where = x.max(1)
        ctx.mark_non_differentiable(where)
        ctx.save_for_backward(where)
        ctx.columns = x.shape[1]
        return top, where

    @staticmethod
    def backward(ctx, g, _unused):
        (where,) = ctx.saved_tensors
        hot = torch.nn.functional.one_hot(where, ctx.columns).to(g.dtype)
        return g.unsqueeze(1) * hot


@right(real(2, 6))
class ThreeParts(Function):
    @staticmethod
    def forward(x):
        a, b, c = x.split(2, 1)
        return a.exp(), b * 2.0, c.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output[0])

    @staticmethod
    def backward(ctx, ga, gb, gc):
        (a,) = ctx.saved_tensors
        return torch.cat([ga * a, gb * 2.0, gc], 1)


@right(real(4), real(4, seed=1))
class EnergyAndForce(Function):
    """A value and its slope, both outputs, both differentiated."""

    @staticmethod
    def forward(ctx, r, k):
        ctx.save_for_backward(r, k)
        return (k * r**4).sum(), -4 * k * r**3

    @staticmethod
    def backward(ctx, g_energy, g_force):
        r, k = ctx.saved_tensors
        grad_r = g_energy * 4 * k * r**3 - g_force * 12 * k * r**2
        grad_k = g_energy * r**4 - g_force * 4 * r**3
        return grad_r, grad_k


@right(real(4), call=lambda apply, x: apply(x)[1])
class SecondOutputOnly(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sinh(), x.cosh()

    @staticmethod
    def backward(ctx, g_sinh, g_cosh):
        (x,) = ctx.saved_tensors
        return g_sinh * x.cosh() + g_cosh * x.sinh()


@right(real(3, 4))
class CubeWithSlope(Function):
    """The slope is an output so that backward may keep it."""

    @staticmethod
    def forward(x):
        return x**3, 3 * x**2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx, g, g_slope):
        x, slope = ctx.saved_tensors
        return g * slope + g_slope * 6 * x


@right(real(2, 4), call=lambda apply, x: apply(x)[0])
class ExpAndText(Function):
    """An output that is no tensor."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y, f"{x.shape[0]} rows"

    @staticmethod
    def backward(ctx, g, _text):
        (y,) = ctx.saved_tensors
        return g * y
