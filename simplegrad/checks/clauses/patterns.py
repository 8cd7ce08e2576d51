"""Clause 5: every pattern of known and unknown incoming gradients. Clause 6: every subset of the gradients wanted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import torch

from .. import source
from ..measure.numbers import all_moved, directions, inner, largest, plain, slope, unlike
from ..report import Finding, Place
from ..subjects.subject import Gradients, Rule
from ..tape.questions import MOST_OUTPUTS
from ..words import said_by, said_within
from .steps import is_same, parting_by_none, returned_at, stepped, watched

TOLERANCE = {64: 1e-9, 32: 1e-4}


def patterns(count: int) -> Iterator[tuple[int, ...]]:
    """Choices of some, not all and not none, of so many things."""
    sizes = range(count - 1, 0, -1) if count <= MOST_OUTPUTS else (count - 1, 1)
    for size in dict.fromkeys(sizes):
        yield from combinations(range(count), size)


def left_out(count: int) -> str:
    """What of so many things is tried, where it is not every pattern; else nothing."""
    return f"of {count}: each alone, and all but each; not every pattern" if count > MOST_OUTPUTS else ""


# -- incoming gradients ------------------------------------------------------------------------------------------------


def unknown_gradients(rule: Rule, order: int = 1) -> list[Finding]:
    """Outputs that nobody uses, some or all: for backward, None in place of a gradient is to mean zeros.

    From `order` 2 on, so it is for the derivative of what backward gives.
    """
    for known in patterns(len(rule.incoming)):
        found = _first(rule, known) or (_second(rule, known) if order > 1 else None)
        if found is not None:
            return [found]
    found = _nothing_known(rule)
    return [] if found is None else [found]


def _first(rule: Rule, known: tuple[int, ...]) -> Finding | None:
    expected = rule.run(rule.values).gradients(_zeroed(rule, known))
    left = _left(rule, known)
    try:
        found = _of_some(rule, known)
    except Exception as error:
        how = f"raises where zeros would do: {said_within(error)}"
        return _none_finding(rule, left, how, rule.raised_at(error))
    if _differ(rule, found, expected) and not _is_wrong_otherwise(rule, known, found):
        return _none_finding(rule, left, "gives other gradients than for zeros", _parted_at(rule, known))
    return None


def _parted_at(rule: Rule, known: tuple[int, ...]) -> Place | None:
    """Where None leads elsewhere than zeros do, else where it returns."""
    given = (_some(rule, known), _zeroed(rule, known))
    of_none, of_zeros = (stepped(rule, rule.all_incoming(each)) for each in given)
    return parting_by_none(of_none, of_zeros, is_same) or returned_at(lambda: _of_some(rule, known), rule.code)


def _is_wrong_otherwise(rule: Rule, known: tuple[int, ...], found: Gradients) -> bool:
    """Whether None gives what is right, and backward is wrong where all gradients are known: this is told elsewhere."""
    everything = tuple(range(len(rule.incoming)))
    return _is_derivative(rule, known, found) and not _is_derivative(rule, everything, rule.gradient)


def _is_derivative(rule: Rule, known: tuple[int, ...], gradients: Gradients) -> bool:
    """Whether differences of forward, for these of its outputs, say the same along two directions."""
    generator = torch.Generator().manual_seed(23)

    def agrees(ways: list[torch.Tensor]) -> bool:
        def along(h: float) -> float:
            outputs = rule.run(all_moved(rule.values, ways, h)).outputs
            return sum(inner(rule.incoming[i], outputs[i]) for i in known)

        terms = [inner(g, way) for g, way in zip(gradients, ways, strict=True)]
        return not slope(along, rule.bits).disagrees(sum(terms), sum(map(abs, terms)))

    return all(agrees(directions(rule.values, generator)) for _ in range(2))


def _second(rule: Rule, known: tuple[int, ...]) -> Finding | None:
    weights = [torch.ones_like(x) for x in rule.values]
    try:
        expected = rule.run(rule.values).second(_zeroed(rule, known), weights)
    except Exception:  # a second order that is refused, or wrong, is told elsewhere
        return None
    left, count = _left(rule, known), len(rule.values)
    try:
        found = rule.run(rule.values).second(_some(rule, known), weights)
    except Exception as error:
        how = f"cannot be differentiated again: {said_within(error)}"
        return _none_finding(rule, left, how, rule.raised_at(error), 2)
    if _differ(rule, found[:count], expected[:count]) and not _is_wrong_otherwise(rule, known, _of_some(rule, known)):
        at = returned_at(lambda: _of_some(rule, known), rule.code)
        return _none_finding(rule, left, "gives gradients with another derivative than for zeros", at, 2)
    return None


def _nothing_known(rule: Rule) -> Finding | None:
    """No gradient at all comes in, where whatever stands behind gives None. An entry of the tape is skipped then, and a
    Function that does not ask for None is given zeros."""
    if not rule.takes_none:
        return None
    expected = rule.run(rule.values).gradients(_zeroed(rule, ()))
    try:
        found = rule.run(rule.values).undefined()
    except Exception as error:
        how = f"raises where zeros would do: {said_within(error)}"
        return _none_finding(rule, rule.made, how, rule.raised_at(error))
    if _differ(rule, found, expected, rule.gradient):
        at = returned_at(lambda: rule.run(rule.values).undefined(), rule.code)
        return _none_finding(rule, rule.made, "gives other gradients than for zeros", at)
    return None


def _differ(rule: Rule, found: Gradients, expected: Gradients, beside: Gradients = ()) -> bool:
    """Whether None gives what zeros do not. Zero times infinity is NaN, and None computes nothing: where zeros give no
    finite numbers, nothing is held against it. `beside`: what both are measured by, else by `expected`."""
    there = [None if e is None else plain(e.detach()).isfinite() for e in expected]
    found = [f if f is None or at is None or f.shape != at.shape else f.where(at, 0) for f, at in zip(found, there)]
    expected = [e if at is None else e.where(at, 0) for e, at in zip(expected, there)]
    scale = max(map(largest, beside or expected), default=0.0)
    return bool(unlike(found, expected, TOLERANCE[rule.bits], scale))


def _some(rule: Rule, known: tuple[int, ...]) -> Gradients:
    return [g if i in known else None for i, g in enumerate(rule.incoming)]


def _zeroed(rule: Rule, known: tuple[int, ...]) -> list[torch.Tensor]:
    return [g if i in known else torch.zeros_like(g) for i, g in enumerate(rule.incoming)]


def _left(rule: Rule, known: tuple[int, ...]) -> list[str]:
    return [name for i, name in enumerate(rule.made) if i not in known]


def _of_some(rule: Rule, known: tuple[int, ...]) -> Gradients:
    return rule.run(rule.values).gradients(_some(rule, known))


def _none_finding(rule: Rule, left: list[str], how: str, at: Place | None, order: int = 1) -> Finding:
    return Finding(
        "none_not_handled",
        f"{rule.unknown(left)} {rule.backward_said} {how}.",
        entry=rule.name,
        slot=left[0],
        read_at=at or rule.returned_at(),
        order=order,
        fix=rule.none_fix(left),
    )


# -- the gradients wanted ----------------------------------------------------------------------------------------------


def needed_inputs(rule: Rule) -> Finding | None:
    """Where only some gradients are wanted, they are what they are where all are."""
    whole = rule.gradient
    scale = max(map(largest, whole), default=0.0)
    for needs in patterns(len(rule.values)):
        only = rule.wanting([rule.names[i] for i in needs])
        try:
            found = _needing(rule, needs)
        except Exception as error:
            sentence = f"{only} {rule.backward_said} raises {said_by(error)}"
            at = rule.raised_at(error) or rule.returned_at()
            return Finding("raises", sentence, entry=rule.name, read_at=at, order=1, fix=rule.needs_fix)
        wrong = unlike([found[i] for i in needs], [whole[i] for i in needs], TOLERANCE[rule.bits], scale)
        if wrong:
            which, none = rule.names[needs[wrong[0]]], found[needs[wrong[0]]] is None
            sentence = f"{only} {rule.backward_said} gives {'None' if none else 'another gradient'} for {which}, "
            sentence += "which it does not where all are wanted."
            code, at = (
                "missing_gradient" if none else "wrong_gradient",
                _left_at(rule, needs, wrong[0] if none else None),
            )
            return Finding(code, sentence, rule.name, which, read_at=at, order=1, fix=rule.needs_fix)
    return None


def _needing(rule: Rule, needs: tuple[int, ...]) -> Gradients:
    found = rule.run(rule.values, needs).gradients(rule.incoming)
    return [None if g is None else plain(g.detach()) for g in found]


def _left_at(rule: Rule, needs: tuple[int, ...], lost: int | None) -> Place | None:
    """The line by which backward returns where only these gradients are wanted; of one that is `lost`, the head of the
    branch that was not taken, and that would have bound it."""
    steps = watched(lambda: _needing(rule, needs), rule.code)
    at = steps.left_at()
    if lost is not None and at is not None and hasattr(rule, "call"):
        names = source.returned_names(rule.code, at, rule.call.differentiated[needs[lost]])
        untaken = source.untaken(rule.code, names[0], {line for line, _ in steps.ran}) if len(names) == 1 else None
        at = untaken or at
    return at or rule.returned_at()
