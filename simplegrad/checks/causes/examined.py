"""A hand-written backward called alone, with a gradient for one output, at several points, whatever it stands in.

The rules of `partial` and `contributions` ask nothing else: a subject says how its inputs and outputs are called, how a
gradient of one is written, and where in the source things are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from ..measure.numbers import Tolerance, same
from ..report import Place
from ..tape.climb import Gradients
from ..tape.forward import Use

SMALL = 1e-12


class Places(Protocol):
    """Where in the source things are; None where that is not known."""

    def returned(self) -> Place | None: ...  # the statement that returns
    def output(self) -> Place | None: ...  # where the output was made
    def unpacked(self) -> Place | None: ...  # where the incoming gradients arrive
    def computed(self, i: int) -> Place | None: ...  # the statement that makes the gradient of this input wrong
    def contribution(self, use: Use, factor: float, i: int) -> Place | None: ...  # that computed this part of it
    def adds_equals(self, limit: float) -> bool: ...  # whether it adds two equal things


class Examined:
    """`calls` agree in what is wrong with the gradients of the inputs `names` when one comes in for `output`."""

    calls: list[Any]
    names: list[str]
    output: str
    outputs: int = 1  # how many there are
    text: str  # what a finding calls the whole
    word: str = "backward"
    places: Places
    lists_twice: bool = False  # an input is listed twice
    limit: Tolerance

    def fits(self, found: Sequence[Gradients], truth: Sequence[Gradients]) -> bool:
        """Whether gradients are equal in all calls, in all slots."""
        return all(
            same(f, t, self.limit.of(c.truth))
            for fs, ts, c in zip(found, truth, self.calls)
            for f, t in zip(fs, ts, strict=True)
        )

    @property
    def wrong(self) -> list[int]:
        """Slots of inputs whose gradient is wrong in any call."""
        return [
            i
            for i in range(len(self.names))
            if any(not same(c.returned[i], c.truth[i], self.limit.of(c.truth)) for c in self.calls)
        ]

    # -- how a person writes it --------------------------------------------------------------------------------

    @property
    def is_an_output(self) -> str:
        return f"{self.output} is an output"

    def gradient_of(self, name: str) -> str:
        return f"grad_{name}"

    def added_to(self, name: str) -> str:
        gradient = self.gradient_of(name)
        return f"# a sketch\n{gradient} = {gradient} + ...  # add what comes back along that use"

    def pass_on(self, name: str, gradient: str) -> str:
        return f"# a sketch\n... + {gradient} * ...  # pass it on to everything that {name} was computed from"

    def all_returned(self) -> str:
        return f"# a sketch\nreturn {', '.join(map(self.gradient_of, self.names))}  # in the order of the inputs"


def minus(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor | None:
    if b is None:
        return a
    return -b if a is None else a - b


def gaps_of(examined: Examined) -> list[Gradients]:
    """truth - returned, per call and slot."""
    return [[minus(t, r) for t, r in zip(c.truth, c.returned, strict=True)] for c in examined.calls]
