"""What a product multiplies a gradient by, and the parameter whose numbers that factor has."""

from __future__ import annotations

from ..trace import calls as kinds
from ..trace.calls import Call, Filled
from ..trace.events import Value
from .filled import norm_of
from .run import Run

MOST_CALLS = 20  # between a factor and the parameters that it is computed of
# What is multiplied, of operations that add something as well: the places of the factors among the inputs.
_FACTORS = {"linear": slice(0, 2), "bilinear": slice(0, 3), "addcmul": slice(1, 3), "lerp": slice(2, 3)}
_FACTORS |= {name: slice(0, 2) for name in ("conv1d", "conv2d", "conv3d")}
_FACTORS |= {f"conv_transpose{n}d": slice(0, 2) for n in (1, 2, 3)}
_FACTORS |= {name: slice(1, 3) for name in ("addmm", "addmv", "addbmm", "baddbmm", "addr")}


def factors_of(call: Call, value: Value) -> list[Value]:
    """The inputs that are multiplied with one of them."""
    name = call.name.rstrip("_")
    factors = call.inputs[_FACTORS[name]] if name in _FACTORS else call.inputs
    others = [x for x in factors if x is not value]
    return others if value in factors or name not in _FACTORS else list(factors)


def behind(run: Run, factor: Value) -> Value | None:
    """A parameter with a gradient that is not zero, where a factor is computed of parameters alone (or is one)."""
    todo, found = [factor], None
    for _ in range(MOST_CALLS):
        if not todo:
            return found
        x = todo.pop()
        if any(filled.came is not None and size_of(filled) > 0.0 for filled in run.filled.get(x, ())):
            found = found or x
            continue
        call = run.graph.call_giving(x)
        if call is None or call.kind != kinds.OPERATION or not call.inputs:
            if id(x) not in run.objects_held:
                return None
            continue
        todo += call.inputs
    return None


def size_of(filled: Filled) -> float:
    """The norm of what a pass brought; of a sum, whose norm is not kept, that of .grad after it."""
    came = norm_of(filled.came)
    return came if came is not None else filled.after or 0.0
