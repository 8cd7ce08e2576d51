"""Locks of modules that are free again in a forked child: whoever held one there is a thread that the child has not."""

from __future__ import annotations

import os
import threading
from typing import Any


def lock() -> Any:
    """`threading.Lock()`, for the whole life of the process."""
    return _freed_in_children(threading.Lock())


def rlock() -> Any:
    """`threading.RLock()`, for the whole life of the process."""
    return _freed_in_children(threading.RLock())


def _freed_in_children(made: Any) -> Any:
    again = getattr(made, "_at_fork_reinit", None)  # what Python's own modules call
    if again is not None and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=again)
    return made
