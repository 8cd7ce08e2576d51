"""Which part of one run is which part of another: passes, entries, variables and steps of two traces.

Two runs of one program differ only where an aggregate differs from its reference. Passes are partners by program line;
entries by program line and pass, then by what they compute: equal values first, from partners as inputs, by the same
operator; and where values have parted, the same operator at the same place. What has no partner stays without.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from ..trace.events import (
    Accumulated,
    Entry,
    Event,
    Leaf,
    Pass,
    PassBegun,
    PassEnded,
    Read,
    Recorded,
    Value,
    VisitBegun,
    Visited,
)
from ..trace.trace import Trace
from .equal import Pool

Region = tuple[Hashable, ...]  # (pass, program line): entries are looked for in the partner of their region only


@dataclass(frozen=True)
class Arrival:
    """The first and the last contribution (other than None) that came to a variable in a pass."""

    first: Accumulated
    last: Accumulated


@dataclass
class Side:
    """One of the two traces, and where each of its parts is."""

    trace: Trace
    regions: dict[Region, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    visits: dict[Entry, Entry] = field(default_factory=dict)  # entry -> the one whose propagate recorded it
    made_by: dict[Value, Entry] = field(default_factory=dict)
    recorded_at: dict[Entry, int] = field(default_factory=dict)
    leaves: dict[Value, Leaf] = field(default_factory=dict)
    reads: dict[Value, Read] = field(default_factory=dict)
    passes: list[tuple[Hashable, Pass]] = field(default_factory=list)
    partner: dict[Value, Value] = field(default_factory=dict)
    entry_partner: dict[Entry, Entry] = field(default_factory=dict)
    inside: dict[Entry, Entry] = field(default_factory=dict)  # part of what that aggregate of the other side does
    pass_partner: dict[int, int] = field(default_factory=dict)
    _arrivals: dict[int, dict[Value, Arrival]] | None = None

    def __post_init__(self) -> None:
        ordinal: dict = defaultdict(int)
        keys: dict[int | None, Hashable] = {None: None}
        for event in self.trace.events:
            match event:
                case PassBegun(pass_=pass_, line=line):
                    keys[pass_.id] = (line, ordinal[line])
                    ordinal[line] += 1
                    self.passes.append((keys[pass_.id], pass_))
                case Recorded(entry=entry, pass_id=pass_id, line=line):
                    # without program lines, what stands between two passes belongs together
                    chunk = len(self.passes) if line is None and pass_id is None else None
                    self.regions[keys[pass_id], line, chunk].append(entry)
                    self.recorded_at[entry] = event.index
                    self.made_by.update(dict.fromkeys(entry.outputs, entry))
                    visit = self.trace.events[event.parent] if event.parent is not None else None
                    if isinstance(visit, VisitBegun):
                        self.visits[entry] = visit.entry
                case Leaf(value=value):
                    self.leaves[value] = event
                case Read(value=value):
                    self.reads.setdefault(value, event)

    def arrivals(self, pass_: Pass) -> dict[Value, Arrival]:
        """How gradients came to each variable in a pass."""
        if self._arrivals is None:
            self._arrivals = defaultdict(dict)
            for event in self.trace.events:
                if isinstance(event, Accumulated) and event.total is not None:
                    row = self._arrivals[event.pass_id]
                    first = row[event.value].first if event.value in row else event
                    row[event.value] = Arrival(first, event)
        return self._arrivals.get(pass_.id, {})

    def gradient(self, pass_: Pass, value: Value) -> Value | None:
        """The gradient of a variable when the pass is over."""
        if value is pass_.loss:
            return pass_.seed
        arrival = self.arrivals(pass_).get(value)
        return arrival and arrival.last.total


class Alignment:
    """Two traces side by side. `passes` and `entries` are pairs in order, None where there is no partner.

    `left.partner` and `right.partner` map Values, `entry_partner` entries, to those of the other side; `inside` maps
    an entry without a partner to the aggregate of the other side that does its work unseen. `steps` are pairs of event
    indices, None where that side has nothing there and waits.
    """

    def __init__(self, left: Trace, right: Trace):
        self.left, self.right = Side(left), Side(right)
        self.passes = self._passes()
        self._leaves()
        for region in dict.fromkeys([*self.left.regions, *self.right.regions]):
            self._region(self.left.regions.get(region, []), self.right.regions.get(region, []))
        for one, other in ((self.left, self.right), (self.right, self.left)):
            self._insides(one, other)
        for one, other in ((self.left, self.right), (self.right, self.left)):
            self._temporaries(one, other)
        self.entries = list(merged(left.entries, right.entries, self.left.entry_partner))
        self.steps = list(self._steps())

    def pair(self, left: Value, right: Value) -> None:
        if left not in self.left.partner and right not in self.right.partner:
            self.left.partner[left] = right
            self.right.partner[right] = left

    def pair_entries(self, left: Entry, right: Entry) -> None:
        if left not in self.left.entry_partner and right not in self.right.entry_partner:
            self.left.entry_partner[left] = right
            self.right.entry_partner[right] = left

    def _passes(self) -> list[tuple[Pass | None, Pass | None]]:
        there = dict(self.right.passes)
        partners = {pass_: there[key] for key, pass_ in self.left.passes if key in there}
        for pass_, other in partners.items():
            self.left.pass_partner[pass_.id] = other.id
            self.right.pass_partner[other.id] = pass_.id
        left, right = ([pass_ for _, pass_ in side.passes] for side in (self.left, self.right))
        return list(merged(left, right, partners))

    def _leaves(self) -> None:
        """A program's own leaves: the same line and the same name, or the same place on that line."""
        there: dict = {}
        for key, value in _leaf_keys(self.right):
            there.setdefault(key, value)
        for key, value in _leaf_keys(self.left):
            if key in there:
                self.pair(value, there[key])

    def _region(self, left: list[Entry], right: list[Entry]) -> None:
        """Entries of one line of one pass."""
        self._seeds(left, right)
        if not (left and right):
            return
        slots = [(entry, value) for entry in right for value in entry.outputs]
        pool = Pool(enumerate(value for _, value in slots))
        for alike in (True, False):  # a wrong operator may give the right numbers by chance: those that agree first
            for number, entry in enumerate(left):
                for value in entry.outputs:
                    near = number * len(slots) // len(left)
                    best = self._best(entry, value, pool, slots, near, alike)
                    if best is not None:
                        pool.take(best)
                        self.pair(value, slots[best][1])
        for entry in left:
            found = [self.right.made_by[self.left.partner[v]] for v in entry.outputs if v in self.left.partner]
            if found:
                self.pair_entries(entry, found[0])
        self._parted(left, right)

    def _seeds(self, left: list[Entry], right: list[Entry]) -> None:
        """Seeds and losses of the pass that the entries are of."""
        mine = {pass_.id: pass_ for _, pass_ in self.left.passes}
        theirs = {pass_.id: pass_ for _, pass_ in self.right.passes}
        for entry in left[:1]:
            other = theirs.get(self.left.pass_partner.get(entry.pass_id))
            if other is not None and mine[entry.pass_id].seed is not None and other.seed is not None:
                self.pair(mine[entry.pass_id].seed, other.seed)

    def _best(self, entry: Entry, value: Value, pool: Pool, slots: list, near: int, alike: bool) -> int | None:
        """The place of the best partner for one of this entry's outputs: equal to it, and computed alike.

        Computed alike is: by the same operator. Else it must be from a partner, or one of the two an aggregate.
        """
        if value in self.left.partner:
            return None
        partners = {self.left.partner.get(each) for each in entry.inputs} - {None}

        def merit(place: int) -> tuple:
            return len(partners.intersection(slots[place][0].inputs)), -abs(place - near), -place

        def fits(other: Entry) -> bool:
            if alike:
                return entry.operator == other.operator
            return entry.aggregate or other.aggregate or bool(partners.intersection(other.inputs))

        places = [place for place in pool.alike(value) if fits(slots[place][0])]
        return next((p for p in sorted(places, key=merit, reverse=True) if pool.is_same(value, p)), None)

    def _parted(self, left: list[Entry], right: list[Entry]) -> None:
        """Entries whose values have parted: the same operator, the same shape, from at least one partner."""
        waiting: dict = defaultdict(list)
        for entry in right:
            if entry not in self.right.entry_partner:
                waiting[self._form(entry)].append(entry)
        for entry in left:
            if entry in self.left.entry_partner:
                continue
            row = waiting.get(self._form(entry), [])
            partners = {self.left.partner.get(value) for value in entry.inputs} - {None}
            for other in row:
                if partners.intersection(other.inputs):
                    row.remove(other)
                    self.pair_entries(entry, other)
                    for value, its in zip(entry.outputs, other.outputs):
                        self.pair(value, its)
                    break

    def _form(self, entry: Entry) -> tuple:
        kind = "aggregate" if entry.aggregate else entry.operator
        return kind, tuple(tuple(value.shape) for value in entry.outputs)

    def _insides(self, one: Side, other: Side) -> None:
        """Entries of the other side that do, recorded, what an aggregate of this side does unseen."""
        for entry, its in one.entry_partner.items():
            if not entry.aggregate or entry.pass_id is not None or its.aggregate:
                continue
            known = {one.partner[value] for value in entry.inputs if value in one.partner}
            waiting = [its, *(other.made_by.get(one.partner.get(value)) for value in entry.outputs[1:])]
            while waiting:
                each = waiting.pop()
                if each is None or each in other.inside or each.line != its.line or each.pass_id is not None:
                    continue
                other.inside[each] = entry
                waiting += [other.made_by.get(value) for value in each.inputs if value not in known]

    def _temporaries(self, one: Side, other: Side) -> None:
        """Values of an aggregate that no entry made, or its propagate: partners of what the other side records."""
        inner: dict[Entry, list[Value]] = defaultdict(list)
        for entry in sorted(other.inside, key=other.recorded_at.__getitem__):
            inner[other.inside[entry]] += [value for value in entry.outputs if value not in other.partner]
        for entry, its in one.entry_partner.items():
            if entry.aggregate and its.aggregate:  # what one leaves undeclared may be an output of the other
                inner[entry] += [value for value in its.outputs if value not in other.partner]
        loose = self._loose(one, inner)
        for aggregate, values in inner.items():
            pool = Pool(enumerate(values))
            for value in loose[aggregate]:
                place = next(pool.equals(value), None)
                if place is not None:
                    pool.take(place)
                    one.partner[value], other.partner[values[place]] = values[place], value

    def _loose(self, side: Side, aggregates: Collection[Entry]) -> dict[Entry, list[Value]]:
        """Unpaired values by the aggregate they belong to: read by its propagate, made in it, or leaves beside it."""
        by_line = {aggregate.line: aggregate for aggregate in aggregates}
        owners = [(value, side.visits.get(event.entry)) for value, event in side.reads.items()]
        for value, event in side.leaves.items():
            within = side.trace.events[event.parent] if event.parent is not None else None
            beside = by_line.get(event.line) if within is None else None
            owners.append((value, getattr(within, "entry", beside)))
        owners += [(value, owner) for entry, owner in side.visits.items() for value in entry.outputs]
        found: dict[Entry, list[Value]] = defaultdict(list)
        for value, owner in owners:
            if value not in side.partner:
                found[owner].append(value)
        return found

    # --- steps ----------------------------------------------------------------------------------------------------

    def _steps(self) -> Iterator[tuple[int | None, int | None]]:
        """Events of both sides in one order: partners together, and what has none alone, the other side waiting."""
        there: dict = {}
        for event in self.right.trace.events:
            for key in self._event_keys(event, self.right):
                there.setdefault(key, event.index)
        pairs: list[tuple[int, int]] = []
        for event in self.left.trace.events:
            found = [there[key] for key in self._event_keys(event, self.left, translated=True) if key in there]
            if found:
                pairs.append((event.index, found[0]))
        yield from woven(in_order(pairs, self._fixed()), len(self.left.trace.events), len(self.right.trace.events))

    def _fixed(self) -> list[tuple[int, int]]:
        """Begins and ends of partner passes: nothing may be aligned across them."""
        ends = [
            {(kind, event.pass_.id): event.index for event in side.trace.events if isinstance(event, kind)}
            for side in (self.left, self.right)
            for kind in (PassBegun, PassEnded)
        ]
        left, right = ends[0] | ends[1], ends[2] | ends[3]
        fixed = [
            (index, right[kind, self.left.pass_partner[pass_id]])
            for (kind, pass_id), index in left.items()
            if (kind, self.left.pass_partner.get(pass_id)) in right
        ]
        return sorted(fixed)

    def _event_keys(self, event: Event, side: Side, translated: bool = False) -> Iterator[tuple]:
        """What an event is about, in words of the right side; the best key first."""

        def value(x: Value | None):
            return side.partner.get(x) if translated and x is not None else x

        def entry(x: Entry):
            return side.entry_partner.get(x) if translated else x

        pass_id = side.pass_partner.get(event.pass_id) if translated else event.pass_id
        match event:
            case Leaf(value=leaf) if value(leaf) is not None:
                yield Leaf, value(leaf)
            case Recorded(entry=recorded) if entry(recorded) is not None:
                yield Recorded, entry(recorded)
            case PassBegun() | PassEnded() if pass_id is not None:
                yield type(event), pass_id
            case VisitBegun(entry=visited) | Visited(entry=visited) if entry(visited) is not None:
                yield type(event), pass_id, entry(visited)
            case Accumulated(value=reached, contribution=contribution, total=total) if value(reached) is not None:
                if total is not None and value(total) is not None:
                    yield Accumulated, pass_id, value(reached), value(total)
                elif contribution is None:
                    yield Accumulated, pass_id, value(reached), None, entry(event.entry)


