"""Why a gradient is zero, far too small or far too large: where on its way back it became so."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from ..trace import calls as kinds
from ..trace.calls import Call, Filled, Held
from ..trace.events import Accumulated, Entry, Value, Visited
from .answer import UNKNOWN, Cause, Link
from .changed import changed_after
from .filled import by_module_hook, contributions, last_filled, norm_of
from .run import Run

# Autograd's names of operations, by what their derivative does.
FLAT = {"Relu", "Relu6", "Clamp", "ClampMin", "ClampMax", "Hardtanh", "Hardsigmoid", "Hardswish", "Threshold", "Round"}
FLAT |= {"Floor", "Ceil", "Trunc", "Sign", "Sgn", "Heaviside", "Frac", "Softshrink", "Hardshrink", "Rrelu", "LeakyRelu"}
# Draws: their derivative is written down as zeros.
FLAT |= {"Bernoulli", "Poisson", "Binomial", "Normal", "Uniform", "Exponential", "Geometric", "Cauchy", "Random"}
FLAT |= {"Fmod", "Remainder", "HardtanhBackward", "ClampTensor", "BitwiseNot", "Fix", "Elu", "Celu", "Selu"}
SATURATING = {
    "Sigmoid",
    "Tanh",
    "Softmax",
    "LogSoftmax",
    "Softplus",
    "LogSigmoid",
    "Exp",
    "Gelu",
    "Silu",
    "Erf",
    "Expm1",
}
SATURATING |= {
    "Mish",
    "Atan",
    "Elu",
    "Celu",
    "SafeSoftmax",
    "Exp2",
    "Erfc",
    "Softsign",
    "Logit",
    "BinaryCrossEntropyWithLogits",
}
SATURATING |= {"NllLoss", "Logsumexp", "ScaledDotProductAttentionMath", "Rsqrt", "Reciprocal"}
SELECTING = {
    "Max",
    "Min",
    "Amax",
    "Amin",
    "Maximum",
    "Minimum",
    "Fmax",
    "Fmin",
    "Index",
    "IndexSelect",
    "Gather",
    "Take",
}
SELECTING |= {
    "Embedding",
    "EmbeddingBag",
    "Topk",
    "Sort",
    "Kthvalue",
    "Median",
    "Nanmedian",
    "Mode",
    "Aminmax",
    "Where",
}
SELECTING |= {
    "MaxPool2DWithIndices",
    "MaxPool3DWithIndices",
    "MaxPool1D",
    "AdaptiveMaxPool2D",
    "MaskedSelect",
    "Cummax",
}
SELECTING |= {"MaskedFill", "IndexPut", "Scatter", "Select", "Slice", "Narrow", "Diagonal", "Tril", "Triu", "IndexFill"}
SELECTING |= {
    "IndexCopy",
    "MaskedScatter",
    "CopySlices",
    "FractionalMaxPool2D",
    "Cummin",
    "SelectBackward",
    "AsStrided",
}
PRODUCT = {
    "Mul",
    "Mm",
    "Bmm",
    "Addmm",
    "Baddbmm",
    "Addmv",
    "Mv",
    "Dot",
    "Convolution",
    "Div",
    "Addcmul",
    "Lerp",
    "Prod",
}
PRODUCT |= {
    "NativeDropout",
    "Addbmm",
    "Ger",
    "Bilinear",
    "Cumprod",
    "Vdot",
    "Addr",
    "FusedDropout",
    "ForeachMul",
    "Pow",
}
SHAPING = {
    "Stack",
    "Cat",
    "Unbind",
    "Split",
    "Chunk",
    "View",
    "Reshape",
    "Transpose",
    "Permute",
    "T",
    "Expand",
    "Squeeze",
}
SHAPING |= {"Unsqueeze", "UnsafeView", "Add", "Sub", "Rsub", "Neg", "Sum", "Mean", "Clone", "Alias", "ToCopy", "Repeat"}
SHAPING |= {"UnsafeSplit", "SplitWithSizes", "Select", "Slice", "Abs", "Squeeze0", "Flatten", "Movedim", "Roll", "Flip"}
SUM_TO_ONE = {"Softmax", "SafeSoftmax"}
ENOUGH = 1e-3  # a factor that far from one says where a gradient faded
NOTHING = (0.0, "")
MOST_STEPS = 2_000  # on the way back that are looked at for where a gradient faded, the nearest first


def why_faded(run: Run, name: str, held: Held | None, value: Value, state: str, row: int | None) -> Cause:
    filled = last_filled(run, value)
    changed = changed_after(run, name, held, value, state)
    if changed is not None:
        return changed
    if filled is None:
        return Cause(UNKNOWN, f"No pass of this trace filled the gradient of {name}: it is from before.")
    if row is not None:
        return not_selected(run, name, value, row)
    scaled = scale_left_in(run, name, filled) if state == "huge" else None
    if scaled is not None:
        return scaled
    found = (
        where_it_vanished(run, name, value, filled)
        if state == "zero"
        else where_it_changed(run, name, value, filled, state)
    )
    return found or Cause(UNKNOWN, f"This trace does not show where the gradient of {name} became {state}.")


# -- what happened to it after the pass, or by a hook of the leaf's own -----------------------------------------


# -- on the way back -----------------------------------------------------------------------------------------------


def walk_up(run: Run, pass_id: int, value: Value) -> Iterator[tuple[Entry, Accumulated, Visited, Value]]:
    """Entries whose backward leads to a value, nearest first: with what each gave, was given, and to which value."""
    seen, todo = set(), deque([value])
    while todo:
        x = todo.popleft()
        for event in contributions(run, pass_id, x):
            visit = run.visits.get((pass_id, event.entry))
            if visit is None or (event.entry, event.slot) in seen:
                continue
            seen.add((event.entry, event.slot))
            yield event.entry, event, visit, x
            todo += event.entry.outputs


def incoming_norm(visit: Visited) -> float | None:
    norms = [norm_of(g) for g in visit.incoming if g is not None]
    return max(norms) if norms and None not in norms else None


def where_it_vanished(run: Run, name: str, value: Value, filled: Filled) -> Cause | None:
    """The entries that were given something and passed on zeros."""
    pass_id = filled.pass_id
    todo, seen, culprits = [value], set(), []
    while todo:
        x = todo.pop(0)
        if x in seen:
            continue
        seen.add(x)
        for event in contributions(run, pass_id, x):
            visit = run.visits.get((pass_id, event.entry))
            given = norm_of(event.contribution)
            if visit is None or given is None:
                continue
            if given != 0:
                return _hook_between(run, name, x, pass_id, event)
            came = incoming_norm(visit)
            if came is None:
                continue
            if came == 0:
                todo += event.entry.outputs
            else:
                culprits.append((event, visit, came))
    for event, visit, came in culprits:
        found = _zeroing(run, name, event, visit, came, pass_id)
        if found is not None:
            return found
    return None


def _hook_between(run: Run, name: str, x: Value, pass_id: int, event: Accumulated) -> Cause:
    """What came to x was not zero, and what its entry was given is: only a hook can stand between."""
    registered = [call for call in run.marks(kinds.HOOK) if x in call.inputs]
    inside = run.in_hooks.get(pass_id, [])
    sentence = f"A hook on {x.name}, on the way back to {name}, replaces the gradient by zeros."
    chain = (Link(f"{event.entry.operator} gives a gradient that is not zero", run.line_of(event.entry), event.index),)
    source = inside[-1].source if inside else registered[-1].source if registered else None
    if registered:
        chain += (Link("the hook is registered", registered[-1].source, registered[-1].event),)
    return Cause("hook", sentence, source, chain)


def _zeroing(run: Run, name: str, event: Accumulated, visit: Visited, came: float, pass_id: int) -> Cause | None:
    entry = event.entry
    chain = (
        Link(
            f"{entry.operator} is given a gradient of norm {came:.4g} and passes on zeros",
            run.line_of(entry),
            visit.index,
        ),
    )
    found = (
        by_module_hook(run, name, visit, "zeros", chain)
        or _data_changed(run, name, entry, chain)
        or _by_function(run, name, entry, chain)
    )
    if found is not None:
        return found
    if entry.operator in SHAPING:
        maker = _maker_above(run, entry, pass_id)
        if maker is not None:
            entry = maker
    if event.contribution.dtype == "float16" and entry.operator not in FLAT | SELECTING and came < 1e-2:
        return _underflow(run, name, entry, pass_id, chain)
    return _of_family(run, name, entry, chain)


def _maker_above(run: Run, entry: Entry, pass_id: int) -> Entry | None:
    """Of an entry that only parts or passes on: the nearest one towards the loss that chooses or multiplies."""
    for out in entry.outputs:
        for above, *_ in walk_up(run, pass_id, out):
            if above.operator not in SHAPING or above.aggregate:
                return above
    return None


def _of_family(run: Run, name: str, entry: Entry, chain: tuple) -> Cause | None:
    operator, source = entry.operator, run.line_of(entry)
    call = run.call_of(entry)
    shown = call.name if call is not None and call.kind == kinds.OPERATION else operator.lower()
    if operator in FLAT:
        how = _FLAT_WORDS.get(operator, "its slope is zero where it was used")
        return Cause("flat", f"{shown} is flat here: {how}, so {name} gets zeros.", source, chain)
    if operator in SELECTING:
        took = "it took other elements, rows or branches (by max, index or mask)"
        sentence = f"{shown} never selects what comes from {name}: {took}."
        return Cause("not_selected", sentence, source, chain)
    if _is_constant_sum(run, entry):
        sentence = f"{shown} sums to one whatever it is given: its sum is constant, so {name} gets zeros."
        return Cause("flat", sentence, source, chain)
    if operator in SATURATING:
        return Cause(
            "saturated", f"{shown} is saturated: its slope is zero to rounding, so {name} gets zeros.", source, chain
        )
    if operator in PRODUCT:
        return _zero_factor(run, name, entry, call, shown, source, chain)
    return None


def _is_constant_sum(run: Run, entry: Entry) -> bool:
    """The sum of a softmax: one, whatever it is given."""
    readers = [reader.operator for out in entry.outputs for reader in run.graph.readers(out)]
    return entry.operator in SUM_TO_ONE and bool(readers) and all(each in ("Sum", "Mean") for each in readers)


_FLAT_WORDS = {
    "Relu": "all its inputs are negative",
    "Clamp": "all its inputs are outside of the bounds",
    "Hardtanh": "all its inputs are outside of the bounds",
    "Threshold": "all its inputs are below the threshold",
    "Round": "round is constant between its steps",
    "Floor": "floor is constant between its steps",
    "Bernoulli": "what it draws is 0 or 1, and its gradient is zero by definition",
    "Ceil": "ceil is constant between its steps",
    "Sign": "sign is constant on both sides of zero",
}


def _zero_factor(
    run: Run, name: str, entry: Entry, call: Call | None, shown: str, source: tuple | None, chain: tuple
) -> Cause:
    factor, passes = "a factor that is zero", False
    if call is not None:
        zero = [x for x in call.inputs if norm_of(x) == 0]
        if 0.0 in call.numbers:
            factor = "the number 0"
        elif zero:
            factor = f"{zero[0].name}, which is all zeros"
            given = run.graph.call_giving(zero[0])
            if given is not None:
                chain = (Link(f"{given.name} gives the zeros", given.source, given.event), *chain)
            begins = _parameter_behind(run, zero[0])
            passes = begins is not None
            if begins is not None:
                factor += f": {begins.name} begins at zero, and gets a gradient that moves it"
    return Cause("zero_factor", f"{shown} multiplies what comes from {name} by {factor}.", source, chain, passes)


def _parameter_behind(run: Run, x: Value) -> Value | None:
    """The parameter whose numbers these are, as they stand or in another shape, if a pass brought it a gradient."""
    for _ in range(8):
        if any(norm_of(f.came) for f in run.filled.get(x, ())):
            return x
        call = run.graph.call_giving(x)
        if call is None or call.kind != kinds.OPERATION or len(call.inputs) != 1:
            return None
        x = call.inputs[0]
    return None


def _data_changed(run: Run, name: str, entry: Entry, chain: tuple) -> Cause | None:
    """A value that the entry saved was changed through .data, behind autograd's back."""
    own = {*entry.inputs, *entry.outputs}
    call = run.call_of(entry)
    own |= {*call.inputs, *call.outputs} if call is not None else set()
    for changed in run.marks(kinds.IN_PLACE):
        through = run.graph.call_giving(changed.inputs[0]) if changed.inputs else None
        is_hidden = changed.name == "data" or (through is not None and through.name == "data")
        if is_hidden and not changed.within and own & {*changed.aliases, *changed.outputs}:
            if call is not None and changed.id < call.id and not own & set(entry.outputs) & set(changed.aliases):
                continue
            sentence = (
                f"{changed.name} changes a saved value of {call.name if call else entry.operator} through .data, "
                f"behind autograd's back: the derivative is taken at the changed numbers, and is zero there for {name}."
            )
            return Cause(
                "data", sentence, changed.source, (Link(".data is changed", changed.source, changed.event), *chain)
            )
    return None


