"""Why nothing came to a gradient: where autograd stopped to follow, although the values went on."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx

from ..trace import calls as kinds
from ..trace.calls import Call, Held
from ..trace.events import Entry, Source, Value, Visited
from .answer import UNKNOWN, Cause, Link
from .cut import cut, is_float
from .run import Run


def why_none(run: Run, name: str, held: Held | None, value: Value | None) -> Cause:
    """The cause of a gradient that is None."""
    if not run.begun:
        return Cause("not_asked", f"No backward pass ran, so nothing filled the gradient of {name}.")
    if held is not None and held.is_leaf:
        value = run.last_read(value)
    for rule in (not_a_leaf, cleared, not_filled, frozen, turned_on_late, compiled, never_read, cut):
        found = rule(run, name, held, value)
        if found is not None:
            return found
    return Cause(UNKNOWN, f"The gradient of {name} is None; this trace does not show why.")


def not_a_leaf(run: Run, name: str, held: Held | None, value: Value | None) -> Cause | None:
    """A result, whose gradient is thrown away; or a tensor that no gradient is asked for."""
    if held is None:
        made = run.graph.call_giving(value) if value is not None else None
        if made is None or not made.followed:
            return None
        source = made.source
    elif held.is_leaf or held.retains:
        if held.kind in ("buffer", "attribute", "listed") and not held.requires_grad and is_float(held.dtype):
            what = "a buffer" if held.kind == "buffer" else "a plain tensor"
            sentence = f"{name} is {what}, not a parameter: it does not require grad, so nothing computes its gradient."
            if not _was_frozen(run, value):
                return Cause("not_a_parameter", sentence, held.made_at)
        return None
    else:
        made = run.graph.call_giving(value) if value is not None else None
        source = made.source if made is not None and made.source is not None else held.made_at
    made_by = f" of {made.name}" if made is not None else ""
    sentence = (
        f"{name} is a result{made_by}, not a leaf (non-leaf): autograd keeps no gradient of it. Call retain_grad() on "
        f"{name} before the pass, or make it a parameter."
    )
    return Cause("non_leaf", sentence, source)


def _was_frozen(run: Run, value: Value | None) -> bool:
    return any(value in call.inputs for call in run.marks(kinds.REQUIRES_GRAD))


def cleared(run: Run, name: str, held: Held | None, value: Value | None) -> Cause | None:
    """A pass brought a gradient, and it was set to None afterwards, or by a hook."""
    filled = [f for f in run.filled.get(value, ()) if f.came is not None and f.accumulates]
    if not filled:
        return None
    last = filled[-1]
    came = Link(f"the pass brings {name} a gradient{_norm(last.came)}", None, run.end_of(last.pass_id))
    inside = [c for c in run.marks(kinds.GRAD_SET) if value in c.leaves and c.pass_id == last.pass_id and c.within]
    if inside or last.after is None and not last.after_kind:
        hook = inside[-1] if inside else None
        source = hook.source if hook is not None else held.hooks[-1] if held is not None and held.hooks else None
        sentence = f"A hook sets the gradient of {name} to None while the pass still runs."
        return Cause("hook", sentence, source, (came,))
    after = [
        c
        for c in run.marks(kinds.GRAD_SET, kinds.ZERO_GRAD)
        if value in c.leaves and c.event >= run.end_of(last.pass_id)
    ]
    if not after:
        return None
    call = after[-1]
    what = f"{call.kind}()" if call.kind == kinds.ZERO_GRAD else "an assignment to .grad"
    sentence = f"The gradient of {name} was computed, and then cleared after backward, by {what}."
    return Cause("zeroed", sentence, call.source, (came, Link(f"{what} clears it", call.source, call.event)))


def _norm(value: Value | None) -> str:
    return "" if value is None or value.norm is None else f" of norm {value.norm:.4g}"


def not_filled(run: Run, name: str, held: Held | None, value: Value | None) -> Cause | None:
    """A pass could reach it, and left its .grad alone, or lost the gradient on the way."""
    reached = run.filled.get(value, ())
    if not reached:
        return None
    last = reached[-1]
    begun = run.pass_event(last.pass_id)
    if last.came is not None:
        sentence = f"{begun.run.title} computes the gradient of {name} and returns it: autograd.grad fills no .grad."
        return Cause("not_asked", sentence, begun.source)
    if begun.run.wanted and value not in begun.run.wanted:
        what = "backward(inputs=...)" if last.accumulates else "autograd.grad"
        sentence = f"The pass was not asked for {name}: {what} names other tensors only."
        return Cause("not_asked", sentence, begun.source)
    for filled in reversed(reached):
        lost = lost_in_backward(run, name, value, filled.pass_id)
        if lost is not None:
            return lost
    return None


def lost_in_backward(run: Run, name: str, value: Value, pass_id: int) -> Cause | None:
    """The entry whose backward was given a gradient and returned None towards this leaf."""
    for entry in _entries_towards(run, value):
        visit = run.visit(pass_id, entry)
        if visit is None or not any(visit.incoming) or None not in _passed_on(visit):
            continue
        towards = [slot for slot, x in enumerate(entry.inputs) if leads_to(run, x, value)]
        if towards and all(slot < len(visit.outgoing) and visit.outgoing[slot] is None for slot in towards):
            return _returned_none(run, name, entry, towards[0], visit)
    return None


def _passed_on(visit: Visited) -> tuple:
    return visit.outgoing[: len(visit.entry.inputs)]


def _returned_none(run: Run, name: str, entry: Entry, slot: int, visit: Visited) -> Cause | None:
    call = run.call_of(entry)
    chain = (Link(f"{entry.operator} is given a gradient and passes on None", entry.source, visit.index),)
    if entry.aggregate and "checkpoint" in entry.operator.lower():
        return Cause("checkpoint", f"The checkpointed block passes on no gradient to {name}.", entry.source, chain)
    if entry.aggregate:
        what = entry.inputs[slot].name
        sentence = f"The backward of {entry.operator} returns None for {what}, so nothing comes to {name}."
        return Cause("custom_function", sentence, entry.returns_at or entry.propagate_source, chain)
    source = call.source if call is not None else entry.source
    return Cause(UNKNOWN, f"{entry.operator} passes on no gradient towards {name}.", source, chain)


def _entries_towards(run: Run, value: Value) -> Iterator[Entry]:
    """Entries from which the leaf can be reached, those nearest to it first, as far as somebody asks for more."""
    if value in run.graph:
        layers = nx.bfs_layers(run.graph.tape, value)
        yield from (node for layer in layers for node in layer if isinstance(node, Entry))


def leads_to(run: Run, x: Value, leaf: Value) -> bool:
    """Whether a gradient of x would be passed on to the leaf."""
    return x in run.graph and leaf in run.graph and nx.has_path(run.graph.tape, leaf, x)


def frozen(run: Run, name: str, held: Held | None, value: Value | None) -> Cause | None:
    """requires_grad is off, or was when it was used."""
    calls = [c for c in run.marks(kinds.REQUIRES_GRAD) if value is not None and value in c.inputs]
    off = [c for c in calls if _turns_off(c)]
    if held is not None and (held.requires_grad and not off):
        return None
    if held is None and not off:
        return None
    source = off[-1].source if off else held.frozen_at
    sentence = f"requires_grad of {name} is off, so autograd does not follow it: {name} is frozen."
    event = off[-1].event if off else None
    return Cause("frozen", sentence, source, (Link("requires_grad is turned off", source, event),) if source else ())


def turned_on_late(run: Run, name: str, held: Held | None, value: Value | None) -> Cause | None:
    """requires_grad was off while it was read, and is on since."""
    on = [c for c in run.marks(kinds.REQUIRES_GRAD) if value is not None and value in c.inputs and not _turns_off(c)]
    reads = _reads(run, value) if on else []
    if not reads or any(call.id > on[0].id or call.followed and value in _read_by(call) for call in reads):
        return None
    sentence = (
        f"requires_grad of {name} was off when {reads[0].name} read it, and is turned on only afterwards: {name} was "
        f"frozen in the graph that the pass walks."
    )
    link = Link(f"{reads[0].name} reads {name}, which does not require grad yet", reads[0].source, reads[0].event)
    return Cause("frozen", sentence, on[0].source, (link, Link("it is turned on", on[0].source, on[0].event)))


def _read_by(call: Call) -> set[Value]:
    return {x for entry in call.entries for x in entry.inputs}


def _turns_off(call: Call) -> bool:
    return bool(call.numbers) and not call.numbers[0]


def compiled(run: Run, name: str, held: Held | None, value: Value | None) -> Cause | None:
    """What nothing is seen to read may have been read where nobody could see it."""
    regions = list(run.marks(kinds.COMPILED))
    if not regions or (value is not None and _reads(run, value)):
        return None
    sentence = (
        f"Code of torch.compile ran, and what it does inside is not seen: why the gradient of {name} is None cannot be "
        f"told from this trace. Record the model as it is without torch.compile."
    )
    chain = (Link("code of torch.compile runs", regions[-1].source, regions[-1].event),)
    return Cause(UNKNOWN, sentence, regions[-1].source, chain)


def never_read(run: Run, name: str, held: Held | None, value: Value | None) -> Cause | None:
    """No operation of the run read it: not used, or another object was."""
    if value is not None and any(not _is_aside(call, value) for call in _reads(run, value)):
        return None
    for copied in _copies(run, value):
        sentence = f"The run uses a copy of {name}, which is another object; the gradient went to the copy."
        return Cause("other_object", sentence, copied.source, (Link("it is copied", copied.source, copied.event),))
    replaced = [c for c in run.marks(kinds.ATTRIBUTE) if value is not None and value in c.outputs]
    for call in replaced:
        used = [old for old in call.inputs if _reads(run, old) and old is not value and run.filled.get(old)]
        if used:
            tied = ", which is still tied to another name" if id(used[0]) in run.objects_held else ""
            sentence = (
                f"{call.name} was given a new object here, and the run uses the previous one{tied}: the gradient goes "
                f"to that one, and not to {name}."
            )
            return Cause("other_object", sentence, call.source, (Link("it is replaced", call.source, call.event),))
    twin = _twin_that_ran(run, held)
    if twin is not None:
        sentence = (
            f"Another model with parameters of the same shapes ran here, and the gradients went to that one: none of "
            f"the parameters of the model with {name} was read."
        )
        return Cause("other_object", sentence, twin.source, (Link("another object runs", twin.source, twin.event),))
    instead = _stood_in_for(run, held)
    if instead is not None:
        call, source = instead
        sentence = (
            f"{held.path.rpartition('.')[0] or 'the model'} ran with another tensor in the place of {name} "
            f"(functional_call does that): the gradient goes to that one."
        )
        link = Link(f"{call.name} reads another tensor of the same shape", call.source, call.event)
        return Cause("other_object", sentence, source, (link,))
    sentence = f"No operation of this run reads {name}, so no gradient can come to it."
    source = held.made_at if held is not None else None
    if held is not None and held.used_at:
        source, where = _would_use(run, held)
        sentence += where
    return Cause("unused", sentence, source)


def _would_use(run: Run, held: Held) -> tuple[Source, str]:
    """The line to look at where the module's own code would use what nothing read; what is said of it."""
    used, branch = held.used_at[-1], held.branch_at[-1]
    if branch != used:
        return branch, f" Line {used[1]} would, in a branch, or a round of a loop, that did not run."
    if any(call.source == used for call in run.calls):
        instead = _ran_instead(run, held)
        if instead is not None and instead.source is not None:
            return (
                instead.source,
                f" Its module does not run; line {instead.source[1]} runs {instead.module}, which is like it.",
            )
        return used, f" Line {used[1]} ran for others of its kind, and not for this one."
    return used, f" Line {used[1]} would, and did not run."


