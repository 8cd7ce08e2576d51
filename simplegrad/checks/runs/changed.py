"""Tensors that are changed in place, past the version counter too, and the line that does it."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch

from .. import source
from ..measure.numbers import plain
from ..report import Place
from .tracing import traced


def copied(value: torch.Tensor) -> torch.Tensor:
    """The numbers that it holds now."""
    return plain(value.detach()).clone()


def is_changed(value: torch.Tensor, before: torch.Tensor) -> bool:
    now, before = plain(value.detach()), plain(before.detach())
    if now.shape != before.shape:
        return True
    return not bool(((now == before) | (now.isnan() & before.isnan())).all())


def line_of_change(codes: list[types.CodeType], run: Callable[[], Any], value: Callable[[], Any]) -> Place | None:
    """The last statement of these functions after which, while `run` ran, `value()` was another than before it."""
    found, last, was = None, None, None

    def look(frame: types.FrameType, event: str, arg: Any) -> Callable:
        nonlocal found, last, was
        now = value()
        now = None if now is None else copied(now)
        if was is not None and now is not None and last is not None and is_changed(now, was):
            found = last
        last, was = (frame.f_code, frame.f_lineno), now
        return look

    def entered(frame: types.FrameType, event: str, arg: Any) -> Callable | None:
        nonlocal last
        if frame.f_code not in codes:
            return None
        last = None
        return look

    with traced(entered):
        run()
    return source.place(*found) if found else None
