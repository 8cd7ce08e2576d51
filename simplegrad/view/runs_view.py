"""What the Compare page shows of two saved runs, as data: where they part, and a row for each layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ..checks.report import Place
from ..comparison.compare import Comparison
from ..comparison.runs import RunComparison
from ..trace.texts import called
from . import compare_view
from .session import step_of

NOTHING = "nothing"  # the title of a side without a trace
LAYER_COLUMNS = ("layer", "result, left", "right", "gradient, left", "right")


@dataclass(frozen=True)
class Runs:
    """Two saved traces by name; "" where none was chosen."""

    left: str = ""
    right: str = ""
    step: int = 0
    problems: tuple[str, ...] = field(default=(), compare=False)

    def query(self) -> dict[str, str]:
        """As it stands in the URL."""
        return {"left": f"file:{self.left}", "right": f"file:{self.right}", "step": str(self.step)}

    def at(self, step: int) -> Runs:
        return replace(self, step=step, problems=())


def is_of_runs(query: Mapping[str, str]) -> bool:
    return any(query.get(side, "").startswith("file:") for side in ("left", "right"))


def runs_from_query(query: Mapping[str, str], traces: Collection[str]) -> Runs:
    """What a URL asks for; what it says wrongly is left out, and told in `problems`."""
    names, problems = [], []
    for side in ("left", "right"):
        name = query.get(side, "").removeprefix("file:")
        if name and name not in traces:
            problems.append(f"The address says {side}=file:{name[:60]}, which is not loaded. Open it in the file menu.")
        names.append(name if name in traces else "")
    step = step_of(query, problems)
    return Runs(*names, step, tuple(problems))


def chosen(runs: Runs, traces: Collection[str]) -> Runs:
    """With a trace on both sides, where there are two."""
    left = runs.left or next((name for name in traces if name != runs.right), "")
    right = runs.right or next((name for name in traces if name != left), "")
    return replace(runs, left=left, right=right)


def facts_of(comparison: Comparison | RunComparison, names: list[str]) -> dict:
    """The top of the page, of two traces of either kind."""
    if isinstance(comparison, Comparison):
        return compare_view.facts_of(comparison, names)
    found = comparison.divergence
    told = None
    if found is not None:
        sides = [_at(place) for place in (found.left_place, found.right_place)]
        told = {
            "kind": found.how,
            "title": found.where,
            "variable": found.module,
            "sentence": found.sentence,
            "left": sides[0],
            "right": sides[1],
            "step": comparison.first_step,
        }
    return {"names": names, "divergence": told, "same": comparison.sentence, "ghosts": []} | (
        {} if comparison.is_judged else {"judged": False}
    )


def _at(place: Place | None) -> str:
    """`line 12 of train.py: h = self.norm(x)`"""
    if place is None:
        return "its line is not known"
    lines = f"line {place.first}" if place.first == place.last else f"lines {place.first} to {place.last}"
    text = " ".join(place.text.split())
    return f"{lines} of {called(place.file)}" + (f": {text}" if text else "")


def layer_rows(comparison: RunComparison) -> list[dict]:
    """The table of layers: norms on both sides, and whether they differ by more than rounding."""
    return [
        {
            "cells": [
                layer.module or "(the step itself)",
                *map(_norm, (layer.left, layer.right, layer.left_gradient, layer.right_gradient)),
            ],
            "differs": layer.differs,
        }
        for layer in comparison.layers
    ]


def _norm(norm: float | None) -> str:
    return "–" if norm is None else f"{norm:.6g}"
