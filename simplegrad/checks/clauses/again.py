"""Clause 9: the same again. Twice on one graph, after another call, with and without a graph, from one random state.

What a function that is called once does not meet, another call or a second backward, has no order at which it shows.
"""

from __future__ import annotations

from ..measure.looks import beside
from ..measure.numbers import largest, unlike
from ..report import Finding, Place
from ..runs.chance import places
from ..subjects.subject import Gradients, Rule
from ..words import said_by
from .ownership import CLONE
from .steps import is_same, parting, stepped

TOLERANCE = {64: 1e-9, 32: 1e-4}


def again(rule: Rule) -> Finding | None:
    """The first of the four that does not hold."""
    first = rule.gradient
    scale = max(map(largest, first), default=0.0)
    if _all_the_same(rule, first, scale):
        return None
    return (
        _twice(rule, first, scale)
        or _after_another_call(rule, first, scale)
        or _gradient_kept(rule, scale)
        or (_with_a_graph(rule, first, scale) if rule.has_modes else None)
    )


def _all_the_same(rule: Rule, first: Gradients, scale: float) -> bool:
    """Whether all of it holds where it is tried at one go; what does not is then tried for itself."""

    def same(found: Gradients) -> bool:
        return not unlike(found, first, TOLERANCE[rule.bits], scale)

    try:
        run = rule.run(rule.values)
        given = run.returned([v.clone() for v in rule.incoming])
        alike = same(given) and same(run.gradients(rule.incoming, keep=True))
        _other_call(rule)
        alike = alike and same(given) and same(run.gradients(rule.incoming))
    except Exception:
        return False
    return alike and not (rule.has_modes and _with_a_graph(rule, first, scale))


def forward_repeats(rule: Rule) -> bool:
    """Whether two forwards from one random state give the same values."""
    a, b = rule.first, rule.run(rule.values).outputs
    return len(a) == len(b) and not unlike(a, b, TOLERANCE[rule.bits])


def _twice(rule: Rule, first: Gradients, scale: float) -> Finding | None:
    """Backward run twice on one graph; one that draws random numbers more often: few of them may be alike by chance."""
    run = rule.run(rule.values)
    for time in ("first", "second", *["later"] * 8):
        before = places()
        try:
            found = run.gradients(rule.incoming, keep=True)
        except Exception as error:
            if time == "first":
                raise
            sentence = f"A second {rule.backward_said} on one graph (retain_graph=True) raises "
            sentence += f"{said_by(error)}"
            at = rule.raised_at(error) or rule.returned_at()
            return Finding("not_repeatable", sentence, entry=rule.name, read_at=at)
        if unlike(found, first, TOLERANCE[rule.bits], scale):
            sentence = f"A {time} {rule.backward_said} from the same values gives other gradients than one before: "
            sentence += "it draws random numbers, or changes what it reads."
            return Finding("not_repeatable", sentence, entry=rule.name, read_at=_differing(rule), order=1)
        if time != "first" and places() == before:
            return None
    return None


def _other_call(rule: Rule) -> Gradients:
    """One more call with other inputs, and its backward."""
    try:
        other = rule.again(beside(rule.values, 3, 1e-2))
    except Exception:  # it is not defined beside the point
        other = rule.again(rule.values)
    return other.gradients([2 * v for v in rule.incoming])


def _after_another_call(rule: Rule, first: Gradients, scale: float) -> Finding | None:
    """Another forward between a forward and its backward."""
    run = rule.run(rule.values)
    try:
        rule.again(beside(rule.values, 3, 1e-2))
    except Exception:  # it is not defined beside the point
        rule.again(rule.values)
    how = "changes the gradients"
    try:
        if not unlike(run.gradients(rule.incoming), first, TOLERANCE[rule.bits], scale):
            return None
    except Exception as error:
        how = f"makes backward raise {type(error).__name__}"
    sentence = (
        f"Another call between forward and {rule.backward_said} {how}: both calls keep a value in one place, and the "
        f"second overwrites that of the first."
    )
    slot, at = rule.shared()
    return Finding(
        "captured_value_mutated", sentence, rule.name, slot, made_at=at, read_at=rule.returned_at(), fix=CLONE
    )


def _gradient_kept(rule: Rule, scale: float) -> Finding | None:
    """Whether a gradient that was given out stays what it was when backward runs for another call."""
    given = rule.run(rule.values).returned([v.clone() for v in rule.incoming])
    copies = [None if g is None else g.clone() for g in given]
    _other_call(rule)
    changed = unlike(given, copies, TOLERANCE[rule.bits], scale)
    if not changed:
        return None
    name = rule.arguments[changed[0]]
    sentence = (
        f"The gradient that {rule.backward_said} gives for {name} is overwritten by its next call: it is a buffer "
        f"that backward keeps, and autograd may hold on to it."
    )
    return Finding("captured_value_mutated", sentence, rule.name, name, read_at=rule.returned_at(), fix=CLONE)


def _with_a_graph(rule: Rule, first: Gradients, scale: float) -> Finding | None:
    """The same gradients where they are to be differentiated again."""
    try:
        found = rule.run(rule.values).gradients(rule.incoming, graph=True)
    except Exception:  # it refuses to be differentiated again: that is told of order 2
        return None
    if not unlike(found, first, TOLERANCE[rule.bits] * 1e2, scale):
        return None
    sentence = f"{rule.backward_said} gives other gradients with create_graph=True than without."
    return Finding("depends_on_create_graph", sentence, rule.name, read_at=_differing(rule, graph=True), order=1)


def _differing(rule: Rule, graph: bool = False) -> Place | None:
    """The first line of backward after which two runs of it from one forward part."""
    kept, incoming = rule.forward(), rule.all_incoming()
    one = stepped(rule, incoming, kept)
    other = stepped(rule, incoming, rule.forward() if graph else kept, graph=graph)
    return parting(one, other, is_same) or rule.returned_at()
