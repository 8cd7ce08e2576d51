"""How the gradients that ranks end with are made of those that their passes brought: found by their prints."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .run import RankRun, Segment

TOLERANCE = 2e-3
Key = tuple[int, int]  # (place of a rank among the runs, pass of the segment)


@dataclass(frozen=True, eq=False)
class Mixed:
    """Of some parameters alike: on each rank, how much of each rank's each pass is in the gradient at the end."""

    paths: tuple[str, ...]
    keys: tuple[Key, ...]
    shares: tuple[tuple[float, ...] | None, ...]  # [rank][key]; None where no mixture explains what a rank ends with

    silent: frozenset[Key] = frozenset()  # passes that brought zeros

    @property
    def is_whole(self) -> bool:
        return all(shares is not None for shares in self.shares)

    def of(self, k: int, source: int, index: int) -> float:
        return self.shares[k][self.keys.index((source, index))] if (source, index) in self.keys else 0.0

    def total(self, k: int, index: int) -> float:
        return sum(share for (_, at), share in zip(self.keys, self.shares[k]) if at == index)


def mixed(runs: list[RankRun], segments: list[Segment], paths: list[str]) -> list[Mixed]:
    """For groups of the parameters; without those for which it cannot be told."""
    groups: dict[tuple, list[str]] = {}
    for path in paths:
        groups.setdefault(_signature(runs, segments, path), []).append(path)
    found = []
    for (keys, _), group in groups.items():
        together = _solved(runs, segments, group, keys)
        if together is not None and together.is_whole:
            found.append(together)
        else:
            found += filter(None, (_solved(runs, segments, [path], keys) for path in group))
    return found


def _signature(runs: list[RankRun], segments: list[Segment], path: str) -> tuple:
    """Which passes reach it on which rank, and which collectives."""
    keys = tuple([(k, i) for k, (run, part) in enumerate(zip(runs, segments)) for i in _passes(run, part, path)])
    return keys, tuple(touching(runs[0], segments[0], path))


def _passes(run: RankRun, segment: Segment, path: str) -> list[int]:
    return sorted({index for index, _ in run.came(segment, path)})


def touching(run: RankRun, segment: Segment, path: str) -> list[tuple]:
    """What identifies the collectives of a segment that this gradient is part of."""
    return [(met.name, met.call.source) for met in collectives_of(run, segment, path)]


def collectives_of(run: RankRun, segment: Segment, path: str) -> list:
    return [met for met in run.met if segment.first <= met.call.id < segment.last and path in run.gradients_in(met)]


def _solved(runs: list[RankRun], segments: list[Segment], paths: list[str], keys: tuple[Key, ...]) -> Mixed | None:
    if not keys:
        return None
    columns = [[] for _ in keys]
    finals = [[] for _ in runs]
    for path in paths:
        came = [_came(runs[k], segments[k], path, index) for k, index in keys]
        ends = [run.final(part, path) for run, part in zip(runs, segments)]
        if any(each is None for each in came) or any(end is None or end.state == "nan" for end in ends):
            return None
        if any(end.state == "local" for end in ends):
            return None
        for column, prints in zip(columns, came):
            column += prints
        for column, end in zip(finals, ends):
            column += end.prints or (0.0,) * len(came[0])
    a = torch.tensor(columns, dtype=torch.float64).T
    b = torch.tensor(finals, dtype=torch.float64).T
    return _fitted(paths, keys, a, b)


def _came(run: RankRun, segment: Segment, path: str, index: int) -> tuple[float, ...] | None:
    prints = [each for i, each in run.came(segment, path) if i == index]
    if not prints or not all(prints):
        return None
    return tuple(map(sum, zip(*prints)))


def _fitted(paths: list[str], keys: tuple[Key, ...], a: torch.Tensor, b: torch.Tensor) -> Mixed | None:
    """Least squares. None where a linear mixture explains nothing, or too many would."""
    size = a.norm(dim=0)
    keep = size > 0
    if not keep.any():
        return None
    scaled = a[:, keep] / size[keep]
    if scaled.shape[0] < scaled.shape[1] + 2:
        return None
    inverse = torch.linalg.pinv(scaled, rtol=1e-4)
    solved = inverse @ b
    rest = (scaled @ solved - b).norm(dim=0)
    fits = rest <= TOLERANCE * torch.maximum(b.norm(dim=0), torch.full_like(rest, 1e-12))
    if not fits.any():
        return None
    shares = torch.zeros(a.shape[1], b.shape[1], dtype=torch.float64)
    shares[keep] = solved / size[keep].unsqueeze(1)
    found = [tuple(row) if fit else None for row, fit in zip(shares.T.tolist(), fits.tolist())]
    return Mixed(tuple(paths), keys, tuple(found), frozenset(k for k, kept in zip(keys, keep.tolist()) if not kept))
