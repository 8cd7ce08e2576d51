"""Clause 8: forward and backward change nothing that they do not own, also past the version counter."""

from __future__ import annotations

from typing import Any

from ..report import Finding, Place
from ..runs.changed import copied, is_changed, line_of_change
from ..subjects.subject import Rule

CLONE = """\
# a sketch: keep a copy that nothing else changes; no out=, no trailing underscore, no shared buffer
value.clone()"""


def ownership(rule: Rule) -> list[Finding]:
    """What forward changes among its inputs, and backward among what came in and what was kept."""
    return [*_by_forward(rule), *_by_backward(rule)]


def _by_forward(rule: Rule) -> list[Finding]:
    found = []
    for name, now, was in rule.given(rule.forward()):
        if not is_changed(now, was):
            continue
        sentence = (
            f"{rule.forward_said} changes its input {name} in place and does not say so: anything else that reads "
            f"{name}, autograd included, finds other numbers there, and no version counter or error says so."
        )
        at = rule.changed_by_forward(name)
        found.append(Finding("input_mutated", sentence, rule.name, name, read_at=at, order=1, fix=rule.own(name)))
    return found


def _by_backward(rule: Rule) -> list[Finding]:
    kept = rule.forward()
    reads = [(name, value, copied(value)) for name, value in rule.reads(kept)]
    incoming = [g if g is None else g.clone() for g in rule.all_incoming()]
    given = [None if g is None else copied(g) for g in incoming]
    rule.backward(kept, incoming, copies=False)
    found = []
    for name, value, copy in reads:
        if is_changed(value, copy) and not any(value is g for g in incoming):
            sentence = f"{rule.backward_said} changes {name} in place, which forward kept: whoever reads it next, a "
            sentence += "second backward or the owner of that tensor, finds other numbers."
            at = _line_in_backward(rule, name)
            found.append(Finding("captured_value_mutated", sentence, rule.name, name, read_at=at, order=1, fix=CLONE))
    for i, (g, copy) in enumerate(zip(incoming, given, strict=True)):
        if g is not None and is_changed(g, copy):
            which = f"the gradient of output {i}" if len(incoming) > 1 else "the incoming gradient"
            sentence = f"{rule.backward_said} changes {which} in place. It may belong to another branch of the graph "
            sentence += "too, to a hook, or to whoever called backward with it."
            at = _line_in_backward(rule, i)
            found.append(Finding("input_mutated", sentence, rule.name, which, read_at=at, order=1, fix=CLONE))
    return found


def _line_in_backward(rule: Rule, which: str | int) -> Place | None:
    """The line of backward after which what it was given, or what is kept under this name, was another."""
    kept = rule.forward()
    incoming: list[Any] = [g if g is None else g.clone() for g in rule.all_incoming()]
    one = incoming[which] if isinstance(which, int) else dict(rule.reads(kept))[which]
    codes = [rule.code] if rule.code else []
    at = line_of_change(codes, lambda: rule.backward(kept, incoming, copies=False), lambda: one)
    return at or rule.returned_at()
