"""The gradient that an escaped temporary loses, per input, told only where finite differences confirm it."""

from __future__ import annotations

from typing import Any

import torch

from ..measure.numbers import inner_graph, inner_sum, plain, slope
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
    kept, found = examiner.along, []
    try:
        for i, value in enumerate(values):
            gradient = torch.zeros_like(plain(value))
            for k in range(value.numel()):
                examiner.along = [torch.zeros_like(plain(v)) for v in values]
                examiner.along[i].view(-1)[k] = 1.0
                gradient.view(-1)[k] = _difference(examiner, one)
            found.append(gradient)
    finally:
        examiner.along = kept
    return found


def _difference(examiner: Examiner, one: Held) -> float:
    h = 1e-5 if examiner.bits == 64 else 1e-2
    return (examiner._with(one, h) - examiner._with(one, -h)) / (2 * h)
