"""Why a gradient is zero, far too small or far too large: where on its way back it became so."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from ..trace import calls as kinds
from ..trace.calls import Call, Filled, Held
from ..trace.events import Accumulated, Entry, Value, Visited
from .answer import UNKNOWN, Cause, Link
from .changed import changed_after
from .factors import behind
from .families import FLAT, PRODUCT, SATURATING, SELECTING, SHAPING
from .filled import by_module_hook, contributions, last_filled, norm_of
from .run import Run
from .shrunk import where_it_changed
from .unchanged import one_element, shift, sum_of_one
from .way import incoming, way_from

MOST_CULPRITS = 8  # that are kept for a value, the nearest first


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
            visit = run.visit(pass_id, event.entry)
            if visit is None or (event.entry, event.slot) in seen:
                continue
            seen.add((event.entry, event.slot))
            yield event.entry, event, visit, x
            todo += event.entry.outputs


def where_it_vanished(run: Run, name: str, value: Value, filled: Filled) -> Cause | None:
    """What the entries that were given something and passed on zeros say of it."""
    pass_id = filled.pass_id
    culprits = [event for _, event in _culprits(run, pass_id, value)]
    for event in culprits:
        if norm_of(event.contribution) != 0:
            cancelled = _cancelled(run, name, event.value, pass_id)
            return cancelled or _hook_between(run, name, event.value, pass_id, event)
    for event in culprits:
        visit = run.visit(pass_id, event.entry)
        found = _zeroing(run, name, event, visit, incoming(visit)[0], pass_id)
        if found is not None:
            return found
    return None


def _culprits(run: Run, pass_id: int, value: Value) -> list[tuple[int, Accumulated]]:
    """The nearest contributions above a value behind which there are only zeros, with their distances. What is found
    for a value on the way is kept, so that all parameters below it share it."""
    known, begun, todo = run.vanished[pass_id], {}, [value]
    while todo:
        x = todo[-1]
        if x not in known and x not in begun:
            begun[x] = _parted(run, pass_id, x)
            todo += [out for out in begun[x][1] if out not in known and out not in begun]
            continue  # to what is above it, if there is anything, else to itself again
        todo.pop()
        if x not in known:
            here, above = begun[x]
            there = [(far + 1, event) for out in above for far, event in known.get(out, ())]
            known[x] = sorted([(0, event) for event in here] + there, key=lambda each: each[0])[:MOST_CULPRITS]
    return known[value]


def _parted(run: Run, pass_id: int, x: Value) -> tuple[list[Accumulated], list[Value]]:
    """What came to x, as far as its numbers are known: the contributions of entries that were given no zeros, or gave
    none; and the outputs of those that passed on the zeros which they were given."""
    here, above = [], []
    for event in contributions(run, pass_id, x):
        visit, gave = run.visit(pass_id, event.entry), norm_of(event.contribution)
        came = incoming(visit)[0] if visit is not None and gave == 0 else None
        if gave == 0 and came == 0:
            above += event.entry.outputs
        elif visit is not None and (gave or came is not None):
            here.append(event)
    return here, above


def _cancelled(run: Run, name: str, x: Value, pass_id: int) -> Cause | None:
    """Several gradients came to x, and no hook is known that could have made zeros of them: they cancel out, as where a
    loss is the difference of two uses that a shift moves alike."""
    came = [event for event in contributions(run, pass_id, x) if norm_of(event.contribution)]
    if len(came) < 2 or run.in_hooks.get(pass_id) or any(x in call.inputs for call in run.marks(kinds.HOOK)):
        return None
    sentence = f"{len(came)} gradients come to {x.name} and cancel out: the loss does not change with it."
    chain = tuple(
        Link(
            f"{event.entry.operator} gives one of norm {norm_of(event.contribution):.4g}",
            run.line_of(event.entry),
            event.index,
        )
        for event in came[:4]
    )
    return Cause("flat", sentence, run.line_of(came[-1].entry), chain, meant=True)


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
    way = way_from(run, pass_id, event.value)
    shifted = shift(run, name, way) if way is not None else None
    if shifted is not None:
        return shifted
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
    unchanged = sum_of_one(run, name, entry) or one_element(run, name, entry)
    if unchanged is not None:
        return replace(unchanged, chain=chain)
    if operator in SATURATING:
        return Cause(
            "saturated", f"{shown} is saturated: its slope is zero to rounding, so {name} gets zeros.", source, chain
        )
    if operator in PRODUCT:
        return _zero_factor(run, name, entry, call, shown, source, chain)
    return None


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
    factor, meant = "a factor that is zero", False
    if call is not None:
        zero = [x for x in call.inputs if norm_of(x) == 0]
        if 0.0 in call.numbers:
            factor = "the number 0"
        elif zero:
            factor = f"{zero[0].name}, which is all zeros"
            given = run.graph.call_giving(zero[0])
            if given is not None:
                chain = (Link(f"{given.name} gives the zeros", given.source, given.event), *chain)
            begins = behind(run, zero[0])
            meant = begins is not None
            if begins is not None:
                factor += f": {begins.name} begins at zero, and gets a gradient that moves it"
    return Cause("zero_factor", f"{shown} multiplies what comes from {name} by {factor}.", source, chain, meant)


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
