"""What PyTorch's own errors leave out: which tensor, which statement, which line of the forward part."""

from __future__ import annotations

import re
from collections.abc import Sequence

from simplegrad.trace.calls import IN_PLACE, Call
from simplegrad.trace.events import Entry, Source
from simplegrad.trace.texts import called

_CHANGED = re.compile(r"modified by an inplace operation: \[[\w.]+ (\[[\d, ]*\])\].*?is at version (\d+); expected")
_NO_DERIVATIVE = re.compile(r"derivative for '?(?:aten::)?(\w+)")


def explained(message: str, calls: Sequence[Call], entries: Sequence[Entry], versions: dict[Call, int]) -> str:
    """A sentence to go with the message of an error that ended a recorded run; "" where there is nothing to add.

    `versions`: of the tensors that calls changed in place, after the change.
    """
    changed = _CHANGED.search(message)
    if changed is not None:
        return _changed(changed[1], int(changed[2]), calls, versions)
    missing = _NO_DERIVATIVE.search(message)
    if missing is not None and "not implemented" in message:
        return _no_derivative(missing[1], calls)
    return ""


def _changed(shape: str, version: int, calls: Sequence[Call], versions: dict[Call, int]) -> str:
    sizes = tuple(int(size) for size in re.findall(r"\d+", shape))
    found = [c for c in calls if c.kind == IN_PLACE and versions.get(c) == version and c.outputs[0].shape == sizes]
    if len(found) != 1:
        return ""
    (call,) = found
    maker = next((c for c in calls[: call.id] if c is not call and call.inputs[0] in c.outputs), None)
    made = f", which {maker.name} gave{at(maker.source)}," if maker is not None else ""
    return f"The tensor {call.inputs[0].name}{made} was changed by {call.name}{at(call.source)}."


def _no_derivative(name: str, calls: Sequence[Call]) -> str:
    found = [call for call in calls if call.name.strip("_") == name.strip("_") and call.followed]
    return f"It is called in the forward part{at(found[-1].source)}." if found else ""


def at(source: Source | None) -> str:
    return "" if source is None else f" ({called(source[0])}, line {source[1]})"
