"""Conditions and weights, through which no gradient flows; and what chooses by them."""

from __future__ import annotations

import operator

import torch

from .table import Op, of_tensors, of_torch, op

# --- conditions and weights: plain tensors, whatever they are computed from ---------------------------------------


def condition(name: str, text: str, forward, pointwise: bool = True) -> Op:
    CONDITIONS[name] = op(name, text, forward, pointwise=pointwise)
    return CONDITIONS[name]


CONDITIONS: dict[str, Op] = {}
lt = condition("lt", "{} < {}", operator.lt)
le = condition("le", "{} <= {}", operator.le)
gt = condition("gt", "{} > {}", operator.gt)
ge = condition("ge", "{} >= {}", operator.ge)
eq = condition("eq", "{} == {}", operator.eq)
ne = condition("ne", "{} != {}", operator.ne)
both = condition("and", "{} & {}", operator.and_)
either = condition("or", "{} | {}", operator.or_)
negated = condition("not", "~{}", operator.invert)
sign = of_tensors("sign", pointwise=True)


def _half_of_ties(mine: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.where(mine == other, 0.5, 1.0).to(torch.result_type(mine, other))


half_of_ties = op("half_of_ties", "half_of_ties({}, {})", _half_of_ties, pointwise=True)


def _shares(x: torch.Tensor, dim) -> torch.Tensor:
    """1 where x is largest along dim, or an equal share for each tie."""
    largest = (x == x.amax(() if dim is None else dim, True)).to(x.dtype)
    return largest / largest.sum(dim, keepdim=True)


shares = op("shares", "shares({}, {})", _shares, alike=True)

# --- choosing by them --------------------------------------------------------------------------------------------

masked = op(
    "masked",
    "{}.masked_fill({}, 0)",
    lambda x, mask: x.masked_fill(mask, 0),  # a NaN there is gone too, where a product would keep it
    lambda g, r, x, mask: masked(g, mask),
    pointwise=True,
)
scaled = op(
    "scaled",
    "{} * {}",
    operator.mul,
    lambda g, r, x, weights: scaled(g, weights),
    pointwise=True,
    code="scaled({}, {})",  # on Variables the weights are a raw tensor, with which they do not multiply
    in_torch="{} * {}",
)
where = of_torch(
    "where",
    None,
    lambda g, r, condition, a, b: where(condition, g, 0.0),
    lambda g, r, condition, a, b: masked(g, condition),
    pointwise=True,
    takes=lambda condition, a, b: (condition, a, b),
)


def won(g, lost, mine, other):
    """The gradient of the one of two that was taken; a tie is shared, as torch does."""
    return scaled(masked(g, lost), half_of_ties(mine, other))


maximum = of_tensors(
    "maximum", lambda g, r, a, b: won(g, a < b, a, b), lambda g, r, a, b: won(g, b < a, b, a), pointwise=True
)
minimum = of_tensors(
    "minimum", lambda g, r, a, b: won(g, a > b, a, b), lambda g, r, a, b: won(g, b > a, b, a), pointwise=True
)
