"""Where a person is in a run whose program was edited."""

from __future__ import annotations

from collections import defaultdict

from ..trace.events import Event
from ..trace.trace import Trace


def near(before: Trace, step: int, after: Trace) -> int:
    """The step of `after` that says what `step` of `before` says; else what the last step before that says, or 0.

    Of several that say the same, the nearest by its number.
    """
    places: dict[tuple, list[int]] = defaultdict(list)
    for event in after.events:
        places[said(event)].append(event.index)
    for event in reversed(before.events[: step + 1]):
        if found := places.get(said(event)):
            return min(found, key=lambda index: abs(index - step))
    return 0


def said(event: Event) -> tuple:
    """What an event is about, by names: they outlive an edit of other lines."""
    entry, value, pass_ = (getattr(event, name, None) for name in ("entry", "value", "pass_"))
    return event.kind, event.pass_id, entry and entry.statement, value and value.name, pass_ and pass_.title
