"""Functions with another fault: `CASES[name] = (fn, inputs, verdict)`."""

import numpy as np
import torch
from cases_escaped import real
from torch.autograd import Function
from torch.autograd.function import once_differentiable

CASES = {}
CUT, STOP, GUARD, RAISES = "graph_cut_in_backward", "stop_gradient_on_input", "guard_bypassed", "raises"
ONCE = "correct"  # with a note: a second order is refused in so many words


def case(verdict, inputs=lambda: (real(3),), fn=None):
    def register(cls):
        CASES[cls.__name__] = (fn or cls.apply, inputs(), verdict)
        return cls

    return register


def cube(backward_rule):
    """x**3 with x saved and this backward."""

    class Cube(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            return backward_rule(ctx.saved_tensors[0], g)

    return Cube.apply


def _without_create_graph(x, g):
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(leaf**3, leaf, g)[0]


def _no_grad(x, g):
    with torch.no_grad():
        return 3 * x**2 * g


CASES["CutByData"] = (cube(lambda x, g: 3 * x.data**2 * g), (real(3),), CUT)
CASES["CutByNumpy"] = (cube(lambda x, g: g * torch.from_numpy(3 * x.detach().numpy() ** 2)), (real(3),), CUT)
CASES["CutByItem"] = (cube(lambda x, g: g * torch.tensor([3 * v.item() ** 2 for v in x])), (real(3),), CUT)
CASES["CutByNoGrad"] = (cube(_no_grad), (real(3),), CUT)
CASES["CutByInnerGrad"] = (cube(_without_create_graph), (real(3),), CUT)
CASES["CutHalf"] = (cube(lambda x, g: 3 * x * x.detach() * g), (real(3),), CUT)
CASES["CutIncoming"] = (cube(lambda x, g: 3 * x**2 * g.detach()), (real(3),), CUT)
CASES["CutByClone"] = (cube(lambda x, g: 3 * torch.tensor(x.tolist(), dtype=x.dtype) ** 2 * g), (real(3),), CUT)


@case(CUT)
class NumpyBackward(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(np.sin(x.detach().numpy()))

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return torch.from_numpy(g.detach().numpy() * np.cos(x.detach().numpy()))


class CubeGradient(Function):
    @staticmethod
    def forward(ctx, x, g):
        ctx.save_for_backward(x)
        return 3 * x**2 * g

    @staticmethod
    def backward(ctx, gg):
        (x,) = ctx.saved_tensors
        return None, 3 * x**2 * gg  # the derivative for x is missing


@case("missing_gradient")
class CutInNestedFunction(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return CubeGradient.apply(ctx.saved_tensors[0], g)


@case(STOP)
class DetachedInput(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.detach())
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g


@case(STOP)
class DataOfInput(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x.data
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.x**2 * g


class Guarded(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.exp())
        return x.exp() * 2

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return g * 2 * ctx.saved_tensors[0]


CASES["Guarded"] = (Guarded.apply, (real(3),), ONCE)
CASES["GuardedLast"] = (lambda x: Guarded.apply(x.sin()), (real(3),), GUARD)
CASES["GuardedBesideAnother"] = (lambda x: Guarded.apply(x) * x, (real(3),), GUARD)


@case(ONCE)
class RefusesGraph(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx, g):
        if torch.is_grad_enabled():
            raise NotImplementedError("no double backward")
        return g * ctx.saved_tensors[0].exp()


@case(RAISES)
class ForwardRaises(Function):
    @staticmethod
    def forward(ctx, x):
        raise ValueError("not for this shape")

    @staticmethod
    def backward(ctx, g):
        return g


@case("wrong_count")
class WrongCount(Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2, g


@case("nonfinite_gradient", inputs=lambda: (torch.tensor([0.5, -1.0, 2.0], dtype=torch.double, requires_grad=True),))
class NotANumber(Function):
    """The second derivative of its backward is 0 * inf where the output is 0."""

    @staticmethod
    def forward(ctx, x):
        y = x.clamp(min=0) ** 2
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return 2 * g * y.sqrt()


@case(CUT)
class InnerGraphCut(Function):
    """The inner graph is differentiated without create_graph: backward itself ends it."""

    @staticmethod
    def forward(ctx, x):
        with torch.enable_grad():
            ctx.x = x.detach().requires_grad_()
            ctx.y = ctx.x.sin() * ctx.x
        return ctx.y.detach()

    @staticmethod
    def backward(ctx, g):
        return torch.autograd.grad(ctx.y, ctx.x, g)[0]


@case(RAISES)
class GuardInsideAnother(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.exp())
        return x.exp()

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


@case(CUT)
class NoGradBackward(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.no_grad()
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos()


@case(CUT)
class AllNumpyWithTemporary(Function):
    """A temporary was saved, and returning it would not help: backward leaves PyTorch."""

    @staticmethod
    def forward(ctx, x):
        e = x.exp()
        ctx.save_for_backward(e)
        return e * 2

    @staticmethod
    def backward(ctx, g):
        (e,) = ctx.saved_tensors
        return torch.from_numpy(2 * g.detach().numpy() * e.detach().numpy())


@case("unverified", inputs=lambda: (torch.tensor([0.6, 0.8, 0.0], dtype=torch.double, requires_grad=True),))
class OnlyUnitVectors(Function):
    """Undefined beside the point: nothing can be compared, and that is said."""

    @staticmethod
    def forward(ctx, q):
        if abs(q.norm().item() - 1) > 1e-12:
            raise ValueError("not a unit vector")
        ctx.save_for_backward(q)
        return q * q

    @staticmethod
    def backward(ctx, g):
        (q,) = ctx.saved_tensors
        return 2 * g * q


@case("unverified", inputs=lambda: (real(3, low=0.5, high=2.0),))
class StopsEarly(Function):
    """Newton steps that stop while the root still has an error of some 1e-3; backward uses the output."""

    @staticmethod
    def forward(ctx, x):
        y = 0.5 * x.sqrt()
        for _ in range(2):
            y = (y + x / y) / 2
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g / (2 * y)


@case("wrong_partial")
class TwoThousandthsOff(Function):
    """It reads its output and is near: but nothing iterates, so nothing excuses it."""

    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return 1.002 * g * (1 - y * y)
