"""Where two runs part: the first place at which one has another value, another gradient, an error, or a dead end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

import torch

from ..checks.report import short
from ..trace.events import Entry, Failed, Pass, PassEnded, PassFailed, Value
from ..trace.trace import Trace
from .align import Alignment, Side
from .equal import same


@dataclass(frozen=True)
class DeadEnd:
    """A value that a pass brings a gradient to and that no entry made: the gradient goes nowhere.

    `partner` is the same value on the other side, where the entry `maker` passes its gradient on; None where the other
    side has no such value. `event`: index of the contribution that brings it.
    """

    side: str  # left or right
    value: Value
    partner: Value | None
    maker: Entry | None
    pass_: Pass
    other_pass: Pass | None
    gradient: Value
    event: int
    reader: Entry | None = None  # the aggregate whose propagate read it
    run = property(attrgetter("pass_"))  # its older name, which programs still say
    other_run = property(attrgetter("other_pass"))


@dataclass(frozen=True)
class Divergence:
    """The first difference. `kind`: raised, forward, dead_end, gradient.

    `left` and `right` say what each side has, `left_event` and `right_event` the events that show it (None where that
    side has none), `step` the place in the aligned steps. `variable` is the left side's name, `partner` the right's.
    """

    kind: str
    sentence: str
    left: str
    right: str
    step: int
    left_event: int | None = None
    right_event: int | None = None
    pass_: Pass | None = None  # of the left side, where it has one
    other_pass: Pass | None = None
    variable: str = ""
    partner: str = ""
    dead_end: DeadEnd | None = None
    run = property(attrgetter("pass_"))  # its older name, which programs still say
    other_run = property(attrgetter("other_pass"))


def of_gradient(pass_: Pass | None, value: Value | None) -> str:
    """`dL1/dt`"""
    return f"d{pass_.loss.name}/d{value.name}" if pass_ is not None and value is not None else "nothing"


def shown(gradient: Value | None) -> str:
    """`v21 = [0.5, 1.2]`, or None"""
    if gradient is None:
        return "None"
    return gradient.name if gradient.tensor is None else f"{gradient.name} = {short(gradient.tensor)}"


def tensor(value: Value | None) -> torch.Tensor | None:
    return value and value.tensor


# --- the ends of gradients ----------------------------------------------------------------------------------------


def dead_ends(alignment: Alignment, which: str) -> Iterator[DeadEnd]:
    """All of one side, by pass, in the order in which gradients came. A gradient of zeros loses nothing."""
    one, other = sides(alignment, which)
    others = {pass_.id: pass_ for _, pass_ in other.passes}
    for _, pass_ in one.passes:
        for value, arrival in one.arrivals(pass_).items():
            if arrival.last.total.is_zero or not _ends_at(value, one, other):
                continue
            partner, read = one.partner.get(value), one.reads.get(value)
            yield DeadEnd(
                which,
                value,
                partner,
                other.made_by.get(partner),
                pass_,
                others.get(one.pass_partner.get(pass_.id)),
                arrival.last.total,
                arrival.last.index,
                one.visits.get(read.entry) if read is not None else None,
            )


def _ends_at(value: Value, one: Side, other: Side) -> bool:
    """Nothing on this side made it, and it is no leaf of the program: it was read from outside the tape, or it is a
    leaf here and computed over there."""
    if value in one.made_by or value in {pass_.seed for _, pass_ in one.passes}:
        return False
    return value in one.reads or one.partner.get(value) in other.made_by


def sides(alignment: Alignment, which: str) -> tuple[Side, Side]:
    both = alignment.left, alignment.right
    return both if which == "left" else both[::-1]


# --- the first difference -----------------------------------------------------------------------------------------


def first_divergence(alignment: Alignment) -> Divergence | None:
    """None where every line and every wanted gradient of every pass agree, and both runs come to their end."""
    found = [*_raised(alignment), *_forward(alignment), *_passes(alignment)]
    return min(found, key=lambda each: each[0], default=(0, None))[1]


def steps_of(alignment: Alignment, column: int) -> dict[int, int]:
    """Event index -> its place in the aligned steps; column 0 is left."""
    return {pair[column]: step for step, pair in enumerate(alignment.steps) if pair[column] is not None}


def _raised(alignment: Alignment) -> Iterator[tuple[int, Divergence]]:
    errors = [side.trace.error for side in (alignment.left, alignment.right)]
    if (errors[0] is None) == (errors[1] is None):
        return
    column = 0 if errors[0] is not None else 1
    error = errors[column]
    step = steps_of(alignment, column)[error.index]
    word = ("left", "right")[column]
    what = error.error if isinstance(error, Failed) else "a limit"
    sentence = f"The {word} run ends here with {what}: {error.message} The other goes on."
    texts = [f"{what}: {error.message}", "goes on"]
    events = [error.index, _other_event(alignment, step, 1 - column)]
    before = (alignment.left, alignment.right)[column].trace.events[max(error.index - 1, 0)]
    raised_in = before.pass_id if isinstance(before, PassFailed) else error.pass_id
    passes = next(
        ((a, b) for a, b in alignment.passes if (a, b)[column] and (a, b)[column].id == raised_in), (None, None)
    )
    if column:
        texts.reverse(), events.reverse()
    yield step, Divergence("raised", sentence, *texts, step, *events, *passes)


def _other_event(alignment: Alignment, step: int, column: int) -> int | None:
    """The last event that the other side has had at this step."""
    return next((pair[column] for pair in alignment.steps[step::-1] if pair[column] is not None), None)


def _forward(alignment: Alignment) -> Iterator[tuple[int, Divergence]]:
    """The last entry of each line of the forward part: what the line computes."""
    place = steps_of(alignment, 0)
    for region, entries in alignment.left.regions.items():
        others = alignment.right.regions.get(region)
        if region[0] is not None or not others:
            continue
        mine, its = entries[-1], others[-1]
        values = [(a, b) for a in mine.outputs for b in its.outputs]
        if any(b is alignment.left.partner.get(a) and same(a.tensor, b.tensor) for a, b in values) or not values:
            continue
        if any(a.tensor is None or b.tensor is None or same(a.tensor, b.tensor) for a, b in values):
            continue
        (a, b), line = values[0], mine.line
        where = f"Line {line} of the program" if line else "The forward part"
        sentence = f"{where} computes something else: {shown(a)} on the left, {shown(b)} on the right."
        events = alignment.left.recorded_at[mine], alignment.right.recorded_at[its]
        step = place[events[0]]
        yield step, Divergence("forward", sentence, shown(a), shown(b), step, *events, variable=a.name, partner=b.name)


def _passes(alignment: Alignment) -> Iterator[tuple[int, Divergence]]:
    """The first pass whose results differ, and in it what is to blame."""
    place = steps_of(alignment, 0)
    for pass_, other in alignment.passes:
        if pass_ is None or other is None:
            continue
        ends = ended(alignment.left.trace, pass_), ended(alignment.right.trace, other)
        if None in ends or all(same(tensor(a), tensor(b)) for a, b in zip(ends[0].results, ends[1].results)):
            continue
        yield place[ends[0].index], _blamed(alignment, pass_, other, ends)
        return


def ended(trace: Trace, pass_: Pass) -> PassEnded | None:
    return next((e for e in trace.events if isinstance(e, PassEnded) and e.pass_.id == pass_.id), None)


def _blamed(alignment: Alignment, pass_: Pass, other: Pass, ends: tuple[PassEnded, PassEnded]) -> Divergence:
    for which, its in (("left", pass_), ("right", other)):
        for end in dead_ends(alignment, which):
            if end.pass_ is its:
                return _dead_end(alignment, end, _consequence(pass_, ends))
    return _gradient(alignment, pass_, other, ends)


def _consequence(pass_: Pass, ends: tuple[PassEnded, PassEnded]) -> str:
    """What a wanted gradient comes to because of it."""
    for value, left, right in zip(pass_.wanted, ends[0].results, ends[1].results):
        if not same(tensor(left), tensor(right)):
            both = [each.name if each is not None else "None" for each in (left, right)]
            return f" In the end {of_gradient(pass_, value)} is {both[0]} on the left and {both[1]} on the right."
    return ""


def _dead_end(alignment: Alignment, end: DeadEnd, consequence: str) -> Divergence:
    """The gradient that reaches a value and goes nowhere, beside its partner's, which goes on."""
    column = 0 if end.side == "left" else 1
    there = ("left", "right")[1 - column]
    here = of_gradient(end.pass_, end.value)
    what = "the escaped temporary " if end.reader is not None else ""
    sentence = (
        f"In the {end.pass_.title}, {here} = {end.gradient.name} reaches {what}{end.value.name} on the {end.side} and "
        f"goes nowhere: no entry has {end.value.name} as an output."
    )
    texts = [f"{here}: {shown(end.gradient)}, which goes nowhere", f"has no {end.value.name}"]
    event = None
    if end.partner is not None and end.other_pass is not None:
        texts[1], told, event = _partners(alignment, end)
        sentence += f" On the {there}, {told}."
    events, names = [end.event, event], [end.value.name, end.partner.name if end.partner else ""]
    passes = [end.pass_, end.other_pass]
    if column:
        texts.reverse(), events.reverse(), names.reverse(), passes.reverse()
    step = steps_of(alignment, column)[end.event]
    return Divergence("dead_end", sentence + consequence, *texts, step, *events, *passes, *names, dead_end=end)


