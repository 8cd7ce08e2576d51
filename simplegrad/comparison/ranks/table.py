"""Ranks by passes, and what the ranks differ in without being at fault for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ...trace import ranks as told
from ...trace.events import PassBegun
from ..gaps import norm_of
from .run import RankRun
from .state import alike


@dataclass(frozen=True)
class Cell:
    """One pass of a rank. `loss`, `gradient`: norms, None where unknown; `kind`: "nan" or "inf". `event`: its first."""

    loss: float | None
    gradient: float | None
    kind: str
    collectives: int
    event: int
    line: int | None

    def as_json(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Row:
    rank: int
    cells: tuple[Cell, ...]
    collectives: int
    error: str = ""

    def as_json(self) -> dict:
        cells = [cell.as_json() for cell in self.cells]
        return {"rank": self.rank, "passes": cells, "collectives": self.collectives, "error": self.error}

    def __str__(self) -> str:
        told = [f"pass {i}: |grad| {_number(cell)}" for i, cell in enumerate(self.cells)]
        error = f"; {self.error}" if self.error else ""
        return f"  rank {self.rank}: {', '.join([*told, f'{self.collectives} collectives'])}{error}"


def _number(cell: Cell) -> str:
    return cell.kind or ("?" if cell.gradient is None else f"{cell.gradient:.4g}")


def rows(runs: list[RankRun]) -> list[Row]:
    return [_row(run) for run in runs]


def _row(run: RankRun) -> Row:
    cells, before = [], 0
    for i, event in enumerate(run.passes):
        following = run.passes[i + 1].index if i + 1 < len(run.passes) else 1 << 60
        joined = sum(1 for met in run.met if before <= met.call.event < following)
        cells.append(_cell(run, event, joined))
        before = following
    error = run.trace.error
    said = error.message.splitlines()[0][:200] if error is not None and error.message else ""
    return Row(run.rank, tuple(cells), len(run.met), said)


def _cell(run: RankRun, event: PassBegun, joined: int) -> Cell:
    filled = [each for each in run.trace.filled if each.pass_id == event.pass_.id and each.accumulates]
    kind = next((each.after_kind for each in filled if each.after_kind), "") or event.pass_.loss.nonfinite or ""
    known = [each.after for each in filled if each.after is not None]
    gradient = sum(x * x for x in known) ** 0.5 if known else None
    loss = norm_of(event.pass_.loss)
    return Cell(
        None if loss is None or loss == float("inf") else loss,
        gradient,
        kind,
        joined,
        event.index,
        event.source[1] if event.source else None,
    )


@dataclass(frozen=True)
class Difference:
    """`name`: of a parameter, buffer or module; `said`: what it is on each rank."""

    what: str
    name: str
    said: tuple[str, ...]

    def as_json(self) -> dict:
        return {"what": self.what, "name": self.name, "ranks": list(self.said)}

    def __str__(self) -> str:
        told = ", ".join(f"rank {i}: {text}" for i, text in enumerate(self.said))
        return f"{self.what}{f' of {self.name}' if self.name else ''}: {told}"


MOST = 50


def differences(runs: list[RankRun]) -> list[Difference]:
    return [each for _, each in zip(range(MOST), _differences(runs))]


def _differences(runs: list[RankRun]) -> Iterator[Difference]:
    yield from _row_of("seed", "", [str(run.trace.seed) for run in runs])
    paths = list(dict.fromkeys(path for run in runs for path in run.held))
    for path in paths:
        held = [run.held.get(path) for run in runs]
        if any(each is None for each in held):
            yield Difference("presence", path, tuple(["no" if each is None else "yes" for each in held]))
            continue
        yield from _row_of("requires_grad", path, [str(each.requires_grad) for each in held])
        yield from _row_of("gradient", path, [_grad(each.grad) for each in held])
    values = [{s.path: s for s in run.shares[told.VALUE] if s.state == "value"} for run in runs]
    ends = [{s.path: s for s in run.shares[told.AT_END] if s.state == "value"} for run in runs]
    for what, found in (("value", values), (".grad", ends)):
        for path in found[0]:
            each = [known.get(path) for known in found]
            if all(each) and any(not alike(each[0].prints, share.prints) for share in each[1:]):
                yield Difference(what, path, tuple([f"{_length(share.prints):.4g}" for share in each]))


def _length(prints: tuple[float, ...]) -> float:
    return (sum(x * x for x in prints) / max(len(prints), 1)) ** 0.5


def _grad(state: str) -> str:
    return state if state in ("none", "nan", "zero") else "there"


def _row_of(what: str, name: str, said: list[str]) -> Iterator[Difference]:
    if len(set(said)) > 1:
        yield Difference(what, name, tuple(said))
