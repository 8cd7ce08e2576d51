"""The road that every check takes: each backward by hand alone, clause by clause; then the whole; then order by order.

Numbers say whether something is wrong: differences of forward (or a truth that is known exactly) against backward, and
differences of backward against its own derivative. Only then is it asked why, and that is what subjects differ in.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from .clauses.again import again, forward_repeats
from .clauses.linear import linear
from .clauses.ownership import ownership
from .clauses.patterns import left_out, needed_inputs, unknown_gradients
from .clauses.tried import Tried
from .measure.answer import Answer
from .measure.holding import held
from .measure.kinks import judged_at_given
from .report import BROKEN, CLAUSES, CORRECT, HOLDS, NOT_TRIED, Finding, Report
from .subjects.others import Other
from .subjects.subject import Forward, Gradient, Rule, Subject
from .words import ordinal, said_by, said_within

TOLERANCE = {1: {64: 1e-4, 32: 5e-3}, 2: {64: 1e-4, 32: 5e-3}}  # by order (2 and up are alike) and precision


class Judging:
    """What is judged, and what is known of it so far. Below `asks of its kind` stands what subjects differ in."""

    def __init__(self, subject: Subject, report: Report, order: int) -> None:
        self.subject, self.report, self.order = subject, report, order
        self.rules: list[Rule] = []
        self.left_out: list[str] = []  # names of rules that could not be run alone
        self.wrong: list[Rule] = []  # at the first order
        self.unsteady: list[Rule] = []  # what they read does not stay what it was: no second order can be judged
        self.others: list[Other] = []  # the same rules with other arguments, right at the first order
        self.goes_on = True

    def unverified(self, sentence: str, entry: str = "") -> None:
        self.report.findings.append(Finding("unverified", sentence, entry=entry))

    # -- asks of its kind ------------------------------------------------------------------------------------------

    rough = 0.0  # the precision of what backward computes in, where that is less than the inputs have
    applying: tuple = ()  # clauses (number, function of a rule) that are tried where they apply

    def find_rules(self) -> tuple[list[Rule], list[str]]:
        raise NotImplementedError

    @property
    def is_bare(self) -> bool:
        """Whether the whole is nothing but one rule."""
        raise NotImplementedError

    def others_of(self, rule: Rule) -> Iterable[Other]:
        """The rule with other arguments, where the given ones hide what may be wrong."""
        return ()

    def is_declared(self, rule: Rule) -> bool:
        """Whether its gradient is declared to be meant otherwise."""
        return False

    def seen(self, rule: Rule, broken: list[Finding]) -> None:
        """Take note of what the clauses say of a rule."""

    def first_wrong(self, rule: Rule, found: Answer, told: bool) -> None:
        """The gradient of a rule is not its forward's derivative; `told`: that it is not linear says so already."""
        raise NotImplementedError

    def judges_whole(self) -> bool:
        """Whether the first order of the whole says anything that those of the rules do not."""
        return not (self.is_bare or self.wrong or self.unsteady)

    def whole_wrong(self, found: Answer) -> None:
        raise NotImplementedError

    def subjects_at(self, level: int) -> list[Subject]:
        """What is judged at an order from 2 on."""
        raise NotImplementedError

    def order_raises(self, subject: Subject, error: Exception, level: int) -> Finding | None:
        """What is said of a derivative of this order that raises; None where it is known."""
        raise NotImplementedError

    def order_wrong(self, subject: Subject, map: Any, found: Answer, level: int) -> bool:
        """The derivative of this order is wrong; tell why. Whether it is no fault after all."""
        raise NotImplementedError


def judged(judging: Judging) -> None:
    """All orders asked for, as far as there is any use in going on."""
    first_order(judging)
    for level in range(2, judging.order + 1):
        if not judging.goes_on:
            break
        # each, whatever came of the others
        if not all([judge_order(judging, subject, level) for subject in judging.subjects_at(level)]):
            break
        if level == 2:
            judge_order_of_others(judging)
    if judging.order == 1:
        judging.report.tell(4, NOT_TRIED, "not asked for")
    lost = [name for errors in judging.report.errors.values() for name, error in errors.items() if error != error]
    if lost and judging.report.verdict == CORRECT:
        judging.unverified(f"{NOT_COMPARED}the gradient of {lost[0]} gives nan, which was compared with nothing.")


