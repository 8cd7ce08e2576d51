"""Steps named by what happens there: `{kind = "Accumulated", value = "x", nth = 2}` is x's second contribution."""

from __future__ import annotations

from collections.abc import Mapping

from ..trace.events import Event
from ..trace.trace import Trace


def step_of(trace: Trace, at: Mapping) -> int | None:
    """The index of the event that is meant, or None. `at` may say:

    `kind`: of the event; `entry`: how the statement of its entry begins; `value`: the name of its value (or the value
    that it is a contribution to); `loss`: whose pass it happens in; `state`: of a visit; `nth`: which of those that
    fit, from 1, or -1 for the last.
    """
    found = [event.index for event in trace.events if fits(trace, event, at)]
    place = at.get("nth", 1)
    place = place - 1 if place > 0 else place
    return found[place] if -len(found) <= place < len(found) else None


def fits(trace: Trace, event: Event, at: Mapping) -> bool:
    entry, value = getattr(event, "entry", None), getattr(event, "value", None)
    pass_ = getattr(event, "pass_", None)
    if pass_ is None and event.pass_id is not None:
        pass_ = trace.passes[event.pass_id]
    asked = {
        "kind": event.kind == at.get("kind"),
        "entry": entry is not None and entry.statement.startswith(at.get("entry", "")),
        "value": value is not None and value.name == at.get("value"),
        "loss": pass_ is not None and pass_.loss.name == at.get("loss"),
        "state": getattr(event, "state", None) == at.get("state"),
    }
    return all(asked[word] for word in at if word != "nth")
