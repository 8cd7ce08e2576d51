"""Clause 1: it runs at the given inputs as they are given, and finite values in give finite gradients out."""

from __future__ import annotations

import math

import torch

from simplegrad.checks.causes import source
from simplegrad.checks.numbers import plain
from simplegrad.checks.report import Finding
from simplegrad.checks.subjects.alone import Alone
from simplegrad.torch_bridge.calls import Call
from simplegrad.torch_private import is_wrapped

STEPS = (1e-3, 1e-5, 1e-7)
GROWS = 5.0  # times from step to step: the derivative itself is infinite there


def nonfinite(calls: list[Call]) -> list[Finding]:
    """Functions whose backward made a NaN or an infinity of finite numbers, where forward has a finite slope."""
    return [found for call in calls if call.incoming is not None and (found := _nonfinite(call)) is not None]


def _nonfinite(call: Call) -> Finding | None:
    came = [*call.args, *call.outputs, *call.incoming]
    if not all(_is_finite(x) for x in came if isinstance(x, torch.Tensor)):
        return None
    for i in call.differentiated:
        gradient = call.returned[i] if i < len(call.returned) else None
        if (
            isinstance(gradient, torch.Tensor)
            and not _is_finite(gradient)
            and not _is_infinite_slope(call, i, gradient)
        ):
            return _finding(call, call.parameter_names[i], gradient)
    return None


def _is_finite(x: torch.Tensor) -> bool:
    if is_wrapped(x) or not (x.is_floating_point() or x.is_complex()) or not x.numel():
        return True
    return bool(torch.isfinite(plain(x.detach())).all())


def _finding(call: Call, name: str, gradient: torch.Tensor) -> Finding:
    values = plain(gradient.detach())
    kind = "nan" if bool(values.isnan().any()) else "an infinity"
    count = int((~torch.isfinite(values)).sum())
    code = source.code_of(call.backward)
    return Finding(
        "nonfinite_gradient",
        f"At the given inputs backward of {call.name} gives {kind} for {name} ({count} of {values.numel()} elements), "
        f"where forward's values and the incoming gradient are finite.",
        entry=call.name,
        slot=name,
        read_at=source.place(code, source.return_line(code)) if code else None,
        order=1,
    )


def _is_infinite_slope(call: Call, i: int, gradient: torch.Tensor) -> bool:
    """Whether forward itself is infinitely steep at each element whose gradient is infinite, as a root is at 0."""
    values = plain(gradient.detach())
    if bool(values.isnan().any()):
        return False
    try:
        alone = Alone(call)
        way = torch.where(torch.isfinite(values), torch.zeros_like(values), torch.ones_like(values))
        slopes = [_slope(alone, i, way, h) for h in STEPS]
    except Exception:  # not defined beside the point
        return False
    return all(b > GROWS * a > 0 for a, b in zip(slopes, slopes[1:]))


def _slope(alone: Alone, i: int, way: torch.Tensor, h: float) -> float:
    """The steeper of the slopes to the two sides, as a number without a sign."""
    base, found = alone.forward().outputs, []
    for sign in (1, -1):
        values = list(alone.values)
        k = alone.call.differentiated.index(i)
        values[k] = plain(values[k].detach()) + sign * h * way
        pairs = zip(alone.forward(values).outputs, base, strict=True)
        apart = [float((a - b).abs().double().sum()) for a, b in pairs if isinstance(a, torch.Tensor)]
        found.append(sum(apart) / h)
    return max((x for x in found if math.isfinite(x)), default=0.0)
