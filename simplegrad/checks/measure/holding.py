"""Whether a map's gradients are those of its values: at the given point, beside it, and elsewhere where it hides much.

At zeros a product says nothing of the slopes of its factors; where all elements are equal, a sum over one dimension is
like one over another; where a sigmoid is flat, a gradient is what rounding leaves of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from .answer import Answer, Look, differing, voted
from .looks import POINTS, QUICK, Map, attempted
from .numbers import drawn, in_one_row, plain

APART = 0.4  # of its size: so far elements that are all equal are moved
FARTHER = (-6.0, 0.1)  # the largest that stands in the place of zeros
GROSS = 1e-2  # by so much is wrong there what is told
FLAT = "no larger than rounding at the given inputs, and compared at others, of a size near one"


def held(map: Map, tolerance: float) -> Answer:
    """Whether the map's gradients are those of its values: a quick look at two points, then three with care.

    What differs at most of the three points is wrong: at a kink or a tie the given point alone would say so.
    """
    points = [attempted(map, draw, jitter, QUICK[map.bits]) for draw, jitter in (POINTS[0], POINTS[2])]
    wrong = [{(e.output, e.input) for e in differing(p, tolerance)} if isinstance(p, list) else None for p in points]
    if wrong[0] != wrong[1] or not all(is_told_of(p) for p in points):  # two points that say the same need no third
        points.append(attempted(map, *POINTS[1]))
    found = voted(points, tolerance)
    found.given = points[0] if isinstance(points[0], list) else None
    seen = [look for point in points if isinstance(point, list) for look in point]
    return elsewhere(map, found, seen, tolerance) if found.settled and map.is_free else found


def is_told_of(point: list[Look] | str) -> bool:
    return isinstance(point, list) and all(math.isfinite(look.gap) for look in point)


def elsewhere(map: Map, found: Answer, seen: list[Look], tolerance: float) -> Answer:
    """What is known at the given point and beside it (`seen`), with what other points say where these hide much."""
    told = near_by(map, found, seen, tolerance)
    return farther(map, told, tolerance) if told.ok and any(is_nothing(x) for x in map.at) else told


def near_by(map: Map, found: Answer, seen: list[Look], tolerance: float) -> Answer:
    """Of points of the given size, or of one near 1."""
    if found.ok and is_uneven(map.at):
        return tamed(map, found, tolerance)
    if seen and all(look.vanishes for look in found.wrong or seen):
        return where_it_is_felt(map, found, tolerance)
    if found.ok and any(is_special(x) for x in map.at):
        return apart(map, found, tolerance)
    return found


def held_at(map: Map, at: list[torch.Tensor], tolerance: float) -> Answer:
    """What other points say: one, quickly, and three where that one differs."""
    given, map.at = map.at, at
    try:
        once = attempted(map, *POINTS[0], QUICK[map.bits])
        if is_told_of(once) and not differing(once, tolerance):
            return voted([once], tolerance)
        return voted([attempted(map, draw, jitter) for draw, jitter in POINTS], tolerance)
    finally:
        map.at = given


def moved_there(found: Answer, again: Answer, at: list[torch.Tensor]) -> Answer:
    """An answer, with what is wrong at another point."""
    return replace(found, wrong=again.wrong, looks=again.looks if again.wrong else found.looks, where=at)


# -- sizes that are far apart ------------------------------------------------------------------------------------------


def is_uneven(at: Sequence[torch.Tensor]) -> bool:
    """Whether sizes are so far apart, or so far from 1, that what is small may drown in rounding."""
    ends = [end for x in at if x.numel() for end in map(float, plain(x.detach()).abs().aminmax())]
    if ends and min(ends) >= 1e-9 and max(ends) <= min(1e6, 1e5 * min(ends)):  # whatever the smallest is taken for
        return False
    sizes = [s for x in at for s in _extremes(x)]
    return bool(sizes) and (max(sizes) > 1e5 * min(sizes) or max(sizes) > 1e6 or min(sizes) < 1e-9)


def _extremes(x: torch.Tensor) -> tuple[float, ...]:
    own = plain(x.detach()).abs().double()
    own = own[torch.isfinite(own) & (own > 0)]
    if not own.numel():
        return ()
    few = own if own.numel() < 1 << 16 else own[:: own.numel() >> 15]
    return float(own.max()), float(few.quantile(0.02))  # one element near 0 by chance is no other size


def tamed(map: Map, found: Answer, tolerance: float) -> Answer:
    """The same where all sizes lie within a decade, in their order; not settled where the map is undefined there."""
    again = held_at(map, at := evened(map.at), tolerance)
    if again.settled:
        return moved_there(found, again, at)
    return Answer(
        [], found.looks, False, f"sizes are so far apart that small parts drown in rounding, and elsewhere {again.why}"
    )


def evened(at: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The same signs and the same order of sizes, all between a third and three."""
    logs = [torch.log10(plain(x.detach()).abs().double()) for x in at]
    known = in_one_row([each[torch.isfinite(each)].reshape(-1) for each in logs])
    if not known.numel():
        return list(at)
    low, high = float(known.min()), float(known.max())
    found = []
    for x, each in zip(at, logs, strict=True):
        size = 10 ** ((each - (low + high) / 2) / max(high - low, 1.0))
        sized = torch.isfinite(each)
        direction = torch.where(sized, plain(x.detach()) / plain(x.detach()).abs(), plain(x.detach()))
        found.append(torch.where(sized, (direction * size).to(x.dtype), plain(x.detach())).to(x.dtype))
    return found


