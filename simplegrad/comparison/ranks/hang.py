"""Whether a rank waited for another in vain, and whether collectives of different tensors met."""

from __future__ import annotations

from collections.abc import Iterator

from ...trace import calls as kinds
from ...trace.events import Source
from .found import HANG, ORDER, Found, at, capital, names
from .lines import decides, parting
from .run import Met, RankRun

_TO_ONE = ("send", "recv", "recv_anysource")


def sequences(runs: list[RankRun]) -> Iterator[dict[int, tuple[RankRun, list[Met]]]]:
    """For each group of ranks what its members did in it, in order."""
    groups = dict.fromkeys(met.noted.ranks for run in runs for met in run.met if met.call.name not in _TO_ONE)
    for group in groups:
        members = [run for run in runs if not group or run.rank in group]
        yield {
            run.rank: (run, [m for m in run.met if m.noted.ranks == group and m.call.name not in _TO_ONE])
            for run in members
        }


def hang(runs: list[RankRun]) -> Found | None:
    """The first collective that some rank waits in, and the rank that does not reach it."""
    found = []
    for members in sequences(runs):
        waiting = [(k, run, met) for run, done in members.values() for k, met in enumerate(done) if met.waits]
        for k, run, met in sorted(waiting, key=lambda each: (each[0], each[1].rank)):
            missing = _missing(members, k, run, met)
            if missing is not None:
                found.append((k, run, met, missing))
                break
    found += list(_alone(runs))
    for _, run, met, missing in sorted(found, key=lambda each: each[0]):
        return _told(run, met, missing)
    return None


def _alone(runs: list[RankRun]) -> Iterator[tuple[int, RankRun, Met, RankRun]]:
    """A rank that waits for what another does not send."""
    by_rank = {run.rank: run for run in runs}
    for run in runs:
        for k, met in enumerate(run.met):
            if met.waits and met.call.name in _TO_ONE and met.noted.root in by_rank:
                yield k, run, met, by_rank[met.noted.root]


def _missing(members: dict, k: int, run: RankRun, met: Met) -> RankRun | None:
    """The first member that does not come to the k-th collective, which `run` waits in."""
    for other, done in members.values():
        if other is run:
            continue
        if len(done) <= k:
            return other
        its = done[k]
        if its.name != met.name:
            return other if _is_ahead(its, met) else run
        if met.noted.by == "DDP" and set(met.owners) - set(its.owners):
            return other
        if met.noted.by == "DDP" and set(its.owners) - set(met.owners):
            return run
    return None


def _is_ahead(its: Met, met: Met) -> bool:
    """Whether the other stands further down in the program: it has passed over what is waited for."""
    for a, b in zip(reversed(its.call.stack), reversed(met.call.stack)):
        if a != b:
            return a[0] != b[0] or a[1] > b[1]
    return True


def _told(run: RankRun, met: Met, missing: RankRun) -> Found:
    lacking, parameter = _lacking(run, met, missing)
    source = _line(run, met, missing, lacking, parameter)
    what = f"the {met.call.name} of {_of(met, parameter)}".replace(" of nothing", "")
    where = at(met.call.source)
    reason = ""
    held = missing.held.get(parameter) if parameter in run.held else None
    if lacking or (
        held is not None and held.kind == "parameter" and held.grad == "none" and run.held.get(parameter) is not None
    ):
        reason = f": {parameter}.grad is None on {names([missing.rank])}"
        if lacking:
            reason = f": nothing comes to {parameter} on {names([missing.rank])}, so its bucket is never complete"
    error = missing.trace.error
    if error is not None and not any(each.waits for each in missing.met) and error.message:
        reason = f": it ended with an error, {error.message.splitlines()[0][:160]}"
        source = error.source or source
    decided = f" Line {source[1]} decides that." if source is not None and source != met.call.source else ""
    sentence = f"{capital(names([run.rank]))} waits in {what}{where}, and {names([missing.rank])} does not reach it"
    return Found(HANG, missing.rank, parameter, run, source, f"{sentence}{reason}.{decided}", _pass_of(run, met))


