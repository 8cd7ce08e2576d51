"""Where autograd stopped to follow a value that went on: detach, no_grad, a plain number, a new leaf and others."""

from __future__ import annotations

from collections import deque

from ..trace import calls as kinds
from ..trace.calls import Call, Held
from ..trace.events import Value
from .answer import Cause, Link
from .run import Run

_WHOLE = ("int", "bool", "uint")


def cut(run: Run, name: str, held: Held | None, value: Value | None) -> Cause | None:
    if value is None:
        return None
    cuts, ends = _cuts(run, value)
    reaching = [call for call in cuts if _goes_on(run, call)]
    chosen = reaching or [call for call in cuts if call.kind == kinds.LEAVES] or cuts
    if not chosen:
        return _inside(run, name, value) or _dead_end(run, name, ends)
    if reaching:
        asked = run.leading_to(_loss_of(run, value)) if len(reaching) > 1 and len(run.losses) > 1 else reaching
        call = min(reaching, key=lambda each: (each not in asked, _harm(run, each), each.id))
    else:
        call = max(chosen, key=_tells)
    found = classified(run, name, call)
    if found is not None and not reaching and found.cause == "detach":
        left = _leaves_after(run, call)
        if left is not None:
            found = Cause("left_torch", _left(name, left), left.source, found.chain)
    return found


def _loss_of(run: Run, value: Value) -> Value:
    """The loss that somebody wants a gradient of: that of the last pass before the last step of an optimizer which
    holds the value, or of the last one at all."""
    steps = [step.event for step in run.steps if value in step.leaves]
    begun = [event for event in run.begun.values() if event.parent is None]
    before = [event for event in begun if not steps or event.index <= steps[-1]]
    return (before or begun)[-1].pass_.loss


def _tells(call: Call) -> tuple:
    return (call.kind != kinds.LEAVES or call.name not in ("item", "__bool__", "__format__"), -call.id)


def _cuts(run: Run, value: Value) -> tuple[list[Call], list[Call]]:
    """The calls at which autograd stopped to follow what comes from a value; and those that nothing read any more."""
    cuts, ends, seen, todo = [], [], {value}, deque([value])
    while todo:
        x = todo.popleft()
        for call in run.graph.calls_reading(x):
            if call.name.endswith("_like") or call.name.startswith("new_"):
                continue  # the shape alone is read
            if not _follows(run, call, x):
                if call not in cuts:
                    cuts.append(call)
                continue
            for out in call.outputs:
                if out not in seen:
                    seen.add(out)
                    todo.append(out)
                    if not run.graph.calls_reading(out) and out not in run.losses:
                        ends.append(call)
    return cuts, ends


def _follows(run: Run, call: Call, x: Value) -> bool:
    if not call.followed or call.kind in (kinds.LEAVES, kinds.NEW_LEAF, kinds.COPY) or _drops(call):
        return False
    if not call.entries or call.kind == kinds.IN_PLACE:
        return True
    return any(x in entry.inputs for entry in call.entries)  # autograd recorded the call, with or without this input


def _drops(call: Call) -> bool:
    return call.name in ("detach", "detach_", "data") or not call.grad


def _goes_on(run: Run, call: Call) -> bool:
    """Whether what a call gave leads to a loss, without autograd."""
    return call in run.leads_to_a_loss


def _harm(run: Run, call: Call) -> int:
    """0: it alone is in the way, 1: what it gives has no gradient at all, 2: another cut follows anyhow."""
    if _would_pass_on(run, call):
        return 0
    return 1 if call.outputs and not any(is_float(x.dtype) for x in call.outputs) else 2


def _would_pass_on(run: Run, call: Call) -> bool:
    """Whether a gradient would come to what a call gave, so that it alone is in the way: not where whole numbers, or
    another cut, follow."""
    seen, todo = set(), [x for x in call.outputs if is_float(x.dtype)]
    while todo:
        x = todo.pop()
        if x in run.losses:
            return True
        if x not in seen:
            seen.add(x)
            readers = (c for c in run.graph.calls_reading(x) if c.kind not in _ENDS and not _drops(c))
            todo += [out for reader in readers for out in reader.outputs if is_float(out.dtype)]
    return False


_ENDS = (kinds.LEAVES, kinds.NEW_LEAF, kinds.COPY)


def _leaves_after(run: Run, call: Call) -> Call | None:
    """A call that takes numbers out of torch, of what this one gave."""
    if call not in run.graph:
        return None
    found = [c for c in run.graph.after(call) if isinstance(c, Call) and c.kind == kinds.LEAVES]
    return min(found, key=lambda c: c.id) if found else None


def _left(name: str, call: Call) -> str:
    way = {"__float__": "float()", "__int__": "int()", "__array__": "NumPy", "__bool__": "bool()"}
    what = way.get(call.name, f"{call.name}()")
    return f"The value of {name} leaves torch here, by {what}: what is computed from a plain number has no gradient."


