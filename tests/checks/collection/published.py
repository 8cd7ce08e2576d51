"""Functions after published ones, with what is true of them at the second order.

`PUBLISHED[name]`: `fn`, `inputs`, the expected code, and the slots that an escape has to name. Established by gradcheck
and gradgradcheck in double precision, and by reading. Each names what it is after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.autograd import Function
from torch.nn import functional as F

from tests.checks.right.register import fresh, held, real

RIGHT, ESCAPED, CUT = "correct", "escaped_temporary", "graph_cut_in_backward"


@dataclass
class Published:
    fn: Callable
    given: tuple
    code: str
    slots: set[str] = field(default_factory=set)

    @property
    def inputs(self) -> tuple:
        return tuple(map(fresh, self.given))


PUBLISHED: dict[str, Published] = {}


def published(code, *inputs, slots=(), call=None):
    """`call(apply, *inputs)` where it is not called by itself."""

    def register(cls):
        fn = cls.apply if call is None else lambda *given: call(cls.apply, *given)
        PUBLISHED[cls.__name__] = Published(fn, inputs, code, set(slots))
        return cls

    return register


def seeded(apply, *inputs):
    torch.manual_seed(5)
    return apply(*inputs)


# --- normalisations --------------------------------------------------------------------------------------------------


@published(
    ESCAPED,
    real(2, 3, 2, 1),
    real(3, seed=1),
    real(3, seed=2),
    slots=("saved_tensors[0]", "saved_tensors[1]"),
)
class ChannelLayerNorm(Function):
    """The LayerNormFunction of megvii-research/NAFNet, copied in hundreds of repositories."""

    @staticmethod
    def forward(ctx, image, scale, shift):
        centred = image - image.mean(dim=1, keepdim=True)
        variance = centred.square().mean(dim=1, keepdim=True)
        normed = centred / torch.sqrt(variance + 1e-3)
        ctx.save_for_backward(normed, variance, scale)
        return scale[:, None, None] * normed + shift[:, None, None]

    @staticmethod
    def backward(ctx, grad):
        normed, variance, scale = ctx.saved_tensors
        inner = grad * scale[:, None, None]
        along = (inner * normed).mean(dim=1, keepdim=True)
        of_image = (inner - inner.mean(dim=1, keepdim=True) - normed * along) / torch.sqrt(variance + 1e-3)
        return of_image, (grad * normed).sum((0, 2, 3)), grad.sum((0, 2, 3))


@published(
    ESCAPED,
    real(4, 3),
    real(3, seed=1),
    torch.zeros(3, dtype=torch.double),
    torch.ones(3, dtype=torch.double),
    slots=("saved_tensors[0]", "saved_tensors[2]"),
)
class RunningBatchNorm(Function):
    """Batch norm in training, with its running statistics written in forward."""

    @staticmethod
    def forward(ctx, x, scale, running_mean, running_var):
        mean, var = x.mean(0), x.var(0, correction=0)
        running_mean.lerp_(mean, 0.1)
        running_var.lerp_(var, 0.1)
        inverse = torch.rsqrt(var + 1e-3)
        normed = (x - mean) * inverse
        ctx.mark_dirty(running_mean, running_var)
        ctx.mark_non_differentiable(running_mean, running_var)
        ctx.save_for_backward(normed, scale, inverse)
        return normed * scale, running_mean, running_var

    @staticmethod
    def backward(ctx, grad, _mean, _var):
        normed, scale, inverse = ctx.saved_tensors
        inner = grad * scale
        of_x = inverse * (inner - inner.mean(0) - normed * (inner * normed).mean(0))
        return of_x, (grad * normed).sum(0), None, None


@published(
    ESCAPED,
    real(2, 4),
    real(4, seed=1),
    real(4, seed=2),
    slots=("saved_tensors[2]", "saved_tensors[3]"),
)
class FusedLayerNorm(Function):
    """The pattern of apex, of the Triton tutorial and of flash-attention: mean and rstd are saved."""

    @staticmethod
    def forward(ctx, x, scale, shift):
        mean = x.mean(-1, keepdim=True)
        rstd = torch.rsqrt((x - mean).square().mean(-1, keepdim=True) + 1e-3)
        ctx.save_for_backward(x, scale, mean, rstd)
        return (x - mean) * rstd * scale + shift

    @staticmethod
    def backward(ctx, grad):
        x, scale, mean, rstd = ctx.saved_tensors
        normed, inner = (x - mean) * rstd, grad * scale
        along, level = (normed * inner).mean(-1, keepdim=True), inner.mean(-1, keepdim=True)
        return (inner - normed * along - level) * rstd, (grad * normed).sum(0), grad.sum(0)


@published(RIGHT, real(2, 4), real(4, seed=1), call=lambda apply, x, w: apply(x, w)[0])
class LayerNormWithStatistics(Function):
    """The same with mean and rstd as outputs, which have gradients of their own."""

    @staticmethod
    def forward(ctx, x, scale):
        mean = x.mean(-1, keepdim=True)
        rstd = torch.rsqrt((x - mean).square().mean(-1, keepdim=True) + 1e-3)
        ctx.save_for_backward(x, scale, mean, rstd)
        return (x - mean) * rstd * scale, mean, rstd

    @staticmethod
    def backward(ctx, grad, grad_mean, grad_rstd):
        x, scale, mean, rstd = ctx.saved_tensors
        width, centred = x.shape[-1], x - mean
        normed, inner = centred * rstd, grad * scale
        direct = inner - normed * (normed * inner).mean(-1, keepdim=True) - inner.mean(-1, keepdim=True)
        through = grad_mean / width - grad_rstd * rstd**3 * centred / width
        return direct * rstd + through, (grad * normed).sum(0)


@published(ESCAPED, real(2, 2, 3), real(3, seed=1), slots=("saved_tensors[0]", "saved_tensors[2]"))
class FlattenedRmsNorm(Function):
    """After flash-attention and Liger: the input is reshaped before it is saved, a view that nothing follows."""

    @staticmethod
    def forward(ctx, x, scale):
        rows = x.reshape(-1, x.shape[-1])
        rstd = torch.rsqrt(rows.square().mean(-1, keepdim=True) + 1e-3)
        ctx.save_for_backward(rows, scale, rstd)
        ctx.whole = x.shape
        return (rows * rstd * scale).reshape(x.shape)

    @staticmethod
    def backward(ctx, grad):
        rows, scale, rstd = ctx.saved_tensors
        grad = grad.reshape(rows.shape)
        inner = grad * scale
        of_rows = rstd * inner - rows * rstd**3 * (rows * inner).mean(-1, keepdim=True)
        return of_rows.reshape(ctx.whole), (grad * rows * rstd).sum(0)


@published(RIGHT, real(2, 4), real(4, seed=1))
class RecomputedRmsNorm(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-3) * scale

    @staticmethod
    def backward(ctx, grad):
        x, scale = ctx.saved_tensors
        rstd = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-3)
        inner = grad * scale
        of_x = rstd * inner - x * rstd**3 * (x * inner).mean(-1, keepdim=True)
        return of_x, (grad * x * rstd).sum(0)


# --- ways of keeping something ---------------------------------------------------------------------------------------


@published(ESCAPED, real(3), slots=("ctx.leaf",))
class InnerGraphOnContext(Function):
    """The idiom of deep equilibria and of checkpoints: a detached leaf and an inner graph."""

    @staticmethod
    def forward(ctx, x):
        with torch.enable_grad():
            ctx.leaf = x.detach().requires_grad_()
            ctx.result = ctx.leaf * torch.sin(ctx.leaf)
        return ctx.result.detach()

    @staticmethod
    def backward(ctx, grad):
        (found,) = torch.autograd.grad(ctx.result, ctx.leaf, grad, create_graph=True)
        return found


@published(ESCAPED, real(3, low=0.5, high=1.5), slots=("ctx.z",))
class ComplexIntermediate(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.z = torch.polar(x, x)
        ctx.save_for_backward(x)
        return ctx.z.real.square() + ctx.z.imag.square()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * (ctx.z.real * x.cos() + ctx.z.imag * x.sin())


@published(RIGHT, real(3, 2))
class ContiguousInput(Function):
    """`x = x.contiguous()` gives the same tensor where it is one."""

    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


@published(ESCAPED, real(3), slots=("saved_tensors[0]",))
class KernelThroughMemory(Function):
    """A result that is written through raw memory, as an extension does."""

    @staticmethod
    def forward(ctx, x):
        room = torch.zeros_like(x)
        np.exp(x.detach().numpy(), out=room.numpy())
        ctx.save_for_backward(room)
        return 2 * room

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


@published(RIGHT, real(5))
class FloatMasks(Function):
    """Masks and signs are constants nearly everywhere, whatever their type."""

    @staticmethod
    def forward(ctx, x):
        ctx.mask, ctx.sign, ctx.floor = (x > 0).to(x.dtype), x.sign(), x.floor()
        return ctx.mask * x

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.mask * ctx.sign + 0 * ctx.floor


@published(RIGHT, real(6), 0.3, call=lambda apply, x, p: seeded(apply, x, p).sin())
class DropoutMask(Function):
    @staticmethod
    def forward(ctx, x, p):
        keep = torch.empty_like(x).bernoulli_(1 - p) / (1 - p)
        ctx.save_for_backward(keep)
        return keep * x

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None


@published(ESCAPED, real(2, 4), 0.7, slots=("saved_tensors[0]",), call=seeded)
class HardGumbelSoftmax(Function):
    """One-hot forward, and the softmax of forward kept for backward."""

    @staticmethod
    def forward(ctx, logits, tau):
        noise = -torch.rand_like(logits).log()
        soft = torch.softmax((logits - noise.log()) / tau, dim=-1)
        ctx.save_for_backward(soft)
        ctx.tau = tau
        return torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)

    @staticmethod
    def backward(ctx, grad):
        (soft,) = ctx.saved_tensors
        return soft * (grad - (soft * grad).sum(-1, keepdim=True)) / ctx.tau, None


@published(ESCAPED, real(4), slots=("saved_tensors[0]",))
class AssembledInPlace(Function):
    """A temporary written piece by piece into zeros."""

    @staticmethod
    def forward(ctx, x):
        rows = x.new_zeros(2, len(x))
        rows[0] = x.exp()
        rows[1, 1:].copy_(x[1:].square())
        rows[1].add_(1)
        ctx.save_for_backward(rows, x)
        return rows.prod(0)

    @staticmethod
    def backward(ctx, grad):
        rows, x = ctx.saved_tensors
        of_second = 2 * F.pad(x[1:], (1, 0))
        return grad * rows[0] * (rows[1] + of_second)


@published(RIGHT, real(5), call=lambda apply, x: apply(1 * x).sin())
class ReluInPlace(Function):
    """After inplace_abn: the input is written over, declared, and the output kept."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        x.relu_()
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, grad):
        return grad * (ctx.saved_tensors[0] > 0)


