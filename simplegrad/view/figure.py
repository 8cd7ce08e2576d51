"""(graph, layout) -> what is drawn, first as data (`Drawing`), then for those who show it, whatever the step.

plotly's figure has the axes, the lanes, the missing pathways, and the nodes, which it finds under the pointer. The
player draws nodes, edges and names itself (sheet.js), as they change with each step: `Drawing.for_player`.
"""

from __future__ import annotations

import html
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import plotly.graph_objects as go

from ..graph import Box, Picture, Unit
from .contract import BoxRow, EdgeRow, NodeRow
from .layout import LANE_GAP, Layout
from .palette import OKABE_ITO
from .sentences import shape_text
from .symbols import symbol_of

GREY = "rgba(125,137,152,{})"
ROW_PX, ROOMY_PX, MARGIN_PX = 42, 62, 12  # roomy where all rows fit: then numbers stand at the nodes
MIN_HEIGHT, MAX_HEIGHT = 180, 430
FAR = 12  # slots: a value that is read so far away, and more than FAR_TIMES so, is named there instead of drawn to
FAR_TIMES = 3
LONGEST_HOVER = 1_000  # characters


@dataclass(slots=True)
class Node:
    """One marker. `mark`: entry, value, hole or group; `id` of the entry, value or group's key; `lane` for holes."""

    x: float
    y: float
    mark: str
    id: int | str
    kind: str
    text: str
    name: str
    hover: str
    pass_id: int = -1


class Edge(NamedTuple):
    """A value that a unit reads, both units by number; the ids are -1 where either end is a collapsed group."""

    source: int
    target: int
    value: int = -1
    entry: int = -1
    slot: int = -1


@dataclass(slots=True)
class Curve:
    """An edge as a cubic: its ends and the two points between them."""

    points: tuple[float, float, float, float, float, float, float, float]
    value: int
    entry: int
    slot: int
    same_lane: bool


@dataclass(frozen=True)
class Ghost:
    """A missing pathway: from one node to another ("e4" an entry, "v7" a variable), and what is said on it.

    `through`: names of the variables in between, which the tape does not have.
    """

    source: str
    target: str
    text: str = ""
    through: tuple[str, ...] = ()


@dataclass
class Drawing:
    nodes: list[Node] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    labels: list[tuple[float, float, str]] = field(default_factory=list)  # names at the end of what comes from afar
    stubs: list[tuple[float, float, float, float]] = field(default_factory=list)  # from an entry to its outputs
    ghosts: list[tuple[float, float, float, float, Ghost]] = field(default_factory=list)
    groups: dict[str, list[list[int]]] = field(default_factory=dict)  # collapsed group -> spans of entry ids
    boxes: list[BoxRow] = field(default_factory=list)  # modules, closed ones and open ones
    lanes: list[tuple[str, float, float]] = field(default_factory=list)  # title, top, bottom
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)

    @property
    def id(self) -> str:
        """By this the player knows the chart that shows this drawing."""
        return f"{zlib.crc32(repr([(n.mark, n.id, n.x, n.y) for n in self.nodes]).encode()):x}"

    def for_player(self) -> dict:
        """What the player draws: nodes in the order of the figure's last trace, edges, names, boxes."""
        return {
            "id": self.id,
            "nodes": [NodeRow(n.mark, n.id, n.x, n.y, n.pass_id, n.kind, n.text) for n in self.nodes],
            "edges": [EdgeRow(c.value, c.entry, c.slot, *c.points, int(c.same_lane)) for c in self.curves],
            "stubs": self.stubs,
            "labels": self.labels,
            "groups": self.groups,
            "boxes": self.boxes,
            "lanes": [(top, bottom) for _, top, bottom in self.lanes],
            "x": self.x_range,
            "y": self.y_range,
        }


