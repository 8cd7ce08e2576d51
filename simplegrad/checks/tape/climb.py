"""Gradients of gradients: as the tape computes them, and as torch or finite differences say that they should be.

A climb begins with a random weighting of some outputs, L0 = sum(w * r), and goes up one order at a time: the gradients
of L0 by the inputs, a random weighting L1 of these, its gradients, and so on. Errors of elements do not cancel in a
random weighting, and the incoming gradients w are differentiated by as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ...engine import Variable
from .case import Case, Run

Gradients = list[torch.Tensor | None]
FAR_SMALLER = 30  # times as small as the others of its tensor
MOST_DIFFERENCES = 160  # elements to take finite differences by; of more, a random choice


@dataclass
class Climb:
    """`levels[k]`: gradients of order k + 1, by the inputs and then by the weights; `losses[k]` is what they are of."""

    weights: list[Variable]
    losses: list[Variable | None] = field(default_factory=list)
    levels: list[Gradients] = field(default_factory=list)
    gradients: list[list[Variable | None]] = field(default_factory=list)
    error: Exception | None = None


def draws(shapes: Sequence[Sequence[int]], seed: int, like: torch.Tensor) -> list[torch.Tensor]:
    """Random weights of these shapes, the same ones for the same seed; none is near 0."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for shape in shapes:
        size = torch.rand(tuple(shape), generator=generator, dtype=torch.float64) + 0.5
        sign = torch.randint(0, 2, tuple(shape), generator=generator) * 2 - 1
        found.append((size * sign).to(like.dtype))
    return found


def weighted_sum(run: Run, values: Sequence[Variable | None], weights: Sequence[Variable]) -> Variable | None:
    """The tape's sum of each value times its weights; None if there is no value at all."""
    total = None
    with run.tape:
        for value, weight in zip(values, weights):
            if value is not None:
                term = (value * weight).sum()
                total = term if total is None else total + term
    return total


def constants(run: Run, tensors: Sequence[torch.Tensor], name: str | None = None) -> list[Variable]:
    with run.tape:
        made = [Variable.constant(tensor, name) for tensor in tensors]
    run.probe.known |= {each.key for each in made}
    return made


def climb(case: Case, run: Run, outputs: Sequence[Variable], seed: int, order: int, none: str = "skip", further=False):
    """Climb from these outputs on the tape; `none` as for `grad`. `further`: also weight the last gradients."""
    with case.recording():
        like = run.leaves[0]
        graph = like.requires_grad
        weights = [w.requires_grad_(graph) for w in draws([y.shape for y in outputs], seed, like)]
        made = constants(run, weights, "w")
        going = Climb(made)
        going.losses.append(weighted_sum(run, outputs, made))
        try:
            for level in range(order):
                one_up(run, going, level, seed, last=level == order - 1 and not further, none=none)
        except Exception as error:  # whatever a propagate raises is what is reported
            run.probe.visit = None
            case.watch.passes = 0
            going.error = error
    return going


def one_up(run: Run, going: Climb, level: int, seed: int, last: bool, none: str) -> None:
    loss, wanted = going.losses[level], [*run.wanted, *going.weights]
    found = [None] * len(wanted) if loss is None else run.grad(loss, wanted, none)
    going.gradients.append(found)
    going.levels.append([None if g is None else g.value for g in found])
    if not last:
        going.losses.append(weighted_sum(run, found[: len(run.wanted)], constants(run, looks(run, level, seed), "u")))


def looks(run: Run, level: int, seed: int) -> list[torch.Tensor]:
    """The weights of the gradients of one order."""
    return draws([x.shape for x in run.wanted], 7919 * (level + 1) + seed, run.leaves[0])


# --- the truth -----------------------------------------------------------------------------------------------------


def torch_climb(case: Case, run: Run, outputs: Sequence[Variable], seed: int, order: int) -> list[Gradients]:
    """The same climb by torch autograd, through what forward itself computed. Raises what autograd raises."""
    with torch.enable_grad():
        like = run.leaves[0]
        weights = [w.requires_grad_() for w in draws([y.shape for y in outputs], seed, like)]
        loss = torch_sum([y.value for y in outputs], weights)
        levels = []
        for level in range(order):
            found = torch_grad(loss, [*run.leaves, *weights], create_graph=level < order - 1)
            levels.append([None if g is None else g.detach() for g in found])
            loss = torch_sum(found[: len(run.leaves)], looks(run, level, seed))
    return levels


