"""Check a PyTorch function: the backward of each custom `torch.autograd.Function` in it, alone, and the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ..torch_private import CHECK, CHECK_FUNCTION, needs, tree_flatten, tree_unflatten
from ..trace import Trace
from .causes import unwritten
from .clauses.half import grossly_wrong
from .clauses.ownership import ownership
from .clauses.reference import beside_reference
from .measure.precision import works_in
from .measure.taylor import remainders
from .on_functions import OnFunctions, rules_of
from .report import BROKEN, HOLDS, NOT_TRIED, Finding, Remainders, Report
from .road import explained_once, judged
from .runs.chance import one_at_a_time, random_state_kept, with_equal_chances
from .runs.recorded import differentiable, fresh, recorded, step_of
from .subjects.function import Rule
from .subjects.opening import name_of, opened, refuse_compiled, run_as_given, undisturbed
from .subjects.operator import worded
from .subjects.problem import HALF, Problem, input_names
from .untried import of_function


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
    report.findings = unwritten.told(judging.rules, explained_once(report))
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
