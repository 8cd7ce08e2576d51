"""The file that a recorded run leaves behind, also where it raises, and where it waits for another rank for ever."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

from simplegrad.torch_bridge.patches import is_distributed
from simplegrad.torch_bridge.rows import Recorder

PATIENCE = 10.0  # seconds


@contextlib.contextmanager
def kept_in(recorder: Recorder, path: str | os.PathLike[str] | None, patience: float) -> Iterator[None]:
    """Write the trace to `path` when the run inside is over.

    One of several processes also writes what there is when nothing has happened for `patience` seconds: who waits in a
    collective cannot be interrupted, and is ended from outside.
    """
    trace, is_over = recorder.trace, threading.Event()
    if path is not None and is_distributed():
        threading.Thread(target=_watch, args=(recorder, path, patience, is_over), daemon=True).start()
    try:
        yield
    except BaseException:
        is_over.set()
        if path is not None:
            with contextlib.suppress(Exception):  # the run's own error is what counts
                trace.save(path)
        raise
    is_over.set()
    if path is not None:
        trace.save(path)


def _watch(recorder: Recorder, path: str | os.PathLike[str], patience: float, is_over: threading.Event) -> None:
    trace, log = recorder.trace, recorder.log
    last, since, is_saved = -1, time.monotonic(), False
    while not is_over.wait(min(1.0, patience / 4)):
        count = len(log)
        if count != last and not (is_saved and count == 0):  # what was saved is no longer in the log
            last, since, is_saved = count, time.monotonic(), False
        elif not is_saved and time.monotonic() - since > patience:
            is_saved = True
            with recorder.careful("What there was could not be saved"):
                trace.save(path)
            last = len(log)
