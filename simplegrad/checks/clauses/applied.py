"""A rule applied to exactly these tensors, dual or batched; and where in it an error was raised."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .. import source
from ..report import Place
from ..runs.chance import seed
from ..subjects.function import Rule


def applied(rule: Rule, values: list[torch.Tensor]) -> list[torch.Tensor]:
    """The differentiable outputs of one `apply` at these tensors themselves, from the same state each time."""
    rule.alone.state.restore()
    seed()
    args = list(rule.call.args)
    for place, value in zip(rule.call.differentiated, values, strict=True):
        args[place] = value
    result = rule.call.cls.apply(*args)
    several = result if isinstance(result, tuple) else (result,)
    return [several[i] for i in rule.places]


def raised_in(error: Exception, function: Callable) -> Place | None:
    """The statement of this function at which an error was raised or came through; None where it was not in there."""
    code, found, at = source.code_of(function), None, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code is code:
            found = at.tb_lineno
        at = at.tb_next
    return None if code is None or found is None else source.place(code, found)