def _of(met: Met, parameter: str) -> str:
    if met.noted.by == "DDP":
        return "the gradients (DDP)"
    if met.noted.by == "DDP buckets":
        return "the order of the buckets (DDP)"
    if met.noted.by == "DDP buffers":
        return "the buffers (DDP)"
    return f"{parameter}'s gradient" if any(x.endswith(".grad") for x in met.owners) else parameter or "nothing"


def _lacking(run: RankRun, met: Met, missing: RankRun) -> tuple[bool, str]:
    """(whether the other's pass did not reach a parameter, the parameter that shows it)"""
    if met.noted.by == "DDP":
        its = [each for each in missing.met if each.noted.by == "DDP"]
        mine = [each for each in run.met if each.noted.by == "DDP"]
        k = mine.index(met)
        if k < len(its):
            lost = set(met.owners) - set(its[k].owners)
            first = [path for path in run.order or sorted(lost) if f"{path}.grad" in lost]
            if lost:
                return True, first[0] if first else sorted(lost)[0].removesuffix(".grad")
    grads = run.gradients_in(met)
    owners = [*grads, *(whose.removesuffix(".grad") for whose in met.owners)]
    if met.noted.by == "DDP buckets":
        owners += run.order[:1]
    ordered = [path for path in run.order if path in owners]
    return False, next(iter([*ordered, *owners]), "")


def _line(run: RankRun, met: Met, missing: RankRun, lacking: bool, parameter: str) -> Source | None:
    if lacking:
        held = missing.held.get(parameter)
        frozen = [c for c in missing.calls if c.kind == kinds.REQUIRES_GRAD]
        if held is not None and not held.requires_grad and frozen:
            only = parting(frozen[-1].stack, run.lines)
            return (decides(missing.trace, only) or only) if only is not None else frozen[-1].source
        call = forward_only(run, missing)
        if call is not None:
            return decides(run.trace, call) or call
    stack = met.call.stack
    only = parting(stack, missing.lines)
    if only is not None:
        return decides(run.trace, only) or only
    if len(run.passes) > len(missing.passes):  # it went round once more, with a pass of its own
        stack = (run.passes[-1].source, *stack)
    for place in stack:
        decided = decides(run.trace, place)
        if decided is not None:
            return decided
    return met.call.source


def forward_only(run: RankRun, other: RankRun) -> Source | None:
    """The first line of the forward part that one rank ran and the other did not."""
    for call in run.calls:
        if not call.within and call.pass_id is None and call.kind != "collective":
            found = parting(call.stack, other.lines)
            if found is not None:
                return found
    return None


def _pass_of(run: RankRun, met: Met) -> int | None:
    before = [i for i, event in enumerate(run.passes) if event.index <= met.call.event]
    return before[-1] if before else None


def order(runs: list[RankRun]) -> Found | None:
    """The first collective at which ranks gave tensors of different parameters."""
    for members in sequences(runs):
        done = [each for _, each in members.values()]
        for k in range(min(map(len, done), default=0)):
            first, *others = [each[k] for each in done]
            base, *rest = [run for run, _ in members.values()]
            for run, met in zip(rest, others):
                if met.noted.by or first.noted.by or met.name != first.name:
                    continue
                mine, its = _whose(base, first), _whose(run, met)
                if mine and its and mine != its:
                    return _mixed(base, first, run, mine, its)
    return None


def _whose(run: RankRun, met: Met) -> tuple[str, ...]:
    return tuple(run.gradients_in(met)) or tuple(met.owners)


def _mixed(base: RankRun, met: Met, run: RankRun, mine: tuple[str, ...], its: tuple[str, ...]) -> Found:
    both = [*mine, *its]
    parameter = next((path for path in base.order if path in both), both[0])
    sentence = (
        f"The ranks call {met.call.name}{at(met.call.source)} in a different order: there {names([base.rank])} gives "
        f"{_list(mine)}, and {names([run.rank])} gives {_list(its)}, so that gradients of different parameters are "
        f"added."
    )
    return Found(ORDER, None, parameter, base, met.call.source, sentence, _pass_of(base, met))


def _list(paths: tuple[str, ...]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
