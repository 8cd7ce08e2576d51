"""Random numbers in a check: every evaluation draws the same ones, from generators that belong to the whole process.

A check begins without touching torch's, numpy's or Python's own generators. Where they are then where they were,
nothing was drawn, and there is nothing more to do: no other thread is waited for. Where one moved, it is asked whether
the subject draws at all, or another thread did. A subject that does is judged with a seed before each evaluation: one
such check at a time, and in a process with other threads until two runs of the check agree on where each of their
evaluations left the generators. Another thread that drew meanwhile would have moved them.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch

from ...locks import rlock
from ...torch_private import TorchDispatchMode, modes_as_before
from ..report import NOT_TRIED, Finding, Report
from .watch import is_ours

SEED = 20
RUNS = 4  # of a whole check, until two of them agree
SAMPLES, SAMPLING = 100, 3.0  # evaluations, and seconds after which no other is begun
WAITING = 30.0  # seconds for the turn of a check; one that never ends keeps no other from going on

_turn, _here = rlock(), threading.local()


# -- the generators of this process ------------------------------------------------------------------------------------


def seed_all() -> None:
    """The random numbers of torch, numpy and Python, from the start."""
    torch.default_generator.manual_seed(SEED)  # torch.manual_seed asks every backend: ten times slower
    if _uses_cuda():
        torch.cuda.manual_seed_all(SEED)
    np.random.seed(SEED)
    random.seed(SEED)


def places() -> dict[str, Any]:
    """Where each generator is."""
    kind, keys, *rest = np.random.get_state()
    found = {
        "torch": torch.default_generator.get_state().numpy().tobytes(),
        "numpy": (kind, keys.tobytes(), *rest),
        "python": random.getstate(),
    }
    if _uses_cuda():
        found["cuda"] = tuple(state.numpy().tobytes() for state in torch.cuda.get_rng_state_all())
    return found


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Whatever is drawn inside, the caller's random numbers go on as if nothing had been."""
    with surely(putting_back()):
        yield


@contextlib.contextmanager
def surely(put_back: Callable[[], None]) -> Iterator[None]:
    """Put back at the end; again where Ctrl-C comes in the middle of that."""
    try:
        try:
            yield
        finally:
            put_back()
    except BaseException:
        put_back()
        raise


def putting_back() -> Callable[[], None]:
    """What puts the generators back where they are now."""
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    on_devices = torch.cuda.get_rng_state_all() if _uses_cuda() else None

    def put_back() -> None:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])
        if on_devices is not None:
            torch.cuda.set_rng_state_all(on_devices)

    return put_back


def _uses_cuda() -> bool:
    """A process that has not begun to use CUDA is not made to."""
    return torch.cuda.is_available() and torch.cuda.is_initialized()


# -- what is done before an evaluation ---------------------------------------------------------------------------------

_before: ContextVar[Callable[[], None]] = ContextVar("simplegrad_before_an_evaluation", default=seed_all)


def seed() -> None:
    """Stands before each evaluation of a check: what it draws is then what the others draw."""
    _before.get()()


@contextlib.contextmanager
def evaluations(before: Callable[[], None]) -> Iterator[None]:
    token = _before.set(before)
    try:
        yield
    finally:
        _before.reset(token)


class Moved(BaseException):
    """A generator is not where it was. No Exception: what runs a subject expects those of it."""


class Untouched:
    """Ends the check once something was drawn; it looks after 1, 4, 16, 64, … evaluations, and at the end."""

    def __init__(self) -> None:
        self.at_first, self.done, self.next = places(), 0, 1

    def __call__(self) -> None:
        if self.done == self.next:
            self.look()
            self.next *= 4
        self.done += 1

    def look(self) -> None:
        if places() != self.at_first:
            raise Moved


