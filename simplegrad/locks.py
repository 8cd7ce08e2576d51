"""Locks of modules that are free again in a forked child, whose other threads are gone with what they held; and
`cached_property` without the lock that it has before Python 3.12, one for all objects of a class: who computes on one
of them, for ever perhaps, would stop everybody else.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from typing import TYPE_CHECKING, Any


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


if TYPE_CHECKING or sys.version_info >= (3, 12):
    from functools import cached_property
else:

    class cached_property(functools.cached_property):
        """Two threads that ask at the same moment may both compute it."""

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            made = instance.__dict__[self.attrname] = self.func(instance)
            return made


__all__ = ["cached_property", "lock", "rlock"]
