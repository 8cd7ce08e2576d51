"""What the author of a custom Function declares about its gradient."""

from __future__ import annotations

from typing import Any, TypeVar

MARK = "__simplegrad_surrogate__"
AnyClass = TypeVar("AnyClass", bound=type)


def surrogate(cls: AnyClass) -> AnyClass:
    """Declare that the gradient of this `torch.autograd.Function` is not meant to be the derivative of its forward.

    `check` then judges its higher orders only, of backward as it is written.
    """
    setattr(cls, MARK, True)
    return cls


def is_surrogate(cls: Any) -> bool:
    """Whether this class, or one that it is made of, is declared one."""
    return bool(getattr(cls, MARK, False))
