"""Whether each gradient was reduced, once, and with the right weights."""

from __future__ import annotations

import math

from ...trace import calls as kinds
from ...trace.calls import Call
from ...trace.events import PassBegun, Source
from .found import NOT_REDUCED, SKIPPED, TWICE, WEIGHT, Found, at, capital, names
from .lines import decides, parting, text_at
from .losses import Reduced, is_shared, reductions
from .mixed import Mixed, collectives_of, mixed
from .run import REDUCES, Met, RankRun, Segment

NEAR = 0.02  # relative: of shares, which rounding hardly touches
AVERAGES = ("avg",)


def near(a: float, b: float) -> bool:
    return abs(a - b) <= NEAR * max(abs(a), abs(b), 1e-9)


def gradients(runs: list[RankRun], segments: list[Segment]) -> Found | None:
    """What is wrong with the gradients of one segment, gravest first. Under `join` ranks stand in for each other."""
    if any(met.noted.by == "join" for run in runs for met in run.met):
        return None
    paths = [
        path for path in _order(runs) if any(True for run, part in zip(runs, segments) for _ in run.came(part, path))
    ]
    found = mixed(runs, segments, paths)
    found = [each for each in found if any(abs(x) > 1e-6 for shares in each.shares for x in shares or ())]
    found.sort(key=lambda each: paths.index(each.paths[0]))
    for path in paths:
        answer = _nonlinear(runs, segments, path)
        if answer is not None:
            return answer
    questions = (_not_reduced, _twice, _weights)
    for question in questions:
        for each in found:
            answer = question(runs, segments, each)
            if answer is not None:
                return answer
    return None


def _order(runs: list[RankRun]) -> list[str]:
    return list(dict.fromkeys(path for run in runs for path in run.order))


# -- a backward that was left out ------------------------------------------------------------------


def skipped(runs: list[RankRun]) -> Found | None:
    """A rank with fewer passes than others."""
    counts = [len(run.passes) for run in runs]
    if len(set(counts)) < 2 or any(met.noted.by == "join" for run in runs for met in run.met):
        return None
    most = runs[counts.index(max(counts))]
    k = next(i for i, count in enumerate(counts) if count < max(counts))
    run = runs[k]
    index, event = _extra(most, run)
    mark = most.mark_of(event)
    if all(_is_global(most, each) for each in most.passes):
        return None
    source = event.source
    if mark is not None:
        only = parting(mark.stack, run.lines)
        source = _first_decision(most, [only] if only is not None else [*mark.stack]) or event.source
    parameter = next((path for path in most.order if any(s.path == path for s in most.shares["came"])), "")
    sentence = (
        f"{capital(names([run.rank]))} skipped a backward{at(event.source)} that {names([most.rank])} runs: "
        f"{counts[k]} instead of {max(counts)}. What it gives to the reduction of {parameter} counts as zero."
    )
    return Found(SKIPPED, run.rank, parameter, most, source, sentence, index)


def _first_decision(run: RankRun, places: list[Source]) -> Source | None:
    return next((found for found in (decides(run.trace, place) for place in places) if found is not None), None)


def _extra(most: RankRun, run: RankRun) -> tuple[int, PassBegun]:
    """The first pass of one rank that another has not."""
    for index, event in enumerate(most.passes):
        if index >= len(run.passes) or run.passes[index].source != event.source:
            return index, event
    return len(most.passes) - 1, most.passes[-1]


def _is_global(run: RankRun, event: PassBegun) -> bool:
    """Whether its loss divides by what all ranks counted together: a rank without rows may leave it out."""
    found = reductions(run, event)
    return bool(found) and all(is_shared(run, each) for each in found)


# -- kept for itself -------------------------------------------------------------------------------


