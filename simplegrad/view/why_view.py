"""Why a gradient is what it is, as data for the browser; and the parameters of a PyTorch run, a row each."""

from __future__ import annotations

import inspect
import math

import torch

from ..checks.report import Place
from ..reasons import Why, diagnose, why
from ..trace.calls import Held
from ..trace.events import Value
from ..trace.texts import called
from ..trace.trace import Trace
from .sentences import shape_text

MOST_ROWS = 5_000
BINS = 40  # of a histogram
SHOWN_KINDS = ("parameter", "listed", "attribute")


def answer(trace: Trace, name: str) -> dict:
    """The answer to "why?" of one name: a sentence, its line, and the steps that led there."""
    try:
        found = why(trace, name)
    except KeyError as error:
        return {"name": name, "state": "", "cause": "", "sentence": str(error.args[0]), "place": None, "chain": []}
    return {
        "name": name,
        "state": found.state,
        "cause": found.cause.replace("_", " "),
        "sentence": found.sentence,
        "place": place_row(found.place),
        "chain": [[str(link), link.event] for link in found.chain],
    }


def place_row(place: Place | None) -> list | None:
    """[what to call it, its text]"""
    if place is None:
        return None
    lines = f"line {place.first}" if place.first == place.last else f"lines {place.first}-{place.last}"
    return [f"{called(place.file)}, {lines}", inspect.cleandoc(place.text)]


def diagnosis(trace: Trace) -> list[dict]:
    """What is worth knowing about a recorded step without being asked, gravest first."""
    return [
        {
            "name": each.parameter,
            "state": each.state,
            "cause": each.cause.replace("_", " "),
            "sentence": each.sentence,
            "place": place_row(each.place),
        }
        for each in (diagnose(trace).findings if trace.kind == "torch" and trace.held else ())
    ]


def parameters(trace: Trace) -> list[list]:
    """[path, kind (or "frozen"), shape, norm of its numbers, norm of its gradient, state of the gradient, share of its
    zeros, number of its elements, histograms] of what a model holds."""
    rows = [held for held in trace.held if held.kind in SHOWN_KINDS and (held.requires_grad or _is_one(held))]
    brought = {filled.value: filled.came for filled in trace.filled}
    return [parameter_row(held, brought.get(held.value)) for held in rows[:MOST_ROWS]]


def _is_one(held: Held) -> bool:
    """Though it asks for no gradient: a frozen parameter, or something else that has one all the same."""
    return held.kind == "parameter" or held.grad != "none"


def parameter_row(held: Held, brought: Value | None) -> list:
    norm = held.value.norm if held.value is not None else None
    drawn = [["numbers", histogram(held.value)], ["gradient that the last pass brought", histogram(brought)]]
    kept = [each for each in drawn if each[1] is not None]
    kind = "frozen" if held.kind == "parameter" and not held.requires_grad else held.kind
    row = [held.path, kind, shape_text(held.shape), norm, held.norm, held.grad, held.zeros, math.prod(held.shape)]
    return [*row, kept]


def histogram(value: Value | None) -> list | None:
    """[smallest, largest, counts, how many are not finite] of numbers that were kept."""
    tensor = value.tensor if value is not None else None
    if tensor is None or tensor.is_sparse or not tensor.is_floating_point():
        return None
    numbers = tensor.detach().flatten().double().cpu()
    finite = numbers[numbers.isfinite()]
    if not len(finite):
        return None
    low, high = finite.min().item(), finite.max().item()
    counts = torch.histc(finite, BINS, low, high).int().tolist() if low < high else [len(finite)]
    return [low, high, counts, len(numbers) - len(finite)]


__all__ = ["Why", "answer", "diagnosis", "parameters", "place_row"]
