"""Why a first gradient is wrong: each hand-written entry alone, one output at a time, against its own forward.

The difference between truth and what propagate returned is looked for among the contributions of forward's uses: one
that is missing, one that came twice, one with a wrong factor. Returned gradients that fit other slots are in the wrong
order. Values that were changed after they were captured are put back, to see whether that repairs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import torch

from ..engine import Variable
from .case import PLAIN, Case, HandEntry, Operation, Run
from .climb import Gradients, Tolerance, constants, differences, draws, size, step_of, tolerance, torch_grad
from .escape import name_of
from .findings import Finding, Place
from .forward import Forward, Use, uses_of
from .source import line_reading, place, return_line
from .watch import is_ours

SMALL = 1e-9


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


@dataclass
class Examined:
    """An entry's output slot, called at several points: `calls` agree in what is wrong."""

    case: Case
    place: int
    slot: int
    calls: list[Call] = field(default_factory=list)

    @property
    def entry(self) -> HandEntry:
        return self.calls[0].entry

    @property
    def limit(self) -> Tolerance:
        return Tolerance(1e-6, 1e-9) if self.case.bits == 64 else tolerance(self.case.bits, True)

    def column(self, pick) -> list[Gradients]:
        return [pick(call) for call in self.calls]

    def fits(self, found: Sequence[Gradients], truth: Sequence[Gradients]) -> bool:
        """Whether gradients are equal in all calls, in all slots."""
        return all(
            same(f, t, self.limit.of(c.truth))
            for fs, ts, c in zip(found, truth, self.calls)
            for f, t in zip(fs, ts, strict=True)
        )

    @property
    def wrong(self) -> list[int]:
        """Slots of inputs whose gradient is wrong in any call."""
        return [
            i
            for i in range(len(self.entry.inputs))
            if any(not same(c.returned[i], c.truth[i], self.limit.of(c.truth)) for c in self.calls)
        ]


def same(found: torch.Tensor | None, truth: torch.Tensor | None, limit: float) -> bool:
    if found is None and truth is None:
        return True
    found = torch.zeros_like(truth) if found is None else found
    truth = torch.zeros_like(found) if truth is None else truth
    return found.shape == truth.shape and bool(((found - truth).abs() <= limit).all())


def minus(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor | None:
    if b is None:
        return a
    return -b if a is None else a - b


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


# --- rules -----------------------------------------------------------------------------------------------------------


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
                    found += ordered(examined) if only_order else explained(examined)
    return found


def examine(case: Case, place_: int, slot: int) -> Examined | None:
    """Call it at three points; None where it cannot be called, or has no truth."""
    examined = Examined(case, place_, slot)
    for point in (0, 1, 2):
        try:
            call = called(case, place_, slot, point)
        except Exception:  # it raises, which is told elsewhere
            call = None
        if call is not None and any(t is not None for t in call.truth):
            examined.calls.append(call)
    return examined if examined.calls else None


def explained(examined: Examined) -> list[Finding]:
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


def merge_repeated_inputs(examined: Examined) -> None:
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
    at = next((place(e.appended_from[0].co_filename, e.appended_from[1]) for e in makers if e.appended_from), None)
    return Finding(
        "double_counted",
        f"Two entries have the output {name}: each passes its whole gradient on, and the inputs get it twice.",
        entry=makers[0].text if makers else "",
        slot=name,
        read_at=at,
        order=1,
        fix="# record forward on raw tensors (x.value) inside the aggregate, or leave out the hand-written entry",
    )


def unlisted_inputs(examined: Examined) -> list[Finding]:
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
        read_at=appended_at(entry),
        order=1,
        dropped={name: lost.detach()},
        fix=f"inputs=[{', '.join(f'{x}.name' for x in [*entry.names[0], name])}]  # and return its gradient in that slot",
    )


def appended_at(entry: HandEntry) -> Place | None:
    return place(entry.appended_from[0].co_filename, entry.appended_from[1]) if entry.appended_from else None


