"""Situations of public bug reports in a few lines each, with what the person who filed it needed to hear.

`REPORTS[name]`: the function, its inputs, and the codes under which it may be told (`correct` is one of them where
nothing was wrong). `# BUG` marks the line that has to be named; words that the report has to have stand in `says`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.checks.collection.contract import memory
from tests.checks.right.register import fresh, real


@dataclass
class Reported:
    fn: Callable
    given: tuple
    codes: tuple[str, ...]
    says: tuple[str, ...]

    @property
    def inputs(self) -> tuple:
        return tuple(map(fresh, self.given))


REPORTS: dict[str, Reported] = {}


def reported(*codes, inputs, says=()):
    """Decorate a function that returns what is to be checked."""

    def register(make):
        made = make()
        fn = made.apply if isinstance(made, type) else made
        REPORTS[make.__name__] = Reported(fn, inputs, codes, says)
        return make

    return register


def double(*numbers):
    """One number, or a tensor of some, or of rows of them."""
    given = numbers[0] if len(numbers) == 1 and not isinstance(numbers[0], list) else numbers
    return torch.tensor(given, dtype=torch.double).requires_grad_()


@reported(
    "wrong_gradient",
    "wrong_partial",
    inputs=(real(3, 4), real(5, 4, seed=1), torch.tensor([0, 3, 1])),
)
def scales_all_tokens_by_the_first():
    """A fused loss that scales its stored gradients by one element of what comes in. Liger-Kernel #968, #1298"""

    class ProjectedLoss(Function):
        @staticmethod
        def forward(ctx, hidden, head, labels):
            probability = F.softmax(hidden @ head.T, dim=1)
            picked = F.one_hot(labels, head.shape[0])
            gap = probability - picked
            ctx.save_for_backward(gap @ head, gap.T @ hidden)
            return -probability.gather(1, labels[:, None]).log().squeeze(1)

        @staticmethod
        def backward(ctx, grad_loss):
            grad_hidden, grad_head = ctx.saved_tensors
            return grad_hidden * grad_loss[0], grad_head * grad_loss[0], None  # BUG

    return ProjectedLoss


@reported(
    "wrong_order",
    "missing_gradient",
    "raises",
    "wrong_count",
    inputs=(double(-3.1, -0.4, 0.3, 1.2, 4.0), double(0.5), 3, double(0.1)),
)
def gives_its_nones_last():
    """Three gradients and then a None, where the third argument is a number. ZouJiu1/LSQplus #11"""

    class Quantise(Function):
        @staticmethod
        def forward(ctx, x, step, levels, shift):
            ctx.save_for_backward(x, step, shift)
            ctx.levels = levels
            whole = torch.round((x - shift) / step)
            return torch.clamp(whole, -levels, levels) * step + shift

        @staticmethod
        def backward(ctx, grad):
            x, step, shift = ctx.saved_tensors
            where = (x - shift) / step
            inside = where.abs() <= ctx.levels
            of_step = torch.where(inside, where.round() - where, where.sign() * ctx.levels)
            of_shift = (grad * ~inside).sum()
            return grad * inside, (grad * of_step).sum(), of_shift, None  # BUG

    return Quantise


@reported("input_mutated", inputs=(double([0.2, -0.3, 0.5]), torch.eye(1, 3, dtype=torch.double)))
def writes_its_gradient_over_its_input():
    """A loss kernel saves memory; softmax before it had kept that tensor. Liger-Kernel #254, #272, unsloth #5002"""

    class SquaredError(Function):
        @staticmethod
        def forward(ctx, guess, truth):
            gap = guess - truth
            loss = gap.square().sum()
            np.multiply(gap.numpy(), 2, out=guess.detach().numpy())  # BUG
            ctx.save_for_backward(guess)
            return loss

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.saved_tensors[0], None

    return lambda x, truth: SquaredError.apply(x.softmax(-1), truth)