def _not_reduced(runs: list[RankRun], segments: list[Segment], each: Mixed) -> Found | None:
    if not each.is_whole:
        return _to_one(runs, segments, each)
    keeps = [k for k in range(len(runs)) if _keeps_its_own(each, k)]
    differ = any(not _same(each.shares[0], shares) for shares in each.shares[1:])
    if not differ or _averages_parameters(runs, segments, each.paths[0]):
        return None
    if not keeps and not any(_is_partial(each, k) for k in range(len(runs))):
        return None
    path, run = each.paths[0], runs[keeps[0] if keeps else 0]
    segment = segments[runs.index(run)]
    alone = len(keeps) not in (0, len(runs))
    source, reason = (_left_out(runs, segments, path, run) if alone else None) or _why_own(run, segment, path, runs)
    whose = f"{names([runs[k].rank for k in keeps])} keeps its own" if alone else "each rank keeps its own"
    sentence = f"The gradient of {path} was not reduced: {whose}. {reason}"
    return Found(NOT_REDUCED, runs[keeps[0]].rank if alone and len(keeps) == 1 else None, path, run, source, sentence)


def _left_out(
    runs: list[RankRun], segments: list[Segment], path: str, run: RankRun
) -> tuple[Source | None, str] | None:
    """A collective of the other ranks, whose group this one is not in."""
    if collectives_of(run, segments[runs.index(run)], path):
        return None
    for other, segment in zip(runs, segments):
        for met in collectives_of(other, segment, path):
            if not met.noted.by and run.rank not in met.noted.ranks:
                group = ", ".join(map(str, met.noted.ranks))
                where = at(met.call.source)
                return met.call.source, f"The {met.call.name}{where} is one of a group of ranks {group} alone."
    return None


def _to_one(runs: list[RankRun], segments: list[Segment], each: Mixed) -> Found | None:
    """What a `reduce` leaves on the ranks that do not get the sum means nothing."""
    path, run = each.paths[0], runs[0]
    mets = [met for met in collectives_of(run, segments[0], path) if met.call.name == "reduce"]
    if not mets or _averages_parameters(runs, segments, path):
        return None
    sentence = (
        f"The gradient of {path} was not reduced on all ranks: the reduce{at(mets[-1].call.source)} gives the sum to "
        f"rank {mets[-1].noted.root} alone. all_reduce gives it to all."
    )
    return Found(NOT_REDUCED, None, path, run, mets[-1].call.source, sentence)


def _keeps_its_own(each: Mixed, k: int) -> bool:
    """Whether some pass of other ranks, which brought something, is no part of what rank k ends with."""
    own = [abs(x) for (source, _), x in zip(each.keys, each.shares[k]) if source == k]
    others = [abs(x) for (source, _), x in zip(each.keys, each.shares[k]) if source != k]
    passes = {index for source, index in each.keys if source == k}
    for index in passes:
        mine = abs(each.of(k, k, index))
        its = [abs(each.of(k, source, index)) for source, at in each.keys if at == index and source != k]
        if its and mine > 1e-3 and max(its) < 1e-3 * mine:
            return True
    return bool(own and others) and max(own) > 1e-3 and max(others) < 1e-3 * max(own)


def _is_partial(each: Mixed, k: int) -> bool:
    shares = [abs(x) for x in each.shares[k]]
    return min(shares) < 1e-3 * max(shares) if max(shares, default=0) else False


