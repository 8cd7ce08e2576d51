"""Losses of torch.nn.functional, made of operators of the table."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Real

import torch

from .calls import UnsupportedError, chosen, composed, formula, raw
from .choosing import masked, where
from .networks import cosine_similarity, pairwise_distance


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
    lambda input1, input2, target, margin=0.0: (-target * (input1 - input2) + margin).clamp(min=0),
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
        losses = losses + masked(stirling, target <= 1)
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
    rows, target = (each.reshape(-1, each.shape[-1] if each.ndim else 1) for each in (x, raw(target)))
    asked = (target == -1).cumsum(1) == 0
    places = target.masked_fill(~asked, 0)
    right = torch.zeros_like(target).scatter_add(1, places, asked.long()) > 0
    between = (1 - (rows.gather(1, places).unsqueeze(2) - rows.unsqueeze(1))).relu()
    losses = masked(between, ~asked.unsqueeze(2) | right.unsqueeze(1)).sum((1, 2)) / rows.shape[1]
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
    everywhere = masked(everywhere, ~counted)
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
