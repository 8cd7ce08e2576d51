"""How a file of right Functions lists them, and the numbers that they are tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class Right:
    """`fn` at `inputs`. `surrogate`: how check learns that the gradient is meant otherwise ("", "rule", "declared")."""

    fn: Callable
    make: Callable[[], tuple]
    surrogate: str = ""
    mutable: bool = True  # whether gradcheck can say of a changed one that it is wrong

    @property
    def inputs(self) -> tuple[Any, ...]:
        return self.make()


class Cases(dict):
    """`@cases(real(3))` above a Function registers its `apply`; `call=` wraps it into something that calls it."""

    def __call__(self, *inputs: Any, call: Callable | None = None, **kinds: Any) -> Callable:
        def register(cls: type) -> type:
            fn = cls.apply if call is None else lambda *args: call(cls.apply, *args)
            fn.__dict__.setdefault("of", cls) if call else None
            self[cls.__name__] = Right(fn, lambda: tuple(map(fresh, inputs)), **kinds)
            return cls

        return register

    def add(self, name: str, fn: Callable, *inputs: Any, **kinds: Any) -> None:
        self[name] = Right(fn, lambda: tuple(map(fresh, inputs)), **kinds)


def fresh(x: Any) -> Any:
    return x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else x


def real(*shape: int, seed: int = 0, low: float | None = None, high: float = 1.0, dtype=torch.double) -> torch.Tensor:
    """Normal numbers, or uniform ones from `low` to `high`; they require grad."""
    generator = torch.Generator().manual_seed(seed)
    if low is None:
        return torch.randn(shape, dtype=dtype, generator=generator).requires_grad_()
    return (torch.rand(shape, dtype=dtype, generator=generator) * (high - low) + low).requires_grad_()


def held(*shape: int, seed: int = 0, low: float | None = None, high: float = 1.0) -> torch.Tensor:
    return real(*shape, seed=seed, low=low, high=high).detach()
