"""The clauses that are asked of an aggregate beside its numbers: finite gradients (1), linear in what comes in (3)."""

from __future__ import annotations

import torch

from ..case import Case, HandEntry, Run
from ..climb import Gradients, climb, constants, draws, weighted_sum
from ..looks import is_uneven
from ..numbers import largest, unlike
from ..report import BROKEN, HOLDS, NOT_TRIED, Finding, Place, Report
from ..source import place, return_line
from ..survey import Answer

FACTOR = -1000.0


def first_clauses(case: Case, report: Report) -> None:
    """Clauses 1 and 3, at the given values."""
    for number, ask in ((1, nonfinite), (3, linear)):
        try:
            found = ask(case)
        except Exception:  # whatever propagate raises is told with its line, of order 1
            report.tell(number, NOT_TRIED, "propagate raises")
            continue
        report.findings += found
        report.tell(number, BROKEN if found else HOLDS)


def other_clauses(case: Case, report: Report, answers: list[Answer], order: int) -> None:
    """What the answers to all questions say of the others."""
    wrong = [answer for answer in answers if not answer.ok]
    own = [answer for answer in wrong if answer.question.entry is None]
    report.tell(2, BROKEN if any(answer.level == 1 for answer in own) else HOLDS)
    higher = any(answer.level > 1 for answer in own)
    report.tell(4, *((NOT_TRIED, "not asked for") if order == 1 else (BROKEN if higher else HOLDS,)))
    report.tell(5, BROKEN if len(own) < len(wrong) else HOLDS)
    report.tell(6, NOT_TRIED, "the tape asks for the gradients of all inputs")
    report.tell(7, NOT_TRIED, "the tape's operators take any layout")
    mutated = any(each.code in ("captured_value_mutated", "not_repeatable") for each in report.findings)
    for number in (8, 9):
        report.tell(number, BROKEN if mutated else HOLDS)
    for number in (10, 11, 12):
        report.tell(number, NOT_TRIED, "it is no torch.autograd.Function")
    if not answers:
        report.tell(2, NOT_TRIED, "it could not be run at the points to ask at")
        report.findings.append(Finding("unverified", "There was no point at which its gradients could be compared."))
    elif is_uneven(case.values(0)) and not case.was_evened:
        sentence = (
            "Sizes are so far apart that small parts drown in rounding, and where all are of one size it does not "
        )
        report.findings.append(Finding("unverified", f"{sentence}run."))


def nonfinite(case: Case) -> list[Finding]:
    """A NaN that propagate makes of finite values, at the given inputs."""
    run = case.run(case.values(0))
    outputs = [y for y in run.outputs if y.value.is_floating_point()]
    finite = all(bool(torch.isfinite(x.value).all()) for x in (*run.wanted, *outputs))
    if not finite or not run.entries:
        return []
    going = climb(case, run, outputs, 11, 1)
    for name, gradient in zip(case.names, going.levels[0] if going.levels else []):
        if gradient is not None and bool(gradient.isnan().any()):
            entry = run.entries[0]
            sentence = f"At the given inputs propagate gives nan for {name}, where forward's values are finite."
            at = _returned(entry)
            return [Finding("nonfinite_gradient", sentence, entry.text, name, read_at=at, order=1)]
    return []


def linear(case: Case) -> list[Finding]:
    """Zeros in, zeros out; and a multiple, and a sum, of what comes in gives the same of what comes out."""
    run = case.run(case.values(0))
    if not run.entries:
        return []
    like = run.leaves[0].detach()
    shapes = [y.shape for y in run.outputs if y.value.is_floating_point()]
    one, two = draws(shapes, 61, like), draws(shapes, 62, like)
    first, second = _given(case, one), _given(case, two)
    size = max(map(largest, [*first, *second]), default=0.0)
    tolerance = 1e-7 if case.bits == 64 else 2e-4
    tries = (
        ("zeros coming in give gradients that are not zero", [0 * w for w in one], [None] * len(first)),
        (
            f"{FACTOR:g} times what comes in does not give {FACTOR:g} times the gradients",
            [FACTOR * w for w in one],
            [None if g is None else FACTOR * g for g in first],
        ),
        (
            "a sum of what comes in does not give the sum of the gradients",
            [a + b for a, b in zip(one, two)],
            [_sum(a, b) for a, b in zip(first, second)],
        ),
    )
    for how, weights, expected in tries:
        if unlike(_given(case, weights), expected, tolerance, size, finite=True):
            entry = run.entries[0]
            sentence = f"propagate is not linear in the incoming gradients: {how}."
            return [Finding("not_linear", sentence, entry.text, read_at=_returned(entry), order=1)]
    return []


def _given(case: Case, weights: list[torch.Tensor]) -> Gradients:
    """The gradients of the inputs for these incoming gradients of the outputs."""
    run: Run = case.run(case.values(0))
    with case.recording():
        outputs = [y for y in run.outputs if y.value.is_floating_point()]
        loss = weighted_sum(run, outputs, constants(run, weights, "w"))
        found = run.grad(loss, run.wanted)
    return [None if g is None else g.value.detach().clone() for g in found]


def _sum(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor | None:
    return b if a is None else a if b is None else a + b


def _returned(entry: HandEntry) -> Place | None:
    return place(entry.code.co_filename, return_line(entry.code)) if entry.code else None
