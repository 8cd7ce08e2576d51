"""Conditions and weights, through which no gradient flows; and what chooses by them."""

from __future__ import annotations

import operator

import torch

from .table import op

# --- conditions and weights: plain tensors, whatever they are computed from ---------------------------------------

less = op("lt", "{} < {}", operator.lt)
op("le", "{} <= {}", operator.le)
op("gt", "{} > {}", operator.gt)
op("ge", "{} >= {}", operator.ge)
op("eq", "{} == {}", operator.eq)
op("ne", "{} != {}", operator.ne)
op("and", "{} & {}", operator.and_)
op("or", "{} | {}", operator.or_)
op("not", "~{}", operator.invert)
sign = op("sign", "{}.sign()", torch.sign)


def _half_of_ties(mine: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.where(mine == other, 0.5, 1.0).to(torch.result_type(mine, other))


half_of_ties = op("half_of_ties", "half_of_ties({}, {})", _half_of_ties)


def _shares(x: torch.Tensor, dim) -> torch.Tensor:
    largest = (x == x.amax(() if dim is None else dim, True)).to(x.dtype)
    return largest / largest.sum(dim, keepdim=True)


shares = op("shares", "shares({}, {})", _shares)  # 1 where x is largest along dim, or an equal share for each tie

# --- choosing by them ----------------------------------------------------------------------------------------------

masked = op(
    "masked",
    "{}.masked_fill({}, 0)",
    lambda x, mask: x.masked_fill(mask, 0),  # a NaN there is gone too, where a product would keep it
    lambda g, r, x, mask: masked(g, mask),
    pointwise=True,
)
scaled = op("scaled", "{} * {}", operator.mul, lambda g, r, x, weights: scaled(g, weights), pointwise=True)
where = op(
    "where",
    "where({}, {}, {})",
    torch.where,
    None,
    lambda g, r, condition, a, b: where(condition, g, 0.0),
    lambda g, r, condition, a, b: masked(g, condition),
    pointwise=True,
    in_torch="torch.where({}, {}, {})",
)


def won(g, lost, mine, other):
    """The gradient of the one of two that was taken; a tie is shared, as torch does."""
    return scaled(masked(g, lost), half_of_ties(mine, other))


maximum = op(
    "maximum",
    "{}.maximum({})",
    torch.maximum,
    lambda g, r, a, b: won(g, a < b, a, b),
    lambda g, r, a, b: won(g, b < a, b, a),
    pointwise=True,
)
minimum = op(
    "minimum",
    "{}.minimum({})",
    torch.minimum,
    lambda g, r, a, b: won(g, a > b, a, b),
    lambda g, r, a, b: won(g, b > a, b, a),
    pointwise=True,
)