def _leaf_keys(side: Side) -> Iterator[tuple[tuple, Value]]:
    for value, event in side.leaves.items():
        if event.parent is None:
            yield (event.line, value.name, tuple(value.shape)), value


def merged(left: Iterable, right: Iterable, partners: dict) -> Iterator[tuple]:
    """Two sequences as one of pairs: partners meet where both orders allow it, the rest stands alone."""
    left, right = list(left), list(right)
    place = {id(each): number for number, each in enumerate(right)}
    pairs = [(number, place[id(partners[each])]) for number, each in enumerate(left) if each in partners]
    for a, b in woven(in_order(pairs, []), len(left), len(right)):
        yield (None if a is None else left[a], None if b is None else right[b])


def woven(pairs: list[tuple[int, int]], left: int, right: int) -> Iterator[tuple[int | None, int | None]]:
    """All places of both sides in order, those of a pair together. `pairs` rises on both sides."""
    a = b = 0
    for x, y in [*pairs, (left, right)]:
        yield from ((i, None) for i in range(a, x))
        yield from ((None, j) for j in range(b, y))
        if x < left and y < right:
            yield x, y
        a, b = x + 1, y + 1


def in_order(pairs: list[tuple[int, int]], fixed: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The most of these pairs that rise on both sides, keeping all the fixed ones.

    The longest increasing subsequence, by patience sorting, between each two fixed pairs.
    """
    chosen: list[tuple[int, int]] = []
    start = (-1, -1)
    pairs = sorted(set(pairs) - set(fixed))
    for stop in [*fixed, (float("inf"), float("inf"))]:
        within = [p for p in pairs if start[0] < p[0] < stop[0] and start[1] < p[1] < stop[1]]
        chosen += longest_rise(within)
        if stop[0] != float("inf"):
            chosen.append(stop)
        start = stop
    return chosen


def longest_rise(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence whose second numbers rise; the first ones do already."""
    tops: list[int] = []  # the smallest last second number of a rise of each length
    ends: list[int] = []
    before: list[int] = []
    for number, (_, y) in enumerate(pairs):
        length = bisect_left(tops, y)
        before.append(ends[length - 1] if length else -1)
        if length == len(tops):
            tops.append(y)
            ends.append(number)
        else:
            tops[length], ends[length] = y, number
    rise, at = [], ends[-1] if ends else -1
    while at >= 0:
        rise.append(pairs[at])
        at = before[at]
    return rise[::-1]