def torch_sum(values: Sequence[torch.Tensor | None], weights: Sequence[torch.Tensor]) -> torch.Tensor | None:
    terms = [(value * weight).sum() for value, weight in zip(values, weights) if value is not None]
    return sum(terms[1:], terms[0]) if terms else None


def torch_grad(loss: torch.Tensor | None, wanted: Sequence[torch.Tensor], create_graph: bool = True) -> Gradients:
    if loss is None or not loss.requires_grad:
        return [None] * len(wanted)
    return list(torch.autograd.grad(loss, wanted, create_graph=create_graph, retain_graph=True, allow_unused=True))


def difference_climb(
    case: Case, values: Sequence[torch.Tensor], pick: Callable[[Run], list[Variable]], seed: int, order: int
) -> list[Gradients]:
    """The truth by central differences: of L0 for order 1, of the tape's own L(k-1) for order k.

    Elements that no difference was taken by are NaN. `pick` gives the outputs of a run.
    """
    levels = []
    for level in range(order):

        def loss_at(moved: Sequence[torch.Tensor], level: int = level) -> float:
            run = case.run(moved)
            going = climb(case, run, pick(run), seed, level, further=True)
            if going.error is not None:
                raise going.error
            return 0.0 if going.losses[level] is None else float(going.losses[level].value)

        levels.append(differences(loss_at, values, step_of(case)))
    return levels


def step_of(case: Case) -> float:
    return 1e-5 if case.bits == 64 else 1e-2


def differences(evaluate: Callable, values: Sequence[torch.Tensor], h: float) -> Gradients:
    """Central differences of a number by each element of some tensors."""
    places = [(i, j) for i, value in enumerate(values) for j in range(value.numel())]
    if len(places) > MOST_DIFFERENCES:
        generator = torch.Generator().manual_seed(0)
        places = [places[k] for k in torch.randperm(len(places), generator=generator)[:MOST_DIFFERENCES].tolist()]
    found = [torch.full_like(value, torch.nan) for value in values]
    for i, j in places:
        found[i].view(-1)[j] = difference(evaluate, values, i, j, h)
    return found


def difference(evaluate: Callable, values: Sequence[torch.Tensor], i: int, j: int, h: float) -> float:
    """By one element. What fits most elements of a tensor is too wide for one that is far smaller: then narrower and
    narrower steps are tried, and that one is believed that differs least from the one before it, rounding included."""
    found = [central(evaluate, values, i, j, h * size_) for size_ in sizes(values[i], j)]
    if len(found) == 1:
        return found[0][0]
    doubts = [abs(fine - wide) + rounding for (wide, _), (fine, rounding) in zip(found, found[1:])]
    doubts = [math.inf if math.isnan(doubt) else doubt for doubt in doubts]
    return found[1 + doubts.index(min(doubts))][0]


def sizes(value: torch.Tensor, j: int) -> list[float]:
    """By what to measure the step of an element: all of its tensor, and if it is far smaller down to its own size."""
    found, own = [spread(value)], float(reach(value).view(-1)[j])
    while found[-1] > own:
        found.append(max(found[-1] / 10, own))
    return found


def reach(value: torch.Tensor) -> torch.Tensor:
    """How far each element may be moved for a step: as its tensor's others, or by its own size if it is far smaller."""
    own, others = value.detach().abs(), spread(value)
    return torch.where((own > 0) & (own < others / FAR_SMALLER), own, others)


def central(evaluate: Callable, values: Sequence[torch.Tensor], i: int, j: int, h: float) -> tuple[float, float]:
    """The central difference by one element, and how far rounding may put it off."""
    ends = []
    for sign in (1, -1):
        moved = [value.clone() for value in values]
        moved[i].view(-1)[j] += sign * h
        ends.append(evaluate(moved))
    rounding = torch.finfo(values[i].dtype).eps * max(map(abs, ends)) / h
    return (ends[0] - ends[1]) / (2 * h), rounding


def spread(value: torch.Tensor) -> float:
    """The size of a tensor's elements, by which a step is measured; 1 for zeros."""
    size_ = float(value.detach().square().mean().sqrt()) if value.numel() else 1.0
    return min(max(size_, 1e-9), 1e9) if size_ > 0 else 1.0
