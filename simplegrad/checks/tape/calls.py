"""A hand-written entry alone: its propagate called with a gradient for one output, beside the truth of its forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...engine import Variable
from ..causes.examined import Examined, minus
from ..measure.numbers import Tolerance, tolerance
from .case import PLAIN, Case, HandEntry, Operation, Run
from .climb import Gradients, constants, differences, draws, step_of, torch_grad
from .forward import Forward, Use, uses_of


@dataclass
class Call:
    """One call of an entry's propagate with a gradient for one output and zeros for the others, at one point."""

    run: Run
    entry: HandEntry
    returned: list[torch.Tensor | None]
    variables: list[Variable | None]
    truth: Gradients
    uses: list[Use]
    operations: list[Operation]
    weight: torch.Tensor
    forward: Forward


class TapeExamined(Examined):
    """An entry's output slot."""

    word = "propagate"

    def __init__(self, case: Case, place_: int, slot: int) -> None:
        self.case, self.place, self.slot = case, place_, slot
        self.calls: list[Call] = []

    @property
    def entry(self) -> HandEntry:
        return self.calls[0].entry

    @property
    def limit(self) -> Tolerance:
        return Tolerance(1e-6, 1e-14) if self.case.bits == 64 else tolerance(self.case.bits, True)

    @property
    def names(self) -> list[str]:
        return self.entry.names[0]

    @property
    def output(self) -> str:
        return self.entry.names[1][self.slot]

    @property
    def outputs(self) -> int:
        return len(self.entry.outputs)

    @property
    def text(self) -> str:
        return self.entry.text

    @property
    def lists_twice(self) -> bool:
        return len({x.key for x in self.entry.inputs}) < len(self.entry.inputs)

    @property
    def is_an_output(self) -> str:
        return f"{self.output} is declared as an output"

    def gradient_of(self, name: str) -> str:
        return f"dL_d{name}"

    def added_to(self, name: str) -> str:
        return f"# a sketch\ndL_d{name} = add_optional(dL_d{name}, ...)  # add what comes back along that use"

    def pass_on(self, name: str, gradient: str) -> str:
        return f"# a sketch\nadd_optional({gradient}, ...)  # pass it on to everything that {name} was computed from"

    def all_returned(self) -> str:
        each = ", ".join(map(self.gradient_of, self.names))
        return f"# a sketch\nreturn [{each}]  # in the order of the entry's inputs"


# --- calling an entry alone ------------------------------------------------------------------------------------------


def called(case: Case, place_: int, slot: int, point: int, others: str = "zeros") -> Call | None:
    """Forward once more, and one call of propagate. None where the run has no such entry, or forward no truth."""
    case.watch.copies = True
    with Forward(case.watch) as forward:
        run = case.run(case.values(point), traced=True)
    case.watch.copies = False
    if place_ >= len(run.entries):
        return None
    entry = run.entries[place_]
    with case.recording():
        weight = draws([entry.outputs[slot].shape], 31 + point, run.leaves[0])[0]
        incoming = incoming_of(run, entry, slot, weight, others)
        variables, operations = propagated(run, entry, incoming)
        loss = (entry.outputs[slot].value * weight).sum()
        inputs = tensors_of(run, entry)
        if case.mode == PLAIN:
            truth, uses = plain_truth(case, run, place_, slot, point, weight), []
        else:
            truth = partials_of(run, entry, loss, inputs)
            uses = uses_of(forward.done, loss, inputs) if loss.requires_grad else []
    returned = [v.value.detach() if isinstance(v, Variable) else v for v in variables]
    return Call(run, entry, returned, variables, truth, uses, operations, weight, forward)


def incoming_of(run: Run, entry: HandEntry, slot: int, weight: torch.Tensor, others: str) -> list[Variable | None]:
    incoming: list[Variable | None] = []
    for k, y in enumerate(entry.outputs):
        if k == slot:
            incoming += constants(run, [weight], "w")
        else:
            incoming += constants(run, [torch.zeros_like(y.value).detach()], "zeros") if others == "zeros" else [None]
    return incoming


def propagated(run: Run, entry: HandEntry, incoming: list) -> tuple[list, list[Operation]]:
    """What propagate returns, and the operations that it recorded."""
    before = len(run.probe.operations)
    with run.tape:
        found = entry.propagate(list(incoming))
    found = list(found) if isinstance(found, list | tuple) else [found]
    return found, run.probe.operations[before:]


def tensors_of(run: Run, entry: HandEntry) -> list[torch.Tensor]:
    """The tensors that stand for the entry's inputs in torch's graph."""
    leaves = {x.key: leaf for x, leaf in zip(run.wanted, run.leaves)}
    return [leaves.get(x.key, x.value) for x in entry.inputs]


def partials_of(run: Run, entry: HandEntry, loss: torch.Tensor, inputs: Sequence[torch.Tensor]) -> Gradients:
    """The gradient by each input alone. An input that was computed from another one takes its part out of that
    one's; of a Variable that is listed twice, the first slot has it all."""
    found: Gradients = [None] * len(inputs)
    seen: set = set()
    order = sorted(range(len(inputs)), key=lambda i: -run.probe.produced.get(entry.inputs[i].key, -1))
    for i in order:
        if entry.inputs[i].key in seen or not inputs[i].requires_grad:
            continue
        seen.add(entry.inputs[i].key)
        (total,) = torch_grad(loss, [inputs[i]], create_graph=False)
        for j in order[: order.index(i)]:
            if found[j] is not None and inputs[j] is not inputs[i] and inputs[j].requires_grad:
                (through,) = torch_grad((inputs[j] * found[j]).sum(), [inputs[i]], create_graph=False)
                total = minus(total, through)
        found[i] = total
    return found


def plain_truth(case: Case, run: Run, place_: int, slot: int, point: int, weight: torch.Tensor) -> Gradients:
    """By differences, for the entry's inputs that are inputs of the target."""

    def loss_at(moved: Sequence[torch.Tensor]) -> float:
        return float((case.run(moved).entries[place_].outputs[slot].value * weight).sum())

    by_key = dict(zip((x.key for x in run.wanted), differences(loss_at, case.values(point), step_of(case))))
    return [by_key.get(x.key) for x in run.entries[place_].inputs]


def examine(case: Case, place_: int, slot: int) -> TapeExamined | None:
    """Call it at three points; None where it cannot be called, or has no truth."""
    examined = TapeExamined(case, place_, slot)
    for point in (0, 1, 2):
        try:
            call = called(case, place_, slot, point)
        except Exception:  # it raises, which is told elsewhere
            call = None
        if call is not None and any(t is not None for t in call.truth):
            examined.calls.append(call)
    return examined if examined.calls else None
