"""What a check of a PyTorch function ran, as a trace: forward, its pass, and the pass of each order above."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from operator import add
from typing import Any

import torch

from ...torch_private import tree_flatten
from ...trace import Trace
from ...trace.events import Failed, VisitBegun
from ..report import Finding


def recorded(function: Callable, inputs: tuple, passes: int, names: Mapping[str, torch.Tensor] | None = None) -> Trace:
    """The run of a function, and of as many passes: each of the sum of what the last one gave.

    What raises ends the trace, and goes on to nobody.
    """
    from ...torch_bridge.record import record_torch  # it loads torch.autograd's insides

    trace = Trace()
    try:
        with record_torch("full", names=names or {}) as trace:
            differentiated(function, inputs, passes)
    except Exception:  # what a user's code raises is the last event
        pass
    return trace


def differentiated(function: Callable, inputs: tuple, passes: int) -> None:
    """The pass of L0, the sum of the results; and that of L1, the sum of the gradients that the first one gave; and on.

    The results are multiplied by ones that require a gradient. What comes in to the first backward depends on
    something then, as it does in a real loss, and autograd records what that backward computes.
    """
    wanted = list(differentiable(function, inputs))
    y = function(*inputs)
    results = [each for each in tensors_of(y) if each.requires_grad]
    if passes == 1:
        L0 = reduce(add, [each.sum() for each in results])
        torch.autograd.grad(L0, wanted, allow_unused=True)
        return
    weights = [torch.ones_like(each).requires_grad_() for each in results]
    ones = weights[0]  # a local name is what the trace calls it
    L0 = reduce(add, [(each * weight).sum() for each, weight in zip(results, weights)])
    found = torch.autograd.grad(L0, wanted, create_graph=True, allow_unused=True)
    for left in reversed(range(passes - 1)):
        found = [g for g in found if g is not None and g.requires_grad]
        if found:
            L1 = reduce(add, [g.sum() for g in found])
            found = torch.autograd.grad(L1, [*wanted, ones], create_graph=left > 0, allow_unused=True)


def fresh(x: Any) -> Any:
    """A leaf of its own, so that nothing of one run is left in the next."""
    return x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else x


def differentiable(function: Callable, inputs: tuple) -> Iterator[torch.Tensor]:
    module = list(function.parameters()) if isinstance(function, torch.nn.Module) else []
    return (x for x in [*tree_flatten(inputs)[0], *module] if isinstance(x, torch.Tensor) and x.requires_grad)


def tensors_of(results: Any) -> list[torch.Tensor]:
    return [y for y in tree_flatten(results)[0] if isinstance(y, torch.Tensor)]


def step_of(finding: Finding, trace: Trace) -> int | None:
    """The event that shows it: where the backward is run that it is about, or what that backward recorded, in the pass
    of the finding's order; of a run that raises, its end."""
    events = trace.events
    if events and isinstance(events[-1], Failed):
        return events[-1].index
    own = {e.id for e in trace.entries if e.aggregate and e.operator in finding.entry.split(", ")}
    visits = [e for e in events if isinstance(e, VisitBegun)]
    about = [e for e in visits if e.entry.id in own or e.entry.made_by in own]
    level = (finding.order or 1) - 1
    chosen = [e for e in about if e.pass_id == level] or about or [e for e in visits if e.entry.aggregate] or visits
    return chosen[0].index if chosen else None