# -- order 1 ---------------------------------------------------------------------------------------------------------


def first_order(judging: Judging) -> None:
    """Each rule alone, then the whole, where that says anything of its own."""
    report = judging.report
    judging.rules, judging.left_out = judging.find_rules()
    for rule in judging.rules:
        judge_rule(judging, rule)
    for number in (3, 5, 6, 7, 8, 9):
        report.tell(number, HOLDS, "" if judging.rules else "there is no hand-written backward in it")
        if judging.left_out:
            report.tell(number, NOT_TRIED, f"{judging.left_out[0]} could not be run alone")
    for name in judging.left_out:
        judging.unverified(f"{name} could not be run alone, so its backward was judged within the whole only.", name)
    if judging.judges_whole():
        if judging.rough:
            report.tell(2, NOT_TRIED, "it computes in half precision: differences of forward are steps")
        else:
            judge_whole(judging)
    report.tell(2, HOLDS)


def judge_rule(judging: Judging, rule: Rule) -> None:
    """The clauses that ask of one backward alone, and whether it is the derivative of its forward."""
    if not forward_repeats(rule):
        judging.report.tell(9, NOT_TRIED, f"forward of {rule.name} is not reproducible")
        judging.unverified(NOT_REPRODUCIBLE.format(name=rule.name), rule.name)
        judging.goes_on = False
        return
    broken = contract(judging, rule)
    judging.seen(rule, broken)
    judge_derivative(judging, rule, any(each.code == "not_linear" for each in broken))
    try_clauses(judging, rule)
    if rule not in judging.wrong and not broken:
        judge_others(judging, rule)


def judge_others(judging: Judging, rule: Rule) -> None:
    """The same backward with other arguments, where the given ones hide much; nothing where it does not take them."""
    for other in judging.others_of(rule):
        if other.rule is None:
            judging.report.untried.append(other.what)
            continue
        found = held(Forward(other.rule), TOLERANCE[1][rule.bits])
        if found.wrong:
            with saying_where(judging.report, found, f"It shows {other.what}."):
                judging.first_wrong(other.rule, replace(found, where=None), False)
        elif found.settled:
            judging.others.append(other)


NOT_REPRODUCIBLE = (
    "Two runs of the forward of {name} at the same values give different results, also from the same random state: "
    "there is nothing to compare its backward with."
)


def contract(judging: Judging, rule: Rule) -> list[Finding]:
    """Clauses 3, 5, 6, 8 and 9 tried on one backward; what is broken."""
    report, order = judging.report, judging.order
    broken: list[Finding] = []
    tries = (
        (8, lambda: ownership(rule)),
        (9, lambda: again(rule)),
        (3, lambda: linear(rule, judging.rough, steady=not broken)),
        (5, lambda: unknown_gradients(rule, 1 if broken else order)),
        (6, lambda: needed_inputs(rule)),
    )
    for number, tried in tries:
        if number == 3 and judging.is_declared(rule):
            report.tell(3, NOT_TRIED, f"{rule.name} is declared a surrogate")
            continue
        try:
            found = tried() or []
        except Exception as error:  # at the given values it ran: it needs something that is not here
            report.tell(number, NOT_TRIED, f"{rule.name} raises {type(error).__name__} when it is run alone")
            judging.unverified(f"{CLAUSES[number]}: {said_by(error)}", rule.name)
            continue
        found = found if isinstance(found, list) else [found]
        if any(each.code == "unverified" for each in found):
            report.tell(number, NOT_TRIED, f"{rule.name} iterates, up to where it stops")
            report.findings += found
            continue
        counted = {5: len(rule.incoming), 6: len(rule.values)}.get(number, 0)
        untried = "; ".join(filter(None, [left_out(counted), rule.untried.get(number, "")]))
        report.tell(number, BROKEN if found else HOLDS, rule.name if found else untried)
        if any(each.code == "captured_value_mutated" and each.order for each in broken):  # then no wonder
            judging.unsteady += [rule for each in found if each.code == "not_repeatable"]
            found = [each for each in found if each.code != "not_repeatable"]
        report.findings += found
        broken += found
    return broken


