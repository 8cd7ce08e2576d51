"""Hold the gradients that a map claims against differences of its values, each input and element at its own scale.

A map takes tensors to tensors and says what its gradients are: a forward with its backward, or a backward with its own
double backward. One look moves one input (or those elements of it that are of one size) along a random direction and
weights one output (or those elements of it that are of one size) at random: <gradient, direction> beside the slope.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from ..words import said_within
from .numbers import STEPS, Slope, all_moved, close, drawn, in_one_row, moved, plain, steepest

POINTS = ((0, 0.0), (1, 1e-3), (2, 1e-2))  # (draw, relative distance from the given point)
DECADES = 4.0  # elements of one tensor whose sizes are further apart are moved, and weighted, apart
FAR_SMALLER = 30.0
QUICK = {64: 1e-6, 32: 1e-3}
EPS = {64: 1e-15, 32: 1e-6}
UNSETTLED = 0.05  # of a slope: so far apart are those of two steps where nothing can be told
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


@dataclass(frozen=True)
class Look:
    """One output and one input: what the gradient says of a direction, and what differences say.

    `scale` is how large the two could be if nothing cancelled.
    """

    output: str
    input: str
    told: float
    slope: Slope
    scale: float
    noise: float
    is_whole: bool = True  # whether all outputs are finite: of the others nothing is weighted
    lost: float = 0.0  # up to which a gradient may be the rounding of larger ones, of other elements of this output
    floor: float = 0.0  # up to which all of it may be rounding inside, as where a sigmoid is flat

    def differs(self, tolerance: float) -> bool:
        limit = max(self.scale, abs(self.slope.value)) if math.isfinite(self.told) else 0.0
        gap = abs(self.told - self.slope.value)
        if not math.isfinite(self.slope.value):
            return False
        if not math.isfinite(self.told):
            return self.slope.error <= 1e-2 * abs(self.slope.value) + self.noise
        return gap > max(20 * self.slope.error, tolerance * limit, self.noise, self.lost)

    def would_differ(self, tolerance: float) -> bool:
        """Whether it differs, were nothing lost in the rounding of larger parts."""
        return replace(self, lost=0.0).differs(tolerance)

    def is_sure(self, tolerance: float) -> bool:
        """Whether the two are the same, and differences are settled enough to say so."""
        limit = max(self.scale, abs(self.slope.value))
        if not self.is_whole:
            return False
        if self.vanishes:  # what is right is told at other points
            return True
        if not math.isfinite(self.gap) or self.gap <= max(tolerance * limit, self.noise):
            return math.isfinite(self.gap)
        return not self.would_differ(tolerance) and self.slope.error <= UNSETTLED * limit

    @property
    def vanishes(self) -> bool:
        """Whether nothing can be told, since both are as small as rounding inside may be."""
        return max(abs(self.told), self.scale) <= self.floor and abs(self.slope.value) <= self.floor

    @property
    def is_lost(self) -> bool:
        """Whether what differs may be no more than the rounding of larger parts."""
        return self.gap <= self.lost

    @property
    def gap(self) -> float:
        return abs(self.told - self.slope.value)


@dataclass
class Answer:
    """What came of holding a map against its differences. `settled`: whether there was anything to hold it against."""

    wrong: list[Look]
    looks: list[Look]
    settled: bool = True
    why: str = ""  # where it was not settled
    at_given: bool = True  # whether it is wrong at the given point
    unknown: list[str] = field(default_factory=list)  # of the given point: what was compared with nothing, and why
    beside: list[str] = field(default_factory=list)  # of the given point: what was compared with points nearby
    given: list[Look] | None = None  # the looks at the given point: none where no output is finite there
    only_here: bool = False  # whether it is wrong at the given point alone
    where: list[torch.Tensor] | None = None  # another point, at which it is wrong, where the given one does not show it

    @property
    def ok(self) -> bool:
        return self.settled and not self.wrong

    def is_told(self, tolerance: float) -> bool:
        """Whether all was compared at the given point itself, and nothing differs there."""
        return self.settled and bool(self.given) and all(look.is_sure(tolerance) for look in self.given)

    @property
    def is_finite(self) -> bool:
        """Whether there are numbers to compare at the given point."""
        return bool(self.given) and all(math.isfinite(look.gap) for look in self.given)

    @property
    def errors(self) -> dict[str, float]:
        """The largest difference for each input."""
        found: dict[str, float] = {}
        for look in self.looks:
            gap = look.gap if not math.isnan(look.gap) else math.nan
            known = found.get(look.input, 0.0)
            found[look.input] = gap if math.isnan(gap) else max(known, gap)
        return found

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs whose gradient is wrong, in the order of the looks."""
        return list(dict.fromkeys(look.input for look in self.wrong))


