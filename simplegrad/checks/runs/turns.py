"""What torch allows once in a process, whatever the thread: checks take turns, and wait for somebody else's a while."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.autograd import forward_ad

from ...locks import rlock

WAITING, PAUSE = 2.0, 0.002  # seconds for somebody else's forward mode; between two looks at it

_levels, _mutations = rlock(), rlock()


class TakenByOthers(RuntimeError):
    """Another thread, which is no check's, was in forward mode all the while."""


@contextmanager
def forward_mode_level() -> Iterator[None]:
    """`forward_ad.dual_level()`; torch refuses a second one, that of another thread too."""
    with _levels:
        level = _entered()
        try:
            yield
        finally:
            level.__exit__(None, None, None)


def _entered() -> forward_ad.dual_level:
    end = time.monotonic() + WAITING
    while True:
        level = forward_ad.dual_level()
        try:
            level.__enter__()
            return level
        except RuntimeError as error:
            if time.monotonic() > end:
                raise TakenByOthers("another thread of this process was in forward mode all the while") from error
        time.sleep(PAUSE)


@contextmanager
def mutation_allowed() -> Iterator[None]:
    """`allow_mutation_on_saved_tensors()`, which torch lets one thread have at a time."""
    with _mutations, torch.autograd.graph.allow_mutation_on_saved_tensors():
        yield
