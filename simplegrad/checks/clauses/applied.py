"""A rule applied to exactly these tensors (dual, batched, laid out in some way), and the lines of what ran."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch

from .. import source
from ..causes.owner import Owner
from ..causes.trail import followed
from ..chance import seed
from ..report import Place
from ..subjects.function import Rule
from ..tracing import traced
from .tried import apart


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


def returned_at(run: Callable[[], Any], function: Callable | types.CodeType | None) -> Place | None:
    """The statement at which this function returned last while `run` ran."""
    code, found = function if isinstance(function, types.CodeType) else source.code_of(function), None

    def line(frame: types.FrameType, event: str, arg: Any) -> Callable:
        nonlocal found
        if event == "return":
            found = frame.f_lineno
        return line

    with traced(lambda frame, event, arg: line if frame.f_code is code else None):
        run()
    return None if code is None or found is None else source.place(code, found)


def raised_in(error: Exception, function: Callable) -> Place | None:
    """The statement of this function at which an error was raised or came through; None where it was not in there."""
    code, found, at = source.code_of(function), None, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code is code:
            found = at.tb_lineno
        at = at.tb_next
    return None if code is None or found is None else source.place(code, found)


def parted(rule: Rule, one: Callable[[], Any], other: Callable[[], Any]) -> Place | None:
    """The first statement of backward that computes something else in the one run than in the other."""
    code = rule.code
    if code is None:
        return None
    first, second = (followed(run, (code,), Owner(code)) for run in (one, other))
    for a, b in zip(first.notes, second.notes):
        if a.site != b.site:
            break
        if isinstance(a.value, torch.Tensor) and isinstance(b.value, torch.Tensor) and apart(a.value, b.value):
            return a.site.statement_of(0)
    return second.returned_at
