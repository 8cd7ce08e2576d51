"""What a hand-written backward should have given, at several points and for several incoming gradients.

The truth is autograd through the Function's own forward, wherever a difference of forward confirms it; otherwise the
differences themselves, element by element. Beside it stands what may rightly turn up in a backward: the values that
forward computes, the gradients that come back to them, and the derivative of each single operation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from ...locks import cached_property
from ..measure.numbers import (
    all_moved,
    by_elements,
    directions,
    inner,
    is_floating,
    near,
    norm,
    one_moved,
    plain,
    requires_grad,
    size_of,
    slope,
)
from ..subjects.alone import Alone
from .owner import Owner
from .trail import Note, carries, followed

SHORTER = 0.3  # a second step of differences
UNSETTLED = 0.1  # of a gradient: so far apart are those of two steps where neither is known to be right
MOST_ELEMENTS = 200  # above this, differences element by element would take too long
MOST_VALUES = 80  # values of forward whose gradients are asked for
JITTER = (0.0, 0.0, 0.05, 0.11)  # relative distance of each sample from the given point
LOOSE = {64: 1e-6, 32: 1e-3}
ACROSS = 1e-5  # the cosine of a right angle, up to rounding
BY_DIFFERENCES = {64: 2e-4, 32: 3e-2}


@dataclass(frozen=True)
class Known:
    """A value that has a meaning: `what` says which, in words."""

    value: torch.Tensor
    kind: str  # "value", "gradient", "partial", "input", "incoming"
    what: str = ""


@dataclass
class Sample:
    """One point with one set of incoming gradients: right and returned gradients, per differentiated input."""

    values: list[torch.Tensor]
    incoming: list[Any]
    truth: list[torch.Tensor | None]
    returned: list[Any] = field(default_factory=list)
    knowing: list[Callable[[], Iterable[Known]]] = field(default_factory=list)
    forward: list[Note] = field(default_factory=list)
    leaves: list[torch.Tensor] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    @cached_property
    def known(self) -> list[Known]:
        """What has a meaning; found when it is asked for, since it takes many gradients."""
        return [known for each in self.knowing for known in each()]


@dataclass
class Samples:
    """All samples of one call, and how near to the truth counts as right."""

    alone: Alone
    bits: int
    each: list[Sample]
    by_autograd: bool
    ways: list[list[torch.Tensor]] = field(default_factory=list)  # the only ones in which the inputs ever move

    @property
    def tolerance(self) -> float:
        return LOOSE[self.bits] if self.by_autograd else BY_DIFFERENCES[self.bits]

    def right(self, found: Any, sample: Sample, slot: int) -> bool:
        """Whether this is the gradient of that input, up to rounding."""
        if near(found, sample.truth[slot], self.tolerance, self.least(sample)):
            return True
        return bool(self.ways) and self.right_along(found, sample.truth[slot], slot)

    def are_right(self, run: Callable[[Sample], list[Any]]) -> bool:
        """Whether `run` gives the right gradients at every sample; what raises at one does not."""
        try:
            return all(self.right(g, sample, i) for sample in self.each for i, g in enumerate(run(sample)))
        except Exception:  # another value may fit nothing that follows
            return False

    def right_along(self, found: Any, truth: Any, slot: int) -> bool:
        """Whether what is wrong with it is so only across the ways in which this input ever moves."""
        if not is_floating(found) or not is_floating(truth):
            return False
        apart = plain(found.detach()).sum_to_size(truth.shape) - plain(truth.detach())
        if not bool(apart.isfinite().all()):
            return False
        ways = [way[slot] for way in self.ways]
        return all(norm([w]) > 0 and abs(inner(apart, w)) <= ACROSS * norm([apart]) * norm([w]) for w in ways)

    def least(self, sample: Sample) -> float:
        """Below this, a number is zero: rounding beside the largest gradients of the sample."""
        return 1e-6 * self.tolerance * max((size_of(t) for t in sample.truth if t is not None), default=0.0)

    @property
    def slots(self) -> range:
        return range(len(self.each[0].truth))

    @property
    def wrong(self) -> list[int]:
        """The differentiated inputs whose gradient is wrong in any sample."""
        return [i for i in self.slots if not all(self.right(s.returned[i], s, i) for s in self.each)]


Ways = Callable[[int], list[torch.Tensor] | None]  # of a draw: how the inputs of a call move, where not at random


def samples_of(alone: Alone, bits: int = 64, output: int | None = None, ways: Ways | None = None) -> Samples | None:
    """The samples of a call; None where no truth is to be had, or backward cannot be run there.

    `output`: the only one that a gradient comes in for, the others get zeros; by default all of them do. `ways`: what
    the call is given always has something about it, a matrix that is symmetric say, and keeps it if it moves so.
    """
    found, by_autograd = [], True
    for draw, jitter in enumerate(JITTER):
        with contextlib.suppress(Exception):  # beside the given point a function may be undefined
            one, followed_here = sample_of(alone, bits, draw, jitter, output, ways)
            found.append(one)
            by_autograd = by_autograd and followed_here
    moving = [way for draw in (11, 12) if ways and (way := ways(draw)) is not None]
    return Samples(alone, bits, found, by_autograd, moving) if found else None


def sample_of(
    alone: Alone, bits: int, draw: int, jitter: float, output: int | None = None, ways: Ways | None = None
) -> tuple[Sample, bool]:
    """One sample, and whether autograd through forward is its truth."""
    generator = torch.Generator().manual_seed(4000 + draw)
    along = (ways(draw) if ways and jitter else None) or directions(alone.values, generator)
    values = all_moved(alone.values, along, jitter)
    outputs = alone.forward(values).outputs
    incoming = incoming_for(alone, outputs, generator)
    if output is not None:
        incoming = [g if k == output or not is_floating(g) else torch.zeros_like(g) for k, g in enumerate(incoming)]
    sample = through_forward(alone, values, incoming)
    confirmed = sample is not None and is_confirmed(alone, bits, sample, generator)
    if not confirmed:
        truth = truth_by_elements(alone, bits, values, incoming)
        sample = Sample(values, incoming, truth, knowing=sample.knowing if sample else [])
    ran = alone.forward(values)
    sample.returned = alone.backward(ran, incoming)
    sample.knowing.append(lambda: known_inputs(alone, sample))
    return sample, confirmed


def incoming_for(alone: Alone, outputs: tuple, generator: torch.Generator) -> list[Any]:
    """A random gradient for each output that has one; what was given before for the others."""
    given = alone.call.incoming or [None] * len(outputs)
    return [
        directions([out], generator, scaled=False)[0] if k in differentiable(alone, outputs) else before
        for k, (out, before) in enumerate(zip(outputs, given, strict=True))
    ]


def differentiable(alone: Alone, outputs: tuple) -> list[int]:
    """The outputs that autograd takes a gradient for."""
    recorded = alone.call.outputs
    return [
        k
        for k, (out, before) in enumerate(zip(outputs, recorded, strict=True))
        if is_floating(out) and getattr(before, "requires_grad", True)
    ]


def through_forward(alone: Alone, values: list[torch.Tensor], incoming: list[Any]) -> Sample | None:
    """Autograd through forward: the gradients of the inputs, and of all that forward computes on its way."""
    try:
        call = alone.call
        ran, notes = followed_forward(alone, values)
        leaves = [ran.args[i] for i in call.differentiated]
        pairs = [(o, g) for o, g in zip(ran.outputs, incoming, strict=True) if is_floating(g) and requires_grad(o)]
        if not pairs:
            return None
        outs, gs = [o for o, _ in pairs], [g for _, g in pairs]
        truth = torch.autograd.grad(outs, leaves, gs, allow_unused=True, retain_graph=True)
    except Exception:  # forward changes something in place, calls a kernel without a derivative, ...
        return None
    knowing = [
        lambda: known_values(notes),
        lambda: known_gradients(notes, outs, gs),
        lambda: known_partials(leaves, outs, gs),
        lambda: known_slopes(notes, leaves),
    ]
    outputs = list(ran.outputs)
    return Sample(values, incoming, list(truth), knowing=knowing, forward=notes, leaves=leaves, outputs=outputs)


def followed_forward(alone: Alone, values: list[torch.Tensor], graph: bool = True) -> tuple[Any, list[Note]]:
    """Forward, and what it computed on its way; with `graph`, autograd follows it."""
    codes, notes = alone.forward_codes, []

    def around(run: Any, ctx: Any) -> Any:
        ran = followed(run, codes, Owner(*codes), lines=False)
        notes.extend(ran.notes)
        return ran.returned

    return alone.forward(values, graph=graph, around=around if codes else None), notes


def is_confirmed(alone: Alone, bits: int, sample: Sample, generator: torch.Generator) -> bool:
    """Whether a difference of forward says the same as autograd, for each input along one direction."""
    for slot, value in enumerate(sample.values):
        along = directions([value], generator)[0]
        found = slope(lambda h, slot=slot, along=along: moved_loss(alone, sample, slot, along, h), bits)
        told = inner(sample.truth[slot], along)
        if found.disagrees(told, abs(found.value) + abs(told), 1e-4 if bits == 64 else 1e-2):
            return False
    return True


def moved_loss(alone: Alone, sample: Sample, slot: int, along: torch.Tensor, h: float) -> float:
    return loss_of(alone, one_moved(sample.values, slot, along, h), sample.incoming)


def loss_of(alone: Alone, values: list[torch.Tensor], incoming: list[Any]) -> float:
    outputs = alone.forward(values).outputs
    pairs = zip(outputs, incoming, strict=True)
    return sum(inner(o, g) for o, g in pairs if is_floating(g) and isinstance(o, torch.Tensor))


def truth_by_elements(alone: Alone, bits: int, values: list[torch.Tensor], incoming: list[Any]) -> list[torch.Tensor]:
    """Differences of forward, element by element. Raises ValueError where there are too many, or where they do not
    settle: a step may be long beside what forward is steep over, and then they are no truth."""
    if sum(v.numel() for v in values) > MOST_ELEMENTS:
        raise ValueError("too many elements")
    found = []
    for slot, value in enumerate(values):
        h = (1e-5 if bits == 64 else 1e-2) * size_of(plain(value.detach()))
        far, near = (
            by_elements(lambda at: loss_of(alone, at, incoming), values, slot, h * by) for by in (1.0, SHORTER)
        )
        if norm([far - near]) > UNSETTLED * norm([far]):
            raise ValueError("differences do not settle")
        found.append(far)
    return found


# -- what may rightly turn up ------------------------------------------------------------------------------------


def known_values(notes: list[Note]) -> Iterator[Known]:
    for note in notes[:MOST_VALUES]:
        if carries(note.value):
            yield Known(note.value, "value", "a value of forward")


def known_gradients(notes: list[Note], outs: list[torch.Tensor], gs: list[torch.Tensor]) -> Iterator[Known]:
    """What comes back to each value of forward: for the incoming gradient, for ones, and along each single use."""
    usable = [n for n in notes if requires_grad(n.made) and not n.in_place][:MOST_VALUES]
    ones = [torch.ones_like(g) for g in gs]
    for note in usable:
        for weights, kind in ((gs, "gradient"), (ones, "partial")):
            gradient = _grad(outs, note.made, weights)
            if gradient is not None:
                yield Known(gradient, kind, "the gradient of a value of forward")
                yield from _along_uses(note, gradient, kind)
        yield from _along_uses(note, torch.ones_like(note.made), "partial")


def known_partials(leaves: list, outs: list[torch.Tensor], gs: list[torch.Tensor]) -> Iterator[Known]:
    ones = [torch.ones_like(g) for g in gs]
    partials = torch.autograd.grad(outs, leaves, ones, allow_unused=True, retain_graph=True)
    yield from (Known(p, "partial", "the derivative by an input") for p in partials if p is not None)


def known_slopes(notes: list[Note], leaves: list) -> Iterator[Known]:
    """The derivative of each value of forward by each input, as a person has it who works inwards from the output."""
    for note in [n for n in notes if requires_grad(n.made) and not n.in_place][:MOST_VALUES]:
        for leaf in leaves:
            slope = _grad([note.made], leaf, [torch.ones_like(note.made)])
            if slope is not None:
                yield Known(slope, "partial", "the derivative of a value of forward")


def _along_uses(note: Note, gradient: torch.Tensor, kind: str) -> Iterator[Known]:
    for argument in note.args:
        if requires_grad(argument) and argument is not note.made:
            part = _grad([note.made], argument, [gradient])
            if part is not None:
                yield Known(part, kind, "what comes back along one operation of forward")


def _grad(outs: list[torch.Tensor], wanted: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor | None:
    try:
        (found,) = torch.autograd.grad(outs, [wanted], weights, allow_unused=True, retain_graph=True)
    except RuntimeError:  # changed in place since
        return None
    return found


def known_inputs(alone: Alone, sample: Sample) -> Iterator[Known]:
    names = alone.call.parameter_names
    for name, value in zip((names[i] for i in alone.call.differentiated), sample.values, strict=True):
        yield Known(value, "input", name)
    for gradient in sample.incoming:
        if is_floating(gradient):
            yield Known(gradient, "incoming", "the incoming gradient")
    for truth in sample.truth:
        if truth is not None:
            yield Known(truth, "gradient", "the gradient of an input")
