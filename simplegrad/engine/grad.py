"""`grad`: seed; then from the last entry to the first: gather, skip, propagate, add up."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from ..ops.shapes import cast
from ..torch_private import below_autograd, forward_mode_is_on
from .errors import OtherTapeError, RawTensorError, WrongCountError, WrongShapeError
from .names import Key
from .operators import value_of
from .rows import inputs_of, outputs_of
from .stale import recorded_before_a_change, refuse_stale
from .tape import HandWritten, Tape, current_tape
from .variable import Variable
from .watched import to_all

MANY_ENTRIES = 100_000
_OF_TORCH = {
    "create_graph": "leave it out, every gradient can be differentiated again.",
    "retain_graph": "leave it out, the tape keeps its entries.",
    "allow_unused": "leave it out, a gradient that is known to be zero is None.",
    "materialize_grads": "write none='zeros'.",
    "grad_outputs": "write grad((y * g).sum(), wanted) for the gradients of y with g coming in.",
}


def grad(
    L: Variable, wanted: Sequence[Variable], *, none: str = "skip", prune: str = "none", **other: object
) -> list[Variable | None]:
    """dL/dx for each wanted x, as Variables of x's shape and dtype to differentiate again; None is a known zero.

    An L that is not a scalar is seeded with ones: the gradient of its sum. `none="skip"` passes over an entry whose
    incoming gradients are all None; `none="zeros"` does without None: zeros are made, and every entry propagates.
    `prune="ahead"` leaves out, by one walk of the tape, whatever no wanted result depends on.
    Raises ChangedInPlaceError, OtherTapeError, RawTensorError, WrongCountError, WrongShapeError; each says which entry
    and which slot.
    """
    for name in other:
        raise TypeError(f"grad(…, {name}=…): {_OF_TORCH.get(name, 'it takes none= and prune= only.')}")
    tape = current_tape()
    wanted = [wanted] if isinstance(wanted, Variable) else listed(wanted)
    check_arguments(tape, L, wanted, none, prune)
    return Pass(tape, L, wanted, none, prune).run()


def backward(entries: Iterable[tuple], dL_d: dict, on: OnVariables) -> None:
    """Fill the gradient table `dL_d`, from the last entry to the first. `on` says what a gradient is: see OnVariables.

    An entry is (propagate, output, left, right, …): keys, or tuples of them, as rows.py has them. Its `propagate` is an
    operator's (`Rule` in operators.py, made of the vjps in ops/), or what somebody appended (`hand_written`).
    """
    add, added, keep = on.add, on.added, on.keep
    for propagate, output, left, right, one, two in entries:
        dL_dr = dL_d.get(output) if output.__class__ is not tuple else several(dL_d, output)  # gather
        if dL_dr is None:
            continue  # skip
        dL_dinputs = propagate(dL_dr, one, two)  # propagate, in the inputs' shapes
        for input, dL_dinput in zip(left if left.__class__ is tuple else (left, right), dL_dinputs):
            if dL_dinput is not None:  # None adds nothing
                total = dL_d.get(input)
                dL_d[input] = dL_dinput if total is None else add(total, dL_dinput, input)  # add up
            if added is not None:
                added(input, dL_dinput, dL_d.get(input))
        if keep is not None and output not in keep:
            dL_d.pop(output, None)  # no entry further back reads it: let go of the memory


def several(dL_d: dict, outputs: tuple) -> list | None:
    """The incoming gradients of a hand-written entry, None for an output that nothing came to; None for none at all."""
    dL_doutputs = [dL_d.get(output) for output in outputs]
    return None if all(dL_doutput is None for dL_doutput in dL_doutputs) else dL_doutputs


class OnVariables:
    """Gradients are Variables, as in the notebook: what `propagate` computes is recorded, to be differentiated again.

    `keep`: keys whose gradient is returned, None for all. `needed`: what something wanted depends on. `early`: entries
    that may read what was changed since, see stale.py. `begun`, `ended`, `added` tell those who watch, None if nobody
    does.
    """

    index = 0  # of the entry that the pass is at, where it goes one by one
    visited = -1  # of the last that something came to

    def __init__(self, tape: Tape, keep: set[Key] | None, needed: set[Key] | None, early: set[int]):
        self.tape = tape
        self.keep = keep
        self.needed = needed
        self.early = early
        self.begun, self.ended, self.added = (
            to_all(tape.observers, name) if tape.observers else None
            for name in ("visit_begun", "visited", "accumulated")
        )

    def add(self, total: Variable, contribution: Variable, key: Key) -> Variable:
        return total + contribution

    def entries(self, rules: list, dL_d: dict) -> Iterable[tuple]:
        """Last first, but for those that are pruned: `rules` has one for each entry. What `propagate` appends
        meanwhile is not of this pass."""
        propagates = self.propagates(rules)
        if self.early or self.ended is not None:
            return self.one_by_one(propagates)
        return self.tape.rows.backwards(propagates)

    def propagates(self, rules: list) -> list[Callable | None]:
        return [
            partial(hand_written, self.tape, index, rule) if rule.__class__ is HandWritten else rule.propagate
            for index, rule in enumerate(rules)
        ]

    def one_by_one(self, propagates: list) -> Iterator[tuple]:
        """The same for whoever is told of each entry, and where one may be stale."""
        for self.index in range(len(propagates) - 1, -1, -1):
            propagate, row = propagates[self.index], self.tape.rows.entry(self.index)
            if propagate is not None:
                yield (partial(self.visit, propagate), *row[1:6])
            if self.ended is not None and self.visited != self.index:
                skipped = "skipped", [None] * len(outputs_of(row))
                self.ended(self.index, *(("pruned", []) if propagate is None else skipped), [])

    def visit(self, propagate: Callable, dL_dr: Variable | list, one: Any, two: Any) -> Sequence[Variable | None]:
        """Propagate, unless what is read is not what it was; and tell those who watch."""
        self.visited = self.index
        if self.index in self.early:
            refuse_stale(self.tape, self.index, self.needed)
        if self.ended is None:
            return propagate(dL_dr, one, two)
        dL_doutputs = dL_dr if dL_dr.__class__ is list else [dL_dr]
        self.begun(self.index, dL_doutputs)
        dL_dinputs = propagate(dL_dr, one, two)
        state = "partial" if any(dL_doutput is None for dL_doutput in dL_doutputs) else "propagated"
        self.ended(self.index, state, dL_doutputs, dL_dinputs)
        return dL_dinputs


class OnZeros(OnVariables):
    """`none="zeros"`: there is no None. Zeros have the shape, the dtype and the device of the output."""

    device: torch.device | None = None  # of the gradient that came last, where the entry itself does not say

    def entries(self, rules: list, dL_d: dict) -> Iterator[tuple]:
        for entry in self.one_by_one(self.propagates(rules)):
            outputs = outputs_of(entry)
            missing = [key for key in outputs if key not in dL_d]
            dL_d.update(zip(missing, self.zeros(missing)))
            self.device = dL_d[outputs[0]].device
            yield entry
            for key in missing:
                dL_d.pop(key, None)

    def zeros(self, missing: list[Key]) -> Iterator[Variable]:
        """For these outputs of the entry that the pass is at."""
        rule, output, _, _, one, two, shape, dtype = self.tape.rows.entry(self.index)
        if output.__class__ is not tuple:
            kept = rule.saved(one, two)
            device = next((x.device for x in kept if isinstance(x, (Variable, torch.Tensor))), self.device)
            output, shape, dtype = (output,), (shape,), ((dtype, device),)
        for key, size, (kind, device) in zip(output, shape, dtype):
            if key in missing:
                yield Variable.constant(torch.zeros(size, dtype=kind, device=device))


class Pass:
    """One call of `grad`, on one tape. `trusts`: that no value was changed since entries read it.

    `put_off`: gives the results without recording how they came, where nobody will ask; None where somebody might.
    A module of its own puts it here, and without it a pass is `run_now`.
    """

    put_off: Callable[[Pass], list[Variable | None] | None] | None = None

    def __init__(self, tape: Tape, L: Variable, wanted: list[Variable], none: str, prune: str):
        self.tape = tape
        self.L = L
        self.wanted = wanted
        self.none = none
        self.prune = prune
        self.trusts = tape.trusts

    def run(self) -> list[Variable | None]:
        results = None if self.put_off is None else self.put_off()
        return self.run_now() if results is None else results

    def run_now(self) -> list[Variable | None]:
        self.tape.catch_up()
        seed = Variable(torch.ones_like(self.L._value))
        seed.shape = self.L.shape  # the same object: shapes are compared by identity first
        seed._leaf = False  # it may be the result, and results are computed
        observers = self.tape.observers
        for observer in observers:
            observer.pass_begun(self.L, seed, self.wanted, self.none, self.prune)
        try:
            dL_d: dict[Key, Variable] = {self.L.key: seed}
            with torch_autograd_below(self.tape, self.L):
                self.go_back(dL_d)
            results = self.results(dL_d)
        except BaseException as error:
            for observer in observers:
                observer.pass_failed(error)
            raise
        for observer in observers:
            observer.pass_ended(dL_d, results)
        return results

    def go_back(self, dL_d: dict[Key, Variable]) -> None:
        rules, keep, needed = self.tape.rows.rules(), None, None
        if self.prune == "ahead":
            keep = {x.key for x in self.wanted}
            needed, rules = self.tape.rows.reached_from(keep)
        early = set() if self.trusts else recorded_before_a_change(self.tape, self.L)
        on = (OnZeros if self.none == "zeros" else OnVariables)(self.tape, keep, needed, early)
        backward(on.entries(rules, dL_d), dL_d, on)

    def results(self, dL_d: dict) -> list:
        """The gradients of what is wanted, in its shape and dtype: an operand of another may have widened them."""
        found = [dL_d.get(x.key) for x in self.wanted]
        if self.none == "zeros":
            found = [
                Variable.constant(torch.zeros_like(x._value)) if g is None else g for x, g in zip(self.wanted, found)
            ]
        return [g if g is None else in_dtype(g, x) for x, g in zip(self.wanted, found)]


def torch_autograd_below(tape: Tape, L: Variable):
    """Past torch's autograd, where nobody can be using it underneath: 0.15 of an operation's 0.9 microseconds."""
    used = tape.has_hand_written or L._value.requires_grad or forward_mode_is_on()
    return nullcontext() if used else below_autograd()


def hand_written(tape: Tape, index: int, rule: HandWritten, dL_doutputs: list, *_: Any) -> Sequence[Variable | None]:
    """What a hand-written `propagate` returns, held to its entry: a Variable of its input's shape, or None, each."""
    outside, tape.propagating = tape.propagating, rule
    try:
        dL_dinputs = rule.propagate_function(list(dL_doutputs))
    except Exception as error:
        error.add_note(f"in the propagate of {said(tape, index)}")
        raise
    finally:
        tape.propagating = outside
    shapes = rule.input_shapes
    if dL_dinputs is None:
        raise WrongCountError(
            f"{said(tape, index)}: propagate returned None, not gradients. Does "
            f"it end without `return`? Return one for each of its {len(shapes)} inputs; [None] says a known zero."
        )
    dL_dinputs = dL_dinputs if isinstance(dL_dinputs, (list, tuple)) else [dL_dinputs]
    if len(dL_dinputs) != len(shapes):
        names = ", ".join(tape.name_of(key) for key in inputs_of(tape.rows.entry(index)))
        raise WrongCountError(
            f"{said(tape, index)}: propagate returned {len(dL_dinputs)} gradients for "
            f"{len(shapes)} inputs ({names}). Return one for each, in that order; None for a known zero."
        )
    for slot, (shape, dL_dinput) in enumerate(zip(shapes, dL_dinputs)):
        if dL_dinput is not None and not (dL_dinput.__class__ is Variable and dL_dinput.shape == shape):
            check_gradient(tape, index, slot, shape, dL_dinput)
    return rule.those_asked(dL_dinputs)


