"""Check the second derivative of a PyTorch function with custom `torch.autograd.Function`s in it.

Numbers say whether it is wrong: finite differences of the first-order gradient, as forward and backward compute it,
against autograd's double backward. Only then is it asked why, one Function at a time (see `detector`).
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from simplegrad.checks.alike import State, random_state_kept
from simplegrad.checks.causes import explain
from simplegrad.checks.causes.detector import Examination, Examiner
from simplegrad.checks.causes.guard import guard_finding
from simplegrad.checks.report import Finding, Report
from simplegrad.checks.subjects.alone import outer_steps
from simplegrad.checks.subjects.problem import Comparison, NothingToDifferentiate, Problem, parameters_of
from simplegrad.checks.subjects.widened import Widened, casts_down
from simplegrad.torch_bridge.calls import Call
from simplegrad.torch_private import CHECK, CHECK_FUNCTION, needs

LOOKS = 3  # random directions along which everything must agree
POINTS = ((0, 0.0), (1, 1e-3), (2, 1e-2))  # (draw, relative distance from the given point)


def check_function(fn: Callable, inputs: tuple[Any, ...], *, order: int = 2, name: str | None = None) -> Report:
    """Whether differentiating `fn` twice at `inputs` gives the derivative of its first-order gradient.

    `fn` is anything that calls PyTorch: `MyFunction.apply`, a lambda, a module. `inputs` are its arguments; those that
    require grad are differentiated, the others are passed on as they are. Floating tensors are taken to double
    precision where `fn` allows it. Nothing that `fn` keeps (buffers, caches, random state) is left changed.

    The first-order gradient is taken as written: that it may not be the derivative of the outputs (a straight-through
    estimator) is no fault, but a note.

    Raises ValueError where no input requires grad, TypeError for code compiled by `torch.compile`, NotInThisTorch
    where this torch lacks what it needs.
    """
    needs(CHECK)
    needs(CHECK_FUNCTION)
    refuse_compiled(fn)
    inputs = inputs if isinstance(inputs, tuple | list) else (inputs,)
    report = Report(name or name_of(fn))
    with random_state_kept(), warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        problem = opened(fn, tuple(inputs), report)
        if problem is None:
            return report
        precision = "double precision" if problem.bits == 64 else "single precision: the function takes no other"
        report.truth = f"finite differences of the first-order gradient ({precision})"
        first = problem
        for level in range(2, order + 1):
            if level > 2:
                problem = opened(lifted(fn, level - 2), tuple(inputs), report)
            if problem is None or not second_order_holds(problem, report, level):
                break
        if not report.findings:
            with first.precision():
                report.findings += first_order_notes(first, report)
    return report


def refuse_compiled(fn: Any) -> None:
    """Compiled code splits the recorded graph; what is found in it would be about the compiler's code."""
    owner = getattr(fn, "__self__", None)
    if any(hasattr(x, "_torchdynamo_orig_callable") or hasattr(x, "_orig_mod") for x in (fn, owner) if x is not None):
        raise TypeError(
            "code compiled by torch.compile cannot be checked: its graph is split and its custom Functions are "
            "rewritten. Pass the function or module from before torch.compile."
        )


def name_of(fn: Any) -> str:
    """What to call the function: its class for `MyFunction.apply` and modules."""
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


def opened(fn: Callable, inputs: tuple[Any, ...], report: Report) -> Problem | None:
    """The function run once, in double precision or else as it is; None where there is nothing to go on with."""
    failure: tuple | None = None
    for bits in (64, 32) if any(_is_narrow(x) for x in inputs) else (64,):
        problem = Problem(fn, inputs, bits)
        try:
            problem.probe()
        except NothingToDifferentiate as reason:
            report.findings.append(Finding("unverified", f"{reason}; there is no gradient to differentiate again."))
            return None
        except Exception as error:  # whatever a user's forward or backward raises is what is reported
            failure = failure or (error, report.name, 1, problem.calls, problem.is_forward)
            continue
        problem = in_double(problem)
        holders = [step for call in problem.calls for step in outer_steps(call)]
        problem.state = State(problem.kept, holders)
        return problem
    told = explain.raised(*failure)
    if told.read_at is None and failure[-1]:  # not even entered: the arguments do not fit
        told = replace(told, read_at=explain.heading_of(fn))
    report.findings.append(told)
    return None


def in_double(problem: Problem) -> Problem:
    """Where a Function casts down what is in double precision: the same without that, if it can do without."""
    if problem.bits == 32 or not any(map(casts_down, distinct(problem.calls))):
        return problem
    wide = Problem(problem.fn, problem.inputs, 64)
    wide.precision = Widened
    try:
        with wide.precision():
            wide.probe()
    except Exception:  # it insists on what it asked for
        problem.is_rounded = True
        return problem
    return wide


