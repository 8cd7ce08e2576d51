"""No warnings from this thread for a while. `warnings.catch_warnings` changes what the whole process shows, and leaves
it changed where two threads overlap.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

from simplegrad.locks import lock

_muted: ContextVar[bool] = ContextVar("simplegrad_muted", default=False)


class _Muted:
    """Stands where a filter has the pattern of its message, which Python asks whether it matches."""

    def match(self, text: str) -> bool:
        return _muted.get()


_FILTER = ("ignore", _Muted(), Warning, None, 0)
_lock = lock()
_inside = 0
_lists: list[list] = []  # those that the filter was put into: somebody's catch_warnings makes another


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Warnings of this thread (or task) are not shown inside; those of others are, and what was shown once is kept."""
    _enter()
    token = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(token)
        _leave()


def _enter() -> None:
    global _inside
    with _lock:
        _inside += 1
        now = warnings.filters
        if _FILTER not in now:
            now.insert(0, _FILTER)
        if not any(each is now for each in _lists):
            _lists.append(now)


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if not _inside:
            for each in (*_lists, warnings.filters):
                while _FILTER in each:
                    each.remove(_FILTER)
            _lists.clear()
