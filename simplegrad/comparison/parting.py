"""Where two PyTorch runs part, in words: the operation, its module, the lines."""

from __future__ import annotations

import linecache
from dataclasses import dataclass

from ..checks.report import Place
from ..trace import calls as kinds
from ..trace.calls import Call
from ..trace.events import Source
from .gaps import norm_of

FORWARD = "forward"
VALUE, MISSING, EXTRA, INPUT = "value", "missing", "extra", "input"


@dataclass(frozen=True)
class Parting:
    """Where two runs first part.

    `where`: "forward" or "backward pass K". `how`: "value" (the same operation, another result), "missing" (only on
    the left), "extra" (only on the right), "input" (a parameter differs before anything is computed). `op`: autograd's
    name of the operation, `module`: the path it ran in. `born`: False where what came in differed already.
    """

    where: str
    op: str
    module: str
    how: str
    left_place: Place | None
    right_place: Place | None
    sentence: str
    born: bool = True
    left_step: int | None = None  # events of the traces that show it
    right_step: int | None = None
    since: int | None = None  # events of the right before it: an operation may be told of later, when a pass reaches it


def shown(call: Call) -> str:
    return f"{call.name.strip('_')}" if call.kind != kinds.FUNCTION else call.name


def in_module(call: Call) -> str:
    return f"In {call.module}" if call.module else "In the step itself"


def norms(a: Call, b: Call) -> str:
    for x, y in zip(a.outputs, b.outputs):
        if x.shape != y.shape:
            return f"of shape {tuple(y.shape)} instead of {tuple(x.shape)}"
        if x.nonfinite or y.nonfinite:
            return f"{y.nonfinite or 'finite'} instead of {x.nonfinite or 'finite'}"
        if norm_of(x) is not None and norm_of(y) is not None:
            return f"norm {norm_of(y):.6g} instead of {norm_of(x):.6g}"
    return "its numbers were not kept"


def op_of(call: Call) -> str:
    """Autograd's name for it, without Backward0; of what autograd did not follow, the function's own in that style."""
    if call.kind == kinds.FUNCTION:
        return call.name
    if call.entries:
        return call.entries[-1].operator.removesuffix("Backward0")
    return _NAMED.get(call.name, "".join(part.capitalize() for part in call.name.strip("_").split("_")))


_NAMED = dict.fromkeys(("bfloat16", "half", "float", "double", "to", "type"), "ToCopy") | {"truediv": "Div"}
_NAMED |= {"layer_norm": "NativeLayerNorm", "linear": "Addmm", "contiguous": "Clone", "matmul": "Mm"}


def parting_of(
    where: str,
    how: str,
    named: Call,
    left: Call,
    right: Call,
    sentence: str,
    place: Source | None = None,
    steps: tuple[int | None, int | None] = (None, None),
) -> Parting:
    return Parting(
        where,
        op_of(named),
        named.module,
        how,
        place_of(left.source),
        place_of(place or right.source),
        f"{where[0].upper()}{where[1:]}: {sentence}",
        born=how != INPUT,
        left_step=steps[0],
        right_step=steps[1],
        since=right.event,
    )


def place_of(source: tuple[str, int] | None) -> Place | None:
    if source is None:
        return None
    file, line = source
    return Place(file, line, line, linecache.getline(file, line).strip())
