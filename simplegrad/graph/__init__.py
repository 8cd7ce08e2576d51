"""A trace as one networkx graph: what is drawn, grouped, searched and asked reads it."""

from .groups import Group, groups_of
from .search import found, likeness
from .units import NODE_BUDGET, OPEN_GROUPS, Picture, Unit, node_count, picture
from .whole import TraceGraph, graph_of

__all__ = [
    "NODE_BUDGET", "OPEN_GROUPS", "Group", "Picture", "TraceGraph", "Unit", "found", "graph_of", "groups_of",
    "likeness", "node_count", "picture",
]  # fmt: skip
