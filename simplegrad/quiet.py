"""No warnings from this thread for a while. `warnings.catch_warnings` changes what the whole process shows, and leaves
it changed where two threads overlap.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

from simplegrad.locks import lock


class _Muted(threading.local):
    """Stands where a filter has the pattern of its message, whose `match` Python asks: each thread's is its own.

    Both are C functions. In one of Python another thread could run, and shift the filters that this one goes through.
    """

    match = {}.get  # None, whatever is asked
    depth = 0


_here = _Muted()
_FILTER = ("ignore", _here, Warning, None, 0)
_lock = lock()
_inside: set[object] = set()  # one for each `with` that has begun
_lists: list[list] = []  # those that the filter was put into: somebody's catch_warnings makes another


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Warnings of this thread are not shown inside; those of others are, and what was shown once is kept in mind."""
    mine, depth = object(), _here.depth
    try:  # Ctrl-C may come at any line
        _enter(mine)
        _here.depth = depth + 1
        _here.match = repr  # a text that is not empty, whatever is asked
        yield
    finally:
        _here.depth = depth
        if not depth:
            _here.__dict__.pop("match", None)
        _leave(mine)


def _enter(mine: object) -> None:
    with _lock:
        _inside.add(mine)
        now = warnings.filters
        if _FILTER not in now:
            now.insert(0, _FILTER)
        if not any(each is now for each in _lists):
            _lists.append(now)


def _leave(mine: object) -> None:
    with _lock:
        _inside.discard(mine)
        if not _inside:
            for each in (*_lists, warnings.filters):
                while _FILTER in each:
                    each.remove(_FILTER)
            _lists.clear()