def judge_derivative(judging: Judging, rule: Rule, told: bool) -> None:
    """Whether its backward is the derivative of its forward; `told`: that it is not linear says so already."""
    report = judging.report
    if judging.is_declared(rule):
        report.tell(2, NOT_TRIED, f"{rule.name} is declared a surrogate")
        return
    if judging.rough:
        return
    found = judged_at_given(Forward(rule), TOLERANCE[1][rule.bits])
    if judging.is_bare:
        report.errors[1] = found.errors
    if is_told(judging, found, rule.name, 1) and found.wrong:
        with saying_where(report, found):
            judging.first_wrong(rule, found, told)


def try_clauses(judging: Judging, rule: Rule) -> None:
    """Clauses 7, 10 and 11: the last two where there is something to try them on."""
    for number, clause in judging.applying:
        try:
            tried = clause(rule)
        except Exception as error:  # at the given values it ran: it needs something that is not here
            tried = Tried(NOT_TRIED, f"{rule.name} raises {said_within(error)}")
        if tried is None:
            continue
        judging.report.tell(number, tried.state, tried.why)
        judging.report.findings += tried.findings
        if tried.state == BROKEN and rule not in judging.wrong:
            judging.wrong.append(rule)  # what is wrong with the whole is wrong with this


def judge_whole(judging: Judging) -> None:
    """Whether the gradient of the whole function is the derivative of its values."""
    report, subject = judging.report, judging.subject
    found = judged_at_given(Forward(subject), TOLERANCE[1][subject.bits])
    report.errors[1] = found.errors
    if not is_told(judging, found, report.name, 1) or not found.wrong:
        return
    if found.only_here and all(math.isfinite(look.told) for look in found.wrong):
        one_element_here(judging, found)
        return
    with saying_where(report, found):
        judging.whole_wrong(found)


@contextlib.contextmanager
def saying_where(report: Report, found: Answer, where: str = "") -> Iterator[None]:
    """What is told of an answer, with where it shows, if that is not at the given point."""
    known = {id(each) for each in report.findings}
    yield
    where = where or (ELSEWHERE if found.where is not None else "")
    if where:
        report.findings = [
            each if id(each) in known or each.is_note else replace(each, sentence=f"{each.sentence} {where}")
            for each in report.findings
        ]


ELSEWHERE = "It shows at other inputs of the same shapes: the given ones, where values are zero or alike, hide it."


def one_element_here(judging: Judging, found: Answer) -> None:
    """At this point alone: operations of torch may each take a side of a kink, where all of them together have none."""
    look = found.wrong[0]
    judging.report.tell(2, NOT_TRIED, "the gradient differs from that at all points nearby")
    judging.unverified(
        f"{NOT_COMPARED}the gradient of {judging.report.name} for {look.input} differs from that at all points nearby: "
        f"along one direction {look.told:.4g}, where differences say {look.slope.value:.4g}. Each operation may take "
        f"a side of a kink of its own. Check it at inputs without zeros and ties.",
        judging.report.name,
    )


def is_told(judging: Judging, found: Answer, name: str, level: int) -> bool:
    """Whether anything was compared; what was not, or with points nearby only, is said."""
    report, number, order = judging.report, 2 if level == 1 else 4, ordinal(level)
    if not found.settled:
        report.tell(number, NOT_TRIED, found.why)
        judging.unverified(undefined_nearby(name, order, found.why), name)
        return False
    if found.unknown:
        report.tell(number, NOT_TRIED, found.unknown[0])
        known = any(each.code == "nonfinite_gradient" and each.entry == name for each in report.faults)
        if not known and not any(_not_compared(each) for each in report.unverified):
            judging.unverified(not_everywhere(name, order, found.unknown), name)
    elif found.beside and not found.wrong:
        report.tell(number, HOLDS, "; ".join(found.beside))
    return True


