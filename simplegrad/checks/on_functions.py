"""A PyTorch function on the road of a check: each custom Function and operator in it alone, and the whole."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from ..torch_bridge.calls import Call
from ..torch_private import is_wrapped
from .causes import by_numbers
from .causes.first_order import why_wrong, with_lines
from .causes.hooks import Hook, changing, constant, written
from .causes.overwritten import written_past_autograd
from .clauses.batched import batched
from .clauses.forward_mode import forward_mode
from .clauses.layouts import layouts
from .clauses.operators import operators
from .clauses.solver import is_solver
from .clauses.surrogate import hands_on, told_by_itself
from .declared import is_surrogate
from .diagnosis import DIFFERENT_RUNS, diagnosed, refused
from .measure.answer import Answer
from .measure.holding import held
from .report import BROKEN, HOLDS, NOT_TRIED, Finding, Report
from .road import TOLERANCE, Judging, at_order, judge_order
from .runs.alike import is_freed
from .subjects.function import Rule
from .subjects.opening import distinct, lifted, opened
from .subjects.others import Other, others
from .subjects.problem import Problem
from .subjects.subject import Along, Forward, Subject

MOST_RULES = 24  # distinct calls that are judged alone


def rules_of(problem: Problem) -> tuple[list[Rule], list[str]]:
    """The distinct calls that can be run alone, and the names of those that cannot."""
    rules, left_out = [], []
    calls = distinct(problem.calls)
    for call in calls[:MOST_RULES]:
        try:
            rule = Rule(call, problem.bits)
        except Exception:  # it needs what stands around it
            left_out.append(call.name + (IN_TRANSFORM if any(map(is_within, call.args)) else ""))
            continue
        if any(isinstance(x, torch.Tensor) and is_freed(x) for x in rule.alone.forward().args):
            left_out.append(f"{call.name}, which gives the memory of an argument back,")
            continue
        if problem.is_bare:
            rule.names = problem.names
        else:
            rule.ways = functools.partial(problem.ways_of, call)
        if rule.incoming:
            rules.append(rule)
    return rules, left_out + [call.name for call in calls[MOST_RULES:]]


IN_TRANSFORM = ", called inside of a transform of torch.func (vmap, grad, jvp),"


def is_within(value: Any) -> bool:
    """Whether a value stands for others inside of a transform of torch.func."""
    return isinstance(value, torch.Tensor) and is_wrapped(value)


class OnFunctions(Judging):
    """A PyTorch function: its rules are the distinct calls of Functions and operators in it."""

    subject: Problem
    applying = ((7, layouts), (10, forward_mode), (10, batched), (11, operators))

    def __init__(self, problem: Problem, report: Report, order: int, surrogate: bool) -> None:
        super().__init__(problem, report, order)
        self.problem = self.given = problem
        self.declared = surrogate
        self.rough = 1e-2 if problem.is_rounded else 0.0
        self.surrogates: dict[str, str] = {}  # name of a Function -> why its gradient is meant otherwise
        self.latent = False  # something is wrong that this function may not meet: a second call, a second backward
        self.by_hand = ""  # what takes a value out of the graph in the whole function, on purpose

    def find_rules(self) -> tuple[list[Rule], list[str]]:
        return rules_of(self.problem)

    @property
    def is_bare(self) -> bool:
        return len(self.rules) == 1 and self.problem.is_bare

    def others_of(self, rule: Rule) -> Iterator[Other]:
        return others(rule) if rule.name not in self.surrogates else iter(())

    def is_declared(self, rule: Rule) -> bool:
        meant = self.declared or is_surrogate(rule.call.cls)
        if meant:
            self.surrogates[rule.name] = self.report.surrogate = "declared"
        return meant

    def seen(self, rule: Rule, broken: list[Finding]) -> None:
        if any(each.code == "not_repeatable" and each.order for each in broken):
            self.unsteady.append(rule)
        self.latent = self.latent or any(each.order is None for each in broken)
        if sum(call.cls is rule.call.cls for call in self.problem.calls) > 1:  # this function does make another call
            met = {id(each) for each in broken if each.code == "captured_value_mutated" and each.order is None}
            self.report.findings = at_order(self.report.findings, lambda each: id(each) in met, 1)

    # -- order 1 ---------------------------------------------------------------------------------------------------

    def first_wrong(self, rule: Rule, found: Answer, told: bool) -> None:
        if found.where is not None and not self.is_bare:  # inputs of a call may be bound to what the whole makes of its
            return  # own; where the whole gets there, it shows in the whole
        report, there = self.report, rule if found.where is None else rule.moved_to(found.where)
        if reason := meant_otherwise(there, found):
            self.surrogates[rule.name] = reason
            report.surrogate = reason if self.is_bare else f"{rule.name}: {reason}"
            report.tell(2, NOT_TRIED, f"{rule.name}: {reason}")
            report.findings.append(by_numbers.other_gradient(rule.name, found, reason))
            report.errors.pop(1, None)  # what is meant otherwise is no error
        elif is_solver(there, found):
            report.tell(2, NOT_TRIED, f"{rule.name} iterates, and backward is right for where that ends, nearly")
            self.unverified(by_numbers.nearly_right(rule, found), rule.name)
            self.surrogates[rule.name] = "it iterates"
        elif hands_on(there, [there.made.index(look.output) for look in found.wrong]):
            report.tell(2, NOT_TRIED, f"{rule.name} returns what it was given")
            self.unverified(by_numbers.handed_on(rule.name, found), rule.name)
            self.surrogates[rule.name] = "it returns what it was given"
        elif self.is_bare or not self.is_constrained(rule, Forward(rule), 1):
            report.tell(2, BROKEN, rule.name)
            if told:
                report.findings = with_lines(there, report.findings)
            else:
                report.findings += why_wrong(there) or by_numbers.wrong_gradient(there, found)
            self.wrong.append(rule)

    def is_constrained(self, rule: Rule, map: Any, level: int) -> bool:
        """Whether what is wrong is so only where the function never takes it: a matrix that it makes symmetric, say."""
        for draw in range(2):
            ways = self.problem.ways_of(rule.call, draw)
            if ways is None or not held(Along(map, ways, draw), TOLERANCE[min(level, 2)][rule.bits]).ok:
                return False
        return True

    def judges_whole(self) -> bool:
        parameters = self.problem.parameters
        judges = super().judges_whole() and not self.surrogates
        if judges and len(parameters.leaves) < parameters.count:
            some = f"{len(parameters.leaves)} of the {parameters.count} parameters of the module were differentiated"
            self.report.tell(2, NOT_TRIED, some)
        return judges

    def whole_wrong(self, found: Answer) -> None:
        if found.where is not None:
            self.problem, given = self.problem.moved_to(found.where), self.problem
            try:
                self.wrong_there(found)
            finally:
                self.problem = given
            return
        report, problem = self.report, self.problem
        if not problem.is_deterministic():
            report.tell(2, NOT_TRIED, "two runs differ")
            self.unverified(DIFFERENT_RUNS)
            self.goes_on = False
            return
        if self.latent:
            report.findings = at_order(report.findings, lambda each: each.order is None, 1)
            self.goes_on = False
            return
        if found.only_here:
            report.tell(2, BROKEN, "nan where forward has a slope")
            report.findings.append(by_numbers.nonfinite_whole(report.name, found))
            return
        if (past := written_past_autograd(problem, report.name, TOLERANCE[1][problem.bits])) is not None:
            report.tell(2, BROKEN, f"{past.slot or 'what is kept'} is written to past autograd")
            report.findings.append(past)
            self.goes_on = False
            return
        self.by_hand = problem.cut_by_hand()
        hooks, right_without = changing(problem, found, TOLERANCE[1][problem.bits])
        if hooks and (right_without or any(one.writes for one in hooks)):
            self.hooked(hooks, found)
        elif problem.nested:
            report.tell(2, BROKEN, problem.nested[0][0].__name__)
            report.findings.append(by_numbers.nested_tensors(problem, found))
            self.goes_on = False
        elif self.by_hand:
            report.tell(2, HOLDS, f"the function itself cuts the graph ({self.by_hand})")
            report.findings.append(by_numbers.other_gradient(report.name, found, f"it calls {self.by_hand}"))
        else:
            report.tell(2, BROKEN, "the function as a whole")
            report.findings.append(by_numbers.whole_differs(problem, found, self.left_out))

    def wrong_there(self, found: Answer) -> None:
        """At other inputs than the given ones: the Functions that are wrong there, else the whole."""
        for rule in rules_of(self.problem)[0]:
            again = held(Forward(rule), TOLERANCE[1][rule.bits])
            if again.wrong and again.where is None:
                self.first_wrong(rule, again, False)
        if not self.wrong and not self.surrogates:
            self.report.tell(2, BROKEN, "the function as a whole")
            self.report.findings.append(by_numbers.whole_differs(self.problem, found, self.left_out))

    def hooked(self, hooks: list[Hook], found: Answer) -> None:
        """Hooks that change a gradient: meant so, but for one that does it in place."""
        report, said = self.report, " and ".join(one.said for one in hooks)
        written_over = written(hooks, report.name)
        report.findings += written_over or [by_numbers.other_gradient(report.name, found, f"{said} changes it")]
        report.tell(2, BROKEN if written_over else NOT_TRIED, f"{said} changes the gradient")
        self.by_hand = said  # from here on the derivative of the gradient as it is

    # -- orders 2 and up -------------------------------------------------------------------------------------------

    def subjects_at(self, level: int) -> list[Subject]:
        """The whole; where a part of it is no derivative, the Functions alone; from order 3 on, its gradient."""
        report = self.report
        composite = self.surrogates or self.wrong or self.by_hand or self.unsteady
        if level > 2 and not self.leads_on(level):
            return []
        if composite and level > 2 and not self.problem.is_bare:
            report.tell(4, NOT_TRIED, f"order {level} of the whole, since a part of it is not a derivative")
            self.goes_on = False
            return []
        if self.unsteady:
            report.tell(4, NOT_TRIED, f"{self.unsteady[0].name} does not give the same again")
            return [rule for rule in self.rules if rule not in self.unsteady and not self.is_bare]
        if self.by_hand and not self.rules:
            report.tell(4, NOT_TRIED, f"{self.by_hand}: differences of the whole cannot tell")
        return self.rules if composite and not self.is_bare else [self.problem]

    def leads_on(self, level: int) -> bool:
        """Go on with the gradient of the function; whether there is one to go on with."""
        given, unsaid = self.given, Report(self.report.name)
        problem = opened(lifted(given.original, level - 2), given.inputs, unsaid)
        if problem is not None:
            self.problem = self.subject = problem
            return True
        self.goes_on = False
        if unsaid.unverified:  # a gradient that depends on nothing: its derivatives are zeros
            self.report.tell(4, HOLDS)
            return False
        self.report.findings += [replace(each, order=level) for each in unsaid.findings]
        self.report.tell(4, BROKEN)
        return False

    def order_raises(self, subject: Subject, error: Exception, level: int) -> Finding | None:
        calls = self.calls_of(subject)
        told = refused(self.problem, calls, error, self.report.name if subject.is_whole else subject.name, level)
        same = [each for each in self.report.faults if each.read_at == told.read_at is not None]
        return None if same else told  # else what raises at that line is known

    def calls_of(self, subject: Subject) -> list[Call]:
        return self.problem.calls if subject.is_whole else [subject.call]

    def order_wrong(self, subject: Subject, map: Any, found: Answer, level: int) -> bool:
        report, problem, calls = self.report, self.problem, self.calls_of(subject)
        if found.where is not None and subject.is_whole:
            problem = problem.moved_to(found.where)
            calls = problem.calls
        elif found.where is not None:
            calls = [subject.moved_to(found.where).call]
        elif not subject.is_whole and self.is_constrained(subject, map, level):
            return True
        in_parameters = subject.is_whole and not self.is_bare and {*found.inputs} <= {*problem.parameters.names}
        if in_parameters and (cut := problem.cut_by_hand()):  # a module's own upkeep of what it holds: power iteration
            report.tell(4, NOT_TRIED, f"the function itself cuts the graph ({cut}), so its Functions are judged alone")
            self.by_hand = cut
            return all([judge_order(self, rule, level) for rule in self.rules])
        why = self.not_its_own_fault(subject)
        told = wrong_within(problem) if level == 2 else []
        told = told or (constant(problem, report.name, level) if subject.is_whole else [])
        told = told or diagnosed(problem, calls, found, level, why)
        report.findings += told
        is_fault = any(each.kind == "fault" for each in told)
        if is_fault:
            report.tell(4, BROKEN, report.name if subject.is_whole else subject.name)
        else:  # what differences say of an order that is refused, or goes through a surrogate, is no error
            report.errors.pop(level, None)
            report.tell(4, NOT_TRIED, told[0].sentence if told else why)
        return False

    def not_its_own_fault(self, subject: Subject) -> str:
        """Why differences cannot tell a second order where autograd goes through a gradient that is no derivative."""
        rules = self.rules if subject.is_whole else [subject]
        if any(rule in self.wrong for rule in rules):
            return "the first order is wrong, and autograd differentiates through it"
        if any(rule.name in self.surrogates for rule in rules):
            return "autograd differentiates through a gradient that is not a derivative, so differences cannot tell"
        return ""


def wrong_within(problem: Problem) -> list[Finding]:
    """Functions that a backward calls, and whose own backward is wrong: it is met at the second order."""
    found: list[Finding] = []
    with contextlib.suppress(Exception):  # one that needs what stands around it
        for call in distinct(problem.calls_in_backward())[:MOST_RULES]:
            rule = Rule(call, problem.bits)
            again = held(Forward(rule), TOLERANCE[1][rule.bits]) if rule.incoming else None
            if again is not None and again.wrong and not meant_otherwise(rule, again):
                found += [replace(each, order=2) for each in why_wrong(rule)]
    return found


def meant_otherwise(rule: Rule, found: Answer) -> str:
    made, names = rule.made, rule.names
    return told_by_itself(rule, [(made.index(look.output), names.index(look.input)) for look in found.wrong])
