"""`simplegrad.diagnose(trace)`: what is worth knowing about a step without being asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..trace import calls as kinds
from ..trace.calls import Held
from ..trace.events import Failed, PassBegun, PassFailed
from ..trace.trace import Trace
from .answer import place_of
from .meant import is_meant
from .run import Run, run_of
from .stale import is_used, leftover
from .why import Finding, Subject, cause_of, state_of

_LOST = {"nan": "a NaN", "inf": "an infinity"}
GRAVITY = ("nan", "none", "zero", "stale", "huge", "tiny")


@dataclass(frozen=True)
class Diagnosis:
    """`findings`: gravest first, none on a healthy step. `notices`: what could not be looked at."""

    findings: tuple[Finding, ...] = ()
    notices: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        if not self.findings:
            return "\n".join(["No finding.", *self.notices])
        rows = [f"{f.parameter}: {f.state}, {f.cause or 'cause not known'}. {f.sentence}" for f in self.findings]
        places = [f"\n  {f.place}" if f.place else "" for f in self.findings]
        return "\n".join(row + place for row, place in zip(rows, places, strict=True))


def diagnose(trace: Trace) -> Diagnosis:
    """What is wrong with the gradients of a recorded step: one finding for each cause and line.

    Parameters with the same state, cause and line are one finding, which names the first of them.
    """
    if trace.kind != "torch":
        return Diagnosis((), ("This is not a PyTorch run: call trace.why(name) with a variable of it.",))
    run = run_of(trace)
    notices = _failures(trace)
    if not run.begun or not run.held:
        missing = "No backward pass ran in this trace." if not run.begun else "No module was recorded."
        return Diagnosis((), (missing, *notices))
    found: dict[tuple, list[Finding]] = {}
    for held in run.held.values():
        finding = finding_of(run, held)
        if finding is not None:
            found.setdefault((finding.state, finding.cause, finding.place and str(finding.place)), []).append(finding)
    findings = [_together(group) for group in found.values()]
    findings.sort(key=lambda finding: GRAVITY.index(finding.state))
    return Diagnosis(tuple(findings), tuple(notices))


def _failures(trace: Trace) -> list[str]:
    """The error that ended the run, and those of passes that the run caught."""
    ended = [event for event in trace.events[-1:] if isinstance(event, Failed)]
    last = (ended[0].error, ended[0].message) if ended else None
    failed = [event for event in trace.events if isinstance(event, PassFailed) and (event.error, event.message) != last]
    caught = [f"The {event.pass_.title} failed: {event.error}: {event.message}" for event in failed]
    lost = [
        f"The loss of the {event.pass_.title} is {_LOST[event.pass_.loss.nonfinite]}."
        for event in trace.events
        if isinstance(event, PassBegun) and event.parent is None and event.pass_.loss.nonfinite
    ]
    return [*dict.fromkeys(caught), *lost, *(f"The run failed: {event.message}" for event in ended)]


def _together(group: list[Finding]) -> Finding:
    first = group[0]
    if len(group) == 1:
        return first
    others = ", ".join(finding.parameter for finding in group[1:4])
    more = f" The same goes for {others}{' and others' if len(group) > 4 else ''}."
    return Finding(first.parameter, first.state, first.cause, first.place, first.sentence + more)


def finding_of(run: Run, held: Held) -> Finding | None:
    if held.kind == "buffer" or not _matters(run, held):
        return None
    subject = Subject(held.path, held, held.value)
    state = state_of(run, subject)
    if state == "value" or (state == "stale" and not is_used(run, held.value, held, leftover(run, held.value))):
        return None
    cause = cause_of(run, subject, state)
    if not cause.cause and state in ("tiny", "zero"):
        return None  # as of a bias in front of a normalisation: there is nothing to be told of it
    if is_meant(run, held, state, cause) or _is_over(run, held, cause.cause):
        return None
    return Finding(held.path, state, cause.cause, place_of(run.trace, cause.source), cause.sentence)


def _matters(run: Run, held: Held) -> bool:
    return held.requires_grad or held.grad != "none" or held.kind == "parameter"


def _is_over(run: Run, held: Held, cause: str) -> bool:
    """The gradient was used by a step before it was cleared, as at the end of a loop's round."""
    if cause not in ("zeroed", "hook"):
        return False
    if cause == "hook" and held.grad == "none":
        return not any(
            held.value in step.leaves and not step.within for step in run.steps
        )  # a step within the backward
    cleared = [c for c in run.marks(kinds.ZERO_GRAD, kinds.GRAD_SET) if held.value in c.leaves]
    steps = [c for c in run.steps if held.value in c.leaves]
    return bool(steps and cleared and any(s.id < cleared[-1].id for s in steps))
