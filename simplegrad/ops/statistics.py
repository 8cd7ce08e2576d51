"""Statistics: variances, norms, what stands at a place in order, covariances."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch

from . import reductions
from .calls import Dim, UnsupportedError, as_dtype, called, chosen, composed, dims_of, formula, raw, values_of
from .choosing import masked, scaled, where

# --- variances and norms -----------------------------------------------------------------------------------------


def root(x):
    """The square root of what is not negative, whose gradient at 0 is 0, as torch's of std and norm."""
    zero = x == 0
    return masked(where(zero, 1.0, x).sqrt(), zero)


@composed
def var(x, dim: Dim = None, unbiased: bool | None = None, keepdim: bool = False, *, correction=None):
    """The mean squared distance from the mean, of n elements over n - correction (1, unless it is said)."""
    if isinstance(dim, bool):  # torch's var(unbiased)
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    dim, less = dims_of(dim), 1 if correction is None else correction
    away = x - x.mean(dim, True)
    n = reductions.count(x.shape, dim)
    rest = n if less == 0 else n - less
    return (away * away).sum(dim, keepdim) / (max(rest, 0) if isinstance(rest, Real) else rest)


@composed
def std(x, dim: Dim = None, unbiased: bool | None = None, keepdim: bool = False, *, correction=None):
    return root(x.var(dim, unbiased, keepdim, correction=correction))


@composed
def var_mean(x, dim: Dim = None, unbiased=None, keepdim: bool = False, *, correction=None) -> tuple:
    dim, unbiased = (None, dim) if isinstance(dim, bool) else (dim, unbiased)
    return x.var(dim, unbiased, keepdim, correction=correction), x.mean(dims_of(dim), keepdim)


@composed
def std_mean(x, dim: Dim = None, unbiased=None, keepdim: bool = False, *, correction=None) -> tuple:
    var, mean = var_mean(x, dim, unbiased, keepdim, correction=correction)
    return root(var), mean


@composed
def vector_norm(x, ord: Real = 2, dim: Dim = None, keepdim: bool = False, *, dtype=None):
    """torch.linalg.vector_norm"""
    x, dim = as_dtype(x, dtype), dims_of(dim)
    if isinstance(ord, str):
        raise UnsupportedError(f"norm(p={ord!r}): a number, or 'fro'. Norms of matrices are not here.")
    if ord == 2:
        return root((x * x).sum(dim, keepdim))
    size = x.abs()
    if ord == math.inf:
        return size.amax(dim, keepdim)
    if ord == -math.inf:
        return size.amin(dim, keepdim)
    if ord == 0:
        return where(x == 0, 0.0, size * 0.0 + 1.0).sum(dim, keepdim)
    return size.sum(dim, keepdim) if ord == 1 else power_norm(size, ord, dim, keepdim)


def power_norm(size, ord: Real, dim, keepdim: bool):
    """(sum of size**ord) ** (1 / ord). Where that is 0 its gradient is 0, as torch's; an element's too."""
    wide, zero = (is_zero(size, ord, dim, keep) for keep in (True, keepdim))
    size = where(wide, 1.0, size)
    none = size == 0
    powers = masked(where(none, 1.0, size) ** ord, none) if 0 < ord < 1 else size**ord
    return masked(powers.sum(dim, keepdim) ** (1.0 / ord), zero)


def is_zero(size, ord: Real, dim, keepdim: bool):
    return (size.sum(dim, keepdim) if ord > 0 else size.amin(dim, keepdim)) == 0


formula("cdist", lambda x1, x2, p=2.0, compute_mode=None: (x1.unsqueeze(-2) - x2.unsqueeze(-3)).norm(p, -1))
formula("dist", lambda x, other, p=2: (x - other).norm(p))


@composed
def renorm(x, p: Real, dim: int, maxnorm: Real):
    """Each part along `dim` made smaller, so that its norm is at most `maxnorm`."""
    norms = x.norm(p, [at for at in range(x.ndim) if at != dim % x.ndim], True)
    return where(norms > maxnorm, x * (maxnorm / (norms + 1e-7)), x)


# --- values, with their places -----------------------------------------------------------------------------------


