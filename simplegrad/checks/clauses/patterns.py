"""Clause 5: every pattern of known and unknown incoming gradients. Clause 6: every subset of `needs_input_grad`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import torch

from simplegrad.checks.causes import explain, source
from simplegrad.checks.clauses.applied import returned_at
from simplegrad.checks.clauses.steps import Steps
from simplegrad.checks.numbers import largest, plain, unlike
from simplegrad.checks.report import Finding, Place
from simplegrad.checks.subjects.function import Rule, gradient_of

MOST = 5  # of outputs or inputs to try all patterns of; of more, each alone and all but each
TOLERANCE = {64: 1e-9, 32: 1e-4}


def patterns(count: int) -> Iterator[tuple[int, ...]]:
    """Choices of some, not all and not none, of so many things."""
    sizes = range(count - 1, 0, -1) if count <= MOST else (count - 1, 1)
    for size in dict.fromkeys(sizes):
        yield from combinations(range(count), size)


def said(count: int, what: str) -> str:
    """How many patterns there are, where not all were tried."""
    return "" if count <= MOST else f"{2 * count + 1} of {2**count - 1} patterns, of {count} {what}"


# -- incoming gradients ------------------------------------------------------------------------------------------------


def unknown_gradients(rule: Rule) -> Finding | None:
    """Outputs that nobody uses: PyTorch gives None for them where a Function asks for that, and zeros otherwise."""
    for known in patterns(len(rule.incoming)):
        zeroed = [g if i in known else torch.zeros_like(g) for i, g in enumerate(rule.incoming)]
        expected = gradient_of(rule, rule.values, zeroed)
        left = [name for i, name in enumerate(rule.made) if i not in known]
        try:
            found = _of_some(rule, known)
        except Exception as error:
            how = f"raises where zeros would do: {type(error).__name__}: {explain.said(error)}"
            return _none_finding(rule, left, how, explain.user_line(error))
        if unlike(found, expected, TOLERANCE[rule.bits], max(map(largest, expected), default=0.0)):
            at = returned_at(lambda known=known: _of_some(rule, known), rule.call.backward)
            return _none_finding(rule, left, "gives other gradients than for zeros", at)
    return None


def _of_some(rule: Rule, known: tuple[int, ...]) -> list[torch.Tensor | None]:
    leaves, outputs = rule.outputs(rule.values)
    some, given = [outputs[i] for i in known], [rule.incoming[i].clone() for i in known]
    found = torch.autograd.grad(some, leaves, given, allow_unused=True)
    return [None if g is None else plain(g.detach()) for g in found]


def _none_finding(rule: Rule, left: list[str], how: str, at: Place | None) -> Finding:
    return Finding(
        "none_not_handled",
        f"Where nothing uses {' and '.join(left)}, backward of {rule.name} {how}.",
        entry=rule.name,
        read_at=at or _heading(rule),
        order=1,
        fix="gradient is None  # ask this of each incoming gradient, or leave out ctx.set_materialize_grads(False)",
    )


# -- needs_input_grad --------------------------------------------------------------------------------------------------


def needed_inputs(rule: Rule) -> Finding | None:
    """Where only some inputs require grad, their gradients are what they are where all do."""
    whole = rule.gradient
    scale = max(map(largest, whole), default=0.0)
    for needs in patterns(len(rule.values)):
        names = " and ".join(rule.names[i] for i in needs)
        try:
            found = _needing(rule, needs)
        except Exception as error:
            sentence = f"Where only {names} requires grad, backward of {rule.name} raises "
            sentence += f"{type(error).__name__}: {explain.said(error)}"
            at = explain.user_line(error) or _heading(rule)
            return Finding("raises", sentence, entry=rule.name, read_at=at, order=1, fix=NEEDS)
        wrong = unlike(found, [whole[i] for i in needs], TOLERANCE[rule.bits], scale)
        if wrong:
            which = rule.names[needs[wrong[0]]]
            none = found[wrong[0]] is None
            sentence = f"Where only {names} requires grad, backward of {rule.name} gives "
            sentence += f"{'None' if none else 'another gradient'} for {which}, which it does not where all inputs do."
            code = "missing_gradient" if none else "wrong_gradient"
            at = _left_at(rule, needs)
            return Finding(code, sentence, entry=rule.name, slot=which, read_at=at, order=1, fix=NEEDS)
    return None


NEEDS = "if ctx.needs_input_grad[i]: ...  # ask of each input for itself"


def _needing(rule: Rule, needs: tuple[int, ...]) -> list[torch.Tensor | None]:
    leaves, outputs = rule.outputs(rule.values, needs)
    # an output may depend on the others alone
    known = [(out, g.clone()) for out, g in zip(outputs, _matching(rule, outputs), strict=True)]
    if not known:
        return [None] * len(needs)
    wanted = [leaves[i] for i in needs]
    found = torch.autograd.grad([out for out, _ in known], wanted, [g for _, g in known], allow_unused=True)
    return [None if g is None else plain(g.detach()) for g in found]


def _matching(rule: Rule, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
    by_place = dict(zip(rule.places, rule.incoming, strict=True))
    return [by_place[i] for i in rule.differentiable[: len(outputs)]]


def _left_at(rule: Rule, needs: tuple[int, ...]) -> Place | None:
    """The line by which backward returns where only these inputs require grad."""
    steps = Steps(source.code_of(rule.call.backward))
    with steps.watching():
        _needing(rule, needs)
    return source.place(steps.code, steps.ran[-1][0]) if steps.ran else _heading(rule)


def _heading(rule: Rule) -> Place | None:
    code = source.code_of(rule.call.backward)
    return source.place(code, source.return_line(code)) if code else None
