"""What can be said of a propagate by calling it alone, outside of any pass."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence

import torch

from ..engine import Tape, TapeEntry, Variable, gradient_tape

TOLERANCE = 1e-4


def same(ours: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if ours is None or other is None:
        return ours is other
    return ours.shape == other.shape and torch.allclose(ours, other, atol=TOLERANCE, rtol=TOLERANCE)


def weights(shape: Sequence[int], start: float) -> torch.Tensor:
    """What comes in: no two numbers alike, and no ones, so that each formula has numbers of its own."""
    count = torch.Size(shape).numel()
    return (torch.arange(count) * 0.37 + start).reshape(shape)


def called_alone(function: Callable, inputs: Sequence[torch.Tensor]) -> dict:
    """What its entry's propagate gives, costs and calls. Only the last of these is there if its forward fails."""
    found = {"costs": {}, "fails": [], "returned": 0, "constant": [], "squared": [], "shapes": [], "misshapen": []}
    with Tape():
        try:
            xs = [Variable.constant(x, name=n) for n, x in zip(inspect.signature(function).parameters, inputs)]
            made = function(*xs)  # noqa: F841  held, so that the tape knows it by its name
            entry = gradient_tape[-1]
            shapes = [gradient_tape.variable(name).shape for name in entry.outputs]
        except Exception:
            return found | calls_of(function, inputs)
        found |= patterns_of(entry, shapes)
        found |= returned_by(entry, shapes, [gradient_tape.variable(name) for name in entry.inputs])
    return found | calls_of(function, inputs)


def returned_by(entry: TapeEntry, shapes: Sequence[torch.Size], inputs: Sequence[Variable]) -> dict:
    """How many gradients propagate returns, "nothing" or "no list" (as grad begins: something comes to the first
    output alone); which of them have other shapes than the inputs, by name and in words; how they change with what
    comes in."""
    try:
        once, twice = (entry.propagate(incoming(shapes, by)) for by in (1.0, 2.0))
    except Exception:  # the pass fails as well, and what it says is a fact
        return {}
    if once is None or not isinstance(once, (list, tuple)):
        return {"returned": "nothing" if once is None else "no list"}
    found = {"returned": len(once), "constant": [], "squared": [], "shapes": [], "misshapen": []}
    for x, mine, more in zip(inputs, once, twice):
        mine, more = (getattr(each, "value", None) for each in (mine, more))
        if mine is None or more is None:
            continue
        if mine.shape != x.shape:
            found["misshapen"].append(x.name)
            found["shapes"].append(
                f"what you return for {x.name} has the shape {tuple(mine.shape)}, not {tuple(x.shape)}"
            )
        elif mine.any() and same(mine, more):
            found["constant"].append(x.name)
        elif same(4 * mine, more) and mine.any():
            found["squared"].append(x.name)
    return found


def incoming(shapes: Sequence[torch.Size], by: float) -> list[Variable | None]:
    return [Variable(by * weights(shapes[0], 0.6)), *[None] * (len(shapes) - 1)]


def patterns_of(entry: TapeEntry, shapes: Sequence[torch.Size]) -> dict:
    """Of an entry with two outputs, for each pattern of what comes in: the operations that propagate records, or the
    error that it raises. Patterns are written "10": something came to the first output, None to the second."""
    costs, fails = {}, []
    for pattern in itertools.product((True, False), repeat=len(shapes)):
        if not any(pattern):
            continue
        name = "".join("1" if comes else "0" for comes in pattern)
        given = [Variable(weights(s, 0.6)) if comes else None for s, comes in zip(shapes, pattern)]
        before = len(gradient_tape)
        try:
            assert entry.propagate(given) is not None, "it ends without return"
            costs[name] = len(gradient_tape) - before
        except Exception:
            fails.append(name)
    return {"costs": costs, "fails": fails}


def calls_of(function: Callable, inputs: Sequence[torch.Tensor]) -> dict:
    """Which operators its propagate calls, and whether it asks for None once it has begun to compute."""
    machine = function.function.__globals__["_machine"]
    machine.noted = noted = []
    called, late = set(), False
    try:
        with Tape():
            xs = [Variable.constant(x) for x in inputs]
            made = function(*xs)  # noqa: F841  held, as above
            entry = gradient_tape[-1]
            shapes = [gradient_tape.variable(name).shape for name in entry.outputs]
            for pattern in itertools.product((True, False), repeat=len(shapes)):
                noted.clear()
                if any(pattern):
                    entry.propagate([Variable(weights(s, 0.6)) if on else None for s, on in zip(shapes, pattern)])
                    began = noted.index("computes") if "computes" in noted else len(noted)
                    late |= any(each in ("asks", "add_optional") for each in noted[began:])
                    called |= set(noted)
    except Exception:
        called |= set(noted)
    finally:
        machine.noted = None
    return {"calls": sorted(called), "asks_late": late}
