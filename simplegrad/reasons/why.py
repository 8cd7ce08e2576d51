"""`trace.why(name)`: the state of one gradient, and what made it so."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from ..checks.report import Place
from ..graph import likeness
from ..trace.calls import Held
from ..trace.events import Value
from ..trace.trace import Trace
from .answer import UNKNOWN, Cause, Link, Why, place_of
from .broken import born
from .changed import changed_after
from .faded import why_faded
from .filled import by_hook, from_another_rank, is_finite, last_filled
from .lost import why_none
from .run import Run, run_of
from .stale import leftover, why_stale

__all__ = ["Finding", "Link", "Why", "why"]
_ROW = re.compile(r"(.*)\[(\d+)\]$")


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing about a step: the same as in a Why, for `parameter`."""

    parameter: str
    state: str
    cause: str
    place: Place | None
    sentence: str


@dataclass(frozen=True)
class Subject:
    """What is asked about."""

    name: str
    held: Held | None
    value: Value | None
    row: int | None = None


def why(trace: Trace, name: str) -> Why:
    """Why the gradient of `name` is what it is. `name`: a parameter or tensor by its path (`blocks.0.weight`), a row of
    it (`emb.weight[5]`), or a variable of the trace. Raises KeyError for a name that the trace has not."""
    if trace.kind != "torch":
        from .tape import why_on_tape

        return why_on_tape(trace, name)
    run = run_of(trace)
    subject = found(run, name)
    state = state_of(run, subject)
    cause = cause_of(run, subject, state)
    place = place_of(trace, cause.source)
    line = (Link(f"the line: {place.text.strip()}", cause.source),) if place is not None and place.text.strip() else ()
    return Why(name, state, cause.cause, place, cause.sentence, (*cause.chain, *line))


def found(run: Run, name: str) -> Subject:
    """The tensor of this name."""
    for path, row in _readings(run, name):
        held = run.held.get(path)
        if held is not None:
            return Subject(name, held, held.value, row)
        value = run.trace.value_named(path)
        if value is not None:
            return Subject(name, None, value, row)
        ends = [h for p, h in run.held.items() if p.endswith(f".{path}")]
        if len(ends) == 1:
            return Subject(name, ends[0], ends[0].value, row)
    near = _like(run, name)
    hint = f" Did you mean {' or '.join(near)}?" if near else f" It has {', '.join(list(run.held)[:8])}."
    raise KeyError(f"this trace has no tensor called {name!r}.{hint}")


def _like(run: Run, name: str) -> list[str]:
    """Names that have this one in them; else those that are spelt like it."""
    names = list(dict.fromkeys([*run.held, *(value.name for value in run.trace.values)]))
    ranked = sorted((likeness(each, name), place) for place, each in enumerate(names) if likeness(each, name) < 3)
    return [names[place] for _, place in ranked[:3]] or difflib.get_close_matches(name, names, 3, 0.5)


def _readings(run: Run, name: str) -> list[tuple[str, int | None]]:
    row = _ROW.match(name)
    dotted = re.sub(r"\[(\d+)\]", r".\1", name)
    return [(name, None), *([(row[1], int(row[2]))] if row else []), (dotted, None)]


def state_of(run: Run, subject: Subject) -> str:
    """none, zero, nan, tiny, huge, stale or value."""
    held, value = subject.held, subject.value
    if held is None:
        return _state_of_value(run, value)
    if subject.row is not None and held.grad not in ("none", "zero"):
        return "zero" if subject.row in held.zero_rows else "value"
    if held.grad in ("value", "huge") and leftover(run, value) is not None:
        return "stale"
    return held.grad


def _state_of_value(run: Run, value: Value | None) -> str:
    filled = last_filled(run, value) if value is not None else None
    if filled is None:
        return "none"
    if filled.after_kind:
        return "nan"
    if filled.after is None:
        return "none"
    size = max(1, _count(value)) ** 0.5
    if filled.after == 0:
        return "zero"
    return "tiny" if filled.after < 1e-6 else "huge" if filled.after > 1e3 * size else "value"


def _count(value: Value) -> int:
    count = 1
    for size in value.shape:
        count *= size
    return count


def cause_of(run: Run, subject: Subject, state: str) -> Cause:
    name, held, value = subject.name, subject.held, subject.value
    if state == "none":
        return why_none(run, name, held, value)
    if value is None:
        return Cause("", f"Nothing of this run touched {name}; its gradient is from before.")
    if state == "stale":
        return why_stale(run, name, held, value, leftover(run, value))
    if state == "nan":
        return why_nan(run, name, held, value)
    if state == "value":
        return Cause("none", f"{name} has a gradient of ordinary size; the trace shows nothing wrong with it.")
    row = subject.row if held is not None and held.grad not in ("none", "zero") else None
    return why_faded(run, name, held, value, state, row)


def why_nan(run: Run, name: str, held: Held | None, value: Value) -> Cause:
    filled = last_filled(run, value)
    if filled is None:
        return Cause(UNKNOWN, f"No pass of this trace filled the gradient of {name}: it is from before.")
    foreign = from_another_rank(run, name)
    if foreign is not None:
        return foreign
    if not filled.after_kind:
        changed = changed_after(run, name, held, value, "nan")
        if changed is not None:
            return changed
    if filled.before is None and filled.after_kind and is_finite(run, filled):
        return by_hook(run, name, held, value, filled.pass_id)
    found = born(run, value, filled)
    return found or Cause(UNKNOWN, f"This trace does not show where the NaN in the gradient of {name} was born.")
