"""What one row of a rank's batch counts in its loss: by how much the loss divides, and where."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ...trace import calls as kinds
from ...trace.calls import Call
from ...trace.events import PassBegun, Value
from ..gaps import norm_of
from .run import RankRun

MEANS = ("mean", "nanmean")
LOSSES = (
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "kl_div",
    "gaussian_nll_loss",
    "poisson_nll_loss",
    "soft_margin_loss",
    "hinge_embedding_loss",
    "cosine_embedding_loss",
    "margin_ranking_loss",
    "triplet_margin_loss",
)
SUMS = ("sum", "nansum")
_DIVIDES = ("div", "__truediv__", "true_divide", "truediv", "div_")
_SCALES = ("mul", "__mul__", "__rmul__", "multiply", "mul_")
_PASSES_ON = ("neg", "to", "float", "double", "half", "view", "reshape", "squeeze", "clone", "contiguous", "type")
_ADDS = ("add", "__add__", "__radd__", "sub", "__sub__", "add_")


_COUNTED = re.compile(r"mean of (\d+(?:\.\d+)?)$")  # note of a loss that leaves some rows out (ignore_index)


@dataclass(frozen=True, eq=False)
class Reduced:
    """One sum or mean over a batch, and what it is multiplied by on the way to the loss.

    `factors`: (call, by how much it multiplies) from the reduction to the loss. `count`: how many numbers it reduces;
    `rows`: the size of the first dimension. `normal`: a value that the loss is divided by.
    """

    call: Call
    is_mean: bool
    count: float
    rows: float
    factors: tuple[tuple[Call, float], ...]
    divisors: tuple[Value, ...] = ()

    @property
    def scale(self) -> float:
        return math.prod(factor for _, factor in self.factors)

    @property
    def weight(self) -> float:
        """Of one element."""
        return self.scale / max(self.count, 1e-30) if self.is_mean else self.scale


def reductions(run: RankRun, event: PassBegun) -> list[Reduced]:
    """Of the loss of one pass; [] where its shape is not one that is known."""
    found: list[Reduced] = []
    _walk(run, event.pass_.loss, (), (), found, 0)
    return found


def _walk(run: RankRun, value: Value, factors: tuple, divisors: tuple, found: list[Reduced], depth: int) -> None:
    call = run.giver.get(value)
    if call is None or depth > 40 or call.kind not in (kinds.OPERATION, kinds.SCALE, kinds.IN_PLACE):
        return
    name, inputs = call.name, call.inputs
    if not inputs:
        return
    if name in MEANS or name in LOSSES or name in SUMS:
        if value.shape == ():
            over = inputs[0].shape
            is_mean = name not in SUMS and call.note != "sum"
            counted = _COUNTED.match(call.note)
            count = float(counted[1]) if counted else math.prod(over)
            rows = count if counted else over[0] if over else 1
            found.append(Reduced(call, is_mean, count, rows, factors, divisors))
    elif name in _DIVIDES or name in _SCALES:
        power = -1 if name in _DIVIDES else 1
        other, by = (inputs[1:], None) if len(inputs) > 1 else ((), call.numbers[0] if call.numbers else None)
        if other:
            first, second = inputs[0], inputs[1]
            if power == 1 and not _depends(run, first):
                first, second = second, first
            by, divisors = _size(second, first, value, power), (*divisors, second) if power == -1 else divisors
            if second.shape not in ((), (1,)) or by in (None, math.inf):
                return
            inputs = (first,)
        if by:
            _walk(run, inputs[0], ((call, float(by) ** power), *factors), divisors, found, depth + 1)
    elif name in _PASSES_ON:
        _walk(run, inputs[0], factors, divisors, found, depth + 1)
    elif name in _ADDS:
        for each in inputs:
            _walk(run, each, factors, divisors, found, depth + 1)


def _size(by: Value, before: Value, after: Value, power: int) -> float | None:
    """Of what `before` was multiplied or divided by; of a count, which has no norm, by what became of it."""
    known, one, other = norm_of(by), norm_of(before), norm_of(after)
    if known is None and one and other and math.inf not in (one, other):
        return (other / one) ** power
    return known


def _depends(run: RankRun, value: Value) -> bool:
    """Whether autograd follows it."""
    call = run.giver.get(value)
    return call is not None and call.followed


def is_shared(run: RankRun, reduced: Reduced) -> bool:
    """Whether what the loss is divided by came from a collective."""
    todo, seen = list(reduced.divisors), set()
    while todo:
        value = todo.pop()
        if value in seen:
            continue
        seen.add(value)
        call = run.giver.get(value)
        if call is not None:
            if call.kind == kinds.COLLECTIVE:
                return True
            todo += call.inputs
    return False
