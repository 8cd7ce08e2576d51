"""Everything in double precision, also what a Function itself casts down.

What is kept in half precision moves in steps: differences see none of it, and a value that escaped that way would pass
for a constant. `with Widened():` makes such casts keep what they were given, in double precision.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch

from simplegrad.checks.subjects.alone import Alone
from simplegrad.torch_bridge.calls import Call
from simplegrad.torch_private import TorchDispatchMode

WIDE = {dtype: torch.float64 for dtype in (torch.float16, torch.bfloat16, torch.float32)}
WIDE |= {dtype: torch.complex128 for dtype in (torch.complex32, torch.complex64)}


class Widened(TorchDispatchMode):
    """`casts`: how often something narrower was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.casts = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("dtype") in WIDE:
            kwargs = kwargs | {"dtype": WIDE[kwargs["dtype"]]}
            self.casts += 1
        return func(*args, **kwargs)


def casts_down(call: Call) -> bool:
    """Whether forward asks for something narrower than double."""
    with suppress(Exception), Widened() as mode:  # it may insist on that, or need the engine around it
        Alone(call).forward()
    return mode.casts > 0
