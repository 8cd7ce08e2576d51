"""What looks at a map say: one output and one input a look; and, of several points, the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from .numbers import Slope

UNSETTLED = 0.05  # of a slope: so far apart are those of two steps where nothing can be told


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