def _partners(alignment: Alignment, end: DeadEnd) -> tuple[str, str, int | None]:
    """What becomes of a dead end's gradient on the other side: for the table, for the sentence, and the event."""
    _, other = sides(alignment, end.side)
    its, name = other.gradient(end.other_pass, end.partner), of_gradient(end.other_pass, end.partner)
    onward = _listed(names_reached(alignment, end))
    if its is None:
        return f"{name}: None", f"{name} is None", None
    goes = f", which goes on to {onward}" if onward else ""
    arrival = other.arrivals(end.other_pass)[end.partner]
    if same(tensor(end.gradient), tensor(its)):
        return (
            f"{name}: {shown(its)}{goes}",
            f"the same gradient, {name} = {its.name}, goes on to {onward}",
            arrival.last.index,
        )
    told = f"{end.partner.name} has the entry that is missing here, and {name} = {its.name} goes on to {onward}"
    return f"{name}: {shown(its)}{goes}", told, arrival.first.index


def _listed(names: list[str]) -> str:
    return " and ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + f" and {names[-1]}"


def names_reached(alignment: Alignment, end: DeadEnd) -> list[str]:
    """The variables both sides have that the partner's gradient goes on to."""
    return list(dict.fromkeys(sorted(each.name for each in derivation(alignment, end)[0])))