@reported("layout_assumed", inputs=(double([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]),))
def reads_a_strided_gradient_as_contiguous():
    """A kernel's wrapper hands on a pointer; after it stands a transpose. flash-attention #355, mmcv #737"""

    class Square(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square()

        @staticmethod
        @once_differentiable
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 2 * x * memory(grad).reshape(x.shape)  # BUG

    weight = torch.arange(1.0, 7.0, dtype=torch.double).reshape(2, 3)
    return lambda x: Square.apply(x).mT * weight


@reported("wrong_jvp", inputs=(double(0.5, -1.0, 2.0), 0.1))
def gives_the_jacobian_for_the_tangent():
    """functorch #207, pytorch #121084"""

    class LeakySquare(Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x, slope):
            return torch.where(x > 0, x.square(), slope * x)

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, ctx.slope = inputs
            ctx.save_for_backward(x)
            ctx.save_for_forward(x)

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return torch.where(x > 0, 2 * x * grad, ctx.slope * grad), None

        @staticmethod
        def jvp(ctx, tangent, _):
            (x,) = ctx.saved_tensors
            return torch.where(x > 0, 2 * x, ctx.slope + 0 * x)  # BUG

    return LeakySquare


@torch.library.custom_op("reported::gate", mutates_args=())
def _gate(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return x.tanh() * w


@_gate.register_fake
def _(x, w):
    return torch.empty_like(x)


def _gate_setup(ctx, inputs, output):
    x, w = inputs
    t = x.tanh()  # BUG
    ctx.save_for_backward(t, w)


def _gate_backward(ctx, grad):
    t, w = ctx.saved_tensors
    return grad * w * (1 - t.square()), grad * t


_gate.register_autograd(_gate_backward, setup_context=_gate_setup)


@reported(
    "escaped_temporary",
    inputs=(double(0.5, -1.2, 0.8), double(1.0, 2.0, -0.5)),
    says=("reported::gate", "setup_context"),
)
def keeps_a_temporary_of_an_operator():
    """The trap of autograd.Function, by torch.library.register_autograd. pytorch #124071, TileOPs #649"""
    return _gate


@reported("escaped_temporary", "graph_cut_in_backward", "unexplained", inputs=(real(2, 3), real(3, 3, seed=1)))
def solves_its_adjoint_in_a_hook():
    """A fixed point with a hook on its result: right once, wrong twice. locuslab/deq #25"""

    def step(z, x, w):
        return torch.tanh(z @ (0.2 * w) + x)

    def equilibrium(x, w):
        with torch.no_grad():
            z = torch.zeros_like(x)
            for _ in range(150):
                z = step(z, x, w)
        z = step(z, x, w)
        z0 = z.detach().requires_grad_()
        f0 = step(z0, x, w)

        def adjoint(grad):
            u = grad
            for _ in range(150):
                u = grad + torch.autograd.grad(f0, z0, u, retain_graph=True)[0]
            return u

        z.register_hook(adjoint)
        return z

    return equilibrium


@reported("missing_gradient", inputs=(double(1.0, 2.0), double(3.0)))
def hides_its_tensors_in_a_list():
    """pytorch #55509, #103155, microsoft/nni #4039"""

    class SumOfSquares(Function):
        @staticmethod
        def forward(ctx, parts):
            ctx.save_for_backward(*parts)
            return torch.stack([part.square().sum() for part in parts]).sum()

        @staticmethod
        def backward(ctx, grad):
            return [2 * grad * part for part in ctx.saved_tensors]

    return lambda a, b: a.sum() + SumOfSquares.apply([a, b])  # BUG


@reported("correct", inputs=(real(2, 4),))
def is_linear_so_its_second_derivative_is_zero():
    """pytorch #38506, #4896"""
    generator = torch.Generator().manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1)).double()
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.double)
    return net


@reported(
    "raises",
    inputs=(real(2, 3, dtype=torch.float32), real(3, 4, seed=1, dtype=torch.float32)),
    says=("custom_bwd",),
)
def multiplies_outside_of_autocast():
    """pytorch #47906, #87979, #38487"""

    class TanhLayer(Function):
        @staticmethod
        def forward(ctx, x, w):
            y = (x @ w).tanh()
            ctx.save_for_backward(x, w, y)
            return y

        @staticmethod
        def backward(ctx, grad):
            x, w, y = ctx.saved_tensors
            inner = grad * (1 - y.square())
            return inner @ w.T, x.T @ inner  # BUG

    def under_autocast(x, w):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = TanhLayer.apply(x, w)
        return y.float().pow(2).mean()

    return under_autocast


@reported("wrong_gradient", "wrong_partial", inputs=(real(4, 3), real(3, seed=1)))
def lets_pytorch_sum_what_is_too_large():
    """Shapes fit since PyTorch sums over the batch without a word. pytorch #65244, #144228"""

    class Scale(Function):
        @staticmethod
        def forward(ctx, x, scale):
            ctx.save_for_backward(x, scale)
            return x * scale

        @staticmethod
        def backward(ctx, grad):
            x, scale = ctx.saved_tensors
            return grad * scale, grad * x.mean(0)  # BUG

    return Scale


