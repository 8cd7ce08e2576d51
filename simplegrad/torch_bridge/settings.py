"""What an optimizer steps with: learning rate, momentum, betas and whatever else its groups of parameters set."""

from __future__ import annotations

from typing import Any

import torch

# Of these the result of a step does not depend, or only on what is set besides.
_HOW = {"params", "foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay", "initial_lr"}
_HOW |= {"param_names", "max_lr", "min_lr", "max_momentum", "base_momentum"}

Settings = tuple[tuple[int, tuple[tuple[str, Any], ...]], ...]  # of each group: how many parameters, names and values


def settings_of(optimizer: torch.optim.Optimizer) -> Settings:
    return tuple(
        (len(group["params"]), tuple((name, plain(x)) for name, x in group.items() if name not in _left_out(group)))
        for group in optimizer.param_groups
    )


def _left_out(group: dict[str, Any]) -> set[str]:
    return _HOW if group.get("momentum", True) else _HOW | {"dampening", "nesterov"}


def plain(x: Any) -> Any:
    """A number, or some in a row; None for anything else, and for what lies on another device and may not be ready."""
    if isinstance(x, torch.Tensor):
        return x.item() if x.__class__ is torch.Tensor and x.numel() == 1 and x.device.type == "cpu" else None
    if isinstance(x, (tuple, list)):
        return tuple(map(plain, x))
    return x if isinstance(x, (bool, int, float)) else None


def written(settings: Settings) -> str:
    """`12: lr=0.1, momentum=0.9; 3: lr=0.01`, as the note of a step."""
    return "; ".join(f"{count}: {', '.join(_each(pairs))}" for count, pairs in settings)


def _each(pairs: tuple[tuple[str, Any], ...]) -> list[str]:
    return [f"{name}={_said(x)}" for name, x in pairs if x is not None and x != ()]


def _said(x: Any) -> str:
    return "/".join(map(_said, x)) if isinstance(x, tuple) else f"{x:.6g}" if isinstance(x, float) else str(x)