def mutated(examined: Examined) -> list[Finding]:
    """A Variable whose tensor changed in place after it was made: with its first value put back, is it right?"""
    call = examined.calls[-1]
    changed = [m for m in call.run.made.values() if m.variable.value._version != m.version and m.value is not None]
    changed = [m for m in changed if not m.in_pass]
    if not changed:
        return []
    kept = [(m, m.variable.value) for m in changed]
    for m in changed:
        m.variable.value = m.value
    try:
        incoming = incoming_of(call.run, call.entry, examined.slot, call.weight, "zeros")
        again, _ = propagated(call.run, call.entry, incoming)
        values = [v.value.detach() if isinstance(v, Variable) else None for v in again]
    except Exception:
        return []
    finally:
        for m, value in kept:
            m.variable.value = value
    if not all(same(v, t, examined.limit.of(call.truth)) for v, t in zip(values, call.truth, strict=True)):
        return []
    return [mutated_finding(examined, m) for m in changed]


def mutated_finding(examined: Examined, made) -> Finding:
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
        made_at=at or (place(made.code.co_filename, made.line) if made.code else None),
        read_at=read_line(call, made.variable),
        order=1,
        fix=f"{name} = Variable(tensor.clone())  # or do not change it in place: no out=, no trailing underscore, no +=",
    )


def read_line(call: Call, variable: Variable) -> Place | None:
    for operation in call.operations:
        if any(x is variable for x in operation.inputs):
            return line_of(call, operation)
    return None


def ignored(examined: Examined) -> list[Finding]:
    """An output whose incoming gradient changes nothing, though forward says that it must."""
    entry = examined.entry
    if len(entry.outputs) < 2 or not all(size(call.returned) <= SMALL for call in examined.calls):
        return []
    name = entry.names[1][examined.slot]
    return [
        Finding(
            "ignored_output_gradient",
            f"{name} is declared as an output, but propagate does nothing with its incoming gradient: what reaches {name} "
            f"goes nowhere.",
            entry=entry.text,
            slot=name,
            made_at=made_place(examined),
            read_at=unpacked_at(entry),
            order=1,
            fix=f"add_optional(dL_d{name}, ...)  # pass its incoming gradient on to all that {name} was computed from",
        )
    ]


def made_place(examined: Examined) -> Place | None:
    """Where the output was made."""
    call = examined.calls[0]
    made = call.run.made.get(id(call.entry.outputs[examined.slot]))
    return place(made.code.co_filename, made.line) if made and made.code else None


def unpacked_at(entry: HandEntry) -> Place | None:
    """The line of propagate that takes its argument apart: where the incoming gradient is left lying."""
    code = entry.code
    if code is None or not code.co_varnames:
        return None
    return place(code.co_filename, line_reading(code, code.co_varnames[0]) or code.co_firstlineno)


def ordered(examined: Examined) -> list[Finding]:
    """Returned gradients that are those of other slots."""
    entry, calls = examined.entry, examined.calls
    n = len(entry.inputs)
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
    swapped = [entry.names[0][i] for i in range(n) if order[i] != i]
    return [
        Finding(
            "wrong_order",
            f"propagate returns the right gradients in the wrong slots: those of {' and '.join(swapped)} are exchanged.",
            entry=entry.text,
            slot=swapped[0],
            read_at=returned_at(entry),
            order=1,
            fix=f"return [{', '.join(f'dL_d{name}' for name in entry.names[0])}]  # in the order of the entry's inputs",
        )
    ]


def returned_at(entry: HandEntry) -> Place | None:
    return place(entry.code.co_filename, return_line(entry.code)) if entry.code else None


# --- contributions ---------------------------------------------------------------------------------------------------


def gaps_of(examined: Examined) -> list[Gradients]:
    """truth - returned, per call and slot."""
    return [[minus(t, r) for t, r in zip(c.truth, c.returned, strict=True)] for c in examined.calls]


def only(gradients: Sequence[Gradients], slots: Sequence[int]) -> list[Gradients]:
    return [[g if i in slots else None for i, g in enumerate(row)] for row in gradients]


def missing_or_double(examined: Examined) -> list[Finding]:
    """A use whose contribution is not there, or is there twice: first one that accounts for all, then slot by slot."""
    gaps = gaps_of(examined)
    for count in (1, 2):
        uses = explaining(examined, gaps, None, count)
        if uses:
            return [use_finding(examined, uses, examined.wrong)]
    found = []
    for i in examined.wrong:
        uses = next((u for u in (explaining(examined, gaps, i, count) for count in (1, 2)) if u), None)
        whole = all(c.returned[i] is None or size([c.returned[i]]) <= SMALL for c in examined.calls)
        if uses is None and not whole:
            return []
        found.append(use_finding(examined, uses or [], [i]))
    return found