def _by_function(run: Run, name: str, entry: Entry, chain: tuple) -> Cause | None:
    if not entry.aggregate:
        return None
    sentence = f"The backward of {entry.operator} returns zeros towards {name}."
    return Cause("custom_function", sentence, entry.returns_at or entry.propagate_source or entry.source, chain)


def _underflow(run: Run, name: str, entry: Entry, pass_id: int, chain: tuple) -> Cause:
    sentence = (
        f"The gradient of {name} underflows in half precision: it is smaller than the smallest float16 and becomes "
        f"zero. The loss needs a scale (torch.amp.GradScaler)."
    )
    return Cause("loss_scale", sentence, run.pass_event(pass_id).source, chain)


# -- far too small, far too large ------------------------------------------------------------------------------------


def where_it_changed(run: Run, name: str, value: Value, filled: Filled, state: str) -> Cause | None:
    """The entry with the smallest, or largest, ratio of what it passed on to what it was given."""
    steps = []
    for entry, event, visit, _ in islice(walk_up(run, filled.pass_id, value), MOST_STEPS):
        came, gave = incoming_norm(visit), norm_of(event.contribution)
        if came and gave is not None and 0 < came < float("inf"):
            steps.append((gave / came, entry, visit))
    if not steps:
        return None
    if state == "tiny":
        return _smallest(run, name, steps, filled)
    ratio, entry, visit = max(steps, key=lambda step: step[0])
    chain = (Link(f"{entry.operator} makes it {ratio:.3g} times as large", run.line_of(entry), visit.index),)
    hooked = by_module_hook(run, name, visit, f"one {ratio:.3g} times as large", chain)
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


