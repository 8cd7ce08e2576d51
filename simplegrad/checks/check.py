"""`check`: is a hand-written backward right, at every order asked for, and if not, what is to blame?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..aggregates import Aggregate, name_of, registry
from ..comparison.equal import difference
from ..engine import Variable
from ..torch_private import CHECK, needs
from ..trace.nonfinite import kind_of_tensor
from .alike import random_state_kept
from .blame import explained
from .case import PLAIN, Case, NotAVariable, labels_of, quiet_random
from .causes.contract import changed_inputs, named
from .clauses.on_tape import first_clauses, other_clauses
from .climb import climb
from .notes import coverage_of, notes_of
from .numbers import largest
from .raised import first_line, raised_at
from .report import BROKEN, Finding, Report, what_is
from .source import code_of, place, return_line
from .steady import steady_findings
from .survey import Answer, Truth, chosen_truth, patterns_said, settled, survey


def check(
    target: Callable | Aggregate | str,
    *inputs: Any,
    order: int = 2,
    reference: Callable | None = None,
    surrogate: bool = False,
) -> Report:
    """Whether the gradients of `target` are right at `inputs`, up to this order; if not, why, and where.

    `target`: a registered aggregate, its name, or a function of Variables that returns one or several. `inputs`: its
    arguments; floating tensors (for an aggregate) and Variables are differentiated, in float64, and passed as
    Variables; everything else is passed as it is. Without inputs, the example of a registered aggregate. `reference`:
    the same mathematics as recorded operations, or the name of an aggregate; without one, and where the aggregate was
    registered without one, torch autograd through its own forward is the truth, or else finite differences.

    A function given only tensors is a PyTorch function: every `torch.autograd.Function` in it is judged alone, and the
    whole. `surrogate`: the gradients of its Functions are not meant to be the derivatives of their forwards, as
    those of a straight-through estimator are not; then the derivative of backward is judged as backward is written.

    Raises TypeError and ValueError for arguments that it cannot use. What the target raises is a finding.
    """
    target, inputs = resolved(target, inputs, order)
    refuse_nan(target, inputs)
    if is_torch_function(target, inputs):
        if reference is not None and not callable(reference):
            raise TypeError(
                f"check({called(target)}, reference=…): expected a function of tensors, got {what_is(reference)}."
            )
        from .functions import check_function  # it loads the insides of torch.autograd

        return check_function(target, inputs, order=order, reference=reference, surrogate=surrogate)
    if surrogate:
        raise TypeError(
            f"check({called(target)}, surrogate=True): only of a torch.autograd.Function can it be declared that its "
            f"gradient is not meant to be forward's derivative. Leave it out."
        )
    needs(CHECK)
    with random_state_kept(), torch.inference_mode(False), torch.enable_grad():
        return check_on_tape(case_of(target, inputs), reference_of(target, reference), order)


def check_on_tape(case: Case, reference: Callable | None, order: int) -> Report:
    """The check of a function of Variables."""
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
    with case.environment(), quiet_random():
        examine(case, truth, report, order)
    return report


def examine(case: Case, truth: Truth, report: Report, order: int) -> None:
    """Ask all questions; explain what is wrong, or note what could be cheaper."""
    first = case.run(case.values(0))
    report.patterns = patterns_said(first)
    report.findings += changed_inputs(case)
    report.findings += steady_findings(case)
    if report.unverified:
        return
    first_clauses(case, report)
    answers = settled(case, truth, list(survey(case, truth, order)))
    report.errors = errors_of(answers)
    wrong = [answer for answer in answers if not answer.ok]
    if wrong:
        found = explained(case, truth, answers, order)
        told = bool(report.faults)
        causes = named(case, truth, found.findings, any(each.code == "not_linear" for each in report.findings))
        report.findings += [each for each in causes if not (told and each.code == "unexplained")]
        report.trace = found.trace
    other_clauses(case, report, answers, order)
    report.findings += notes_of(case, [] if not wrong else report.findings)
    if report.trace is None:
        report.trace = traced(case, order)
    report.coverage = coverage_of(case)


def errors_of(answers: Sequence[Answer]) -> dict[int, dict[str, float]]:
    """The largest error per order and input, over all questions."""
    found: dict[int, dict[str, float]] = {}
    for answer in answers:
        for level, errors in answer.errors.items():
            row = found.setdefault(level, dict.fromkeys(errors, 0.0))
            for name, error in errors.items():
                row[name] = max(row[name], error)
    return found


def traced(case: Case, order: int):
    """A trace of the whole climb at the given inputs."""
    run = case.run(case.values(0), traced=True)
    climb(case, run, [y for y in run.outputs if y.value.is_floating_point()], 11, order)
    return run.trace


# --- arguments -----------------------------------------------------------------------------------------------------


def resolved(target: Any, inputs: tuple, order: Any) -> tuple[Callable, tuple]:
    """The target as a callable, with inputs: its example, if none were given."""
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ValueError(f"check(order={order!r}): expected a whole number, 1 or more.")
    if isinstance(target, str):
        if target not in registry:
            raise ValueError(f"check({target!r}): no aggregate of that name is registered; there are {list(registry)}.")
        target = registry[target]
    if isinstance(target, type) and issubclass(target, torch.autograd.Function):
        target = target.apply  # the class itself, called, would only be told apart by a warning of torch's
    if not callable(target):
        raise TypeError(f"check: the target is {what_is(target)}; expected an aggregate, its name or a function.")
    if not inputs and getattr(target, "example", None) is not None:
        inputs = target.example()
        inputs = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    if not inputs:
        name = called(target)
        raise ValueError(f"check({name}): no inputs. Give the values to try it on: check({name}, a, b).")
    return target, inputs


def is_torch_function(target: Any, inputs: tuple) -> bool:
    """A module, an autograd.Function's apply, or a function (not an aggregate) that is given tensors alone."""
    owner = getattr(target, "__self__", None)
    if isinstance(target, torch.nn.Module) or (isinstance(owner, type) and issubclass(owner, torch.autograd.Function)):
        return True
    if isinstance(target, Aggregate) or any(isinstance(x, Variable) for x in inputs):
        return False
    return any(isinstance(x, torch.Tensor) for x in inputs)


