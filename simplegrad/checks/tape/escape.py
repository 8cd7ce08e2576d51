"""Values that a gradient reaches and goes nowhere from: found by data flow, and verified by what they lose.

A Variable that no entry produced, and that is no input, is a constant to the tape. If its value nevertheless moves
with the inputs, each gradient that arrives at it is dropped: dropped = (what arrived) times dvalue/dinputs. The tape's
gradients and the dropped ones together must be the derivative; only then is the loss called verified.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...engine import Variable
from ...locks import cached_property
from ..measure.numbers import size, tolerance, worst
from ..report import Place
from ..runs.watch import Made, is_ours
from ..source import assigned_at, cells_of, line_reading, names_at, place, return_line
from .case import PLAIN, Case, Reading, Run
from .climb import Climb, Gradients, climb, differences, step_of, torch_grad
from .survey import Question, Truth


@dataclass
class Escape:
    """A value that escaped the tape. `dropped`: per differentiable input, None where it does not depend on it."""

    reading: Reading
    made: Made | None
    arrived: torch.Tensor
    dropped: Gradients

    @property
    def variable(self) -> Variable:
        return self.reading.variable

    @property
    def in_pass(self) -> bool:
        """Made by propagate itself, and not by forward."""
        if self.made is not None:
            return self.made.in_pass
        return self.reading.visit is not None and self.reading.leaf


@dataclass
class Flow:
    """One climb looked at for escapes. `verified`: tape and dropped gradients together are the derivative."""

    run: Run
    going: Climb
    escapes: list[Escape]
    verified: bool
    level: int


def escapes_at(case: Case, truth: Truth, question: Question, point: int, seed: int, level: int) -> Flow | None:
    """What escapes on the way to the gradients of this order; None where the run does not get so far."""
    values = case.values(point)
    run = case.run(values, traced=True)
    going = climb(case, run, question.outputs(run), seed, level - 1, further=True)
    if going.error is not None or going.losses[level - 1] is None:
        return None
    readings = list(run.probe.readings.values())
    loss, sources = going.losses[level - 1], sources_of(case, run, going)
    with case.recording():
        found = run.grad(loss, [*run.wanted, *going.weights, *(each.variable for each in readings)])
    gradients = [None if g is None else g.value.detach() for g in found]
    arrived = gradients[len(run.wanted) + len(going.weights) :]
    moving = Moving(case, run, question, seed, level)
    escapes = []
    for reading, gradient in zip(readings, arrived):
        dropped = [None] * len(sources) if gradient is None else lost(moving, reading, gradient, sources)
        if size(dropped) > 1e-12:
            escapes.append(Escape(reading, run.made.get(id(reading.variable)), gradient, dropped))
    whole = derivative(case, truth, question, values, loss, sources, seed, level)
    return Flow(run, going, escapes, adds_up(truth, gradients[: len(sources)], escapes, whole), level)


def sources_of(case: Case, run: Run, going: Climb) -> list[torch.Tensor]:
    """The tensors that all others come from: inputs, and the weights by which gradients came in."""
    return run.leaves if case.mode is PLAIN else [*run.leaves, *(w.value for w in going.weights)]


def lost(moving: Moving, reading: Reading, arrived: torch.Tensor, sources: list[torch.Tensor]) -> Gradients:
    """The gradient that arrived at a value, times how the value depends on what it came from."""
    value = reading.variable.value
    if value.requires_grad:
        return torch_grad((value * arrived).sum(), sources, create_graph=False)
    none: Gradients = [None] * len(sources)
    if not value.is_floating_point() or not moving.moves(reading):
        return none
    found = moving.lost(reading, arrived)
    return found + none[len(found) :]


@dataclass
class Moving:
    """Values that torch does not follow (through numpy, a detach): found again, by their place, in runs beside this."""

    case: Case
    run: Run
    question: Question
    seed: int
    level: int

    def beside(self, values: list[torch.Tensor]) -> Run:
        other = self.case.run(values)
        climb(self.case, other, self.question.outputs(other), self.seed, self.level - 1, further=True)
        return other

    def found_in(self, other: Run, reading: Reading) -> torch.Tensor:
        place_of = list(self.run.probe.readings).index(reading.variable.key)
        return list(other.probe.readings.values())[place_of].variable.value.detach()

    @cached_property
    def near(self) -> Run:
        """A run a small step away from this one: too small for what only jumps."""
        scale = 1e-6 if self.case.bits == 64 else 1e-2
        return self.beside([leaf.detach() * (1 + scale) + 0.1 * scale for leaf in self.run.leaves])

    def moves(self, reading: Reading) -> bool:
        try:
            return not torch.equal(self.found_in(self.near, reading), reading.variable.value.detach())
        except Exception:  # another run takes another way
            return False

    def lost(self, reading: Reading, arrived: torch.Tensor) -> Gradients:
        def loss_at(values: list[torch.Tensor]) -> float:
            return float((self.found_in(self.beside(values), reading) * arrived).sum())

        try:
            found = differences(loss_at, [leaf.detach() for leaf in self.run.leaves], step_of(self.case))
        except Exception:
            return [None] * len(self.run.leaves)
        noise = 1e-7 * (1 + float(arrived.abs().max()))
        return [g if bool((g.abs() > noise).any()) else None for g in found]


def derivative(case, truth, question, values, loss, sources, seed, level) -> Gradients:
    """The derivative of the loss of this order as it was computed: along torch's graph of all that ran."""
    if truth.graph and case.mode is not PLAIN and loss.value.requires_grad:
        with case.recording():
            return torch_grad(loss.value, sources, create_graph=False)
    return truth.of(question, values, seed, level)[level - 1][: len(sources)]


