"""The way of a gradient back from the loss: at each value by the largest contribution, as the others count for less."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..trace.events import Entry, Value, Visited
from .families import SATURATING
from .filled import contributions, norm_of
from .run import Run

FADES = 0.3  # a saturating operation that passes on less than this takes part in a fading


@dataclass(frozen=True)
class Step:
    """An entry's backward: `ratio` is the norm of what it passed on to `value` by that of what it was given."""

    ratio: float
    entry: Entry
    visit: Visited
    value: Value


@dataclass(frozen=True)
class Way:
    """From a value up to the loss. `smallest`, `largest`: the steps with the extreme ratios; `fading`: the one that
    fades most among `times` saturating ones, which together pass on `share`."""

    step: Step
    up: Way | None
    smallest: Step
    largest: Step
    fading: Step | None = None
    times: int = 0
    share: float = 1.0

    def steps(self) -> Iterator[Step]:
        """The nearest first."""
        seen: Way | None = self
        while seen is not None:
            yield seen.step
            seen = seen.up


def way_from(run: Run, pass_id: int, value: Value) -> Way | None:
    """Each piece of a way is found once for a run, so that all parameters of a chain share what lies above them."""
    steps: list[tuple[Value, Step]] = []
    passed: set[Value] = set()
    seen: Value | None = value
    while seen is not None and (pass_id, seen) not in run.ways and seen not in passed:
        passed.add(seen)
        found = _up(run, pass_id, seen)
        if found is None:
            run.ways[pass_id, seen] = None
            break
        steps.append((seen, found[0]))
        seen = found[1]
    way = run.ways.get((pass_id, seen)) if seen is not None else None
    for x, step in reversed(steps):
        way = run.ways[pass_id, x] = _longer(step, way)
    return run.ways.get((pass_id, value))


def _up(run: Run, pass_id: int, value: Value) -> tuple[Step, Value | None] | None:
    """The step that brought most, and the value whose gradient it was given most of."""
    found = [(norm_of(event.contribution), event) for event in contributions(run, pass_id, value)]
    known = [(norm, event) for norm, event in found if norm is not None]
    if not known:
        return None
    gave, event = max(known, key=lambda each: each[0])
    visit = run.visit(pass_id, event.entry)
    came, above = incoming(visit) if visit is not None else (None, None)
    if not came or came == float("inf"):
        return None
    return Step(gave / came, event.entry, visit, value), above


def incoming(visit: Visited) -> tuple[float | None, Value | None]:
    """The largest norm that an entry was given, None where one is not known, and the output it belongs to."""
    norms = [(norm_of(g), out) for g, out in zip(visit.incoming, visit.entry.outputs) if g is not None]
    if not norms or any(norm is None for norm, _ in norms):
        return None, None
    return max(norms, key=lambda each: each[0])


def _longer(step: Step, up: Way | None) -> Way:
    if up is None:
        way = Way(step, up, step, step)
    else:
        smallest, largest = min(step, up.smallest, key=_ratio), max(step, up.largest, key=_ratio)
        way = Way(step, up, smallest, largest, up.fading, up.times, up.share)
    if step.entry.operator not in SATURATING or step.ratio >= FADES:
        return way
    fading = step if way.fading is None else min(step, way.fading, key=_ratio)
    return replace(way, fading=fading, times=way.times + 1, share=way.share * step.ratio)


def _ratio(step: Step) -> float:
    return step.ratio
