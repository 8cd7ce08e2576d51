"""Where a backward leaves the graph: the call after which `requires_grad` was lost, in the run.

A result that does not require grad though what went in did is a cut; of several the first one counts that the gradient
depends on. What computes a shape or a bound for the eye is no cut, and neither is a word in the source.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import source
from ..measure.numbers import unlike
from ..report import Place
from .detector import Examination, Examiner
from .owner import Owner
from .suspects import stirred
from .trail import Spot, Trail, line_of, tensors_in

DATA = torch.Tensor.data.__get__
FILLED = ("new_", "empty_like", "full_like", "ones_like", "zeros_like", "rand_like", "randn_like")


@dataclass(frozen=True)
class Cut:
    """One call that took a value out of the graph. `words`: which, as a person would say it."""

    spot: Spot
    words: str

    @property
    def statement(self) -> Place:
        return source.place(self.spot[0], line_of(*self.spot))


class Cuts(Trail):
    """Notes the calls whose result lost its way to what went in; and stirs the result of one of them."""

    def __init__(self, code: Any, stir: Spot | None = None) -> None:
        super().__init__({code}, Owner(code), {})
        self.stir, self.found = stir, []

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        tracked = any(x.requires_grad for x in tensors_in((args, kwargs or {})))
        result = func(*args, **(kwargs or {}))
        if not tracked:
            return result
        calls = self.calls(sys._getframe(1))
        if calls and lost(result) and not fills(func):
            self.found.append(Cut(calls[-1], words_of(func)))
            if calls[-1] == self.stir:
                return stirred_all(result)
        return result


def lost(result: Any) -> bool:
    """Whether this could carry a derivative, and does not."""
    if isinstance(result, torch.Tensor):
        return (result.is_floating_point() or result.is_complex()) and not result.requires_grad
    if isinstance(result, tuple | list):
        return any(map(lost, result))
    return isinstance(result, float | complex | np.ndarray | np.floating)


def fills(func: Callable) -> bool:
    """Whether it takes a shape and a dtype of what is given, and none of its numbers."""
    return getattr(func, "__name__", "").startswith(FILLED)


def stirred_all(result: Any) -> Any:
    if isinstance(result, tuple | list):
        return type(result)(stirred_all(x) for x in result)
    return stirred(result) if lost(result) else result


def words_of(func: Callable) -> str:
    """What took it out: the call itself, or the mode that it ran in."""
    name = getattr(func, "__name__", "")
    if func == DATA:
        return ".data"
    if name in ("detach", "detach_", "item", "tolist", "numpy", "__float__", "__array__"):
        return f"{name}()"
    if not torch.is_grad_enabled():
        return "no_grad"
    return "autograd.grad without create_graph=True" if func is torch.autograd.grad else f"{name}()"


def cut_of(examiner: Examiner, found: Examination) -> Cut | None:
    """The first cut of a backward that its gradient depends on."""
    code = source.code_of(examiner.call.backward)
    if code is None:
        return None
    base, cuts = _run(examiner, found, Cuts(code))
    for cut in dict.fromkeys(cuts):
        moved, _ = _run(examiner, found, Cuts(code, cut.spot))
        if len(base) != len(moved) or unlike(base, moved, 0.0):
            return cut
    return None


def _run(examiner: Examiner, found: Examination, cuts: Cuts) -> tuple[list[Any], list[Cut]]:
    """Backward with leaves in the place of what autograd follows."""
    ran = examiner.alone.forward()
    objects = {slot.path: slot.value for slot in ran.slots}
    for one in found.held:
        if one.is_tracked or one in found.cut:
            examiner._as_leaf(one, ran, objects)
    try:
        with cuts:
            returned = examiner.alone.backward(ran, examiner.incoming_leaves(), graph=True)
    except Exception:  # numpy() on a leaf, say: as far as it came
        returned = []
    return returned, cuts.found
