"""Gradients that mathematics makes zero: a softmax does not change with what is asked about."""

from __future__ import annotations

from itertools import islice

from ..trace.events import Entry, Value
from .answer import Cause, Link
from .families import SUM_TO_ONE
from .filled import norm_of
from .run import Run
from .way import Step, Way

# The distance of 1 to the next number.
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
NEAR = 8  # steps from a value to where it is added to others: between them it is viewed, cast or expanded
_ADDS = {"Add", "Sub", "Rsub", "Expand"}  # what has fewer elements than the result gets a sum
_ADDS_A_BIAS = {"Addmm", "Addmv", "Linear", "Addbmm", "Baddbmm", "Convolution", "MkldnnLinear"}


def sum_of_one(run: Run, name: str, entry: Entry) -> Cause | None:
    """The sum of a softmax is one, whatever it is given."""
    readers = [reader.operator for out in entry.outputs for reader in run.graph.readers(out)]
    if entry.operator not in SUM_TO_ONE or not readers or any(each not in ("Sum", "Mean") for each in readers):
        return None
    shown = _shown(run, entry)
    sentence = f"{shown} sums to one whatever it is given: its sum is constant, so {name} gets zeros."
    return Cause("flat", sentence, run.line_of(entry))


def one_element(run: Run, name: str, entry: Entry) -> Cause | None:
    """A softmax over a dimension of size one: all that it gives is one (or the logarithm of it)."""
    if not is_softmax(entry):
        return None
    call = run.call_of(entry)
    if entry.operator.startswith("ScaledDotProduct"):
        keys = call.inputs[1].shape if call is not None and len(call.inputs) > 2 else ()
        is_alone, always = len(keys) > 1 and keys[-2] == 1, "attends to it wholly"
    else:
        is_alone, always = _is_one(entry), "always gives " + ("0" if entry.operator == "LogSoftmax" else "1")
    if not is_alone:
        return None
    sentence = f"{_shown(run, entry)} is over one element here and {always}, whatever {name} is: it gets zeros."
    return Cause("flat", sentence, run.line_of(entry))


def _is_one(entry: Entry) -> bool:
    """By the norm: a softmax over more elements gives less than one somewhere."""
    out = entry.outputs[0]
    norm, wanted = norm_of(out), 0.0 if entry.operator == "LogSoftmax" else _count(out) ** 0.5
    return 1 in out.shape and norm is not None and abs(norm - wanted) <= 1e-6 * wanted


def shift(run: Run, name: str, way: Way) -> Cause | None:
    """What shifts all elements of a softmax alike, as a bias of the keys of attention: the gradients of the elements
    sum to zero, and rounding is left of the sum."""
    cancelled = next((step for step in islice(way.steps(), NEAR) if _is_rounding(step)), None)
    if cancelled is None:
        return None
    forgets = (step for step in way.steps() if is_softmax(step.entry) or "Norm" in step.entry.operator)
    last = next(forgets, None)  # a normalisation forgets a shift as well: the nearest one counts
    if last is None or not is_softmax(last.entry):
        return None
    shown = _shown(run, last.entry)
    sentence = (
        f"{shown} does not change when all its elements are shifted alike, and that is all that {name} does: its "
        f"gradient is zero, up to rounding. Nothing is wrong with it."
    )
    text = f"the gradients that {cancelled.entry.operator} sums up for it cancel out"
    chain = (Link(text, run.line_of(cancelled.entry), cancelled.visit.index),)
    return Cause("flat", sentence, run.line_of(last.entry), chain, meant=True)


def is_softmax(entry: Entry) -> bool:
    return "Softmax" in entry.operator or entry.operator.startswith("ScaledDotProduct")


def _is_rounding(step: Step) -> bool:
    """A sum over a broadcast value, of which next to nothing is left."""
    out, value = step.entry.outputs[0], step.value
    adds = step.entry.operator in _ADDS or (step.entry.operator in _ADDS_A_BIAS and len(value.shape) < 2)
    terms = _count(out) / max(_count(value), 1)
    return adds and terms > 1 and step.ratio <= 10 * EPS.get(value.dtype, 0.0) * terms**0.5


def _count(value: Value) -> int:
    count = 1
    for size in value.shape:
        count *= size
    return count


def _shown(run: Run, entry: Entry) -> str:
    call = run.call_of(entry)
    return call.name if call is not None and call.kind == "operation" else entry.operator.lower()
