"""The gradient that an escaped temporary loses, per input, told only where finite differences confirm it."""

from __future__ import annotations

from typing import Any

import torch

from ..measure.numbers import by_elements, inner_graph, inner_sum, slope
from .detector import Examiner, Held

MOST_ELEMENTS = 300  # above this, differences element by element would take too long


def dropped_gradients(examiner: Examiner, one: Held) -> dict[int, torch.Tensor]:
    """Argument place -> the gradient of <weights, backward> that the value `one` would have passed on.

    Forward is replayed with autograd following it; where that does not account for what finite differences measure
    (numpy, a raw kernel, a number), the differences themselves are taken, element by element. Empty where neither
    is confirmed.
    """
    places = examiner.alone.call.differentiated
    expected = slope(lambda h: examiner._with(one, h), examiner.bits, examiner.noise)
    for way in (_replayed, _by_elements):
        found = way(examiner, one)
        if found is None:
            continue
        along = inner_sum(found, examiner.along)
        if not expected.disagrees(along, abs(expected.value) + abs(along), 1e-3):
            return {i: g for i, g in zip(places, found, strict=True) if g is not None and float(g.abs().max()) > 0}
    return {}


def _replayed(examiner: Examiner, one: Held) -> list[Any] | None:
    """Through autograd: forward run again with its operations recorded."""
    try:
        gradient = examiner._autograd([one])[0][0]
        if gradient is None:
            return None
        ran = examiner.alone.forward(graph=True)
        value = next(slot.value for slot in ran.slots if slot.path == one.slots[0].path)
        leaves = [ran.args[i] for i in examiner.alone.call.differentiated]
        return list(torch.autograd.grad(inner_graph(value, gradient), leaves, allow_unused=True))
    except (RuntimeError, StopIteration, AttributeError, TypeError):
        return None


def _by_elements(examiner: Examiner, one: Held) -> list[Any] | None:
    values = examiner.alone.values
    if sum(v.numel() for v in values) > MOST_ELEMENTS or any(v.is_complex() for v in values):
        return None
    h = 1e-5 if examiner.bits == 64 else 1e-2

    def answer(at: list[torch.Tensor]) -> float:
        return examiner.with_one_of(one, examiner.alone.forward(at))

    return [by_elements(answer, values, i, h) for i in range(len(values))]
