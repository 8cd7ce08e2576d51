"""Looking for something in a trace by its name: variables, entries, and the modules that entries belong to."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from operator import itemgetter
from weakref import WeakKeyDictionary

from ..trace.events import Entry, Value
from .groups import Group, runs_of
from .whole import TraceGraph

MOST_FOUND = 12
Thing = Value | Entry | Group
_KNOWN: WeakKeyDictionary[TraceGraph, tuple[int, Index]] = WeakKeyDictionary()
_PARTS = ("\n{}\n", "\n{}", "{}")  # how a text stands in the lines, by its likeness


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


class Labels:
    """What things are called, as one text with a line for each: to look through it takes a fraction of the time that
    looking at each thing takes. `things`: (place in the run, thing) in their order."""

    def __init__(self, things: list[tuple[int, Thing]], called: Callable[[Thing], str]) -> None:
        lines = [called(thing).lower().replace("\n", " ") for _, thing in things]
        self.things = things
        self.text = "\n".join(["", *lines, ""])
        self.starts = list(accumulate((len(line) + 1 for line in lines), initial=1))[:-1]

    def alike(self, rank: int, wanted: str) -> Iterator[tuple[int, Thing]]:
        """The things whose likeness is this rank or a better one."""
        hits = self._in_order(wanted) if rank == 3 else self._having(_PARTS[rank].format(wanted), rank < 2)
        return (self.things[bisect_right(self.starts, hit) - 1] for hit in hits)

    def _having(self, part: str, from_its_beginning: bool) -> Iterator[int]:
        at = self.text.find(part)
        while at >= 0:
            at += from_its_beginning
            yield at
            at = self.text.find(part, self.text.find("\n", at))  # once a line

    def _in_order(self, wanted: str) -> Iterator[int]:
        letters = "".join(f"[^\n{re.escape(letter)}]*+{re.escape(letter)}" for letter in wanted)
        return (match.start() for match in re.finditer(f"^{letters}", self.text, re.MULTILINE))


class Index:
    """What can be looked for in a graph, made once for it."""

    def __init__(self, graph: TraceGraph) -> None:
        things = list(enumerate([*graph, *modules_of(graph.entries)]))
        entries = [each for each in things if type(each[1]) is Entry]
        self.named = Labels([each for each in things if type(each[1]) is Value], lambda value: value.name)
        self.modules = Labels([each for each in things if type(each[1]) is Group], lambda module: module.title)
        self.statements = Labels(entries, lambda entry: entry.statement)
        self.entry_of = {str(each[1].id): each for each in entries}

    def of_rank(self, rank: int, wanted: str) -> Iterator[tuple[int, Thing]]:
        """A name is nearer by one than a statement; an entry's number is the entry."""
        if rank == 0 and wanted in self.entry_of:
            yield self.entry_of[wanted]
        shelves = ((self.named, rank), (self.modules, rank), (self.statements, rank - 1))
        for labels, nearness in shelves:
            if 0 <= nearness <= 3:
                yield from islice(labels.alike(nearness, wanted), 2 * MOST_FOUND)


def found(graph: TraceGraph, wanted: str) -> list[Thing]:
    """Nodes of the graph, and modules, that a text may mean: the likeliest first, then as they stand in the run."""
    wanted, hits = wanted.strip().lower(), {}
    for rank in range(5) if wanted else ():
        new = [each for each in index_of(graph).of_rank(rank, wanted) if each[0] not in hits]
        hits |= dict(sorted(new, key=itemgetter(0)))
        if len(hits) >= MOST_FOUND:
            break
    return list(hits.values())[:MOST_FOUND]


def index_of(graph: TraceGraph) -> Index:
    known = _KNOWN.get(graph)
    if known is None or known[0] != len(graph):
        known = _KNOWN[graph] = (len(graph), Index(graph))
    return known[1]
