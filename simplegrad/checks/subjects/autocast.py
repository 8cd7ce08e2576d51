"""A function in the autocast that it was called in: its forward alone, as PyTorch would have a step of training."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from .problem import parameters_of


def in_autocast(fn: Callable, device: str, dtype: torch.dtype) -> Callable:
    """`fn`, with its name and the names of its parameters, its backward outside."""

    def cast(*args: Any) -> Any:
        with torch.autocast(device, dtype=dtype):
            return fn(*args)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    cast.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in parameters_of(fn)])  # type: ignore[attr-defined]
    owner = getattr(fn, "__self__", None)
    cast.__name__ = owner.__name__ if isinstance(owner, type) else getattr(fn, "__name__", type(fn).__name__)
    return cast
