"""How precisely something computes, whatever its inputs are: found by running it at points less than a rounding apart.

A kernel may work in single precision on doubles, or in half; what differs by no more than that is no fault. Such a
kernel does not see a move that is far smaller than a rounding of its precision: its values stay exactly what they are.
Where it is flat it does not see one either, so that it is asked at inputs of a size near one as well.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..subjects.subject import Subject
from .holding import evened
from .numbers import all_moved, drawn, plain

UNSEEN = {16: 2.0**-20, 32: 2.0**-36}  # relative moves that are lost in that precision, and in none that is finer
SEEN = {16: 2.0**-6, 32: 2.0**-20}  # and those that are not


def works_in(subject: Subject) -> int:
    """16, 32 or 64: the bits of the numbers that forward or backward compute in."""

    def forward(at: list[torch.Tensor]) -> list:
        return subject.run(at).outputs

    def backward(at: list[torch.Tensor]) -> list:
        return subject.run(at).gradients(subject.incoming)

    return min(_bits(values, subject.values) for values in (forward, backward))


def _bits(values: Callable[[list[torch.Tensor]], list], given: list[torch.Tensor]) -> int:
    try:
        for bits in UNSEEN:
            if all(_is_lost(values, at, bits) for at in (given, evened(given))):
                return bits
    except Exception:  # not defined beside the point
        return 64
    return 64


def _is_lost(values: Callable[[list[torch.Tensor]], list], at: list[torch.Tensor], bits: int) -> bool:
    """Whether most of what a large enough move changes stays exactly what it is for one that this precision loses."""
    here = values(at)
    small, large = (_changed(here, values(_beside(at, step))) for step in (UNSEEN[bits], SEEN[bits]))
    seen = int(large.sum())
    return seen > len(large) / 2 and int((large & ~small).sum()) > seen / 2


def _beside(at: list[torch.Tensor], step: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(71)
    ways = [torch.sign(plain(drawn(x, generator)).real) * plain(x.detach()).abs() for x in at]
    return all_moved(at, ways, step)


def _changed(here: list, there: list) -> torch.Tensor:
    """Which elements of all that is not None are others there."""
    pairs = [(plain(a.detach()), plain(b.detach())) for a, b in zip(here, there, strict=True) if _are_both(a, b)]
    return torch.cat([(a != b).reshape(-1) for a, b in pairs]) if pairs else torch.zeros(0, dtype=torch.bool)


def _are_both(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    return a is not None and b is not None