def _smallest(run: Run, name: str, steps: list, filled: Filled) -> Cause | None:
    half = filled.came is not None and filled.came.dtype in ("float16", "bfloat16")
    shrinking = [step for step in steps if step[1].operator in SATURATING and step[0] < 0.3]
    ratio, entry, visit = min(steps, key=lambda step: step[0])
    product = 1.0
    for each, *_ in shrinking:
        product *= each
    if _is_constant_sum(run, entry):
        return _of_family(run, name, entry, ())
    if shrinking and product < ENOUGH and (entry.operator in SATURATING or product < ratio):
        ratio, entry, visit = min(shrinking, key=lambda step: step[0])
        times = "" if len(shrinking) == 1 else f", and {len(shrinking) - 1} more on the way,"
        call = run.call_of(entry)
        shown = call.name if call is not None else entry.operator.lower()
        sentence = f"{shown}{times} is saturated: its slope is near zero, so {name} gets next to nothing."
        link = Link(f"{entry.operator} passes on {ratio:.3g} of what it is given", run.line_of(entry), visit.index)
        return Cause("saturated", sentence, run.line_of(entry), (link,))
    chain = (Link(f"{entry.operator} passes on {ratio:.3g} of what it is given", run.line_of(entry), visit.index),)
    hooked = by_module_hook(run, name, visit, f"{ratio:.3g} of it", chain)
    if hooked is not None:
        return hooked
    if entry.aggregate:
        sentence = f"The backward of {entry.operator} passes on next to nothing to {name}."
        return Cause("custom_function", sentence, entry.returns_at or entry.source, chain)
    call = run.call_of(entry)
    if entry.operator in ("Mul", "Div") and call is not None and call.numbers and ratio < ENOUGH:
        cause = "loss_scale" if half else "zero_factor"
        sentence = f"What comes from {name} is multiplied by {ratio:.3g} here, which is next to zero."
        return Cause(cause, sentence, call.source, chain)
    if entry.operator in PRODUCT and ratio < ENOUGH and call is not None:
        small = [x for x in call.inputs if norm_of(x) is not None and norm_of(x) < 1e-3]
        if small:
            sentence = f"{call.name} multiplies what comes from {name} by {small[0].name}, which is next to zero."
            return Cause("zero_factor", sentence, call.source, chain)
    return None


def scale_left_in(run: Run, name: str, filled: Filled) -> Cause | None:
    """The loss was scaled, and no unscale followed."""
    begin = run.pass_event(filled.pass_id).index
    scales = [call for call in run.marks(kinds.SCALE) if call.event <= begin]
    end = run.end_of(filled.pass_id)
    if not scales or any(call.event >= end for call in run.marks(kinds.UNSCALE)):
        return None
    call = scales[-1]
    sentence = (
        f"The loss was multiplied by its scale here, and nothing has taken it out of {name} again: call "
        f"scaler.unscale_(optimizer)."
    )
    return Cause("loss_scale", sentence, call.source, (Link("the loss is scaled", call.source, call.event),))


def not_selected(run: Run, name: str, value: Value, row: int) -> Cause:
    """One row is zero: the index never took it."""
    reads = [
        call
        for call in run.graph.calls_reading(value)
        if call.name in ("embedding", "embedding_bag", "__getitem__", "index_select", "gather", "take")
    ]
    source = reads[-1].source if reads else None
    chain = tuple(Link(f"{call.name} reads rows by an index", call.source, call.event) for call in reads[-1:])
    return Cause(
        "not_selected", f"Row {row} of the table is zero: the index never selected it in this run.", source, chain
    )