def derivation(alignment: Alignment, end: DeadEnd) -> tuple[list[Value], list[Entry]]:
    """From what both sides have, how the other side computes a dead end's partner: (those values, the entries)."""
    _, other = sides(alignment, end.side)
    known, entries, waiting = [], [], [end.maker]
    while waiting:
        entry = waiting.pop(0)
        if entry is None or entry in entries:
            continue
        entries.append(entry)
        for value in entry.inputs:
            mine = other.partner.get(value)
            if mine is not None and mine is not end.value and mine not in known:
                known.append(mine)
            elif mine is None:
                waiting.append(other.made_by.get(value))
    return known, entries


def _gradient(alignment: Alignment, pass_: Pass, other: Pass, ends: tuple[PassEnded, PassEnded]) -> Divergence:
    """The variable whose gradient is complete first and differs from its partner's."""
    place = steps_of(alignment, 0)
    for a, b, left, right in _complete(alignment, pass_, other, ends):
        if same(tensor(left), tensor(right)):
            continue
        events = _completed_at(alignment.left, pass_, a), _completed_at(alignment.right, other, b)
        texts = f"{of_gradient(pass_, a)}: {shown(left)}", f"{of_gradient(other, b)}: {shown(right)}"
        by = _giver(alignment.left.trace, events[0])
        sentence = f"In the {pass_.title}, {texts[0]} on the left{by}, and {texts[1]} on the right."
        at = events[0] if events[0] is not None else ends[0].index
        at_right = events[1] if events[1] is not None else ends[1].index
        return Divergence("gradient", sentence, *texts, place[at], at, at_right, pass_, other, a.name, b.name)
    raise AssertionError("the results of a pass are among its gradients")


def differing_steps(alignment: Alignment) -> list[int]:
    """The steps at which a gradient is complete that differs from its partner's, or at which a pass ends without it."""
    place = steps_of(alignment, 0)
    found = set()
    for pass_, other in alignment.passes:
        ends = tuple(ended(side.trace, each) if each else None for side, each in _with_sides(alignment, pass_, other))
        if None in ends:
            continue
        for a, _, left, right in _complete(alignment, pass_, other, ends):
            if not same(tensor(left), tensor(right)):
                at = _completed_at(alignment.left, pass_, a)
                found.add(place[at if at is not None else ends[0].index])
    return sorted(found)


def _with_sides(alignment: Alignment, pass_: Pass | None, other: Pass | None) -> list[tuple[Side, Pass | None]]:
    return [(alignment.left, pass_), (alignment.right, other)]


def _complete(alignment: Alignment, pass_: Pass, other: Pass, ends: tuple[PassEnded, PassEnded]) -> list[tuple]:
    """(left value, right value, left gradient, right gradient) of all that both have, in the order of completion."""
    tables = dict(ends[0].table), dict(ends[1].table)
    rows = {}
    for b in tables[1]:
        a = alignment.right.partner.get(b)
        if a is not None and not _is_internal(alignment, b):
            rows[b] = (a, b, tables[0].get(a), tables[1][b])
    for b, a, left, right in zip(other.wanted, pass_.wanted, ends[0].results, ends[1].results):
        rows[b] = (a, b, left, right)
    last = len(alignment.right.trace.events)
    order = {b: _completed_at(alignment.right, other, b) or last for b in rows}
    return [rows[b] for b in sorted(rows, key=order.__getitem__)]


def _is_internal(alignment: Alignment, value: Value) -> bool:
    """A temporary of an aggregate: part of its gradient is added up where no trace sees it."""
    readers = (entry for entry in alignment.right.inside if value in entry.inputs)
    return alignment.right.made_by.get(value) in alignment.right.inside and any(readers)


def _completed_at(side: Side, pass_: Pass, value: Value) -> int | None:
    arrival = side.arrivals(pass_).get(value)
    return arrival and arrival.last.index


def _giver(trace: Trace, index: int | None) -> str:
    """By which entry the last contribution came."""
    if index is None:
        return " (no contribution comes)"
    return f" (from {trace.events[index].entry.statement})"
