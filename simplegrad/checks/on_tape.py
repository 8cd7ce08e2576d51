"""Check a function of Variables: each entry by hand that it appends to the tape, alone, and the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from ..comparison.equal import difference
from ..engine import Variable
from ..trace import Trace
from ..trace.events import Failed, Visited
from .causes.contract import named
from .clauses.given import nonfinite, of_rule
from .clauses.layouts import layouts
from .measure.answer import Answer
from .measure.numbers import largest
from .measure.taylor import remainders
from .report import BROKEN, HOLDS, NOT_TRIED, Finding, Remainders, Report
from .road import Judging, explained_once, judged
from .runs.chance import one_at_a_time, random_state_kept
from .source import code_of, place, return_line
from .subjects.opening import undisturbed
from .subjects.others import WITH_SIZES, grown
from .subjects.subject import Rule, Subject
from .subjects.tape import TapeGradient, TapeSubject, Through, rules_on
from .tape.blame import explained, trace_of
from .tape.case import PLAIN, Case, NotAVariable
from .tape.climb import climb
from .tape.fixes import with_fixes
from .tape.notes import coverage_of, notes_of
from .tape.questions import patterns_said
from .tape.raised import raised_at
from .tape.survey import Question, Truth, Wrong, chosen_truth
from .untried import ON_TAPE
from .words import said_by, said_within


def check_on_tape(case: Case, reference: Callable | None, order: int) -> Report:
    """Whether the gradients of a function of Variables are right, up to this order; where a size is one, and so a sum
    over it nothing, with larger sizes too."""
    report = judged_at(case, reference, order)
    if report.ok and any(1 in x.shape for x in case.values(0)):
        size, found = next(larger(case, reference, order), (0, None))
        if found is None:
            small = [name for name, x in zip(case.names, case.values(0), strict=True) if 1 in x.shape]
            report.untried.insert(0, f"sizes other than one of {' and '.join(small)}")
        elif found.faults:
            return said_of_others(report, found, f"It shows {WITH_SIZES.format(size)}.")
    return report


def larger(case: Case, reference: Callable | None, order: int) -> Iterator[tuple[int, Report]]:
    """(the size in the place of one, what is said there), where forward and its gradients run with it."""
    for size, given in grown([case.as_it_is(x) for x in case.given]):
        other = Case(case.target, given, case.kinds, case.name, case.labels, case.dtype, case.mode)
        if any(kind != "plain" for kind in case.kinds) and evaluated(other) is None:
            found = judged_at(other, reference, order)
            if found.ok or found.faults:
                yield size, found


def said_of_others(report: Report, found: Report, where: str) -> Report:
    """What was found with other arguments, with where it shows; what was not tried with the given ones stays so."""
    found.findings = [
        each if each.is_note else replace(each, sentence=f"{each.sentence} {where}") for each in found.findings
    ]
    found.untried = report.untried
    return found


def judged_at(case: Case, reference: Callable | None, order: int) -> Report:
    """The check itself, at the given values."""
    report = Report(case.name)
    failure = opened(case)
    if failure is not None:
        report.findings.append(failure)
        report.tell(1, BROKEN, "forward does not run")
        return report
    truth = chosen_truth(case, reference)
    report.findings += reference_findings(case, truth)
    if report.findings:  # other values: whether its gradients are right is asked of its own forward
        truth = chosen_truth(case, None)
    report.truth = truth.text
    with case.environment():
        judging = OnTape(case, truth, report, order)
        if judging.repeats() and judging.runs_as_given():
            judged(judging)
        if not report.unverified or judging.answers:
            judging.tell()
    report.findings = explained_once(report)
    report.measure, report.untried = measured(case, order), list(ON_TAPE)
    for number in (10, 11, 12):
        report.tell(number, NOT_TRIED, "it is not a torch.autograd.Function")
    return report


def measured(case: Case, order: int) -> Callable[[], list[Remainders]]:
    """Takes the remainders of Taylor expansions when somebody asks for them."""

    def measure() -> list[Remainders]:
        with one_at_a_time(), random_state_kept(), undisturbed(case.target, case.given), case.environment():
            return remainders(TapeSubject(case), order)

    return measure


def evaluated(case: Case) -> Exception | None:
    """Forward, its gradients, and the gradients of those, once; what they raised, if they did."""
    with undisturbed(case.target, case.given):
        try:
            opened(case)
            run = case.run(case.values(0))
            return climb(case, run, [y for y in run.outputs if y.value.is_floating_point()], 11, 2).error
        except Exception as error:  # a user's function may raise anything
            return error


class OnTape(Judging):
    """A function of Variables. Wrong answers are collected, and explained together."""

    subject: TapeSubject
    applying = ((7, layouts),)

    def __init__(self, case: Case, truth: Truth, report: Report, order: int) -> None:
        super().__init__(self.with_truth(TapeSubject(case), truth), report, order)
        self.case, self.truth = case, truth
        self.answers: list[Wrong] = []
        self.first = case.run(case.values(0))
        report.patterns = patterns_said(self.first)

    @staticmethod
    def with_truth(subject: TapeSubject, truth: Truth) -> TapeSubject:
        """The subject, with what its gradients are held against."""
        reference = truth.reference if subject.is_whole else None
        if reference is not None or (truth.graph and subject.case.mode is not PLAIN):
            subject.truth = Through(subject, reference)
        return subject

    def repeats(self) -> bool:
        """Whether forward gives one result at one point, without which there is nothing to hold gradients to."""
        a, b = (self.subject.run(self.subject.values).outputs for _ in range(2))
        if all(x.shape == y.shape and x.equal(y) or largest(x - y) == 0 for x, y in zip(a, b, strict=True)):
            return True
        self.unverified("Two runs at the same inputs give different results, also from the same random seed.")
        self.report.tell(9, NOT_TRIED, "forward is not reproducible")
        return False

    def runs_as_given(self) -> bool:
        """Clause 1. A None that propagate cannot take is clause 5's: what else is wrong is asked with zeros instead."""
        try:
            self.subject.run(self.subject.values).gradients(self.subject.incoming)
        except Exception as error:  # whatever propagate raises is what is reported
            self.subject.none = "zeros"
            try:
                self.subject.run(self.subject.values).gradients(self.subject.incoming)
            except Exception:
                self.answers.append(Wrong(Question(), 1, error=error))
                self.report.tell(1, BROKEN, "propagate raises")
                return False
        self.report.tell(1, HOLDS)
        return True

    def find_rules(self) -> tuple[list[Rule], list[str]]:
        rules, left_out = rules_on(self.case)
        for rule in list(rules):
            self.with_truth(rule, self.truth)
            try:
                self.report.findings += (found := nonfinite([of_rule(rule)]))
                self.report.tell(1, BROKEN if found else HOLDS)
            except Exception as error:  # what raises when all gradients come in
                self.answers.append(Wrong(rule.question, 1, error=error))
                rules.remove(rule)
        return rules, left_out

    @property
    def is_bare(self) -> bool:
        rules, outputs = self.rules, self.first.outputs
        made = rules[0].entry.outputs if len(rules) == 1 == len(self.first.entries) else ()
        own = len(made) == len(outputs) and all(a.key == b.key for a, b in zip(made, outputs))
        return own and self.truth.reference is None

    def seen(self, rule: Rule, broken: list[Finding]) -> None:
        codes = {each.code for each in broken}
        if "none_not_handled" in codes:
            self.subject.none = rule.none = "zeros"  # what else is wrong?
        if codes & {"captured_value_mutated", "not_repeatable"}:
            self.unsteady.append(rule)

    def first_wrong(self, rule: Rule, found: Answer, told: bool) -> None:
        self.report.tell(2, BROKEN, rule.name)
        self.wrong.append(rule)
        self.answers.append(self.wrong_of(rule, found, 1))

    def wrong_of(self, subject: TapeSubject, found: Answer, level: int) -> Wrong:
        by = {name: found.errors[name] for name in found.inputs}
        where = found.where and found.where[: len(self.subject.values)]
        return Wrong(subject.question, level, by, point=0 if found.at_given or where else 1, where=where)

    def judges_whole(self) -> bool:
        return not self.is_bare

    def whole_wrong(self, found: Answer) -> None:
        self.report.tell(2, BROKEN, self.report.name)
        self.answers.append(self.wrong_of(self.subject, found, 1))

    def subjects_at(self, level: int) -> list[Subject]:
        """What is right so far: at order 2 each entry, then the whole; from order 3 on the gradient of the whole."""
        known = [each.question for each in self.answers]
        if level > 2:
            higher = TapeGradient(self.case, level - 2)
            higher.none = self.subject.none
            return [] if known else [self.with_truth(higher, self.truth)]
        whole = [] if self.is_bare else [self.subject]
        return [each for each in [*self.rules, *whole] if each.question not in known]

    def order_raises(self, subject: TapeSubject, error: Exception, level: int) -> Finding | None:
        self.answers.append(Wrong(subject.question, level, error=error))
        return None

    def order_wrong(self, subject: TapeSubject, map: Any, found: Answer, level: int) -> bool:
        self.report.tell(4, BROKEN, subject.name)
        self.answers.append(self.wrong_of(subject, found, level))
        return False

    # -- why -------------------------------------------------------------------------------------------------------

    def tell(self) -> None:
        """What is wrong and why, what could be cheaper, and a trace in which it shows."""
        report, case = self.report, self.case
        report.errors = {order: {k: row[k] for k in case.names if k in row} for order, row in report.errors.items()}
        told = bool(report.faults)
        if self.answers and all(each.where is not None for each in self.answers):
            case.move_to(self.answers[0].where)
        if self.answers:
            found = explained(case, self.truth, self.answers, self.order)
            causes = named(case, self.truth, found.findings, any(each.code == "not_linear" for each in report.findings))
            report.findings += [each for each in causes if not (told and each.code == "unexplained")]
            report.trace = found.trace
        report.findings = with_fixes(case, case.run(case.values(0)), report.findings)
        report.findings += notes_of(case, report.faults)
        if report.trace is None:
            report.trace = self.traced()
        report.findings = [with_step(each, report.trace) for each in report.findings]
        report.coverage = coverage_of(case)

    def traced(self) -> Trace:
        """A trace of the whole climb at the given inputs, of one that raises as far as it comes."""
        if self.report.faults:
            return trace_of(self.case, Wrong(Question(), max(each.order or 1 for each in self.report.faults)))
        run = self.case.run(self.case.values(0), traced=True)
        climb(self.case, run, Question().outputs(run), 11, self.order)
        return run.trace


