"""On which rank the first NaN or infinity is born, before a collective hands it to the others."""

from __future__ import annotations

from dataclasses import dataclass

from ...trace import calls as kinds
from ...trace import ranks as told
from ...trace.calls import Call
from ...trace.events import Source
from ...trace.nonfinite import find_nonfinite
from .found import NAN, Found, at, capital, names
from .lines import text_at
from .run import COMPUTES, RankRun

# They write an infinity because they were told to.
_EXPLICIT = ("masked_fill", "masked_fill_", "full", "full_like", "fill_", "new_full", "where", "triu", "tril", "tensor")


@dataclass(frozen=True)
class _Birth:
    """`met`: how many collectives the rank had joined before."""

    run: RankRun
    met: int
    source: Source | None
    text: str


def nan(runs: list[RankRun]) -> Found | None:
    if not any(_is_flawed(run) for run in runs):
        return None
    births = [birth for birth in map(_birth, runs) if birth is not None]
    if not births:
        return None
    first = min(births, key=lambda birth: (birth.met, birth.run.rank))
    alike = [b for b in births if b.met == first.met and b.source == first.source]
    rank = None if len(alike) == len(runs) > 1 else first.run.rank
    parameter = _parameter(first.run, runs)
    where = "on every rank" if rank is None else f"on {names([rank])}"
    others = (
        ""
        if rank is None or len(runs) == 1 or not first.run.met
        else " The other ranks get it from there, by a collective."
    )
    text = text_at(first.run.trace, first.source)
    shown = f", by “{text}”" if text else ""
    born = f"{capital(first.text)} {where}{at(first.source)}{shown}"
    sentence = f"{born}, and reaches the gradient of {parameter}.{others}"
    return Found(NAN, rank, parameter, first.run, first.source, sentence)


def _is_flawed(run: RankRun) -> bool:
    shares = [*run.shares[told.CAME], *run.shares[told.AFTER], *run.shares[told.STEPPED], *run.shares[told.AT_END]]
    return any(share.state == "nan" for share in shares) or bool(_filled_badly(run))


def _filled_badly(run: RankRun) -> set[str]:
    """Names of what a pass left with a NaN, also where the recorder knew of no other ranks."""
    bad = {filled.value for filled in run.trace.filled if filled.after_kind}
    return {held.path for held in run.trace.held if held.value in bad}


def _parameter(run: RankRun, runs: list[RankRun]) -> str:
    for what in (told.CAME, told.AFTER, told.STEPPED, told.AT_END):
        bad = {share.path for share in run.shares[what] if share.state == "nan" and share.path}
        if bad:
            return next((path for path in run.order if path in bad), sorted(bad)[0])
    bad = _filled_badly(run)
    if bad:
        return next((path for path in run.order if path in bad), min(bad))
    return next(iter(run.order), "")


def _birth(run: RankRun) -> _Birth | None:
    """The first on this rank's own ground; None where the first one came by a collective, or there is none."""
    leading = _leading(run)
    for call in run.calls:
        bad = [x for x in call.outputs if x.nonfinite]
        if not bad:
            continue
        if _earlier_backward(run, call):
            break
        if call.kind == kinds.COLLECTIVE and not any(x.nonfinite for x in call.inputs):
            return None
        if call.kind not in COMPUTES or (call.id not in leading and not call.pass_id and call.kind != kinds.GRAD_SET):
            continue
        if not any(x.nonfinite for x in call.inputs):
            if call.name in _EXPLICIT and bad[0].nonfinite == "inf":
                continue
            return _Birth(run, _met_before(run, call.id), call.source, _said(bad[0].nonfinite, call))
        given = [x for x in call.inputs if x.nonfinite and run.giver.get(x) is None]
        if given:
            text = f"{_what(given[0].nonfinite)} is in {given[0].name} before {call.name} reads it"
            return _Birth(run, _met_before(run, call.id), call.source, text)
    return _in_backward(run)


def _leading(run: RankRun) -> set[int]:
    """Calls that a loss was computed by, or that worked on gradients."""
    found = {call.id for event in run.passes for call in run.leads_to(event.pass_.loss)}
    return found | {call.id for call in run.calls if any(x in run.grads for x in (*call.inputs, *call.outputs))}


def _earlier_backward(run: RankRun, call: Call) -> bool:
    """Whether a pass before it brought a NaN already."""
    return any(share.state == "nan" and share.call <= call.id for share in run.shares[told.CAME])


def _in_backward(run: RankRun) -> _Birth | None:
    bad = next((share for share in run.shares[told.CAME] if share.state == "nan"), None)
    if bad is None:
        return None
    for kinds_asked in (("nan", "inf"), ("nan",)):
        found = find_nonfinite(run.trace, kinds_asked)
        if found is not None and found.where == "pass":
            operator = found.entry.operator if found.entry is not None else ""
            text = f"{_what(found.kind)} is born in the backward of {operator}"
            return _Birth(run, _met_before(run, bad.call), found.source, text)
    return None


def _met_before(run: RankRun, call: int) -> int:
    return sum(1 for met in run.met if met.call.id < call)


def _what(kind: str | None) -> str:
    return "a NaN" if kind == "nan" else "an infinity"


def _said(kind: str | None, call: Call) -> str:
    return f"{_what(kind)} is born in {call.name}"
