"""A PyTorch function opened for a check: whether it runs as it is given, and then in double precision, if it can."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from ...quiet import muted
from ...torch_bridge.calls import Call
from ...torch_private import is_compiled, operator_called, tree_flatten
from ..causes.overwritten import overwritten
from ..causes.raises import heading_of, raised
from ..clauses.given import nonfinite, of_call
from ..report import BROKEN, HOLDS, NOT_TRIED, Finding, Report
from ..runs.alike import State, is_freed
from ..runs.chance import surely
from ..words import said_by
from .alone import outer_steps
from .problem import HALF, NothingToDifferentiate, Problem, everything_around, parameters_of
from .widened import Pretended, Widened, casts_down


@contextlib.contextmanager
def undisturbed(fn: Callable, inputs: Any) -> Iterator[None]:
    """With gradients on and no warnings; what `fn` changes, reached by arguments, closures or globals, is put back."""
    with muted(), torch.inference_mode(False), torch.enable_grad():
        kept = everything_around(fn, inputs)
        with surely(lambda: kept.restore(thorough=True)):
            yield


def refuse_compiled(fn: Any) -> None:
    """Compiled code splits the recorded graph; what is found in it would be about the compiler's code."""
    owner = getattr(fn, "__self__", None)
    if any(is_compiled(x) for x in (fn, owner) if x is not None):
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


def run_as_given(fn: Callable, inputs: tuple[Any, ...], report: Report) -> Problem | None:
    """Clause 1: whether forward and backward run at the inputs as they are, and finite gradients come out."""
    given = Problem(fn, inputs, 32)
    try:
        given.probe()
        around = State([], [step for call in given.calls for step in outer_steps(call)])
        is_lost = given.state.found_freed or around.found_freed or any(map(is_freed, given.values))
        freed = _freeing(given.calls) or is_lost and report.name
    except NothingToDifferentiate as reason:
        report.tell(1, NOT_TRIED, "there is nothing to differentiate")
        report.findings.append(Finding("unverified", f"{reason}; there is no gradient to differentiate again."))
        return None
    except Exception as error:  # whatever a user's forward or backward raises is what is reported
        if "incompatible with .grad()" in str(error):  # a reentrant checkpoint: only `.backward()` gets through it
            report.tell(1, NOT_TRIED, "torch.autograd.grad is refused")
            report.findings.append(Finding("unverified", said_by(error)))
            return None
        told = overwritten(given, raised(error, report.name, 1, given.calls, given.is_forward))
        if told.read_at is None and given.is_forward:  # not even entered: the arguments do not fit
            told = replace(told, read_at=heading_of(fn))
        report.findings.append(told)
        report.tell(1, BROKEN, "it raises")
        return None
    finally:
        given.state.restore(thorough=True)
    if freed:
        report.tell(1, NOT_TRIED, f"{freed} gives memory back that it does not own")
        report.findings.append(Finding("unverified", FREES.format(name=freed), entry=freed))
        return None
    found = nonfinite([of_call(call) for call in given.calls if call.incoming is not None])
    report.findings += found
    report.tell(1, BROKEN if found else HOLDS, "" if found else as_given(inputs))
    return given


FREES = (
    "{name} gives back the memory of a tensor that is not its own (its storage has no bytes left), and nothing is left "
    "to read where numbers would be compared. Check it with that left out."
)


def _freeing(calls: list[Call]) -> str:
    """The Function after whose run an argument, or a gradient, has no memory."""
    for call in calls:
        came = tree_flatten([list(call.args), list(call.outputs), call.incoming, call.returned])[0]
        if any(isinstance(x, torch.Tensor) and is_freed(x) for x in came):
            return call.name
    return ""


def as_given(inputs: tuple[Any, ...]) -> str:
    """Where, and in which of the modes that there are."""
    tensors = [x for x in tree_flatten(inputs)[0] if isinstance(x, torch.Tensor)]
    devices = dict.fromkeys(x.device.type for x in tensors) or ["cpu"]
    cast = any(torch.is_autocast_enabled(device) for device in devices)
    return f"on {' and '.join(devices)}, {'under the autocast that is on' if cast else 'not under autocast'}"


def opened(fn: Callable, inputs: tuple[Any, ...], report: Report, given: Problem | None = None) -> Problem | None:
    """The function run once, in double precision or else as it is; None where there is nothing to go on with.

    `given`: as it was run already, which is enough where all of it is in double precision.
    """
    failure: tuple | None = None
    for bits, precision in ways_of_running(inputs):
        if given is not None and given.is_double:
            problem = given
            problem.bits = 64
        else:
            problem = Problem(fn, inputs, bits)
        problem.precision = precision
        try:
            with problem.precision():
                if problem is not given:
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
    told = raised(*failure)
    if told.read_at is None and failure[-1]:  # not even entered: the arguments do not fit
        told = replace(told, read_at=heading_of(fn))
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
