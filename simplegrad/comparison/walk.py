"""Two PyTorch runs walked through together: which event of one stands beside which of the other."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from ..trace.events import PassBegun
from ..trace.trace import Trace

Step = tuple[int | None, int | None]


def walked(partners: Iterable[Step], left: int, right: int) -> list[Step]:
    """Every event of two runs of so many events, in order. Partners are one step; what stands between two pairs of
    partners goes side by side, and the run that has less there waits (None)."""
    found: list[Step] = []
    i = j = 0
    inside = [(a, b) for a, b in partners if a < left and b < right]  # a call after the last event has none
    for a, b in [*sorted(inside), (left, right)]:
        if a < i or b < j:  # two calls without an event of their own share one
            continue
        found += zip_longest(range(i, a), range(j, b))
        found.append((a, b))
        i, j = a + 1, b + 1
    found.pop()  # the end is no event
    return found


def begun(left: Trace, right: Trace) -> list[Step]:
    """Where the passes of both begin."""
    return list(zip(*[[e.index for e in t.events if isinstance(e, PassBegun)] for t in (left, right)]))
