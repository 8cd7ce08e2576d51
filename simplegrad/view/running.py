"""Programs that visitors run: so many at once on a server, each for so long, and as long as its page is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from threading import Condition

import torch

from ..aggregates import Aggregate
from ..language import DEFAULT_LIMITS, Program
from ..language.leaves import leaf_dtype
from ..settings import RUN_SECONDS, RUNS
from ..trace.trace import Trace

PATIENCE = 0.05  # seconds between two looks at whether a run is still wanted, while it waits for its turn


class Turns:
    """At most `most()` at once; the others wait."""

    def __init__(self, most: Callable[[], float]):
        self.most = most
        self.taken = 0
        self._changed = Condition()

    @contextmanager
    def turn(self, asked: Callable[[], None]) -> Iterator[None]:
        """Wait for a turn, as long as `asked` raises nothing, and have it."""
        while not self._take():
            asked()
        try:
            yield
        finally:
            with self._changed:
                self.taken -= 1
                self._changed.notify()

    def _take(self) -> bool:
        with self._changed:
            if self.taken >= max(1, int(self.most())):
                self._changed.wait(PATIENCE)
            if self.taken >= max(1, int(self.most())):
                return False
            self.taken += 1
            return True


class Asker:
    """Whether somebody waits for what is being made: pages let it raise once theirs was closed."""

    def __init__(self):
        self.still: Callable[[], None] = lambda: None


asker = Asker()
turns = Turns(RUNS)


def run(text: str, aggregate: str | Aggregate | Callable, none: str = "skip", prune: str = "none") -> Trace:
    """The trace of a program's text, within the limits of this server. Raises ProgramError for what is no program."""
    program = Program.parse(text)
    limits = replace(DEFAULT_LIMITS, seconds=RUN_SECONDS())
    context = copy_context()
    context.run(leaf_dtype.set, torch.float32)
    with turns.turn(asker.still):
        return context.run(program.run, aggregate, none, prune, limits=limits, asked=asker.still)
