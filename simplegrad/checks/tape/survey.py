"""What the gradients of a function on the tape are held against, and what is asked of which outputs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from ..measure.holding import held
from ..measure.numbers import Tolerance, tolerance
from ..runs.turns import mutation_allowed
from ..subjects.subject import Forward, Map
from ..subjects.tape import TapeSubject, Through
from .case import AUTOGRAD, MUTATION, PLAIN, Case
from .climb import Gradients, difference_climb, torch_climb
from .questions import Question, Wrong


@dataclass
class Truth:
    """What gradients are held against. `graph`: torch autograd through forward, or through the reference."""

    case: Case
    graph: bool
    reference: Callable | None = None
    text: str = ""

    @property
    def tolerance(self) -> Tolerance:
        return tolerance(self.case.bits, self.graph)

    def of(self, question: Question, values: list[torch.Tensor], seed: int, order: int) -> list[Gradients]:
        if self.reference is not None and question.entry is None:
            run = self.case.run(values, self.reference, AUTOGRAD if self.case.mode is PLAIN else None)
            with torch.enable_grad():
                return torch_climb(self.case, run, run.outputs, seed, order)
        if self.graph and self.case.mode is not PLAIN:
            run = self.case.run(values)
            return torch_climb(self.case, run, question.outputs(run), seed, order)
        return difference_climb(self.case, values, question.outputs, seed, order)


def chosen_truth(case: Case, reference: Callable | None) -> Truth:
    """The reference; else autograd through forward, where that is a derivative of it; else differences."""
    if not is_followed(case) and not (reference is not None and agrees_with(case, reference)):
        case.mode = MUTATION
        if not is_followed(case):
            case.mode = PLAIN
    if reference is not None:
        return Truth(case, True, reference, "torch autograd through the reference")
    if case.mode is PLAIN:
        return Truth(case, False, text="finite differences (torch autograd cannot follow its forward)")
    return Truth(case, True, text="torch autograd through its own forward")


def agrees_with(case: Case, reference: Callable) -> bool:
    """Whether autograd's gradient of forward is the reference's at the given inputs: what both detach is meant so."""
    values = case.values(0)
    try:
        with case.watch:  # which lets Variable.detach() cut for torch too
            runs = case.run(values), case.run(values, reference)
            ours, meant = (torch_climb(case, run, run.outputs, 5, 1)[0] for run in runs)
    except Exception:  # numpy in one of them, say
        return False
    return tolerance(case.bits, True).agree(ours, meant)


class Follows(Map):
    """What torch autograd says of forward, held against forward's values."""

    exact, is_free = None, True

    def __init__(self, case: Case) -> None:
        self.subject = TapeSubject(case)
        self.through = Forward(Through(self.subject))
        self.at, self.bits, self.names, self.made = self.subject.values, case.bits, case.names, self.subject.made
        self.vjp = self.through.vjp

    def values(self, at: list[torch.Tensor]) -> list[torch.Tensor]:
        return self.subject.run(at).outputs


def is_followed(case: Case) -> bool:
    """Whether autograd's derivative of forward is that of its values; so it is where nothing can be told."""
    with autograd_allowed(case):
        try:
            follows = Follows(case)
            follows.vjp(follows.at, follows.subject.incoming)
        except Exception:  # autograd cannot record it: numpy, or values changed in place
            return False
        found = held(follows, 1e-4 if case.bits == 64 else 5e-2)
    return not found.wrong


def autograd_allowed(case: Case):
    return mutation_allowed() if case.mode is MUTATION else nullcontext()


__all__ = ["Question", "Truth", "Wrong", "chosen_truth"]
