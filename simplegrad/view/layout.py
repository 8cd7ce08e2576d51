"""Where everything stands: a layered layout of our own, linear in units and edges.

Forward runs left to right in the top lane, a column for each step away from the leaves. Each pass has a lane below it
and runs right to left; what a pass recorded stands under the entry whose propagate recorded it, so a column is as wide
as the widest thing that any pass put under it. Positions are in slots (across) and rows (down, per lane).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from .graph import TapeGraph, Unit

LANE_GAP = 0.75  # rows between two lanes
SIDE = 0.38  # of a slot: how far an entry's outputs stand from it


@dataclass
class Layout:
    """`place[key]` = (slot, row in its lane); `rows[lane]`, how many rows a lane has; `tops[lane]`, where it begins."""

    place: dict[str, tuple[int, int]] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    tops: list[float] = field(default_factory=list)
    first: int = 0
    last: int = 0

    def xy(self, unit: Unit) -> tuple[float, float]:
        """The centre of a unit; y grows downwards."""
        slot, row = self.place[unit.key]
        return float(slot), self.tops[unit.lane] + row

    def value_xy(self, unit: Unit, number: int) -> tuple[float, float]:
        """The centre of its output `number`: on the side that it flows to. A source is its own value."""
        x, y = self.xy(unit)
        if not unit.entries:
            return x, y
        spread = 0.5 * (number - (len(unit.values) - 1) / 2) if len(unit.values) > 1 else 0.0
        return x + (SIDE if unit.lane == 0 else -SIDE), y + spread

    @property
    def height(self) -> float:
        return self.tops[-1] + self.rows[-1] if self.rows else 1.0


def layout(graph: TapeGraph) -> Layout:
    """Places for all units of a graph. Work grows linearly with its units and edges."""
    columns = _Columns(graph)
    starts, widths = columns.spans()
    result = Layout()
    _rows(graph, starts, widths, result)
    result.rows = [max(1, n) for n in result.rows]
    top = 0.0
    for n in result.rows:
        result.tops.append(top)
        top += n + LANE_GAP
    slots = [slot for slot, _ in result.place.values()]
    result.first, result.last = min(slots, default=0), max(slots, default=0)
    return result


class _Columns:
    """Spans of slots: first how wide each unit must be (children before parents), then where it begins."""

    def __init__(self, graph: TapeGraph):
        self.units = graph.units
        self.losses = graph.losses
        self.level: dict[str, int] = {}  # in the forward lane, or within the group of one visit
        self.levels: dict[tuple[str | None, int], list[int]] = {}  # (under, lane) -> width of each level
        self.members: dict[tuple[str | None, int], list[str]] = defaultdict(list)
        for unit in graph.units.values():
            if unit.lane:
                self.members[unit.under, unit.lane].append(unit.key)
        self.forward_levels()
        for group in self.members.values():
            self.group_levels(group)

    def forward_levels(self) -> None:
        """Longest path from the leaves; what comes after a pass begins to the right of all that came before it."""
        base, highest, after_pass, sources = 0, -1, False, []
        for unit in self.units.values():
            if unit.lane:
                after_pass = True
                continue
            if after_pass:
                base, after_pass = highest + 2, False
            if unit.entries:
                self.level[unit.key] = 1 + max(
                    [self.level.get(n, base) for n in unit.needs if n in self.level] + [base]
                )
                highest = max(highest, self.level[unit.key])
            else:
                self.level[unit.key] = base
                highest = max(highest, base)
                sources.append(unit.key)
        self.draw_near(sources, [unit for unit in self.units.values() if not unit.lane])

    def group_levels(self, keys: list[str]) -> None:
        """The same within what one visit recorded."""
        group = set(keys)
        for key in keys:
            unit = self.units[key]
            self.level[key] = 1 + max([self.level.get(n, -1) for n in unit.needs if n in group] + [-1])
        owner = self.units.get(self.units[keys[0]].under)
        if owner is not None and owner.kind == "group":  # what many visits recorded: each thing near what reads it
            first = [key for key in keys if not self.level[key]]
            self.draw_near(first, [self.units[key] for key in keys])

    def draw_near(self, sources: list[str], readers: list[Unit]) -> None:
        """What reads nothing here stands right before the first that reads it, not at the far end."""
        nearest: dict[str, int] = {}
        for unit in readers:
            for need in unit.needs:
                nearest[need] = min(nearest.get(need, self.level[unit.key]), self.level[unit.key])
        for key in sources:
            self.level[key] = max(self.level[key], nearest.get(key, 1) - 1)

    def spans(self) -> tuple[dict[str, int], dict[str, int]]:
        width = {key: 1 for key in self.units}
        for (under, lane), keys in reversed(self._groups_inside_out()):
            self.levels[under, lane] = self.widths_of_levels(keys, width)
            if under is not None:
                width[under] = max(width[under], sum(self.levels[under, lane]))
        starts, spans = {}, {}
        forward = [unit.key for unit in self.units.values() if unit.lane == 0]
        total = self.lay(forward, self.widths_of_levels(forward, width), 0, starts, spans)
        for (under, lane), keys in self._groups_inside_out():
            widths = self.levels[under, lane]
            if under is None:
                self.lay_unowned(keys, widths, total, starts, spans)
            else:
                left = starts[under] + (spans[under] - sum(widths)) // 2
                self.lay(keys, widths, left, starts, spans, mirrored=True)
        return starts, spans

    def _groups_inside_out(self) -> list:
        """Groups in the order in which their owners came: owners before what stands under them."""
        place = {key: i for i, key in enumerate(self.units)}
        return sorted(self.members.items(), key=lambda item: place.get(item[0][0], -1))

    def widths_of_levels(self, keys: list[str], width: dict[str, int]) -> list[int]:
        if not keys:
            return []
        widths = [1] * (1 + max(self.level[key] for key in keys))
        for key in keys:
            widths[self.level[key]] = max(widths[self.level[key]], width[key])
        return widths

    def lay(self, keys, widths, left, starts, spans, mirrored=False) -> int:
        begins, at = [], left
        for w in reversed(widths) if mirrored else widths:
            begins.append(at)
            at += w
        if mirrored:
            begins.reverse()
        for key in keys:
            starts[key], spans[key] = begins[self.level[key]], widths[self.level[key]]
        return at

    def lay_unowned(self, keys, widths, total, starts, spans) -> None:
        """A seed stands to the right of the loss; entries of which nobody knows who recorded them, to its left."""
        sources = [key for key in keys if self.units[key].kind == "seed"]
        for key in sources:
            starts[key], spans[key] = self.right_of_loss(key, starts, spans, total), 1
        rest = [key for key in keys if key not in starts]
        self.lay(rest, widths, total - sum(widths), starts, spans, mirrored=True)

    def right_of_loss(self, seed: str, starts, spans, total: int) -> int:
        loss = self.losses.get(seed)
        return starts[loss] + spans[loss] if loss in starts else total


def _rows(graph: TapeGraph, starts: dict[str, int], widths: dict[str, int], result: Layout) -> None:
    """The row of what it reads first, or the next free one below: straight lines where they can be had."""
    free: dict[tuple[int, int], dict[int, int]] = defaultdict(dict)  # (lane, slot) -> row -> a row that may be free
    result.rows = [0] * len(graph.lanes)
    for unit in graph.units.values():
        slot = starts[unit.key] + (widths[unit.key] - 1) // 2
        wish = next(
            (result.place[n][1] for n in unit.needs if n in result.place and graph.units[n].lane == unit.lane), 0
        )
        row = _next_free(free[unit.lane, slot], wish)
        result.place[unit.key] = (slot, row)
        result.rows[unit.lane] = max(result.rows[unit.lane], row + 1)


def _next_free(taken: dict[int, int], row: int) -> int:
    """The first free row from `row` on, now taken. Paths are halved on the way (union-find), so it stays linear."""
    at = row
    while at in taken:
        taken[at] = taken.get(taken[at], taken[at])
        at = taken[at]
    taken[at] = at + 1
    return at
