"""`Bounded`: a cache of things that cost much to make. All sessions share it, and each thing is made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock


class Bounded:
    """A cache of at most `count` things whose costs add up to at most `cost`; the least recently used go first."""

    def __init__(self, count: int, cost: int):
        self.count = count
        self.cost = cost
        self._kept: dict[Hashable, tuple[object, int]] = {}
        self._making: dict[Hashable, Future] = {}
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], object], cost_of: Callable[[object], int] = lambda _: 1):
        """What was kept under the key, or what `make` makes of it now.

        Who asks for a key that is being made waits for it, and is given the same thing or the same exception. An
        exception is not kept: the next one who asks makes it again. A maker that was stopped (what is no Exception:
        its page was closed) takes nobody along; one of those who waited makes it instead.
        """
        while True:
            with self._lock:
                if key in self._kept:
                    self._kept[key] = self._kept.pop(key)
                    return self._kept[key][0]
                others, mine = self._making.get(key), Future()
                if others is None:
                    self._making[key] = mine
            if others is None:
                return self._made(key, mine, make, cost_of)
            stopped = others.exception()
            if stopped is None or isinstance(stopped, Exception):
                return others.result()

    def kept(self, key: Hashable) -> object | None:
        """What is kept for a key now; None where it has to be made."""
        with self._lock:
            made, _ = self._kept.get(key, (None, 0))
            return made

    def _made(self, key: Hashable, promise: Future, make: Callable, cost_of: Callable) -> object:
        try:
            made = make()
            cost = cost_of(made)
        except BaseException as error:
            with self._lock:
                del self._making[key]
            promise.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._kept[key] = (made, cost)
            while len(self._kept) > 1 and (len(self._kept) > self.count or self.total > self.cost):
                self._kept.pop(next(iter(self._kept)))
        promise.set_result(made)
        return made

    @property
    def total(self) -> int:
        return sum(cost for _, cost in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)