def said(tape: Tape, index: int) -> str:
    return f"entry {index}, '{tape.text(index)}'"


def check_gradient(tape: Tape, index: int, slot: int, shape: Sequence[int], gradient: Variable) -> None:
    name = tape.name_of(inputs_of(tape.rows.entry(index))[slot])
    where = f"{said(tape, index)}, gradient {slot} (of {name})"
    if not isinstance(gradient, Variable):
        raise RawTensorError(
            f"{where}: propagate returned a {type(gradient).__name__}, not a Variable or None. Compute it from the "
            f"incoming gradients with operators on Variables, so that it can be differentiated again."
        )
    if gradient.key not in tape.keys:
        tape.adopt(gradient, where)
    if gradient.shape != shape:
        raise WrongShapeError(
            f"{where}: propagate returned shape {tuple(gradient.shape)}, but {name} has shape {tuple(shape)}. "
            f"Where forward broadcast {name}, undo it: gradient.sum_to_size({', '.join(map(str, shape))})."
        )


def in_dtype(gradient: Variable | torch.Tensor, x: Variable) -> Variable | torch.Tensor:
    """As x has it; but whole numbers have gradients that are not whole."""
    if gradient.shape != x.shape:  # a number that a propagate made: see `undone`
        gradient = gradient.sum_to_size(x.shape)
    dtype, wanted = value_of(gradient).dtype, x._value.dtype
    return cast(gradient, wanted, dtype) if dtype is not wanted and wanted.is_floating_point else gradient


