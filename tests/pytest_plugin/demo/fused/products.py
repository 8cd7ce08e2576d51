"""Functions of several inputs."""

import torch

from simplegrad import example


def two():
    return torch.randn(3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)


def matrices():
    return torch.randn(2, 3, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)


@example(two)
class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * y, g * x


@example(two)
class Swapped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * x * y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * x * x, g * 2 * x * y  # wrong: each in the place of the other


@example(matrices)
class Matmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return g @ b.T, a.T @ g


@example(two)
class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y.sum()

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * y.sum(), (g * x).sum() * torch.ones_like(y)


@example(lambda: torch.randn(2, 3, dtype=torch.float64))
class RowSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.width = x.shape[1]
        return x.sum(1)

    @staticmethod
    def backward(ctx, g):
        return g[:, None].expand(-1, ctx.width)
