"""The first NaN or infinity of a run: not where it was noticed, but where it was born."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from operator import attrgetter

import torch

from .events import (
    Accumulated,
    Entry,
    Event,
    Leaf,
    Pass,
    PassBegun,
    Read,
    Recorded,
    Source,
    Value,
    VisitBegun,
    Visited,
)
from .looks import Looks
from .masks import Masks
from .texts import called
from .trace import Trace

KINDS = ("nan", "inf")
WORDS = {"nan": "a NaN", "inf": "an infinity"}


@dataclass(frozen=True)
class Birth:
    """Where the first NaN or infinity of a trace is born.

    `step`: index of the event that shows it; `value`: the Variable that has it; `kind`: "nan" or "inf" ("nan" for a
    tensor with both); `where`: "forward" or "pass", then `pass_` is that. `entry`: the one that computed it, or whose
    propagate did; None for what `is_outside`: given to the run, not computed by it. `source`: the Python line, of the
    forward part where PyTorch or the engine computed a gradient of it; `line`: the line of the program.
    """

    step: int
    value: str
    kind: str
    where: str
    sentence: str
    entry: Entry | None = None
    pass_: Pass | None = None
    source: Source | None = None
    line: int | None = None
    is_outside: bool = False
    run = property(attrgetter("pass_"))  # its older name, which programs still say

    def __str__(self) -> str:
        return self.sentence


def find_nonfinite(trace: Trace, kinds: Collection[str] = KINDS) -> Birth | None:
    """The first NaN or infinity of a run, in its forward part or in any of its passes; None where all is finite.

    An infinity that is written on purpose, and finite again in whatever reads it, is passed over: the -inf of a mask
    that softmax makes zeros of. `kinds`: ("nan",) passes over all infinities.
    Raises ValueError for a trace that kept no numbers to look at, and for an unknown kind.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"kinds has {unknown[0]!r}: expected some of {', '.join(map(repr, KINDS))}.")
    _raise_if_nothing_was_kept(trace)
    seen, looks, masks = set(), Looks(), None
    for event in trace.events:
        for value, part in _values_of(event):
            if id(value) not in seen:
                seen.add(id(value))
                kind = kind_of(value, looks)
                if kind == "inf" and kind in kinds:
                    masks = masks or Masks(trace)
                    if masks.is_meant(event, value, part):
                        continue
                if kind in kinds:
                    return _Teller(trace, event, value, kind).birth(part)
    return None


def _raise_if_nothing_was_kept(trace: Trace) -> None:
    looked = any(value.tensor is not None or value.nonfinite is not None for value in trace.values)
    if trace.values and not looked:
        raise ValueError(
            "This trace kept no numbers, so it cannot say where one stopped being finite. "
            "Record with record_torch(values='norm'), or values='full'."
        )


def kind_of(value: Value, looks: Looks | None = None) -> str:
    """ "nan", "inf", or "" for a value that is finite, or of which nobody knows."""
    if value.nonfinite is not None:
        return value.nonfinite
    return "" if value.tensor is None else (looks or Looks()).nonfinite(value.tensor)


def kind_of_tensor(tensor: torch.Tensor) -> str:
    """ "nan" if any element is one, else "inf" if any is infinite, else ""; "" also for what has no numbers."""
    return Looks().nonfinite(tensor)


def _values_of(event: Event) -> Iterator[tuple[Value, str]]:
    """The values that an event shows, causes before what they cause, and what each is to it."""
    match event:
        case Leaf(value=value):
            yield value, "leaf" if value.leaf else "aside"
        case Read(value=value):
            yield value, "read"
        case Recorded(entry=entry):
            yield from ((value, "input") for value in entry.inputs)
            yield from ((value, "output") for value in entry.outputs)
        case PassBegun(pass_=pass_):
            yield from ((value, "seed") for value in (pass_.loss, pass_.seed) if value is not None)
        case VisitBegun(incoming=incoming):
            yield from ((value, "incoming") for value in incoming if value is not None)
        case Visited(incoming=incoming, outgoing=outgoing):
            yield from ((value, "incoming") for value in incoming if value is not None)
            yield from ((value, "outgoing") for value in outgoing if value is not None)
        case Accumulated(contribution=contribution, total=total):
            yield from ((value, "total") for value in (contribution, total) if value is not None)