def _is_narrow(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.complex64,
    )


def second_order_holds(problem: Problem, report: Report, level: int) -> bool:
    """Compare, and where numbers disagree say why; whether there was nothing to say."""
    try:
        problem.second_order(problem.values, problem.weights)
    except Exception as error:  # the second backward raised: a guard, or a fault that makes itself heard
        report.findings.append(explain.raised(error, report.name, level, problem.calls))
        return False
    with problem.precision():
        return numbers_hold(problem, report, level)


def numbers_hold(problem: Problem, report: Report, level: int) -> bool:
    if all(agreed(problem, draw) for draw in range(LOOKS)):
        return True
    comparisons = [compared(problem.compare, draw, jitter) for draw, jitter in POINTS]
    if not any(c is not None and c.is_settled for c in comparisons):
        report.findings.append(Finding("unverified", undefined_nearby(problem)))
        return False
    report.errors[level] = next(c.errors for c in comparisons if c and c.is_settled)
    wrong = disagreeing([c for c in comparisons if c is not None])
    if not wrong:
        return True
    has_nan = any(c.has_nan for c in comparisons if c is not None)
    report.findings += diagnosed(problem, wrong, level, has_nan)
    return not report.faults


def undefined_nearby(problem: Problem) -> str:
    """Why differences beside the given point were not to be had."""
    try:
        problem.compare(*POINTS[1])
        why = "gives no finite numbers there"
    except Exception as error:
        why = f"raises {type(error).__name__}: {(str(error).splitlines() or [''])[0].rstrip('.')}"
    return (
        f"The function could not be evaluated at inputs a little beside the given ones, so its second derivative was "
        f"not compared with finite differences: it {why}."
    )


def first_order_notes(problem: Problem, report: Report) -> list[Finding]:
    """Whether backward gives another gradient than forward's: a quick look, then each input alone, at three points."""
    try:
        if problem.is_rounded or problem.gradient_is_derivative():
            return []
        found = [compared(problem.compare_first, draw, jitter) for draw, jitter in POINTS]
        wrong = disagreeing([c for c in found if c is not None], tolerance=1e-3)
        if not wrong or not problem.is_deterministic():
            return []
    except Exception:  # not to be evaluated beside the point: nothing can be said
        return []
    first = next(c for c in found if c)
    report.errors[1] = first.errors
    return [explain.other_gradient(wrong, first)]


def agreed(problem: Problem, draw: int) -> bool:
    """Whether a quick look says yes; where the function is undefined beside the point there is no answer."""
    try:
        return problem.agrees(draw)
    except Exception:
        return False


def compared(compare: Callable[[int, float], Comparison], draw: int, jitter: float) -> Comparison | None:
    """Beside the given point a function may be undefined, and that is no news."""
    try:
        return compare(draw, jitter)
    except Exception:
        return None


def disagreeing(comparisons: list[Comparison], tolerance: float = 1e-4) -> list[str]:
    """Names that are wrong at most of the points: at a kink or a tie the given point alone would say so."""
    found = [set(c.wrong(tolerance)) for c in comparisons if c.is_settled]
    names = comparisons[0].autograd if comparisons else ()
    return [name for name in names if sum(name in one for one in found) * 2 > len(found)]


def diagnosed(problem: Problem, wrong: list[str], level: int, has_nan: bool) -> list[Finding]:
    """Findings for numbers that disagree: per Function what it is, or what is known about it as a whole."""
    if not problem.is_deterministic():
        return [
            Finding("unverified", "Two runs at one point give different gradients, also from the same random seed.")
        ]
    guarded = [call for call in problem.calls if call.is_guarded]
    findings = [guard_finding(problem, guarded, level)] if guarded else []
    examined = [examined_call(problem, call) for call in distinct(problem.calls) if not call.is_guarded]
    for examiner, found in examined:
        findings += explain.findings_of(examiner, found, level)
    if findings:
        return findings
    followed = all(found is not None and found.is_complete for _, found in examined)
    tolerance = 1e-5 if examined and followed and problem.bits == 64 else 1e-3
    if not has_nan and not problem.gradient_is_derivative(tolerance):
        return [explain.as_written(problem, wrong)]
    return [explain.unexplained(problem, wrong, level, [found for _, found in examined], has_nan)]


def distinct(calls: list[Call]) -> list[Call]:
    """One call of each Function, the first, unless a later one takes other kinds of arguments."""
    kinds: dict[Any, Call] = {}
    for call in calls:
        kinds.setdefault((call.cls, call.differentiated, len(call.args)), call)
    return [call for call in kinds.values() if call.incoming is not None]


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
