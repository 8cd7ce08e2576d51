"""How large the elements of a tensor are: which are of one size, how far each may be moved, what may be rounding."""

from __future__ import annotations

import math

import torch

from .numbers import plain

DECADES = 4.0  # elements of one tensor whose sizes are further apart are moved, and weighted, apart
FAR_SMALLER = 30.0
EPS = {64: 1e-15, 32: 1e-6}


def rounded(y: torch.Tensor) -> float:
    """The largest element: what is far smaller may be what is left of a difference, and stand still in small steps."""
    return float(plain(y.detach()).abs().nan_to_num(0, 0, 0).max()) if y.numel() else 0.0


def rounding_of(gradients: torch.Tensor, way: torch.Tensor, bits: int) -> float:
    """Along a way, of the largest of these gradients: what is as small may be rounding, as in `sigmoid(x) - 1`."""
    largest = torch.where(way != 0, gradients, 0.0).abs().nan_to_num(0, 0, 0).max() if way.numel() else 0.0
    return EPS[bits] * float(largest * way.double().norm())


def reach(x: torch.Tensor, masks: list[torch.Tensor] | None = None) -> torch.Tensor:
    """How far each element may be moved for a step: as others of its group, or by its own size if it is far smaller.
    `masks`: its groups, where they are known."""
    own = plain(x.detach()).abs().double()
    size = torch.zeros_like(own)
    for group in groups(x) if masks is None else masks:
        rms = float(own[group].square().mean().sqrt())
        rms = rms if rms > 0 and math.isfinite(rms) else 1.0
        size = torch.where(group, torch.where((own > 0) & (own < rms / FAR_SMALLER), own, rms), size)
    return size


def groups(x: torch.Tensor) -> list[torch.Tensor]:
    """Masks of the elements that are of one size, up to `DECADES`; infinite ones are in none, zeros with the last."""
    own = plain(x.detach()).abs().double()
    if own.numel():
        low, high = own.aminmax()
        if float(low) > 0 and float(high) <= 10**DECADES * float(low) < math.inf:
            return [torch.ones_like(own, dtype=torch.bool)]
    finite = torch.isfinite(own)
    sized = finite & (own > 0)
    if not bool(sized.any()):
        return [finite] if bool(finite.any()) else []
    logs = torch.log10(own.where(sized, own.new_ones(())))
    top = float(logs[sized].max())
    if float(top - logs[sized].min()) <= DECADES:
        return [finite]
    rank = ((top - logs) / DECADES).floor()
    ranks = rank[sized].unique().tolist()
    masks = [sized & (rank == r) for r in ranks]
    masks[-1] = masks[-1] | (finite & ~sized)
    return masks
