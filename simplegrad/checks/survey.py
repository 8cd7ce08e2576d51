"""The numbers: which outputs, under which pattern of known and unknown incoming gradients, at which order are wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations

import torch

from ..engine import Variable
from .case import AUTOGRAD, EVENED, MUTATION, PLAIN, Case, HandEntry, Run
from .climb import (
    Climb,
    Gradients,
    Tolerance,
    along,
    climb,
    difference_climb,
    draws,
    reach,
    size,
    step_of,
    tolerance,
    torch_climb,
    torch_grad,
    worst,
)
from .looks import is_uneven

MOST_OUTPUTS = 6  # of an entry, to try all patterns of known and unknown gradients
POINTS = (0, 1, 2)
SEEDS = (11, 12)


@dataclass(frozen=True)
class Question:
    """Are the gradients right that come from these outputs of a hand-written entry (`entry`: its place among them;
    None: the outputs of the target itself)? The other outputs' are None; or, with `zeros`, every None is made zeros."""

    entry: int | None = None
    slots: tuple[int, ...] = ()
    zeros: bool = False

    def outputs(self, run: Run) -> list[Variable]:
        return [y for slot, y in enumerate(self.all_of(run)) if self.knows(slot) and y.value.is_floating_point()]

    def all_of(self, run: Run) -> list[Variable]:
        return list(run.entries[self.entry].outputs) if self.entry is not None else run.outputs

    def knows(self, slot: int) -> bool:
        return self.entry is None or slot in self.slots


@dataclass(eq=False)
class Answer:
    """What came of a question at one point with one weighting. `errors[order][name]`; `level`: the first wrong
    order, 0 if none; `error` and `level` say what was raised, and when."""

    question: Question
    point: int
    seed: int
    errors: dict[int, dict[str, float]] = field(default_factory=dict)
    level: int = 0
    wrong: list[str] = field(default_factory=list)
    error: Exception | None = None
    checked: bool = True

    @property
    def ok(self) -> bool:
        return self.level == 0


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
        case.mode = MUTATION if is_followed_with_copies(case) else PLAIN
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


def is_followed_with_copies(case: Case) -> bool:
    before, case.mode = case.mode, MUTATION
    try:
        with torch.autograd.graph.allow_mutation_on_saved_tensors():
            return is_followed(case)
    finally:
        case.mode = before


def is_followed(case: Case) -> bool:
    """Whether autograd's derivative of forward is that of its values: at two of three points, if only there."""
    votes = [vote for vote in (followed_at(case, point) for point in (1, 2, 0)) if vote is not None]
    return votes.count(True) * 2 > len(votes) or not votes


def followed_at(case: Case, point: int) -> bool | None:
    values = case.values(point)
    try:
        case.run(values, mode=PLAIN)
    except Exception:  # not defined here
        return None
    try:
        run = case.run(values)
        found = torch_climb(case, run, run.outputs, 5, 1)[0]
    except Exception:  # autograd cannot record it: numpy, or values changed in place
        return False
    weights = draws([y.shape for y in run.outputs], 5, run.leaves[0])

    def loss_at(moved: list[torch.Tensor]) -> float:
        outputs = case.run(moved, mode=PLAIN).outputs
        return float(sum((y.value * w).sum() for y, w in zip(outputs, weights)))

    ways = [d * reach(x) for x, d in zip(values, draws([x.shape for x in values], 6, run.leaves[0]))]
    try:
        measured = along(loss_at, values, ways, step_of(case))
    except Exception:
        return None
    if not math.isfinite(measured):  # an infinite input, say
        return None
    told = sum(float((g * d).sum()) for g, d in zip(found, ways) if g is not None)
    scale = max(size([g * d for g, d in zip(found, ways) if g is not None]), abs(told))
    noise = 1e-6 * size([y.value * w for y, w in zip(run.outputs, weights)])  # what rounding of L0 amounts to
    return abs(measured - told) <= (1e-4 if case.bits == 64 else 5e-2) * scale + noise


# --- asking --------------------------------------------------------------------------------------------------------


def questions_of(run: Run) -> list[Question]:
    """The target's outputs; then each hand-written entry's patterns, those first that know most."""
    found = [Question()]
    for place, entry in enumerate(run.entries):
        k = len(entry.outputs)
        sizes = range(k, 0, -1) if k <= MOST_OUTPUTS else (k, 1)
        patterns = [slots for count in dict.fromkeys(sizes) for slots in combinations(range(k), count)]
        last = any(y is entry.outputs[0] for y in run.outputs)  # `in` would compare numbers
        found += [Question(place, slots) for slots in patterns if k > 1 or not last]
    return found


