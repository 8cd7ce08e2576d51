"""Small runs of PyTorch that the lessons show: each is recorded, and stepped through line by line."""

from collections.abc import Callable

import torch

from . import sinh_bad, sinh_good


def gradient_of_a_gradient() -> None:
    a = torch.tensor([0.3605, 0.9889, 0.8768, 0.5413], requires_grad=True)
    b = torch.tensor([0.2517, 0.3470, 0.8960, 0.3315], requires_grad=True)
    t = a + b
    r = t * b
    L0 = r.sum()
    da, db = torch.autograd.grad(L0, [a, b], create_graph=True)
    L1 = (da * da + db * db).sum()
    torch.autograd.grad(L1, [a, b])


class Gives(torch.autograd.Function):
    """Hands nothing back: its input gets an undefined gradient."""

    @staticmethod
    def forward(ctx, x):
        return x * 1.0

    @staticmethod
    def backward(ctx, dL_dy):
        return None


class Asks(torch.autograd.Function):
    """Wants to see None where a gradient is undefined, and asks for it."""

    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, dL_dy):
        (x,) = ctx.saved_tensors
        if dL_dy is None:
            return None
        return dL_dy * x * 2.0


def undefined_gradient() -> None:
    x = torch.tensor([0.5, 1.0], requires_grad=True)
    y = Asks.apply(x)
    z = Gives.apply(y)
    L0 = z.sum()
    torch.autograd.grad(L0, [x], allow_unused=True)


def changed_in_place() -> None:
    x = torch.tensor([0.5, 1.0], requires_grad=True)
    y = x * x
    z = y.exp()
    y.mul_(x)
    L0 = (y * z).sum()
    torch.autograd.grad(L0, [x])


def wrong_version() -> None:
    x = torch.tensor([0.5, 1.0], requires_grad=True)
    y = x.exp()  # exp's backward reads its result
    z = y * 2.0
    y.mul_(x)  # and the result is changed
    L0 = (y * z).sum()
    torch.autograd.grad(L0, [x])


def view_of_a_changed_base() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    base = x * 1.0
    row = base[0]
    base.mul_(2.0)
    L0 = (row * row).sum()
    torch.autograd.grad(L0, [x])


def sinh_before() -> None:
    _differentiated_twice(*sinh_bad.case())


def sinh_after() -> None:
    _differentiated_twice(*sinh_good.case())


def _differentiated_twice(sinh: Callable, inputs: tuple[torch.Tensor]) -> None:
    (x,) = inputs
    w = torch.ones(3, dtype=torch.double, requires_grad=True)  # what comes in depends on it, as in a real loss
    y = sinh(x)
    L0 = (y * w).sum()
    (dx,) = torch.autograd.grad(L0, [x], create_graph=True)
    L1 = dx.sum()
    torch.autograd.grad(L1, [x, w], allow_unused=True)