class _Teller:
    """Says in words what is known of one birth."""

    def __init__(self, trace: Trace, event: Event, value: Value, kind: str):
        self.trace, self.event, self.value, self.kind = trace, event, value, kind
        self.entry: Entry | None = getattr(event, "entry", None)
        self.pass_ = next((pass_ for pass_ in trace.passes if pass_.id == event.pass_id), None)

    def birth(self, part: str) -> Birth:
        outside = part in ("leaf", "read", "input", "seed")
        source, line = self._place(part)
        told = {"leaf": self._leaf, "aside": self._aside, "read": self._read, "input": self._before}
        told |= {"output": self._computed, "seed": self._seed, "incoming": self._came}
        told |= {"outgoing": self._gave, "total": self._summed}
        return Birth(
            step=self.event.index,
            value=self.value.name,
            kind=self.kind,
            where="forward" if self.pass_ is None else "pass",
            sentence=told[part](_shown(source, line)),
            entry=None if outside else self.entry,
            pass_=self.pass_,
            source=source,
            line=line,
            is_outside=outside,
        )

    def _place(self, part: str) -> tuple[Source | None, int | None]:
        """The event's own line where it has one; else that of the nearest entry whose backward this is."""
        makers = list(self._makers())
        lines = [entry.line for entry in makers if entry.line is not None]
        if part in ("incoming", "outgoing", "total") and makers and makers[0].aggregate:
            return self.event.source, lines[0] if lines else self.event.line
        # what a rule of the engine's own recorded has no line but that of the call of grad
        by_hand = [entry.source for entry, by in zip(makers, [*makers[1:], None]) if by is None or by.aggregate]
        sources = [source for source in by_hand if source is not None] if makers else [self.event.source]
        return sources[0] if sources else None, lines[0] if lines else self.event.line

    def _makers(self) -> Iterator[Entry]:
        """The event's entry, the one whose propagate recorded that, and so on up to the forward part."""
        by_id, entry = {entry.id: entry for entry in self.trace.entries}, self.entry
        while entry is not None:
            yield entry
            entry = by_id.get(entry.made_by)

    @property
    def _whose(self) -> str:
        """`y = Log(x)`, with the entries whose backward recorded it."""
        return ", which was recorded by the backward of ".join(entry.statement for entry in self._makers())

    @property
    def _what(self) -> str:
        return WORDS[self.kind]

    @property
    def _in(self) -> str:
        return "in the forward part" if self.pass_ is None else f"in the {self.pass_.title}"

    def _begins(self, verb: str) -> str:
        return f"{self._what[0].upper()}{self._what[1:]} {verb}"

    def _leaf(self, at: str) -> str:
        if self.pass_ is not None:
            return f"{self._begins('is made')} {self._in}{at}: the constant {self.value.name} has it."
        return f"{self._begins('came in')} from outside: {self.value.name} had it before anything was computed{at}."

    def _aside(self, at: str) -> str:
        return f"{self._begins('is born')} {self._in}{at}, {self.value.note}."

    def _read(self, at: str) -> str:
        return (
            f"{self._begins('came in')} from outside: {self.value.name}, which no entry of the tape computed, has it "
            f"where {self.entry.statement} reads it{at}."
        )

    def _before(self, at: str) -> str:
        return (
            f"{self._begins('came in')} from before the recording: {self.value.name} has it where "
            f"{self.entry.statement} reads it{at}."
        )

    def _seed(self, at: str) -> str:
        what = "its loss" if self.value is self.event.pass_.loss else "the gradient it begins with"
        return f"{self._begins('came in')} from outside: the {self.event.pass_.title} begins{at}, and {what} has it."

    def _computed(self, at: str) -> str:
        gives = f"{self.entry.statement} gives it"
        if self.entry.inputs:
            gives += f" from {_state_of(self.entry.inputs, 'inputs')}"
        _, *makers = self._makers()
        whose = ", which was recorded by the backward of ".join(entry.statement for entry in makers)
        backward = f", in the backward of {whose}" if makers else ""
        return f"{self._begins('is born')} {self._in}{backward}{at}: {gives}."

    def _gave(self, at: str) -> str:
        slots = [x.name for x, g in zip(self.entry.inputs, self.event.outgoing) if g is self.value]
        came = _state_of(self.event.incoming, "incoming gradients")
        gives = f"from {came} it gives {self._what} to {' and '.join(slots)}"
        return f"{self._begins('is born')} {self._in}, in the backward of {self._whose}{at}: {gives}."

    def _came(self, at: str) -> str:
        names = [x.name for x, g in zip(self.entry.outputs, self.event.incoming) if g is self.value]
        return (
            f"{self._begins('is born')} {self._in}, in the gradient of {' and '.join(names)}{at}, after finite "
            f"contributions came to it: their sum overflows, or a hook changed it."
        )

    def _summed(self, at: str) -> str:
        return (
            f"{self._begins('is born')} {self._in}, where a contribution of {self.entry.statement}{at} is added to the "
            f"gradient of {self.event.value.name}: both are finite, their sum is not."
        )


def _state_of(values: Collection[Value | None], what: str) -> str:
    """ "finite inputs", or which of them are infinite: they are there where only NaN is looked for."""
    bad = [value.name for value in values if value is not None and kind_of(value)]
    return f"an infinity in {' and '.join(bad)}" if bad else f"finite {what}"


def _shown(source: Source | None, line: int | None) -> str:
    if line is not None:
        return f" (line {line})"
    return "" if source is None else f" ({called(source[0])}:{source[1]})"
