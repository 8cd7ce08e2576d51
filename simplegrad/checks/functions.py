"""Check a PyTorch function: the backward of each custom `torch.autograd.Function` in it, alone, and the whole.

Numbers say whether something is wrong: differences of forward against backward, and differences of backward against
autograd's double backward. Only then is it asked why, one Function at a time (see `causes`).
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from simplegrad.checks.alike import State, drawing_seen, random_state_kept
from simplegrad.checks.causes import explain
from simplegrad.checks.causes.detector import Examination, Examiner
from simplegrad.checks.causes.first_order import why_wrong, with_lines
from simplegrad.checks.causes.guard import guard_finding
from simplegrad.checks.clauses.again import again, forward_repeats
from simplegrad.checks.clauses.batched import batched
from simplegrad.checks.clauses.forward_mode import forward_mode
from simplegrad.checks.clauses.given import nonfinite
from simplegrad.checks.clauses.layouts import layouts
from simplegrad.checks.clauses.linear import linear
from simplegrad.checks.clauses.operators import operators
from simplegrad.checks.clauses.ownership import ownership
from simplegrad.checks.clauses.patterns import needed_inputs, unknown_gradients
from simplegrad.checks.clauses.reference import beside_reference
from simplegrad.checks.clauses.solver import is_solver
from simplegrad.checks.clauses.surrogate import told_by_itself
from simplegrad.checks.clauses.tried import Tried, told_once
from simplegrad.checks.declared import is_surrogate
from simplegrad.checks.looks import Answer, held
from simplegrad.checks.report import BROKEN, CLAUSES, HOLDS, NOT_TRIED, Finding, Remainders, Report
from simplegrad.checks.subjects.alone import outer_steps
from simplegrad.checks.subjects.function import Along, Forward, Gradient, Rule, Subject
from simplegrad.checks.subjects.operator import worded
from simplegrad.checks.subjects.problem import HALF, NothingToDifferentiate, Problem, everything_around, parameters_of
from simplegrad.checks.subjects.widened import Pretended, Widened, casts_down
from simplegrad.checks.taylor import remainders
from simplegrad.torch_bridge.calls import Call
from simplegrad.torch_private import CHECK, CHECK_FUNCTION, is_wrapped, needs, operator_called

TOLERANCE = {1: {64: 5e-4, 32: 5e-3}, 2: {64: 1e-4, 32: 5e-3}}  # by order (2 and up are alike) and precision
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
    inputs = inputs if isinstance(inputs, tuple | list) else (inputs,)
    report = Report(name or name_of(fn))
    with undisturbed(fn, inputs), drawing_seen(lambda: runs_as_given(fn, tuple(inputs), report)) as runs:
        if not runs:
            return report
        problem = opened(fn, tuple(inputs), report)
        if problem is None:
            return report
        precision = "double precision" if problem.bits == 64 else "single precision: the function takes no other"
        report.truth = f"finite differences of forward and of the first-order gradient ({precision})"
        if reference is not None:
            with problem.precision():
                beside_reference(problem, reference, report)
            report.truth += ", and the reference in double precision"
        if is_half_only(problem):
            judge_half(problem, report, reference)
            return report
        report.tell(
            12, HOLDS if problem.is_half else NOT_TRIED, "" if problem.is_half else "no input is in half precision"
        )
        with problem.precision():
            judging = Judging(problem, report, surrogate)
            first_order(judging)
            for level in range(2, order + 1):
                if not judging.goes_on or not higher_order(judging, level, fn, inputs):
                    break
    report.measure = measured(problem, fn, inputs, order)
    if order == 1:
        report.tell(4, NOT_TRIED, "not asked for")
    report.findings = explained_once(report)
    return in_words_of_operators(report, judging.rules)


def explained_once(report: Report) -> list[Finding]:
    """The findings, without `unexplained` numbers of a Function that a fault is known of at that order or a lower."""
    faults = [each for each in report.faults if each.order and each.code != "unexplained"]

    def is_known(finding: Finding) -> bool:
        entries, order = finding.entry.split(", "), finding.order or 1
        return finding.code == "unexplained" and any(f.entry in entries and f.order <= order for f in faults)

    return [each for each in report.findings if not is_known(each)]


def measured(problem: Problem, fn: Callable, inputs: tuple[Any, ...], order: int) -> Callable[[], list[Remainders]]:
    """Takes the remainders of Taylor expansions when somebody asks for them, from the same state as the check."""

    def measure() -> list[Remainders]:
        if problem.is_rounded:
            return []
        with undisturbed(fn, inputs), problem.precision():
            return remainders(problem, order)

    return measure


def in_words_of_operators(report: Report, rules: list[Rule]) -> Report:
    """Findings about an operator of torch.library say what somebody wrote: setup_context, backward, the operator."""
    known = {rule.name: rule.call.cls.operator for rule in rules if hasattr(rule.call.cls, "operator")}
    report.findings = [worded(each, known[each.entry]) if each.entry in known else each for each in report.findings]
    for number, why in ((10, "no Function in it has a jvp or a vmap rule"), (11, "no operator of torch.library in it")):
        if number not in report.tried:
            report.tell(number, NOT_TRIED, why)
    return report


class Judging:
    """What is judged, and what is known of it so far."""

    def __init__(self, problem: Problem, report: Report, surrogate: bool) -> None:
        self.problem, self.report, self.declared = problem, report, surrogate
        self.rules: list[Rule] = []
        self.left_out: list[str] = []  # names of Functions that could not be run alone
        self.surrogates: dict[str, str] = {}  # name of a Function -> why its gradient is meant otherwise
        self.wrong: list[Rule] = []  # at the first order
        self.unsteady: list[Rule] = []  # what they read does not stay what it was: no second order can be judged
        self.latent = False  # something is wrong that this function may not meet: a second call, a second backward
        self.by_hand = ""  # what takes a value out of the graph in the whole function, on purpose
        self.goes_on = True

    @property
    def is_bare(self) -> bool:
        """Whether the function is nothing but one call of a Function."""
        return len(self.rules) == 1 and self.problem.is_bare

    def lifted(self, problem: Problem) -> Judging:
        """The same for a derivative of the function."""
        found = Judging(problem, self.report, self.declared)
        found.surrogates, found.wrong, found.by_hand, found.unsteady = (
            *(self.surrogates, self.wrong, self.by_hand),
            self.unsteady,
        )
        return found

    def unverified(self, sentence: str, entry: str = "") -> None:
        self.report.findings.append(Finding("unverified", sentence, entry=entry))


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
        if rule.incoming:
            rules.append(rule)
    return rules, left_out + [call.name for call in calls[MOST_RULES:]]


IN_TRANSFORM = ", called inside of a transform of torch.func (vmap, grad, jvp),"


def is_within(value: Any) -> bool:
    """Whether a value stands for others inside of a transform of torch.func."""
    return isinstance(value, torch.Tensor) and is_wrapped(value)


# -- order 1 ---------------------------------------------------------------------------------------------------------


def first_order(judging: Judging) -> None:
    """Each Function alone, then the whole, where that says anything of its own."""
    report, problem = judging.report, judging.problem
    judging.rules, judging.left_out = rules_of(problem)
    for rule in judging.rules:
        judge_rule(judging, rule)
    for number in (3, 5, 6, 7, 8, 9):
        report.tell(number, HOLDS, "" if judging.rules else "no custom Function is called")
        if judging.left_out:
            report.tell(number, NOT_TRIED, f"{judging.left_out[0]} could not be run alone")
    for name in judging.left_out:
        judging.unverified(f"{name} could not be run alone, so its backward was judged within the whole only.", name)
    if judging.is_bare or judging.surrogates or judging.wrong or judging.unsteady:
        return report.tell(2, HOLDS)
    if problem.is_rounded:
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
    if any(each.code == "not_repeatable" and each.order for each in broken):
        judging.unsteady.append(rule)
    judging.latent = judging.latent or any(each.order is None for each in broken)
    if sum(call.cls is rule.call.cls for call in judging.problem.calls) > 1:  # this function does make another call
        met = {id(each) for each in broken if each.code == "captured_value_mutated" and each.order is None}
        report = judging.report
        report.findings = [replace(each, order=1) if id(each) in met else each for each in report.findings]
    judge_derivative(judging, rule, any(each.code == "not_linear" for each in broken))
    try_clauses(judging, rule)


NOT_REPRODUCIBLE = (
    "Two runs of the forward of {name} at the same values give different results, also from the same random state: "
    "there is nothing to hold its backward against."
)


def contract(judging: Judging, rule: Rule) -> list[Finding]:
    """Clauses 3, 5, 6, 8 and 9 tried on one backward; what is broken."""
    report, meant = judging.report, judging.declared or is_surrogate(rule.call.cls)
    rough = 1e-2 if judging.problem.is_rounded else 0.0
    tries = (
        (8, lambda: ownership(rule)),
        (9, lambda: again(rule)),
        (3, lambda: linear(rule, rough)),
        (5, lambda: unknown_gradients(rule)),
        (6, lambda: needed_inputs(rule)),
    )
    broken: list[Finding] = []
    for number, tried in tries:
        if number == 3 and meant:
            report.tell(3, NOT_TRIED, f"{rule.name} is declared a surrogate")
            continue
        try:
            found = tried() or []
        except Exception as error:  # at the given values it ran: it needs something that is not here
            report.tell(number, NOT_TRIED, f"{rule.name} raises {type(error).__name__} when it is run alone")
            judging.unverified(f"{CLAUSES[number]}: {type(error).__name__}: {explain.said(error)}", rule.name)
            continue
        found = found if isinstance(found, list) else [found]
        report.tell(number, BROKEN if found else HOLDS, rule.name if found else "")
        if any(each.code == "captured_value_mutated" and each.order for each in broken):  # then no wonder
            judging.unsteady += [rule for each in found if each.code == "not_repeatable"]
            found = [each for each in found if each.code != "not_repeatable"]
        report.findings += found
        broken += found
    return broken


def judge_derivative(judging: Judging, rule: Rule, told: bool) -> None:
    """Whether its backward is the derivative of its forward; `told`: that it is not linear says so already."""
    report, problem = judging.report, judging.problem
    if judging.declared or is_surrogate(rule.call.cls):
        judging.surrogates[rule.name] = "declared"
        report.surrogate = "declared"
        report.tell(2, NOT_TRIED, f"{rule.name} is declared a surrogate")
        return
    if problem.is_rounded:
        return
    found = held(Forward(rule), TOLERANCE[1][rule.bits])
    if judging.is_bare:
        report.errors[1] = found.errors
    if not found.settled:
        report.tell(2, NOT_TRIED, found.why)
        judging.unverified(undefined_nearby(rule.name, "first", found.why), rule.name)
    elif found.wrong and not (reason := meant_otherwise(judging, rule, found)):
        if is_solver(rule, found):
            report.tell(2, NOT_TRIED, f"{rule.name} iterates, and backward is right for where that ends, nearly")
            judging.unverified(explain.nearly_right(rule, found), rule.name)
            judging.surrogates[rule.name] = "it iterates"
        elif judging.is_bare or not is_constrained(judging, rule, Forward(rule), 1):
            report.tell(2, BROKEN, rule.name)
            if told:
                report.findings = with_lines(rule, report.findings)
            else:
                report.findings += why_wrong(rule) or explain.wrong_gradient(rule, found)
            judging.wrong.append(rule)
    elif found.wrong:
        judging.surrogates[rule.name] = reason
        report.surrogate = reason if judging.is_bare else f"{rule.name}: {reason}"
        report.tell(2, NOT_TRIED, f"{rule.name}: {reason}")
        report.findings.append(explain.other_gradient(rule.name, found, reason))


APPLYING = ((7, layouts), (10, forward_mode), (10, batched), (11, operators))  # each where it applies


def try_clauses(judging: Judging, rule: Rule) -> None:
    """Clauses 7, 10 and 11: the last two where there is something to try them on."""
    for number, clause in APPLYING:
        try:
            tried = clause(rule)
        except Exception as error:  # at the given values it ran: it needs something that is not here
            tried = Tried(NOT_TRIED, f"{rule.name} raises {told_once(error)}")
        if tried is None:
            continue
        judging.report.tell(number, tried.state, tried.why)
        judging.report.findings += tried.findings
        if tried.state == BROKEN and rule not in judging.wrong:
            judging.wrong.append(rule)  # what is wrong with the whole is wrong with this


def meant_otherwise(judging: Judging, rule: Rule, found: Answer) -> str:
    made, names = rule.made, rule.names
    return told_by_itself(rule, [(made.index(look.output), names.index(look.input)) for look in found.wrong])


def is_constrained(judging: Judging, rule: Rule, map: Any, level: int) -> bool:
    """Whether what is wrong is so only where the function never takes it: a matrix that it makes symmetric, say."""
    for draw in range(2):
        ways = judging.problem.ways_of(rule.call, draw)
        if ways is None:
            return False
        along = held(Along(map, ways, draw), TOLERANCE[min(level, 2)][rule.bits])
        if not along.ok:
            return False
    return True


def judge_whole(judging: Judging) -> None:
    """Whether the gradient of the whole function is the derivative of its values."""
    report, problem = judging.report, judging.problem
    differentiated, count = len(problem.parameters.leaves), problem.parameters.count
    if differentiated < count:
        report.tell(2, NOT_TRIED, f"{differentiated} of the {count} parameters of the module were differentiated")
    found = held(Forward(problem), TOLERANCE[1][problem.bits])
    report.errors[1] = found.errors
    if not found.settled:
        report.tell(2, NOT_TRIED, found.why)
        judging.unverified(undefined_nearby(report.name, "first", found.why))
    elif found.wrong and not problem.is_deterministic():
        report.tell(2, NOT_TRIED, "two runs differ")
        judging.unverified(DIFFERENT_RUNS)
        judging.goes_on = False
    elif found.wrong and judging.latent:
        report.findings[:] = [replace(each, order=each.order or 1) for each in report.findings]
        judging.goes_on = False
    elif found.wrong:
        judging.by_hand = problem.cut_by_hand()
        if problem.nested:
            report.tell(2, BROKEN, problem.nested[0][0].__name__)
            report.findings.append(explain.nested_tensors(problem, found))
            judging.goes_on = False
        elif judging.by_hand:
            report.tell(2, HOLDS, f"the function itself cuts the graph ({judging.by_hand})")
            report.findings.append(explain.other_gradient(report.name, found, f"it calls {judging.by_hand}"))
        else:
            report.tell(2, BROKEN, "the function as a whole")
            report.findings.append(explain.whole_differs(problem, found))


DIFFERENT_RUNS = "Two runs at one point give different gradients, also from the same random seed."


def undefined_nearby(name: str, order: str, why: str) -> str:
    """Why differences beside the given point were not to be had."""
    return (
        f"{name} could not be evaluated at inputs a little beside the given ones, so its {order} derivative was not "
        f"compared with finite differences: {why}."
    )


# -- orders 2 and up -------------------------------------------------------------------------------------------------


def higher_order(judging: Judging, level: int, fn: Callable, inputs: tuple) -> bool:
    """Judge one order more; whether there is any use in going on to the next."""
    report, problem = judging.report, judging.problem
    if level > 2:
        problem = opened(lifted(fn, level - 2), tuple(inputs), unsaid := Report(report.name))
        if problem is None and unsaid.unverified:  # a gradient that depends on nothing: its derivatives are zeros
            report.tell(4, HOLDS)
            return False
        if problem is None:
            report.findings += [replace(each, order=level) for each in unsaid.findings]
            report.tell(4, BROKEN)
            return False
        judging = judging.lifted(problem)
    composite = judging.surrogates or judging.wrong or judging.by_hand or judging.unsteady
    if composite and level > 2 and not problem.is_bare:
        report.tell(4, NOT_TRIED, f"order {level} of the whole, since a part of it is no derivative")
        return False
    subjects = judging.rules if composite and not judging.is_bare else [problem]
    if judging.unsteady:
        subjects = [rule for rule in judging.rules if rule not in judging.unsteady and not judging.is_bare]
        report.tell(4, NOT_TRIED, f"{judging.unsteady[0].name} does not give the same again")
    return all([judge_order(judging, subject, level) for subject in subjects])  # each, whatever came of the others


def judge_order(judging: Judging, subject: Subject, level: int) -> bool:
    """Whether autograd's derivative of the gradient is that of its values; whether all was well."""
    report, problem = judging.report, judging.problem
    calls = problem.calls if subject is problem else [subject.call]
    name = report.name if subject is problem else subject.name
    map = Gradient(subject)
    try:
        map.vjp(map.at, [torch.ones_like(x) for x in subject.values])
    except Exception as error:  # the second backward raised: a guard, or a fault that makes itself heard
        told = refused(problem, calls, error, name, level)
        if not any(each.kind == "fault" and each.read_at == told.read_at is not None for each in report.findings):
            report.findings.append(told)  # else what raises at that line is known
        report.tell(4, NOT_TRIED if told.is_note else BROKEN, told.sentence if told.is_note else name)
        return False
    found = held(map, TOLERANCE[2][subject.bits])
    if found.wrong or not report.errors.get(level):
        report.errors[level] = found.errors
    if not found.settled:
        report.tell(4, NOT_TRIED, found.why)
        judging.unverified(undefined_nearby(name, explain.ORDINAL.get(level, f"{level}th"), found.why))
        return False
    if not found.wrong:
        report.tell(4, HOLDS)
        return True
    if subject is not problem and is_constrained(judging, subject, map, level):
        return True
    in_parameters = subject is problem and not judging.is_bare and {*found.inputs} <= {*problem.parameters.names}
    if in_parameters and (cut := problem.cut_by_hand()):  # a module's own upkeep of what it holds: power iteration
        report.tell(4, NOT_TRIED, f"the function itself cuts the graph ({cut}), so its Functions are judged alone")
        judging.by_hand = cut
        return all([judge_order(judging, rule, level) for rule in judging.rules])
    why = not_its_own_fault(judging, subject)
    told = diagnosed(judging, calls, found, level, why)
    report.findings += told
    if why and not told:
        report.tell(4, NOT_TRIED, why)
    else:
        report.tell(4, NOT_TRIED if all(each.kind != "fault" for each in told) else BROKEN, name)
    return False


