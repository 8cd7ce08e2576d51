"""Check a PyTorch function: the backward of each custom `torch.autograd.Function` in it, alone, and the whole."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from ..torch_bridge.calls import Call
from ..torch_private import CHECK, CHECK_FUNCTION, is_wrapped, needs, tree_flatten, tree_unflatten
from ..trace import Trace
from .causes import by_numbers
from .causes.first_order import why_wrong, with_lines
from .causes.hooks import Hook, changing, constant, written
from .causes.overwritten import written_past_autograd
from .clauses.batched import batched
from .clauses.forward_mode import forward_mode
from .clauses.half import grossly_wrong
from .clauses.layouts import layouts
from .clauses.operators import operators
from .clauses.ownership import ownership
from .clauses.reference import beside_reference
from .clauses.solver import is_solver
from .clauses.surrogate import told_by_itself
from .declared import is_surrogate
from .diagnosis import DIFFERENT_RUNS, diagnosed, refused
from .measure.holding import held
from .measure.looks import Answer
from .measure.precision import works_in
from .measure.taylor import remainders
from .report import BROKEN, HOLDS, NOT_TRIED, Finding, Remainders, Report
from .road import TOLERANCE, Judging, at_order, explained_once, judge_order, judged
from .runs.chance import one_at_a_time, random_state_kept, with_equal_chances
from .runs.recorded import differentiable, fresh, recorded, step_of
from .subjects.function import Rule
from .subjects.opening import distinct, lifted, name_of, opened, refuse_compiled, run_as_given, undisturbed
from .subjects.operator import worded
from .subjects.others import Other, others
from .subjects.problem import HALF, Problem, input_names
from .subjects.subject import Along, Forward, Subject
from .untried import of_function

MOST_RULES = 24  # distinct calls that are judged alone


def check_function(
    fn: Callable,
    inputs: tuple[Any, ...],
    *,
    order: int = 2,
    name: str | None = None,
    reference: Callable | None = None,
    surrogate: bool = False,
) -> Report:
    """Whether every hand-written backward in `fn` is right at `inputs`, and the whole of `fn`, up to this order.

    `fn` is anything that calls PyTorch: `MyFunction.apply`, a lambda, a module. `inputs` are its arguments; those that
    require grad are differentiated, and so are the parameters of a module; the others are passed on as they are.
    Floating tensors are taken to double precision where `fn` allows it. Nothing that `fn` keeps (buffers, caches,
    random state) is left changed.

    `reference`: the same mathematics in plain operations of torch; values and first-order gradients are held against
    its own in double precision, up to what the rounding of the inputs explains. A kernel that takes half precision
    only, and that cannot be led on in double either, is judged by that alone.

    `surrogate`: the first-order gradients of its Functions are not meant to be forward's derivatives; what is judged is
    the derivative of backward as it is written. A forward that is constant nearly everywhere or returns its input
    unchanged is told to be one without this.

    Raises ValueError where no input requires grad, TypeError for code compiled by `torch.compile`, NotInThisTorch
    where this torch lacks what it needs.
    """
    needs(CHECK)
    needs(CHECK_FUNCTION)
    refuse_compiled(fn)
    inputs, name = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), name or name_of(fn)

    def judge() -> Report:
        report = Report(name)
        rough = judge_once(fn, inputs, report, order, reference, surrogate)
        if rough:  # it computes less precisely than its inputs are: what was said may be its rounding
            judge_once(fn, inputs, report := Report(name), order, reference, surrogate, rough)
        return report

    report = with_equal_chances(judge, lambda: evaluated(fn, inputs), name)
    report.trace = lambda: traced(fn, inputs, report, order)
    report.findings = [replace(each, step=lambda each=each: step_of(each, report.trace)) for each in report.findings]
    return report


def evaluated(fn: Callable, inputs: tuple[Any, ...]) -> Exception | None:
    """Forward, its gradient, and the gradient of that, once; what they raised, if they did."""
    with undisturbed(fn, inputs):
        try:
            run = (problem := Problem(fn, inputs, 32)).run(problem.values)
            weights = [torch.ones_like(out) for out in run.outputs]
            first = run.gradients(weights, keep=True)
            run.second(weights, [None if g is None else torch.ones_like(g) for g in first])
        except Exception as error:  # a user's function may raise anything
            return error
    return None


def judge_once(
    fn: Callable,
    inputs: tuple[Any, ...],
    report: Report,
    order: int,
    reference: Callable | None,
    surrogate: bool,
    works_in_bits: int = 64,
) -> int:
    """The check itself, into the report. The bits that it computes in, where it is to be judged by those once more."""
    with undisturbed(fn, inputs):
        given = run_as_given(fn, inputs, report)
        problem = opened(fn, inputs, report, given) if given is not None else None
        if problem is None:
            return 0
        if works_in_bits < 64:
            problem.bits, problem.is_rounded = 32, works_in_bits == 16
        precision = "double precision" if problem.bits == 64 else "single precision: the function computes in no other"
        report.truth = f"finite differences of forward and of the first-order gradient ({precision})"
        if reference is not None:
            with problem.precision():
                beside_reference(problem, reference, report)
            report.truth += ", and the reference in double precision"
        if is_half_only(problem):
            judge_half(problem, report, reference)
            return 0
        report.tell(
            12, HOLDS if problem.is_half else NOT_TRIED, "" if problem.is_half else "no input is in half precision"
        )
        report.untried = of_function(problem)
        with problem.precision():
            judging = OnFunctions(problem, report, order, surrogate)
            judged(judging)
            if not any(value.numel() for value in problem.values):
                judging.unverified(f"The inputs of {report.name} have no elements: there was nothing to compare.")
            rough = works_in(judging.problem) if is_by_numbers(report) and problem.bits == 64 else 64
        if rough < 64:
            return rough
        if problem.is_rounded and reference is None:
            tell_steps(problem, report)
    report.measure = measured(problem, fn, inputs, order)
    report.findings = explained_once(report)
    in_words_of_operators(report, judging.rules)
    return 0


BY_RUNNING = ("raises", "wrong_count", "wrong_shape", "none_not_handled", "input_mutated", "captured_value_mutated")


def is_by_numbers(report: Report) -> bool:
    """Whether something is told because numbers differ, which may be rounding."""
    return bool(report.unverified) or any(each.code not in BY_RUNNING for each in report.faults)


STEPS = "its values move in steps of half precision, and it could not be followed in double"


def tell_steps(problem: Problem, report: Report) -> None:
    """Without a reference nothing but a gross fault can be told."""
    wrong = grossly_wrong(problem)
    if wrong is not None:
        report.findings.append(wrong)
    report.tell(2, BROKEN if wrong else NOT_TRIED, "" if wrong else STEPS)
    report.tell(12, BROKEN if wrong else NOT_TRIED, "" if wrong else "there is no reference")
    if wrong is None:
        said = f"The gradients of {report.name} were not compared closely: {STEPS}. Nothing is grossly wrong with them."
        report.findings.append(Finding("unverified", f"{said} Give reference=, plain operations of torch."))


def measured(problem: Problem, fn: Callable, inputs: tuple[Any, ...], order: int) -> Callable[[], list[Remainders]]:
    """Takes the remainders of Taylor expansions when somebody asks for them, from the same state as the check."""

    def measure() -> list[Remainders]:
        if problem.is_rounded:
            return []
        with one_at_a_time(), random_state_kept(), undisturbed(fn, inputs), problem.precision():
            return remainders(problem, order)

    return measure


def traced(fn: Callable, inputs: tuple[Any, ...], report: Report, order: int) -> Trace:
    """The run, as it is given, with as many passes as show all that was found."""
    passes = max([min(order, 2), *(each.order or 1 for each in report.findings)])
    with one_at_a_time(), random_state_kept(), undisturbed(fn, inputs):
        flat, spec = tree_flatten(inputs)
        given = tree_unflatten([fresh(x) for x in flat], spec)
        names = dict(zip(input_names(fn, given), differentiable(lambda: None, given)))
        return recorded(fn, given, passes, names)


def in_words_of_operators(report: Report, rules: list[Rule]) -> None:
    """Findings about an operator of torch.library say what somebody wrote: setup_context, backward, the operator."""
    known = {rule.name: rule.call.cls.operator for rule in rules if hasattr(rule.call.cls, "operator")}
    report.findings = [worded(each, known[each.entry]) if each.entry in known else each for each in report.findings]
    for number, why in ((10, "no Function in it has a jvp or a vmap rule"), (11, "no operator of torch.library in it")):
        if number not in report.tried:
            report.tell(number, NOT_TRIED, why)


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


def is_half_only(problem: Problem) -> bool:
    """Whether it takes half precision and nothing else, also from tensors that only say so."""
    return problem.bits == 32 and any(value.dtype in HALF for value in problem.values)


def judge_half(problem: Problem, report: Report, reference: Callable | None) -> None:
    """What can be asked of a kernel whose values move in steps of half precision."""
    if reference is None:
        tell_steps(problem, report)
        return
    report.tell(12, BROKEN if report.faults else HOLDS)
    report.tell(4, NOT_TRIED, "in half precision differences of a gradient are steps")
    if not report.faults:
        for rule in rules_of(problem)[0]:
            report.findings += ownership(rule)
    report.tell(8, BROKEN if report.faults else HOLDS)