def _same(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    size = max(map(abs, (*a, *b)))
    return all(abs(x - y) <= NEAR * size for x, y in zip(a, b))


def _averages_parameters(runs: list[RankRun], segments: list[Segment], path: str) -> bool:
    """The parameters themselves are brought together afterwards, instead of their gradients."""
    run, segment = runs[0], segments[0]
    last = max([run.mark_of(event).id for event in segment.passes if run.mark_of(event)], default=0)
    return any(met.call.id > last and path in met.owners for met in run.met)


def _why_own(run: RankRun, segment: Segment, path: str, runs: list[RankRun]) -> tuple[Source | None, str]:
    """The line to look at, and what stands there."""
    touched = collectives_of(run, segment, path)
    last = max([run.mark_of(event).id for event in segment.passes if run.mark_of(event)], default=0)
    by_hand = [met for met in touched if not met.noted.by]
    if by_hand:
        return _by_hand(run, by_hand, path, last, len(runs))
    quiet = [c for c in run.calls[segment.first : segment.last] if c.kind == kinds.NO_SYNC]
    forwards = [c for c in run.calls[segment.first : segment.last] if c.kind == kinds.MODULE and c.grad]
    ddp = [c for c in forwards if c.name == "DistributedDataParallel"]
    if ddp and quiet and "no_sync" in ddp[-1].note:
        return quiet[-1].source, f"Its last backward belongs to a forward in no_sync(){at(quiet[-1].source)}."
    is_reduced = any(met.noted.by == "DDP" and f"{path}.grad" in met.owners for met in run.met)
    if quiet and not is_reduced and any("no_sync" in c.note for c in ddp):
        return quiet[-1].source, f"Its forward ran in no_sync(){at(quiet[-1].source)}."
    if ddp:
        return _not_in_ddp(run, path, ddp[-1])
    for event in segment.passes[-1:]:
        leading = run.leads_to(event.pass_.loss)
        for met in run.met:
            if any(x is event.pass_.loss or run.giver.get(x) in leading for x in met.call.inputs):
                where = at(met.call.source)
                return met.call.source, f"The {met.call.name} of the loss{where} changes its number, not its gradients."
    others = [met for met in run.met if segment.first <= met.call.id < segment.last and run.gradients_in(met)]
    if others:
        met = others[-1]
        source = decides(run.trace, met.call.source) or met.call.source
        return source, (
            f"The {met.call.name} of other gradients{at(met.call.source)} leaves it out, as line "
            f"{source[1] if source else '?'} decides."
        )
    outer = [c for c in forwards if c.source is not None]
    source = next((c.source for c in outer), None)
    return source, (
        f"No collective touched it, and its forward{at(source)} did not go through a DistributedDataParallel: the "
        f"module inside was called."
    )


def _by_hand(run: RankRun, touched: list[Met], path: str, last: int, world: int) -> tuple[Source | None, str]:
    met = touched[-1]
    named = f"The {met.call.name}{at(met.call.source)}"
    if met.call.id < last:
        return _apart(run, met.call, last), f"{named} ran before the last backward, which added to it."
    if len(met.noted.ranks) < world:
        made = f"a group of {len(met.noted.ranks)} of {world} ranks"
        return met.call.source, f"{named} is one of {made}."
    if met.call.name == "reduce":
        return met.call.source, f"{named} gives the sum to rank {met.noted.root} alone."
    if met.noted.state != "done":
        return met.call.source, f"{named} is asynchronous, and nothing waited for it."
    copied = [c for c in run.calls if c.id < met.call.id and c.outputs and set(c.outputs) & set(met.call.inputs)]
    return met.call.source, (
        f"{named} was given a copy{at(copied[-1].source) if copied else ''}, and the result was not written back to "
        f".grad."
    )


def _apart(run: RankRun, call: Call, other: int) -> Source | None:
    """The outermost line of a call that is not also one of the other's."""
    pairs = zip(reversed(call.stack), reversed(run.calls[other].stack))
    return next((a for a, b in pairs if a != b), call.source)


def _not_in_ddp(run: RankRun, path: str, ddp: Call) -> tuple[Source | None, str]:
    for call in (c for c in run.calls if c.kind in (kinds.ATTRIBUTE, kinds.REQUIRES_GRAD)):
        if any(run.path_of(value) == path for value in (*call.inputs, *call.outputs)):
            return call.source, f"It was changed here{at(call.source)}, after DDP had looked at the parameters."
    replaced = [c for c in run.calls if c.kind == kinds.ATTRIBUTE and any(map(run.path_of, c.outputs))]
    if replaced:
        source = replaced[-1].source
        name = run.path_of(replaced[-1].outputs[0])
        return source, f"{name} was replaced{at(source)} after DDP had looked: it waits for the one of before."
    held = run.held.get(path)
    made = held.made_at if held is not None else None
    return made or ddp.source, "DDP does not know this parameter."


# -- twice -----------------------------------------------------------------------------------------


def _twice(runs: list[RankRun], segments: list[Segment], each: Mixed) -> Found | None:
    if not each.is_whole:
        return None
    run, segment, path, world = runs[0], segments[0], each.paths[0], len(runs)
    reduces = [met for met in collectives_of(run, segment, path) if met.call.name in REDUCES]
    totals = {index: each.total(0, index) for _, index in each.keys}
    times = {index: _after(run, segment, reduces, index) for index in totals}
    often = [index for index in totals if len(times[index]) > 1]
    if not often:
        return None
    uneven = len(totals) > 1 and not all(near(x, min(totals.values())) for x in totals.values())
    grown = any(_is_power(totals[index] * _fair(run, segment, index), world) for index in often)
    if not (uneven or grown):
        return None
    mets = times[often[0]]
    by_hand = [met for met in mets if not met.noted.by]
    second = by_hand[0] if len(by_hand) == 1 else next((met for met in mets[1:] if not met.noted.by), mets[-1])
    first = next(met for met in mets if met is not second)
    if first is second or first.call.source == second.call.source:
        before = f"by the same {second.call.name}{at(second.call.source)}, more than once"
    else:
        one = "by DDP" if first.noted.by == "DDP" else f"by the {first.call.name}{at(first.call.source)}"
        before = f"{one}, and again by the {second.call.name}{at(second.call.source)}"
    grows = max(abs(totals[index]) for index in often)
    sentence = (
        f"The gradient of {path} was reduced twice: {before}. Each rank's part counts {grows / world:.4g} times, "
        f"where a mean counts it {1 / world:.4g} times."
    )
    return Found(TWICE, None, path, run, second.call.source, sentence)


def _after(run: RankRun, segment: Segment, reduces: list[Met], index: int) -> list[Met]:
    """The reductions that a pass's contribution went through."""
    event = segment.passes[index] if index < len(segment.passes) else None
    mark = run.mark_of(event) if event is not None else None
    return [met for met in reduces if mark is not None and met.call.id > mark.id]


def _fair(run: RankRun, segment: Segment, index: int) -> float:
    """1, or the factor by which the loss divides by the number of ranks itself."""
    if index >= len(segment.passes):
        return 1.0
    found = reductions(run, segment.passes[index])
    divides = [factor for each in found for call, factor in each.factors if _names_world(run, call)]
    return divides[0] if divides else 1.0


def _is_power(x: float, world: int) -> bool:
    """Whether it is the number of ranks, or a power of it above that."""
    if x <= 1.5:
        return False
    power = math.log(x) / math.log(world)
    return abs(power - round(power)) < 0.02


def _names_world(run: RankRun, call: Call) -> bool:
    text = text_at(run.trace, call.source).lower()
    return "world" in text


# -- weights ---------------------------------------------------------------------------------------


def _weights(runs: list[RankRun], segments: list[Segment], each: Mixed) -> Found | None:
    if not each.is_whole or any(not _same(each.shares[0], shares) for shares in each.shares[1:]):
        return None
    return _uneven(runs, segments, each) or _divisor(runs, segments, each)


def _uneven(runs: list[RankRun], segments: list[Segment], each: Mixed) -> Found | None:
    """Rows of one rank count more than those of another."""
    for index in dict.fromkeys(index for _, index in each.keys):
        bring = [k for k in _bring(each, index) if index < len(segments[k].passes)]
        losses = [reductions(runs[k], segments[k].passes[index]) for k in bring]
        if len(bring) < 2 or not all(losses) or len(set(map(len, losses))) > 1:
            continue
        for those in zip(*losses):
            if len({reduced.call.source for reduced in those}) > 1:
                continue
            shares = [each.of(0, k, index) for k in bring]
            weights = [share * reduced.weight for share, reduced in zip(shares, those)]
            if any(not near(weight, weights[0]) for weight in weights):
                return _told_uneven([runs[k] for k in bring], each, index, those, shares)
    return _only_some(runs, each)


def _bring(each: Mixed, index: int) -> list[int]:
    """The ranks whose pass brought something else than zeros."""
    return [k for k, at in each.keys if at == index and (k, at) not in each.silent]


def _told_uneven(runs: list[RankRun], each: Mixed, index: int, those: tuple[Reduced, ...], shares: list) -> Found:
    call = _first_different(those)
    path, rows = each.paths[0], [reduced.rows for reduced in those]
    if not all(near(share, shares[0]) for share in shares) and len(set(rows)) == 1 and call is those[0].call:
        return _told_shares(runs, each, shares)
    counted = ", ".join(f"{run.rank}: {n:g}" for run, n in zip(runs, rows))
    by = "the batch size" if len(set(rows)) > 1 else "a number of its own"
    sentence = (
        f"Each rank's loss{at(call.source)} is divided by {by} (rows of rank {counted}), and the average over ranks "
        f"counts all ranks alike: rows of a small batch weigh more than those of a large one in the gradient of {path}."
    )
    return Found(WEIGHT, None, path, runs[0], call.source, sentence, index)


def _first_different(those: tuple[Reduced, ...]) -> Call:
    first = those[0]
    if first.is_mean and any(reduced.count != first.count for reduced in those):
        return first.call
    for steps in zip(*(reduced.factors for reduced in those)):
        if any(not near(factor, steps[0][1]) for _, factor in steps):
            return steps[0][0]
    return first.call


def _only_some(runs: list[RankRun], each: Mixed) -> Found | None:
    """All ranks end with the same, in which some rank has no part although it brought something."""
    for index in dict.fromkeys(index for _, index in each.keys):
        shares = [each.of(0, k, index) for k in _bring(each, index)]
        if len(shares) == len(runs) and min(map(abs, shares)) < 1e-3 * max(map(abs, shares)):
            return _told_shares(runs, each, shares)
    return None


def _told_shares(runs: list[RankRun], each: Mixed, shares: list[float]) -> Found:
    path = each.paths[0]
    source, name = _last_touch(runs[0], path)
    clips = [c for c in runs[0].calls if c.kind == kinds.CLIP]
    if clips and _clips_before(runs[0], clips[-1], path):
        sentence = (
            f"Each rank clips its own gradient{at(clips[-1].source)} before the {name}{at(source)}, so the ranks have "
            f"different weights in the gradient of {path}. Clip what was reduced."
        )
        return Found(WEIGHT, None, path, runs[0], clips[-1].source, sentence)
    told = ", ".join(f"{share:.3g} of rank {run.rank}" for run, share in zip(runs, shares))
    sentence = f"The {name}{at(source)} gives the gradient of {path} with wrong weights: {told}."
    return Found(WEIGHT, None, path, runs[0], source, sentence)


def _clips_before(run: RankRun, clip: Call, path: str) -> bool:
    return any(met.call.id > clip.id and path in run.gradients_in(met) for met in run.met)


def _last_touch(run: RankRun, path: str) -> tuple[Source | None, str]:
    mets = [met for met in run.met if path in run.gradients_in(met)]
    return (mets[-1].call.source, mets[-1].call.name) if mets else (None, "reduction")


def _divisor(runs: list[RankRun], segments: list[Segment], each: Mixed) -> Found | None:
    """The sum over ranks is not divided by their number, or the loss divides by it as well."""
    run, segment, world, path = runs[0], segments[0], len(runs), each.paths[0]
    passes = list(dict.fromkeys(index for _, index in each.keys))
    for index in passes:
        if index >= len(segment.passes) or len([1 for _, at in each.keys if at == index]) < world:
            continue
        share = each.total(0, index) / world
        losses = reductions(run, segment.passes[index])
        scale = losses[0].scale if losses and losses[0].is_mean else None
        ours = [call for reduced in losses for call, factor in reduced.factors if near(factor, 1 / world)]
        named = [call for call in ours if _names_world(run, call)]
        if near(share, 1 / world):
            if named and len(passes) != world and scale is not None and near(scale, 1 / world):
                return _told_loss(run, path, named[0], world)
            continue
        total = share * world * (scale if scale is not None else 1.0)
        if near(total, 1.0) or near(total * len(passes), 1.0):
            continue
        if not _is_wrong(share, world, scale, _numbers(run, segment, path)):
            continue
        return _told_divisor(run, segment, path, share, world)
    return None


def _is_wrong(share: float, world: int, scale: float | None, numbers: list[float]) -> bool:
    """Whether it is one over a whole number, as somebody who divides by the wrong one gets it. `numbers`: those that
    stand in divisions of the gradient."""
    if share <= 0:
        return False
    divisor = 1 / share
    whole = [*range(1, 2 * world + 1), world * world, math.prod(numbers) if numbers else 1]
    if not any(near(divisor, d) for d in whole if d != world):
        return False
    return scale is not None or divisor > 1.5  # a sum may be meant, where nobody knows what the loss divides by


def _told_loss(run: RankRun, path: str, call: Call, world: int) -> Found:
    sentence = (
        f"The loss is divided by the number of ranks{at(call.source)}, and the gradient of {path} is averaged over "
        f"ranks as well: it is {world} times too small, by a wrong divisor."
    )
    return Found(WEIGHT, None, path, run, call.source, sentence)


def _divisions(run: RankRun, segment: Segment, path: str) -> list[Call]:
    """What divides or multiplies this gradient, by hand, also as part of the flat tensor that was reduced."""
    given = {x for met in collectives_of(run, segment, path) for x in (*met.call.inputs, *met.call.outputs)}
    return [
        call
        for call in run.calls[segment.first : segment.last]
        if call.kind in (kinds.GRAD_SET, kinds.OPERATION, kinds.IN_PLACE)
        and call.name.strip("_") in ("div", "truediv", "mul", "true_divide")
        and any(run.grads.get(x) == path or x in given for x in (*call.inputs, *call.outputs))
    ]


def _numbers(run: RankRun, segment: Segment, path: str) -> list[float]:
    divisions = [call for call in _divisions(run, segment, path) if "mul" not in call.name]
    return [number for call in divisions for number in call.numbers if number > 1]


def _told_divisor(run: RankRun, segment: Segment, path: str, share: float, world: int) -> Found:
    mets = [met for met in collectives_of(run, segment, path) if not met.noted.by]
    divides = [c for c in _divisions(run, segment, path) if not mets or c.id > mets[-1].call.id]
    source = divides[-1].source if divides else mets[-1].call.source if mets else None
    name = mets[-1].call.name if mets else "reduction"
    divisor = 1 / share
    by = f"divided by {divisor:.4g}" if divisor > 1.01 else "not divided at all"
    summed = at(mets[-1].call.source) if mets else ""
    sentence = (
        f"The sum over {world} ranks of the gradient of {path} (by the {name}{summed}) is {by}"
        f"{at(source) if divides else ''}; an average divides by {world}, the number of ranks."
    )
    return Found(WEIGHT, None, path, run, source, sentence)


def _nonlinear(runs: list[RankRun], segments: list[Segment], path: str) -> Found | None:
    """What is no mixture of the ranks' gradients: a maximum, say."""
    run = runs[0]
    mets = [met for met in collectives_of(run, segments[0], path) if met.noted.op in ("max", "min", "product")]
    mets = [met for met in mets if f"{path}.grad" in met.owners]
    if mets:
        met = mets[-1]
        sentence = (
            f"The {met.call.name}{at(met.call.source)} of the gradient of {path} takes the {met.noted.op} over ranks, "
            f"which is no average: each rank's part has a wrong weight."
        )
        return Found(WEIGHT, None, path, run, met.call.source, sentence)
    return None
