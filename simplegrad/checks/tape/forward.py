"""What forward did, operation by operation, and what each use of a value contributes to the gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch.overrides import TorchFunctionMode

from ...torch_private import changes
from ..runs.watch import TapeWatch, own_line
from .climb import Gradients, torch_grad

Source = tuple[str, int]
SKIPPED = ("requires_grad_", "__get__", "__set__", "backward", "register_hook")


@dataclass
class Done:
    """One torch function that forward called, and the line that called it."""

    func: Callable
    args: tuple
    kwargs: dict
    result: torch.Tensor
    at: Source | None


@dataclass
class Mutation:
    """A captured value that was changed in place, and the line that did it."""

    variable: object
    at: Source | None


class Forward(TorchFunctionMode):
    """`with Forward(watch) as forward:` keeps what forward computes, in order, and who changes what in place."""

    def __init__(self, watch: TapeWatch):
        super().__init__()
        self.watch = watch
        self.done: list[Done] = []
        self.mutations: dict[int, Mutation] = {}

    def __torch_function__(self, func: Callable, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if isinstance(result, torch.Tensor) and name not in SKIPPED and result.is_floating_point():
            at = own_line()
            if at is not None:
                self.done.append(Done(func, args, kwargs, result, at))
        for key, made in self.watch.made.items():
            if changes(made.variable.value) != made.version and key not in self.mutations:
                self.mutations[key] = Mutation(made.variable, own_line())
        return result


@dataclass
class Use:
    """One use of a value by an operation of forward: `flow` is the gradient that comes back along it, `parts` what it
    contributes to each input of the entry."""

    done: Done
    position: int
    value: torch.Tensor
    flow: torch.Tensor
    parts: Gradients = field(default_factory=list)
    direct: bool = False  # the value used is an input itself


def uses_of(forward: Sequence[Done], loss: torch.Tensor, inputs: Sequence[torch.Tensor]) -> list[Use]:
    """All uses in forward that the loss depends on, those of inputs themselves first."""
    found = []
    for done in forward:
        total = at_result(loss, done.result)
        if total is not None:
            for position, value in enumerate(done.args):
                use = one_use(done, position, value, total)
                if use is not None:
                    use.parts = parts_of(use, inputs)
                    use.direct = is_input(value, inputs)
                    found.append(use)
    return sorted(found, key=lambda use: not use.direct)


def at_result(loss: torch.Tensor, result: torch.Tensor) -> torch.Tensor | None:
    """The gradient of the loss by what an operation returned."""
    if not result.requires_grad:
        return None
    try:
        (total,) = torch_grad(loss, [result], create_graph=False)
    except RuntimeError:
        return None
    return total


def one_use(done: Done, position: int, value: object, total: torch.Tensor) -> Use | None:
    """The gradient along one argument: the operation is done again, with only that argument to differentiate by."""
    if not (isinstance(value, torch.Tensor) and value.requires_grad and value.is_floating_point()):
        return None
    alone = value.detach().clone().requires_grad_()
    args = [each.detach().clone() if isinstance(each, torch.Tensor) else each for each in done.args]
    args[position] = alone.clone()
    try:
        result = done.func(*args, **done.kwargs)
        (flow,) = torch.autograd.grad(result, alone, total.detach(), allow_unused=True)
    except Exception:  # changed in place since, or no function of its arguments alone
        return None
    return None if flow is None else Use(done, position, value, flow)


def parts_of(use: Use, inputs: Sequence[torch.Tensor]) -> Gradients:
    try:
        return torch_grad((use.value * use.flow).sum(), inputs, create_graph=False)
    except RuntimeError:
        return [None] * len(inputs)


def is_input(value: torch.Tensor, inputs: Sequence[torch.Tensor]) -> bool:
    """Whether a tensor is one of these, or the copy of it that forward was given."""
    nodes = [x.grad_fn or torch.autograd.graph.get_gradient_edge(x).node for x in inputs]
    own = value.grad_fn
    return any(value is x for x in inputs) or own in nodes or bool(own and copies_one(own, nodes))


def copies_one(node, nodes: Sequence) -> bool:
    return node.name() == "CloneBackward0" and any(following in nodes for following, _ in node.next_functions)
