"""How much a program may ask for, and the guard that holds a run to it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ..engine import Observer, Variable, current_tape
from ..trace import LimitError
from .sizes import SizesFirst


@dataclass(frozen=True)
class Limits:
    """What a run may use before it is cut off, with a LimitReached event as the last of its trace.

    `text`: characters of a program (a longer one is a ProgramError). `statements`: those that are run, in functions and
    loops too, and one more for each round of a loop. `depth`: calls within calls. `elements`: of one tensor. `total`:
    elements of all tensors of a run. `entries`: on the tape. `operation`: those that one operation
    appends, chunk(100000), for which nobody waits. `events`: of the trace. `lines` and `characters`: that are printed;
    what goes beyond them is left out, and the run goes on. `seconds`: of the clock on the wall, or with `own_time`
    those in which its thread computed, however busy the machine is with others.
    """

    text: int = 100_000
    statements: int = 10_000
    depth: int = 20
    elements: int = 100_000
    total: int = 20_000_000
    entries: int = 20_000
    operation: int = 5_000
    events: int = 100_000
    lines: int = 1_000
    characters: int = 50_000
    seconds: float = 10.0
    own_time: bool = False


DEFAULT_LIMITS = Limits()
ASKED_EACH = 0.02  # seconds
KERNELS = 50  # that an entry may take, on average


class Guard(Observer):
    """Watches a tape before the recorder does, and raises LimitError where a run passes one of its limits.

    `asked` is called now and then, and may raise: whoever wanted the run wants it no more.
    """

    def __init__(self, limits: Limits, asked: Callable[[], None] | None = None):
        self.limits = limits
        self.asked = asked
        self.next_asking = 0.0
        self.statements = 0
        self.depth = 0
        self.entries = 0
        self.before: float = 0  # the operation that runs
        self.events = 0
        self.total = 0
        self.clock = time.thread_time if limits.own_time else time.monotonic
        self.end = self.clock() + limits.seconds
        self.kernels = 0
        self.looks = ExitStack()
        self.sizes = SizesFirst(self.shape, limits.elements, limits.total, self.kernel, self.parts)

    def statement(self) -> None:
        """A statement is about to run, or a round of a loop."""
        self.time()
        self.statements += 1
        if self.statements > self.limits.statements:
            raise over("statements", self.limits.statements, f"after {self.limits.statements} statements")

    def time(self) -> None:
        now = self.clock()
        if now > self.end:
            raise over("seconds", self.limits.seconds, f"after {self.limits.seconds:g} seconds")
        if self.asked is not None and now >= self.next_asking:
            self.next_asking = now + ASKED_EACH
            self.asked()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """A call of a function, or a pass, within which there may be others."""
        if self.depth >= self.limits.depth:
            raise over("depth", self.limits.depth, f"at {self.limits.depth} calls within one another")
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    @contextmanager
    def in_pass(self) -> Iterator[None]:
        """Of its entries those that may make something large are asked, each alone; see `visit_begun`."""
        self.before = math.inf  # a pass may be as long as the tape
        try:
            yield
        finally:
            self.looks.close()
            self.operation()

    def operation(self) -> None:
        """One operation of the text is about to be done, which may append many entries: chunk(100000)."""
        self.before = self.entries

    def event(self) -> None:
        """Something happens that the trace will show."""
        self.events += 1
        if self.events > self.limits.events:
            raise over("events", self.limits.events, f"after about {self.limits.events} events")

    def kernel(self, count: int = 1) -> None:
        """Something is computed, of which there may be no event: tensor_split(10**9)."""
        self.kernels += count
        if self.kernels > KERNELS * self.limits.entries:
            raise over("entries", self.limits.entries, f"after {KERNELS * self.limits.entries} steps of its operations")

    def parts(self, count: int) -> None:
        """One operation has so many results, each of which would be named and shown."""
        if count > self.limits.entries:
            where = f"at {count} results of one operation: {self.limits.entries} are the most"
            raise over("entries", self.limits.entries, where)

    def shape(self, shape: Sequence[int]) -> None:
        """A tensor of this shape is about to be made."""
        if math.prod(shape) > self.limits.elements:
            shown = " x ".join(map(str, shape[:8])) + " x …" * (len(shape) > 8)
            where = f"at a tensor of {shown} elements: {self.limits.elements} are the most"
            raise over("elements", self.limits.elements, where)

    def made(self, shape: Sequence[int]) -> None:
        """A tensor of this shape was made, and may be kept until the end."""
        self.shape(shape)
        self.total += math.prod(shape)
        if self.total > self.limits.total:
            raise over("total", self.limits.total, f"after {self.limits.total} elements in all its tensors together")

    # --- what the engine tells -------------------------------------------------------------------------------------

    def leaf(self, variable: Variable) -> None:
        self.event()
        self.time()
        self.made(variable.shape)

    def recorded(self, inputs: tuple[Variable, ...], outputs: tuple[Variable, ...]) -> None:
        self.event()
        self.time()
        self.entries += 1
        if self.entries > self.limits.entries:
            raise over("entries", self.limits.entries, f"after {self.limits.entries} entries on the tape")
        if self.entries - self.before > self.limits.operation:
            raise over("operation", self.limits.operation, f"after {self.limits.operation} entries for one operation")
        for output in outputs:
            self.made(output.shape)

    def visit_begun(self, index: int, dL_doutputs: list) -> None:
        self.event()
        self.looks.enter_context(self.sizes.around(current_tape().rows.entry(index)))

    def visited(self, index: int, state: str, dL_doutputs: list, dL_dinputs: list) -> None:
        self.looks.close()
        self.before = math.inf  # the pass goes on, whatever operations a propagate of the program was made of
        self.event()

    def accumulated(self, key, contribution: Variable | None, total: Variable | None) -> None:
        self.event()


_watching: ContextVar[Guard | None] = ContextVar("guard", default=None)


@contextmanager
def watched_by(guard: Guard) -> Iterator[None]:
    """What is computed and compiled inside counts into what this guard allows."""
    token = _watching.set(guard)
    try:
        yield
    finally:
        _watching.reset(token)


def watching() -> Guard | None:
    """The guard of the run that this is done in, if there is one."""
    return _watching.get()


def check_time() -> None:
    """Raises LimitError where the run, within which this is done, has had its time."""
    guard = watching()
    if guard is not None:
        guard.time()


def over(what: str, limit: float, where: str) -> LimitError:
    return LimitError(what, limit, f"The run was cut off {where}. What it did until then can be stepped through.")
