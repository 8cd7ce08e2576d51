"""Hold the gradients that a map claims against differences of its values, each input and element at its own scale.

A map takes tensors to tensors and says what its gradients are: a forward with its backward, or a backward with its own
double backward. One look moves one input (or those elements of it that are of one size) along a random direction and
weights one output (or those elements of it that are of one size) at random: <gradient, direction> beside the slope.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ..words import said_within
from .answer import Look
from .numbers import STEPS, Slope, all_moved, close, drawn, in_one_row, moved, plain, steepest
from .sizes import EPS, groups, reach, rounded, rounding_of

POINTS = ((0, 0.0), (1, 1e-3), (2, 1e-2))  # (draw, relative distance from the given point)
QUICK = {64: 1e-6, 32: 1e-3}
FLOOR = {64: 1e-9, 32: 1e-3}  # of a gradient of ones: what is smaller may be the rounding of numbers near one


class Map(Protocol):
    """`at`: the point; `names`: of the inputs; `made`: of the outputs. `exact`: the right gradients, like `vjp`, where
    they are known otherwise than by differences. `is_free`: whether it is also defined far from the given point."""

    is_free: bool
    exact: Callable | None
    at: list[torch.Tensor]
    names: list[str]
    made: list[str]
    bits: int

    def values(self, at: list[torch.Tensor]) -> list[torch.Tensor | None]: ...

    def vjp(self, at: list[torch.Tensor], weights: list[torch.Tensor]) -> list[torch.Tensor | None]: ...

    def both(self, at: list[torch.Tensor]) -> tuple[list[torch.Tensor | None], Callable]:
        """The values, and what gives the gradients for some weights: of one run, where that is enough."""


def attempted(map: Map, draw: int, jitter: float, quick: float = 0.0) -> list[Look] | str:
    """The looks at one point, or why there are none: beside the given point a map may be undefined."""
    try:
        return look_at(map, beside(map.at, draw, jitter), draw, quick)
    except Exception as error:
        return f"it raises {said_within(error)}"


def beside(at: list[torch.Tensor], draw: int, jitter: float) -> list[torch.Tensor]:
    """A point at this relative distance, each element measured by its own size."""
    if not jitter:
        return at
    generator = torch.Generator().manual_seed(1000 + draw)
    return all_moved(at, [drawn(x, generator) * reach(x) for x in at], jitter)


def look_at(map: Map, at: list[torch.Tensor], draw: int, quick: float = 0.0) -> list[Look]:
    """Every output, weighted, beside every input, moved. `quick`: one step is enough where the two agree so far."""
    generator = torch.Generator().manual_seed(2000 + draw)
    base, vjp = map.both(at)
    weighted = weightings(base, generator)
    ways = [d for i in range(len(at)) for d in _directions(at, i, generator)]
    if not weighted:
        return []
    sides, y = Sides(map, at, base, torch.stack([_flat(weights, base) for _, weights in weighted])), _flat(base, base)
    natural = sides.weighted(y).square().sum(1).sqrt().tolist()
    asked = [vjp, *[lambda weights: map.vjp(at, weights)] * (len(weighted) - 1)]  # anew: it may change what it reads
    gradients = torch.stack([_flat(ask(weights), at) for ask, (_, weights) in zip(asked, weighted, strict=True)])
    # an infinite element is not moved, whatever its gradient, and makes 0 * inf of what it is multiplied with
    told_of = all(bool(torch.isfinite(plain(x)).all()) for x in at)
    claims = [Claim.of(gradients, sides.along(way), told_of) for way in ways]
    if map.exact:
        right = torch.stack([_flat(map.exact(at, weights), at) for _, weights in weighted])
        truths = [Claim.of(right, sides.along(way), told_of) for way in ways]
        slopes = [[Slope(t, 0.0) for t in truth.told] for truth in truths]
    else:
        slopes = sides.slopes(ways, claims, quick)
    is_whole = not told_of or bool(torch.isfinite(y).all())  # of an infinite input an infinite output is no wonder
    if not is_whole:  # an infinite output is weighted with zeros too, and zero times inf is nan
        slopes = [
            [s if math.isfinite(t) else Slope(math.nan, math.inf) for s, t in zip(slope, claim.told, strict=True)]
            for slope, claim in zip(slopes, claims, strict=True)
        ]
    rounding = EPS[map.bits] / (1e-5 if map.bits == 64 else 1e-2)
    largest = [rounding * rounded(base[j]) for j, _ in weighted]
    heavy = sides.rows.abs().amax(1).tolist()
    wide = [float(way.abs().max()) for _, way in ways]
    of_output = [gradients[[k for k, (other, _) in enumerate(weighted) if other == j]] for j, _ in weighted]
    lost = [[rounding_of(each, sides.along(way), map.bits) for each in of_output] for way in ways]
    return [
        Look(
            map.made[j],
            map.names[i],
            claim.told[k],
            slope[k],
            claim.scales[k],
            rounding * natural[k],
            is_whole,
            of[k] + largest[k],
            FLOOR[map.bits] * max(heavy[k] * far, natural[k]),
        )
        for (i, _), claim, slope, of, far in zip(ways, claims, slopes, lost, wide, strict=True)
        for k, (j, _) in enumerate(weighted)
    ]


Way = tuple[int, torch.Tensor]  # which input is moved, and how


@dataclass(frozen=True)
class Claim:
    """What the gradients say of one way, for each weighting; and how large that could be if nothing cancelled."""

    told: list[float]
    scales: list[float]

    @classmethod
    def of(cls, gradients: torch.Tensor, way: torch.Tensor, told_of: bool) -> Claim:
        counts = (way != 0) & (told_of | gradients.isfinite())
        parts = torch.where(counts, gradients * way, 0.0)
        return cls(parts.sum(1).tolist(), parts.square().sum(1).sqrt().tolist())

    def is_like(self, other: Claim) -> bool:
        """Whether both say zero of the same weightings, and of no other the one far less: then one step tells of both
        as well as of each."""
        pairs = zip(self.scales, other.scales, strict=True)
        return all(a == b == 0.0 or 0.0 < max(a, b) <= ALIKE * min(a, b) for a, b in pairs)


ALIKE = 1e3


class Sides:
    """A map on both sides of a point: how its values, weighted, change along a way. `rows`: one weighting each."""

    def __init__(self, map: Map, at: list[torch.Tensor], base: list, rows: torch.Tensor) -> None:
        self.map, self.at, self.base, self.rows = map, at, base, rows
        self.weighs = rows != 0

    def weighted(self, values: torch.Tensor) -> torch.Tensor:
        return torch.where(self.weighs, self.rows * values, 0.0)

    def along(self, way: Way) -> torch.Tensor:
        """In one row with the inputs that are not moved."""
        i, direction = way
        return _flat([direction if k == i else None for k in range(len(self.at))], self.at)

    def slopes(self, ways: list[Way], claims: list[Claim], quick: float) -> list[list[Slope]]:
        """Of each way, for each weighting. Ways that are alike are moved together, and each where that is not enough:
        what two random ones hide from each other is no more than what one hides."""
        found: dict[int, list[Slope]] = {}
        for group in _alike(claims) if quick else ():
            if len(group) > 1 and (joint := self.joint([ways[k] for k in group], [claims[k] for k in group], quick)):
                found |= zip(group, joint, strict=True)
        return [found.get(k) or self.alone(*pair, quick) for k, pair in enumerate(zip(ways, claims, strict=True))]

    def joint(self, ways: list[Way], claims: list[Claim], quick: float) -> list[list[Slope]] | None:
        """Where one step along all of them gives what the gradients say, up to `quick` of the least of them."""
        told = [sum(each) for each in zip(*(claim.told for claim in claims), strict=True)]
        near = [quick * min(each) for each in zip(*(claim.scales for claim in claims), strict=True)]
        try:
            steps = self.change(ways, STEPS[self.map.bits][0])
        except Exception:  # it may be defined along each of them
            return None
        gaps = [a - b for a, b in zip(steps, told, strict=True)]
        if not all(abs(gap) <= n for gap, n in zip(gaps, near, strict=True)):
            return None
        return [[Slope(t + gap, n) for t, gap, n in zip(claim.told, gaps, near, strict=True)] for claim in claims]

    def alone(self, way: Way, claim: Claim, quick: float) -> list[Slope]:
        steps: dict[float, list[float]] = {}
        for h in STEPS[self.map.bits]:
            found = steps[h] = self.change([way], h)
            near = [quick * scale for scale in claim.scales]
            if quick and len(steps) == 1 and all(map(_within, found, claim.told, near)):
                return [Slope(a, n) for a, n in zip(found, near, strict=True)]
            if len(steps) > 1 and all(close(a, b) for a, b in zip(*list(steps.values())[:2], strict=True)):
                break
        return [steepest({h: row[k] for h, row in steps.items()}) for k in range(len(self.rows))]

    def change(self, ways: list[Way], h: float) -> list[float]:
        """By how much each weighting changes from one side to the other, for one step."""
        ends = [_flat(self.map.values(_with(self.at, ways, s * h)), self.base) for s in (1, -1)]
        change = ends[0] - ends[1]
        change[ends[0] == ends[1]] = 0.0  # also infinities of one sign
        return (self.weighted(change).sum(1) / (2 * h)).tolist()


def _within(a: float, b: float, near: float) -> bool:
    return abs(a - b) <= near


def _alike(claims: list[Claim]) -> list[list[int]]:
    """Places of claims that are alike."""
    groups: list[list[int]] = []
    for k, claim in enumerate(claims):
        group = next((each for each in groups if all(claim.is_like(claims[i]) for i in each)), None)
        groups.append([k]) if group is None else group.append(k)
    return groups


def _with(at: list[torch.Tensor], ways: list[Way], h: float) -> list[torch.Tensor]:
    found = list(at)
    for i, way in ways:
        found[i] = moved(found[i], way, h)
    return found


# -- weights and directions -----------------------------------------------------------------------------------------


def weightings(base: list, generator: torch.Generator) -> list[tuple[int, list]]:
    """Random weights of each output, one after another: its place, and weights of all."""
    return [w for j in range(len(base)) for w in _weightings(base, j, generator)]


def _weightings(base: list, j: int, generator: torch.Generator) -> list[tuple[int, list]]:
    """Random weights of one output, zeros for the others; an output of very different sizes is weighted in parts."""
    y = base[j]
    if y is None or not y.numel():
        return []
    zeros = [None if other is None else torch.zeros_like(plain(other)) for other in base]
    made = drawn(y, generator)
    masks = groups(y)
    return [(j, [*zeros[:j], torch.where(mask, made, torch.zeros_like(made)), *zeros[j + 1 :]]) for mask in masks]


def _directions(at: list, i: int, generator: torch.Generator) -> list[tuple[int, torch.Tensor]]:
    """A random direction of one input; for one of very different sizes a direction for each of them."""
    x = at[i]
    if not x.numel():
        return []
    masks = groups(x)
    made = drawn(x, generator) * reach(x, masks).to(plain(x).dtype)
    return [(i, torch.where(mask, made, torch.zeros_like(made))) for mask in masks]


def _flat(tensors: Sequence, like: Sequence) -> torch.Tensor:
    """All of them in one row of real numbers; None is zeros."""
    parts = []
    for tensor, shape_of in zip(tensors, like, strict=True):
        if shape_of is None:
            continue
        if tensor is None:
            count = shape_of.numel() * (2 if shape_of.is_complex() else 1)
            parts.append(torch.zeros(count, dtype=torch.float64, device=shape_of.device))
            continue
        tensor, like_ = plain(tensor.detach()), plain(shape_of.detach())
        if tensor.shape != like_.shape:  # the engine also sums a gradient to its input's shape
            tensor = tensor.sum_to_size(like_.shape)
        if like_.is_complex() and not tensor.is_complex():
            tensor = tensor.to(torch.complex128)
        real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
        parts.append(real.reshape(-1).double())
    return in_one_row(parts) if parts else torch.zeros(0, dtype=torch.float64)
