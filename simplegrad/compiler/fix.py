"""`fix_for`: what somebody could have written instead, made from the forward that they did write."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..aggregates import Aggregate
from ..engine import Variable
from .aggregate import CompiledAggregate
from .code import Code, indented, zeros_line
from .forward import source_of_forward
from .names import free_name


def fix_for(aggregate: Aggregate | Callable, inputs: Sequence | None = None) -> str | None:
    """The compiled form of an aggregate's own forward, as one function to paste; None where it cannot be traced.

    The forward is run with symbols for its inputs: `a.value` is the symbol, `Variable(t)` is t, and what is appended
    to the tape is left aside, so that only the mathematics is read. The code is for shapes like those of `inputs`
    (tensors or Variables; the aggregate's own example, if it has one); without any it undoes broadcasting wherever
    there may be some.
    """
    function = getattr(aggregate, "function", aggregate)
    name = getattr(aggregate, "name", None) or getattr(function, "__name__", "f")
    if isinstance(aggregate, CompiledAggregate):
        return None
    try:
        made = CompiledAggregate(source_of_forward(function), free_name(name if name.isidentifier() else "f"))
        return whole_text(code_for(made, inputs if inputs is not None else example_of(aggregate)))
    except Exception:  # whatever a forward does that symbols cannot: then there is no fix to offer
        return None


def example_of(aggregate: Aggregate | Callable) -> Sequence | None:
    example = getattr(aggregate, "example", None)
    inputs = example() if example is not None else None
    return inputs if inputs is None or isinstance(inputs, (tuple, list)) else [inputs]


def code_for(made: CompiledAggregate, inputs: Sequence | None) -> Code:
    if inputs is not None:
        return made.case_of([x.value if isinstance(x, Variable) else torch.as_tensor(x) for x in inputs]).code
    return Code(made.written, made.usual.general)


def whole_text(code: Code) -> str:
    """Forward and propagate in one function, with nothing but what stands in it."""
    return code.forward_text(inlined(code), by_name=True)


def inlined(code: Code) -> list[str]:
    """The bodies within propagate, each under the one test that leads to it."""
    lines: list[str] = []
    first = code.made.first
    known = [g for g, comes in zip(code.incoming, first) if not comes]
    if known:
        lines += under(" and ".join(f"{g} is None" for g in known), code.body_lines(first))
    if len(code.outputs) == 2 and len(known) == 1:
        (other,) = set(code.incoming) - set(known)
        lines += under(f"{other} is None", code.body_lines(tuple(not comes for comes in first)))
    elif known:
        for name, g in zip(code.outputs, code.incoming):
            lines += [f"if {g} is None:  # seldom", f"    {zeros_line(name)}"]
    return [*lines, *code.body_lines(code.made.all)]


def under(condition: str, lines: list[str]) -> list[str]:
    return [f"if {condition}:", *indented(lines)]