@published(RIGHT, real(3), held(3, seed=4))
class ConstantByItsCaller(Function):
    """The second input does not require grad: what is made of it is a constant."""

    @staticmethod
    def forward(ctx, x, c):
        twice = 2 * c
        ctx.save_for_backward(x, twice)
        return twice * x.square()

    @staticmethod
    def backward(ctx, grad):
        x, twice = ctx.saved_tensors
        return 2 * grad * x * twice, None


@published(RIGHT, real(4, low=0.5, high=2.0))
class SquareByItsOutput(Function):
    """pytorch #18619: an output that is saved is followed, today."""

    @staticmethod
    def forward(ctx, x):
        y = x.square()
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return 2 * grad * y / x


@published(ESCAPED, real(3), slots=("ctx.between",))
class BetweenOnContext(Function):
    """pytorch #58509."""

    @staticmethod
    def forward(ctx, x):
        ctx.between = 2 * x
        return ctx.between.square()

    @staticmethod
    def backward(ctx, grad):
        return 4 * grad * ctx.between


@published(RIGHT, real(3, 4), call=lambda apply, x: apply(x)[0])
class LargestAndWhere(Function):
    @staticmethod
    def forward(ctx, x):
        top, where = torch.max(x, dim=1)
        ctx.save_for_backward(where)
        ctx.mark_non_differentiable(where)
        ctx.columns = x.shape[1]
        return top.clone(), where

    @staticmethod
    def backward(ctx, grad, _):
        (where,) = ctx.saved_tensors
        return grad.new_zeros(len(grad), ctx.columns).scatter(1, where.unsqueeze(1), grad.unsqueeze(1))


