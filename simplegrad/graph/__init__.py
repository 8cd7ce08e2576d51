"""A trace as one networkx graph: what is drawn, grouped, searched and asked reads it."""

from .boxes import ALL_CLOSED, ALL_OPEN, Box, boxes_around, boxes_of
from .collapsed import OPEN_GROUPS, node_count
from .groups import Group, groups_of
from .search import found, likeness
from .units import NODE_BUDGET, Frame, Picture, Unit, picture
from .whole import TraceGraph, graph_of

__all__ = [
    "ALL_CLOSED", "ALL_OPEN", "NODE_BUDGET", "OPEN_GROUPS", "Box", "Frame", "Group", "Picture", "TraceGraph", "Unit",
    "boxes_around", "boxes_of", "found", "graph_of", "groups_of", "likeness", "node_count", "picture",
]  # fmt: skip
