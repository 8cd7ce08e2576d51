"""A backward with a gradient for one of its outputs alone, as the rules of the tape ask for it (see `examined`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import source
from ..measure.numbers import Tolerance, inner_graph, is_floating, plain, requires_grad, same, size
from ..report import Place
from ..tape.climb import Gradients
from ..tape.forward import Done, Use, uses_of
from .accused import Accused
from .examined import Examined
from .samples import Sample, Samples, differentiable, samples_of

MOST_USES = 60  # operations of forward whose uses are looked at


def examined_of(case: Accused) -> list[FunctionExamined]:
    """The rule for each of its outputs, a gradient coming in for that one alone."""
    outputs = case.joint.each[0].outputs or case.alone.forward().outputs
    places = differentiable(case.alone, tuple(outputs))
    if len(places) == 1:
        return [FunctionExamined(case, case.joint, places[0], 1)]
    each = [(k, samples_of(case.alone, case.rule.bits, k, case.rule.ways)) for k in places]
    return [FunctionExamined(case, one, k, len(places)) for k, one in each if one is not None and one.wrong]


@dataclass
class FunctionCall:
    """One sample: gradients per differentiated input, in the input's shape."""

    sample: Sample
    returned: Gradients
    truth: Gradients
    uses: list[Use] = field(default_factory=list)


class FunctionExamined(Examined):
    """One output of a Function."""

    def __init__(self, case: Accused, samples: Samples, output: int, outputs: int) -> None:
        self.case, self.samples, self.place, self.outputs = case, samples, output, outputs
        self.names, self.text = case.names, case.name
        self.calls = [FunctionCall(s, fitted(s), list(s.truth)) for s in samples.each]
        self.limit = Tolerance(samples.tolerance, 1e-14)
        self.places = FunctionPlaces(self)

    def with_uses(self) -> FunctionExamined:
        """The same with what each use in forward contributes, where autograd follows forward."""
        for call in self.calls:
            call.uses = uses_at(call.sample)
        return self

    @property
    def wrong(self) -> list[int]:
        return self.samples.wrong

    def fits(self, found: Sequence[Gradients], truth: Sequence[Gradients]) -> bool:
        """Each input at its own scale: one may be a billion times another."""
        for fs, ts, call in zip(found, truth, self.calls, strict=True):
            least = self.samples.least(call.sample)
            limits = [self.samples.tolerance * size([t]) + 1e-3 * least + 1e-14 for t in call.truth]
            if not all(same(f, t, limit) for f, t, limit in zip(fs, ts, limits, strict=True)):
                return False
        return True

    @property
    def output(self) -> str:
        return "the output" if self.outputs == 1 else f"output {self.place}"

    def gradient_of(self, name: str) -> str:
        if name != self.output:
            return f"grad_{name.rpartition('.')[2]}"
        given = [v for v in self.case.code.co_varnames[1 : self.case.code.co_argcount]] if self.case.code else []
        return given[self.place] if self.place < len(given) else f"grad_{self.place}"


class FunctionPlaces:
    """Lines of a Function's backward and forward."""

    def __init__(self, examined: FunctionExamined) -> None:
        self.examined, self.case = examined, examined.case

    def returned(self) -> Place | None:
        return self.case.returned_at

    def output(self) -> Place | None:
        """Where its incoming gradient arrives."""
        return source.heading(self.case.code) if self.case.code else None

    def unpacked(self) -> Place | None:
        """Where it would have to be read."""
        wrong = self.examined.wrong
        return self.case.place_of(wrong[0]) if wrong else self.case.returned_at

    def computed(self, i: int) -> Place | None:
        return self.case.place_of(i)

    def contribution(self, use: Use, factor: float, i: int) -> Place | None:
        return self.case.place_of(i)

    def adds_equals(self, limit: float) -> bool:
        """Whether backward adds two equal tensors."""
        for note in self.case.ran.notes:
            pair = [a for a in note.args[:2] if isinstance(a, torch.Tensor)]
            adds = note.operation == "add" and len(pair) == 2 and pair[0].shape == pair[1].shape
            if adds and bool(((pair[0] - pair[1]).abs() <= limit).all()):
                return True
        return False


def fitted(sample: Sample) -> Gradients:
    """What was returned, in the shapes of the inputs, as autograd makes it."""
    found = []
    for gradient, truth in zip(sample.returned, sample.truth, strict=True):
        if gradient is not None and truth is not None:
            gradient = plain(gradient.detach())
            with_shape = gradient.sum_to_size(truth.shape) if gradient.shape != truth.shape else gradient
            gradient = with_shape.to(truth.dtype)
        found.append(gradient)
    return found


def uses_at(sample: Sample) -> list[Use]:
    both = zip(sample.outputs, sample.incoming, strict=False)
    pairs = [(out, g) for out, g in both if is_floating(g) and requires_grad(out)]
    if not pairs or any(x.is_complex() for x in sample.leaves) or len(sample.forward) > MOST_USES:
        return []
    if any(note.in_place and requires_grad(note.made) for note in sample.forward):  # what it was a use of is gone
        return []
    loss = sum(inner_graph(o, g) for o, g in pairs)
    with torch.enable_grad():
        return uses_of([done for note in sample.forward if (done := _done(note)) is not None], loss, sample.leaves)


def _done(note: Any) -> Done | None:
    if not isinstance(note.made, torch.Tensor) or note.func is None or not note.made.is_floating_point():
        return None
    return Done(note.func, note.args, note.kwargs, note.made, (note.site.code.co_filename, note.site.line))
