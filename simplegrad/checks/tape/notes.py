"""What is right but worth knowing: operations on zeros, values computed twice, lines that nothing ran."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence

import torch
from torch.overrides import TorchFunctionMode

from ...engine import Variable
from ..report import Finding, Place
from ..source import code_of, lines_of, place
from .case import Case, HandEntry, Operation, Run
from .climb import climb
from .questions import MOST_OUTPUTS, Question


def notes_of(case: Case, faults: Sequence[Finding]) -> list[Finding]:
    """Notes on the hand-written entries of the target. A run that fails has none."""
    try:
        return [*zero_notes(case), *recompute_notes(case)]
    except Exception:  # the same that made the faults
        if faults:
            return []
        raise


# --- zeros made for None ---------------------------------------------------------------------------------------------


def zero_notes(case: Case) -> list[Finding]:
    """Entries whose propagate makes zeros of a None and computes with them: how many operations, per unknown slot."""
    first = case.run(case.values(0))
    counts: dict[int, dict[str, int]] = {}
    lines: dict[int, Place | None] = {}
    for place_, entry in enumerate(first.entries):
        for slot, name in enumerate(entry.names[1]) if 1 < len(entry.outputs) <= MOST_OUTPUTS else ():
            others = tuple(k for k in range(len(entry.outputs)) if k != slot)
            count, at = operations_on_zeros(case, Question(place_, others))
            if count:
                counts.setdefault(place_, {})[name] = count
                lines.setdefault(place_, at)
    return [zero_note(first.entries[place_], each, lines[place_]) for place_, each in counts.items()]


def zero_note(entry: HandEntry, counts: dict[str, int], at: Place | None) -> Finding:
    said = ", ".join(f"{count} operation{'s' * (count > 1)} when dL/d{name} is None" for name, count in counts.items())
    return Finding(
        "zero_materialised",
        f"propagate makes zeros for an incoming gradient of None and computes with them: {said}. Right, but paid for "
        "in every pass.",
        entry=entry.text,
        slot=next(iter(counts)),
        read_at=at,
        fix="if gradient is not None: ...  # branch, and add with add_optional: a None then costs nothing",
    )


def operations_on_zeros(case: Case, question: Question) -> tuple[int, Place | None]:
    """How many operations of this entry's visit read zeros that the visit made, and where the zeros were made."""
    run = case.run(case.values(0))
    entry = run.entries[question.entry]
    index = next(i for i, each in run.probe.by_hand.items() if each is entry)
    climb(case, run, question.outputs(run), 11, 1)
    zeros = {key: x for key, (x, visit) in run.probe.leaves.items() if visit == index and not x.value.any()}
    zeros |= {r.variable.key: r.variable for r in run.probe.readings.values() if made_in(r, index)}
    keys, count = set(zeros), 0
    for operation in run.probe.operations:
        if operation.visit == index and any(x.key in keys for x in operation.inputs):
            count += 1
            keys |= {y.key for y in operation.outputs if not y.value.any()}
    made = next((run.made[id(x)] for x in zeros.values() if id(x) in run.made), None)
    return count, made and made.at


def made_in(reading, index: int) -> bool:
    return reading.visit == index and not reading.variable.value.any() and not reading.variable.value.requires_grad


# --- forward's work done again ---------------------------------------------------------------------------------------


class Computed(TorchFunctionMode):
    """Keeps what torch functions return while forward runs."""

    def __init__(self):
        super().__init__()
        self.results: list[torch.Tensor] = []

    def __torch_function__(self, func: Callable, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not is_view(result, args):
            self.results.append(result)
        return result


def is_view(result: torch.Tensor, args: Sequence) -> bool:
    pointers = [x.data_ptr() for x in args if isinstance(x, torch.Tensor)]
    return result.data_ptr() in pointers


def recompute_notes(case: Case) -> list[Finding]:
    values = case.values(1)
    with Computed() as forward:
        run = case.run(values)
    if not run.entries:
        return []
    climb(case, run, [y for y in run.outputs if y.value.is_floating_point()], 11, 1)
    told: dict[str, Finding] = {}
    for index, entry in run.probe.by_hand.items():
        again = repeated(run, index, entry, forward.results)
        if again and entry.text not in told:
            told[entry.text] = recompute_note(case, entry, again)
    return list(told.values())


def repeated(run: Run, index: int, entry: HandEntry, computed: Sequence[torch.Tensor]) -> list[Operation]:
    """Operations in the visit of an entry that need no incoming gradient, and compute what forward had computed."""
    carries = incoming_keys(run, index)
    found = []
    for operation in run.probe.operations:
        if operation.visit != index:
            continue
        if any(x.key in carries for x in operation.inputs):
            carries |= {y.key for y in operation.outputs}
        elif any(was_computed(y, computed) for y in operation.outputs) and not is_free(operation):
            found.append(operation)
    return found


def incoming_keys(run: Run, index: int) -> set:
    """Keys of what the visit did not compute itself and what depends on weights: gradients that came in."""
    return {y.key for op in run.probe.operations for y in op.outputs if op.index >= run.length and op.visit != index}


def is_free(operation: Operation) -> bool:
    result = operation.outputs[0].value
    return any(x.value.data_ptr() == result.data_ptr() for x in operation.inputs)


def was_computed(y: Variable, computed: Sequence[torch.Tensor]) -> bool:
    value = y.value.detach()
    return any(
        value.shape == old.shape
        and value.numel() > 0
        and old.is_floating_point()
        and torch.allclose(value, old.detach().to(value.dtype), rtol=1e-12, atol=0)
        for old in computed
    )


def recompute_note(case: Case, entry: HandEntry, again: list[Operation]) -> Finding:
    count = len(again)
    return Finding(
        "recomputed",
        f"propagate computes {count} value{'s' * (count > 1)} again that forward had: right, but every pass does that "
        "work.",
        entry=entry.text,
        read_at=line_of(case, again[0].index),
        fix="# make it a Variable in forward, declare it as an output of the entry, and use its incoming gradient",
    )


def line_of(case: Case, index: int) -> Place | None:
    """Where the operation at this place of the tape was recorded, in a run like this one."""
    run = case.run(case.values(1), traced=True)
    climb(case, run, [y for y in run.outputs if y.value.is_floating_point()], 11, 1)
    source = run.trace.entries[index].source if index < len(run.trace.entries) else None
    return place(*source) if source else None


# --- coverage --------------------------------------------------------------------------------------------------------


def coverage_of(case: Case) -> list[Place]:
    """Lines of the propagates seen that no pass and no pattern ran; neighbours in one Place."""
    found = []
    run = case.run(case.values(0))
    roots = {code_of(entry.propagate) for entry in run.entries} - {None}
    for code in roots:
        ran = set().union(*(lines for each, lines in case.watch.lines.items() if within(each, code)))
        left = sorted(lines_of(code) - ran)
        for group in neighbours(left):
            text = "\n".join(linecache.getline(code.co_filename, n).strip("\n") for n in range(group[0], group[-1] + 1))
            found.append(Place(code.co_filename, group[0], group[-1], text))
    return found


def within(inner, outer) -> bool:
    return (
        inner is outer
        or inner in outer.co_consts
        or any(within(inner, c) for c in outer.co_consts if hasattr(c, "co_code"))
    )


def neighbours(lines: Sequence[int]) -> list[list[int]]:
    groups: list[list[int]] = []
    for line in lines:
        if groups and line == groups[-1][-1] + 1:
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups
