"""`TraceView`: a trace as it is shown, each part made once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from threading import RLock

import plotly.graph_objects as go

from ..checks.report import Report
from ..graph import NODE_BUDGET, Box, Picture, boxes_around, boxes_of, graph_of, node_count, picture
from ..reasons.run import run_of
from ..trace import looks
from ..trace.trace import Trace
from . import deltas
from .bounded import Bounded
from .collector import collector_paused
from .figure import Drawing, Ghost, drawing, figure
from .layout import layout
from .running import asker

EVENT_BYTES = 600  # of a trace, tensors aside: benchmarks/growth.py
PACKED_BYTES = 30  # of what is sent to the player, for each event
NODE_BYTES = 2_000  # of a picture, for each node in it
ENTRY_BYTES = 1_000  # the same, for each entry of the tape, drawn or not: the trace's graph has its nodes
MOST_OPENED = 3  # pictures of one trace with other groups opened, or other ghosts, that are kept
_numbers = itertools.count()


def once(make: Callable) -> property:
    """A property that is made when it is first asked for, and once, also where two threads ask at the same moment."""
    name = f"_{make.__name__}"

    def made(self):
        with self._lock:
            if name not in self.__dict__:
                self.__dict__[name] = make(self)
            return self.__dict__[name]

    return property(made, doc=make.__doc__)


class TraceView:
    """A trace, which of its groups are `opened` (long tapes are collapsed), and `ghosts`: pathways that are missing."""

    def __init__(self, trace: Trace, opened: Sequence[str] = (), ghosts: Sequence[Ghost] = (), name: str = ""):
        self.trace = trace
        self.opened = tuple(opened)
        self.ghosts = tuple(ghosts)
        self.name = name or trace.title
        self.id = f"{next(_numbers)}"
        self._first = self  # the one that has what is sent to the player
        self._lock = RLock()
        self._others = Bounded(count=MOST_OPENED, cost=MOST_OPENED)

    def with_opened(self, opened: Sequence[str], ghosts: Sequence[Ghost] = ()) -> TraceView:
        """The same trace with other groups opened; the player keeps its step. The last few are kept with this one."""
        opened, ghosts = tuple(opened), tuple(ghosts or self.ghosts)

        def made() -> TraceView:
            other = TraceView(self.trace, opened, ghosts, self.name)
            other.id, other._first = self.id, self
            return other

        return self._others.get((opened, ghosts), made)

    @property
    def bytes(self) -> int:
        """About what it keeps in memory: the trace, the data for the player, and all pictures that there may be."""
        picture = NODE_BYTES * min(node_count(self.trace), NODE_BUDGET) + ENTRY_BYTES * len(self.trace.entries)
        return bytes_of(self.trace) + PACKED_BYTES * len(self.trace.events) + (1 + MOST_OPENED) * picture

    @once
    def graph(self) -> Picture:
        with collector_paused():
            self._whole = graph_of(self.trace)  # kept for those who open a group, or ask why
            if self.trace.kind == "torch":
                run_of(self.trace).ready()
            return picture(self.trace, self.opened)

    @once
    def drawing(self) -> Drawing:
        with collector_paused():
            return drawing(self.graph, layout(self.graph), self.ghosts)

    @once
    def figure(self) -> go.Figure:
        return figure(self.drawing)

    @once
    def drawing_json(self) -> bytes:
        return deltas.as_json(self.drawing.for_player())

    @property
    def payload(self) -> bytes:
        """The trace for the player, packed: sent once, whatever is opened, chosen or stepped to later."""
        return self._first._packed

    @once
    def _packed(self) -> bytes:
        with collector_paused():  # it walks all that was made so far, again and again: a third of the time
            return deltas.packed({"role": "trace", "id": self.id, **deltas.payload(self.trace, asker.still)})

    def group_at(self, step: int) -> str | None:
        """The collapsed group that the event of this step happens in, if it does in one that is no module: of a module
        that is closed, stepping leaves it so."""
        if not self.drawing.groups or not 0 <= step < len(self.trace.events):
            return None
        entry = getattr(self.trace.events[step], "entry", None)
        home = self.graph.home.get(entry)
        return home.key if home is not None and home.kind == "group" and home.box is None else None

    @once
    def boxes(self) -> list[Box]:
        """Modules that can be opened and closed, each behind the one around it."""
        found: list[Box] = []
        todo = boxes_of(self.trace, graph_of(self.trace).entries)
        while todo:
            box = todo.pop(0)
            if box.count > 1:  # one of a single entry is drawn as that entry
                found.append(box)
                todo += box.inner
        return found

    def opened_by(self, box: Box) -> tuple[str, ...]:
        """What is toggled, against the first picture, to have this module open, or closed if it is open there."""
        open_at_first = {frame.box.key for frame in self.graph.frames}
        if box.key in open_at_first:
            return (box.key,)
        chain = []
        while box is not None:
            chain.append(box.key)
            box = box.outer
        return tuple(key for key in reversed(chain) if key not in open_at_first)

    def opened_at(self, step: int) -> tuple[str, ...]:
        """What is toggled to have the modules open that the event of this step happens in."""
        entry = getattr(self.trace.events[step], "entry", None) if 0 <= step < len(self.trace.events) else None
        around = [box for box in boxes_around(self.trace, entry) if box.count > 1] if entry is not None else []
        return (
            () if not around or around[-1].key in {f.box.key for f in self.graph.frames} else self.opened_by(around[-1])
        )

    @property
    def alt(self) -> str:
        """The picture in words, for those who do not see it."""
        trace = self.trace
        entries, passes = len(trace.entries), len(trace.passes)
        return f"Graph of a tape of {entries} entries, with {passes} backward passes. The tape list says the same."


def bytes_of(trace: Trace) -> int:
    """About what a trace keeps in memory: its events, and the tensors that its values hold by reference."""
    parts = dict(looks.memory(value.tensor) for value in trace.values if value.tensor is not None)
    return EVENT_BYTES * len(trace.events) + sum(parts.values())


def bytes_of_report(report: Report | str | None) -> int:
    """The same of what check said: its trace, if it has one."""
    trace = getattr(report, "trace", None)
    return 0 if trace is None else bytes_of(trace)