def drawing(graph: Picture, places: Layout, ghosts: Sequence[Ghost] = ()) -> Drawing:
    """All nodes and edges with their coordinates."""
    result = Drawing()
    for unit in graph.units:
        result.nodes.extend(_nodes_of(unit, places))
        if unit.entries:
            ends_of = (places.value_xy(unit, number) for number in range(len(unit.values)))
            result.stubs.extend((*places.xy(unit), *end) for end in ends_of)
        if unit.kind == "group":
            result.groups[unit.key] = [[unit.entries[0].id, unit.entries[-1].id]]
        if unit.box is not None:
            x, y = places.xy(unit)
            result.boxes.append(_box_row(unit.box, (x, y, x, y), is_open=False))
    result.boxes.extend(_box_row(frame.box, places.around(frame), is_open=True) for frame in graph.frames)
    result.ghosts = list(_ghosts_between(result.nodes, ghosts))
    ends = _value_places(graph, places)
    occupied = {(unit.lane, *place) for unit, place in zip(graph.units, places.place)}
    edges = [Edge(a.number, b.number, *(key or ())) for a, b, key in graph.edges(keys=True)]
    far = _far_reads(graph, edges, places)
    for edge in edges:
        start = ends.get((edge.source, edge.value)) or places.xy(graph.units[edge.source])
        if edge.value < 0 and abs(places.place[edge.target][0] - places.place[edge.source][0]) > FAR:
            continue  # of a collapsed group: hundreds of them would hide everything, and tell nothing
        if edge in far:
            result.curves.append(_named_end(edge, graph, places, result.labels, far[edge]))
        else:
            result.curves.append(_curve(edge, graph, places, start, occupied))
    for title, top, rows, head, foot in zip(graph.lanes, places.tops, places.rows, places.heads, places.feet):
        edge = 0.5 + LANE_GAP / 4
        result.lanes.append((title, top - head - edge, top + rows - 1 + foot + edge))
    result.x_range = (places.first - 0.9, places.last + 0.9)
    result.y_range = (places.height - 0.5 + LANE_GAP / 2, -0.5 - LANE_GAP / 2)
    return result


def _box_row(box: Box, corners: tuple[float, float, float, float], is_open: bool) -> BoxRow:
    outer = box.outer.key if box.outer is not None else ""
    return BoxRow(box.key, box.path, box.title, box.count, box.worst, int(is_open), outer, *corners)


def _nodes_of(unit: Unit, places: Layout) -> list[Node]:
    x, y = places.xy(unit)
    if unit.kind == "hole":
        (entry,) = unit.entries
        return [Node(x, y, "hole", entry.id, "hole", "", "", unit.title, unit.lane - 1)]
    if unit.kind == "group":
        kind, text = ("box", unit.box.title) if unit.box is not None else ("group", symbol_of(unit))
        return [Node(x, y, "group", unit.key, kind, text, "", unit.title)]
    nodes = []
    if unit.entries:
        entry = unit.entries[0]
        nodes.append(Node(x, y, "entry", entry.id, unit.kind, symbol_of(unit), "", f"{entry.id}: {unit.title}"))
    for number, value in enumerate(unit.values):
        vx, vy = places.value_xy(unit, number)
        kind = "value" if unit.entries else unit.kind
        hover = f"{value.name} {shape_text(value.shape)}" + ("" if unit.entries else f": {kind}")
        nodes.append(Node(vx, vy, "value", value.id, kind, "", value.name, hover))
    return nodes


def _ghosts_between(nodes: list[Node], ghosts: Sequence[Ghost]) -> Iterator[tuple[float, float, float, float, Ghost]]:
    places = {f"{node.mark[0]}{node.id}": (node.x, node.y) for node in nodes if node.mark in ("entry", "value")}
    for ghost in ghosts:
        if ghost.source in places and ghost.target in places:
            yield (*places[ghost.source], *places[ghost.target], ghost)


def _value_places(graph: Picture, places: Layout) -> dict[tuple[int, int], tuple[float, float]]:
    return {
        (unit.number, value.id): places.value_xy(unit, number)
        for unit in graph.units
        for number, value in enumerate(unit.values)
    }


