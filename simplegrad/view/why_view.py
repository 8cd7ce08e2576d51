"""Why a gradient is what it is, as data for the browser; and the parameters of a PyTorch run, a row each."""

from __future__ import annotations

import inspect

from ..checks.report import Place
from ..reasons import Why, diagnose, why
from ..trace.calls import Held
from ..trace.texts import called
from ..trace.trace import Trace
from .sentences import shape_text

MOST_ROWS = 5_000
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
    """[path, kind, shape, norm of its numbers, norm of its gradient, state of the gradient] of what a model holds."""
    rows = [held for held in trace.held if held.kind in SHOWN_KINDS and (held.requires_grad or held.grad != "none")]
    return [parameter_row(held) for held in rows[:MOST_ROWS]]


def parameter_row(held: Held) -> list:
    norm = held.value.norm if held.value is not None else None
    return [held.path, held.kind, shape_text(held.shape), norm, held.norm, held.grad]


__all__ = ["Why", "answer", "diagnosis", "parameters", "place_row"]
