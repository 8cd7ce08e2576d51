"""A part of a call's arguments, on which all can be asked in moments; and whether all of them bear it out.

Of a size that several axes have (the width of a model, say) the same few are taken from each of them, so that what fits
together goes on fitting. What a part says is held against the whole along one random direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ..measure.numbers import STEPS, Slope, directions, inner, moved, plain, steepest
from ..report import Report
from ..runs.recorded import fresh
from ..subjects.subject import Forward, Gradient

SMALL = 2_000  # elements of all tensors together: so few are taken as they are
SHORT = 8  # axes up to this long stay as they are


def parts(flat: list[Any]) -> Iterator[list[Any]]:
    """The arguments cut down, in several ways, the smallest first; as they are where they are small."""
    tensors = [x for x in flat if isinstance(x, torch.Tensor)]
    if sum(x.numel() for x in tensors) <= SMALL:
        yield flat
        return
    sizes = {size for x in tensors for size in x.shape if size > SHORT}
    short = {size for x in tensors for size in x.shape if 1 < size <= SHORT}
    short |= {x for x in flat if isinstance(x, int) and 1 < x <= SHORT}
    new = shrunk(sizes, short)
    yield [cut(x, new, True) for x in flat]
    if any(cut(x, new, True) != x for x in flat if isinstance(x, int | torch.Size)):
        yield [cut(x, new, False) for x in flat]
    first = next((len(x) for x in tensors if x.dim() and x.requires_grad), None) or max(
        (len(x) for x in tensors if x.dim()), default=0
    )
    if first > 2:
        yield [_rows(x, first) for x in flat]


def shrunk(sizes: set[int], short: set[int]) -> dict[int, int]:
    """A small size for each, none twice. What a size is a multiple of (heads, three times another) it stays one of."""
    new: dict[int, int] = {}
    for size in sorted(sizes):
        related = next((s for s in sorted(new) if size % s == 0 and size // s <= 4), None)
        if related is not None:
            new[size] = new[related] * (size // related)
            continue
        unit = math.lcm(*(s for s in short if size % s == 0), 2 if size % 2 == 0 else 1)
        unit = unit if unit <= 24 else 1
        least = 4 if size & (size - 1) == 0 else 5
        chosen = unit * math.ceil(least / unit)
        while chosen in new.values() and chosen < size:
            chosen = 2 * chosen if size & (size - 1) == 0 else chosen + unit
        new[size] = min(chosen, size)
    return new


def cut(value: Any, new: dict[int, int], numbers: bool) -> Any:
    """One argument: of an axis evenly spaced elements; an index stays one; `numbers`: a size that is given, too."""
    if isinstance(value, torch.Tensor):
        for axis, size in enumerate(value.shape):
            if size in new:
                value = value.index_select(axis, _even(size, new[size], value))
        return _indices(value, new) if _is_whole(value) else value
    if isinstance(value, torch.Size):
        return torch.Size(cut(each, new, numbers) for each in value)
    if numbers and isinstance(value, int) and not isinstance(value, bool):
        return new.get(value, value)
    return value


def _rows(value: Any, first: int) -> Any:
    """The first two of what has as many rows as the first argument."""
    return value[:2].clone() if isinstance(value, torch.Tensor) and value.dim() and len(value) == first else value


def _even(size: int, count: int, like: torch.Tensor) -> torch.Tensor:
    return torch.linspace(0, size - 1, count, device=like.device).long()


def _is_whole(value: torch.Tensor) -> bool:
    return not value.is_floating_point() and not value.is_complex() and value.dtype is not torch.bool


def _indices(value: torch.Tensor, new: dict[int, int]) -> torch.Tensor:
    """Numbers that may point into an axis that is shorter now point into what is left; negative ones stay."""
    if not value.numel():
        return value
    least = min((new[size] for size in new if size > int(value.max())), default=None)
    return value if least is None else torch.where(value >= 0, value % least, value)


# -- does it run, and does the whole bear it out? ----------------------------------------------------------------------


def runs(fn: Callable, args: tuple) -> bool:
    """Whether forward and backward run at these arguments, and finite numbers come out of both."""
    copies = [fresh(x) for x in args]
    given = [x.clone() if isinstance(x, torch.Tensor) and x.requires_grad else x for x in copies]
    wanted = [x for x in copies if isinstance(x, torch.Tensor) and x.requires_grad]
    try:
        result = fn(*given)
        several = result if isinstance(result, tuple) else (result,)
        outputs = [out for out in several if isinstance(out, torch.Tensor) and out.requires_grad]
        if not outputs or not all(bool(out.isfinite().any()) for out in outputs if out.numel()):
            return False
        torch.autograd.grad(outputs, wanted, [torch.ones_like(out) for out in outputs], allow_unused=True)
    except Exception:  # a part of what it needs is none that it can work with
        return False
    return True


def differs(problem: Any, level: int, apart: bool) -> bool | None:
    """Whether, at all arguments together, the gradient of this order is wrong along a random direction.

    `apart`: one for each argument, so that a large gradient hides no small one. None where differences cannot tell.
    """
    if problem.bits != 64 or problem.is_rounded:
        return None
    map = Forward(problem) if level == 1 else Gradient(problem)
    generator = torch.Generator().manual_seed(41)
    ways = dict(enumerate(directions(map.at, generator)))
    try:
        with problem.precision():
            weights = directions([out for out in map.values(map.at) if out is not None], generator, scaled=False)
            gradients = claimed(map, weights)
            moves = [{i: way} for i, way in ways.items()] if apart else [ways]
            looks = [is_wrong(map, gradients, move, weights) for move in moves]
    except Exception:  # a second order that it refuses, say
        return None
    return None if all(look is None for look in looks) else any(looks)


QUICK, WRONG = 1e-6, 1e-4  # of the size of the slope


def claimed(map: Any, weights: list[torch.Tensor]) -> list[torch.Tensor | None]:
    """The gradients of the weighted sum of what is not None."""
    given = iter(weights)
    return map.vjp(map.at, [next(given) if out is not None else None for out in map.values(map.at)])


def is_wrong(map: Any, gradients: list, move: dict[int, torch.Tensor], weights: list[torch.Tensor]) -> bool | None:
    """Whether the gradients say another slope than differences do, where the arguments move like that."""
    parts_ = [(plain(gradients[i].detach()) * way.conj()).real for i, way in move.items() if gradients[i] is not None]
    told = sum(float(each.sum()) for each in parts_)
    scale = math.sqrt(sum(float(each.square().sum()) for each in parts_))
    found = slope_of(map, move, weights, told, QUICK * scale)
    if not math.isfinite(told) or not math.isfinite(found.value):
        return None
    return found.disagrees(told, max(scale, abs(found.value)), WRONG)


def slope_of(map: Any, move: dict[int, torch.Tensor], weights: list[torch.Tensor], told: float, near: float) -> Slope:
    """The slope by differences; one step is enough where it is as near to what the gradients say as that."""

    def values(h: float) -> list[torch.Tensor]:
        at = [moved(x, move[i], h) if i in move else x for i, x in enumerate(map.at)]
        return [out for out in map.values(at) if out is not None]

    found: dict[float, float] = {}
    for h in STEPS[64][:3]:
        ends = zip(values(h), values(-h), weights, strict=True)
        found[h] = sum(inner(w, plain(a) - plain(b)) for a, b, w in ends) / (2 * h)
        if len(found) == 1 and abs(found[h] - told) <= near:
            return Slope(found[h], near)
    return steepest(found)


def broken(report: Report) -> set[int]:
    """The orders whose numbers a report says are wrong."""
    clauses = {2: 1, 4: 2}
    return {level for number, level in clauses.items() if report.tried.get(number) and _is_broken(report, number)}


def _is_broken(report: Report, number: int) -> bool:
    return report.tried[number].state == "broken"
