"""Clause 1: it runs at the given inputs as they are given, and finite values in give finite gradients out."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...torch_bridge.calls import Call
from ...torch_private import is_wrapped
from .. import source
from ..causes.owner import Owner
from ..causes.trail import birth, followed
from ..measure.numbers import grows, plain
from ..report import Finding, Place
from ..subjects.alone import Alone
from ..subjects.subject import Rule

STEPS = (1e-3, 1e-5, 1e-7)


@dataclass
class AsGiven:
    """One backward as it ran: what came (values and incoming gradients), and a gradient for each of the `names`."""

    name: str
    said: str  # "backward of Sinh", "propagate"
    names: Sequence[str]
    came: list[Any]
    gradients: list[Any]
    at: Callable[[], Place | None]
    moved: Callable[[int, torch.Tensor], list[Any]]  # forward's outputs, one input moved by so much
    incoming: Sequence[Any]  # a gradient for each of those outputs, or None


def of_call(call: Call) -> AsGiven:
    names, code = call.parameter_names, source.code_of(call.backward)

    def moved(i: int, step: torch.Tensor) -> list[Any]:
        alone = Alone(call)
        values = list(alone.values)
        values[i] = plain(values[i].detach()) + step
        return list(alone.forward(values).outputs)

    return AsGiven(
        call.name,
        f"backward of {call.name}",
        [names[i] for i in call.differentiated],
        [*call.args, *call.outputs, *call.incoming],
        [call.returned[i] if i < len(call.returned) else None for i in call.differentiated],
        lambda: born_at(call, code) if code else None,
        moved,
        call.incoming,
    )


def born_at(call: Call, code: types.CodeType) -> Place | None:
    """The statement of backward that makes the first number that is not finite; else the one that returns it."""
    alone = Alone(call)
    with contextlib.suppress(Exception):  # it needs what stands around it
        ran = alone.forward()
        found = followed(lambda: alone.backward(ran, call.incoming), {code}, Owner(code))
        if (note := birth(found.notes)) is not None:
            return note.site.statement
    return source.returned_at(code)


def of_rule(rule: Rule) -> AsGiven:
    run = rule.run(rule.values)
    came = [*rule.values, *run.outputs, *rule.incoming]

    def moved(i: int, step: torch.Tensor) -> list[Any]:
        return rule.run([x + step if k == i else x for k, x in enumerate(rule.values)]).outputs

    gradients = run.gradients(rule.incoming)
    return AsGiven(rule.name, rule.backward_said, rule.names, came, gradients, rule.returned_at, moved, rule.incoming)


def nonfinite(given: Sequence[AsGiven]) -> list[Finding]:
    """What made a NaN or an infinity of finite numbers, where forward has a finite slope."""
    return [found for each in given if (found := _nonfinite(each)) is not None]


def _nonfinite(given: AsGiven) -> Finding | None:
    if not all(_is_finite(x) for x in given.came if isinstance(x, torch.Tensor)):
        return None
    for i, (name, gradient) in enumerate(zip(given.names, given.gradients, strict=True)):
        unbounded = isinstance(gradient, torch.Tensor) and not _is_finite(gradient)
        if unbounded and not _is_infinite_slope(given, i, gradient):
            return _finding(given, name, gradient)
    return None


def _is_finite(x: torch.Tensor) -> bool:
    if is_wrapped(x) or not (x.is_floating_point() or x.is_complex()) or not x.numel():
        return True
    return bool(torch.isfinite(plain(x.detach())).all())


def _finding(given: AsGiven, name: str, gradient: torch.Tensor) -> Finding:
    values = plain(gradient.detach())
    kind = "nan" if bool(values.isnan().any()) else "an infinity"
    count = int((~torch.isfinite(values)).sum())
    return Finding(
        "nonfinite_gradient",
        f"At the given inputs {given.said} gives {kind} for {name} ({count} of {values.numel()} elements), "
        f"where forward's values and the incoming gradient are finite.",
        entry=given.name,
        slot=name,
        read_at=given.at(),
        order=1,
    )


def _is_infinite_slope(given: AsGiven, i: int, gradient: torch.Tensor) -> bool:
    """Whether forward itself is infinitely steep, and that way, where the gradient is infinite, as a root is at 0."""
    values = plain(gradient.detach())
    if bool(values.isnan().any()) or values.is_complex():
        return False
    way = torch.where(torch.isfinite(values), torch.zeros_like(values), torch.sign(values))
    try:
        base = given.moved(i, 0 * way)
        slopes = [[_slope(given, i, side * h, way, base) for h in STEPS] for side in (1, -1)]
    except Exception:  # not defined beside the point
        return False
    return any(map(grows, slopes))


def _slope(given: AsGiven, i: int, h: float, way: torch.Tensor, base: list[Any]) -> float:
    """By how much the weighted outputs grow in this way, to one side; nan where it is not defined there."""
    ends = zip(given.incoming, given.moved(i, h * way), base, strict=True)
    known = [(plain(g), plain(a.detach()) - plain(b.detach())) for g, a, b in ends if _has_gradient(g, a)]
    return sum(float((g * change)[change != 0].real.double().sum()) for g, change in known) / h


def _has_gradient(g: Any, out: Any) -> bool:
    return isinstance(g, torch.Tensor) and isinstance(out, torch.Tensor) and g.shape == out.shape
