"""A program to try an aggregate with, on the example inputs declared beside it: a gradient, and a gradient of that."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from numbers import Real

import torch

from ..aggregates import Aggregate
from ..engine import Variable
from .names import F, function_names
from .program import Program

MOST_NUMBERS = 256  # of one input; a larger one is drawn at random, in its shape


def own_program(aggregate: Aggregate) -> str:
    """The text of a program that calls the aggregate as `f` on its example inputs and differentiates twice.

    Raises ValueError for an aggregate without example inputs, or with inputs that the language cannot say.
    """
    if aggregate.example is None:
        raise ValueError(
            f"{aggregate.name} has no example inputs: @simplegrad.aggregate(example=lambda: (…)) gives some."
        )
    inputs = aggregate.example()
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    names = _names(aggregate, len(inputs))
    leaves = [name for name, value in zip(names, inputs) if isinstance(value, (torch.Tensor, Variable))]
    lines = [f"{name} = {_literal(value, k)}" for k, (name, value) in enumerate(zip(names, inputs)) if name in leaves]
    arguments = [name if name in leaves else _literal(value) for name, value in zip(names, inputs)]
    lines += [f"L0 = {F}({', '.join(arguments)}).sum()", _gradients(leaves)]
    known = _known(lines, aggregate, leaves)
    if known:
        squares = " + ".join(f"(d{name}*d{name}).sum()" for name in known)
        lines += [f"L1 = {squares}", f"grad(L1, [{', '.join(leaves)}])"]
    return "\n".join(lines) + "\n"


def _names(aggregate: Aggregate, count: int) -> list[str]:
    """The names of its parameters, as far as a program may use them."""
    taken = {F, "L0", "L1", *function_names()}
    found = list(inspect.signature(aggregate.function).parameters)
    found += [f"x{k}" for k in range(len(found), count)]
    return [f"{name}_" if name in taken or name.startswith("_") else name for name in found[:count]]


def _gradients(leaves: Sequence[str]) -> str:
    targets = ", ".join(f"d{name}" for name in leaves)
    return f"{targets}{',' if len(leaves) == 1 else ''} = grad(L0, [{', '.join(leaves)}])"


def _known(lines: Sequence[str], aggregate: Aggregate, leaves: Sequence[str]) -> list[str]:
    """Those whose gradient is not None, so that it can be computed with."""
    trace = Program.parse("\n".join(lines)).run(aggregate=aggregate)
    ended = [event for event in trace.events if event.kind == "PassEnded"]
    results = ended[0].results if ended else [True] * len(leaves)
    return [name for name, result in zip(leaves, results) if result is not None]


def _literal(value, number: int = 0) -> str:
    """An input as the language says it."""
    if isinstance(value, Variable):
        value = value.value
    if isinstance(value, Real):
        return repr(value)
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        kind = f"a tensor of {value.dtype}" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
        raise ValueError(f"its example inputs hold {kind}, which the program language cannot say.")
    if value.numel() > MOST_NUMBERS:
        return f"randn({', '.join(map(str, value.shape))}, seed={number + 1})"
    return f"tensor({_rounded(value.detach().tolist())})"


def _rounded(numbers) -> str:
    if isinstance(numbers, list):
        return f"[{', '.join(_rounded(each) for each in numbers)}]"
    return repr(float(f"{numbers:.6g}"))
