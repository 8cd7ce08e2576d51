"""Custom operators of torch.library, with a backward registered for each."""

import torch

from tests.checks.right.register import Cases, real

right = Cases()


@torch.library.custom_op("rightops::gate", mutates_args=())
def gate(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x) * w


@gate.register_fake
def _(x, w):
    return torch.empty_like(x)


def gate_setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def gate_backward(ctx, g):
    x, w = ctx.saved_tensors
    t = torch.tanh(x)
    return g * w * (1 - t * t), g * t


gate.register_autograd(gate_backward, setup_context=gate_setup)
right.add("GateOperator", gate, real(3), real(3, seed=1), mutable=False)


@torch.library.custom_op("rightops::affine", mutates_args=())
def affine(x: torch.Tensor, scale: float, bias: torch.Tensor) -> torch.Tensor:
    return x * scale + bias


@affine.register_fake
def _(x, scale, bias):
    return torch.empty_like(x)


def affine_setup(ctx, inputs, output):
    ctx.scale = inputs[1]


def affine_backward(ctx, g):
    return g * ctx.scale, None, g


affine.register_autograd(affine_backward, setup_context=affine_setup)
right.add("AffineOperator", affine, real(3), 1.5, real(3, seed=1), mutable=False)


@torch.library.custom_op("rightops::stats", mutates_args=())
def stats(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.sum(-1), x.square().sum(-1)


@stats.register_fake
def _(x):
    return x.new_empty(x.shape[:-1]), x.new_empty(x.shape[:-1])


def stats_setup(ctx, inputs, output):
    ctx.save_for_backward(inputs[0])


def stats_backward(ctx, g_sum, g_square):
    (x,) = ctx.saved_tensors
    return g_sum[..., None] + 2 * x * g_square[..., None]


stats.register_autograd(stats_backward, setup_context=stats_setup)
right.add("StatsOperator", stats, real(2, 3), mutable=False)
