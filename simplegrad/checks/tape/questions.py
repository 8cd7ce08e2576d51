"""What is asked of which outputs of a run on the tape, and what is known of a wrong answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...engine import Variable
from .case import Run

MOST_OUTPUTS = 6  # of an entry, to try all patterns of known and unknown gradients


@dataclass(frozen=True)
class Question:
    """Are the gradients right that come from these outputs of a hand-written entry (`entry`: its place among them;
    None: the outputs of the target itself)? The other outputs' are None."""

    entry: int | None = None
    slots: tuple[int, ...] = ()

    def outputs(self, run: Run) -> list[Variable]:
        return [y for slot, y in enumerate(self.all_of(run)) if self.knows(slot) and y.value.is_floating_point()]

    def all_of(self, run: Run) -> list[Variable]:
        return list(run.entries[self.entry].outputs) if self.entry is not None else run.outputs

    def knows(self, slot: int) -> bool:
        return self.entry is None or slot in self.slots


@dataclass(eq=False)
class Wrong:
    """A question whose gradients are wrong from this order on, `by` so much for each input; or what was raised then."""

    question: Question
    level: int
    by: dict[str, float] = field(default_factory=dict)
    error: Exception | None = None
    point: int = 0  # where it shows
    where: list | None = None  # the values of the inputs there, where that is far from the given ones
    seed: int = 11


def patterns_said(run: Run) -> str:
    """How many patterns of None there were to try, and whether that was all."""
    said = []
    for entry in run.entries:
        k = len(entry.outputs)
        if k > MOST_OUTPUTS:
            said.append(f"{entry.text}: {k + 1} of {2**k - 1} patterns of None (more than {MOST_OUTPUTS} outputs)")
        else:
            patterns = "the one pattern" if k == 1 else f"all {2**k - 1} patterns"
            said.append(f"{entry.text}: {patterns} of known and unknown incoming gradients")
    return "; ".join(dict.fromkeys(said)) or "no hand-written entry: nothing to try None on"