def with_step(finding: Finding, trace: Trace) -> Finding:
    """The event that shows it, where that is not known yet: the error, or the visit of the entry."""
    if finding.step is not None or finding.kind != "fault":
        return finding
    failed = [e.index for e in trace.events if isinstance(e, Failed)]
    visits = [e.index for e in trace.events if isinstance(e, Visited) and e.entry.aggregate and e.state != "skipped"]
    return replace(finding, step=next(iter(failed or visits), None))


# --- opening ---------------------------------------------------------------------------------------------------------


def opened(case: Case) -> Finding | None:
    """Find a way to run forward: in float64 or as given, integers as Variables or as tensors. What fails is told."""
    failure: Exception | None = None
    for dtype in (torch.float64, None):
        for held in ("held", "plain"):
            for mode in (case.mode, PLAIN):
                kinds = [held if kind == "held" else kind for kind in case.kinds]
                trial = Case(case.target, case.given, kinds, case.name, case.labels, dtype, mode)
                try:
                    trial.run(trial.values(0))
                except Exception as error:  # whatever a user's forward raises is what is reported
                    failure = failure or error
                    continue
                case.kinds, case.dtype = kinds, dtype
                return None
    return forward_failed(failure, case)


def forward_failed(error: Exception, case: Case) -> Finding:
    code = code_of(case.target)
    if isinstance(error, NotAVariable):
        sentence = f"{error}: wrap what forward computed, r = Variable(...), and return r."
        at = place(code.co_filename, return_line(code)) if code else None
        return Finding("raw_tensor_captured", sentence, read_at=at, order=0)
    at = raised_at(error) or (place(code.co_filename, code.co_firstlineno) if code else None)
    return Finding("raises", f"its forward raises {said_by(error)}", read_at=at, order=0)


