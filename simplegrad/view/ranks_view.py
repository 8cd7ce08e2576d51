"""What the Ranks page shows, as data: the runs that several traces belong to, and ranks by passes of one."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..comparison.ranks import RankReport, compare_ranks
from ..comparison.ranks.table import Cell
from ..trace.trace import Trace
from .why_view import place_row

SAID = {
    "nan": "a NaN is born",
    "hang": "the others wait for it",
    "not_reduced": "a gradient was not reduced",
    "reduced_twice": "a gradient was reduced twice",
    "wrong_weight": "a gradient was reduced with wrong weights",
    "state_differs": "the ranks have different states",
    "order": "collectives of different tensors met",
    "skipped": "a backward was skipped",
    "none": "healthy",
}
WANTED = (
    "Traces of the ranks of one run stand side by side here. Record with "
    "record_torch(model, save='run.{rank}.trace') on each rank, then open the files below, or start with "
    "simplegrad app run.*.trace."
)


def runs_of(traces: Mapping[str, Trace]) -> dict[str, dict[int, str]]:
    """run.{rank}.trace -> rank -> the name of its trace, for each run of which there are several ranks."""
    found: dict[str, dict[int, str]] = {}
    for name, trace in traces.items():
        if trace.kind == "torch" and trace.rank is not None:
            title = re.sub(rf"(?<!\d){trace.rank}(?!\d)(?!.*(?<!\d){trace.rank}(?!\d))", "{rank}", name)
            found.setdefault(title, {}).setdefault(trace.rank, name)
    return {title: dict(sorted(ranks.items())) for title, ranks in found.items() if len(ranks) > 1}


def facts_of(names: Mapping[int, str], traces: Mapping[str, Trace]) -> dict:
    """The report, with the table of passes; or why there is none."""
    try:
        report = compare_ranks([traces[name] for name in names.values()])
    except ValueError as error:
        return {"problem": str(error)}
    return {
        "what": report.what,
        "said": SAID[report.what],
        "ok": report.ok,
        "rank": report.rank,
        "parameter": report.parameter,
        "sentence": report.sentence,
        "place": place_row(report.place),
        "rows": table(report, names),
        "differences": [[f"{each.what} {each.name}".strip(), *each.said] for each in report.differences],
        "ranks": list(names),
    }


def table(report: RankReport, names: Mapping[int, str]) -> list[dict]:
    """A row for each rank; a cell for each pass that any rank ran, None where this one did not. `bad`: the first."""
    count = max((len(row.cells) for row in report.rows), default=0)
    bad = first_bad(report, count)
    rows = []
    for row in report.rows:
        cells = [cell_row(row.cells[i]) if i < len(row.cells) else None for i in range(count)]
        place = bad[1] if bad is not None and bad[0] == row.rank else None
        more = {"collectives": row.collectives, "error": row.error, "bad": place}
        rows.append({"rank": row.rank, "name": names.get(row.rank, ""), "cells": cells, **more})
    return rows


def first_bad(report: RankReport, count: int) -> tuple[int, int] | None:
    """(rank, pass) of the first cell that shows what is wrong; the first rank's where all are alike."""
    if report.ok or not report.rows or not count:
        return None
    rank = report.rank if report.rank in {row.rank for row in report.rows} else report.rows[0].rank
    cells = next(row.cells for row in report.rows if row.rank == rank)
    flawed = next((i for i, cell in enumerate(cells) if cell.kind), None) if report.what == "nan" else None
    index = report.pass_index if flawed is None else flawed
    return rank, min(index or 0, count - 1)


def cell_row(cell: Cell) -> list:
    """[norm of the gradients, loss, "nan" or "inf" or "", collectives, event, line]"""
    return [cell.gradient, cell.loss, cell.kind, cell.collectives, cell.event, cell.line]