def explaining(examined: Examined, gaps: Sequence[Gradients], slot: int | None, count: int) -> list[int] | None:
    """Places (among the uses) of those whose contributions together are the gap, in all calls."""
    amount = min((len(call.uses) for call in examined.calls), default=0)
    if amount == 0 or amount > (60 if count == 1 else 25) or len({len(c.uses) for c in examined.calls}) > 1:
        return None
    slots = range(len(examined.entry.inputs)) if slot is None else [slot]
    # several only of uses of the inputs themselves: those are parallel, where others may lie on one path
    places = [u for u in range(amount) if count == 1 or examined.calls[0].uses[u].direct]
    for chosen in combinations(places, count):
        parts = [total_of([call.uses[u].parts for u in chosen], slots) for call in examined.calls]
        if examined.fits(only(gaps, slots), parts):
            return list(chosen)
    return None


def total_of(parts: Sequence[Gradients], slots: Sequence[int]) -> Gradients:
    found: Gradients = []
    for i in range(len(parts[0])):
        terms = [p[i] for p in parts if p[i] is not None] if i in slots else []
        found.append(sum(terms[1:], terms[0]) if terms else None)
    return found


def use_finding(examined: Examined, uses: Sequence[int], wrong: Sequence[int]) -> Finding:
    """missing_use, for these uses of forward (none given: all of them)."""
    call, entry = examined.calls[0], examined.entry
    names = [entry.names[0][i] for i in wrong]
    said, at = "none of its uses", None
    if uses:
        used = [call.uses[u] for u in uses]
        at = place(*used[0].done.at)
        said = "the use in `" + "`, `".join(dict.fromkeys(place(*u.done.at).text.strip() for u in used)) + "`"
    verb = "has a contribution" if not uses else "contributes"
    sentence = (
        f"The gradient of {' and '.join(names)} lacks a contribution: in forward, {said} {verb}, "
        f"and propagate does not return that part."
    )
    gap = gaps_of(examined)[0]
    dropped = {entry.names[0][i]: gap[i].detach() for i in wrong if gap[i] is not None}
    return Finding(
        "missing_use",
        sentence,
        entry=entry.text,
        slot=names[0],
        made_at=at,
        read_at=computed_at(examined, wrong[0]),
        order=1,
        dropped=dropped,
        fix=f"dL_d{names[0]} = add_optional(dL_d{names[0]}, ...)  # add what comes back along that use",
    )


def scaled_use(examined: Examined) -> list[Finding]:
    """One use whose contribution has a wrong factor: twice (or more often) what it should be is counted double."""
    gaps = gaps_of(examined)
    found = []
    for slots in [None] if factor_of(examined, gaps, None) else examined.wrong:
        best = factor_of(examined, gaps, slots)
        if best is None:
            return []
        found.append(factor_finding(examined, best, examined.wrong if slots is None else [slots]))
    return found


def factor_of(examined: Examined, gaps: Sequence[Gradients], slot: int | None) -> tuple[int, float] | None:
    """(use, f): that use's contribution is there f times. All of the gap is (1 - f) times its contribution."""
    amount = min((len(call.uses) for call in examined.calls), default=0)
    if len({len(c.uses) for c in examined.calls}) > 1 or amount > 60:
        return None
    slots = range(len(examined.entry.inputs)) if slot is None else [slot]
    for u in range(amount):
        parts = [total_of([call.uses[u].parts], slots) for call in examined.calls]
        ratio = ratio_of(only(gaps, slots), parts)
        if ratio is not None and abs(ratio) > 1e-6:
            scaled = [[None if p is None else p * ratio for p in row] for row in parts]
            if examined.fits(only(gaps, slots), scaled):
                return u, 1 - ratio
    return None


def ratio_of(gaps: Sequence[Gradients], parts: Sequence[Gradients]) -> float | None:
    """The factor between two lists of gradients, by least squares; None from fewer than three numbers."""
    pairs = [
        (g.flatten(), p.flatten())
        for gs, ps in zip(gaps, parts)
        for g, p in zip(gs, ps)
        if g is not None and p is not None
    ]
    if not pairs:
        return None
    g, p = torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])
    if p.numel() < 3 or float((p * p).sum()) == 0:
        return None
    return float((g * p).sum() / (p * p).sum())


