"""Lines of propagate: where a wrong gradient was computed, found by walking back past all that is right."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...engine import Variable
from ..measure.numbers import same
from ..report import Place
from ..runs.watch import is_ours
from ..source import line_reading, place
from .calls import Call, TapeExamined
from .case import HandEntry, Operation
from .forward import Use


def unpacked_at(entry: HandEntry) -> Place | None:
    """The line of propagate that takes its argument apart: where the incoming gradient is left lying."""
    code = entry.code
    if code is None or not code.co_varnames:
        return None
    return place(code.co_filename, line_reading(code, code.co_varnames[0]) or code.co_firstlineno)


def read_line(call: Call, variable: Variable) -> Place | None:
    for operation in call.operations:
        if any(x is variable for x in operation.inputs):
            return line_of(call, operation)
    return None


def made_place(examined: TapeExamined) -> Place | None:
    """Where the output was made."""
    call = examined.calls[0]
    made = call.run.made.get(id(call.entry.outputs[examined.slot]))
    return made and made.at


def line_of(call: Call, operation: Operation) -> Place | None:
    entries = call.run.trace.entries
    source = entries[operation.index].source if operation.index < len(entries) else None
    return place(*source) if source and not is_ours(source[0]) else None


def computed_at(examined: TapeExamined, i: int) -> Place | None:
    """The line of propagate that computed a wrong gradient: back from what it returned, past what is right."""
    call = examined.calls[0]
    maker = {y.key: operation for operation in call.operations for y in operation.outputs}
    variable = call.variables[i] if i < len(call.variables) else None
    operation = maker.get(variable.key) if isinstance(variable, Variable) else None
    if operation is None or operation.index in rightly_used(examined, call):  # right, but not here
        return call.entry.returned_at
    right = right_values(call)
    while True:
        doubtful = [x for x in operation.inputs if x.key in maker and not is_right(x.value.detach(), right)]
        if len({x.key for x in doubtful}) != 1:
            break
        operation = maker[doubtful[0].key]
    return line_of(call, operation) or call.entry.returned_at


def rightly_used(examined: TapeExamined, call: Call) -> set[int]:
    """Operations that a right gradient was computed by: none of them can be wrong."""
    maker = {y.key: operation for operation in call.operations for y in operation.outputs}
    left = [v for i, v in enumerate(call.variables) if i not in examined.wrong and isinstance(v, Variable)]
    found: set[int] = set()
    while left:
        operation = maker.get(left.pop().key)
        if operation is not None and operation.index not in found:
            found.add(operation.index)
            left += operation.inputs
    return found


def right_values(call: Call) -> list[torch.Tensor]:
    """What may rightly turn up in propagate: values of forward, what comes back along its uses, true gradients."""
    found = [call.weight, *(done.result for done in call.forward.done), *(use.flow for use in call.uses)]
    found += [g for use in call.uses for g in use.parts if g is not None]
    found += [g for g in call.truth if g is not None]
    return [x.detach() for x in found]


def is_right(value: torch.Tensor, right: Sequence[torch.Tensor]) -> bool:
    """Whether it is one of these, up to a constant factor."""
    value = value.flatten()
    for x in right:
        x = x.flatten()
        if x.shape == value.shape and x.numel() > 1 and bool(x.any()):
            ratio = (value * x).sum() / (x * x).sum()
            if bool(((value - ratio * x).abs() <= 1e-9 * value.abs().max() + 1e-12).all()):
                return True
    return False


def contribution_line(examined: TapeExamined, use: Use, factor: float, i: int) -> Place | None:
    """The line that computed the contribution with its wrong factor, if it stands alone somewhere."""
    call = examined.calls[0]
    right = rightly_used(examined, call)
    for wanted in (use.flow, use.parts[i]):
        for operation in [each for each in call.operations if each.index not in right]:
            value = operation.outputs[0].value.detach()
            if wanted is not None and same(value, wanted.detach() * factor, examined.limit.of(call.truth)):
                return line_of(call, operation)
    return None


class TapePlaces:
    """Where in the source of an entry's propagate things are."""

    def __init__(self, examined: TapeExamined) -> None:
        self.examined = examined

    def returned(self) -> Place | None:
        return self.examined.entry.returned_at

    def output(self) -> Place | None:
        return made_place(self.examined)

    def unpacked(self) -> Place | None:
        return unpacked_at(self.examined.entry)

    def computed(self, i: int) -> Place | None:
        return computed_at(self.examined, i)

    def contribution(self, use: Use, factor: float, i: int) -> Place | None:
        return contribution_line(self.examined, use, factor, i)

    def adds_equals(self, limit: float) -> bool:
        operations = self.examined.calls[0].operations
        return any(is_addition(op) and op_adds_equals(op, limit) for op in operations)


def is_addition(operation: Operation) -> bool:
    if len(operation.inputs) != 2:
        return False
    a, b = (x.value.detach() for x in operation.inputs)
    if a.shape != b.shape:
        return False
    return torch.equal(a + b, operation.outputs[0].value.detach())


def op_adds_equals(operation: Operation, limit: float) -> bool:
    a, b = (x.value.detach() for x in operation.inputs)
    return bool(((a - b).abs() <= limit).all())
