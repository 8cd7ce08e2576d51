"""What networks are made of, of torch.nn.functional: normalisations, embeddings, attention. None needs a rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import torch

from .calls import UnsupportedError, chosen, composed, formula, raw, values_of
from .places import scatter_reduce


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
