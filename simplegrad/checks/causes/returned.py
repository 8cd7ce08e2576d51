"""What a backward returned that PyTorch refuses: how many gradients, of what kind and shape, and what was expected.

PyTorch's own message names the class and a number; here are the line, the argument and what to write.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch

from ...torch_bridge.calls import Call
from .. import source
from ..report import Place, what_is

MOST_ARGUMENTS = 6  # of which all orders are tried


@dataclass(frozen=True)
class Refused:
    """One thing wrong with what a backward returned."""

    call: Call
    code: str
    sentence: str
    fix: str

    @property
    def at(self) -> Place | None:
        return source.returned_at(source.code_of(self.call.backward))


def refused(calls: list[Call]) -> Refused | None:
    """The first of these calls whose backward returned what it may not."""
    return next((found for call in calls if (found := _refused(call)) is not None), None)


def _refused(call: Call) -> Refused | None:
    if not call.has_run:
        return None
    names, given = call.parameter_names, call.returned
    if len(given) < len(names) or any(g is not None for g in given[len(names) :]):
        count = "1 gradient" if len(given) == 1 else f"{len(given)} gradients"
        return Refused(
            call,
            "wrong_count",
            f"backward of {call.name} returned {count}; expected {len(names)}, one for each argument of forward "
            f"({', '.join(names)}), in that order",
            f"# a sketch\nreturn {', '.join(f'grad_{name}' for name in names)}  # None for what needs no gradient",
        )
    for name, arg, gradient in zip(names, call.args, given, strict=False):
        wrong = _wrong(arg, gradient)
        if wrong:
            return _in_wrong_slots(call) or Refused(
                call, wrong[2], f"backward of {call.name} returned {wrong[0]} as the gradient of {name}", wrong[1]
            )
    return None


def _in_wrong_slots(call: Call) -> Refused | None:
    """Gradients that fit the arguments in another order."""
    names, given = call.parameter_names, call.returned[: len(call.args)]
    if len(names) > MOST_ARGUMENTS or not all(g is None or isinstance(g, torch.Tensor) for g in given):
        return None
    wanted = [i for i, arg in enumerate(call.args) if i in call.differentiated]
    tensors = [g for g in given if g is not None]
    if len(tensors) != len(wanted):
        return None
    for order in permutations(tensors):
        if all(_wrong(call.args[i], g) is None for g, i in zip(order, wanted, strict=True)):
            each = [f"grad_{name}" if i in wanted else "None" for i, name in enumerate(names)]
            told = [f"{name} ({_kind(arg)})" for name, arg in zip(names, call.args, strict=True)]
            return Refused(
                call,
                "wrong_order",
                f"backward of {call.name} returned gradients in the wrong slots: forward takes {', '.join(told)}, in "
                f"that order",
                f"return {', '.join(each)}",
            )
    return None


def _kind(arg: Any) -> str:
    return f"shape {tuple(arg.shape)}" if isinstance(arg, torch.Tensor) else what_is(arg)


def _wrong(arg: Any, gradient: Any) -> tuple[str, str, str] | None:
    """(what came, what to do, code) where this cannot be the gradient of that argument."""
    if gradient is None:
        return None
    if not isinstance(gradient, torch.Tensor):
        return f"{what_is(gradient)}, where a tensor or None was expected,", "return torch.as_tensor(...)", "raises"
    if not isinstance(arg, torch.Tensor):
        return f"a tensor, where None was expected (it is {what_is(arg)}),", "return None in its slot", "wrong_order"
    if gradient.device != arg.device and gradient.dim():  # a single number the engine moves by itself
        name = f"device={str(arg.device)!r}"
        made = f"gradient.to({str(arg.device)!r})  # or make it there: torch.zeros_like(x), torch.ones(..., {name})"
        return f"a tensor on {gradient.device}, where {arg.device} was expected,", made, "raises"
    if _sums_to(gradient.shape, arg.shape):
        return None
    shape = tuple(arg.shape)
    return (
        f"a tensor of shape {tuple(gradient.shape)}, where {shape} was expected,",
        f"gradient.sum_to_size({shape})  # where forward broadcast it; .expand({shape}) undoes a sum",
        "wrong_shape",
    )


def _sums_to(shape: torch.Size, wanted: torch.Size) -> bool:
    """Whether the engine can sum a gradient of this shape to the wanted one."""
    try:
        return torch.broadcast_shapes(shape, wanted) == shape
    except RuntimeError:
        return False
