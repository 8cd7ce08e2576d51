"""Watching Python lines without taking them from whoever watches already: a debugger, a measure of coverage."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

Tracer = Callable[[types.FrameType, str, Any], Any]


@contextlib.contextmanager
def traced(tracer: Tracer) -> Iterator[None]:
    """For the duration `tracer` is told of calls and lines as by `sys.settrace`, and so is the one that was there."""
    before = sys.gettrace()
    sys.settrace(tracer if before is None else _both(tracer, before))
    try:
        yield
    finally:
        sys.settrace(before)


def _both(mine: Tracer, theirs: Tracer) -> Tracer:
    """One tracer that is two: each is asked for itself whether it wants the lines of a frame."""

    def call(frame: types.FrameType, event: str, arg: Any) -> Tracer | None:
        own, other = mine(frame, event, arg), theirs(frame, event, arg)
        if own is None:
            return other
        return own if other is None else _lines(own, other)

    return call


def _lines(own: Tracer | None, other: Tracer | None) -> Tracer:
    def line(frame: types.FrameType, event: str, arg: Any) -> Tracer:
        nonlocal own, other
        own = own(frame, event, arg) if own is not None else None
        other = other(frame, event, arg) if other is not None else None
        return line

    return line