def add_optional(a: Variable | None, b: Variable | None) -> Variable | None:
    """a + b, where None is a known zero and costs nothing."""
    if a is None:
        return b
    if b is None:
        return a
    return a + b


def listed(wanted: object) -> list:
    if isinstance(wanted, Iterable) and not isinstance(wanted, torch.Tensor):
        return list(wanted)
    raise RawTensorError(f"grad: wanted is a {type(wanted).__name__}; expected a list of Variables, grad(L, [a, b]).")


def check_arguments(tape: Tape, L: Variable, wanted: Sequence[Variable], none: str, prune: str) -> None:
    for name, value, known in (("none", none, ("skip", "zeros")), ("prune", prune, ("none", "ahead"))):
        if value not in known:
            raise ValueError(f"grad(…, {name}={value!r}): expected {known[0]!r} or {known[1]!r}.")
    for place, x in enumerate((L, *wanted)):
        what = f"wanted[{place - 1}]" if place else "L"
        if isinstance(x, Variable) and tape.owns(x.key):
            if x.key not in tape.keys and x.computed:
                raise OtherTapeError(
                    f"grad: {what}, of shape {tuple(x.shape)}, was computed before this tape was reset, which "
                    f"forgot how it was computed and used. Compute it again, or call grad before reset_tape()."
                )
            continue
        if not isinstance(x, Variable):
            raise RawTensorError(f"grad: {what} is a {type(x).__name__}, not a Variable.")
        raise OtherTapeError(
            f"grad: {what} ('{x.name}') was made on another tape, and this tape does not know how it was used. "
            f"Make it, compute with it and call grad within one tape: with Tape(): …"
        )
    warn_of_length(tape)


def warn_of_length(tape: Tape) -> None:
    """Once, of a tape that grows for ever: every pass walks all of it, and records as much again."""
    if len(tape.rows) > MANY_ENTRIES and not tape.warned:
        tape.warned = True
        warnings.warn(
            f"This tape has {len(tape.rows):,} entries, and every pass walks all of them. In a loop, give each step a "
            f"tape of its own, `with Tape(): …`, and carry values over as leaves, `Variable.constant(x.value)`; or "
            f"walk only what is needed: grad(…, prune='ahead').",
            stacklevel=4,
        )
