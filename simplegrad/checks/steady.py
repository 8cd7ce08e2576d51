"""Whether captured values stay what they were: through a pass, through a second pass, through another call."""

from __future__ import annotations

import torch

from .case import PLAIN, Case, HandEntry, Run
from .climb import Gradients, climb, worst
from .escape import name_of
from .report import Finding, Place
from .source import place
from .watch import Made


def steady_findings(case: Case) -> list[Finding]:
    """captured_value_mutated where propagate, or another call of the aggregate, changes what propagate reads; a note
    where forward does not even give one result at one point. Torch autograd is off: it would object first."""
    before, case.mode = case.mode, PLAIN
    case.watch.copies = True
    try:
        return unsteady(case)
    except Exception:  # it raises: that is told with its line elsewhere
        return []
    finally:
        case.mode, case.watch.copies = before, False


def unsteady(case: Case) -> list[Finding]:
    values = case.values(0)
    run, again = case.run(values), case.run(values)
    if any(not equal(x.value, y.value) for x, y in zip(run.outputs, again.outputs, strict=True)):
        sentence = (
            "Two runs at the same inputs give different results, from the same random seed: nothing to hold it to."
        )
        return [Finding("unverified", sentence)]
    if not run.entries:
        return []
    copies = {id(x): x.value.clone() for x in visible(run)}
    first, second = gradients(case, run), gradients(case, run)
    if differ(first, second):
        changed = [x for x in visible(run) if id(x) in copies and not equal(x.value, copies[id(x)])]
        if not changed:
            return [drawn_finding(run)]
        return [
            changed_finding(run, changed, "propagate changes {name} in place, so that a second pass reads other values")
        ]
    return changed_by_another_call(case)


def changed_by_another_call(case: Case) -> list[Finding]:
    """The gradients of a call, after the aggregate was called once more with other inputs."""
    values = case.values(0)
    alone = gradients(case, case.run(values))
    run = case.run(values)
    copies = {id(x): x.value.clone() for x in visible(run)}
    other = case.run(case.values(1))
    after = gradients(case, run)
    if other.outputs and differ(alone, after):
        changed = [x for x in visible(run) if id(x) in copies and not equal(x.value, copies[id(x)])]
        return [
            changed_finding(run, changed, "another call of the aggregate changes {name}, before propagate has read it")
        ]
    return []


def visible(run: Run) -> list:
    """Variables that propagate may read: made by hand, inputs and outputs of entries."""
    found = {id(made.variable): made.variable for made in run.made.values()}
    found |= {id(x): x for entry in run.entries for x in (*entry.inputs, *entry.outputs)}
    return list(found.values())


def gradients(case: Case, run: Run) -> Gradients:
    going = climb(case, run, [y for y in run.outputs if y.value.is_floating_point()], 11, 1)
    if going.error is not None:
        raise going.error
    return [None if g is None else g.detach().clone() for g in going.levels[0][: len(run.wanted)]]


def differ(a: Gradients, b: Gradients) -> bool:
    return max(worst(a, b), default=0.0) > 1e-12


def equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def changed_finding(run: Run, changed: list, how: str) -> Finding:
    one = changed[0] if changed else None
    name = name_of(run, one) if one is not None else "a value that it captured"
    made: Made | None = run.made.get(id(one)) if one is not None else None
    entry: HandEntry = run.entries[0]
    return Finding(
        "captured_value_mutated",
        f"{how.format(name=name)}.",
        entry=entry.text,
        slot=name if one is not None else "",
        made_at=made_place(made),
        read_at=place(entry.code.co_filename, entry.code.co_firstlineno) if entry.code else None,
        order=1,
        fix="value.clone()  # keep a copy that nobody else changes; no out=, no trailing underscore, no shared buffer",
    )


def drawn_finding(run: Run) -> Finding:
    entry: HandEntry = run.entries[0]
    return Finding(
        "not_repeatable",
        "A second pass from the same values gives other gradients than the first, and none of them was changed: "
        "propagate draws random numbers.",
        entry=entry.text,
        read_at=place(entry.code.co_filename, entry.code.co_firstlineno) if entry.code else None,
        order=1,
        fix="# draw in forward, and keep what was drawn for propagate",
    )


def made_place(made: Made | None) -> Place | None:
    return place(made.code.co_filename, made.line) if made and made.code else None