def adds_up(truth: Truth, computed: Gradients, found: list[Escape], whole: Gradients) -> bool:
    total = []
    for i, gradient in enumerate(computed):
        parts = [g for g in (gradient, *(escape.dropped[i] for escape in found)) if g is not None]
        total.append(sum(parts[1:], parts[0]) if parts else None)
    exact = all(each.reading.variable.value.requires_grad for each in found)
    limit = truth.tolerance if exact else tolerance(truth.case.bits, False)
    return worst(total, whole) <= 10 * limit.of([*whole, *computed])


def changing_numbers(case: Case, question: Question, point: int, seed: int, level: int) -> list[tuple[Run, int]]:
    """Entries recorded by propagate with a number in them that moves with the inputs: a tensor's item()."""
    run = case.run(case.values(point), traced=True)
    climb(case, run, question.outputs(run), seed, level)
    near = case.run([x * (1 + 1e-6) for x in case.values(point)], traced=True)
    climb(case, near, question.outputs(near), seed, level)
    both = zip(run.probe.operations, run.trace.entries, near.trace.entries)
    return [(run, op.index) for op, a, b in both if op.visit in run.probe.by_hand and a.text != b.text]


# --- places ----------------------------------------------------------------------------------------------------------


def raw_made_at(run: Run, made: Made) -> Place | None:
    """For a value wrapped in propagate: the line of forward that assigned the tensor it was made of."""
    for entry in run.entries:
        held = cells_of(entry.propagate)
        for name in names_at(made.code.co_filename, made.line):
            if isinstance(held.get(name), torch.Tensor) and entry.appended_from:
                code = entry.appended_from[0]
                line = assigned_at(code, name)
                return place(code.co_filename, line) if line else None
    return None


def read_at(run: Run, escape: Escape) -> Place | None:
    """The line of propagate that read it: where the entry that did so was recorded, if that is anybody's own line."""
    source = source_of(run, escape.reading.reader)
    if source is not None and not is_ours(source[0]):
        return place(*source)
    for entry in run.entries:
        code = entry.code
        if code is None or (escape.made and escape.made.in_pass and escape.made.code is not code):
            continue
        if escape.made and escape.made.in_pass:
            return place(code.co_filename, escape.made.line)
        if escape.variable in cells_of(entry.propagate).values():
            python = next(n for n, x in cells_of(entry.propagate).items() if x is escape.variable)
            return place(code.co_filename, line_reading(code, python) or return_line(code))
    return None


def source_of(run: Run, index: int) -> tuple[str, int] | None:
    """The Python line that recorded this entry of the tape."""
    entries = run.trace.entries if run.trace else []
    return entries[index].source if index < len(entries) else None