@reported("captured_value_mutated", inputs=(double(1.0, -2.0, 0.5),))
def reads_the_statistic_of_a_later_call():
    """pytorch #24413, pyro #1049"""

    class Whiten(Function):
        @staticmethod
        def forward(ctx, x, running):
            running.mul_(0.5).add_(x.detach().abs().mean() / 2)
            ctx.running = running  # BUG
            return x / running

        @staticmethod
        def backward(ctx, grad):
            return grad / ctx.running, None

    def twice(x):
        running = torch.ones((), dtype=x.dtype)
        first = Whiten.apply(x, running)
        return first + 3 * Whiten.apply(2 * x, running)

    return twice


@reported("correct", inputs=(real(2, 3),))
def shares_a_weight_between_checkpoints():
    """pytorch #81296"""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(3, 3, dtype=torch.double, generator=generator)
    return lambda x: checkpoint(lambda t: (t @ weight).tanh(), x, use_reentrant=True)


@reported("unverified", "not_repeatable", "correct", "wrong_gradient", inputs=(double(-1.0, -2.0, 3.0, -0.5),))
def draws_anew_under_a_checkpoint():
    """pytorch #193671: backward reads noise that the second forward has not written, whatever stands there."""
    noisy = nn.RReLU(0.1, 0.9)

    def saved(x):
        torch.manual_seed(7)
        return checkpoint(noisy, x, use_reentrant=False)

    return saved


@reported("escaped_temporary", "stop_gradient_on_input", "graph_cut_in_backward", inputs=(double(2.0, 3.0, 4.0), 0.5))
def keeps_an_inner_graph():
    """gradcheck passes, gradgradcheck does not. pytorch #99523"""

    class Inner(Function):
        @staticmethod
        def forward(ctx, x, p):
            with torch.enable_grad():
                ctx.leaf = x.detach().requires_grad_()  # BUG
                ctx.out = ctx.leaf**3 + p * ctx.leaf**2
            return ctx.out.detach()

        @staticmethod
        def backward(ctx, grad):
            return torch.autograd.grad(ctx.out, ctx.leaf, grad, create_graph=True)[0], None

    return Inner


@reported("wrong_gradient", "wrong_partial", "missing_use", inputs=(double(0.5, -1.0, 2.0),))
def misses_a_term_of_its_slope():
    """The plainest fault of all: gradcheck fails. discuss.pytorch.org 25946, tt-metal #6598"""

    class FastGelu(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * torch.sigmoid(1.702 * x)

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            s = torch.sigmoid(1.702 * x)
            return grad * (s + x * s * (1 - s))  # BUG

    return FastGelu


HALF = 2**-0.5


@reported("correct", inputs=(real(1, 1, 8, dtype=torch.float32), torch.tensor([[HALF, HALF], [HALF, -HALF]])))
def is_right_in_single_precision():
    """gradcheck in float32 frightened the asker. KeKsBoTer/torch-dwt #2"""

    class Wavelet(Function):
        @staticmethod
        def forward(ctx, x, bank):
            ctx.save_for_backward(bank)
            return F.conv1d(x, bank.unsqueeze(1), stride=2)

        @staticmethod
        def backward(ctx, grad):
            (bank,) = ctx.saved_tensors
            return F.conv_transpose1d(grad, bank.unsqueeze(1), stride=2), None

    return Wavelet


@reported("correct", "unverified", inputs=(double([0.5, -1.0], [2.0, 3.0]),))
def takes_per_sample_gradients():
    """vmap(grad(f)) over a Function. functorch #296, #207, pytorch #144639"""

    class Cube(Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x * x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(inputs[0])

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 3 * x * x * grad

    return lambda xs: torch.func.vmap(torch.func.grad(lambda x: Cube.apply(x).sum()))(xs)


@reported("ignored_output_gradient", inputs=(double(0.5, -1.2, 0.8),), says=("grad_slope",))
def returns_a_slope_and_ignores_its_gradient():
    """The half-done cure. openmm/NNPOps #103"""

    class EnergyAndSlope(Function):
        @staticmethod
        def forward(ctx, r):
            slope = 4 * r**3 - 2 * r
            ctx.save_for_backward(slope)
            return (r**4 - r**2).sum(), slope

        @staticmethod
        def backward(ctx, grad_energy, grad_slope):  # BUG
            (slope,) = ctx.saved_tensors
            return grad_energy * slope

    return EnergyAndSlope