def differing(looks: list[Look], tolerance: float) -> list[Look]:
    return [look for look in looks if look.differs(tolerance)]


def voted(points: Sequence[list[Look] | str], tolerance: float) -> Answer:
    """What differs at most of the points where something could be told."""
    told = [looks for looks in points if isinstance(looks, list)]
    finite = [looks for looks in told if looks and all(math.isfinite(look.slope.value) for look in looks)]
    if not finite:
        reasons = [why for why in points if isinstance(why, str)]
        return Answer([], told[0] if told else [], False, reasons[0] if reasons else "it gives no finite numbers there")
    wrong: dict[tuple[str, str], list[Look]] = {}
    for looks in finite:
        for key, look in {(look.output, look.input): look for look in differing(looks, tolerance)}.items():
            wrong.setdefault(key, []).append(look)
    chosen = [seen[0] for seen in wrong.values() if len(seen) * 2 > len(finite)]
    return Answer(chosen, finite[0], at_given=any(look in chosen for look in told[0]))


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


def rounded(y: torch.Tensor) -> float:
    """The largest element: what is far smaller may be what is left of a difference, and stand still in small steps."""
    return float(plain(y.detach()).abs().nan_to_num(0, 0, 0).max()) if y.numel() else 0.0


def rounding_of(gradients: torch.Tensor, way: torch.Tensor, bits: int) -> float:
    """Along a way, of the largest of these gradients: what is as small may be rounding, as in `sigmoid(x) - 1`."""
    largest = torch.where(way != 0, gradients, 0.0).abs().nan_to_num(0, 0, 0).max() if way.numel() else 0.0
    return EPS[bits] * float(largest * way.double().norm())


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


# -- sizes ---------------------------------------------------------------------------------------------------------


def reach(x: torch.Tensor, masks: list[torch.Tensor] | None = None) -> torch.Tensor:
    """How far each element may be moved for a step: as others of its group, or by its own size if it is far smaller.
    `masks`: its groups, where they are known."""
    own = plain(x.detach()).abs().double()
    size = torch.zeros_like(own)
    for group in groups(x) if masks is None else masks:
        rms = float(own[group].square().mean().sqrt())
        rms = rms if rms > 0 and math.isfinite(rms) else 1.0
        size = torch.where(group, torch.where((own > 0) & (own < rms / FAR_SMALLER), own, rms), size)
    return size


def groups(x: torch.Tensor) -> list[torch.Tensor]:
    """Masks of the elements that are of one size, up to `DECADES`; infinite ones are in none, zeros with the last."""
    own = plain(x.detach()).abs().double()
    if own.numel():
        low, high = own.aminmax()
        if float(low) > 0 and float(high) <= 10**DECADES * float(low) < math.inf:
            return [torch.ones_like(own, dtype=torch.bool)]
    finite = torch.isfinite(own)
    sized = finite & (own > 0)
    if not bool(sized.any()):
        return [finite] if bool(finite.any()) else []
    logs = torch.log10(own.where(sized, own.new_ones(())))
    top = float(logs[sized].max())
    if float(top - logs[sized].min()) <= DECADES:
        return [finite]
    rank = ((top - logs) / DECADES).floor()
    ranks = rank[sized].unique().tolist()
    masks = [sized & (rank == r) for r in ranks]
    masks[-1] = masks[-1] | (finite & ~sized)
    return masks


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