def case_of(target: Callable, inputs: tuple) -> Case:
    kinds = [kind_of(x) for x in inputs]
    name = called(target)
    for x in inputs:
        if isinstance(x, Variable | torch.Tensor) and (x.value if isinstance(x, Variable) else x).is_complex():
            raise TypeError(f"check({name}): complex inputs are not supported; give real and imaginary part.")
    if "wanted" not in kinds:
        given = ", ".join(what_is(x) for x in inputs)
        raise ValueError(
            f"check({name}): nothing to differentiate by among its inputs ({given}). Give floating tensors."
        )
    return Case(target, list(inputs), kinds, name, labels_of(target, inputs))


def called(target: Any) -> str:
    """What to call a target in a message: `Sinh` for `Sinh.apply`."""
    owner = getattr(target, "__self__", None)
    return owner.__name__ if isinstance(owner, type) else name_of(target)


def refuse_nan(target: Any, inputs: tuple) -> None:
    """No gradient can be compared with another where an input is not a number."""
    for slot, x in enumerate(inputs):
        value = x.value if isinstance(x, Variable) else x
        has_numbers = isinstance(value, torch.Tensor) and not value.is_meta and value.layout is torch.strided
        if has_numbers and kind_of_tensor(value) == "nan":
            raise ValueError(
                f"check({called(target)}): input {slot} holds nan, where no gradient can be compared. Give numbers."
            )


def kind_of(x: Any) -> str:
    if isinstance(x, Variable):
        return "wanted" if x.value.is_floating_point() else "held"
    if isinstance(x, torch.Tensor):
        return "wanted" if x.is_floating_point() else "held"
    return "plain"


def reference_of(target: Callable, reference: Any) -> Callable | None:
    """The reference as a callable: the one given, else the one that the aggregate was registered with."""
    reference = reference if reference is not None else getattr(target, "reference", None)
    if isinstance(reference, str):
        if reference not in registry:
            raise ValueError(f"check(reference={reference!r}): no aggregate of that name; there are {list(registry)}.")
        reference = registry[reference]
    if reference is not None and not callable(reference):
        raise TypeError(
            f"check(reference=…): expected a function or an aggregate's name, got {type(reference).__name__}."
        )
    return reference


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
    return Finding("raises", f"its forward raises {type(error).__name__}: {first_line(error)}", read_at=at, order=0)


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
    sentence = f"forward does not compute what the reference computes: {how}. Its gradients are held against its own."
    return [Finding("wrong_value", sentence, order=0)]


def referenced(case: Case, truth: Truth, values: list[torch.Tensor]) -> list[Variable]:
    """What the reference computes. Raises ValueError where it cannot be run at all: nothing can be held against it."""
    try:
        return case.run(values, truth.reference).outputs
    except Exception as error:  # whatever somebody's reference raises
        at = raised_at(error)
        where = f" (at {at})" if at else ""
        raise ValueError(
            f"check({case.name}): its reference could not be run: {type(error).__name__}: {first_line(error)}{where}. "
            f"It takes the same inputs as {case.name}, and returns Variables."
        ) from error