def reference_findings(case: Case, truth: Truth) -> list[Finding]:
    """Whether target and reference compute the same values at all."""
    if truth.reference is None:
        return []
    values = case.values(0)
    ours, theirs = case.run(values).outputs, referenced(case, truth, values)
    gaps = [difference(r.value.detach(), s.value.detach()) for r, s in zip(ours, theirs)]
    scale = max((largest(s.value) for s in theirs), default=0.0)
    if len(ours) == len(theirs) and max(gaps, default=0.0) <= 1e-6 * scale + 1e-9:
        return []
    shapes = [", ".join(str(tuple(y.shape)) for y in outputs) for outputs in (ours, theirs)]
    how = f"the largest difference is {max(gaps, default=0.0):.3g}"
    if shapes[0] != shapes[1]:
        how = f"its outputs have the shapes {shapes[0]}, the reference's {shapes[1]}"
    itself = "Its gradients are compared with those of forward itself."
    sentence = f"forward does not compute what the reference computes: {how}. {itself}"
    return [Finding("wrong_value", sentence, order=0)]


def referenced(case: Case, truth: Truth, values: list[torch.Tensor]) -> list[Variable]:
    """What the reference computes. Raises ValueError where it cannot be run at all: nothing can be held against it."""
    try:
        return case.run(values, truth.reference).outputs
    except Exception as error:  # whatever somebody's reference raises
        at = raised_at(error)
        where = f" (at {at})" if at else ""
        raise ValueError(
            f"check({case.name}): its reference could not be run: {said_within(error)}{where}. "
            f"It takes the same inputs as {case.name}, and returns Variables."
        ) from error
