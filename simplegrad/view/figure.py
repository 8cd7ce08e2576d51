"""(graph, layout) -> what is drawn, first as data (`Drawing`), then as a plotly figure. It never depends on the step.

The player colours the nodes and edges as it steps; `Drawing.for_player` is what it needs to find them.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import plotly.graph_objects as go

from ..graph import Picture, Unit
from .contract import EdgeRow, NodeRow
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
ARROWS_UP_TO = 1200  # edges; beyond that arrowheads cost more than they tell
# With 48 pixels a slot, the least that a graph is drawn with in full, a name beside an entry stays clear of it.
NAME_PX = 10
_NODE = {"entry": ("square", 22), "aggregate": ("hexagon2", 30), "group": ("square", 34), "hole": ("square-open", 18)}
_SOURCE = {"leaf": ("circle", 18), "seed": ("circle", 18), "read": ("diamond", 20)}


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
    lanes: list[tuple[str, float, float]] = field(default_factory=list)  # title, top, bottom
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)

    def for_player(self) -> dict:
        """What the player needs to find nodes (in the order of the last trace) and to draw edges of its own."""
        return {
            "nodes": [NodeRow(n.mark, n.id, n.x, n.y, n.pass_id, n.kind) for n in self.nodes],
            "edges": [EdgeRow(c.value, c.entry, c.slot, *c.points) for c in self.curves],
            "groups": self.groups,
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
    for title, top, rows in zip(graph.lanes, places.tops, places.rows):
        result.lanes.append((title, top - 0.5 - LANE_GAP / 4, top + rows - 0.5 + LANE_GAP / 4))
    result.x_range = (places.first - 0.9, places.last + 0.9)
    result.y_range = (places.height - 0.5 + LANE_GAP / 2, -0.5 - LANE_GAP / 2)
    return result


def _nodes_of(unit: Unit, places: Layout) -> list[Node]:
    x, y = places.xy(unit)
    if unit.kind == "hole":
        (entry,) = unit.entries
        return [Node(x, y, "hole", entry.id, "hole", "", "", unit.title, unit.lane - 1)]
    if unit.kind == "group":
        return [Node(x, y, "group", unit.key, "group", symbol_of(unit), "", unit.title)]
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
    """The plotly figure: lanes as bands, edges, arrowheads, names, and the nodes as the last trace."""
    rows = drawn.y_range[0] - drawn.y_range[1]
    height = rows * (ROOMY_PX if rows * ROOMY_PX + MARGIN_PX <= MAX_HEIGHT else ROW_PX) + MARGIN_PX
    traces = [
        _lines([c for c in drawn.curves if c.same_lane], GREY.format(0.75), 1.3, drawn.stubs),
        _lines([c for c in drawn.curves if not c.same_lane], GREY.format(0.4), 1.0),
        _arrowheads(drawn.curves if len(drawn.curves) <= ARROWS_UP_TO else []),
        _ghost_lines(drawn),
        _labels(drawn),
        _markers(drawn.nodes),
    ]
    chart = go.Figure(traces)
    chart.update_layout(
        height=int(min(max(height, MIN_HEIGHT), MAX_HEIGHT)),
        margin={"l": 6, "r": 6, "t": 6, "b": 6},
        showlegend=False,
        dragmode="pan",
        hovermode="closest",
        plot_bgcolor="rgba(0,0,0,0)",
        paper_bgcolor="rgba(0,0,0,0)",
        font={"size": 11, "color": GREY.format(1)},
        xaxis={"range": list(drawn.x_range), **_BARE},
        yaxis={"range": list(drawn.y_range), **_BARE},
        shapes=[_band(i, lane, drawn) for i, lane in enumerate(drawn.lanes)],
        annotations=[*(_lane_title(i, lane) for i, lane in enumerate(drawn.lanes)), *_ghost_labels(drawn)],
    )
    return chart


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


_STEPS = tuple(i / 14 for i in range(15))
_WEIGHTS = tuple(((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3) for t in _STEPS)


def _lines(curves: list[Curve], colour: str, width: float, straight: Sequence = ()) -> go.Scatter:
    xs: list[float | None] = []
    ys: list[float | None] = []
    for x0, y0, x1, y1 in straight:
        xs += (x0, x1, None)
        ys += (y0, y1, None)
    for curve in curves:
        x0, y0, x1, y1, x2, y2, x3, y3 = curve.points
        if y0 == y1 == y2 == y3:
            xs += (x0, x3, None)
            ys += (y0, y3, None)
            continue
        xs += [round(a * x0 + b * x1 + c * x2 + d * x3, 3) for a, b, c, d in _WEIGHTS]
        ys += [round(a * y0 + b * y1 + c * y2 + d * y3, 3) for a, b, c, d in _WEIGHTS]
        xs.append(None)
        ys.append(None)
    return go.Scatter(x=xs, y=ys, mode="lines", line={"color": colour, "width": width}, hoverinfo="skip")


def _arrowheads(curves: list[Curve]) -> go.Scatter:
    """At the entries that read: sideways within a lane, up or down between lanes."""
    angles = []
    for curve in curves:
        x2, y2, x3, y3 = curve.points[4:]
        angles.append((90 if x3 > x2 else -90) if curve.same_lane else (180 if y3 > y2 else 0))
    return go.Scatter(
        x=[c.points[6] for c in curves],
        y=[c.points[7] for c in curves],
        mode="markers",
        marker={"symbol": "arrow", "size": 8, "angle": angles, "standoff": 13, "color": GREY.format(0.8)},
        hoverinfo="skip",
    )


def _ghost_lines(drawn: Drawing) -> go.Scatter:
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
    return go.Scatter(
        x=xs, y=ys, text=texts, mode="lines+markers+text", textposition="top center", name="ghosts", hoverinfo="skip",
        line={"color": colour, "width": 3, "dash": "dot"},
        marker={"symbol": "diamond-open", "size": sizes, "color": colour, "line": {"width": 2}},
    )  # fmt: skip


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


def _labels(drawn: Drawing) -> go.Scatter:
    return go.Scatter(
        x=[x for x, _, _ in drawn.labels],
        y=[y for _, y, _ in drawn.labels],
        text=[plain(text) for _, _, text in drawn.labels],
        mode="text",
        textposition="top center",
        textfont={"size": 9, "color": GREY.format(1)},
        hoverinfo="skip",
    )


def plain(text: str) -> str:
    """A text in which Plotly finds no markup: it knows <b>, <br> and, in a name from somewhere, <a href>."""
    return html.escape(text.encode("utf-8", "replace").decode(), quote=False)


def _short(name: str) -> str:
    """The end of a long name: `layers.0.in_proj_weight` and its neighbours begin alike."""
    return name if len(name) <= 12 else f"…{name[-11:]}"


def _markers(nodes: list[Node]) -> go.Scatter:
    looks = [_NODE.get(n.kind) or _SOURCE.get(n.kind) or ("circle", 11) for n in nodes]
    return go.Scatter(
        x=[n.x for n in nodes],
        y=[n.y for n in nodes],
        text=[plain(n.text or _short(n.name)) for n in nodes],
        hovertext=[plain(n.hover[:LONGEST_HOVER]) for n in nodes],
        hoverinfo="none",  # the player shows a card with what is known at the step (graph.js)
        mode="markers+text",
        textposition=["middle center" if n.text else "bottom center" for n in nodes],
        textfont={
            "size": [(9 if len(n.text) > 3 else 11) if n.text else NAME_PX if n.kind == "value" else 11 for n in nodes],
            "color": "#444c56",
        },
        marker={
            "symbol": [symbol for symbol, _ in looks],
            "size": [size for _, size in looks],
            "color": "#ffffff",
            "opacity": 1,
            "line": {"width": 1.4, "color": "rgb(125,137,152)"},
        },
        name="nodes",
    )
