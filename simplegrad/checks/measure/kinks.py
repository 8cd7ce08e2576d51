"""What differences cannot tell at the given point itself: a kink, a jump, an edge of the domain, a slope without bound.

At a kink a gradient may be that of either side, or lie between the two: it is held against those of points nearby. A
gradient that no point nearby has, where they are all alike, is wrong, be it at this one point. Elements of which
nothing can be told are left out, so that all others are compared; and they are named.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from .answer import UNSETTLED, Answer, Look
from .elements import elements
from .holding import held, is_uneven
from .looks import FLOOR, weightings
from .numbers import STEPS, Slope, all_moved, close, drawn, grows, one_moved, plain, steepest
from .sizes import EPS, reach, rounded, rounding_of

NEAR = {64: 1e-5, 32: 1e-2}  # relative distance of the points nearby
CLOSER = 30.0  # times closer
ROUNDING = {64: 1e-9, 32: 1e-4}
EDGE = {64: (1e-3, 1e-4, 1e-5), 32: (9e-2, 3e-2, 1e-2)}  # steps to one side
SHORTER = 10  # times, than the distance to a point nearby: the steps of differences there
ALIKE = 1e-2  # of a slope: so far apart may those to two sides be without a kink between them
FAR = 0.1
NOTHING = {64: 1e-7, 32: 1e-3}  # of the slope of a move so far: such slopes are zero
MOST_ALONE = 16  # elements that are moved one by one
AROUND = 12  # random points, and the opposite ones, in which each of a few elements is once the largest, say


def judged_at_given(map: Any, tolerance: float) -> Answer:
    """As `held` says; and where it could not tell at the given point, what can be told there element by element."""
    found = held(map, tolerance)
    if not any(x.numel() for x in map.at):
        return replace(found, settled=True)
    if found.wrong or found.is_told(tolerance) or (is_uneven(map.at) and found.is_finite):
        return found
    try:
        point = Point(map, tolerance, alone=not found.settled)
        parts = [*(part for i in range(len(map.at)) for part in point.of_input(i)), point.of_outputs()]
    except Exception:  # not even at the given point itself
        return replace(found, unknown=[*found.unknown, found.why or "it cannot be run again there"])
    looks = [look for part in parts for look in part.looks]
    wrong = [look for look in looks if look.differs(tolerance) and not look.vanishes]
    unknown = list(dict.fromkeys(said for part in parts for said in part.unknown))
    beside = list(dict.fromkeys([*found.beside, *(said for part in parts for said in part.beside)]))
    settled = found.settled or bool(looks or beside)
    return Answer(wrong, looks, settled, found.why, True, unknown, beside, found.given, only_here=found.settled)


@dataclass
class Part:
    """Of one input and one output: what was compared, what is beside a kink, what nothing can be told of."""

    looks: list[Look]
    beside: list[str]
    unknown: list[str]


class Point:
    """The given point of a map, with pairs of opposite points nearby, and pairs that are closer."""

    def __init__(self, map: Any, tolerance: float, alone: bool) -> None:
        """`alone`: points further off tell nothing."""
        self.map, self.tolerance, self.alone = map, tolerance, alone
        self.base = map.values(map.at)
        self.weightings = weightings(self.base, torch.Generator().manual_seed(2000))
        self.ways = [drawn(x, torch.Generator().manual_seed(2100 + i)) * reach(x) for i, x in enumerate(map.at)]
        self.near = (NEAR[map.bits], -NEAR[map.bits])
        self.far, self.close = (list(self._around(by)) for by in (NEAR[map.bits], NEAR[map.bits] / CLOSER))
        self.steady = [None if y is None else self._is_steady(k, plain(y.detach())) for k, y in enumerate(self.base)]

    def _around(self, by: float) -> Iterator[list[torch.Tensor]]:
        for draw in range(2):
            generator = torch.Generator().manual_seed(3000 + draw)
            signs = [torch.sign(plain(drawn(x, generator)).real) for x in self.map.at]
            for sign in (by, -by):
                at = all_moved(self.map.at, [s * reach(x) for x, s in zip(self.map.at, signs)], sign)
                if self._values(at) is not None:
                    yield at

    def _values(self, at: list[torch.Tensor]) -> list[torch.Tensor | None] | None:
        try:
            return self.map.values(at)
        except Exception:  # not defined there
            return None

    def _is_steady(self, k: int, y: torch.Tensor) -> torch.Tensor:
        """Which elements of an output change the less the closer a point is."""
        far, near = ([_change(self._values(at)[k], y) for at in each] for each in (self.far, self.close))
        jumps = _jumps(_most(far, y), _most(near, y), _size(y), self.map.bits) if far and near else False
        return torch.isfinite(y) & ~jumps if far and near else torch.isfinite(y)

    def of_outputs(self) -> Part:
        """Elements of outputs that are not finite: through an infinity that is everywhere the same no gradient goes."""
        part = Part([], [], [])
        if not all(bool(torch.isfinite(plain(x.detach())).all()) for x in self.map.at):
            return part
        for k, y in enumerate(self.base):
            lost = torch.zeros(0, dtype=torch.bool) if y is None else ~torch.isfinite(plain(y.detach()))
            if bool(lost.any()) and not self._is_constant(k, lost):
                kind = "nan" if bool(plain(y.detach()).isnan().any()) else "infinite"
                part.unknown.append(f"{elements(self.map.made[k], lost)} is {kind}: nothing can be compared with that")
        return part

    def _is_constant(self, k: int, lost: torch.Tensor) -> bool:
        y = plain(self.base[k].detach())
        around = [plain(self._values(at)[k].detach()) for at in (*self.far, *self.close)]
        if not around or not all(torch.equal(each[lost], y[lost]) for each in around):
            return False
        weights = [None if other is None else torch.zeros_like(plain(other)) for other in self.base]
        weights[k] = torch.where(lost, torch.ones_like(y), torch.zeros_like(y))
        found = zip(self.map.vjp(self.map.at, weights), self.map.at, strict=True)
        known = [(_fitting(g, x), torch.isfinite(plain(x.detach()))) for g, x in found]
        return not any(bool((g[is_moved] != 0).any()) for g, is_moved in known)

    # -- one input -------------------------------------------------------------------------------------------------

    def of_input(self, i: int) -> Iterator[Part]:
        for j, weights in self.weightings:
            yield self._part(i, j, weights)

    def _part(self, i: int, j: int, weights: list) -> Part:
        x, given = plain(self.map.at[i].detach()), self._gradient(self.map.at, weights, i)
        kinks, odd, outside = self._beside(i, weights, given)
        movable, finite = torch.isfinite(x), torch.isfinite(given)
        steady = [None if w is None else torch.where(s, w, torch.zeros_like(w)) for w, s in zip(weights, self.steady)]
        asked = given if all(s is None or bool(s.all()) for s in self.steady) else None
        asked = self._gradient(self.map.at, steady, i) if asked is None else asked
        rest = movable & finite & torch.isfinite(asked) & ~kinks & ~outside
        look = self._look(i, j, steady, asked, rest)
        if look is not None and not look.is_sure(self.tolerance):  # along this way more may jump than at points nearby
            steady = self._steady_along(i, steady, rest)
            asked = self._gradient(self.map.at, steady, i)
            look = self._look(i, j, steady, asked, rest & torch.isfinite(asked))
        part = Part([] if look is None else [look], [], [])
        is_wrong = look is not None and self.alone and look.differs(self.tolerance) and not bool((odd | kinks).any())
        if look is not None and not look.is_sure(self.tolerance) and not is_wrong:
            part.looks.clear()
            self._unlike(part, i, j, steady, asked, rest, odd, look)
        if bool((kinks & movable).any()):
            part.looks += self._wrong_sides(i, j, steady, kinks & movable)
            part.looks += self._along_ties(i, j, steady, asked, kinks & movable)
            part.beside.append(f"at a kink at {elements(self.map.names[i], kinks & movable)} it is that of a side")
        if bool((outside & movable).any()):
            part.looks += self._outside(i, j, weights, given, outside & movable)
        if bool((lost := movable & ~finite).any()):
            self._lost(part, i, j, weights, given, lost)
        return part

    def _outside(self, i: int, j: int, weights: list, g: torch.Tensor, mask: torch.Tensor) -> Iterator[Look]:
        """Elements at a kink whose gradient is beyond that of any point around it, beside the nearest of those."""
        low, high = self._hull(i, weights, mask)
        nearest = torch.minimum(torch.maximum(g.double(), low), high).to(g.dtype)
        way = torch.where(mask, torch.sign(g - nearest) * reach(self.map.at[i]).to(g.dtype), torch.zeros_like(g))
        slope = Slope(float((nearest * way)[mask].double().sum()), 0.0)
        yield self._told(i, j, _plain(weights), g, mask, way, slope)

    def _along_ties(self, i: int, j: int, weights: list, g: torch.Tensor, kinks: torch.Tensor) -> Iterator[Look]:
        """All elements of a tie moved together: where there is one slope to both sides, it is that of any gradient."""
        row, x = _plain(weights), plain(self.map.at[i].detach())
        size = torch.where(kinks, reach(x).to(x.dtype), torch.zeros_like(x))
        for way in (size, size * torch.sign(x)) if int(kinks.sum()) > 1 and not x.is_complex() else ():
            look = self._told(i, j, row, g, kinks, way, self._slope_at(self.map.at, i, way, row))
            if look.differs(max(self.tolerance, ALIKE)) and not look.vanishes:
                yield look

    def _wrong_sides(self, i: int, j: int, weights: list, kinks: torch.Tensor) -> Iterator[Look]:
        """Of a kink that only backward has: its sides are held against differences at points beside the given one."""
        row = _plain(weights)
        way = torch.where(kinks, self.ways[i].to(plain(self.map.at[i]).dtype), torch.zeros_like(self.ways[i]))
        for at in self._off_ties():
            beside = one_moved(at, i, way, NEAR[self.map.bits] / SHORTER)
            slope = self._slope_at(at, i, way, row)
            parts, again = ((self._gradient(p, weights, i) * way)[kinks].double() for p in (at, beside))
            noise = EPS[self.map.bits] * self._weighed(row) * SHORTER / NEAR[self.map.bits]
            scale = float(parts.square().sum().sqrt())
            look = Look(self.map.made[j], self.map.names[i], float(parts.sum()), slope, scale, noise)
            is_steady = abs(look.told - float(again.sum())) <= ALIKE * scale  # and no rounding
            if is_steady and look.differs(max(self.tolerance, ALIKE)):
                yield look

    def _off_ties(self) -> Iterator[list[torch.Tensor]]:
        """Pairs of opposite points nearby, where no two elements moved as far."""
        for draw in range(2):
            generator = torch.Generator().manual_seed(3500 + draw)
            ways = [_uneven(drawn(x, generator), drawn(x, generator)) * reach(x) for x in self.map.at]
            for sign in (NEAR[self.map.bits], -NEAR[self.map.bits]):
                yield all_moved(self.map.at, ways, sign)

    def _slope_at(self, at: list[torch.Tensor], i: int, way: torch.Tensor, row: list) -> Slope:
        """Between the slopes to the two sides; without bound in its error where they differ, as at a kink."""
        h = NEAR[self.map.bits] / SHORTER
        ends = [self._values(one_moved(at, i, way, s * h)) for s in (-1, 0, 1)]
        if any(end is None for end in ends):
            return Slope(math.nan, math.inf)
        left, right = (self._between(row, *pair) / h for pair in zip(ends[:-1], ends[1:], strict=True))
        noise = EPS[self.map.bits] * self._weighed(row) / h
        is_smooth = abs(right - left) <= ALIKE * max(abs(left), abs(right)) + noise
        return Slope((left + right) / 2, 0.0 if is_smooth else math.inf)

    @staticmethod
    def _between(row: list, start: list, end: list) -> float:
        pairs = zip(row, start, end, strict=True)
        return sum(_weighted(w, plain(b.detach()) - plain(a.detach())) for w, a, b in pairs if w is not None)

    def _weighed(self, row: list) -> float:
        """The size of the weighted outputs, to which differences are rounded."""
        pairs = [(w, plain(y.detach())) for w, y in zip(row, self.base) if w is not None]
        return math.sqrt(sum(float((w * y)[w != 0].abs().double().square().sum()) for w, y in pairs))

    def _steady_along(self, i: int, weights: list, mask: torch.Tensor) -> list:
        """The weights, without those of outputs that jump where these elements move."""
        way = torch.where(mask, self.ways[i].to(plain(self.map.at[i]).dtype), torch.zeros_like(plain(self.map.at[i])))
        ends = [self._ends(i, way, h) for h in (NEAR[self.map.bits], NEAR[self.map.bits] / CLOSER)]
        if any(end is None for end in ends):
            return weights
        found = []
        for k, w in enumerate(weights):
            if w is None:
                found.append(None)
                continue
            far, near = (_most([end[0][k], end[1][k]], w) for end in ends)
            jumps = _jumps(far, near, _size(plain(self.base[k].detach())), self.map.bits)
            found.append(torch.where(jumps, torch.zeros_like(w), w))
        return found

    def _ends(self, i: int, way: torch.Tensor, h: float) -> list[list[torch.Tensor]] | None:
        """By how much each output changes to the two sides."""
        both = [self._values(one_moved(self.map.at, i, way, s * h)) for s in (1, -1)]
        if any(values is None for values in both):
            return None
        pairs = [[(v, y) for v, y in zip(values, self.base, strict=True)] for values in both]
        return [[None if y is None else _change(v, plain(y.detach())) for v, y in each] for each in pairs]

    def _gradient(self, at: list[torch.Tensor], weights: list, i: int) -> torch.Tensor:
        return _fitting(self.map.vjp(at, weights)[i], self.map.at[i])

    def _beside(self, i: int, weights: list, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Elements at a kink whose gradient is that of a side or between them; elements with one that is nowhere; and
        elements at a kink with one that is surely beyond all around it."""
        far, near = ([self._gradient(at, weights, i) for at in each] for each in (self.far, self.close))
        none = torch.zeros(given.shape, dtype=torch.bool, device=given.device)
        if not far or not near or given.is_complex():
            return none, none, none
        low, high = _bounds(near)
        size = _size(torch.stack(near))
        slack = self.tolerance * (torch.maximum(low.abs(), high.abs()).nan_to_num(0, 0, 0) + 0.1 * size)
        inside = (given >= low - slack) & (given <= high + slack)
        wide = _most([high - low], given)
        kinked = _jumps(_most([torch.sub(*reversed(_bounds(far)))], given), wide, size, self.map.bits) & (wide > slack)
        known = torch.isfinite(low) & torch.isfinite(given)
        doubtful = ~inside & known
        if not bool(doubtful.any()) or not bool(kinked.any()) or int(doubtful.sum()) > MOST_ALONE:
            return kinked & inside, ~kinked & doubtful, none
        low, high = self._hull(i, weights, doubtful)
        is_tie = doubtful & (high - low > slack)
        outside = is_tie & ((given < low - slack) | (given > high + slack))
        is_steady = all(s is None or bool(s.all()) for s in self.steady)  # where values jump, gradients may be anything
        return kinked & inside | is_tie & ~outside, ~kinked & doubtful & ~is_tie, outside if is_steady else none

    def _hull(self, i: int, weights: list, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The least and the largest gradient of these elements, each moved alone to both sides, and all at random."""
        size = reach(self.map.at[i]).to(plain(self.map.at[i]).dtype)
        found = []
        for one in (_alone(mask, place) for place in mask.nonzero().tolist()):  # of those that stay nothing is told
            at = [one_moved(self.map.at, i, one * size, by) for by in self.near]
            found += [torch.where(one, g, math.nan) for g in self._gradients(at, weights, i)]
        for draw in range(AROUND):
            generator = torch.Generator().manual_seed(3700 + draw)
            ways = [drawn(x, generator) * reach(x).to(plain(x).dtype) for x in self.map.at]
            at = [all_moved(self.map.at, ways, by) for by in self.near]
            found += self._gradients(at, weights, i)
        return _bounds(found)

    def _gradients(self, points: list, weights: list, i: int) -> list[torch.Tensor]:
        return [self._gradient(at, weights, i) for at in points if self._values(at) is not None]

    # -- differences -----------------------------------------------------------------------------------------------

    def _look(self, i: int, j: int, weights: list, g: torch.Tensor, mask: torch.Tensor) -> Look | None:
        """These elements moved alone: to both sides, or else to the one side where values are defined."""
        if not bool(mask.any()):
            return None
        row = _plain(weights)
        way = torch.where(mask, self.ways[i].to(g.dtype), torch.zeros_like(g))
        found = self._told(i, j, row, g, mask, way, self._central(i, way, row))
        if not found.is_sure(self.tolerance):  # beside what a large move changes, it may be nothing
            far = abs(self._change(i, way, row, FAR) - self._change(i, way, row, -FAR)) / (2 * FAR)
            found = replace(found, noise=max(found.noise, NOTHING[self.map.bits] * far if far == far else 0.0))
        if found.is_sure(self.tolerance) or g.is_complex():
            return found
        inwards = torch.where(plain(self.map.at[i]) > 0, -way.abs(), way.abs())
        for aside in (way.abs(), -way.abs(), inwards, -inwards):
            one = self._told(i, j, row, g, mask, aside, self._to_one_side(i, aside, row))
            if one.is_sure(self.tolerance):
                return one
        return found

    def _told(
        self, i: int, j: int, row: list, g: torch.Tensor, mask: torch.Tensor, way: torch.Tensor, slope: Slope
    ) -> Look:
        parts = (g[mask].conj() * way[mask]).real.double() if g.is_complex() else (g[mask] * way[mask]).double()
        told, scale = float(parts.sum()), float(parts.square().sum().sqrt())
        if self.map.exact is not None:
            truth = _fitting(self.map.exact(self.map.at, row)[i], self.map.at[i])[mask]
            if bool(torch.isfinite(truth).all()):
                slope = Slope(float((truth * way[mask]).double().sum()), 0.0)
        weighed, heavy = self._weighed(row), max(float(w.abs().max()) for w in row if w is not None and w.numel())
        noise = EPS[self.map.bits] * weighed / (1e-5 if self.map.bits == 64 else 1e-2)
        floor = FLOOR[self.map.bits] * max(heavy * float(way.abs().max()), weighed)
        lost = self._lost_in(i, j, way)
        return Look(self.map.made[j], self.map.names[i], told, slope, scale, noise, lost=lost, floor=floor)

    def _lost_in(self, i: int, j: int, way: torch.Tensor) -> float:
        """How large the rounding of a gradient along this way may be, for all elements of an output."""
        found = [self._gradient(self.map.at, weights, i) for k, weights in self.weightings if k == j]
        steps = 1e-5 if self.map.bits == 64 else 1e-2
        values = EPS[self.map.bits] * rounded(self.base[j]) / steps
        return rounding_of(torch.stack(found), way, self.map.bits) + values

    def _change(self, i: int, way: torch.Tensor, row: list, h: float, start: list | None = None) -> float:
        """By how much the weighted outputs change, where one input moves so far; nan where it is not defined there."""
        ends = self._values(one_moved(self.map.at, i, way, h))
        return math.nan if ends is None else self._between(row, self.base if start is None else start, ends)

    def _central(self, i: int, way: torch.Tensor, row: list) -> Slope:
        found: dict[float, float] = {}
        for h in STEPS[self.map.bits]:
            found[h] = (self._change(i, way, row, h) - self._change(i, way, row, -h)) / (2 * h)
            if len(found) == 2 and close(*found.values()):
                break
        return steepest(found)

    def _to_one_side(self, i: int, way: torch.Tensor, row: list) -> Slope:
        found: dict[float, float] = {}
        for h in EDGE[self.map.bits]:
            found[h] = (4 * self._change(i, way, row, h) - self._change(i, way, row, 2 * h)) / (2 * h)
        return steepest(found)

    # -- what is left ----------------------------------------------------------------------------------------------

    def _unlike(
        self, part: Part, i: int, j: int, weights: list, g: torch.Tensor, rest: torch.Tensor, odd: Any, look: Look
    ) -> None:
        """Elements whose gradient is no other point's, where all others are alike and differences say what they do, are
        wrong. Of anything else that differs here alone nothing is known."""
        name, odd = self.map.names[i], odd & rest
        near = [self._gradient(at, weights, i) for at in self.close] if bool(odd.any()) else []
        if near:
            theirs = self._look(i, j, weights, torch.stack(near).nanmean(0), odd)
            own = self._look(i, j, weights, g, odd)
            others = self._look(i, j, weights, g, rest & ~odd)
            if theirs.is_sure(self.tolerance) and own.differs(self.tolerance):
                part.looks.append(own)
            if own.differs(self.tolerance) and (others is None or others.is_sure(self.tolerance)):
                part.looks += [others] if others is not None else []
                if part.looks and part.looks[0] is own:
                    return
            rest = odd if others is None or others.is_sure(self.tolerance) else rest
        if look.is_lost:
            how = f"differences say {look.slope.value:.3g}, which is lost in the rounding of larger gradients"
        elif not math.isfinite(look.slope.value):
            how = "the values of forward beside it are not finite, or it raises there"
        elif look.slope.error <= UNSETTLED * abs(look.slope.value):
            how = f"differences say {look.slope.value:.3g}, points nearby confirm neither"
        else:
            how = f"differences do not settle ({look.slope.value:.3g}, give or take {look.slope.error:.2g})"
        part.unknown.append(f"{elements(name, rest)}: {how}, and the gradient says {look.told:.3g} along them")

    def _lost(self, part: Part, i: int, j: int, weights: list, g: torch.Tensor, lost: torch.Tensor) -> None:
        """Elements whose gradient is not finite: right where the slope has no bound, wrong where it is a number."""
        name, isnan = self.map.names[i], g.isnan() & lost
        told = elements(name, lost)
        if not bool(isnan.any()) and not g.is_complex() and self._is_unbounded(i, weights, g, lost):
            part.beside.append(f"infinite at {told}, as the slope there is")
            return
        if all(s is None or bool(s.all()) for s in self.steady) and not g.is_complex():
            way = torch.where(lost, self.ways[i].to(g.dtype), torch.zeros_like(g))
            row = _plain(weights)
            sides = [self._to_one_side(i, way, row), self._to_one_side(i, -way, row)]
            ends = Slope((sides[0].value - sides[1].value) / 2, abs(sides[0].value + sides[1].value) + sides[0].error)
            if math.isfinite(ends.value) and ends.error <= 1e-3 * abs(ends.value) + ROUNDING[self.map.bits]:
                part.looks.append(Look(self.map.made[j], name, math.nan, ends, abs(ends.value), 0.0))
                return
        what = "nan" if bool(isnan.any()) else "infinite"
        part.unknown.append(f"the gradient is {what} at {told}, and differences give no number there either")

    def _is_unbounded(self, i: int, weights: list, g: torch.Tensor, lost: torch.Tensor) -> bool:
        """Whether the slope to one side grows without bound, with the sign that the gradient has."""
        row = _plain(weights)
        size = reach(self.map.at[i]).to(g.dtype)
        masks = [lost] if int(lost.sum()) > MOST_ALONE else [_alone(lost, place) for place in lost.nonzero().tolist()]
        for mask in masks:
            way = torch.where(mask, torch.sign(g), torch.zeros_like(g)) * size
            sides = [[self._change(i, way, row, s * h) / (s * h) for h in EDGE[self.map.bits]] for s in (1, -1)]
            if not any(map(grows, sides)):
                return False
        return True


def _uneven(signs: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Moves to the side of `signs`, of sizes between a half and three halves."""
    return torch.where(signs < 0, -1.0, 1.0).to(sizes.dtype) * (0.5 + sizes.abs().frac())


def _alone(mask: torch.Tensor, place: list[int]) -> torch.Tensor:
    one = torch.zeros_like(mask)
    one[tuple(place)] = True
    return one


# -- numbers ---------------------------------------------------------------------------------------------------------


def _fitting(g: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    if g is None:
        return torch.zeros_like(plain(x.detach()))
    g = plain(g.detach())
    return g if g.shape == x.shape else g.sum_to_size(x.shape)


def _plain(weights: list) -> list[torch.Tensor | None]:
    return [None if w is None else plain(w) for w in weights]


def _weighted(w: torch.Tensor, change: torch.Tensor) -> float:
    product = w.conj() * change if w.is_complex() or change.is_complex() else w * change
    product = product.real if product.is_complex() else product
    return float(product[w != 0].double().sum())


def _change(a: torch.Tensor | None, y: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(y) if a is None else plain(a.detach()) - y


def _most(changes: list[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    """The largest finite one of each element."""
    return torch.stack([change.abs().double().nan_to_num(0.0, 0.0, 0.0) for change in changes]).amax(0)


def _bounds(gradients: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    stack = torch.stack(gradients).double()
    known = ~stack.isnan()
    low = stack.where(known, torch.full_like(stack, math.inf)).amin(0)
    return low, stack.where(known, torch.full_like(stack, -math.inf)).amax(0)


def _jumps(far: torch.Tensor, near: torch.Tensor, size: float, bits: int) -> torch.Tensor:
    """Where a change gets hardly smaller as points come closer."""
    return (near > far / 3) & (near > ROUNDING[bits] * size)


def _size(x: torch.Tensor) -> float:
    known = x[torch.isfinite(x)].abs().double()
    return float(known.square().mean().sqrt()) if known.numel() else 0.0
