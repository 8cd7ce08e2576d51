"""A few numbers that stand for all of a tensor's: sums with fixed weights, so that prints add up as tensors do.

Ranks are compared without their gradients at hand: whether one is the sum, the mean or a copy of others shows in these.
The weights are an outer product, which takes one multiplication by a small matrix and no memory to speak of.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from simplegrad.torch_private import local_part

COUNT = 8  # numbers of one tensor: so many unknown shares of ranks can be found from one
BLOCK = 1024


def prints(tensor: torch.Tensor | None) -> tuple[float, ...]:
    """Of a tensor's own part, for a sharded one; () for none, and for what is not finite or cannot be looked at."""
    if tensor is None:
        return ()
    try:
        flat = local_part(tensor).detach().reshape(-1)
        flat = torch.view_as_real(flat).reshape(-1) if flat.is_complex() else flat
        flat = flat if flat.dtype in (torch.float32, torch.float64) else flat.float()
        sums = _sums(flat).tolist()
        return tuple(sums) if all(map(math.isfinite, sums)) else ()
    except Exception:  # a meta, sparse or nested tensor
        return ()


def _sums(flat: torch.Tensor) -> torch.Tensor:
    rows = flat.numel() // BLOCK
    inner = _weights(BLOCK, 1, flat.device, flat.dtype)
    if not rows:
        return flat @ inner[: flat.numel()]
    rest = flat[rows * BLOCK :]
    sums = (rest @ inner[: rest.numel()]).double()
    outer = _weights(1 << (rows - 1).bit_length(), 2, flat.device, torch.float64)[:rows]
    return sums + ((flat[: rows * BLOCK].view(rows, BLOCK) @ inner).double() * outer).sum(0)


@lru_cache(maxsize=64)
def _weights(rows: int, seed: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Of both signs, none near zero; the same in each process, and without torch's own generators."""
    at = torch.arange(rows * COUNT, dtype=torch.float64).view(rows, COUNT)
    drawn = (torch.sin(at * 12.9898 + seed * 78.233) * 43758.5453).frac()
    return (drawn.sign() * (0.5 + drawn.abs())).to(device, dtype)
