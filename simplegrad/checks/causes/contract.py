"""What wrong first gradients of the tape have in common: one factor for all of them, or None where one is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ...engine import Variable
from ..measure.numbers import largest
from ..report import Finding
from ..tape.case import Case, Run
from ..tape.climb import Gradients, climb
from ..tape.survey import Question, Truth
from .words import explanation_of

OF_NUMBERS = ("missing_use", "wrong_partial", "double_counted", "unexplained")


def named(case: Case, truth: Truth, findings: list[Finding], is_told: bool) -> list[Finding]:
    """The findings about wrong first gradients, under the code that says most; `is_told`: that it is not linear is."""
    of_numbers = [each for each in findings if each.order == 1 and each.code in OF_NUMBERS]
    if not of_numbers:
        return findings
    if is_told:
        return [each for each in findings if each not in of_numbers]
    try:
        run = case.run(case.values(0))
        twice = any(each.code == "double_counted" for each in findings)
        factor = None if twice else common_factor(case, truth, run)
        if factor is not None:
            how = "the right ones with the wrong sign" if factor == -1 else f"{factor:.6g} times the right ones"
            sentence = f"The gradients of all inputs are {how}."
            return told_as(findings, "wrong_gradient", sentence, explanation_of(factor))
        return [with_none(run, each) for each in findings]
    except Exception:  # one of these runs fails: the findings stay what they are
        return findings


def common_factor(case: Case, truth: Truth, run: Run) -> float | None:
    """The one number by which all gradients are away from the right ones, of two inputs or more."""
    right = truth.of(Question(), case.values(0), 11, 1)[0][: len(run.wanted)]
    found = gradients(case, run)
    pairs = [(g, t) for g, t in zip(found, right, strict=True) if t is not None and largest(t) > 0]
    if len(pairs) < 2 or any(g is None for g, _ in pairs):
        return None
    factor = float((pairs[0][0] * pairs[0][1]).sum() / (pairs[0][1] * pairs[0][1]).sum())
    near = round(factor, 4)
    same = all(largest(g - near * t) <= 1e-5 * max(largest(g), largest(t)) for g, t in pairs)
    return near if same and near not in (0.0, 1.0) else None


def gradients(case: Case, run: Run) -> Gradients:
    going = climb(case, run, Question().outputs(run), 11, 1)
    if going.error is not None:
        raise going.error
    return [None if g is None else g.detach().clone() for g in going.levels[0][: len(run.wanted)]]


def told_as(findings: Sequence[Finding], code: str, sentence: str, explanation: str = "") -> list[Finding]:
    """One finding in place of those about single numbers, at the line that they name."""
    of_numbers = [each for each in findings if each.order == 1 and each.code in OF_NUMBERS]
    one = replace(of_numbers[0], code=code, sentence=sentence, explanation=explanation, slot="", fix="")
    return [one, *(each for each in findings if each not in of_numbers)]


def with_none(run: Run, finding: Finding) -> Finding:
    """A missing use is a missing gradient where propagate gives None for that input, whatever comes in."""
    if finding.code != "missing_use" or finding.order != 1:
        return finding
    for entry in run.entries:
        if finding.slot not in entry.names[0]:
            continue
        with run.tape:
            given = entry.propagate([Variable.constant(torch.ones_like(y.value)) for y in entry.outputs])
        if given[entry.names[0].index(finding.slot)] is None:
            sentence = f"propagate gives None for {finding.slot}, which is not a known zero: the result depends on it."
            return replace(finding, code="missing_gradient", sentence=sentence)
    return finding