def _curve(edge, graph: Picture, places: Layout, start, occupied) -> Curve:
    """Within a lane edges leave and enter sideways; between lanes they leave and enter up or down."""
    source, target = graph.units[edge.source], graph.units[edge.target]
    (x0, y0), (x1, y1) = start, places.xy(target)
    same = source.lane == target.lane
    if same:
        reach = (x1 - x0) * 0.45
        bow = _bow(source, target, places, occupied)
        points = (x0, y0, x0 + reach, y0 + bow, x1 - reach, y1 + bow, x1, y1)
    else:
        reach = max(0.5, abs(y1 - y0) * 0.4) * (1 if y1 > y0 else -1)
        points = (x0, y0, x0, y0 + reach, x1, y1 - reach, x1, y1)
    return Curve(tuple(round(p, 3) for p in points), edge.value, edge.entry, edge.slot, same)


def _far_reads(graph: Picture, edges: list[Edge], places: Layout) -> dict[Edge, str]:
    """Edges of values that many entries far away read, with the value's name."""
    far: dict[tuple[int, int], list[Edge]] = {}
    for edge in edges:
        reach = places.place[edge.target][0] - places.place[edge.source][0]
        if edge.value >= 0 and abs(reach) > FAR:
            far.setdefault((edge.source, edge.value), []).append(edge)
    named = {value.id: value.name for unit in graph.units for value in unit.values}
    return {edge: _short(named[value]) for (_, value), all_ in far.items() if len(all_) > FAR_TIMES for edge in all_}


def _named_end(edge: Edge, graph: Picture, places: Layout, labels: list, name: str) -> Curve:
    """A short arrow into the entry, from the value's name."""
    target = graph.units[edge.target]
    x, y = places.xy(target)
    side = -0.3 if edge.slot % 2 == 0 else 0.3
    labels.append((x + side, y - 0.5, name))
    points = (x + side, y - 0.5, x + side, y - 0.3, x + side / 2, y - 0.2, x, y)
    return Curve(tuple(round(p, 3) for p in points), edge.value, edge.entry, edge.slot, False)


def _bow(source: Unit, target: Unit, places: Layout, occupied) -> float:
    """How far an edge along a row must bend to pass what stands between its ends; 0 if nothing does."""
    (a, row), (b, other) = places.place[source.number], places.place[target.number]
    low, high = min(a, b) + 1, max(a, b)
    if row != other or high - low < 1:
        return 0.0
    between = range(low, min(high, low + 12))
    blocked = high - low > 12 or any((source.lane, slot, row) in occupied for slot in between)
    return (-0.55 if row == 0 else 0.55) if blocked else 0.0


def figure(drawn: Drawing) -> go.Figure:
    """The plotly figure: lanes as bands with their titles, missing pathways, and the nodes as the last trace."""
    return go.Figure(plotted(drawn))


def plotted(drawn: Drawing) -> dict:
    """The same as data, as plotly writes it."""
    rows = drawn.y_range[0] - drawn.y_range[1]
    height = rows * (ROOMY_PX if rows * ROOMY_PX + MARGIN_PX <= MAX_HEIGHT else ROW_PX) + MARGIN_PX
    layout = {
        "meta": drawn.id,
        "height": int(min(max(height, MIN_HEIGHT), MAX_HEIGHT)),
        "margin": {"l": 6, "r": 6, "t": 6, "b": 6},
        "showlegend": False,
        "dragmode": "pan",
        "hovermode": "closest",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 11, "color": GREY.format(1)},
        "xaxis": {"range": list(drawn.x_range), **_BARE},
        "yaxis": {"range": list(drawn.y_range), **_BARE},
        "shapes": [_band(i, lane, drawn) for i, lane in enumerate(drawn.lanes)],
        "annotations": [*(_lane_title(i, lane) for i, lane in enumerate(drawn.lanes)), *_ghost_labels(drawn)],
    }
    return {"data": [_ghost_lines(drawn), _nodes(drawn.nodes)], "layout": layout}


_BARE = {"visible": False, "showgrid": False, "zeroline": False, "fixedrange": False}
_BANDS = ("rgba(125,137,152,0.09)", "rgba(230,159,0,0.10)", "rgba(0,114,178,0.10)", "rgba(0,158,115,0.10)")