def not_its_own_fault(judging: Judging, subject: Subject) -> str:
    """Why differences cannot tell a second order where autograd goes through a gradient that is no derivative."""
    rules = judging.rules if subject is judging.problem else [subject]
    if any(rule in judging.wrong for rule in rules):
        return "the first order is wrong, and autograd differentiates through it"
    if any(rule.name in judging.surrogates for rule in rules):
        return "autograd differentiates through a gradient that is no derivative, so differences do not tell"
    return ""


def refused(problem: Problem, calls: list[Call], error: Exception, name: str, level: int) -> Finding:
    """A second derivative that is refused in so many words is a note; any other error is a fault."""
    guarded = [call for call in calls if call.is_guarded]
    if guarded:
        return guard_finding(problem, guarded, level)
    if explain.is_refusal(error):
        return explain.first_order_only(error, name, level)
    return explain.raised(error, name, level, calls)


@contextlib.contextmanager
def undisturbed(fn: Callable, inputs: Any) -> Iterator[None]:
    """With gradients on and no warnings; what `fn` changes, reached by arguments, closures or globals, is put back."""
    with random_state_kept(), warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
        warnings.simplefilter("ignore")
        kept = everything_around(fn, inputs)
        try:
            yield
        finally:
            kept.restore(thorough=True)


