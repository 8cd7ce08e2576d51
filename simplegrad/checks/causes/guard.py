"""`once_differentiable` measured: whether it stops a second derivative on the ways that people take one.

It puts an error node in front of the gradients it returns. That node raises when `loss.backward()` reaches it. It is
not reached, and a wrong number comes out, where `autograd.grad(loss, x)` finds its way to `x` past it, and it is not
even made where the gradient coming in needs no gradient itself (`y.sum()`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...torch_bridge.calls import Call
from .. import source
from ..measure.numbers import all_moved, directions, inner_graph, inner_sum, slope
from ..report import Finding
from ..subjects.problem import Problem

GUARD_FIX = """\
# a sketch: make backward differentiable (torch operations on saved inputs and outputs), or refuse a second derivative:
@staticmethod
def backward(ctx, *grads):
    if torch.is_grad_enabled():  # create_graph=True
        raise RuntimeError("this Function can be differentiated only once")"""


def guard_finding(problem: Problem, guarded: list[Call], level: int) -> Finding:
    """`guard_bypassed` where one of the ways gives a wrong number in silence, a note where each says so."""
    silent = [words for words, way in WAYS.items() if gives_wrong_number(problem, way)]
    names = ", ".join(dict.fromkeys(call.name for call in guarded))
    code = source.code_of(guarded[0].backward)
    read_at = source.heading(code) if code else None
    if silent:
        sentence = f"{names} is marked once_differentiable, and yet {silent[0]} gives a wrong number without an error."
        return Finding("guard_bypassed", sentence, entry=names, read_at=read_at, order=level, fix=GUARD_FIX)
    sentence = (
        f"{names} is marked once_differentiable: every second derivative of this function raises an error, as its "
        f"author means it to. Inside a larger function autograd.grad(loss, x) can find a way past the guard."
    )
    return Finding("first_order_only", sentence, entry=names, read_at=read_at, order=level)


def gives_wrong_number(problem: Problem, way: Callable) -> bool:
    """Whether this way of differentiating twice raises nothing and disagrees with finite differences."""
    generator = torch.Generator().manual_seed(41)
    weights = directions(problem.values, generator, scaled=False)
    along = directions(problem.values, generator)
    try:
        found = way(problem, weights)
    except Exception:  # loud, as a guard should be
        return False
    autograd = inner_sum(found, along)

    def at(h: float) -> float:
        return problem.value(all_moved(problem.values, along, h), problem.incoming, weights)

    numeric = slope(at, problem.bits)
    return numeric.disagrees(autograd, abs(numeric.value) + abs(autograd), 1e-3)


def _loss(problem: Problem, weights: list, needs: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    leaves, outputs = problem.outputs(problem.values)
    incoming = [v.clone().requires_grad_(needs) for v in problem.incoming]
    first = torch.autograd.grad(outputs, leaves, incoming, create_graph=True, allow_unused=True)
    return sum(inner_graph(g, u) for g, u in zip(first, weights, strict=True) if g is not None), leaves


def _by_backward(problem: Problem, weights: list, needs: bool) -> list:
    loss, leaves = _loss(problem, weights, needs)
    loss.backward()
    return [leaf.grad for leaf in leaves]


def _by_grad(problem: Problem, weights: list, needs: bool) -> list:
    loss, leaves = _loss(problem, weights, needs)
    return list(torch.autograd.grad(loss, leaves))


WAYS = {
    "loss.backward()": lambda p, w: _by_backward(p, w, True),
    "loss.backward() after y.sum()": lambda p, w: _by_backward(p, w, False),
    "autograd.grad(loss, x)": lambda p, w: _by_grad(p, w, True),
    "autograd.grad(loss, x) after y.sum()": lambda p, w: _by_grad(p, w, False),
}