def classified(run: Run, name: str, call: Call) -> Cause | None:
    """What kind of cut a call is."""
    chain = (
        Link(f"{call.name} is given what comes from {name}, and autograd follows no further", call.source, call.event),
    )
    if call.inside is not None:
        return _of_function(run, name, run.calls[call.inside], chain)
    if call.kind == kinds.LEAVES:
        return Cause("left_torch", _left(name, call), call.source, chain)
    if call.name == "data":
        return Cause("data", f"{name} goes through .data here, which autograd does not follow.", call.source, chain)
    if call.kind == kinds.COPY:
        sentence = f"A copy of what comes from {name} is used, which is another object."
        return Cause("other_object", sentence, call.source, chain)
    if call.kind == kinds.NEW_LEAF:
        what = "nn.Parameter(...)" if call.name == "Parameter" else f"torch.{call.name}(...)"
        sentence = f"What comes from {name} is put into a new leaf here, by {what}: the new leaf has no history."
        return Cause("rewrap", sentence, call.source, chain)
    if call.name in ("detach", "detach_"):
        return Cause("detach", f"What comes from {name} is cut off here, by {call.name}().", call.source, chain)
    if call.kind == kinds.FUNCTION:
        return _of_function(run, name, call, chain)
    if not call.grad:
        return _without_grad(run, name, call, chain)
    if all(x.dtype.startswith(_WHOLE) for x in call.outputs) and call.outputs:
        what = f"{call.name} gives whole numbers or True and False"
        return Cause(
            "not_differentiable", f"{what}, which have no gradient: nothing comes back to {name}.", call.source, chain
        )
    if any(is_float(x.dtype) for x in call.outputs):
        sentence = f"{call.name} is not differentiable in what comes from {name}."
        return Cause("not_differentiable", sentence, call.source, chain)
    return None


def _without_grad(run: Run, name: str, call: Call, chain: tuple) -> Cause:
    begun = _grad_turned_off(run, call)
    if begun is not None and any(name.startswith("checkpoint.") for name in begun.via):
        return Cause("checkpoint", f"{call.name} runs in a checkpoint without gradients.", begun.source, chain)
    source, what = call.source, "while gradients were off"
    if begun is not None:
        source = begun.decorated or begun.source
        what = "inference_mode" if begun.name == "inference_mode" else "torch.no_grad()"
        if begun.name == "_set_grad_enabled" and not {"grad_mode.__init__", "grad_mode.__enter__"} <= {*begun.via}:
            what = "torch.set_grad_enabled(False)"
        what = f"under {what}"
        chain = (Link("gradients are turned off", source, begun.event), *chain)
    sentence = f"{call.name}{_of(call)} computes with {name} {what}, so autograd does not follow it."
    return Cause("no_grad", sentence, source, chain)


def _of(call: Call) -> str:
    return f" in {call.module}" if call.module else ""


def _grad_turned_off(run: Run, call: Call) -> Call | None:
    """The mark that turned gradients off for a call: the last one that was not over by then."""
    open_: list[Call] = []
    for mark in run.marks(kinds.GRAD_MODE):
        if mark.id >= call.id:
            break
        if mark.within != call.within:
            continue
        if mark.name == "inference_mode" or not mark.numbers[0]:
            is_exit = any(name.endswith("__exit__") for name in mark.via)
            if is_exit:
                open_ = open_[:-1]
            else:
                open_.append(mark)
        elif open_:
            open_.pop()
    return open_[-1] if open_ else None


def _of_function(run: Run, name: str, call: Call, chain: tuple) -> Cause:
    if "checkpoint" in call.name.lower():
        sentence = (
            f"The checkpoint (use_reentrant=True) follows only tensors that are arguments of their own and require "
            f"grad, not those in a tuple or list: nothing comes back to {name}."
        )
        return Cause("checkpoint", sentence, call.source, chain)
    how = "" if call.grad else " It is called while gradients are off."
    sentence = f"{call.name}.apply does not follow {name}: its result has no gradient towards it.{how}"
    return Cause("custom_function", sentence, call.source, chain)


def _inside(run: Run, name: str, value: Value) -> Cause | None:
    """Read only in the forward of a custom Function, which autograd does not look into."""
    reads = run.reads_inside.get(value)
    if not reads:
        return None
    call = run.calls[reads[0].inside]
    while call.inside is not None:
        call = run.calls[call.inside]
    link = Link(f"{reads[0].name} reads {name} inside of {call.name}", reads[0].source, reads[0].event)
    return _of_function(run, name, call, (link,))


def _dead_end(run: Run, name: str, ends: list[Call]) -> Cause | None:
    if not ends:
        return None
    call = ends[-1]
    through = run.graph.call_giving(call.inputs[0]) if call.kind == kinds.IN_PLACE and call.inputs else None
    if through is not None and through.name in ("data", "detach"):
        sentence = (
            f"What comes from {name} is written into {through.inputs[0].name} through .{through.name} here, behind "
            f"autograd's back: the numbers arrive, and the gradient does not come back."
        )
        return Cause(through.name, sentence, call.source, (Link(f"{call.name} writes it", call.source, call.event),))
    sentence = f"What is computed from {name} is not part of the loss: nothing uses the result of {call.name}."
    return Cause("unused", sentence, call.source, (Link(f"{call.name} gives it", call.source, call.event),))


def is_float(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat", "complex"))