def factor_finding(examined: Examined, best: tuple[int, float], wrong: Sequence[int]) -> Finding:
    u, factor = best
    call, entry = examined.calls[0], examined.entry
    use, name = call.uses[u], entry.names[0][wrong[0]]
    times = round(factor)
    double = times >= 2 and abs(factor - times) < 1e-6 and adds_equals(examined, use, wrong)
    line = place(*use.done.at)
    said = f"What comes back to {name} along `{line.text.strip()}`"
    if double:
        sentence = f"{said} is counted {times} times."
    elif abs(factor + 1) < 1e-6:
        sentence = f"{said} has the wrong sign."
    else:
        sentence = f"{said} is {factor:.6g} times what it should be."
    return Finding(
        "double_counted" if double else "wrong_partial",
        sentence,
        entry=entry.text,
        slot=name,
        made_at=line,
        read_at=contribution_line(examined, use, factor, wrong[0]) or computed_at(examined, wrong[0]),
        order=1,
        fix=f"dL_d{name} = ...  # count that contribution once" if double else "",
    )


def adds_equals(examined: Examined, use: Use, wrong: Sequence[int]) -> bool:
    """Whether the surplus is added up, and not a factor: in propagate, or because an input is listed twice.

    Where the use is all there is to a gradient, twice of it may be a factor of 2 as well; then an addition of equal
    things is asked for.
    """
    call = examined.calls[0]
    if len({x.key for x in call.entry.inputs}) < len(call.entry.inputs):
        return True
    limit = examined.limit.of(call.truth)
    if any(not same(use.parts[i], call.truth[i], limit) for i in wrong):
        return True
    return any(is_addition(op) and op_adds_equals(op, limit) for op in call.operations)


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


# --- lines of propagate ----------------------------------------------------------------------------------------------


def wrong_partial(examined: Examined, i: int) -> Finding:
    entry, call = examined.entry, examined.calls[0]
    gap = float(gaps_of(examined)[0][i].abs().max()) if gaps_of(examined)[0][i] is not None else 0.0
    output = entry.names[1][examined.slot]
    return Finding(
        "wrong_partial",
        f"What propagate returns for {entry.names[0][i]} is not d{output}/d{entry.names[0][i]} times the incoming gradient "
        f"of {output}: off by up to {gap:.3g}, where the gradient is up to {size([call.truth[i]]):.3g}.",
        entry=entry.text,
        slot=entry.names[0][i],
        read_at=computed_at(examined, i),
        order=1,
    )


def line_of(call: Call, operation: Operation) -> Place | None:
    entries = call.run.trace.entries
    source = entries[operation.index].source if operation.index < len(entries) else None
    return place(*source) if source and not is_ours(source[0]) else None


def computed_at(examined: Examined, i: int) -> Place | None:
    """The line of propagate that computed a wrong gradient: back from what it returned, past what is right."""
    call = examined.calls[0]
    maker = {y.key: operation for operation in call.operations for y in operation.outputs}
    variable = call.variables[i] if i < len(call.variables) else None
    operation = maker.get(variable.key) if isinstance(variable, Variable) else None
    if operation is None or operation.index in rightly_used(examined, call):  # right, but not here
        return returned_at(call.entry)
    right = right_values(call)
    while True:
        doubtful = [x for x in operation.inputs if x.key in maker and not is_right(x.value.detach(), right)]
        if len({x.key for x in doubtful}) != 1:
            break
        operation = maker[doubtful[0].key]
    return line_of(call, operation) or returned_at(call.entry)


def rightly_used(examined: Examined, call: Call) -> set[int]:
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


def contribution_line(examined: Examined, use: Use, factor: float, i: int) -> Place | None:
    """The line that computed the contribution with its wrong factor, if it stands alone somewhere."""
    call = examined.calls[0]
    right = rightly_used(examined, call)
    for wanted in (use.flow, use.parts[i]):
        for operation in [each for each in call.operations if each.index not in right]:
            value = operation.outputs[0].value.detach()
            if wanted is not None and same(value, wanted.detach() * factor, examined.limit.of(call.truth)):
                return line_of(call, operation)
    return None
