"""The same call with other arguments, where the given ones hide much: a size of one, a mask that masks nothing.

Where a size is one, a sum over it, a mean, a transposition and a wrong dimension are all nothing. What forward takes
with a larger size is judged there too; what it refuses is said. Arguments without a gradient that are alike in all
their elements (a mask of ones, weights of ones, labels of one class) are mixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..measure.holding import unlike_each_other
from ..measure.numbers import drawn, is_floating, plain
from .alone import Alone
from .function import Rule

SIZES = (3, 2, 5, 7)  # one that no given size is equal to
MOST_ELEMENTS = 20_000


@dataclass(frozen=True)
class Other:
    """The rule with other arguments, and `what` they are, in words."""

    what: str
    rule: Rule | None  # None where it does not run with them


def others(rule: Rule) -> Iterator[Other]:
    call = rule.call
    if any(_has_one(call.args[i]) for i in call.differentiated):
        yield larger(rule)
    for place, arg in enumerate(call.args):
        if place not in call.differentiated and _is_alike(arg):
            yield mixed(rule, place)


# -- sizes -------------------------------------------------------------------------------------------------------------


def larger(rule: Rule) -> Other:
    """All sizes of one larger; or else those of the first dimension, the batch."""
    call = rule.call
    for size, args in grown(call.args):
        found = with_arguments(rule, args)
        if found is not None:
            return Other(WITH_SIZES.format(size), found)
    names = [call.parameter_names[i] for i in call.differentiated if _has_one(call.args[i])]
    return Other(f"sizes other than one of {' and '.join(names)}", None)


WITH_SIZES = "with {} in the place of sizes of one"


def grown(args: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
    """(the size, the arguments with it) where sizes are one: everywhere; then in the first dimension alone."""
    shaped = [tuple(x.shape) for x in args if isinstance(x, torch.Tensor)]
    size = next(n for n in SIZES if all(n not in shape for shape in shaped) or n == SIZES[-1])
    for only_first in (False, True):
        found = [_grown(x, size, only_first) for x in args]
        if sum(x.numel() for x in found if isinstance(x, torch.Tensor)) <= MOST_ELEMENTS:
            yield size, found


def _has_one(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and 1 in x.shape and x.layout is torch.strided


def _grown(x: Any, size: int, only_first: bool) -> Any:
    if not _has_one(x) or (only_first and x.shape[0] != 1):
        return x
    shape = [size if n == 1 and (k == 0 or not only_first) else n for k, n in enumerate(x.shape)]
    wide = plain(x.detach()).expand(shape).clone()
    return unlike_each_other(wide) if is_floating(x) else wide


# -- masks -------------------------------------------------------------------------------------------------------------


def _is_alike(x: Any) -> bool:
    is_tensor = isinstance(x, torch.Tensor) and x.layout is torch.strided and x.numel() > 1
    return is_tensor and not x.is_complex() and bool((x == x.flatten()[0]).all())


def mixed(rule: Rule, place: int) -> Other:
    """With the first of each row as it is, and others not."""
    x, name = rule.call.args[place], rule.call.parameter_names[place]
    is_whole = not x.is_floating_point() and x.dtype is not torch.bool
    made = _with_another(x) if is_whole else _masked(x) if bool(((x == 0) | (x == 1)).all()) else unlike_each_other(x)
    args = [made if i == place else arg for i, arg in enumerate(rule.call.args)]
    found = with_arguments(rule, args)
    what = f"where not all of {name} is alike"
    return Other(what if found is not None else f"values of {name} that are not all alike", found)


def _masked(x: torch.Tensor) -> torch.Tensor:
    made = drawn(torch.empty(x.shape), torch.Generator().manual_seed(47)) > 0
    made[..., 0] = True
    made[..., -1] = x.shape[-1] == 1
    return made.to(x.dtype).to(x.device)


def _with_another(x: torch.Tensor) -> torch.Tensor:
    """Whole numbers: the last ones one larger where they are the least there may be, else one smaller. So they stay in
    order, and within the range of indices, classes and lengths, if there is room."""
    made, n = x.clone(), x.shape[-1] if x.shape[-1] > 1 else x.shape[0]
    part = made if x.shape[-1] > 1 else made.movedim(0, -1)
    part[..., (n + 1) // 2 :] += 1 if int(x.flatten()[0]) in (0, 1) else -1
    return made


# ----------------------------------------------------------------------------------------------------------------------


def with_arguments(rule: Rule, args: list[Any]) -> Rule | None:
    """The rule for a call with these arguments; None where forward or backward does not take them."""
    try:
        call = replace(rule.call, args=tuple(args))
        outputs = Alone(call).forward().outputs
        call = replace(call, outputs=outputs, incoming=[_drawn_like(out) for out in outputs])
        found = Rule(call, rule.bits)
        given = found.gradient
    except Exception:  # it is not made for them
        return None
    fits = all(g is None or g.shape == x.shape for g, x in zip(given, found.values, strict=True))
    return found if fits and found.incoming and all(map(_is_finite, found.first)) else None


def _drawn_like(out: Any) -> Any:
    return drawn(out, torch.Generator().manual_seed(53)) if is_floating(out) else None


def _is_finite(x: torch.Tensor) -> bool:
    return bool(torch.isfinite(plain(x)).all())
