"""From numbers that are wrong to the cause: each rule looks at numbers and at the flow of data, none at names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ...engine import WrongCountError, WrongShapeError
from ...trace import Trace
from ...trace.events import Accumulated, Read
from ..causes.partial import explained_partials
from ..report import Finding, Place
from ..source import place
from ..words import ordinal
from . import escape as escapes
from . import naming
from .case import Case, HandEntry, Run
from .climb import climb
from .escape import Escape, Flow, changing_numbers, escapes_at
from .fixes import declare_fix, unwrap_fix
from .raised import finding_of
from .survey import Truth, Wrong


@dataclass
class Explained:
    findings: list[Finding] = field(default_factory=list)
    trace: Trace | None = None


def explained(case: Case, truth: Truth, wrong: Sequence[Wrong], order: int) -> Explained:
    """Findings for all that is wrong; `unexplained` where nothing was found that accounts for it."""
    found = Explained()
    raised_findings(case, [each for each in wrong if each.error is not None], found)
    numbers = [each for each in wrong if each.error is None]
    if numbers or not found.findings:
        number_findings(case, truth, numbers, found, order)
    if not found.findings:
        found.findings.append(unexplained(wrong[0]))
    if found.trace is None:
        found.trace = trace_of(case, wrong[0])
    found.findings = merged(found.findings)
    return found


# --- what was raised -------------------------------------------------------------------------------------------------


def raised_findings(case: Case, answers: Sequence[Wrong], found: Explained) -> None:
    for answer in answers:
        run = case.run(case.values(answer.point))
        if isinstance(answer.error, WrongShapeError | WrongCountError):
            ordered = tried(explained_partials, case, run, answer, True)
            if ordered:
                found.findings += ordered
                continue
        found.findings.append(finding_of(answer.error, run, answer.level))
        if found.trace is None:
            found.trace = trace_of(case, answer)


def trace_of(case: Case, answer: Wrong) -> Trace:
    """The run that gave this answer, as a trace; a run that raised ends with the error."""
    run = case.run(case.values(answer.point), traced=True)
    going = climb(case, run, answer.question.outputs(run), answer.seed, max(answer.level, 1))
    if going.error is not None:
        run.recorder.failed(going.error)
    return run.trace


# --- wrong numbers ---------------------------------------------------------------------------------------------------


def number_findings(case: Case, truth: Truth, answers: list[Wrong], found: Explained, order: int) -> None:
    """First what escapes already at order 1 (in forward); then first gradients; then what escapes at higher orders."""
    first = [answer for answer in answers if answer.level == 1]
    if any(tried(escape_findings, case, truth, answer, 1, found, True) for answer in first):
        return
    for answer in first[:1]:
        run = case.run(case.values(answer.point))
        found.findings += tried(explained_partials, case, run, answer) or []
    levels = {answer: max(answer.level, 2) if first else answer.level for answer in answers}
    later = [answer for answer in answers if levels[answer] <= max(order, answer.level)]
    for rule in (escape_findings, number_cut_findings):
        if any(tried(rule, case, truth, answer, levels[answer], found, bool(first)) for answer in later):
            return


def tried(rule: Callable, *args):
    """A rule that fails explains nothing; the numbers stay wrong, and are told as unexplained."""
    try:
        return rule(*args)
    except Exception:
        return None


def number_cut_findings(case, truth, answer: Wrong, level: int, found: Explained, strict: bool) -> bool:
    """A number taken out of a tensor: to the tape a constant, though it moves with the inputs."""
    cuts = [] if strict else changing_numbers(case, answer.question, answer.point, answer.seed, level)
    for run, index in cuts[:1]:
        operation = next(op for op in run.probe.operations if op.index == index)
        entry = run.probe.by_hand[operation.visit]
        source = escapes.source_of(run, index)
        found.findings.append(
            Finding(
                "raw_tensor_captured",
                "propagate computes with a number that was taken out of a tensor and that moves with the inputs: to "
                f"the tape it is a constant, and the gradient of order {level} misses how it changes.",
                entry=entry.text,
                read_at=place(*source) if source else None,
                order=level,
                fix="# compute with the Variable itself: no item(), float() or tolist() of what depends on an input",
            )
        )
    return bool(cuts)


def escape_findings(case: Case, truth: Truth, answer: Wrong, level: int, found: Explained, strict: bool) -> bool:
    """Add what escapes; `strict`: only if it accounts for the whole difference."""
    flow = escapes_at(case, truth, answer.question, answer.point, answer.seed, level)
    if flow is None or not flow.escapes or (strict and not flow.verified):
        return False
    groups: dict[tuple, list[Escape]] = {}
    for each in flow.escapes:
        made = each.made
        name = re.sub(r"_\d+$", "", naming.name_of(flow.run, each.variable)) if not each.in_pass else ""
        groups.setdefault((each.in_pass, made and (made.code, made.line), name), []).append(each)
    found.findings += [escape_finding(case, flow, group) for group in groups.values()]
    found.trace = flow.run.trace
    return True


def escape_finding(case: Case, flow: Flow, group: list[Escape]) -> Finding:
    run, one = flow.run, group[0]
    name = naming.name_of(run, one.variable)
    with run.tape:
        value_name = one.variable.name
    entry = reader_of(run, one)
    dropped = dropped_of(case, group) if flow.verified else {}
    made_at, read_at = one.made and one.made.at, escapes.read_at(run, one)
    if one.in_pass:
        raw = one.made and escapes.raw_made_at(run, one.made)
        read_at, made_at = made_at or read_at, raw or None
    if not run.entries or any(one.variable is output for output in run.outputs):
        return untold_result(run, name, made_at, flow.level, dropped)
    return Finding(
        "raw_tensor_captured" if one.in_pass else "escaped_temporary",
        escape_sentence(name, one, flow, dropped),
        entry=entry.text if entry else "",
        slot=name,
        made_at=made_at,
        read_at=read_at,
        order=flow.level,
        step=step_of(flow, value_name),
        dropped=dropped,
        fix=unwrap_fix(name)
        if one.in_pass
        else declare_fix(run, entry, naming.python_name(run, one.variable))
        if entry
        else "",
    )


def escape_sentence(name: str, one: Escape, flow: Flow, dropped: dict) -> str:
    inputs = " and ".join(dropped) or "the incoming gradient"
    if one.in_pass:
        return (
            f"propagate makes {name} of raw tensors, so the tape takes for a constant what depends on {inputs}: "
            f"in the gradient of order {flow.level}, what arrives at {name} goes nowhere."
        )
    lost = f", and {inputs} miss{'' if len(dropped) > 1 else 'es'} it"
    if not flow.verified:
        lost = "; how much that is could not be confirmed by numbers"
    return (
        f"{name} is computed by forward and read by propagate, but no entry has it as an output: the gradient of order "
        f"{flow.level} that reaches {name} goes nowhere{lost}."
    )


def untold_result(run: Run, name: str, made_at: Place | None, level: int, dropped: dict) -> Finding:
    return Finding(
        "missing_use",
        f"No entry has the result {name} as an output, so no gradient gets from it to the inputs.",
        slot=name,
        made_at=made_at,
        order=level,
        dropped=dropped,
        fix=f"gradient_tape.append(TapeEntry(inputs=[...], outputs=[{name}.name], propagate=propagate))",
    )


def reader_of(run: Run, one: Escape) -> HandEntry | None:
    """The hand-written entry in whose propagate it was read."""
    if one.reading.visit is not None and one.reading.visit in run.probe.by_hand:
        return run.probe.by_hand[one.reading.visit]
    for entry in run.entries:
        if one.made and one.made.code in (entry.code, entry.appended_from and entry.appended_from[0]):
            return entry
    return run.entries[-1] if run.entries else None


def dropped_of(case: Case, group: list[Escape]) -> dict[str, torch.Tensor]:
    found = {}
    for i, name in enumerate(case.names):
        parts = [each.dropped[i] for each in group if each.dropped[i] is not None]
        if parts and bool(sum(parts).abs().max() > 1e-12):
            found[name] = sum(parts).detach()
    return found


def step_of(flow: Flow, name: str) -> int | None:
    """The event at which a gradient comes to the value, in the last pass; else the one that read it."""
    events = flow.run.trace.events
    kinds = [e for e in events if isinstance(e, Accumulated) and e.value.name == name and e.contribution is not None]
    last = max((e.pass_id for e in kinds), default=None)
    came = [e.index for e in kinds if e.pass_id == last]
    read = [e.index for e in events if isinstance(e, Read) and e.value.name == name]
    return next(iter(came or read), None)


# --- the whole -------------------------------------------------------------------------------------------------------


def unexplained(wrong: Wrong) -> Finding:
    names, gap = ", ".join(wrong.by), max(wrong.by.values(), default=0.0)
    return Finding(
        "unexplained",
        f"The {ordinal(wrong.level)} order is wrong in {names or 'its gradients'} (along a random direction by up to "
        f"{gap:.3g}), and no cause was found that accounts for it.",
        order=wrong.level,
    )


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """One finding for each cause: of those alike, the first that shows most."""
    found: dict[tuple, Finding] = {}
    for finding in findings:
        key = (finding.code, finding.entry, finding.slot if finding.code != "raises" else "", str(finding.read_at))
        if key not in found or (finding.dropped and not found[key].dropped):
            found[key] = finding
    return list(found.values())