def _band(number: int, lane: tuple[str, float, float], drawn: Drawing) -> dict:
    _, top, bottom = lane
    colour = _BANDS[0] if number == 0 else _BANDS[1 + (number - 1) % 3]
    return {
        "type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": top, "y1": bottom,
        "fillcolor": colour, "line": {"width": 0}, "layer": "below",
    }  # fmt: skip


def _lane_title(number: int, lane: tuple[str, float, float]) -> dict:
    title, top, _ = lane
    text = f"{title} →" if number == 0 else f"← {title}"
    return {
        "xref": "paper", "x": 0.004, "xanchor": "left", "y": top, "yanchor": "top", "text": f"<b>{plain(text)}</b>",
        "showarrow": False, "font": {"size": 11},
    }  # fmt: skip


def _ghost_lines(drawn: Drawing) -> dict:
    """Dotted, with a diamond for each variable in between."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    texts: list[str] = []
    sizes: list[float] = []
    for ends, ghost in _ghost_ends(drawn):
        count = len(ghost.through) + 1
        for k, (text, size) in enumerate([("", 0), *((name, 13) for name in ghost.through), ("", 0)]):
            x, y = _along(ends, k / count)
            xs.append(x)
            ys.append(y)
            texts.append(plain(text))
            sizes.append(size)
        for row, gap in ((xs, None), (ys, None), (texts, ""), (sizes, 0)):
            row.append(gap)
    colour = OKABE_ITO["vermillion"]
    return {
        "type": "scatter", "name": "ghosts", "x": xs, "y": ys, "text": texts, "hoverinfo": "skip",
        "mode": "lines+markers+text", "textposition": "top center",
        "line": {"color": colour, "width": 3, "dash": "dot"},
        "marker": {"symbol": "diamond-open", "size": sizes, "color": colour, "line": {"width": 2}},
    }  # fmt: skip


def _ghost_labels(drawn: Drawing) -> Iterator[dict]:
    """What was dropped, beside each missing pathway; those that end at one variable are told apart by their height."""
    before: dict[str, int] = {}
    for ends, ghost in _ghost_ends(drawn):
        number = before[ghost.target] = before.get(ghost.target, -1) + 1
        x, y = _along(ends, max(0.84 - 0.2 * number, 0.1))
        if ghost.text:
            yield {
                "x": x, "y": y, "xanchor": "left", "xshift": 9, "text": plain(ghost.text), "showarrow": False,
                "font": {"size": 11}, "bgcolor": "rgba(213,94,0,0.16)", "bordercolor": OKABE_ITO["vermillion"],
                "borderpad": 2,
            }  # fmt: skip


def _ghost_ends(drawn: Drawing) -> Iterator[tuple[tuple[float, float, float, float], Ghost]]:
    for *ends, ghost in drawn.ghosts:
        yield tuple(ends), ghost


def _along(ends: tuple[float, float, float, float], t: float) -> tuple[float, float]:
    x0, y0, x1, y1 = ends
    return round(x0 + t * (x1 - x0), 3), round(y0 + t * (y1 - y0), 3)


def plain(text: str) -> str:
    """A text in which Plotly finds no markup: it knows <b>, <br> and, in a name from somewhere, <a href>."""
    return html.escape(text.encode("utf-8", "replace").decode(), quote=False)


def _short(name: str) -> str:
    """The end of a long name: `layers.0.in_proj_weight` and its neighbours begin alike."""
    return name if len(name) <= 12 else f"…{name[-11:].removeprefix('.')}"


def _nodes(nodes: list[Node]) -> dict:
    """Where they are and what they are called: Plotly draws none of them, but tells which one the pointer is at."""
    return {
        "type": "scatter",
        "name": "nodes",
        "x": [n.x for n in nodes],
        "y": [n.y for n in nodes],
        "text": [plain(n.text or _short(n.name)) for n in nodes],
        "hovertext": [plain(n.hover[:LONGEST_HOVER]) for n in nodes],
        "hoverinfo": "none",  # the player shows a card with what is known at the step (card.js)
        "mode": "none",
    }
