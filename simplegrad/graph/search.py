"""Looking for something in a trace by its name: variables, entries, and the modules that entries belong to."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..trace.events import Entry, Value
from .groups import Group, runs_of
from .whole import TraceGraph

MOST_FOUND = 12


def likeness(text: str, wanted: str) -> float:
    """How far a text is from what is looked for: 0 the same, 1 begins with it, 2 has it, 3 has its letters in their
    order, infinity for none of it. The player's own, for what stands in its fields, is the same (player.js)."""
    here, wanted = text.lower(), wanted.lower()
    if here == wanted:
        return 0
    if here.startswith(wanted):
        return 1
    if wanted in here:
        return 2
    letters = iter(here)
    return 3 if here and all(letter in letters for letter in wanted) else math.inf


def modules_of(entries: list[Entry]) -> list[Group]:
    """Entries that follow each other in one module (or region) and one pass; what belongs to none is left out."""
    runs = runs_of(entries, lambda entry: (entry.group, entry.pass_id), len(entries))
    return [Group(f"g{run[0].id}", run[0].group, run) for run in runs if run[0].group]


def found(graph: TraceGraph, wanted: str, most: int = MOST_FOUND) -> list[Value | Entry | Group]:
    """Nodes of the graph, and modules, that a text may mean: the likeliest first, then as they stand in the run."""
    ranked = [(rank, node) for rank, node in _ranked(graph, wanted.strip()) if rank < math.inf]
    return [node for _, node in sorted(ranked, key=lambda each: each[0])[:most]]


def _ranked(graph: TraceGraph, wanted: str) -> Iterator[tuple[float, Value | Entry | Group]]:
    for node in graph:
        if type(node) is Value:
            yield likeness(node.name, wanted), node
        elif type(node) is Entry:
            yield (0 if str(node.id) == wanted else 1 + likeness(node.statement, wanted)), node
    for module in modules_of(graph.entries):
        yield likeness(module.title, wanted), module
