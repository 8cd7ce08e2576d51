"""What networks are made of, of torch.nn.functional: losses, normalisations, windows of images. None needs a rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import torch

from . import choosing
from .composed import chosen, composed, pair, values_of, windows_of
from .methods import UnsupportedError, pad, where


def reduced(losses, reduction: str):
    chosen("reduction", reduction, ("mean", "sum", "none"))
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


@composed
def mse_loss(x, target, *, reduction: str = "mean", weight=None):
    losses = (x - target).square()
    return reduced(losses if weight is None else losses * weight, reduction)


@composed
def l1_loss(x, target, *, reduction: str = "mean", weight=None):
    losses = (x - target).abs()
    return reduced(losses if weight is None else losses * weight, reduction)


@composed
def smooth_l1_loss(x, target, *, reduction: str = "mean", beta: Real = 1.0):
    away = (x - target).abs()
    return reduced(away if not beta else where(away < beta, away.square() * (0.5 / beta), away - 0.5 * beta), reduction)


@composed
def huber_loss(x, target, reduction: str = "mean", delta: Real = 1.0, weight=None):
    away = (x - target).abs()
    losses = where(away <= delta, away.square() * 0.5, (away - 0.5 * delta) * delta)
    return reduced(losses if weight is None else losses * weight, reduction)


@composed
def binary_cross_entropy(x, target, weight=None, *, reduction: str = "mean"):
    losses = -(target * x.log().clamp(min=-100) + (1 - target) * (1 - x).log().clamp(min=-100))
    return reduced(losses if weight is None else losses * weight, reduction)


@composed
def binary_cross_entropy_with_logits(x, target, weight=None, *, reduction: str = "mean", pos_weight=None):
    factor = 1.0 if pos_weight is None else (pos_weight - 1) * target + 1
    losses = (1 - target) * x - x.logsigmoid() * factor
    return reduced(losses if weight is None else losses * weight, reduction)


@composed
def soft_margin_loss(x, target, *, reduction: str = "mean"):
    return reduced((-target * x).softplus(), reduction)


@composed
def margin_ranking_loss(input1, input2, target, margin: Real = 0.0, *, reduction: str = "mean"):
    return reduced((-target * (input1 - input2) + margin).relu(), reduction)


@composed
def hinge_embedding_loss(x, target, margin: Real = 1.0, *, reduction: str = "mean"):
    return reduced(where(target == 1, x, where(target == -1, (margin - x).relu(), 0.0 * x)), reduction)


@composed
def cosine_embedding_loss(input1, input2, target, margin: Real = 0, *, reduction: str = "mean"):
    near = cosine_similarity(input1, input2, -1, 1e-12)
    return reduced(where(target == 1, 1 - near, (near - margin).relu()), reduction)


@composed
def triplet_margin_loss(
    anchor,
    positive,
    negative,
    margin: Real = 1.0,
    p: Real = 2,
    eps: Real = 1e-6,
    swap=False,
    *,
    reduction: str = "mean",
):
    far = pairwise_distance(anchor, negative, p, eps)
    far = far.minimum(pairwise_distance(positive, negative, p, eps)) if swap else far
    return reduced((pairwise_distance(anchor, positive, p, eps) - far + margin).relu(), reduction)


@composed
def poisson_nll_loss(
    x, target, log_input: bool = True, full: bool = False, eps: Real = 1e-8, *, reduction: str = "mean"
):
    losses = x.exp() - target * x if log_input else x - target * (x + eps).log()
    if full:
        stirling = target * target.log() - target + (target * (2 * math.pi)).log() * 0.5
        losses = losses + choosing.masked(stirling, target <= 1)
    return reduced(losses, reduction)


@composed
def gaussian_nll_loss(x, target, var, full: bool = False, eps: Real = 1e-6, *, reduction: str = "mean"):
    if isinstance(var, Real):
        var = torch.full(tuple(x.shape), float(var), dtype=x.dtype)
    var = var.unsqueeze(-1) if tuple(var.shape) == tuple(x.shape[:-1]) != tuple(x.shape) else var
    held = var + (var.detach().clamp(eps) - var.detach())  # at least eps, and yet with var's gradient
    losses = (held.log() + (x - target) ** 2 / held) * 0.5
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


@composed
def kl_div(x, target, *, reduction: str = "mean", log_target: bool = False):
    if log_target:
        losses = target.exp() * (target - x)
    else:
        losses = target * (where(target == 0, 1.0, target).log() - x)
    return losses.sum() / x.shape[0] if reduction == "batchmean" else reduced(losses, reduction)


@composed
def nll_loss(x, target, weight=None, *, ignore_index: int = -100, reduction: str = "mean"):
    """Of log-probabilities (n, classes, …), and the right classes (n, …)."""
    target = getattr(target, "value", target)
    dim = 1 if x.ndim > 1 else 0
    counted = target != ignore_index
    places = target.masked_fill(~counted, 0)
    weights = counted.to(x.dtype) if weight is None else getattr(weight, "value", weight)[places] * counted
    losses = -x.gather(dim, places.unsqueeze(dim)).squeeze(dim) * weights
    return losses.sum() / weights.sum() if reduction == "mean" else reduced(losses, reduction)


@composed
def cross_entropy(
    x, target, weight=None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: Real = 0.0
):
    """Of logits (n, classes, …), and the right classes, or their probabilities."""
    dim = 1 if x.ndim > 1 else 0
    logs = x.log_softmax(dim)
    if not target.dtype.is_floating_point:
        if label_smoothing:
            raise UnsupportedError("cross_entropy(…, label_smoothing=…): only with probabilities as target.")
        return nll_loss(logs, target, weight, ignore_index=ignore_index, reduction=reduction)
    if tuple(target.shape) != tuple(x.shape):
        raise UnsupportedError(
            f"cross_entropy: the target holds floats, which are probabilities, and has shape {tuple(target.shape)}, "
            f"not {tuple(x.shape)}. The right classes are whole numbers: target.long()."
        )
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / x.shape[dim]
    shape = [-1 if at == dim else 1 for at in range(x.ndim)]
    losses = -(logs * target * (1.0 if weight is None else weight.reshape(shape))).sum(dim)
    return losses.sum() / math.prod(losses.shape) if reduction == "mean" else reduced(losses, reduction)


@composed
def cosine_similarity(x1, x2, dim: int = 1, eps: Real = 1e-8):
    shape = torch.broadcast_shapes(x1.shape, x2.shape)  # a dimension of size 1 counts as often as it is repeated
    x1, x2 = x1.expand(*shape), x2.expand(*shape)
    product = (x1 * x2).sum(dim)
    return product / (x1.norm(2, dim).clamp(min=eps) * x2.norm(2, dim).clamp(min=eps))


@composed
def pairwise_distance(x1, x2, p: Real = 2.0, eps: Real = 1e-6, keepdim: bool = False):
    return (x1 - x2 + eps).norm(p, -1, keepdim)


@composed
def normalize(x, p: Real = 2.0, dim: int = 1, eps: Real = 1e-12):
    return x / x.norm(p, dim, True).clamp(min=eps)


@composed
def layer_norm(x, normalized_shape: Sequence[int], weight=None, bias=None, eps: Real = 1e-5):
    dims = tuple(range(-len(normalized_shape), 0))
    away = x - x.mean(dims, True)
    return scaled_and_shifted(away * (away.square().mean(dims, True) + eps).rsqrt(), weight, bias)


@composed
def rms_norm(x, normalized_shape: Sequence[int], weight=None, eps: Real | None = None):
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    dims = tuple(range(-len(normalized_shape), 0))
    return scaled_and_shifted(x * (x.square().mean(dims, True) + eps).rsqrt(), weight, None)


@composed
def group_norm(x, num_groups: int, weight=None, bias=None, eps: Real = 1e-5):
    n, channels, *rest = x.shape
    groups = x.reshape(n, num_groups, channels // num_groups * math.prod(rest))
    shape = (1, channels, *(1,) * len(rest))
    normal = layer_norm(groups, groups.shape[-1:], eps=eps).reshape(x.shape)
    return scaled_and_shifted(normal, *[each if each is None else each.reshape(shape) for each in (weight, bias)])


@composed
def batch_norm(
    x, running_mean, running_var, weight=None, bias=None, training: bool = False, momentum=0.1, eps: Real = 1e-5
):
    """What is given as running mean and variance is read, and never changed."""
    if x.ndim < 2:
        raise UnsupportedError("batch_norm: of at least two dimensions, (n, channels, …).")
    dims, shape = (0, *range(2, x.ndim)), (1, x.shape[1], *(1,) * (x.ndim - 2))
    if training:
        mean, var = x.mean(dims, True), x.var(dims, False, True)
    else:
        mean, var = running_mean.reshape(shape), running_var.reshape(shape)
    normal = (x - mean) * (var + eps) ** -0.5
    return scaled_and_shifted(normal, *[each if each is None else each.reshape(shape) for each in (weight, bias)])


def scaled_and_shifted(x, weight, bias):
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


@composed
def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """The rows of `weight` at these places."""
    for name, asked in (
        ("padding_idx", padding_idx),
        ("max_norm", max_norm),
        ("scale_grad_by_freq", scale_grad_by_freq),
    ):
        if asked is not None and asked is not False:
            raise UnsupportedError(f"embedding(…, {name}=…) is not there on Variables. Leave it out.")
    return weight[getattr(input, "value", input)]


@composed
def dropout(x, p: float = 0.5, training: bool = True, inplace: bool = False):
    return x * dropped(x, p) if training and p else x


def dropped(x, p: float) -> torch.Tensor:
    """1 / (1 - p), or 0 with probability p: the numbers that torch draws for x."""
    return torch.dropout(torch.ones(tuple(x.shape), dtype=x.dtype, device=x.device), p, True)


@composed
def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p: float = 0.0, is_causal: bool = False, scale=None, enable_gqa=False
):
    """softmax(query @ key.mT / sqrt(size) + mask) @ value. `enable_gqa`: heads of the query share those of the key."""
    if enable_gqa:
        key, value = (shared(x, query.shape[-3] // x.shape[-3]) for x in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~getattr(attn_mask, "value", attn_mask), -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(-1)
    return dropout(weights, dropout_p) @ value


def shared(x, times: int):
    """Each head so many times, one behind the other."""
    *batch, heads, length, size = x.shape
    apart = x.unsqueeze(-3).expand(*batch, heads, times, length, size)
    return apart.reshape(*batch, heads * times, length, size)


@composed
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups: int = 1):
    """Cross-correlation of images ((n,) channels, height, width), by their windows."""
    out, channels, *kernel = weight.shape
    images, dilation = x if x.ndim == 4 else x.unsqueeze(0), pair(dilation)
    images = pad(images, around(padding, kernel, dilation)) if padding not in (0, "valid") else images
    windows = windows_of(images, tuple(kernel), pair(stride), (0, 0), dilation)
    n, _, high, wide, *_ = windows.shape
    columns = windows.reshape(n, groups, channels, high, wide, *kernel).permute(0, 1, 3, 4, 2, 5, 6)
    rows = weight.reshape(groups, out // groups, channels * math.prod(kernel))
    product = columns.reshape(n, groups, high * wide, channels * math.prod(kernel)) @ rows.mT
    product = product.mT.reshape(n, out, high, wide)
    product = product if bias is None else product + bias.reshape(-1, 1, 1)
    return product if x.ndim == 4 else product.squeeze(0)


def around(padding, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """What is put before and behind each dimension, from the last on, as torch's pad takes it."""
    if padding == "same":
        missing = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple(part for each in reversed(missing) for part in (each // 2, each - each // 2))
    return tuple(part for each in reversed(pair(padding)) for part in (each, each))


@composed
def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups: int = 1):
    stride, dilation = ((1, each if isinstance(each, int) else each[0]) for each in (stride, dilation))
    padding = padding if isinstance(padding, str) else (0, padding if isinstance(padding, int) else padding[0])
    return conv2d(x.unsqueeze(-2), weight.unsqueeze(-2), bias, stride, padding, dilation, groups).squeeze(-2)


@composed
def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    padding, kernel = pair(padding), pair(kernel_size)
    given = torch.ones(1, *x.shape[-2:], dtype=x.dtype, device=x.device)
    size = torch.nn.functional.avg_pool2d(given, kernel, stride, padding, ceil_mode).shape[-2:]
    sums = summed_windows(x, kernel, stride, padding, size)
    if divisor_override is not None or count_include_pad and not ceil_mode:
        return sums / (divisor_override or math.prod(kernel))
    if count_include_pad:  # of what a window has beyond the padding nothing is counted
        given = pad(given, around(padding, kernel, (1, 1)), value=1.0)
        padding = (0, 0)
    return sums / summed_windows(given, kernel, stride, padding, size).squeeze(0)


def summed_windows(x, kernel: tuple, stride, padding: tuple, size: Sequence[int]):
    """The sums of so many windows; the last ones may go beyond the padding."""
    stride = kernel if stride in (None, (), []) else pair(stride)
    high, wide = (
        max(0, (count - 1) * s + k - n - p) for count, s, k, n, p in zip(size, stride, kernel, x.shape[-2:], padding)
    )
    images = x if x.ndim == 4 else x.unsqueeze(0)
    images = pad(images, (padding[1], wide, padding[0], high))
    sums = windows_of(images, kernel, stride, (0, 0), (1, 1)).sum((-2, -1))[..., : size[0], : size[1]]
    return sums if x.ndim == 4 else sums.squeeze(0)


@composed
def adaptive_avg_pool2d(x, output_size):
    """Means of output_size windows, which cover the image and may overlap by one: as products with their weights."""
    asked = pair(output_size)
    rows, columns = (means_of(n, n if out is None else out, x) for n, out in zip(x.shape[-2:], asked))
    return rows @ x @ columns.mT


def means_of(n: int, out: int, like) -> torch.Tensor:
    """(out, n): the weights with which each of n counts in each of `out` means."""
    starts = torch.arange(out) * n // out
    ends = ((torch.arange(out) + 1) * n + out - 1) // out
    at = torch.arange(n)
    inside = ((at >= starts.unsqueeze(1)) & (at < ends.unsqueeze(1))).to(like.dtype)
    return (inside / inside.sum(1, keepdim=True)).to(like.device)


@composed
def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    images = values_of("max_pool2d", x)
    _, places = torch.nn.functional.max_pool2d(images, kernel_size, stride, padding, dilation, ceil_mode, True)
    found = x.flatten(-2).gather(-1, places.flatten(-2)).reshape(places.shape)
    return (found, places) if return_indices else found


@composed
def max_pool2d_with_indices(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=True):
    return max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, True)
