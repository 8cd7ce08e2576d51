"""Why a first gradient is wrong: each hand-written entry alone, one output at a time, against its own forward.

The difference between truth and what propagate returned is looked for among the contributions of forward's uses: one
that is missing, one that came twice, one with a wrong factor. Returned gradients that fit other slots are in the wrong
order. Values that were changed after they were captured are put back, to see whether that repairs it.
"""

from __future__ import annotations

import torch

from ...engine import Variable
from ...torch_private import changes
from ..measure.numbers import same, size
from ..report import Finding
from ..source import place
from ..tape.calls import TapeExamined, examine, incoming_of, propagated, tensors_of
from ..tape.case import PLAIN, Case, HandEntry, Run
from ..tape.climb import torch_grad
from ..tape.lines import TapePlaces, read_line
from ..tape.naming import name_of
from .contributions import missing_or_double, scaled_use, wrong_partial
from .examined import SMALL, Examined, minus


def explained_partials(case: Case, run: Run, answer, only_order: bool = False) -> list[Finding]:
    """Findings on the first gradient of each hand-written entry, one rule after the other; the first that fits."""
    found: list[Finding] = []
    for y in run.probe.twice[:1]:
        found.append(produced_twice(run, y))
    for place_, entry in enumerate(run.entries):
        for slot, y in enumerate(entry.outputs):
            if not found and y.value.is_floating_point():
                examined = examine(case, place_, slot)
                if examined is not None:
                    examined.places = TapePlaces(examined)
                    found += ordered(examined) if only_order else explained(examined)
    return found


def explained(examined: TapeExamined) -> list[Finding]:
    if any(len(call.returned) != len(call.entry.inputs) for call in examined.calls):
        return []
    merge_repeated_inputs(examined)
    unlisted = unlisted_inputs(examined)
    if not examined.wrong:
        return unlisted
    for rule in (mutated, ignored, ordered, missing_or_double, scaled_use):
        found = rule(examined)
        if found:
            return found
    return [wrong_partial(examined, i) for i in examined.wrong]


def merge_repeated_inputs(examined: TapeExamined) -> None:
    """A Variable that stands twice among the inputs gets the sum of both slots: hold that against the truth."""
    for call in examined.calls:
        first: dict = {}
        for i, x in enumerate(call.entry.inputs):
            j = first.setdefault(x.key, i)
            if j != i and call.returned[i] is not None:
                call.returned[j] = call.returned[i] if call.returned[j] is None else call.returned[j] + call.returned[i]
                call.returned[i] = None


def produced_twice(run: Run, y: Variable) -> Finding:
    with run.tape:
        name = y.name
    makers = [e for e in run.entries if any(o.key == y.key for o in e.outputs)]
    at = next((e.appended_at for e in makers if e.appended_from), None)
    return Finding(
        "double_counted",
        f"Two entries have the output {name}: each passes its whole gradient on, and the inputs get it twice.",
        entry=makers[0].text if makers else "",
        slot=name,
        read_at=at,
        order=1,
        fix="# record forward on raw tensors (x.value) inside the aggregate, or leave out the hand-written entry",
    )


def unlisted_inputs(examined: TapeExamined) -> list[Finding]:
    """Inputs of the target that the output depends on, though not through any input of the entry."""
    call, case = examined.calls[-1], examined.case
    if case.mode == PLAIN:
        return []
    loss = (call.entry.outputs[examined.slot].value * call.weight).sum()
    with case.recording():
        whole = torch_grad(loss, call.run.leaves, create_graph=False)
        listed = [(x * g).sum() for x, g in zip(tensors_of(call.run, call.entry), call.truth) if g is not None]
        told = torch_grad(sum(listed), call.run.leaves, create_graph=False) if listed else [None] * len(whole)
    found = []
    for name, all_, part in zip(case.names, whole, told):
        if not same(all_, part, examined.limit.of(whole)):
            found.append(unlisted_finding(call.entry, name, minus(all_, part)))
    return found