def with_places(name: str) -> Callable:
    """What torch finds along a dimension, taken from x where it found it."""

    def found(x, *args, **kwargs) -> Any:
        plain = {key: raw(each) for key, each in kwargs.items()}
        _, indices = result = getattr(torch, name)(values_of(x), *map(raw, args), **plain)
        dim = kwargs.get("dim", next((a for a in args[name in ("topk", "kthvalue") :] if type(a) is int), -1))
        if not x.ndim:
            taken = x.clone()
        elif indices.ndim < x.ndim:
            taken = x.gather(dim, indices.unsqueeze(dim)).squeeze(dim)
        else:
            taken = x.gather(dim, indices)
        return type(result)((taken, indices))

    return called(name, found)


for _name in ("sort", "topk", "kthvalue", "cummax", "cummin", "mode"):
    composed(with_places(_name))
formula("msort", lambda x: x.sort(0)[0])
_median, _nanmedian = with_places("median"), with_places("nanmedian")


@composed
def median(x, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower of the two in the middle; along `dim`, (values, indices)."""
    return evenly(x, torch.median(values_of(x))) if dim is None else _median(x, dim, keepdim)


@composed
def nanmedian(x, dim: int | None = None, keepdim: bool = False) -> Any:
    return evenly(x, torch.nanmedian(values_of(x))) if dim is None else _nanmedian(x, dim, keepdim)


def evenly(x, value):
    """This value, as the mean of all elements that have it: they share its gradient."""
    found = values_of(x)
    others = (found != value) & ~(torch.isnan(found) & torch.isnan(value))
    count = torch.ones_like(found).masked_fill(others, 0).sum()
    near = value.nan_to_num(0, 0, 0)  # so that the mean is exact, and no sum overflows
    return scaled(masked(x - near, others).sum(), 1 / count) + near


@composed
def quantile(x, q, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"):
    """Of values in order, that at a share q of the way; between two, a part of each."""
    found = at_shares(x, q, dim, keepdim, interpolation)
    lost = raw(x).isnan().any() if dim is None else raw(x).isnan().any(dim, keepdim)
    return where(lost, math.nan, found)


@composed
def nanquantile(x, q, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"):
    return at_shares(x, q, dim, keepdim, interpolation)


def at_shares(x, q, dim: int | None, keepdim: bool, interpolation: str):
    """Of what is no NaN; a sort puts those last."""
    chosen("interpolation", interpolation, ("linear", "lower", "higher", "midpoint", "nearest"))
    rows = (x.reshape(-1) if dim is None else x.movedim(dim, -1) if x.ndim else x.reshape(1)).sort(-1)[0]
    shares = torch.tensor(q, dtype=x.dtype, device=x.device) if isinstance(q, Real) else q
    last = (raw(rows).isnan().logical_not().sum(-1, True) - 1).clamp(min=0)
    at = shares.reshape(-1) * last.to(x.dtype)
    if interpolation in ("lower", "higher", "nearest"):
        at = {"lower": at.floor(), "higher": at.ceil(), "nearest": at.round()}[interpolation].detach()
    below, above = raw(at).floor(), raw(at).ceil()
    low, high = rows.gather(-1, below.long()), rows.gather(-1, above.long())
    found = (low + (high - low) * (0.5 if interpolation == "midpoint" else at - below)).movedim(-1, 0)
    if keepdim:
        found = found.reshape(-1, *[1] * x.ndim) if dim is None or not x.ndim else found.unsqueeze(dim + (dim >= 0))
    return found if shares.ndim else found[0]


@composed
def aminmax(x, *, dim: int | None = None, keepdim: bool = False) -> Any:
    return torch.return_types.aminmax((x.amin(dim, keepdim), x.amax(dim, keepdim)))


@composed
def cov(x, *, correction: int = 1, fweights=None, aweights=None):
    """Covariances of the rows."""
    rows = x if x.ndim == 2 else x.reshape(1, -1)
    given = [each for each in (fweights, aweights) if each is not None]
    if not given:
        away = rows - rows.mean(1, True)
        found = away @ away.mT / max(rows.shape[1] - correction, 0)
    else:
        weights = given[0] if len(given) == 1 else given[1] * given[0]
        total = weights.sum()
        less = correction if aweights is None else (weights * aweights).sum() / total * correction
        away = rows - (rows * weights).sum(1, True) / total
        found = away * weights @ away.mT / (total - less).clamp(min=0)
    return found if found.numel() > 1 else found.reshape(())


@composed
def corrcoef(x):
    found = cov(x)
    if not found.ndim:
        return found / found
    scale = found.diagonal().sqrt()
    return (found / scale.unsqueeze(1) / scale).clamp(-1, 1)
