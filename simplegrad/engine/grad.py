"""`grad`: walk the tape backwards, propagate, add up."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .broadcast import added, fitted, gradients
from .deferred import AsItCame, defer, propagate_tensors
from .errors import OtherTapeError, RawTensorError, WrongCountError, WrongShapeError
from .operators import cast, value_of
from .speed import collector_paused, torch_autograd_below
from .tape import HandWritten, Key, Tape, current_tape, output_keys
from .variable import Variable


def grad(L: Variable, wanted: Sequence[Variable], *, none: str = "skip", prune: str = "none") -> list[Variable | None]:
    """dL/dx for each wanted x, as Variables of x's shape and dtype to differentiate again; None is a known zero.

    An L that is not a scalar is seeded with ones: the gradient of its sum. `none="skip"` passes over an entry whose
    incoming gradients are all None; `none="zeros"` does without None: zeros are made, and every entry propagates.
    `prune="ahead"` leaves out, by one walk of the tape, whatever no wanted result depends on.
    A pass over a pass is deferred: what it records is computed when somebody asks, and then from the tensors as they
    are; do not change those in place before (see deferred.py). Its results are computed at once.
    Raises OtherTapeError, RawTensorError, WrongCountError, WrongShapeError; each says which entry and which slot.
    """
    wanted = [wanted] if isinstance(wanted, Variable) else list(wanted)
    tape = current_tape()
    check_arguments(tape, L, wanted, none, prune)
    tape.settle()
    run = Pass(L, wanted, none, prune)
    if tape.may_defer and none == "skip" and not tape.hand_written and all(o.told_late for o in tape.observers):
        return run.deferred(tape)
    tape.may_defer = not tape.was_settled
    return run.run(tape)


class Pass:
    """One call of `grad`, on one tape."""

    def __init__(self, L: Variable, wanted: list[Variable], none: str, prune: str):
        self.L = L
        self.wanted = wanted
        self.none = none
        self.prune = prune

    def run(self, tape: Tape) -> list[Variable | None]:
        L, wanted = self.L, self.wanted
        seed = Variable(torch.ones_like(L.value))
        seed.shape = L.shape  # the same object: shapes are compared by identity first
        for observer in tape.observers:
            observer.pass_begun(L, seed, wanted, self.none, self.prune)

        dL_d: dict[Key, Variable] = {L.key: seed}
        zero = seed if self.none == "zeros" else None
        with collector_paused(kept=bool(tape.observers)), torch_autograd_below(tape, L):
            propagate_backward(tape, dL_d, zero, *self.plan(tape))

        results = self.results(dL_d, tape)
        if zero is not None:
            results = [zeros_like(x.value, x.shape) if g is None else g for x, g in zip(wanted, results)]
        for observer in tape.observers:
            observer.pass_ended(dL_d, results)
        return results

    def plan(self, tape: Tape) -> tuple:
        """The entries to go through and, when pruning ahead, the keys that are needed, and those to keep to the end."""
        if self.prune == "none":
            return range(len(tape.entries)), None, None
        needed, plan = reached_from(self.wanted, tape)
        return plan, needed, {x.key for x in self.wanted}

    def results(self, dL_d: dict, tape: Tape) -> list:
        """The gradients of what is wanted, in its shape and its dtype: an operand of another may have widened them."""
        found = gradients(dL_d, [x.key for x in self.wanted], tape.broadcast)
        return [g if g is None else in_dtype(g, x.value) for x, g in zip(self.wanted, found)]

    def deferred(self, tape: Tape) -> list[Variable | None]:
        """The results alone; what this pass records is made up should anybody ask (see deferred.py)."""
        needed, plan = reached_from(self.wanted, tape)
        dL_d = {self.L.key: torch.ones_like(self.L.value)}
        came = [] if tape.observers else None
        try:
            with collector_paused(kept=bool(tape.observers)), torch_autograd_below(tape, self.L):
                propagate_tensors(tape, dL_d, plan, needed, {x.key for x in self.wanted}, came)
                results = self.results(dL_d, tape)
        except Exception:
            return self.run(tape)  # which says where, and to whoever watches
        return defer(tape, self, results, None if came is None else AsItCame(needed, came))


def propagate_backward(
    tape: Tape,
    dL_d: dict[Key, Variable],
    zero: Variable | None,
    plan: Sequence[int],
    needed: set[Key] | None,
    keep: set[Key] | None,
) -> None:
    """The backward pass: fill the gradient table `dL_d`, from the last entry of `plan` to the first.

    Entries that propagate appends are not of this pass. What is plain (an operator's own rule, and a gradient that came
    in) is done right here, for speed; `visited` does the rest, and the same.
    """
    entries, observers, broadcast = tape.entries, tape.observers, tape.broadcast
    last = len(entries)
    for index in reversed(plan):
        rule, inputs, output, saved, _ = entries[index]
        dL_dr = dL_d.get(output)
        if observers:
            last = tell_pruned(observers, last, index)
        if dL_dr is None:
            dL_dinputs = visited(tape, dL_d, zero, index, needed)
        else:
            if broadcast:
                dL_dr = fitted(broadcast, dL_dr, output)
            for observer in observers:
                observer.visit_begun(index, [dL_dr])
            if len(inputs) == 1:
                dL_dinputs = (rule.partials[0](dL_dr, *saved),)
            elif len(inputs) == 2 and (needed is None or needed.issuperset(inputs)):
                left, right = rule.partials
                dL_dinputs = (left(dL_dr, *saved), right(dL_dr, *saved))
            else:
                dL_dinputs = partials(rule, inputs, saved, dL_dr, needed)
            for observer in observers:
                observer.visited(index, "propagated", [dL_dr], dL_dinputs)

        for key, dL_dinput in zip(inputs, dL_dinputs):
            if dL_dinput is None:
                pass
            elif key not in dL_d:
                dL_d[key] = dL_dinput
            else:
                dL_d[key] = added(broadcast, dL_d[key], dL_dinput, key) if broadcast else dL_d[key] + dL_dinput
            for observer in observers:
                observer.accumulated(key, dL_dinput, dL_d.get(key))
        if needed is not None and output not in keep:  # no entry further back reads it: let go of the memory
            dL_d.pop(output, None)
    tell_pruned(observers, last, -1)


def visited(
    tape: Tape, dL_d: dict[Key, Variable], zero: Variable | None, index: int, needed: set[Key] | None
) -> Sequence[Variable | None]:
    """Propagate through one entry, or pass over it, and tell the observers. Nothing is returned of a skipped one."""
    rule, inputs, _, saved, _ = tape.entries[index]
    dL_doutputs = gathered(tape, dL_d, zero, index)
    dL_dinputs: Sequence[Variable | None] = ()
    if dL_doutputs.count(None) == len(dL_doutputs):
        state = "skipped"  # zeros in, zeros out: nothing to compute
    else:
        state = "partial" if None in dL_doutputs else "propagated"
        for observer in tape.observers:
            observer.visit_begun(index, dL_doutputs)
        if rule.__class__ is HandWritten:
            dL_dinputs = hand_written(tape, index, dL_doutputs, needed)
        else:
            dL_dinputs = partials(rule, inputs, saved, dL_doutputs[0], needed)
    for observer in tape.observers:
        observer.visited(index, state, dL_doutputs, dL_dinputs)
    return dL_dinputs


def tell_pruned(observers: tuple, last: int, index: int) -> int:
    """Tell of the entries between two visited ones that the pass left out ahead."""
    if index < last - 1:
        for observer in observers:
            for pruned in range(last - 1, index, -1):
                observer.visited(pruned, "pruned", [], [])
    return index


def gathered(tape: Tape, dL_d: dict[Key, Variable], zero: Variable | None, index: int) -> list[Variable | None]:
    """The incoming gradients of an entry, in the shapes of its outputs."""
    rule, _, _, _, shapes = entry = tape.entries[index]
    dL_doutputs = gradients(dL_d, output_keys(entry), tape.broadcast)
    if zero is not None:
        shapes = shapes if rule.__class__ is HandWritten else (shapes,)
        dL_doutputs = [zeros_like(zero.value, shape) if g is None else g for g, shape in zip(dL_doutputs, shapes)]
    return dL_doutputs


def partials(rule, inputs: tuple, saved: tuple, dL_dr: Variable, needed: set | None) -> list[Variable | None]:
    """The rule of one of our operators: a partial for each input, where something wanted depends on that."""
    if needed is None:
        return [partial(dL_dr, *saved) for partial in rule.partials]
    return [partial(dL_dr, *saved) if key in needed else None for key, partial in zip(inputs, rule.partials)]


def hand_written(tape: Tape, index: int, dL_doutputs: list, needed: set | None) -> Sequence[Variable | None]:
    """What a hand-written `propagate` returns, held to its entry: a Variable of its input's shape, or None, each."""
    rule, inputs = tape.entries[index][:2]
    try:
        dL_dinputs = rule.propagate_function(list(dL_doutputs))
    except Exception as error:
        error.add_note(f"in the propagate of entry {index}, '{tape.text(tape.entries[index])}'")
        raise
    if dL_dinputs is None:
        raise WrongCountError(
            f"entry {index}, '{tape.text(tape.entries[index])}': propagate returned None, not gradients. Does "
            f"it end without `return`? Return one for each of its {len(inputs)} inputs; [None] says a known zero."
        )
    dL_dinputs = dL_dinputs if isinstance(dL_dinputs, (list, tuple)) else [dL_dinputs]
    if len(dL_dinputs) != len(inputs):
        names = ", ".join(tape.name_of(key) for key in inputs)
        raise WrongCountError(
            f"entry {index}, '{tape.text(tape.entries[index])}': propagate returned {len(dL_dinputs)} gradients for "
            f"{len(inputs)} inputs ({names}). Return one for each, in that order; None for a known zero."
        )
    for slot, (key, shape, dL_dinput) in enumerate(zip(inputs, rule.input_shapes, dL_dinputs)):
        if dL_dinput is not None and not (dL_dinput.__class__ is Variable and dL_dinput.shape == shape):
            name = tape.name_of(key)
            where = f"entry {index}, '{tape.text(tape.entries[index])}', gradient {slot} (of {name})"
            check_gradient(where, name, shape, dL_dinput)
    if needed is None:
        return dL_dinputs
    return [dL_dinput if key in needed else None for key, dL_dinput in zip(inputs, dL_dinputs)]