def is_half_only(problem: Problem) -> bool:
    """Whether it takes half precision and nothing else, also from tensors that only say so."""
    return problem.bits == 32 and any(value.dtype in HALF for value in problem.values)


def judge_half(problem: Problem, report: Report, reference: Callable | None) -> None:
    """What can be asked of a kernel whose values move in steps of half precision."""
    if reference is None:
        why = "its values move in steps of half precision, and it could not be followed in double"
        report.tell(2, NOT_TRIED, why)
        report.tell(12, NOT_TRIED, "there is no reference")
        report.findings.append(
            Finding("unverified", f"{report.name} was not judged: {why}. Give reference=, plain operations of torch.")
        )
        return
    report.tell(12, BROKEN if report.faults else HOLDS)
    report.tell(4, NOT_TRIED, "in half precision differences of a gradient are steps")
    if not report.faults:
        for rule in rules_of(problem)[0]:
            report.findings += ownership(rule)
    report.tell(8, BROKEN if report.faults else HOLDS)


def refuse_compiled(fn: Any) -> None:
    """Compiled code splits the recorded graph; what is found in it would be about the compiler's code."""
    owner = getattr(fn, "__self__", None)
    if any(hasattr(x, "_torchdynamo_orig_callable") or hasattr(x, "_orig_mod") for x in (fn, owner) if x is not None):
        raise TypeError(
            "code compiled by torch.compile cannot be checked: its graph is split and its custom Functions are "
            "rewritten. Pass the function or module from before torch.compile."
        )