def unlisted_finding(entry: HandEntry, name: str, lost: torch.Tensor) -> Finding:
    return Finding(
        "missing_use",
        f"{entry.names[1][0]} depends on {name}, but the entry does not list {name} among its inputs: its contribution "
        f"is missing.",
        entry=entry.text,
        slot=name,
        read_at=entry.appended_at,
        order=1,
        dropped={name: lost.detach()},
        fix=f"inputs=[{', '.join(f'{x}.name' for x in [*entry.names[0], name])}]  # and return its gradient there",
    )


def mutated(examined: TapeExamined) -> list[Finding]:
    """A Variable whose tensor changed in place after it was made: with its first value put back, is it right?"""
    call = examined.calls[-1]
    changed = [m for m in call.run.made.values() if changes(m.variable._value) != m.version and m.value is not None]
    changed = [m for m in changed if not m.in_pass]
    if not changed:
        return []
    kept = [(m, m.variable._value) for m in changed]
    for m in changed:
        m.variable._value = m.value
    try:
        incoming = incoming_of(call.run, call.entry, examined.slot, call.weight, "zeros")
        again, _ = propagated(call.run, call.entry, incoming)
        values = [v.value.detach() if isinstance(v, Variable) else None for v in again]
    except Exception:
        return []
    finally:
        for m, value in kept:
            m.variable._value = value
    if not all(same(v, t, examined.limit.of(call.truth)) for v, t in zip(values, call.truth, strict=True)):
        return []
    return [mutated_finding(examined, m) for m in changed]


def mutated_finding(examined: TapeExamined, made) -> Finding:
    call = examined.calls[-1]
    mutation = call.forward.mutations.get(id(made.variable))
    at = place(*mutation.at) if mutation and mutation.at else None
    name = name_of(call.run, made.variable)
    return Finding(
        "captured_value_mutated",
        f"{name} is captured for propagate and then changed in place{f' at {at}' if at else ''}: propagate reads the "
        f"changed value. With the value that it had at first, the gradients are right.",
        entry=call.entry.text,
        slot=name,
        made_at=at or made.at,
        read_at=read_line(call, made.variable),
        order=1,
        fix=f"{name} = Variable(tensor.clone())  # or change nothing in place: no out=, no trailing underscore, no +=",
    )


def ignored(examined: Examined) -> list[Finding]:
    """An output whose incoming gradient changes nothing, though forward says that it must."""
    if examined.outputs < 2 or not all(size(call.returned) <= SMALL for call in examined.calls):
        return []
    name, gradient = examined.output, examined.gradient_of(examined.output)
    return [
        Finding(
            "ignored_output_gradient",
            f"{examined.is_an_output}, but {examined.word} does nothing with its incoming gradient: what reaches "
            f"{name} goes nowhere.",
            entry=examined.text,
            slot=name,
            made_at=examined.places.output(),
            read_at=examined.places.unpacked(),
            order=1,
            fix=examined.pass_on(name, gradient),
        )
    ]


def ordered(examined: Examined) -> list[Finding]:
    """Returned gradients that are those of other slots."""
    names, calls = examined.names, examined.calls
    n = len(names)
    if n < 2 or any(len(call.returned) != n for call in calls):
        return []

    def fits(i: int, j: int) -> bool:
        return all(same(c.returned[j], c.truth[i], examined.limit.of(c.truth)) for c in calls)

    order: list[int] = []
    for i in range(n):
        free = [j for j in range(n) if j not in order and fits(i, j)]
        if not free:
            return []
        order.append(i if i in free else free[0])
    if order == list(range(n)):
        return []
    swapped = [names[i] for i in range(n) if order[i] != i]
    return [
        Finding(
            "wrong_order",
            f"{examined.word} returns the right gradients in wrong slots: those of {' and '.join(swapped)} are "
            f"exchanged.",
            entry=examined.text,
            slot=swapped[0],
            read_at=examined.places.returned(),
            order=1,
            fix=examined.all_returned(),
        )
    ]