def check_gradient(where: str, name: str, shape: Sequence[int], gradient: Variable) -> None:
    if not isinstance(gradient, Variable):
        raise RawTensorError(
            f"{where}: propagate returned a {type(gradient).__name__}, not a Variable or None. Compute it from the "
            f"incoming gradients with operators on Variables, so that it can be differentiated again."
        )
    if gradient.shape != shape:
        raise WrongShapeError(
            f"{where}: propagate returned shape {tuple(gradient.shape)}, but {name} has shape {tuple(shape)}. "
            f"Where forward broadcast {name}, undo it: gradient.sum_to_size({', '.join(map(str, shape))})."
        )


def reached_from(wanted: Sequence[Variable], tape: Tape) -> tuple[set[Key], list[int]]:
    """The wanted Variables and all that was computed from them, and the entries that did, by one walk of the tape."""
    needed, plan = {x.key for x in wanted}, []
    for index, (_, inputs, output, _, _) in enumerate(tape.entries):
        if not needed.isdisjoint(inputs):
            plan.append(index)
            needed.update(output) if output.__class__ is tuple else needed.add(output)
    return needed, plan


def in_dtype(gradient: Variable | torch.Tensor, x: torch.Tensor) -> Variable | torch.Tensor:
    """As x has it; but whole numbers have gradients that are not whole."""
    same = value_of(gradient).dtype is x.dtype or not x.is_floating_point()
    return gradient if same else cast(gradient, x.dtype)


def zeros_like(like: torch.Tensor, shape: Sequence[int]) -> Variable:
    return Variable.constant(like.new_zeros(shape))


def add_optional(a: Variable | None, b: Variable | None) -> Variable | None:
    """a + b, where None is a known zero and costs nothing."""
    if a is None:
        return b
    if b is None:
        return a
    return a + b


def check_arguments(tape: Tape, L: Variable, wanted: Sequence[Variable], none: str, prune: str) -> None:
    for name, value, known in (("none", none, ("skip", "zeros")), ("prune", prune, ("none", "ahead"))):
        if value not in known:
            raise ValueError(f"grad(…, {name}={value!r}): expected {known[0]!r} or {known[1]!r}.")
    for place, x in enumerate((L, *wanted)):
        if isinstance(x, Variable) and tape.owns(x.key):
            continue
        what = f"wanted[{place - 1}]" if place else "L"
        if not isinstance(x, Variable):
            raise RawTensorError(f"grad: {what} is a {type(x).__name__}, not a Variable.")
        raise OtherTapeError(
            f"grad: {what} ('{x.name}') was made on another tape, and this tape does not know how it was used. "
            f"Make it, compute with it and call grad within one tape: with Tape(): …"
        )