def _ran_instead(run: Run, held: Held) -> Call | None:
    """The last run of a module beside the outermost one around a parameter that did not run, and like that: with
    parameters of the same names and shapes."""
    parts = held.path.split(".")[:-1]
    paths = (".".join(parts[: n + 1]) for n in range(len(parts)))
    path = next((path for path in paths if path not in run.modules_run), None)
    if path is None:
        return None
    beside = [p for p in run.modules_run if p != path and p.rpartition(".")[0] == path.rpartition(".")[0]]
    like = [p for p in beside if _shapes_below(run, p) == _shapes_below(run, path)]
    return run.modules_run[like[0]][-1] if len(like) == 1 else None


def _shapes_below(run: Run, path: str) -> dict[str, tuple[int, ...]]:
    return {p.removeprefix(path): held.shape for p, held in run.held.items() if p.startswith(f"{path}.")}


def _twin_that_ran(run: Run, held: Held | None) -> Call | None:
    """Where the run used a copy of the whole model, made before it: nothing of this one was read, and a pass filled
    leaves of just the same shapes that the model does not hold."""
    own = [each for each in run.held.values() if each.kind == "parameter"]
    if held not in own or any(each.value is not None and _reads(run, each.value) for each in own):
        return None
    others = [x for x, filled in run.filled.items() if any(f.came for f in filled) and id(x) not in run.objects_held]
    if sorted(tuple(x.shape) for x in others) != sorted(each.shape for each in own if each.requires_grad):
        return None
    reading = min((call.id for x in others for call in _reads(run, x)), default=0)
    begun = [mark for mark in run.marks(kinds.MODULE) if mark.id < reading]
    return begun[0] if begun else None


