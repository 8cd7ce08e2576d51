"""The page of a compiled aggregate: a run that differentiates it twice, and its code for each pattern of Nones."""

from __future__ import annotations

import os
from collections import Counter

import torch

from ..compiler import CompiledAggregate, CompileError
from ..language import Program
from ..language.starter import own_program
from .compile_view import example_inputs, listings, numbers, patterns_of
from .html import page, written
from .views import TraceView

MOST_ELEMENTS = 10_000  # of an input of the run; code for larger ones is shown beside a run on small ones


def compiled_html(
    aggregate: CompiledAggregate,
    path: str | os.PathLike | None = None,
    *,
    title: str | None = None,
    step: int | None = 0,
    include_plotlyjs: bool | str = True,
    address: str = "fragment",
) -> str | None:
    """The page of a compiled aggregate: its code, for shapes as in its latest call, and a run that uses it.

    Written to `path`; returned as text where that is None. Raises OSError.
    """
    trial = CompiledAggregate(aggregate.compiled_from, aggregate.written, aggregate.fused, aggregate.examples)
    told = {"title": title or aggregate.name, "notices": [], "codes": []}
    trace = None
    try:
        inputs = inputs_like_its_last(aggregate)
        trial.example = lambda: inputs
        trace = Program.parse(own_program(trial)).run(trial)
    except CompileError as error:
        told["notices"].append(str(error))
    except ValueError as error:  # inputs that no program of ours can hold
        told["notices"].append(f"There is no run to step through: {error}")
    if trace is not None or aggregate.latest is not None:
        counts = patterns_of(trace, trial) if trace is not None else Counter()
        told["codes"] = [[each.title, each.caption, each.code] for each in listings(aggregate, counts)]
    views = [] if trace is None else [TraceView(trace)]
    return written(path, page(told, views, step or 0, include_plotlyjs if views else False, address))


def inputs_like_its_last(aggregate: CompiledAggregate) -> tuple[torch.Tensor, ...]:
    """Numbers in the shapes of the latest call; where there was none, or a large one, the example's or small ones."""
    called = [shapes for shapes, case in aggregate.by_shape.items() if case is aggregate.latest]
    if called and all(shape.numel() <= MOST_ELEMENTS for shape in called[-1]):
        return tuple(numbers(called[-1]))
    if aggregate.examples and all(x.numel() <= MOST_ELEMENTS for x in aggregate.examples):
        return tuple(aggregate.examples)
    return example_inputs(aggregate)
