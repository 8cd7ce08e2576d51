"""Clause 8: forward and backward change nothing that they do not own, also past the version counter."""

from __future__ import annotations

from typing import Any

import torch

from simplegrad.checks.causes import source
from simplegrad.checks.numbers import plain
from simplegrad.checks.report import Finding, Place
from simplegrad.checks.subjects.alone import Ran
from simplegrad.checks.subjects.function import Rule

CLONE = "value.clone()  # keep a copy that nobody else changes; no out=, no trailing underscore, no shared buffer"


def ownership(rule: Rule) -> list[Finding]:
    """What forward changes among its inputs, and backward among what came in and what was kept."""
    return [*_by_forward(rule), *_by_backward(rule)]


def _by_forward(rule: Rule) -> list[Finding]:
    ran = rule.alone.forward()
    dirty = ran.ctx.__dict__.get("dirty_tensors") or ()
    found = []
    for name, place, value in zip(rule.names, rule.call.differentiated, rule.values, strict=True):
        arg = ran.args[place]
        if not _is_changed(arg, value) or any(arg is marked for marked in dirty):
            continue
        sentence = (
            f"forward of {rule.name} changes its input {name} in place and does not say so: whoever else reads {name}, "
            f"autograd included, finds other numbers there, and no version counter or error tells."
        )
        fix = f"ctx.mark_dirty({name})  # and return it; or compute on {name}.clone()"
        at = _line_in_forward(rule, place)
        found.append(Finding("input_mutated", sentence, rule.name, name, read_at=at, order=1, fix=fix))
    return found


def _by_backward(rule: Rule) -> list[Finding]:
    ran = rule.alone.forward()
    kept = [(slot.name, slot.value) for slot in ran.slots if slot.path[0].kind == "name" and _is_kept(slot.value)]
    before = [_copy(value) for _, value in kept]
    incoming = [g if g is None else g.clone() for g in rule.all_incoming()]
    given = [None if g is None else _copy(g) for g in incoming]
    rule.alone.backward(ran, incoming, copies=False)
    found = []
    for (name, value), copy in zip(kept, before, strict=True):
        if _is_changed(value, copy) and not any(value is g for g in incoming):
            sentence = f"backward of {rule.name} changes {name} in place, which forward kept: whoever reads it next, a "
            sentence += "second backward or the owner of that tensor, finds other numbers."
            at = _line_in_backward(rule, name)
            found.append(Finding("captured_value_mutated", sentence, rule.name, name, read_at=at, order=1, fix=CLONE))
    for i, (g, copy) in enumerate(zip(incoming, given, strict=True)):
        if g is not None and _is_changed(g, copy):
            which = f"the gradient of output {i}" if len(incoming) > 1 else "the incoming gradient"
            sentence = (
                f"backward of {rule.name} changes {which} in place. It may belong to another branch of the graph "
            )
            sentence += "too, to a hook, or to whoever called backward with it."
            at = _line_in_backward(rule, i)
            found.append(Finding("input_mutated", sentence, rule.name, which, read_at=at, order=1, fix=CLONE))
    return found


def _is_kept(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided


def _copy(value: torch.Tensor) -> torch.Tensor:
    return plain(value.detach()).clone()


def _is_changed(value: torch.Tensor, before: torch.Tensor) -> bool:
    now, before = plain(value.detach()), plain(before.detach())
    if now.shape != before.shape:
        return True
    return not bool(((now == before) | (now.isnan() & before.isnan())).all())


# -- the line ----------------------------------------------------------------------------------------------------------


def _line_in_forward(rule: Rule, place: int) -> Place | None:
    """The line of forward after which the argument was another."""
    codes = [source.code_of(rule.call.cls.forward)]
    codes += [source.code_of(rule.call.cls.setup_context)] if rule.call.has_setup else []
    watch = source.Watch(tuple(code for code in codes if code is not None))

    def watched(run: Any, ctx: Any) -> Any:
        with watch.watching():
            return run()

    ran = rule.alone.forward(around=watched)
    return _changed_at(watch, ran.args[place]) or (source.heading(codes[0]) if codes[0] else None)


def _line_in_backward(rule: Rule, which: str | int) -> Place | None:
    """The line of backward after which what it was given, or what ctx keeps under this name, was another."""
    code = source.code_of(rule.call.backward)
    if code is None:
        return None
    ran: Ran = rule.alone.forward()
    watch = source.Watch((code,), lambda: ran.slots)
    watch.knows(ran.slots)
    incoming = [g if g is None else g.clone() for g in rule.all_incoming()]
    with watch.watching():
        rule.alone.backward(ran, incoming, copies=False)
    one = incoming[which] if isinstance(which, int) else next(s.value for s in ran.slots if s.name == which)
    return _changed_at(watch, one) or source.place(code, source.return_line(code))


def _changed_at(watch: source.Watch, value: Any) -> Place | None:
    seen = watch.seen.get(id(value))
    if seen is None or seen.value is not value or seen.last == seen.first:
        return None
    return source.place(seen.code, seen.last)
