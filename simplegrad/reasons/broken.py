"""Why a gradient has a NaN or an infinity: where the first one was born that leads to it."""

from __future__ import annotations

from dataclasses import replace

from ..trace import calls as kinds
from ..trace.calls import Call, Filled
from ..trace.events import Entry, Value, Visited
from .answer import Cause, Link
from .filled import by_module_hook, contributions, norm_of
from .run import Run

# They write an infinity because they were told to.
EXPLICIT = {
    "masked_fill",
    "masked_fill_",
    "full",
    "full_like",
    "fill_",
    "new_full",
    "where",
    "__setitem__",
    "triu",
    "tril",
}
EXPLICIT |= {"masked_scatter", "masked_scatter_", "tensor", "zeros_like", "empty", "index_fill", "index_fill_", "triu_"}


# Where a finite number has a slope that is not finite.
STEEP = {
    "Sqrt",
    "Rsqrt",
    "Log",
    "Log2",
    "Log10",
    "Log1P",
    "Div",
    "Reciprocal",
    "Pow",
    "LinalgVectorNorm",
    "Norm",
    "Std",
}
STEEP |= {"Acos", "Asin", "Acosh", "Atanh", "Cdist", "Var", "Logit"}


def born(run: Run, value: Value, filled: Filled) -> Cause | None:
    """In the forward part, on the way to the loss; else in the backward, at the first entry that made it."""
    loss = run.pass_of(filled.pass_id).loss
    if loss not in run.births:
        run.births[loss] = None  # what leads back to it while it is looked for says nothing
        run.births[loss] = _in_forward(run, loss)
    return run.births[loss] or _in_backward(run, value, filled.pass_id)


def _in_forward(run: Run, loss: Value) -> Cause | None:
    for call in _before(run, loss):
        bad = [x for x in call.outputs if x.nonfinite]
        if not bad:
            continue
        came_in = [x for x in call.inputs if x.nonfinite]
        if came_in:
            given = [x for x in came_in if run.graph.call_giving(x) is None]
            if given and not any(run.graph.call_giving(x) for x in came_in):
                made = run.graph.makers.get(given[0])
                if made is not None:
                    return _from_compiled_code(run, made, given[0])
                has = f"{given[0].name} has {_what(given[0].nonfinite)} before anything was computed"
                sentence = f"{has}; {call.name} reads it."
                return Cause("nonfinite", sentence, call.source, (Link(sentence, call.source, call.event),))
            if not (all(_is_explicit(run, x) for x in came_in) and any(x.nonfinite == "nan" for x in bad)):
                continue
        if not came_in and call.name in EXPLICIT and all(x.nonfinite == "inf" for x in bad):
            continue  # a mask of -inf is meant
        return _stepped_in(run, call) or _birth(run, call, bad[0])
    return None


def _stepped_in(run: Run, call: Call) -> Cause | None:
    """Of a parameter that a step had moved by a gradient that was not finite: why that was. A leaf is known as it was
    when it was first read, so that what reads it later seems to begin with it."""
    for x in call.inputs:
        steps = [step for step in run.steps if step.id < call.id and x in step.leaves] if x.leaf else []
        rows = [row for row in run.trace.filled if row.value is x and row.after_kind]
        for row in rows:
            after = [step for step in steps if step.event >= run.end_of(row.pass_id)]
            cause = born(run, x, row) if after else None
            if cause is not None:
                step = after[0]
                sentence = f"{cause.sentence} A step of {step.name} brought it into {x.name}, which {call.name} reads."
                link = Link(f"{step.name} moves {x.name} by it", step.source, step.event)
                return replace(cause, sentence=sentence, chain=(*cause.chain, link))
    return None


def _from_compiled_code(run: Run, entry: Entry, bad: Value) -> Cause:
    """No call gave it, and autograd knows an entry that did."""
    source = run.line_of(entry)
    sentence = f"{_begins(bad)} comes out of code of torch.compile, which is not seen from inside."
    return Cause("nonfinite", sentence, source, (Link(f"{entry.operator} gives it", source, None),))


def _is_explicit(run: Run, x: Value) -> bool:
    call = run.graph.call_giving(x)
    return call is not None and call.name in EXPLICIT


def _before(run: Run, loss: Value) -> list[Call]:
    """Calls that lead to the loss, in order; all of them where the loss is not known."""
    if loss not in run.graph:
        return run.flowing
    leading = set(run.graph.before(loss))
    return [call for call in run.flowing if call in leading]


def _what(kind: str | None) -> str:
    return "a NaN" if kind == "nan" else "an infinity (inf)"


def _begins(bad: Value) -> str:
    what = _what(bad.nonfinite)
    return what[0].upper() + what[1:]


_DOMAIN = {"log": "of zero", "log_": "of zero", "sqrt": "of a negative number", "exp": "of a large number", "pow": ""}
_DOMAIN |= {
    "div": "by zero",
    "__rdiv__": "by zero",
    "reciprocal": "of zero",
    "rsqrt": "of zero",
    "true_divide": "by zero",
}


