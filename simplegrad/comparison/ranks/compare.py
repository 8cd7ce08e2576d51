"""`compare_ranks(traces)`: the first rank at fault, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...checks.report import Place
from ...trace.texts import lines_of
from ...trace.trace import Trace
from .found import HANG, NONE, Found
from .gradients import gradients, skipped
from .hang import hang, order
from .nan import nan
from .run import RankRun
from .state import at_the_end, state
from .table import Difference, Row, differences, rows

NO_NUMBERS = "No numbers were kept"  # so begins the notice of a trace that has none


@dataclass(frozen=True)
class RankReport:
    """What traces of the ranks of one run say together.

    `what`: nan (a NaN or infinity is born on that rank), hang (a collective waits for it), not_reduced (ranks keep
    their own gradients), reduced_twice, wrong_weight (reduced once, with wrong weights or a wrong divisor),
    state_differs (parameters, buffers, requires_grad, train or eval), order (collectives of different tensors met),
    skipped (it left a backward out), none (healthy). `rank`: the first one at fault, None if all are alike.
    `parameter`: one that shows it, named as in the model, also where DDP around it was recorded. `place`: the line to
    look at, None where the traces do not tell.
    `differences`: what else the ranks differ in; much of that is meant. `rows`: a row for each rank, of its passes.
    """

    rank: int | None
    what: str
    parameter: str
    place: Place | None
    sentence: str
    pass_index: int | None = None
    differences: tuple[Difference, ...] = ()
    rows: tuple[Row, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        return self.what == NONE

    def as_json(self) -> dict:
        return {
            "rank": self.rank,
            "what": self.what,
            "parameter": self.parameter,
            "place": self.place and self.place.as_json(),
            "sentence": self.sentence,
            "pass": self.pass_index,
            "differences": [each.as_json() for each in self.differences],
            "ranks": [row.as_json() for row in self.rows],
        }

    def __str__(self) -> str:
        lines = [self.sentence]
        if self.place is not None:
            lines += [f"  {self.place}", *(f"    | {text}" for text in self.place.text.splitlines())]
        lines += [str(row) for row in self.rows]
        if self.differences:
            lines += ["What the ranks differ in:", *(f"  {each}" for each in self.differences)]
        return "\n".join(lines)


def compare_ranks(traces: Sequence[Trace]) -> RankReport:
    """Which rank is at fault first, and at which line. `traces`: one of each rank, as record_torch gave them.

    Raises ValueError for fewer than two, for two of the same rank, and for traces of different runs.
    """
    runs = _runs(traces)
    found = _first(runs)
    table, wrapped = tuple(rows(runs)), runs[0].wrapped
    differ = tuple([replace(each, name=each.name.removeprefix(wrapped)) for each in differences(runs)])
    if found is None:
        return RankReport(None, NONE, "", None, _healthy(runs), None, differ, table)
    return RankReport(
        found.rank,
        found.what,
        found.parameter.removeprefix(wrapped),
        _place(found),
        _unwrapped(found.sentence, wrapped),
        found.pass_index,
        differ,
        table,
    )


def _unwrapped(sentence: str, wrapped: str) -> str:
    """With paths as the model inside has them; `module.py` is no path."""
    return re.sub(rf"(?<![\w.]){re.escape(wrapped)}(?!py\b)(?=\w)", "", sentence) if wrapped else sentence


def _runs(traces: Sequence[Trace]) -> list[RankRun]:
    traces = list(traces)
    if len(traces) < 2:
        raise ValueError(f"compare_ranks takes one trace of each rank, two at least; got {len(traces)}.")
    for trace in traces:
        if trace.kind != "torch" or trace.rank is None:
            raise ValueError(
                "compare_ranks takes traces that record_torch made after torch.distributed.init_process_group; one of "
                "these has no rank."
            )
        if any(notice.startswith(NO_NUMBERS) for notice in trace.notices):
            raise ValueError("compare_ranks needs numbers: record with values='norm', not with values='none'.")
    ranks = [trace.rank for trace in traces]
    if len(set(ranks)) < len(ranks):
        raise ValueError(f"two of the traces are of the same rank: got {', '.join(map(str, sorted(ranks)))}.")
    if len({trace.world for trace in traces}) > 1:
        raise ValueError("the traces are of runs with different numbers of ranks.")
    return [RankRun(trace, trace.rank) for trace in sorted(traces, key=lambda trace: trace.rank)]


def _first(runs: list[RankRun]) -> Found | None:
    """The questions, in the order in which one fault hides another."""
    found = hang(runs) or _absent(runs) or nan(runs) or skipped(runs)
    if found is not None:
        return found
    for index in range(min(len(run.segments) for run in runs)):
        segments = [run.segments[index] for run in runs]
        found = state(runs, segments, index)
        found = found or (order(runs) if index == 0 else None) or gradients(runs, segments)
        if found is not None:
            return found
    return at_the_end(runs)


def _absent(runs: list[RankRun]) -> Found | None:
    """A rank that has left no trace, where others wait."""
    world, there = runs[0].trace.world or len(runs), {run.rank for run in runs}
    waits = [(run, met) for run in runs for met in run.met if met.waits]
    missing = [rank for rank in range(world) if rank not in there]
    if not waits or not missing:
        return None
    run, met = waits[0]
    sentence = f"Rank {run.rank} waits in {met.call.name}, and rank {missing[0]} has left no trace."
    return Found(HANG, missing[0], "", run, met.call.source, sentence)


def _healthy(runs: list[RankRun]) -> str:
    world, there = runs[0].trace.world or len(runs), len(runs)
    more = "" if there == world else f" (of {world}; the others were not given)"
    parts = {share.path for run in runs for share in run.trace.shares if share.state == "local"}
    said = f"The traces of these {there} ranks{more} show nothing wrong."
    if parts:
        said += f" Of {len(parts)} tensors each rank holds a part of its own: these parts were not compared."
    return said


def _place(found: Found) -> Place | None:
    if found.source is None:
        return None
    file, line = found.source
    lines = lines_of(file, found.run.trace.texts)
    return Place(file, line, line, lines[line - 1] if 0 < line <= len(lines) else "")
