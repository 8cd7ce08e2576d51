"""What nothing in a check asks of a function, so that nobody takes `correct` to say it: a line below the clauses."""

from __future__ import annotations

from typing import Any

import torch

from ..torch_private import hooks_on, tree_flatten
from .subjects.alone import OuterStep, outer_steps
from .subjects.problem import Problem, parameters_of

WAYS = ("other devices", "transforms of torch.func around it", "checkpoint around it", "torch.compile")
ON_TAPE = ("other devices", "passes that begin while another one runs", 'prune="ahead" beyond the first order')


def of_function(problem: Problem) -> list[str]:
    """Of a PyTorch function and its Functions."""
    steps = [*problem.outer, *(step for call in problem.calls for step in outer_steps(call))]
    around = list(dict.fromkeys(said for step in steps if step.is_filled and (said := _differentiable(step))))
    hooked = [name for name, x in _inputs(problem) if hooks_on(x)]
    held = [name for name, x in _inputs(problem) if x.is_floating_point() and not x.requires_grad]
    found = [f"the gradient of {name}, which is reached from outside" for name in around]
    found += [f"the gradient of {name}, which does not require grad" for name in held]
    found += [f"the hooks on {name}" for name in hooked]
    return found + list(WAYS)


def _inputs(problem: Problem) -> list[tuple[str, torch.Tensor]]:
    names = parameters_of(problem.original)
    return [
        (names[i] if i < len(names) else f"input {i}", leaf)
        for i, value in enumerate(problem.inputs)
        for leaf in tree_flatten(value)[0]
        if isinstance(leaf, torch.Tensor)
    ]


def _differentiable(step: OuterStep) -> str:
    """What a function can reach that has a gradient of its own: a tensor, or a module with parameters."""
    value: Any = step.get(None)
    if isinstance(value, torch.Tensor) and value.requires_grad:
        return step.label
    if isinstance(value, torch.nn.Module) and any(p.requires_grad for p in value.parameters()):
        return f"the parameters of {step.label}"
    return ""
