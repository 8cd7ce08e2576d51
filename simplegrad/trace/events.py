"""What can happen in a run: a small closed set of events. One run is one flat list of them.

Events refer to `Value`s (Variables of the run) and `Entry`s (entries of its tape), which are shared between events.
`line` is the line of the program (of the small language) that was running, from 1, or None; `source` is the Python
line, (file, line), that caused the event, or None where none is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .looks import Looks

Source = tuple[str, int]


@dataclass(slots=True, eq=False)
class Value:
    """A Variable as the trace knows it. `tensor` is the run's own, by reference; None where values were not kept."""

    id: int
    name: str
    shape: tuple[int, ...]
    tensor: torch.Tensor | None = None
    dtype: str = "float32"
    leaf: bool = False  # made with Variable.constant
    note: str = ""  # what stands in for the tensor when it was not kept, e.g. "norm 1.25"
    nonfinite: str | None = None  # "nan", "inf" or "": what a look at the numbers said; None where nobody looked
    norm: float | None = None  # of its numbers, where only that was kept; None where it is not finite, too

    @property
    def is_zero(self) -> bool:
        """Computed, and all zeros: not the same as a known zero, which is None."""
        return self.tensor is not None and Looks().is_zero(self.tensor)

    @property
    def is_finite(self) -> bool:
        """Whether no element is NaN or infinite, as far as anybody looked."""
        if self.tensor is not None:
            return not Looks().nonfinite(self.tensor)
        return not self.nonfinite

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A tape entry. `text` is its right-hand side: `v2 * b`.

    `made_by` is the id of the entry whose propagate (or whose contribution's addition) recorded it, `pass_id` the
    pass that it was recorded in; both None for the forward part. `aggregate`: its propagate is hand-written, at
    `propagate_source`.
    """

    id: int
    operator: str
    text: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    aggregate: bool = False
    made_by: int | None = None
    pass_id: int | None = None
    line: int | None = None
    source: Source | None = None
    propagate_source: Source | None = None
    returns_at: Source | None = None  # the last `return` of a hand-written backward
    group: str = ""  # a module or region it belongs to, for collapsing large tapes

    @property
    def statement(self) -> str:
        """`v3 = v2 * b`"""
        return f"{', '.join(value.name for value in self.outputs)} = {self.text}"

    def __repr__(self) -> str:
        return self.statement


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """One call of `grad`. `id` counts passes from 0."""

    id: int
    loss: Value
    seed: Value | None
    wanted: tuple[Value, ...] = ()
    none: str = "skip"
    prune: str = "none"

    @property
    def title(self) -> str:
        return f"pass of {self.loss.name}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Event:
    """`index`: place in the trace. `parent`: index of the event that this one happened within (a PassBegun or a
    VisitBegun), None at the top. `pass_id`: the pass it happened in, None in the forward part."""

    index: int
    parent: int | None = None
    pass_id: int | None = None
    line: int | None = None
    source: Source | None = None

    @property
    def kind(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leaf(Event):
    """`a = Variable.constant(torch.rand(4), name='a')`"""

    value: Value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recorded(Event):
    """`v0 = a + b`, or `gradient_tape.append(TapeEntry(…))`"""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Read(Event):
    """`v4 = v2 * t` where no entry has the output t and it is no leaf: its gradient will go nowhere.

    Comes right before the Recorded event of the entry that reads it; `entry` is that one."""

    value: Value
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OfPass(Event):
    """A pass begins, ends or fails."""

    pass_: Pass

    @property
    def run(self) -> Pass:
        """Its older name, which programs still say."""
        return self.pass_


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PassBegun(OfPass):
    """`grad(L0, [a, b])` begins: the table holds only dL0/dL0 = seed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VisitBegun(Event):
    """The pass came to an entry and is about to call its propagate with these incoming gradients."""

    entry: Entry
    incoming: tuple[Value | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visited(Event):
    """The pass is done with an entry. `state`: propagated, partial, skipped or pruned; a skipped or pruned entry has
    no VisitBegun and no outgoing gradients. Of a pruned one, the incoming gradients are not looked at: ()."""

    entry: Entry
    state: str
    incoming: tuple[Value | None, ...]
    outgoing: tuple[Value | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Accumulated(Event):
    """One outgoing gradient of `entry` (its input `slot`) came to `value`: `dL_d[value] = total`.

    `contribution` None: a known zero came, and adds nothing. `first`: nothing (or only None) had come before, so no
    addition was needed. `total` is the running sum, None while only None has come."""

    entry: Entry
    slot: int
    value: Value
    contribution: Value | None
    total: Value | None
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PassEnded(OfPass):
    """`grad` returns. `table` is dL_d, in the order in which gradients first came; `results` what it returns."""

    table: tuple[tuple[Value, Value], ...]
    results: tuple[Value | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PassFailed(OfPass):
    """`grad` raises. What follows, where the program catches the error, belongs to no pass. `entry`: the one whose
    propagate raised, None where the pass itself did."""

    error: str  # the exception's class
    message: str
    entry: Entry | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TapeReset(Event):
    """`reset_tape()`: what follows is on an empty tape."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Failed(Event):
    """The run raised. The last event; what came before it stays."""

    error: str  # the exception's class
    message: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LimitReached(Event):
    """The run was cut off. The last event; what came before it stays."""

    what: str
    limit: float
    message: str


def opened(kind: type) -> type:
    """A class of the same slots that is not frozen yet: an object of it is filled, and then given the class `kind`.

    Of entries, and of the kinds of events of which a run has thousands: a frozen dataclass sets every field by a call,
    which takes ten times as long as setting it, and was a quarter of the time that reading a trace took.
    """
    return type(kind.__name__, kind.__bases__, {"__slots__": kind.__slots__, "__setattr__": object.__setattr__})


KINDS = {
    kind.__name__: kind
    for kind in (Leaf, Recorded, Read, PassBegun, VisitBegun, Visited, Accumulated, PassEnded, PassFailed, TapeReset)
    + (Failed, LimitReached)
}
