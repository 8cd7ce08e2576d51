"""Clause 9: the same again. Twice on one graph, after another call, with and without a graph, from one random state.

What a function that is called once does not meet, another call or a second backward, has no order at which it shows.
"""

from __future__ import annotations

from typing import Any

import torch

from simplegrad.checks.causes import explain, source
from simplegrad.checks.clauses.ownership import CLONE
from simplegrad.checks.clauses.steps import Steps, is_same, parting
from simplegrad.checks.looks import beside
from simplegrad.checks.numbers import largest, plain, unlike
from simplegrad.checks.report import Finding, Place
from simplegrad.checks.subjects.function import Rule, gradient_of

TOLERANCE = {64: 1e-9, 32: 1e-4}


def again(rule: Rule) -> Finding | None:
    """The first of the four that does not hold."""
    first = rule.gradient
    scale = max(map(largest, first), default=0.0)
    return (
        _twice(rule, first, scale)
        or _after_another_call(rule, first, scale)
        or _gradient_kept(rule, scale)
        or _with_a_graph(rule, first, scale)
    )


def forward_repeats(rule: Rule) -> bool:
    """Whether two forwards from one random state give the same values."""
    a, b = ([out.detach() for out in rule.outputs(rule.values)[1]] for _ in range(2))
    return len(a) == len(b) and not unlike(a, b, TOLERANCE[rule.bits])


def _twice(rule: Rule, first: list, scale: float) -> Finding | None:
    """Backward run twice on one graph."""
    leaves, outputs = rule.outputs(rule.values)
    for time in ("first", "second"):
        try:
            found = _grad(rule, leaves, outputs, retain_graph=True)
        except Exception as error:
            if time == "first":
                raise
            sentence = f"A second backward of {rule.name} on one graph (retain_graph=True) raises "
            sentence += f"{type(error).__name__}: {explain.said(error)}"
            at = explain.user_line(error) or _returned(rule)
            return Finding("not_repeatable", sentence, entry=rule.name, read_at=at)
        if unlike(found, first, TOLERANCE[rule.bits], scale):
            sentence = f"A {time} backward of {rule.name} from the same values gives other gradients than one before: "
            sentence += "it draws random numbers, or changes what it reads."
            return Finding("not_repeatable", sentence, entry=rule.name, read_at=_differing(rule), order=1)
    return None


def _after_another_call(rule: Rule, first: list, scale: float) -> Finding | None:
    """Another forward between a forward and its backward."""
    leaves, outputs = rule.outputs(rule.values)
    try:
        rule.applied(beside(rule.values, 3, 1e-2))
    except Exception:  # it is not defined beside the point
        rule.applied(rule.values)
    how = "changes the gradients"
    try:
        if not unlike(_grad(rule, leaves, outputs), first, TOLERANCE[rule.bits], scale):
            return None
    except Exception as error:
        how = f"makes backward raise {type(error).__name__}"
    sentence = (
        f"Another call of {rule.name} between its forward and its backward {how}: both calls keep a value in one "
        f"place, and the second overwrites that of the first."
    )
    slot, at = _shared(rule)
    return Finding("captured_value_mutated", sentence, rule.name, slot, made_at=at, read_at=_returned(rule), fix=CLONE)


def _gradient_kept(rule: Rule, scale: float) -> Finding | None:
    """Whether a gradient that was given out stays what it was when backward runs for another call."""
    leaves, outputs = rule.outputs(rule.values)
    given = _grad(rule, leaves, outputs, copies=False)
    copies = [None if g is None else g.clone() for g in given]
    try:
        other = rule.applied(beside(rule.values, 3, 1e-2))
    except Exception:  # it is not defined beside the point
        other = rule.applied(rule.values)
    torch.autograd.grad(other[1], other[0], [2 * v for v in rule.incoming], allow_unused=True)
    changed = unlike(given, copies, TOLERANCE[rule.bits], scale)
    if not changed:
        return None
    name = rule.names[changed[0]]
    sentence = (
        f"The gradient that backward of {rule.name} gives for {name} is written over by its next call: it is a buffer "
        f"that backward keeps, and autograd may hold on to it."
    )
    return Finding("captured_value_mutated", sentence, rule.name, name, read_at=_returned(rule), fix=CLONE)


def _with_a_graph(rule: Rule, first: list, scale: float) -> Finding | None:
    """The same gradients where they are to be differentiated again."""
    try:
        found = gradient_of(rule, rule.values, rule.incoming, graph=True)
    except Exception:  # it refuses to be differentiated again: that is told of order 2
        return None
    if not unlike(found, first, TOLERANCE[rule.bits] * 1e2, scale):
        return None
    sentence = f"backward of {rule.name} gives other gradients with create_graph=True than without."
    return Finding("depends_on_create_graph", sentence, rule.name, read_at=_differing(rule, graph=True), order=1)


def _grad(rule: Rule, leaves: list, outputs: list, retain_graph: bool = False, copies: bool = True) -> list:
    given = [v.clone() for v in rule.incoming]
    found = torch.autograd.grad(outputs, leaves, given, allow_unused=True, retain_graph=retain_graph)
    return [g if g is None or not copies else plain(g.detach()).clone() for g in found]


# -- the line ----------------------------------------------------------------------------------------------------------


def _differing(rule: Rule, graph: bool = False) -> Place | None:
    """The first line of backward after which two runs of it from one forward part."""
    code, runs = source.code_of(rule.call.backward), []
    ran = rule.alone.forward()
    for second in (False, True):
        steps = Steps(code)
        if graph and second:
            ran = rule.alone.forward()
        try:
            with steps.watching():
                rule.alone.backward(ran, rule.all_incoming(), graph=graph and second)
        except Exception:  # as far as it came
            pass
        runs.append(steps)
    return parting(*runs, is_same) or _returned(rule)


def _returned(rule: Rule) -> Place | None:
    code = source.code_of(rule.call.backward)
    return source.place(code, source.return_line(code)) if code else None


def _shared(rule: Rule) -> tuple[str, Place | None]:
    """What a second forward writes over among what the first one left, and the line of forward that writes it."""
    ran = rule.alone.forward()
    before = {slot.path: _copy(slot.value) for slot in ran.slots if _is_kept(slot.value)}
    code = source.code_of(rule.call.cls.forward)
    watch = source.Watch((code,) if code else (), lambda: rule.alone.find_slots(ran.ctx))
    args = list(ran.args)
    for place, value in zip(rule.call.differentiated, beside(rule.values, 3, 1e-2), strict=True):
        args[place] = value.detach().clone()
    with watch.watching(), torch.no_grad():
        rule.alone._forward(type(ran.ctx)(rule.call, rule.alone.needs), args)
    for slot in rule.alone.find_slots(ran.ctx):
        if slot.path in before and _is_kept(slot.value) and unlike([slot.value], [before[slot.path]], 0.0):
            line = source.line_naming(code, slot.name) if any(slot.value is arg for arg in args) else None
            if line:  # what it was given may be written to, a running statistic, but not kept without a copy
                return slot.name, source.place(code, line)
            seen = watch.seen.get(id(slot.value))
            return slot.name, source.place(seen.code, seen.last) if seen is not None else None
    return "", source.heading(code) if code else None


def _is_kept(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided


def _copy(value: torch.Tensor) -> torch.Tensor:
    return plain(value.detach()).clone()
