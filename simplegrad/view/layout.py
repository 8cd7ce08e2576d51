"""Where everything stands: a layered layout of our own, linear in units and edges.

Forward runs left to right in the top lane, a column for each step away from the leaves. Each pass has a lane below it
and runs right to left; what a pass recorded stands under the entry whose propagate recorded it, so a column is as wide
as the widest thing that any pass put under it. Positions are in slots (across) and rows (down, per lane).

All that is worked out about units stands in lists, by their number: what is near on the tape is then near in memory,
and a long tape costs no more for an entry than a short one, although no cache holds it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate

from ..graph import Frame, Picture, Unit

LANE_GAP = 0.75  # rows between two lanes
SIDE = 0.38  # of a slot: how far an entry's outputs stand from it
# of a frame: how far it reaches beyond what stands in it, sideways, below, and above, where its title stands; and the
# same for each frame inside of it
BESIDE, BELOW, ABOVE = (0.5, 0.04), (0.52, 0.1), (0.78, 0.34)
HEAD = 0.2  # more, for the title of the lane


@dataclass
class Layout:
    """`place[unit.number]` = (slot, row in its lane); `rows[lane]`, how many rows a lane has; `tops[lane]`, where it
    begins; `first` and `last`, the slots from end to end."""

    place: list[tuple[int, int]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    tops: list[float] = field(default_factory=list)
    first: int = 0
    last: int = 0
    levels: dict[Frame, int] = field(default_factory=dict)  # of a frame: how many others stand in it, one in another
    heads: list[float] = field(default_factory=list)  # of each lane, the rows above it for the titles of frames
    feet: list[float] = field(default_factory=list)  # the same below, for their edges

    def xy(self, unit: Unit) -> tuple[float, float]:
        """The centre of a unit; y grows downwards."""
        slot, row = self.place[unit.number]
        return float(slot), self.tops[unit.lane] + row

    def value_xy(self, unit: Unit, number: int) -> tuple[float, float]:
        """The centre of its output `number`: on the side that it flows to. A source is its own value."""
        x, y = self.xy(unit)
        if not unit.entries:
            return x, y
        spread = 0.5 * (number - (len(unit.values) - 1) / 2) if len(unit.values) > 1 else 0.0
        return x + (SIDE if unit.lane == 0 else -SIDE), y + spread

    def around(self, frame: Frame) -> tuple[float, float, float, float]:
        """The corners of a frame: left, top, right, bottom."""
        slots, rows = zip(*(self.place[number] for number in frame.units))
        level, top = self.levels[frame], self.tops[frame.lane]
        beside, below, above = (first + level * each for first, each in (BESIDE, BELOW, ABOVE))
        corners = min(slots) - beside, top + min(rows) - above, max(slots) + beside, top + max(rows) + below
        return tuple(round(corner, 3) for corner in corners)

    @property
    def height(self) -> float:
        return self.tops[-1] + self.rows[-1] + self.feet[-1] if self.rows else 1.0


def layout(graph: Picture) -> Layout:
    """Places for all units of a picture. Work grows linearly with its units and edges."""
    columns = _Columns(graph)
    slots = columns.slots()
    result = Layout(first=min(slots, default=0), last=max(slots, default=0), rows=[1] * len(graph.lanes))
    rows = _rows(columns, [slot - result.first for slot in slots])
    for lane, row in zip(columns.lanes, rows):
        if row >= result.rows[lane]:
            result.rows[lane] = row + 1
    result.place = list(zip(slots, rows))
    result.levels = _levels(graph.frames)
    top = 0.0
    for lane, n in enumerate(result.rows):
        nested = max((level + 1 for frame, level in result.levels.items() if frame.lane == lane), default=0)
        result.heads.append(nested * ABOVE[1] + (HEAD if nested else 0))
        result.feet.append(nested * BELOW[1])
        result.tops.append(top + result.heads[lane])
        top = result.tops[lane] + n + result.feet[lane] + LANE_GAP
    return result


def _levels(frames: list[Frame]) -> dict[Frame, int]:
    levels = dict.fromkeys(frames, 0)
    of_box = {frame.box: frame for frame in frames}
    for frame in reversed(frames):  # inner ones first
        outer = of_box.get(frame.box.outer)
        if outer is not None:
            levels[outer] = max(levels[outer], levels[frame] + 1)
    return levels


@dataclass(slots=True, eq=False)
class _Block:
    """Units that share columns: the forward part, or what one visit recorded in one lane.

    `owner`: the unit that it stands under, if any. A unit's level says in which of the columns it stands, counted the
    way that the block runs; `widths` are theirs, in slots.
    """

    owner: int | None
    members: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)


class _Columns:
    """Which column of its block each unit stands in, and which slot that is."""

    def __init__(self, graph: Picture):
        self.graph = graph
        self.needs = [[need.number for need in graph.pred[unit]] for unit in graph]  # the units that each one reads
        self.forward = _Block(None)
        self.blocks: dict[int, _Block] = {}  # of the passes; by owner and lane, as one number
        self.lanes: list[int] = []
        self.level: list[int] = []
        self.wished: list[int | None] = []  # what a unit reads first in its lane: it would like to stand in its row
        self.set_levels()
        self.draw_sources_near()
        self.begins: list[int | None] = [None] * len(graph.units)  # the first slot of a unit's column
        self.spans = [1] * len(graph.units)  # how many slots that has

    def set_levels(self) -> None:
        """Longest path from where the block begins; what comes after a pass is right of all that came before it, and so
        is what comes after the frame of a module, or begins one, with columns free for its edge and what it reads."""
        lanes, level, block_of = self.lanes, self.level, []
        base, highest, last_lane, within, floor = 0, -1, 0, None, 0
        for unit in self.graph.units:  # once only: of a long tape, each time is another way through all of the memory
            lane, block, number = unit.lane, self.block(unit), len(level)
            if last_lane and not lane:
                base = highest + 2
            last_lane = lane
            if unit.within is not within and unit.entries and not lane:
                within, floor = unit.within, highest + 2
            before, wish = -1 if lane else max(base, floor), None
            for need in self.needs[number]:
                if need < number:  # a collapsed group reads later ones, too
                    if wish is None and lanes[need] == lane:
                        wish = need
                    if block_of[need] is block and level[need] > before:
                        before = level[need]
            lanes.append(lane)
            block_of.append(block)
            level.append(before + 1 if lane or unit.entries else base)
            self.wished.append(wish)
            if not lane and level[-1] > highest:
                highest = level[-1]

    def block(self, unit: Unit) -> _Block:
        """The block of a unit, which is now a member."""
        block = self.forward
        if unit.lane:
            key = unit.lane if unit.under is None else (unit.under + 1) * len(self.graph.lanes) + unit.lane
            block = self.blocks.get(key)
            if block is None:
                block = self.blocks[key] = _Block(unit.under)
        block.members.append(unit.number)
        return block

    def draw_sources_near(self) -> None:
        units, level = self.graph.units, self.level
        self.draw_near([n for n in self.forward.members if not units[n].entries], self.forward)
        for block in self.blocks.values():
            if block.owner is not None and units[block.owner].kind == "group":  # what many visits recorded
                self.draw_near([n for n in block.members if not level[n]], block)

    def draw_near(self, sources: list[int], block: _Block) -> None:
        """What reads nothing in its block stands right before the first there that reads it, not at the far end."""
        nearest: dict[int, float] = dict.fromkeys(sources, math.inf)
        for reader in block.members:
            for need in self.needs[reader]:
                if need in nearest and self.level[reader] < nearest[need]:
                    nearest[need] = self.level[reader]
        for source, level in nearest.items():
            if self.level[source] < level - 1 < math.inf:
                self.level[source] = level - 1

    def slots(self) -> list[int]:
        """The slot of each unit, the middle of its column: first widths, children before parents, then places."""
        blocks = sorted(self.blocks.values(), key=lambda block: -1 if block.owner is None else block.owner)
        room = [1] * len(self.level)  # slots that a unit and what stands under it take
        for block in reversed(blocks):
            self.set_widths(block, room)
            if block.owner is not None:
                room[block.owner] = max(room[block.owner], sum(block.widths))
        self.set_widths(self.forward, room)
        self.lay(self.forward, 0)
        total = sum(self.forward.widths)
        for block in blocks:
            width = sum(block.widths)
            if block.owner is not None:
                left = self.begins[block.owner] + (self.spans[block.owner] - width) // 2
                self.lay(block, left, leftwards=True)
            else:
                self.lay(block, total - width, leftwards=True)  # nobody knows who recorded them
                self.lay_seeds(block, total)
        return [begin + (span - 1) // 2 for begin, span in zip(self.begins, self.spans)]

    def set_widths(self, block: _Block, room: list[int]) -> None:
        level = self.level
        block.widths = widths = [1] * (1 + max([level[n] for n in block.members], default=-1))
        for n in block.members:
            if room[n] > widths[level[n]]:
                widths[level[n]] = room[n]

    def lay(self, block: _Block, left: int, leftwards: bool = False) -> None:
        """Places for the columns of a block, from `left` on; `leftwards`, the first column is the rightmost."""
        level, widths, ends = self.level, block.widths, list(accumulate(block.widths))
        right = left + ends[-1] if ends else left
        begins = [right - end for end in ends] if leftwards else [left + end - w for end, w in zip(ends, widths)]
        for n in block.members:
            self.begins[n], self.spans[n] = begins[level[n]], widths[level[n]]

    def lay_seeds(self, block: _Block, total: int) -> None:
        """A seed stands to the right of its loss."""
        for n in block.members:
            if self.graph.units[n].kind == "seed":
                loss = self.graph.losses.get(n)
                known = loss is not None and self.begins[loss] is not None
                self.begins[n] = self.begins[loss] + self.spans[loss] if known else total
                self.spans[n] = 1


def _rows(columns: _Columns, slots: list[int]) -> list[int]:
    """The row of what it reads first, or the next free one below: straight lines where they can be had.

    `slots` count from 0. A cell of the grid is a number, rows of all lanes one after another."""
    width = max(slots, default=0) + 1
    height = width * len(columns.graph.lanes)
    rows: list[int] = []
    taken: dict[int, int] = {}
    for slot, lane, wish in zip(slots, columns.lanes, columns.wished):
        row = 0 if wish is None else rows[wish]
        rows.append(_next_free(taken, row * height + lane * width + slot, height) // height)
    return rows


def _next_free(taken: dict[int, int], cell: int, step: int) -> int:
    """The first free cell from this one on, each a `step` further, now taken. `taken` says for a cell which one may be
    free. Paths are halved on the way (union-find), so it stays linear."""
    while cell in taken:
        taken[cell] = taken.get(taken[cell], taken[cell])
        cell = taken[cell]
    taken[cell] = cell + step
    return cell