def patterns_said(run: Run) -> str:
    """How many patterns of None there were to try, and whether that was all."""
    said = []
    for entry in run.entries:
        k = len(entry.outputs)
        if k > MOST_OUTPUTS:
            said.append(f"{entry.text}: {k + 1} of {2**k - 1} patterns of None (more than {MOST_OUTPUTS} outputs)")
        else:
            said.append(f"{entry.text}: all {2**k - 1} patterns of known and unknown incoming gradients")
    return "; ".join(dict.fromkeys(said)) or "no hand-written entry: nothing to try None on"


def ask(case: Case, truth: Truth, question: Question, point: int, seed: int, order: int) -> Answer:
    """Compare the tape's gradients of each order with the truth."""
    answer = Answer(question, point, seed)
    values = case.values(point)
    run = case.run(values)
    outputs = question.outputs(run)
    if not outputs:
        return answer
    going = climb(case, run, outputs, seed, order, "zeros" if question.zeros else "skip")
    try:
        held = truth.of(question, values, seed, going.reached)
    except Exception:  # differences of a climb that raises a bit further on
        held, answer.checked = [], False
    compare(case, truth, answer, going, held)
    if going.error is not None and not answer.level:
        answer.error, answer.level = going.error, going.reached + 1
    return answer


def compare(case: Case, truth: Truth, answer: Answer, going: Climb, held: list[Gradients]) -> None:
    names = [*case.names, *(f"dL/d{y}" for y in range(len(going.weights)))]
    scale = max(map(size, [*held, case.values(answer.point)]))
    infinite = any(not bool(torch.isfinite(x).all()) for x in case.values(answer.point))
    for level, (found, right) in enumerate(zip(going.levels, held), start=1):
        count = len(case.names) if level == 1 else len(right)  # by the weights, order 1 is the outputs themselves
        limit = truth.tolerance.of(right, scale)
        if infinite:  # 0 * inf is nothing to compare
            found = [
                None if f is None else f.where(torch.isfinite(f), r_) for f, r_ in zip(found, zeroed(right, found))
            ]
        gaps = worst(found, right)
        answer.errors[level] = dict(zip(case.names, gaps))
        wrong = [name for name, gap in zip(names[:count], gaps) if gap > limit]
        if wrong and not answer.level:
            answer.level, answer.wrong = level, wrong


def zeroed(truth: Gradients, found: Gradients) -> Gradients:
    """The truth with zeros for None."""
    return [torch.zeros_like(f) if t is None and f is not None else t for t, f in zip(truth, found)]


def survey(case: Case, truth: Truth, order: int) -> Iterator[Answer]:
    """All questions, at several points and weightings: the target's own first."""
    first = case.run(case.values(0))
    for question in questions_of(first):
        own = question.entry is None
        points = POINTS if own else POINTS[:2]
        for point in [*points, EVENED] if is_uneven(case.values(0)) else points:
            for seed in SEEDS if own and truth.graph else SEEDS[:1]:
                try:
                    case.run(case.values(point))
                except Exception:  # forward is not defined at this random point
                    break
                if point == EVENED and not case.was_evened:
                    case.was_evened = True
                yield ask(case, truth, question, point, seed, order if own else min(order, 2))


def settled(case: Case, truth: Truth, answers: list[Answer]) -> list[Answer]:
    """Without wrong answers that only the given point gives, where forward or its gradient has a kink there."""
    beside = {a.question for a in answers if not a.ok and a.point != 0}
    return [a for a in answers if a.ok or a.point != 0 or a.error or a.question in beside or not kinked(case, truth, a)]


def kinked(case: Case, truth: Truth, answer: Answer) -> bool:
    """Whether slopes to both sides of the given point differ, at the order below the wrong one."""
    values, h = case.values(0), 1e-6 if case.bits == 64 else 1e-2

    def loss_at(moved: list[torch.Tensor]) -> float:
        run = case.run(moved)
        going = climb(case, run, answer.question.outputs(run), answer.seed, answer.level - 1, further=True)
        loss = going.losses[answer.level - 1]
        return 0.0 if loss is None else float(loss.value)

    try:
        middle = loss_at(values)
        for seed in range(3):
            ways = [d * reach(x) for x, d in zip(values, draws([x.shape for x in values], 40 + seed, values[0]))]
            right, left = (loss_at([x + s * h * d for x, d in zip(values, ways)]) for s in (1, -1))
            slopes = (right - middle) / h, (middle - left) / h
            if abs(slopes[0] - slopes[1]) > 1e-3 * (abs(slopes[0]) + abs(slopes[1]) + 1e-3):
                return True
    except Exception:  # not even defined around it
        return True
    return False


def entry_of(run: Run, question: Question) -> HandEntry | None:
    return run.entries[question.entry] if question.entry is not None else None


__all__ = ["Answer", "Question", "Truth", "ask", "chosen_truth", "patterns_said", "settled", "survey", "torch_grad"]
