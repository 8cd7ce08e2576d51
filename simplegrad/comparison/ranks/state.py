"""Whether ranks computed with other parameters, buffers, modes or requires_grad."""

from __future__ import annotations

from ...trace import calls as kinds
from ...trace import ranks as told
from ...trace.calls import Call
from ...trace.events import Source
from .found import STATE, Found, at, capital, names
from .lines import decides, parting, seeded_apart
from .run import RankRun, Segment

_BY_MODE = ("Dropout", "AlphaDropout", "FeatureAlphaDropout", "BatchNorm", "SyncBatchNorm", "InstanceNorm", "RReLU")
_MODE_CALLS = ("dropout", "batch_norm", "instance_norm", "feature_dropout", "alpha_dropout", "rrelu", "dropout_")
RELATIVE = 1e-4


def state(runs: list[RankRun], segments: list[Segment], index: int) -> Found | None:
    """What differs before the gradients of one segment do."""
    return (
        _modes(runs, segments) or _parameters(runs, segments, index) or _buffers(runs, segments) or _requires_grad(runs)
    )


# -- train and eval ---------------------------------------------------------------------------------------------------


def _modes(runs: list[RankRun], segments: list[Segment]) -> Found | None:
    modes = [_modes_of(run, segment) for run, segment in zip(runs, segments)]
    for path in dict.fromkeys(path for each in modes for path in each):
        said = [each.get(path) for each in modes]
        known = [mode for mode in said if mode is not None]
        if len(set(known)) < 2:
            continue
        k = said.index("eval")
        trains = next(run for run, mode in zip(runs, said) if mode == "train")
        return _in_eval(runs[k], trains, path)
    return None


def _modes_of(run: RankRun, segment: Segment) -> dict[str, str]:
    """Path of each module whose mode matters and that a training pass went through -> train or eval."""
    found, matters = {}, set()
    end = max([run.mark_of(event).id for event in segment.passes if run.mark_of(event)], default=segment.last)
    for call in run.calls[segment.first : end]:
        if call.kind == kinds.MODULE and call.grad and not call.within:
            found[call.module] = "eval" if "eval" in call.note else "train"
            if call.name.rstrip("123d").startswith(_BY_MODE):
                matters.add(call.module)
        elif call.name in _MODE_CALLS and call.grad:
            matters.add(call.module)
    return {path: mode for path, mode in found.items() if path in matters}


def _in_eval(run: RankRun, other: RankRun, path: str) -> Found:
    sets = [c for c in run.calls if c.kind == kinds.MODE and _is_above(c.module, path)]
    its = [c for c in other.calls if c.kind == kinds.MODE and _is_above(c.module, path)]
    own = [c for c in sets if c.name == "eval" and c.source not in other.lines]
    back = [c for c in its if c.name == "train" and c.source not in run.lines]
    all_eval = [c for c in sets if c.name == "eval"]
    source, whose = None, run
    if own:
        source = own[-1].source
    elif back:
        source, whose = _deciding(other, run, back[-1]), other
    elif all_eval:
        source = all_eval[-1].source
    else:
        ran = [c for c in run.calls if c.kind == kinds.MODULE and c.module == path]
        source = ran[-1].source if ran else None
    cls = next((c.name for c in run.calls if c.kind == kinds.MODULE and c.module == path), "")
    what = f"{path or 'the model'} ({cls.lower()})" if cls else path
    sentence = (
        f"{capital(names([run.rank]))} runs {what} in eval mode, where {names([other.rank])} is in train mode: "
        f"eval(){at(source) if own else ''} was not followed by train() before the step."
    )
    return Found(STATE, run.rank, path, whose, source, sentence)


def _is_above(outer: str, path: str) -> bool:
    return not outer or outer == path or path.startswith(f"{outer}.")


# -- parameters -------------------------------------------------------------------------------------------------------


def _parameters(runs: list[RankRun], segments: list[Segment], index: int) -> Found | None:
    used = [_used(run, segment) for run, segment in zip(runs, segments)]
    shared = [path for path in runs[0].order or used[0] if all(path in each for each in used)]
    differ = [path for path in shared for each in used[1:] if not alike(used[0][path], each[path])]
    if not differ:
        return None
    path = differ[0]
    k = next(i for i, each in enumerate(used) if not alike(used[0][path], each[path]))
    return _changed(runs, runs[k], runs[0], path, "parameter", index)


def _used(run: RankRun, segment: Segment) -> dict[str, tuple[float, ...]]:
    ids = [event.pass_.id for event in segment.passes]
    found = {}
    for share in run.shares[told.USED]:
        if share.pass_id in ids and share.state == "value":
            found.setdefault(share.path, share.prints)
    if not found and not segment.passes:
        found = {share.path: share.prints for share in run.shares[told.VALUE] if share.path in run.order}
    return found


def alike(a: tuple[float, ...], b: tuple[float, ...], relative: float = RELATIVE) -> bool:
    if not a or not b:
        return True  # not known
    size = max(map(abs, (*a, *b)), default=0.0)
    return len(a) == len(b) and all(abs(x - y) <= relative * size for x, y in zip(a, b))