def name_of(fn: Any) -> str:
    """What to call the function: its class for `MyFunction.apply` and modules, "lib::op" for an operator."""
    if (operator := operator_called(fn)) is not None:
        return operator[0]
    owner = getattr(fn, "__self__", None)
    if isinstance(owner, type):
        return owner.__name__
    if isinstance(fn, torch.nn.Module):
        return type(fn).__name__
    return getattr(fn, "__name__", type(fn).__name__)


def lifted(fn: Callable, times: int) -> Callable:
    """The gradient of `fn` as a function of the same inputs, `times` times over."""
    names = parameters_of(fn)
    for _ in range(times):
        fn = _gradient_of(fn)
        # its inputs go by their names still
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        fn.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    return fn


def _gradient_of(fn: Callable) -> Callable:
    def gradient(*inputs: Any) -> tuple[torch.Tensor, ...]:
        wanted = [x for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad]
        outputs = fn(*inputs)
        several = outputs if isinstance(outputs, tuple | list) else (outputs,)
        outputs = [out for out in several if isinstance(out, torch.Tensor) and out.requires_grad]
        weights = [torch.full_like(out, 1.0).detach() for out in outputs]
        found = torch.autograd.grad(outputs, wanted, weights, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradient


def runs_as_given(fn: Callable, inputs: tuple[Any, ...], report: Report) -> bool:
    """Clause 1: whether forward and backward run at the inputs as they are, and finite gradients come out."""
    given = Problem(fn, inputs, 32)
    try:
        given.probe()
    except NothingToDifferentiate as reason:
        report.tell(1, NOT_TRIED, "there is nothing to differentiate")
        report.findings.append(Finding("unverified", f"{reason}; there is no gradient to differentiate again."))
        return False
    except Exception as error:  # whatever a user's forward or backward raises is what is reported
        if "incompatible with .grad()" in str(error):  # a reentrant checkpoint: only `.backward()` gets through it
            report.tell(1, NOT_TRIED, "torch.autograd.grad is refused")
            report.findings.append(Finding("unverified", f"{type(error).__name__}: {explain.said(error)}"))
            return False
        told = explain.raised(error, report.name, 1, given.calls, given.is_forward)
        if told.read_at is None and given.is_forward:  # not even entered: the arguments do not fit
            told = replace(told, read_at=explain.heading_of(fn))
        report.findings.append(told)
        report.tell(1, BROKEN, "it raises")
        return False
    finally:
        given.state.restore(thorough=True)
    found = nonfinite(given.calls)
    report.findings += found
    report.tell(1, BROKEN if found else HOLDS)
    return True


def opened(fn: Callable, inputs: tuple[Any, ...], report: Report) -> Problem | None:
    """The function run once, in double precision or else as it is; None where there is nothing to go on with."""
    failure: tuple | None = None
    for bits, precision in ways_of_running(inputs):
        problem = Problem(fn, inputs, bits)
        problem.precision = precision
        try:
            with problem.precision():
                problem.probe()
        except NothingToDifferentiate as reason:
            report.findings.append(Finding("unverified", f"{reason}; there is no gradient to differentiate again."))
            return None
        except Exception as error:  # whatever a user's forward or backward raises is what is reported
            failure = failure or (error, report.name, 1, problem.calls, problem.is_forward)
            continue
        problem = in_double(problem)
        holders = [step for call in problem.calls for step in outer_steps(call)]
        problem.state.restore(thorough=True)
        problem.state = State(problem.kept, [*problem.outer, *holders])
        return problem
    told = explain.raised(*failure)
    if told.read_at is None and failure[-1]:  # not even entered: the arguments do not fit
        told = replace(told, read_at=explain.heading_of(fn))
    report.findings.append(told)
    return None


def ways_of_running(inputs: tuple[Any, ...]) -> Iterator[tuple[int, Callable]]:
    """In double precision; in double that says it is half, for what takes half only; else as it is given."""
    yield 64, contextlib.nullcontext
    half = next((x.dtype for x in inputs if isinstance(x, torch.Tensor) and x.dtype in HALF), None)
    if half is not None:
        yield 64, lambda: Pretended(half)
    if any(_is_narrow(x) for x in inputs):
        yield 32, contextlib.nullcontext


def in_double(problem: Problem) -> Problem:
    """Where a Function casts down what is in double precision: the same without that, if it can do without."""
    if problem.bits == 32 or not any(map(casts_down, distinct(problem.calls))):
        return problem
    for precision in (Widened, lambda: Pretended(torch.float32)):
        wide = Problem(problem.fn, problem.inputs, 64)
        wide.precision = precision
        try:
            with wide.precision():
                wide.probe()
        except Exception:  # it insists on what it asked for
            continue
        return wide
    problem.is_rounded = True
    return problem


def _is_narrow(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.complex64,
    )


def diagnosed(judging: Judging, calls: list[Call], found: Answer, level: int, why: str = "") -> list[Finding]:
    """Findings for numbers that disagree: per Function what it is, or what is known about it as a whole."""
    problem, wrong = judging.problem, found.inputs
    if not problem.is_deterministic():
        return [Finding("unverified", DIFFERENT_RUNS)]
    guarded = [call for call in calls if call.is_guarded]
    findings = [guard_finding(problem, guarded, level)] if guarded else []
    examined = [examined_call(problem, call) for call in distinct(calls) if not call.is_guarded]
    for examiner, seen in examined:
        findings += explain.findings_of(examiner, seen, level)
    if findings or why:
        return findings
    has_nan = any(look.told != look.told for look in found.wrong)
    return [explain.unexplained(calls, wrong, level, [seen for _, seen in examined], has_nan)]


def distinct(calls: list[Call]) -> list[Call]:
    """One call, the first, of each kind: by Function, by kinds of its arguments, and by those that are no tensors."""
    kinds: dict[Any, Call] = {}
    for call in calls:
        if call.incoming is not None:
            kinds.setdefault((call.cls, call.differentiated, *map(_kind, call.args)), call)
    return list(kinds.values())


def _kind(arg: Any) -> Any:
    """What tells one call's argument from another's: of a tensor how many axes it has, else what it is."""
    if isinstance(arg, torch.Tensor):
        return arg.dtype, arg.dim()
    told = arg is None or isinstance(arg, str | int | float | bool | tuple | list | dict)
    return repr(arg)[:200] if told else type(arg)


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