class Seeded:
    """Notes where each evaluation left the generators."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.begun = False

    def __call__(self) -> None:
        if self.begun:
            self.note()
        self.begun = True
        seed_all()

    def note(self) -> None:
        self.left.append(hash(tuple(places().values())))


# -- a check -----------------------------------------------------------------------------------------------------------


def with_equal_chances(judge: Callable[[], Report], sample: Callable[[], Any], name: str) -> Report:
    """What `judge()` says, of what runs alike each time. `judge` calls `seed()` before each evaluation of the subject.

    `sample()` is one evaluation, which returns what it raised: forward, and its first and second derivatives. Where
    other threads draw so much that no two runs agree, nothing was judged, and the report says so.
    """
    put_back, watching = putting_back(), Untouched()
    with as_before():
        try:
            with evaluations(watching):
                report = judge()
                watching.look()
            return report
        except Moved:
            pass
        except BaseException:
            if not others():  # then it was the subject that drew
                put_back()
            raise
        return _drawing(judge, sample, name, put_back)


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """Ctrl-C may come at any line, within one that takes a mode or a tracer on or off too: none stays for good."""
    tracer, profiler, grad = sys.gettrace(), sys.getprofile(), torch.is_grad_enabled()
    with modes_as_before():
        try:
            yield
        except BaseException:
            sys.settrace(tracer)
            sys.setprofile(profiler)
            torch.set_grad_enabled(grad)
            raise


def _drawing(judge: Callable, sample: Callable, name: str, put_back: Callable[[], None]) -> Report:
    """The same, once a generator was seen to move."""
    with one_at_a_time():
        if not others() or not draws_nothing(sample):
            with surely(put_back):
                return _agreed(judge) or drawn_by_others(name)
    with evaluations(lambda: None):
        return judge()


def _agreed(judge: Callable[[], Report]) -> Report | None:
    known: list[list[int]] = []
    for _ in range(RUNS):
        alone, seeded = not others(), Seeded()
        with evaluations(seeded):
            report = judge()
        seeded.note()
        if alone or seeded.left in known:
            return report
        known.append(seeded.left)
    return None


def draws_nothing(sample: Callable[[], Any]) -> bool:
    """Whether an evaluation calls nothing of torch's that draws, and leaves the other generators where they were in
    each of its stretches, at least at one of several tries: another thread may draw during the rest."""
    with evaluations(lambda: None):
        torch_draws = draws_by_torch(sample)
        if torch_draws:
            return False
        python_draws, calls_numpy = draws_by_calls(sample)
        if python_draws:
            return False
        known = {"torch", "cuda"} if torch_draws is False else set()
        known |= {"python"} if python_draws is False else set()
        known |= {"numpy"} if calls_numpy is False else set()
        count, moving = stretches(sample)
        end = time.monotonic() + SAMPLING
        for _ in range(SAMPLES - 1):
            moving = {(k, name) for k, name in moving if name not in known}
            if not moving or time.monotonic() > end:
                break
            again, moved = stretches(sample)
            if again != count:  # no two evaluations are alike
                return False
            moving &= moved
    return not moving


def stretches(sample: Callable[[], Any]) -> tuple[int, set[tuple[int, str]]]:
    """How many stretches an evaluation has, and in which of them which generator moved."""
    if not hasattr(Operations, "__enter__"):
        seen = Stretches()
        sample()
    else:
        with Stretches() as seen:
            sample()
    seen.look()
    return seen.count, seen.moved


def draws_by_torch(sample: Callable[[], Any]) -> bool | None:
    """Whether an operation of torch draws in an evaluation; None where that cannot be told: an operator of somebody
    else's runs in it, or it does not run when it is watched."""
    if not hasattr(Operations, "__enter__"):  # this torch has no such mode
        return None
    with Operations() as seen:
        watched = sample()
    if seen.draw:
        return True
    return None if seen.foreign or type(watched) is not type(sample()) else False


def draws_by_calls(sample: Callable[[], Any]) -> tuple[bool | None, bool | None]:
    """Whether this thread calls Python's generator in an evaluation; and whether code runs in it that could reach
    numpy's, whose methods are not told of. None for both where somebody else is told of calls already, and where a
    backward may run in another thread, that of a device."""
    if sys.getprofile() is not None or _uses_cuda():
        return None, None
    seen = Calls()
    sys.setprofile(seen)
    try:
        sample()
    finally:
        sys.setprofile(None)
    return seen.python, seen.numpy


class Calls:
    """Told of what this thread calls. Code that could draw from numpy says a name by which numpy does, or holds one."""

    def __init__(self) -> None:
        self.python = self.numpy = False
        self.codes: set[types.CodeType] = set()

    def __call__(self, frame: types.FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            self.python = self.python or getattr(arg, "__self__", None) is _PYTHON
        elif event == "call" and frame.f_code not in self.codes:
            self.codes.add(frame.f_code)
            self.numpy = self.numpy or (not is_ours(frame.f_code.co_filename) and _may_call_numpy(frame))


def _may_call_numpy(frame: types.FrameType) -> bool:
    code = frame.f_code
    held = [*frame.f_locals.values(), *(frame.f_globals.get(name) for name in code.co_names)]
    return not _NUMPYS.isdisjoint(code.co_names) or any(getattr(each, "__self__", None) is _NUMPY for each in held)


_PYTHON, _NUMPY = random.random.__self__, np.random.rand.__self__
_NUMPYS = {name for name, each in vars(np.random).items() if getattr(each, "__self__", None) is _NUMPY} | {"_rand"}


class Operations(TorchDispatchMode):
    """Sees which operations this thread runs."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch would load its compiler, for a second and more, to say that it should not compile this."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.draw = self.foreign = False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.draw = self.draw or kwargs.get("generator") in (None, torch.default_generator)
        self.foreign = self.foreign or func.namespace not in ("aten", "prim", "prims")
        return func(*args, **kwargs)


class Stretches(Operations):
    """Notes in which stretches of an evaluation, within an operation or between two, a generator moved. Another thread
    that draws all the while is in some of a hundred of them at each try, and not in the same ones at all."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.moved = 0, set()
        self.at = places()

    def look(self) -> None:
        now = places()
        self.moved |= {(self.count, name) for name in now if now[name] != self.at[name]}
        self.count, self.at = self.count + 1, now

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.look()
        try:
            return super().__torch_dispatch__(func, types, args, kwargs)
        finally:
            self.look()


def others() -> bool:
    """Whether this process has threads beside this one."""
    return len(sys._current_frames()) > 1


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Alone among the checks that draw; after a long wait also beside one, which both then notice."""
    if getattr(_here, "inside", False):
        yield
        return
    try:  # Ctrl-C may come at any line, that after the turn was taken too
        _here.inside = True
        _turn.acquire(timeout=WAITING)
        yield
    finally:
        _here.inside = False
        with contextlib.suppress(RuntimeError):  # it is not this thread's
            _turn.release()


def drawn_by_others(name: str) -> Report:
    """Nothing was judged, and why."""
    report, why = Report(name), "other threads draw random numbers"
    sentence = (
        f"Other threads of this process drew random numbers all the while, from generators that {name} draws from too "
        f"as far as can be told: no two of {RUNS} runs of this check were alike. Check it while no other thread draws."
    )
    report.findings.append(Finding("unverified", sentence))
    report.tell(9, NOT_TRIED, why)
    return report
