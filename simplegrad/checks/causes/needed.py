"""The value that a site of backward would have to have for the gradients to be right, solved for in the run.

The gradients are taken as a function of one value on the way: changed a little in each element, the run says how they
move, and Newton's method goes from there. Where several values would do, any two that make no difference to the
gradients count as one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

MOST_ELEMENTS = 48  # of a value that is solved for: each is a run of backward
ROUNDS = 5
STEP = 1e-5


@dataclass(frozen=True)
class Needed:
    """`value`, a flat real vector like the one found, and `moves`: how the gradients move with each of its elements."""

    found: torch.Tensor
    value: torch.Tensor
    moves: torch.Tensor
    rounds: int = 1  # more than one: the gradients are not linear in the value, and another one may do as well

    @property
    def freedom(self) -> int:
        """In how many independent ways the value moves the gradients."""
        return int(torch.linalg.matrix_rank(self.moves, rtol=1e-6))

    @property
    def is_nothing(self) -> bool:
        """Whether it would have to be zeros: it is too much wherever it goes in."""
        return float(self.value.norm()) <= 1e-9 * float(self.found.norm())

    def is_met_by(self, other: torch.Tensor) -> bool:
        """Whether this flat vector would do as well."""
        a, b = self.moves @ other, self.moves @ self.value
        return bool((a - b).norm() <= 1e-5 * b.norm() + 1e-12)

    def factor_of(self, other: torch.Tensor, like: torch.Tensor | None = None) -> float | None:
        """The c for which `c * other` would do (or would do as `like` does); None where there is none."""
        a, b = self.moves @ other, self.moves @ (self.value if like is None else like)
        size = float(a @ a)
        if size <= 1e-20 * float(b @ b) or size == 0:
            return None
        c = float(a @ b) / size
        return c if bool((c * a - b).norm() <= 1e-5 * b.norm() + 1e-12) else None


def needed(gradients: Callable[[Any], torch.Tensor], value: Any, truth: torch.Tensor) -> Needed | None:
    """What `value` would have to be for `gradients(value)` to be `truth`; None where nothing does it.

    Args:
        gradients: runs backward with another value in that place, and gives the gradients as one flat real vector.
        value: the value found, of a tensor, an array or a number.
        truth: the right gradients, flat.
    """
    flat, back = flattened(value)
    if flat is None or not 0 < flat.numel() <= MOST_ELEMENTS:
        return None
    at, now = flat.clone(), gradients(value)
    limit = 1e-8 * float(truth.norm()) + 1e-14
    moves = None
    for count in range(1, ROUNDS + 1):
        moves = moves_of(lambda v: gradients(back(v)), at, now)
        step = torch.linalg.pinv(moves, rtol=1e-7) @ (truth - now)
        if not bool(step.isfinite().all()):
            return None
        at = at + step
        now = gradients(back(at))
        if float((truth - now).norm()) <= limit:
            return Needed(flat, at, moves, count)
        if float(step.norm()) <= 1e-13 * float(at.norm()):
            return None
    return Needed(flat, at, moves, ROUNDS) if float((truth - now).norm()) <= 100 * limit else None


def moves_of(gradients: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
    """How the gradients move with each element: (number of gradients, number of elements)."""
    h = STEP * max(float(at.abs().max()), 1e-3)
    columns = []
    for k in range(at.numel()):
        there = at.clone()
        there[k] += h
        columns.append((gradients(there) - now) / h)
    return torch.stack(columns, 1)


def flattened(value: Any) -> tuple[torch.Tensor | None, Callable[[torch.Tensor], Any]]:
    """A value as a flat real vector in double precision, and the way back."""
    if isinstance(value, torch.Tensor):
        return _flat_tensor(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        flat = torch.from_numpy(np.ascontiguousarray(value)).double().flatten()
        return flat, lambda v: v.reshape(value.shape).numpy().astype(value.dtype)
    if isinstance(value, int | float | np.floating) and not isinstance(value, bool):
        return torch.tensor([float(value)], dtype=torch.float64), lambda v: float(v[0])
    return None, lambda v: v


def _flat_tensor(value: torch.Tensor) -> tuple[torch.Tensor | None, Callable[[torch.Tensor], Any]]:
    if value.layout != torch.strided or not (value.is_floating_point() or value.is_complex()):
        return None, lambda v: v
    dtype, shape, device = value.dtype, value.shape, value.device
    plain = value.detach().resolve_conj().resolve_neg()
    if value.is_complex():
        flat = torch.view_as_real(plain).flatten().double().cpu()
        return flat, lambda v: torch.view_as_complex(v.reshape(*shape, 2).contiguous()).to(device, dtype)
    return plain.flatten().double().cpu(), lambda v: v.reshape(shape).to(device, dtype)
