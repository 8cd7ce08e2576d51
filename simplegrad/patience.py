"""Code of somebody else's, run for so long and no longer: it may wait for ever, or never come to an end."""

from __future__ import annotations

import contextvars
import ctypes
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch


class TookTooLong(BaseException):
    """No Exception: code that runs too long may catch those, and go on. `stack`: where it was."""

    stack: traceback.StackSummary | None = None


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """What `call` returns or raises; TookTooLong where that takes longer.

    In the main thread it is interrupted, also where it waits. Elsewhere it runs in a thread of its own, which is asked
    to end: what waits in C for ever is left behind.
    """
    in_main = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if in_main and not any(signal.getitimer(signal.ITIMER_REAL)):  # an alarm of somebody else's is not taken from them
        return _interrupted(seconds, call)
    return _left_behind(seconds, call)


def _interrupted(seconds: float, call: Callable[[], Any]) -> Any:
    def stop(*_):
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again each second: it may catch that, too
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _left_behind(seconds: float, call: Callable[[], Any]) -> Any:
    outcome: list = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), daemon=True, name="reading")
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise _stopped(thread)
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def _stopped(thread: threading.Thread) -> TookTooLong:
    """The thread is asked to end, a few times, and what it was doing is remembered."""
    error = TookTooLong()
    frame = sys._current_frames().get(thread.ident)
    error.stack = traceback.extract_stack(frame) if frame is not None else None
    for _ in range(5):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TookTooLong))
        thread.join(0.1)
        if not thread.is_alive():
            break
    return error


@contextmanager
def torch_settings_kept():
    """What torch keeps for the whole process is put back: a file may have set it for itself."""
    settings = TorchSettings()
    try:
        yield settings
    finally:
        settings.put()


class TorchSettings:
    """What torch keeps for the whole process or thread, as it is when this is made."""

    def __init__(self):
        self.dtype, self.device = torch.get_default_dtype(), torch.get_default_device()
        self.grad = torch.is_grad_enabled()
        strictly = not torch.is_deterministic_algorithms_warn_only_enabled()
        self.deterministic = torch.are_deterministic_algorithms_enabled(), strictly
        self.anomaly = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TorchSettings) and vars(self) == vars(other)

    def put(self) -> None:
        """Let them be so again; what is so already is not touched."""
        now = TorchSettings()
        if now.dtype != self.dtype:
            torch.set_default_dtype(self.dtype)
        if now.device != self.device:  # to say "cpu" would cost something at each call from then on
            torch.set_default_device(None if self.device.type == "cpu" else self.device)
        if now.grad != self.grad:
            torch.set_grad_enabled(self.grad)
        if now.deterministic != self.deterministic:
            torch.use_deterministic_algorithms(self.deterministic[0], warn_only=not self.deterministic[1])
        if now.anomaly != self.anomaly:
            torch.autograd.set_detect_anomaly(*self.anomaly)

    def during(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """The same call, made while the settings are these."""

        def made():
            with torch_settings_kept():
                self.put()
                return call()

        return made
