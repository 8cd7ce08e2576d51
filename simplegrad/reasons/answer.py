"""What an answer is made of."""

from __future__ import annotations

from dataclasses import dataclass

from ..checks.report import Place
from ..trace.events import Source
from ..trace.texts import called, lines_of
from ..trace.trace import Trace

STATES = ("none", "zero", "nan", "tiny", "huge", "stale", "value")
# Why a gradient of a PyTorch run is what it is.
CAUSES = (
    "detach",
    "data",
    "no_grad",
    "left_torch",
    "rewrap",
    "not_differentiable",
    "unused",
    "not_a_parameter",
    "other_object",
    "non_leaf",
    "frozen",
    "flat",
    "saturated",
    "zero_factor",
    "not_selected",
    "zeroed",
    "accumulated",
    "clip",
    "loss_scale",
    "nonfinite",
    "hook",
    "custom_function",
    "checkpoint",
    "not_asked",
    "none",  # nothing is wrong
)
# The tape's own.
TAPE_CAUSES = ("skipped", "escaped_temporary", "pruned", "not_asked", "unused", "none")
UNKNOWN = ""  # cannot be told from the trace


@dataclass(frozen=True)
class Link:
    """One step on the way to an answer. `event`: index of the event that shows it, None where none does."""

    text: str
    source: Source | None = None
    event: int | None = None

    def __str__(self) -> str:
        return f"{self.text}{at(self.source)}"


@dataclass(frozen=True)
class Why:
    """`state`: one of STATES. `cause`: one of CAUSES or TAPE_CAUSES, "" where it cannot be told. `place`: the lines to
    look at. `sentence`: the answer. `chain`: the steps that led there, from the cause to the gradient."""

    name: str
    state: str
    cause: str
    place: Place | None
    sentence: str
    chain: tuple[Link, ...] = ()

    def __str__(self) -> str:
        where = "" if self.place is None else f"\n  {self.place}"
        return f"{self.name}: {self.sentence}{where}" + "".join(f"\n  - {link}" for link in self.chain)


@dataclass
class Cause:
    """What a rule found, before it is put into words with its place."""

    cause: str
    sentence: str
    source: Source | None = None
    chain: tuple[Link, ...] = ()
    meant: bool = False  # nothing is wrong with it, as where a parameter begins at zero and is moved by the next step


def at(source: Source | None) -> str:
    return "" if source is None else f" ({called(source[0])}, line {source[1]})"


def place_of(trace: Trace, source: Source | None) -> Place | None:
    if source is None:
        return None
    file, line = source
    lines = lines_of(file, trace.texts)
    return Place(file, line, line, lines[line - 1] if 0 < line <= len(lines) else "")
