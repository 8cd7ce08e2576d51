"""What can happen in a run: a small closed set of events. One run is one flat list of them.

Events refer to `Value`s (Variables of the run) and `Entry`s (entries of its tape), which are shared between events. An
event itself is made when somebody reads it (see rows.py), and then is a copy: two are equal that say the same.
`line` is the line of the program (of the small language) that was running, from 1, or None; `source` is the Python
line, (file, line), that caused the event, or None where none is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from .looks import Looks

if TYPE_CHECKING:
    from ..engine.names import Key, Names

Source = tuple[str, int]


class _OfTape:
    """What a Variable is known by on its tape: enough to name and describe it when somebody asks.

    A run has thousands of Values, and most are never shown. So these three fields are left empty at first; where a slot
    is empty, Python calls `__getattr__`.
    """

    __slots__ = ("key", "names")

    if not TYPE_CHECKING:

        def __getattr__(self, field: str) -> Any:
            if field not in ("name", "shape", "dtype"):
                raise AttributeError(f"a Value has no '{field}'")
            self.name = self.names.of(self.key)
            self.shape, self.dtype = ((), "float32") if self.tensor is None else described(self.tensor)
            return getattr(self, field)


def several(values: Any) -> tuple:
    """A tuple that is kept without one where it has one member, the usual number."""
    return values if values.__class__ is tuple else (values,)


class Table(Sequence[tuple["Value", "Value"]]):
    """A gradient table as pairs, made when somebody reads them: a long pass has thousands."""

    __slots__ = ("gradients",)

    def __init__(self, gradients: dict[Value, Value]):
        self.gradients = gradients

    def __iter__(self) -> Iterator[tuple[Value, Value]]:
        return iter(self.gradients.items())

    def __len__(self) -> int:
        return len(self.gradients)

    def __getitem__(self, index):
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Table, tuple)) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def described(tensor: torch.Tensor) -> tuple[tuple[int, ...], str]:
    """Shape and dtype; the same two objects for all tensors alike, a tenth of the memory of an event."""
    return _alike(tensor.shape, tensor.dtype)


@lru_cache(maxsize=1024)
def _alike(shape: torch.Size, dtype: torch.dtype) -> tuple[tuple[int, ...], str]:
    return tuple(shape), str(dtype).removeprefix("torch.")


@dataclass(slots=True, eq=False)
class Value(_OfTape):
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
    version: int | None = None  # how often the tensor had been changed in place when it was first seen

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

    @classmethod
    def of_tape(cls, id: int, key: Key, names: Names) -> Value:
        """Of a Variable; its name, shape and dtype are made when somebody asks for them."""
        value = _new(cls)
        value.id, value.key, value.names = id, key, names
        value.tensor = value.nonfinite = value.norm = value.version = None
        value.leaf, value.note = False, ""
        return value


class Entry:
    """A tape entry. `text` is its right-hand side: `v2 * b`.

    `made_by` is the id of the entry whose propagate (or whose contribution's addition) recorded it, `pass_id` the
    pass that it was recorded in; both None for the forward part. `aggregate`: its propagate is hand-written, at
    `propagate_source`. `returns_at`: the last `return` of a hand-written backward. `group`: a module or region it
    belongs to, for collapsing large tapes.

    A run has thousands, so it keeps its Values as the tape's rows have them (see engine/rows.py), without a tuple where
    there are one or two; and its text without their names, which are made when somebody asks.
    """

    __slots__ = ("id", "operator", "template", "left", "right", "output", "aggregate", "made_by", "pass_id", "line")
    __slots__ += ("source", "propagate_source", "returns_at", "group")

    def __init__(
        self,
        id: int,
        operator: str,
        text: str,
        inputs: tuple[Value, ...],
        outputs: tuple[Value, ...],
        aggregate: bool = False,
        made_by: int | None = None,
        pass_id: int | None = None,
        line: int | None = None,
        source: Source | None = None,
        propagate_source: Source | None = None,
        returns_at: Source | None = None,
        group: str = "",
    ):
        self.id, self.operator, self.template = id, operator, text.replace("{", "{{").replace("}", "}}")
        self.left, self.right, self.output, self.aggregate = inputs, None, outputs, aggregate
        self.made_by, self.pass_id, self.line, self.source = made_by, pass_id, line, source
        self.propagate_source, self.returns_at, self.group = propagate_source, returns_at, group

    @classmethod
    def of_tape(
        cls, id, operator, template, left, right, output, aggregate, made_by, pass_id, line, source, propagate_source
    ) -> Entry:
        """Of a row of the tape, with the Values in place of their keys. `template`: its text, {} for each input."""
        entry = _new(cls)
        entry.id, entry.operator, entry.template = id, operator, template
        entry.left, entry.right, entry.output, entry.aggregate = left, right, output, aggregate
        entry.made_by, entry.pass_id, entry.line, entry.source = made_by, pass_id, line, source
        entry.propagate_source, entry.returns_at, entry.group = propagate_source, None, ""
        return entry

    @property
    def inputs(self) -> tuple[Value, ...]:
        return several(self.left) if self.right is None else (self.left, self.right)

    @property
    def outputs(self) -> tuple[Value, ...]:
        return several(self.output)

    @property
    def text(self) -> str:
        return self.template.format(*[value.name for value in self.inputs])

    @property
    def statement(self) -> str:
        """`v3 = v2 * b`"""
        one = self.output.__class__ is Value
        return f"{self.output.name if one else ', '.join([value.name for value in self.outputs])} = {self.text}"

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


@dataclass(frozen=True, slots=True)
class Event:
    """`index`: place in the trace. `parent`: index of the event that this one happened within (a PassBegun or a
    VisitBegun), None at the top. `pass_id`: the pass it happened in, None in the forward part."""

    index: int
    parent: int | None
    pass_id: int | None
    line: int | None
    source: Source | None

    @property
    def kind(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, slots=True)
class Leaf(Event):
    """`a = Variable.constant(torch.rand(4), name='a')`"""

    value: Value


@dataclass(frozen=True, slots=True)
class Recorded(Event):
    """`v0 = a + b`, or `gradient_tape.append(TapeEntry(…))`"""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Read(Event):
    """`v4 = v2 * t` where no entry has the output t and it is no leaf: its gradient will go nowhere.

    Comes right before the Recorded event of the entry that reads it; `entry` is that one."""

    value: Value
    entry: Entry


@dataclass(frozen=True, slots=True)
class OfPass(Event):
    """A pass begins, ends or fails."""

    pass_: Pass

    @property
    def run(self) -> Pass:
        """Its older name, which programs still say."""
        return self.pass_


@dataclass(frozen=True, slots=True)
class PassBegun(OfPass):
    """`grad(L0, [a, b])` begins: the table holds only dL0/dL0 = seed."""


@dataclass(frozen=True, slots=True)
class VisitBegun(Event):
    """The pass came to an entry and is about to call its propagate with these incoming gradients."""

    entry: Entry
    incoming: tuple[Value | None, ...]


@dataclass(frozen=True, slots=True)
class Visited(Event):
    """The pass is done with an entry. `state`: propagated, partial, skipped or pruned; a skipped or pruned entry has
    no VisitBegun and no outgoing gradients. Of a pruned one, the incoming gradients are not looked at: ()."""

    entry: Entry
    state: str
    incoming: tuple[Value | None, ...]
    outgoing: tuple[Value | None, ...]


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class PassEnded(OfPass):
    """`grad` returns. `table` is dL_d, in the order in which gradients first came; `results` what it returns."""

    table: Table
    results: tuple[Value | None, ...]


@dataclass(frozen=True, slots=True)
class PassFailed(OfPass):
    """`grad` raises. What follows, where the program catches the error, belongs to no pass. `entry`: the one whose
    propagate raised, None where the pass itself did."""

    error: str  # the exception's class
    message: str
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class TapeReset(Event):
    """`reset_tape()`: what follows is on an empty tape."""


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """The run raised. The last event; what came before it stays."""

    error: str  # the exception's class
    message: str


@dataclass(frozen=True, slots=True)
class LimitReached(Event):
    """The run was cut off. The last event; what came before it stays."""

    what: str
    limit: float
    message: str


_new = object.__new__
KINDS = {
    kind.__name__: kind
    for kind in (Leaf, Recorded, Read, PassBegun, VisitBegun, Visited, Accumulated, PassEnded, PassFailed, TapeReset)
    + (Failed, LimitReached)
}
