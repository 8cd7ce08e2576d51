"""What a question about ranks finds."""

from __future__ import annotations

from dataclasses import dataclass

from ...trace.events import Source
from ...trace.texts import called
from .run import RankRun

NAN, HANG, NOT_REDUCED, TWICE = "nan", "hang", "not_reduced", "reduced_twice"
WEIGHT, STATE, ORDER, SKIPPED, NONE = "wrong_weight", "state_differs", "order", "skipped", "none"
WHATS = (NAN, HANG, NOT_REDUCED, TWICE, WEIGHT, STATE, ORDER, SKIPPED, NONE)


@dataclass(frozen=True)
class Found:
    """`run`: whose trace names `source`. `pass_index`: which pass it shows in, counted from 0."""

    what: str
    rank: int | None
    parameter: str
    run: RankRun
    source: Source | None
    sentence: str
    pass_index: int | None = None


def at(source: Source | None) -> str:
    """` (train.py, line 12)`"""
    return "" if source is None else f" ({called(source[0])}, line {source[1]})"


def names(ranks: list[int]) -> str:
    """`rank 1`, `ranks 0 and 2`"""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
