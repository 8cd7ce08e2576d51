"""Gathering, scattering, sorting, padding, sparse products."""

import torch
from torch.autograd import Function

from tests.checks.right.register import Cases, real

right = Cases()


@right(real(5, 2), torch.tensor([3, 0, 3, 1]))
class Embedding(Function):
    @staticmethod
    def forward(ctx, table, ids):
        ctx.save_for_backward(ids)
        ctx.rows = table.shape[0]
        return table[ids]

    @staticmethod
    def backward(ctx, g):
        (ids,) = ctx.saved_tensors
        grad = g.new_zeros(ctx.rows, g.shape[1])
        grad.index_add_(0, ids, g)
        return grad, None


@right(real(5, 2), torch.tensor([0, 2, 0, 1, 2]), 3)
class SegmentMean(Function):
    @staticmethod
    def forward(ctx, x, segment, count):
        size = torch.bincount(segment, minlength=count).to(x.dtype)
        ctx.save_for_backward(segment, size)
        total = x.new_zeros(count, x.shape[1]).index_add(0, segment, x)
        return total / size[:, None]

    @staticmethod
    def backward(ctx, g):
        segment, size = ctx.saved_tensors
        return (g / size[:, None])[segment], None, None


@right(real(3, 4), torch.tensor([[0, 2], [3, 1], [1, 1]]))
class GatherSquares(Function):
    @staticmethod
    def forward(ctx, x, index):
        ctx.save_for_backward(x, index)
        return x.gather(1, index).square()

    @staticmethod
    def backward(ctx, g):
        x, index = ctx.saved_tensors
        grad = 2 * g * x.gather(1, index)
        return torch.zeros_like(x).scatter_add(1, index, grad), None


@right(real(3, 5), 2)
class TopK(Function):
    @staticmethod
    def forward(ctx, x, k):
        values, places = x.topk(k, dim=1)
        ctx.save_for_backward(places)
        ctx.mark_non_differentiable(places)
        ctx.width = x.shape[1]
        return values, places

    @staticmethod
    def backward(ctx, g, _):
        (places,) = ctx.saved_tensors
        grad = g.new_zeros(g.shape[0], ctx.width)
        return grad.scatter(1, places, g), None


@right(real(6))
class Sorted(Function):
    @staticmethod
    def forward(ctx, x):
        values, order = torch.sort(x)
        ctx.inverse = torch.argsort(order)
        return values

    @staticmethod
    def backward(ctx, g):
        return g[ctx.inverse]


@right(real(6), torch.tensor([True, False, True, True, False, True]))
class MaskedExp(Function):
    @staticmethod
    def forward(ctx, x, mask):
        ctx.save_for_backward(x, mask)
        return x[mask].exp()

    @staticmethod
    def backward(ctx, g):
        x, mask = ctx.saved_tensors
        grad = torch.zeros_like(x)
        grad[mask] = g * x[mask].exp()
        return grad, None


@right(real(2, 3), 1)
class Reflected(Function):
    """x, with its last columns mirrored behind it."""

    @staticmethod
    def forward(ctx, x, n):
        ctx.n = n
        return torch.cat([x, x[:, -1 - n : -1].flip(1)], 1)

    @staticmethod
    def backward(ctx, g):
        n = ctx.n
        body, tail = g[:, :-n], g[:, -n:]
        grad = body.clone()
        grad[:, -1 - n : -1] += tail.flip(1)
        return grad, None


@right(real(4), real(3, 2, seed=1), torch.tensor([[0, 0, 1, 2], [1, 2, 0, 1]]))
class SparseMatmul(Function):
    """A sparse 3 x 3 matrix, by its values and indices, times a dense one."""

    @staticmethod
    def forward(ctx, values, dense, indices):
        ctx.save_for_backward(values, dense, indices)
        rows, columns = indices
        return torch.zeros(3, dense.shape[1], dtype=dense.dtype).index_add(0, rows, values[:, None] * dense[columns])

    @staticmethod
    def backward(ctx, g):
        values, dense, indices = ctx.saved_tensors
        rows, columns = indices
        grad_values = (g[rows] * dense[columns]).sum(1)
        grad_dense = torch.zeros_like(dense).index_add(0, columns, values[:, None] * g[rows])
        return grad_values, grad_dense, None


@right(real(2, 5))
class Rolled(Function):
    @staticmethod
    def forward(x):
        return x.roll(2, 1) * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x.roll(2, 1) + (g * x).roll(-2, 1)


@right(real(3, 3))
class UpperTriangle(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.n = x.shape[0]
        rows, columns = torch.triu_indices(ctx.n, ctx.n)
        return x[rows, columns]

    @staticmethod
    def backward(ctx, g):
        rows, columns = torch.triu_indices(ctx.n, ctx.n)
        grad = g.new_zeros(ctx.n, ctx.n)
        return grad.index_put((rows, columns), g)


@right(real(4, low=0.0, high=3.0), real(5, seed=1))
class Interpolated(Function):
    """A table read between its entries; both the place and the table have gradients."""

    @staticmethod
    def forward(ctx, x, table):
        ctx.save_for_backward(x, table)
        low = x.detach().floor().long().clamp(0, len(table) - 2)
        return table[low] + (x - low) * (table[low + 1] - table[low])

    @staticmethod
    def backward(ctx, g):
        x, table = ctx.saved_tensors
        low = x.detach().floor().long().clamp(0, len(table) - 2)
        part = x - low
        dx = g * (table[low + 1] - table[low])
        dt = torch.zeros_like(table).index_add(0, low, g * (1 - part)).index_add(0, low + 1, g * part)
        return dx, dt
