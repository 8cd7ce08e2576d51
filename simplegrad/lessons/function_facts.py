"""What can be said of an answer that is a torch.autograd.Function: what it gives in two passes, and what it calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from ..checks.check import check
from ..language import Program
from ..language.limits import Guard, watched_by
from ..torch_private import outputs_of
from ..trace.trace import Trace
from .course import Exercise
from .facts import LIMITS, Facts, line_of, parsed, same, weights


def of_function(asked: Exercise, text: str) -> Facts:
    """Raises ProgramError, RunError, LimitError for a text that does not come so far; KeyError without its function."""
    program = Program.parse(text)
    guard = Guard(LIMITS)
    with watched_by(guard):
        function = program.defined(LIMITS)[asked.target].function
        reference = parsed(asked.reference).defined(LIMITS)["reference"].function
        inputs = [torch.tensor(each) for each in asked.inputs]
        found = twice(function, reference, inputs)
        found.trace = recorded(function, inputs)
        found.report = check(function, *map(wanted, inputs), order=asked.order)
        guard.time()
    codes = [each.code for each in found.report.findings]
    return found.with_facts(verdict=str(found.report.verdict), codes=codes)


def wanted(x: torch.Tensor) -> torch.Tensor:
    return x.clone().requires_grad_()


def twice(function: Callable, reference: Callable, inputs: Sequence[torch.Tensor]) -> Facts:
    """A first and a second derivative, beside the reference's."""
    machine = function.__globals__["_machine"]
    found = Facts(
        {"error": "", "first": False, "second": False, "outputs": 0, "single": False, "again": False, "value": True}
    )
    found.said |= {"classes": len(machine.classes), "calls": []}
    forward, backward = [], []
    xs = [wanted(x) for x in inputs]
    try:
        with seen_by(machine, forward):
            y = function(*xs)
        found.said["single"] = isinstance(y, torch.Tensor)
        y = y if found.said["single"] else y[0]
        found.said["outputs"] = y.grad_fn is not None and len(outputs_of(y.grad_fn))
        g = weights(y.shape, 0.6).requires_grad_()
        found.given = {"x": inputs[0], "g": g.detach(), "r": y.detach()}
        with seen_by(machine, backward):
            first = torch.autograd.grad((y * g).sum(), xs, create_graph=True, allow_unused=True)
        found.gradients = {"x": first[0] if first[0] is None else first[0].detach()}
        second = differentiated(first, [*xs, g])
    except Exception as error:  # whatever an answer does: it is a fact about it
        found.said["error"], found.message, found.line = type(error).__name__, str(error), line_of(error)
        return found.with_facts(calls=sorted({call for call, _ in (*forward, *backward)}))
    right = reference(*(others := [wanted(x) for x in inputs]))
    w = weights(right.shape, 0.6).requires_grad_()
    value = same(y.detach(), right.detach())
    right = torch.autograd.grad((right * w).sum(), others, create_graph=True)
    return found.with_facts(
        value=value,
        first=all(map(same, first, right)),
        second=all(map(same, second, differentiated(right, [*others, w]))),
        calls=sorted({call for call, _ in (*forward, *backward)}),
        again=any(call == before and same(made, there) for call, made in backward for before, there in forward),
    )


def differentiated(first: Sequence[torch.Tensor | None], leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The gradients of the sum of these, zeros where nothing comes."""
    parts = [(d * weights(d.shape, 0.9)).sum() for d in first if d is not None and d.requires_grad]
    if not parts:
        return [torch.zeros_like(x) for x in leaves]
    given = torch.autograd.grad(sum(parts), leaves, allow_unused=True)
    return [torch.zeros_like(x) if d is None else d for x, d in zip(leaves, given)]


@contextmanager
def seen_by(machine, calls: list) -> Iterator[None]:
    """What the program calls on raw tensors meanwhile, and what each call gives."""
    machine.seen = calls
    try:
        yield
    finally:
        machine.seen = None


def recorded(function: Callable, inputs: Sequence[torch.Tensor]) -> Trace | None:
    """Both passes as a trace of PyTorch, for a step that shows what is said."""
    from ..torch_bridge.record import record_torch  # it loads torch.autograd's insides

    trace = Trace()
    try:
        with record_torch("full") as trace:
            x = wanted(inputs[0])
            w = torch.ones_like(x).requires_grad_()
            y = function(x)
            y = y if isinstance(y, torch.Tensor) else y[0]
            L0 = (y * w).sum()
            (dx,) = torch.autograd.grad(L0, [x], create_graph=True, allow_unused=True)
            if dx is not None and dx.requires_grad:
                L1 = dx.sum()
                torch.autograd.grad(L1, [x, w], allow_unused=True)
    except Exception:  # it is told as a fact: see `twice`
        pass
    trace.kind = "torch"
    return trace if len(trace) else None
