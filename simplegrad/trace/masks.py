"""Infinities that a run puts in on purpose and takes out again: a mask of -inf that softmax makes zeros of."""

from __future__ import annotations

from collections import defaultdict

from . import calls as kinds
from .calls import Call
from .events import Entry, Event, Value
from .trace import Trace

# Operations that write what they were told to: their names, small and without underscores.
_WRITES = {"maskedfill", "where", "indexput", "indexfill", "fill", "copyslices", "maskedscatter", "scatter", "setitem"}
_WRITES |= {"full", "fulllike", "newfull", "tensor", "triu", "tril", "index"}
_FLOWS = (kinds.OPERATION, kinds.FUNCTION, kinds.IN_PLACE, kinds.NEW_LEAF, kinds.COPY, kinds.SCALE)
_OUTSIDE = ("leaf", "read", "input", "aside")


class Masks:
    """Which infinities of the forward part are meant: written as such, and finite again in all that reads them."""

    def __init__(self, trace: Trace) -> None:
        self.calls = [call for call in trace.calls if call.kind in _FLOWS and not call.within and call.inside is None]
        self.readers: dict[Value, list[Entry | Call]] = defaultdict(list)
        for each in (*self.calls, *(entry for entry in trace.entries if entry.pass_id is None)):
            for value in each.inputs:
                self.readers[value].append(each)
        self.calls_of: dict[Entry, list[Call]] = defaultdict(list)
        for call in self.calls:
            for entry in call.entries:
                self.calls_of[entry].append(call)
        self.known: dict[Value, bool] = {}  # whether what reads an infinity makes finite numbers of it

    def is_meant(self, event: Event, value: Value, part: str) -> bool:
        if event.pass_id is not None:
            return False
        if part == "output":
            return (_writes(event.entry) or self._passes_on(event.entry)) and self.is_taken_out(value)
        return part in _OUTSIDE and any(self.is_taken_out(each) for each in (value, *self._seen_as(event, value)))

    def _passes_on(self, entry: Entry) -> bool:
        """One of its inputs is such an infinity; a call knows also those that autograd does not follow."""
        read = [value for call in self.calls_of.get(entry, ()) for value in call.inputs]
        return any(value.nonfinite == "inf" and self.is_taken_out(value) for value in (*entry.inputs, *read))

    def _seen_as(self, event: Event, value: Value) -> list[Value]:
        """What no entry made stands in a trace by itself; the calls of its line know it as another value."""
        near = [call for call in self.calls if call.source == event.source]
        found = [x for call in near for x in (*call.outputs, *call.inputs)]
        return [x for x in found if x.nonfinite == "inf" and tuple(x.shape) == tuple(value.shape)]

    def is_taken_out(self, value: Value) -> bool:
        """Something reads it, and whatever does gives finite numbers, or passes it on to what does."""
        if value not in self.known:
            self.known[value] = False  # of what reads itself nothing is known
            readers = self.readers.get(value, [])
            results = [out for reader in readers for out in reader.outputs if out is not value]
            self.known[value] = bool(results) and all(self._is_finite_again(out) for out in results)
        return self.known[value]

    def _is_finite_again(self, value: Value) -> bool:
        if value.nonfinite == "inf":
            return self.is_taken_out(value)
        return value.nonfinite == "" or not value.dtype.startswith(("float", "bfloat", "complex"))


def _writes(entry: Entry) -> bool:
    return entry.operator.replace("_", "").lower() in _WRITES
