"""The values that a backward can reach, each object once, and what autograd knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...torch_bridge.calls import Call
from ..measure.numbers import Slope, plain
from .alone import Ran
from .slots import Path, Slot

INPUT, OUTPUT, FOLLOWED, INNER, UNTRACKED = "input", "output", "followed", "inner graph", "untracked"


@dataclass
class Held:
    """One object that backward can reach, under all the paths that lead to it."""

    slots: list[Slot]
    kind: str
    place: int = -1  # which input or output it is
    contribution: Slope | None = None
    seen_by_autograd: float = 0.0

    @property
    def name(self) -> str:
        return self.slots[0].name

    @property
    def value(self) -> Any:
        return self.slots[0].value

    @property
    def paths(self) -> list[Path]:
        return [slot.path for slot in self.slots]

    @property
    def is_tracked(self) -> bool:
        return self.kind in (INPUT, OUTPUT, FOLLOWED)


def classified(ran: Ran, call: Call) -> list[Held]:
    """The values that backward can reach, each object once, with what autograd knows of it."""
    inner_leaves = _leaves_of_inner_graphs(ran)
    groups: dict[int, Held] = {}
    for slot in ran.slots:
        if id(slot.value) in groups:
            groups[id(slot.value)].slots.append(slot)
        else:
            kind, place = _kind(slot.value, ran, call, inner_leaves)
            groups[id(slot.value)] = Held([slot], kind, place)
    return _joined(list(groups.values()))


def _joined(held: list[Held]) -> list[Held]:
    """Values of one inner graph only make sense together: a new output with an old leaf belongs to no graph."""
    graph = [one for one in held if one.kind == INNER]
    if len(graph) < 2:
        return held
    graph.sort(key=lambda one: one.value.grad_fn is not None)  # its leaf first: that is what was detached
    together = Held([slot for one in graph for slot in one.slots], INNER)
    return [one for one in held if one.kind != INNER] + [together]


def _kind(value: Any, ran: Ran, call: Call, inner_leaves: set[int]) -> tuple[str, int]:
    if not isinstance(value, torch.Tensor):
        return UNTRACKED, -1
    for place in call.differentiated:
        if value is ran.args[place]:
            return INPUT, place
    hidden = ran.ctx.__dict__.get("non_differentiable") or ()
    for place, output in enumerate(ran.outputs):
        if value is output and not any(value is other for other in hidden):
            return OUTPUT, place
    if value.grad_fn is not None:
        return (FOLLOWED if _reaches(value, ran) else INNER), -1
    return (INNER if id(value) in inner_leaves else UNTRACKED), -1


def _leaves_of_inner_graphs(ran: Ran) -> set[int]:
    """Leaves that graphs built inside forward end in, the Function's own inputs apart."""
    found: set[int] = set()
    for slot in ran.slots:
        if isinstance(slot.value, torch.Tensor) and slot.value.grad_fn is not None:
            found |= {id(leaf) for leaf in _leaves(slot.value)}
    return found - {id(arg) for arg in ran.args}


def _reaches(value: torch.Tensor, ran: Ran) -> bool:
    own = {id(arg) for arg in ran.args}
    return any(id(leaf) in own for leaf in _leaves(value))


def _leaves(value: torch.Tensor, most: int = 5000) -> list[torch.Tensor]:
    todo, seen, leaves = [value.grad_fn], set(), []
    while todo and len(seen) < most:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        todo += [following for following, _ in node.next_functions]
    return leaves


def copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        a, b = plain(a.detach()), plain(b.detach())
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and np.array_equal(a, b)
    return a == b