# -- gradients that are all rounding, or zero --------------------------------------------------------------------------


def where_it_is_felt(map: Map, found: Answer, tolerance: float) -> Answer:
    """The same where gradients are larger than rounding; where they are so nowhere, that is said."""
    last = None
    for at in nearer_one(map.at):
        again = held_at(map, at, tolerance)
        if again.settled and not all(look.vanishes for look in again.looks):
            return moved_there(replace(found, beside=[*found.beside, FLAT]), again, at)
        last = again if again.settled and last is None else last
    if found.wrong and last is None:
        return Answer([], found.looks, False, "its gradients are as small as rounding, and elsewhere it is undefined")
    if found.wrong and last.wrong:  # small everywhere, and smooth
        return found
    zero = all(look.told == 0.0 == look.scale for look in found.looks)
    how = "every gradient is zero" if zero else "every gradient is as small as rounding"
    return replace(found, wrong=[], beside=[*found.beside, f"{how} at all inputs that were tried"])


def nearer_one(at: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Points of a size near one, in their order; smaller ones; and ones of other signs."""
    near = [unlike_each_other(x) if is_special(x) else x for x in evened(at)]
    yield near
    yield [0.1 * x for x in near]
    yield [_with_signs(x) for x in near]


def _with_signs(x: torch.Tensor) -> torch.Tensor:
    draw = plain(drawn(x, torch.Generator().manual_seed(41)))
    return plain(x.detach()) * torch.where(draw.real < 0, -1.0, 1.0).to(draw.real.dtype)


# -- elements that are all alike ---------------------------------------------------------------------------------------


def is_special(x: torch.Tensor) -> bool:
    """Whether all is zero, or more than one element is there and all are equal, or it is a symmetric matrix."""
    x = plain(x.detach())
    if not x.numel() or bool((x != x.flatten()[0]).any()):
        return x.dim() > 1 and x.shape[-1] == x.shape[-2] > 1 and bool((x == x.mT).all())
    return x.numel() > 1 or not bool(x.any())


def apart(map: Map, found: Answer, tolerance: float) -> Answer:
    """The same where elements that are all alike are not so."""
    again = None
    for signed in (True, False):  # a root, a logarithm: to the one side only
        at = [unlike_each_other(x, signed) if is_special(x) else x for x in map.at]
        again = held_at(map, at, tolerance)
        if again.settled:
            return moved_there(found, again, at)
    names = [name for name, x in zip(map.names, map.at, strict=True) if is_special(x)]
    why = f"only where the elements of {' and '.join(names)} are all alike: elsewhere {again.why}"
    return replace(found, beside=[*found.beside, why])


def is_nothing(x: torch.Tensor) -> bool:
    return x.numel() > 0 and not bool(plain(x.detach()).any())


def farther(map: Map, found: Answer, tolerance: float) -> Answer:
    """The same past the bends that zeros come nowhere near: where these are large, and where they are small."""
    for size in FARTHER:
        at = [_up_to(size, unlike_each_other(x)) if is_nothing(x) else x for x in map.at]
        again = held_at(map, at, tolerance)
        if again.settled and any(look.differs(GROSS) for look in again.wrong):
            return moved_there(found, again, at)
    return found


def _up_to(size: float, x: torch.Tensor) -> torch.Tensor:
    return x * (size / float(plain(x).abs().max()))


def unlike_each_other(x: torch.Tensor, signed: bool = True) -> torch.Tensor:
    """No two elements alike: by less than their size; in the place of zeros, up to one."""
    x = plain(x.detach())
    draw = plain(drawn(x, torch.Generator().manual_seed(43)))
    part = torch.complex(draw.real.tanh(), draw.imag.tanh()) if draw.is_complex() else draw.tanh()
    filled = part if signed or part.is_complex() else part.abs()
    return torch.where(x == 0, filled, x * (1 + APART * part)).to(x.dtype)
