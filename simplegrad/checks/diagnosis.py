"""Why the derivative of a gradient is refused or wrong: each Function of a run examined alone."""

from __future__ import annotations

import contextlib
import math

from ..torch_bridge.calls import Call
from .causes.by_numbers import unexplained
from .causes.constants import findings_of
from .causes.detector import Examination, Examiner
from .causes.guard import guard_finding
from .causes.raises import first_order_only, is_refusal, raised
from .causes.steep import steep
from .measure.answer import Answer
from .report import Finding
from .subjects.opening import distinct
from .subjects.problem import Problem

DIFFERENT_RUNS = "Two runs at one point give different gradients, also from the same random seed."


def refused(problem: Problem, calls: list[Call], error: Exception, name: str, level: int) -> Finding:
    """A second derivative that is refused in so many words is a note; any other error is a fault."""
    guarded = [call for call in calls if call.is_guarded]
    if guarded:
        return guard_finding(problem, guarded, level)
    if is_refusal(error):
        return first_order_only(error, name, level)
    return raised(error, name, level, calls)


def diagnosed(problem: Problem, calls: list[Call], found: Answer, level: int, why: str = "") -> list[Finding]:
    """Findings for numbers that disagree: per Function what it is, or what is known about it as a whole."""
    wrong = found.inputs
    if not problem.is_deterministic():
        return [Finding("unverified", DIFFERENT_RUNS)]
    guarded = [call for call in calls if call.is_guarded]
    findings = [guard_finding(problem, guarded, level)] if guarded else []
    examined = [examined_call(problem, call) for call in distinct(calls) if not call.is_guarded]
    for examiner, seen in examined:
        findings += findings_of(examiner, seen, level)
    if findings or why:
        return findings
    has_nan = any(not math.isfinite(look.told) for look in found.wrong)
    if has_nan and (told := [f for examiner, _ in examined if examiner and (f := steep_there(examiner, level))]):
        return told
    return [unexplained(calls, wrong, level, [seen for _, seen in examined], has_nan)]


def steep_there(examiner: Examiner, level: int) -> Finding | None:
    with contextlib.suppress(Exception):  # it cannot be followed: then numbers are all there is
        return steep(examiner, level)
    return None


def examined_call(problem: Problem, call: Call) -> tuple[Examiner | None, Examination | None]:
    """The examination that finds something, of two random directions; None where the call cannot be run alone."""
    best: tuple[Examiner | None, Examination | None] = (None, None)
    for draw in range(2):
        try:
            examiner = Examiner(call, draw, problem.bits, along=problem.ways_of(call, draw))
            found = examiner.examine()
            if found.cuts and examiner.follows_convention():
                found.forget_cuts()
        except Exception:  # it needs the engine around it; then numbers are all there is
            continue
        if found.finds:
            return examiner, found
        best = (examiner, found)
    return best