@published(ESCAPED, real(3), real(3, seed=1, low=0.1, high=1.2), slots=("ctx.kept['a'][0]", "ctx.kept['b'][0]"))
class InsideContainers(Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.kept = {"a": [torch.exp(x), 1], "b": (torch.sin(y), "text")}
        return ctx.kept["a"][0] * ctx.kept["b"][0]

    @staticmethod
    def backward(ctx, grad):
        first, second = ctx.kept["a"][0], ctx.kept["b"][0]
        return grad * first * second, grad * first * (1 - second.square()).sqrt()


class Keeper:
    """Any object that somebody hangs on ctx."""


@published(ESCAPED, real(3), slots=("ctx.keeper.e",))
class OnAnObject(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.keeper = Keeper()
        ctx.keeper.e = torch.exp(x)
        return x * ctx.keeper.e

    @staticmethod
    def backward(ctx, grad):
        e = ctx.keeper.e
        return grad * e * (1 + torch.log(e))


@published(ESCAPED, real(2, 3), real(2, 3, seed=1), real(2, 4, seed=2), slots=("saved_tensors[3]",))
class TanhAttention(Function):
    """pytorch #67916, with the weights kept and not returned."""

    @staticmethod
    def forward(ctx, q, k, v):
        weights = torch.tanh(q @ k.mT)
        ctx.save_for_backward(q, k, v, weights)
        return weights @ v

    @staticmethod
    def backward(ctx, grad):
        q, k, v, weights = ctx.saved_tensors
        inner = (grad @ v.mT) * (1 - weights.square())
        return inner @ k, inner.mT @ q, weights.mT @ grad


@published(ESCAPED, real(4), slots=("ctx.norm[1]",))
class NumberOfPython(Function):
    """A float by `item()` is a value like any other."""

    @staticmethod
    def forward(ctx, x):
        total = x.square().sum().item()
        ctx.norm = ("squared", 2 * total)
        ctx.save_for_backward(x)
        return total * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 0.5 * ctx.norm[1] * grad + 2 * x * (x * grad).sum()


@published(RIGHT, real(4))
class RoundedToEightBits(Function):
    """The scale comes from `item()`, and backward does not read it: straight through."""

    @staticmethod
    def forward(ctx, x):
        ctx.step = x.abs().max().item() / 127
        return ctx.step * torch.round(x / ctx.step)

    @staticmethod
    def backward(ctx, grad):
        return grad


@published(ESCAPED, real(3, 4, low=0.1, high=1.0), 0.7, slots=("saved_tensors[0]",))
class SoftWarping(Function):
    """Soft dynamic time warping in numpy, after pytorch-softdtw; the alignment is computed in forward."""

    @staticmethod
    def costs(distance, gamma):
        rows, columns = distance.shape
        total = np.full((rows + 2, columns + 2), np.inf)
        total[0, 0] = 0
        for i, j in np.ndindex(rows, columns):
            before = -np.array([total[i, j], total[i, j + 1], total[i + 1, j]]) / gamma
            total[i + 1, j + 1] = distance[i, j] - gamma * np.logaddexp.reduce(before)
        return total

    @staticmethod
    def alignment(distance, total, gamma):
        rows, columns = distance.shape
        wide = np.zeros((rows + 2, columns + 2))
        wide[1:-1, 1:-1] = distance
        total = total.copy()
        total[:, -1] = total[-1, :] = -np.inf
        total[-1, -1] = total[-2, -2]
        weight = np.zeros_like(wide)
        weight[-1, -1] = 1
        for i in range(rows, 0, -1):
            for j in range(columns, 0, -1):
                for a, b in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
                    weight[i, j] += weight[a, b] * np.exp((total[a, b] - total[i, j] - wide[a, b]) / gamma)
        return weight[1:-1, 1:-1]

    @staticmethod
    def forward(ctx, distance, gamma):
        numbers = distance.detach().numpy()
        total = SoftWarping.costs(numbers, gamma)
        ctx.save_for_backward(torch.from_numpy(SoftWarping.alignment(numbers, total, gamma).copy()))
        return distance.new_tensor(total[-2, -2])

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None


@published(RIGHT, real(5))
class OnlyCompared(Function):
    """A temporary that backward reads in comparisons alone."""

    @staticmethod
    def forward(ctx, x):
        shifted = 2 * x - 0.1
        ctx.save_for_backward(x, shifted)
        return torch.where(shifted > 0, x.square(), x)

    @staticmethod
    def backward(ctx, grad):
        x, shifted = ctx.saved_tensors
        return torch.where(shifted > 0, 2 * x * grad, grad)


@published(ESCAPED, real(3), slots=("ctx.up", "ctx.down"))
class SinhOfTheTutorial(Function):
    """SinhBad of PyTorch's tutorial on double backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.up, ctx.down = x.exp(), (-x).exp()
        return 0.5 * (ctx.up - ctx.down)

    @staticmethod
    def backward(ctx, grad):
        return 0.5 * grad * (ctx.up + ctx.down)


@published(RIGHT, real(3))
class TemporariesThatCancel(Function):
    """What the two leave out adds up to nothing: the second order is right."""

    @staticmethod
    def forward(ctx, x):
        ctx.up, ctx.down = x.exp(), (-x).exp()
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0] * (ctx.up * ctx.down)


# --- cut, and declared -----------------------------------------------------------------------------------------------


@published(CUT, real(3))
class DetachesInBackward(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        x = ctx.saved_tensors[0].detach()
        return 3 * x.square() * grad


@published(CUT, real(3))
class NoGradInBackward(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            slope = 3 * x.square()
        return grad * slope


@published("wrong_gradient", real(4, 4))
class NumpyFourier(Function):
    """BadFFTFunction of PyTorch's numpy tutorial: its backward is no derivative, and cuts the graph besides."""

    @staticmethod
    def forward(ctx, x):
        return torch.as_tensor(np.abs(np.fft.rfft2(x.detach().numpy())))

    @staticmethod
    def backward(ctx, grad):
        return torch.as_tensor(np.fft.irfft2(grad.detach().numpy()))


@published(RIGHT, real(3), call=lambda apply, x: apply(x)[0])
class CubeAndItsSlope(Function):
    """MyCube of PyTorch's documentation: the slope is an output, so that it may be kept."""

    @staticmethod
    def forward(x):
        return x**3, 3 * x.square()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx, grad, grad_slope):
        x, slope = ctx.saved_tensors
        return grad * slope + 6 * grad_slope * x
