"""Work, counted: how it grows is told by numbers of steps and never by a clock."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import ModuleType


def lines_run(module: ModuleType, call: Callable) -> tuple[int, object]:
    """How many lines of a module a call runs, and what it gives."""
    count = 0

    def count_line(frame, event, argument):
        nonlocal count
        count += event == "line"
        return count_line

    before = sys.gettrace()
    sys.settrace(lambda frame, event, argument: count_line if frame.f_code.co_filename == module.__file__ else None)
    try:
        given = call()
    finally:
        sys.settrace(before)
    return count, given


def collections(call: Callable) -> int:
    """How often Python's cycle collector runs meanwhile."""
    phases = []
    watch = lambda phase, info: phases.append(phase)  # noqa: E731
    gc.callbacks.append(watch)
    try:
        call()
    finally:
        gc.callbacks.remove(watch)
    return phases.count("start")