def _birth(run: Run, call: Call, bad: Value) -> Cause:
    inner = [c for c in run.calls if c.inside == call.id and any(x.nonfinite for x in c.outputs)]
    at = inner[0] if inner else call
    why = _DOMAIN.get(at.name, "")
    hint = f" ({at.name} {why})" if why else ""
    used = _where_hides(run, bad)
    sentence = f"{_begins(bad)} is born in {at.name}{hint}, in the forward part{used}."
    cause = "nonfinite"
    is_scaled_loss = bad.dtype == "float16" and bad.shape == () and call.name in ("mul", "__mul__", "__rmul__")
    if call.kind == kinds.SCALE or (is_scaled_loss and bad.nonfinite == "inf"):
        cause, sentence = "loss_scale", f"The scaled loss overflows in {bad.dtype}: its scale is too large."
    return Cause(cause, sentence, at.source, (Link(f"{at.name} gives {_what(bad.nonfinite)}", at.source, at.event),))


def _where_hides(run: Run, bad: Value) -> str:
    if bad not in run.graph:
        return ""
    after = [c for c in run.graph.after(bad) if isinstance(c, Call) and c.name == "where"]
    if not after:
        return ""
    return "; where hides it forward, but its gradient is zero times inf"


def _in_backward(run: Run, value: Value, pass_id: int) -> Cause | None:
    """The first entry of the pass that was given finite gradients and passed on others, towards this leaf."""
    leading = _leading_to(run, value, pass_id)
    for visit in run.flawed.get(pass_id, ()):
        if visit.entry not in leading:
            continue
        if any(g is not None and g.nonfinite for g in visit.incoming):
            seed = _came_bad(run, visit, pass_id)
            if seed is not None:
                return seed
            continue
        if any(g is not None and g.nonfinite for g in visit.outgoing):
            return _birth_in_backward(run, visit)
    return None


def _came_bad(run: Run, visit: Visited, pass_id: int) -> Cause | None:
    """Finite contributions, and yet the entry was given a NaN: a hook put it there."""
    for x, g in zip(visit.entry.outputs, visit.incoming):
        if g is None or not g.nonfinite:
            continue
        came = contributions(run, pass_id, x)
        if came and all(norm_of(event.contribution) not in (None, float("inf")) for event in came):
            hooks = run.in_hooks.get(pass_id, [])
            bad = [c for c in hooks if any(y.nonfinite for y in c.outputs)] or hooks
            source = bad[0].source if bad else None
            if source is not None:
                sentence = f"A hook on {x.name} puts {_what(g.nonfinite)} into its gradient."
                return Cause("hook", sentence, source, (Link("the hook runs", source, visit.index),))
    return None


def _leading_to(run: Run, value: Value, pass_id: int) -> set[Entry]:
    found, todo = set(), [value]
    while todo:
        x = todo.pop()
        for event in run.came(pass_id, x):
            if event.entry not in found:
                found.add(event.entry)
                todo += event.entry.outputs
    return found


def _overflow(run: Run, visit: Visited, shown: str) -> Cause:
    """A finite gradient that is more than half precision can hold."""
    source = run.line_of(visit.entry)
    sentence = (
        f"The gradient overflows float16 in the backward of {shown}: it is finite there, and beyond 65504, the largest "
        f"number of float16, so it becomes an infinity (inf)."
    )
    begin = run.pass_event(visit.pass_id).index
    scales = [call for call in run.marks(kinds.SCALE) if call.event <= begin]
    link = Link(f"{visit.entry.operator} gives an infinity (inf) from a finite gradient", source, visit.index)
    if not scales:
        return Cause("nonfinite", sentence, source, (link,))
    scale = next((x.norm for x in reversed(scales[-1].inputs) if x.shape == () and x.norm), None)
    by = "" if scale is None else f" by {scale:.10g}"
    sentence += f" The loss was scaled{by}: a smaller scale keeps it finite, and update() of the scaler lowers it."
    chain = (Link(f"the loss is scaled{by}", scales[-1].source, scales[-1].event), link)
    is_skipped = _steps_are_skipped(run, visit.pass_id)
    return Cause("loss_scale", sentence, scales[-1].source, chain, meant=is_skipped)


def _steps_are_skipped(run: Run, pass_id: int) -> bool:
    """The scaler looked at what the pass brought, and no optimiser stepped with it."""
    end = run.end_of(pass_id)
    looked = any(call.event >= end for call in run.marks(kinds.UNSCALE))
    return looked and not any(call.event >= end for call in run.steps)


def _birth_in_backward(run: Run, visit: Visited) -> Cause:
    entry = visit.entry
    bad = next(g for g in visit.outgoing if g is not None and g.nonfinite)
    call = run.call_of(entry)
    shown = call.name if call is not None else entry.operator
    hooked = by_module_hook(run, bad.name, visit, _what(bad.nonfinite), ())
    if hooked is not None:
        return hooked
    if entry.aggregate:
        inner = [
            c
            for c in run.calls
            if c.within == "backward" and c.pass_id == visit.pass_id and any(x.nonfinite for x in c.outputs)
        ]
        source = inner[0].source if inner else entry.returns_at or entry.propagate_source
        sentence = f"The backward of {entry.operator} gives {_what(bad.nonfinite)} from finite gradients."
        return Cause("custom_function", sentence, source, (Link(sentence, source, visit.index),))
    source = run.line_of(entry)
    if bad.dtype == "float16" and bad.nonfinite == "inf" and entry.operator not in STEEP:
        return _overflow(run, visit, shown)
    sentence = f"{_begins(bad)} is born in the backward of {shown}: its slope is not finite there."
    link = Link(f"{entry.operator} gives {_what(bad.nonfinite)} from a finite gradient", source, visit.index)
    return Cause("nonfinite", sentence, source, (link,))
