"""Why a gradient of a tape's pass is None, zero or not finite."""

from __future__ import annotations

from ..graph import graph_of
from ..trace.events import Accumulated, Entry, PassBegun, Read, Value, Visited
from ..trace.nonfinite import find_nonfinite, kind_of
from ..trace.trace import Trace
from .answer import Cause, Link, Why, place_of


def why_on_tape(trace: Trace, name: str) -> Why:
    """Of the last pass that ran."""
    value = trace.value_named(name)
    if value is None:
        raise KeyError(f"this trace has no variable called {name!r}.")
    begun = [event for event in trace.events if isinstance(event, PassBegun)]
    if not begun:
        cause = Cause("not_asked", f"No pass ran, so {name} has no gradient.")
        return Why(name, "none", cause.cause, None, cause.sentence)
    state = trace.at(len(trace)).gradients.get(name) if hasattr(trace.at(len(trace)), "gradients") else None
    total = state.value if state is not None else None
    if total is None:
        cause = _none(trace, value, begun[-1])
        return Why(name, "none", cause.cause, place_of(trace, cause.source), cause.sentence, cause.chain)
    if kind_of(total):
        birth = find_nonfinite(trace)
        source = birth.source if birth is not None else None
        sentence = birth.sentence if birth is not None else f"The gradient of {name} is not finite."
        return Why(name, "nan", "nonfinite", place_of(trace, source), sentence)
    if total.is_zero:
        cause = _zero(trace, value, begun[-1])
        return Why(name, "zero", cause.cause, place_of(trace, cause.source), cause.sentence, cause.chain)
    return Why(name, "value", "none", None, f"{name} has a gradient; the trace shows nothing wrong with it.")


def _none(trace: Trace, value: Value, begun: PassBegun) -> Cause:
    pass_ = begun.pass_
    readers = [entry for entry in graph_of(trace).readers(value) if entry.pass_id != pass_.id]
    if not readers:
        return Cause("unused", f"No operation reads {value.name}, so no gradient can come to it.")
    for event in trace.events:
        came = isinstance(event, Accumulated) and event.pass_id == pass_.id and event.value is value
        if came and event.contribution is None:
            sentence = f"{event.entry.statement} passes on None to {value.name}: it is known to be zero."
            link = Link(sentence, event.entry.source, event.index)
            return Cause("skipped", sentence, event.entry.source, (link,))
    for event in trace.events:
        if isinstance(event, Visited) and event.pass_id == pass_.id and event.entry in readers:
            return _passed_over(trace, value, event)
    escaped = _escaped(trace, value, readers)
    if escaped is not None:
        return escaped
    entry = readers[0]
    sentence = (
        f"{entry.statement} reads {value.name}, but does not lead to {pass_.loss.name}: the pass was not asked for it."
    )
    return Cause("unused", sentence, entry.source)


def _passed_over(trace: Trace, value: Value, event: Visited) -> Cause:
    entry, link = event.entry, Link(f"{event.entry.statement} is {event.state}", event.entry.source, event.index)
    if event.state == "pruned":
        sentence = f"{entry.statement} was pruned: nothing that was wanted depends on it, so {value.name} gets nothing."
        return Cause("pruned", sentence, entry.source, (link,))
    escaped = _escaped(trace, value, [entry])
    if escaped is not None:
        return escaped
    names = " and ".join(x.name for x in entry.outputs)
    sentence = f"{entry.statement} was skipped: no gradient has come to {names}, so nothing comes to {value.name}."
    return Cause("skipped", sentence, entry.source, (link,))


def _escaped(trace: Trace, value: Value, readers: list[Entry]) -> Cause | None:
    for event in trace.events:
        if isinstance(event, Read):
            sentence = (
                f"{event.entry.statement} reads {event.value.name}, which no entry of the tape computed: an escaped "
                f"temporary, through which nothing comes back."
            )
            return Cause("escaped_temporary", sentence, event.source, (Link(sentence, event.source, event.index),))
    return None


def _zero(trace: Trace, value: Value, begun: PassBegun) -> Cause:
    for event in reversed(trace.events):
        if isinstance(event, Visited) and event.pass_id == begun.pass_.id and value in event.entry.inputs:
            sentence = f"{event.entry.statement} passes on zeros to {value.name}."
            return Cause(
                "zero_factor", sentence, event.entry.source, (Link(sentence, event.entry.source, event.index),)
            )
    return Cause("", f"The gradient of {value.name} is zero; this trace does not show why.")