def at_the_end(runs: list[RankRun]) -> Found | None:
    """Parameters that were the same, got the same gradients, and are not the same afterwards."""
    values = [{s.path: s.prints for s in run.shares[told.VALUE] if s.state == "value"} for run in runs]
    trained = [path for path in runs[0].order if any(s.path == path for s in runs[0].shares[told.CAME])]
    for path in trained:
        for k in range(1, len(runs)):
            if path in values[0] and path in values[k] and not alike(values[0][path], values[k][path]):
                return _changed(runs, runs[k], runs[0], path, "parameter", None)
    return None


def _changed(runs: list[RankRun], run: RankRun, base: RankRun, path: str, kind: str, index: int | None) -> Found:
    """The line that changed it on one of the two, and not on the other."""
    source, whose, does = None, run, ""
    for one, other in ((base, run), (run, base)):
        for call in changes(one, path):
            only = parting(call.stack, other.lines)
            if only is not None:
                source, whose = decides(one.trace, only) or only, one
                who, not_who = capital(names([one.rank])), names([other.rank])
                does = f" {who} changes it ({call.name}{at(call.source)}) and {not_who} does not."
                break
        if source is not None:
            break
    held = base.held.get(path)
    if source is None and held is not None:
        mine = [c.source for c in changes(run, path)]
        source, whose = (mine[-1] if mine else held.made_at), run if mine else base
    differ = "and nothing (no broadcast) makes them the same"
    seeds = len({each.trace.seed for each in runs}) > 1
    hint = " The ranks have different seeds." if seeds and not does and kind == "parameter" else ""
    if hint:
        source = seeded_apart(whose.trace) or source
    sentence = (
        f"The {kind} {path} is not the same on all ranks, {differ}: {names([run.rank])} computes with another one "
        f"than {names([base.rank])}.{does}{hint}"
    )
    return Found(STATE, run.rank, path, whose, source, sentence, index)


def changes(run: RankRun, path: str) -> list[Call]:
    """The calls that changed a tensor of a module, or put another in its place."""
    found = []
    for call in run.calls:
        in_place = call.name.endswith("_") and not call.name.endswith("__")  # also of what was not seen before
        if (call.kind == kinds.IN_PLACE or (call.kind == kinds.OPERATION and in_place)) and not call.within:
            touched = (*call.inputs[:1], *call.outputs, *call.aliases)
        elif call.kind == kinds.ATTRIBUTE:
            touched = call.outputs
        elif call.kind == kinds.STEP:
            touched = call.leaves
        elif call.kind == kinds.OPERATION and not call.within:
            touched = call.outputs  # what a module was given in place of its own
        else:
            continue
        if any(run.path_of(value) == path for value in touched):
            found.append(call)
    return found


# -- buffers ----------------------------------------------------------------------------------------------------------


def _buffers(runs: list[RankRun], segments: list[Segment]) -> Found | None:
    """Buffers that the forward part reads: what batch norm gathers differs by design."""
    read = [_read_buffers(run, segment) for run, segment in zip(runs, segments)]
    for path in read[0]:
        for k in range(1, len(runs)):
            mine, its = read[0][path], read[k].get(path)
            if its is not None and abs(mine - its) > 1e-5 * max(mine, its):
                return _changed(runs, runs[k], runs[0], path, "buffer", None)
    return None


def _read_buffers(run: RankRun, segment: Segment) -> dict[str, float]:
    found: dict[str, float] = {}
    leading: set[Call] = set()
    for event in segment.passes:
        leading |= run.leads_to(event.pass_.loss)
    for call in run.calls[segment.first : segment.last]:
        if call in leading and "batch_norm" not in call.name and "instance_norm" not in call.name:
            for value in call.inputs:
                path = run.path_of(value)
                if path and run.held[path].kind in ("buffer", "attribute") and value.norm is not None:
                    found.setdefault(path, value.norm)
    return found


# -- requires_grad ----------------------------------------------------------------------------------------------------


def _requires_grad(runs: list[RankRun]) -> Found | None:
    for path in runs[0].order:
        said = [run.held[path].requires_grad if path in run.held else None for run in runs]
        if False not in said or True not in said:
            continue
        frozen, free = runs[said.index(False)], runs[said.index(True)]
        sets = [c for c in frozen.calls if c.kind == kinds.REQUIRES_GRAD and _touches(frozen, c, path)]
        source = _deciding(frozen, free, sets[-1]) if sets else frozen.held[path].frozen_at
        sentence = (
            f"{path} does not require grad on {names([frozen.rank])}{at(sets[-1].source) if sets else ''}, and does on "
            f"{names([free.rank])}: it is frozen on {names([frozen.rank])} alone."
        )
        return Found(STATE, frozen.rank, path, frozen, source, sentence)
    return None


def _touches(run: RankRun, call: Call, path: str) -> bool:
    return any(run.path_of(value) == path for value in (*call.inputs, *call.outputs))


def _deciding(run: RankRun, other: RankRun, call: Call) -> Source | None:
    only = parting(call.stack, other.lines)
    return (decides(run.trace, only) or only) if only is not None else call.source
