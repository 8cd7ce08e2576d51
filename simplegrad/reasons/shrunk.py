"""Why a gradient is far too small or far too large: which step of its way made it so."""

from __future__ import annotations

from ..trace.calls import Filled
from ..trace.events import Value
from .answer import Cause, Link
from .factors import behind, factors_of, size_of
from .families import PRODUCT, SATURATING
from .filled import by_module_hook, last_filled, norm_of
from .run import Run
from .unchanged import one_element, shift, sum_of_one
from .way import Step, Way, way_from

ENOUGH = 1e-3  # a factor that far from one says where a gradient faded
TINY = 1e-6  # the norm of a gradient below which it moves nothing


def where_it_changed(run: Run, name: str, value: Value, filled: Filled, state: str) -> Cause | None:
    """The step with the smallest, or largest, ratio of what it passed on to what it was given."""
    way = way_from(run, filled.pass_id, value)
    if way is None:
        return None
    return _smallest(run, name, way, filled) if state == "tiny" else _largest(run, name, way.largest)


def _largest(run: Run, name: str, step: Step) -> Cause | None:
    ratio, entry = step.ratio, step.entry
    chain = (Link(f"{entry.operator} makes it {ratio:.3g} times as large", run.line_of(entry), step.visit.index),)
    hooked = by_module_hook(run, name, step.visit, f"one {ratio:.3g} times as large", chain)
    if hooked is not None:
        return hooked
    if entry.aggregate:
        sentence = f"The backward of {entry.operator} makes the gradient of {name} {ratio:.3g} times as large."
        return Cause("custom_function", sentence, entry.returns_at or entry.source, chain)
    call = run.call_of(entry)
    if entry.operator in ("Mul", "Div") and call is not None and call.numbers and ratio > 100:
        scale = max(map(abs, call.numbers))
        sentence = f"The loss is multiplied by {scale:.4g} here, and the gradients were not divided by it."
        return Cause("loss_scale", sentence, call.source, chain)
    return None


def _smallest(run: Run, name: str, way: Way, filled: Filled) -> Cause | None:
    step = way.smallest
    unchanged = shift(run, name, way) or sum_of_one(run, name, step.entry) or one_element(run, name, step.entry)
    if unchanged is not None:
        return unchanged
    if way.fading is not None and way.share < ENOUGH and (step.entry.operator in SATURATING or way.share < step.ratio):
        return _saturated(run, name, way, way.fading)
    chain = (_passes_on(run, step),)
    hooked = by_module_hook(run, name, step.visit, f"{step.ratio:.3g} of it", chain)
    if hooked is not None:
        return hooked
    if step.entry.aggregate:
        sentence = f"The backward of {step.entry.operator} passes on next to nothing to {name}."
        return Cause("custom_function", sentence, step.entry.returns_at or step.entry.source, chain)
    return _by_a_factor(run, name, step, filled, chain) if step.ratio < ENOUGH else None


def _passes_on(run: Run, step: Step) -> Link:
    text = f"{step.entry.operator} passes on {step.ratio:.3g} of what it is given"
    return Link(text, run.line_of(step.entry), step.visit.index)


def _saturated(run: Run, name: str, way: Way, step: Step) -> Cause:
    times = "" if way.times == 1 else f", and {way.times - 1} more on the way,"
    call = run.call_of(step.entry)
    shown = call.name if call is not None else step.entry.operator.lower()
    sentence = f"{shown}{times} is saturated: its slope is near zero, so {name} gets next to nothing."
    return Cause("saturated", sentence, run.line_of(step.entry), (_passes_on(run, step),))


def _by_a_factor(run: Run, name: str, step: Step, filled: Filled, chain: tuple[Link, ...]) -> Cause | None:
    call = run.call_of(step.entry)
    if call is None:
        return None
    if step.entry.operator in ("Mul", "Div") and call.numbers:
        half = filled.came is not None and filled.came.dtype in ("float16", "bfloat16")
        sentence = f"What comes from {name} is multiplied by {step.ratio:.3g} here, which is next to zero."
        return Cause("loss_scale" if half else "zero_factor", sentence, call.source, chain)
    small = [x for x in factors_of(call, step.value) if _is_small(x)] if step.entry.operator in PRODUCT else []
    if not small:
        return None
    trained = behind(run, small[0])
    sentence = f"{call.name} multiplies what comes from {name} by {small[0].name}, which is next to zero."
    meant = trained is not None and _is_moved(run, trained)
    if meant:
        sentence += f" {trained.name} is small at this step, and gets a gradient that moves it."
    return Cause("zero_factor", sentence, call.source, chain, meant=meant)


def _is_moved(run: Run, factor: Value) -> bool:
    """By a gradient that is not tiny, or is so only until another factor like this one, nearer to the loss, has grown:
    each block of a deep model may begin with one."""
    if factor not in run.moved:
        run.moved[factor] = False  # of a factor that is multiplied by itself
        filled = last_filled(run, factor)
        if filled is not None:
            size = size_of(filled)
            cause = where_it_changed(run, factor.name, factor, filled, "tiny") if size <= TINY else None
            run.moved[factor] = size > TINY or (cause is not None and cause.meant)
    return run.moved[factor]


def _is_small(x: Value) -> bool:
    """In the mean of its elements."""
    norm, count = norm_of(x), 1
    for size in x.shape:
        count *= size
    return norm is not None and norm < 1e-3 * max(count, 1) ** 0.5