def _stood_in_for(run: Run, held: Held | None) -> tuple[Call, tuple | None] | None:
    """An operation of the parameter's own module that reads a leaf of the same shape which the model does not hold, a
    pass having reached that; and the line that ran the model so."""
    if held is None or held.kind != "parameter":
        return None
    own = held.path.rpartition(".")[0]
    for call in run.flowing_in.get(own, ()):
        others = [x for x in call.inputs if tuple(x.shape) == held.shape and id(x) not in run.objects_held]
        if any(run.filled.get(x) for x in others):
            begun = [m for m in run.marks(kinds.MODULE) if m.id < call.id and _is_around(m.module, own)]
            outermost = min(reversed(begun), key=lambda m: len(m.module), default=call)
            return call, outermost.source
    return None


def _is_around(module: str, path: str) -> bool:
    return not module or path == module or path.startswith(f"{module}.")


def _reads(run: Run, value: Value) -> list[Call]:
    return run.graph.calls_reading(value) + run.reads_inside.get(value, [])


def _is_aside(call: Call, value: Value) -> bool:
    """It copies a value, or gives it other numbers, as where a layer is made: nothing is computed with it."""
    is_made = call.kind == kinds.IN_PLACE or (call.name.endswith("_") and call.name[:-1].endswith(_MAKES))
    return call.kind == kinds.COPY or _is_part_of_copy(call) or (is_made and call.inputs[:1] == (value,))


_MAKES = ("uniform", "normal", "zeros", "ones", "constant", "eye", "dirac", "orthogonal", "sparse")


def _is_part_of_copy(call: Call) -> bool:
    return any(name.endswith(("deepcopy", "__deepcopy__")) for name in call.via)


def _copies(run: Run, value: Value | None) -> list[Call]:
    """Copies of a value that a pass reached."""
    if value is None or value not in run.graph:
        return []
    found = []
    for thing in run.graph.after(value):
        if isinstance(thing, Call) and thing.kind == kinds.COPY and any(run.filled.get(x) for x in thing.outputs):
            found.append(thing)
    return sorted(found, key=lambda call: call.id)