def not_everywhere(name: str, order: str, unknown: list[str]) -> str:
    """What was not compared at the given inputs, and why."""
    return (
        f"{NOT_COMPARED}the {order} derivative of {name} was not compared everywhere: {'; '.join(unknown[:3])}. "
        f"Check it at other inputs, where it has finite slopes."
    )


NOT_COMPARED = "At the given inputs "


def _not_compared(finding: Finding) -> bool:
    return finding.sentence.startswith(NOT_COMPARED)


def undefined_nearby(name: str, order: str, why: str) -> str:
    """Why differences beside the given point were not to be had."""
    return (
        f"{name} could not be evaluated at inputs a little beside the given ones, so its {order} derivative was not "
        f"compared with finite differences: {why}."
    )


# -- orders 2 and up -------------------------------------------------------------------------------------------------


def judge_order(judging: Judging, subject: Subject, level: int) -> bool:
    """Whether the derivative of the gradient, as backward's own derivative gives it, is that of its values."""
    report = judging.report
    name = report.name if subject.is_whole else subject.name
    map = Gradient(subject)
    found = judged_at_given(map, TOLERANCE[2][subject.bits])
    if found.given is None and (error := raised_by(map)) is not None:  # a guard, or a fault that makes itself heard
        told = judging.order_raises(subject, error, level)
        if told is not None:
            report.findings.append(told)
        refused = told is not None and told.is_note
        report.tell(4, NOT_TRIED if refused else BROKEN, told.sentence if refused else name)
        return False
    if found.wrong or not report.errors.get(level):
        report.errors[level] = found.errors
    if not is_told(judging, found, name, level):
        return False
    if not found.wrong:
        report.tell(4, HOLDS)
        return not found.unknown
    with saying_where(report, found):
        return judging.order_wrong(subject, map, found, level)


def judge_order_of_others(judging: Judging) -> None:
    """The second order with other arguments, where it runs with them."""
    for other in judging.others:
        found = held(map := Gradient(other.rule), TOLERANCE[2][other.rule.bits])
        if found.wrong:
            with saying_where(judging.report, found, f"It shows {other.what}."):
                judging.order_wrong(other.rule, map, replace(found, where=None), 2)


def raised_by(map: Gradient) -> Exception | None:
    """What the derivative of a gradient raises at the given point itself."""
    try:
        map.vjp(map.at, map.ones())
    except Exception as error:
        return error
    return None


SPOILING = ("captured_value_mutated", "input_mutated", "not_repeatable")


def explained_once(report: Report) -> list[Finding]:
    """The findings, without `unexplained` numbers of a rule that a fault is known of at that order or a lower, or one
    that changes values between a forward and its backward, whenever that shows; of a NaN the one with its cause."""
    faults = [each for each in report.faults if each.code != "unexplained" and (each.order or each.code in SPOILING)]

    def is_known(finding: Finding) -> bool:
        entries, order = finding.entry.split(", "), finding.order or 1
        return finding.code == "unexplained" and any(f.entry in entries and (f.order or 1) <= order for f in faults)

    born = [each for each in faults if each.code == "nonfinite_gradient"]
    again = {id(each) for each in born[:-1] if (each.entry, each.order) == (born[-1].entry, born[-1].order)}
    left = [each for each in report.findings if not is_known(each) and id(each) not in again]
    return list({_said(each): each for each in reversed(left)}.values())[::-1]


def _said(finding: Finding) -> tuple:
    """What is the same for two calls of one Function that have the same fault."""
    return finding.code, finding.sentence, finding.read_at, finding.made_at, finding.order


def at_order(findings: list[Finding], chosen: Any, order: int) -> list[Finding]:
    """The findings, those that `chosen` picks being met at this order."""
    return [replace(each, order=order) if chosen(each) else each for each in findings]
