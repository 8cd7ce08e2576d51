"""What networks are made of, of torch.nn.functional: losses, normalisations, attention. None needs a rule."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Real

import torch

from . import choosing
from .arranging import scatter_reduce
from .composed import chosen, composed, formula, leaky_relu
from .methods import UnsupportedError, raw, values_of, where


def reduced(losses, reduction: str):
    chosen("reduction", reduction, ("mean", "sum", "none"))
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def loss(of_each: Callable) -> Callable:
    """One that is computed of each element, or each row: it takes `reduction`, which says what is made of them all."""

    @functools.wraps(of_each)
    def function(*args, reduction: str = "mean", **kwargs):
        return reduced(of_each(*args, **kwargs), reduction)

    own = inspect.signature(of_each)
    reduction = inspect.Parameter("reduction", inspect.Parameter.KEYWORD_ONLY, default="mean")
    function.__signature__ = own.replace(parameters=[*own.parameters.values(), reduction])  # type: ignore[attr-defined]
    return composed(function)


def weighted(losses, weight):
    return losses if weight is None else losses * weight


def check_target(name: str, target, wanted: Sequence[int]) -> None:
    if tuple(target.shape) != tuple(wanted):
        raise UnsupportedError(f"{name}: the target has shape {tuple(target.shape)}, not {tuple(wanted)}.")


formula("mse_loss", lambda x, target, *, weight=None: weighted((x - target).square(), weight), loss)
formula("l1_loss", lambda x, target, *, weight=None: weighted((x - target).abs(), weight), loss)
formula("soft_margin_loss", lambda x, target: (-target * x).softplus(), loss)
formula(
    "margin_ranking_loss",
    lambda input1, input2, target, margin=0.0: (-target * (input1 - input2) + margin).relu(),
    loss,
)


@loss
def smooth_l1_loss(x, target, *, beta: Real = 1.0):
    away = (x - target).abs()
    return where(away < beta, away.square() * (0.5 / beta), away - 0.5 * beta) if beta else away


@composed
def huber_loss(x, target, reduction: str = "mean", delta: Real = 1.0, weight=None):
    away = (x - target).abs()
    losses = where(away <= delta, away.square() * 0.5, (away - 0.5 * delta) * delta)
    return reduced(weighted(losses, weight), reduction)


@loss
def binary_cross_entropy(x, target, weight=None):
    check_target("binary_cross_entropy", target, x.shape)
    losses = -(target * x.log().clamp(min=-100) + (1 - target) * (1 - x).log().clamp(min=-100))
    return weighted(losses, weight)


@loss
def binary_cross_entropy_with_logits(x, target, weight=None, *, pos_weight=None):
    check_target("binary_cross_entropy_with_logits", target, x.shape)
    factor = 1.0 if pos_weight is None else (pos_weight - 1) * target + 1
    return weighted((1 - target) * x - x.logsigmoid() * factor, weight)


@loss
def hinge_embedding_loss(x, target, margin: Real = 1.0):
    return where(target != -1, x, 0.0) + where(target != 1, (margin - x).relu(), 0.0)


@loss
def cosine_embedding_loss(input1, input2, target, margin: Real = 0):
    near = cosine_similarity(input1, input2, -1, 1e-12)
    return where(target == 1, 1 - near, (near - margin).relu())


@loss
def triplet_margin_loss(anchor, positive, negative, margin: Real = 1.0, p: Real = 2, eps: Real = 1e-6, swap=False):
    return of_triplet(anchor, positive, negative, lambda a, b: pairwise_distance(a, b, p, eps), margin, swap)


@loss
def triplet_margin_with_distance_loss(
    anchor, positive, negative, *, distance_function=None, margin: Real = 1.0, swap: bool = False
):
    return of_triplet(anchor, positive, negative, distance_function or pairwise_distance, margin, swap)


def of_triplet(anchor, positive, negative, distance: Callable, margin: Real, swap: bool):
    far = distance(anchor, negative)
    far = far.minimum(distance(positive, negative)) if swap else far
    return (distance(anchor, positive) - far + margin).relu()


@loss
def poisson_nll_loss(x, target, log_input: bool = True, full: bool = False, eps: Real = 1e-8):
    losses = x.exp() - target * x if log_input else x - target * (x + eps).log()
    if full:
        stirling = target * target.log() - target + (target * (2 * math.pi)).log() * 0.5
        losses = losses + choosing.masked(stirling, target <= 1)
    return losses


@loss
def gaussian_nll_loss(x, target, var, full: bool = False, eps: Real = 1e-6):
    if isinstance(var, Real):
        var = torch.full(tuple(x.shape), float(var), dtype=x.dtype)
    var = var.unsqueeze(-1) if tuple(var.shape) == tuple(x.shape[:-1]) != tuple(x.shape) else var
    held = var + (var.detach().clamp(eps) - var.detach())  # at least eps, and yet with var's gradient
    losses = (held.log() + (x - target) ** 2 / held) * 0.5
    return losses + 0.5 * math.log(2 * math.pi) if full else losses


@loss
def multi_margin_loss(x, target, p: int = 1, margin: Real = 1.0, weight=None):
    rows = x if x.ndim == 2 else x.reshape(1, -1)
    target = raw(target).reshape(-1, 1)
    beyond = (rows - rows.gather(1, target) + margin).relu() ** p
    beyond = weighted(beyond, None if weight is None else raw(weight)[target])
    losses = beyond.scatter(1, target, 0.0).sum(1) / rows.shape[1]
    return losses if x.ndim == 2 else losses.reshape(())


@loss
def multilabel_margin_loss(x, target):
    """`target`: in each row the right classes, up to the first -1."""
    rows, target = (each.reshape(-1, each.shape[-1]) for each in (x, raw(target)))
    asked = (target == -1).cumsum(1) == 0
    places = target.masked_fill(~asked, 0)
    right = torch.zeros_like(target).scatter_add(1, places, asked.long()) > 0
    between = (1 - (rows.gather(1, places).unsqueeze(2) - rows.unsqueeze(1))).relu()
    losses = choosing.masked(between, ~asked.unsqueeze(2) | right.unsqueeze(1)).sum((1, 2)) / rows.shape[1]
    return losses if x.ndim == 2 else losses.reshape(())


@loss
def multilabel_soft_margin_loss(x, target, weight=None):
    return weighted(-(target * x.logsigmoid() + (1 - target) * (-x).logsigmoid()), weight).mean(-1)


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
    target = raw(target)
    dim = 1 if x.ndim > 1 else 0
    check_target("nll_loss", target, [n for at, n in enumerate(x.shape) if at != dim])
    counted = target != ignore_index
    places = target.masked_fill(~counted, 0)
    weights = counted.to(x.dtype) if weight is None else raw(weight)[places] * counted
    losses = -x.gather(dim, places.unsqueeze(dim)).squeeze(dim) * weights
    return losses.sum() / weights.sum() if reduction == "mean" else reduced(losses, reduction)


def smoothed(losses, logs, target, weight, ignore_index: int, reduction: str, share: float):
    """A share of the loss for every class alike: of the mean, over as much weight as the rest has."""
    dim = 1 if logs.ndim > 1 else 0
    target = raw(target)
    counted = target != ignore_index
    weights = None if weight is None else raw(weight)
    shape = [-1 if at == dim else 1 for at in range(logs.ndim)]
    everywhere = -(logs if weights is None else logs * weights.reshape(shape)).sum(dim)
    everywhere = choosing.masked(everywhere, ~counted)
    if reduction == "mean":
        total = counted.to(logs.dtype)
        total = total if weights is None else weights[target.masked_fill(~counted, 0)] * total
        everywhere = everywhere.sum() / total.sum()
    else:
        everywhere = reduced(everywhere, reduction)
    return losses * (1 - share) + everywhere * (share / logs.shape[dim])


@composed
def cross_entropy(
    x, target, weight=None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: Real = 0.0
):
    """Of logits (n, classes, …), and the right classes, or their probabilities."""
    dim = 1 if x.ndim > 1 else 0
    logs = x.log_softmax(dim)
    if not target.dtype.is_floating_point:
        losses = nll_loss(logs, target, weight, ignore_index=ignore_index, reduction=reduction)
        if not label_smoothing:
            return losses
        return smoothed(losses, logs, target, weight, ignore_index, reduction, label_smoothing)
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


formula("normalize", lambda x, p=2.0, dim=1, eps=1e-12: x / x.norm(p, dim, True).clamp(min=eps))


def normalized(name: str, x, shape: Sequence[int]) -> tuple[int, ...]:
    """The last dimensions, which have this shape."""
    if isinstance(shape, int) or tuple(x.shape[x.ndim - len(shape) :]) != tuple(shape):
        said = f"normalized_shape is {shape}, and x has shape {tuple(x.shape)}"
        raise UnsupportedError(f"{name}: {said}. Write x.shape[-1:].")
    return tuple(range(-len(shape), 0))


@composed
def layer_norm(x, normalized_shape: Sequence[int], weight=None, bias=None, eps: Real = 1e-5):
    dims = normalized("layer_norm", x, normalized_shape)
    away = x - x.mean(dims, True)
    return scaled_and_shifted(away * (away.square().mean(dims, True) + eps).rsqrt(), weight, bias)


@composed
def rms_norm(x, normalized_shape: Sequence[int], weight=None, eps: Real | None = None):
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    dims = normalized("rms_norm", x, normalized_shape)
    return scaled_and_shifted(x * (x.square().mean(dims, True) + eps).rsqrt(), weight, None)


@composed
def group_norm(x, num_groups: int, weight=None, bias=None, eps: Real = 1e-5):
    n, channels, *rest = x.shape
    groups = x.reshape(n, num_groups, channels // num_groups * math.prod(rest))
    normal = layer_norm(groups, groups.shape[-1:], eps=eps).reshape(x.shape)
    return scaled_and_shifted(normal, *for_channels(x, weight, bias))


@composed
def batch_norm(
    x, running_mean, running_var, weight=None, bias=None, training: bool = False, momentum=0.1, eps: Real = 1e-5
):
    """What is given as running mean and variance is read, and never changed."""
    if x.ndim < 2:
        raise UnsupportedError("batch_norm: of at least two dimensions, (n, channels, …).")
    if training:
        dims = (0, *range(2, x.ndim))
        mean, var = x.mean(dims, True), x.var(dims, False, True)
    else:
        mean, var = for_channels(x, running_mean, running_var)
    return scaled_and_shifted((x - mean) * (var + eps) ** -0.5, *for_channels(x, weight, bias))


@composed
def instance_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    """What is given as running mean and variance is read, and never changed."""
    if use_input_stats:
        normal = layer_norm(x, x.shape[2:], eps=eps)
    else:
        mean, var = for_channels(x, running_mean, running_var)
        normal = (x - mean) * (var + eps) ** -0.5
    return scaled_and_shifted(normal, *for_channels(x, weight, bias))


def for_channels(x, *each) -> list:
    """Numbers of each channel, shaped to go with x, (n, channels, …)."""
    shape = (1, x.shape[1], *[1] * (x.ndim - 2))
    return [one if one is None else one.reshape(shape) for one in each]


def scaled_and_shifted(x, weight, bias):
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


@composed
def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """The rows of `weight` at these places."""
    refused = {"padding_idx": padding_idx, "max_norm": max_norm, "scale_grad_by_freq": scale_grad_by_freq}
    for name, asked in refused.items():
        if asked is not None and asked is not False:
            raise UnsupportedError(f"embedding(…, {name}=…) is not there on Variables. Leave it out.")
    return weight[raw(input)]


@composed
def embedding_bag(
    input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode: str = "mean",
    sparse=False, per_sample_weights=None, include_last_offset: bool = False, padding_idx: int | None = None,
):  # fmt: skip
    """Of the rows of `weight` at these places, the mean, the sum or the largest of each bag."""
    chosen("mode", mode, ("mean", "sum", "max"))
    if max_norm is not None or scale_grad_by_freq:
        raise UnsupportedError("embedding_bag(…) takes no max_norm and no scale_grad_by_freq on Variables.")
    places = raw(input)
    count, bags = bags_of(places, offsets, include_last_offset)
    places, factors = places.reshape(-1), None if per_sample_weights is None else per_sample_weights.reshape(-1, 1)
    if padding_idx is not None:
        kept = places != padding_idx % weight.shape[0]
        places, bags, factors = places[kept], bags[kept], None if factors is None else factors[kept]
    rows = weight[places] if factors is None else weight[places] * factors
    zeros = torch.zeros(count, weight.shape[1], dtype=weight.dtype, device=weight.device)
    index = bags.unsqueeze(1).expand(-1, weight.shape[1])
    reduce = {"max": "amax"}.get(mode, mode)
    return scatter_reduce(zeros, 0, index, rows, reduce, include_self=False)


def bags_of(places: torch.Tensor, offsets, include_last_offset: bool) -> tuple[int, torch.Tensor]:
    """How many bags there are, and that of each place."""
    if offsets is None:
        count, size = places.shape
        return count, torch.arange(count, device=places.device).repeat_interleave(size)
    offsets = raw(offsets)
    at = torch.arange(places.shape[0], dtype=offsets.dtype, device=places.device)
    return offsets.shape[0] - include_last_offset, torch.searchsorted(offsets, at, right=True) - 1


@composed
def bilinear(input1, input2, weight, bias=None):
    """input1 @ weight[k] @ input2, for each k."""
    halves = input1.unsqueeze(-2).unsqueeze(-2) @ weight  # (…, k, 1, size of input2)
    product = (halves.squeeze(-2) * input2.unsqueeze(-2)).sum(-1)
    return product if bias is None else product + bias


@composed
def rrelu(x, lower: Real = 1 / 8, upper: Real = 1 / 3, training: bool = False, inplace: bool = False):
    if training:
        raise UnsupportedError("rrelu(…, training=True) draws its slopes: leaky_relu has one that is known.")
    return leaky_relu(x, (lower + upper) / 2)


@composed
def gumbel_softmax(logits, tau: Real = 1, hard: bool = False, eps: Real = 1e-10, dim: int = -1):
    noise = -torch.empty(tuple(logits.shape), dtype=logits.dtype, device=logits.device).exponential_().log()
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    values = values_of(soft)
    return soft - soft.detach() + torch.zeros_like(values).scatter_(dim, values.argmax(dim, True), 1.0)


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
        scores = scores.masked_fill(~raw(attn_mask), -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(-1)
    return dropout(weights, dropout_p) @ value


def shared(x, times: int):
    """Each head so many times, one behind the other."""
    *batch, heads, length, size = x.shape
    apart = x.unsqueeze(-3).expand(*batch, heads, times, length, size)
    return apart.reshape(*batch, heads * times, length, size)
