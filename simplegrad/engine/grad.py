"""`grad`: seed; then from the last entry to the first: gather, skip, propagate, add up."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import torch

from ..ops.shapes import cast
from ..torch_private import below_autograd, forward_mode_is_on
from .errors import OtherTapeError, RawTensorError, WrongCountError, WrongShapeError
from .names import Key
from .operators import value_of
from .rows import Rows
from .stale import recorded_before_a_change, refuse_stale
from .tape import HandWritten, Tape, current_tape
from .variable import Variable
from .watched import Told

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
    """Fill the gradient table `dL_d`, from the last entry to the first. `on` says how an entry propagates.

    What `propagate` appends meanwhile is not of this pass.
    """
    propagate, keep = on.rule(), on.keep
    added = None if on.tell is None else on.tell.added
    for entry in entries:
        output, left = entry[1], entry[2]  # keys, or tuples of them: rows.py has the parts of an entry
        dL_dr = dL_d.get(output) if output.__class__ is not tuple else several(dL_d, output)  # gather
        if dL_dr is None:
            dL_dr = on.nothing_came(entry)  # None, but for none="zeros", which makes zeros: see OnZeros
            if dL_dr is None:
                continue  # skip
        dL_dinputs = propagate(entry, dL_dr)  # propagate, in the inputs' shapes
        for dL_dinput, input in zip(dL_dinputs, left if left.__class__ is tuple else entry[2:4]):
            if dL_dinput is not None:  # None adds nothing
                total = dL_d.get(input)
                dL_d[input] = dL_dinput if total is None else total + dL_dinput  # add up
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

    `needed`: keys that something wanted depends on, `keep`: those whose gradient is returned; None for all. `early`:
    entries that may read what was changed since, see stale.py.
    """

    early: set[int] = set()
    index = 0  # of the entry that the pass is at, where somebody asks

    def __init__(self, tape: Tape, needed: set[Key] | None = None, keep: set[Key] | None = None):
        self.tape = tape
        self.needed = needed
        self.keep = keep
        self.tell = Told(tape.observers) if tape.observers else None

    def rule(self) -> Callable[[tuple, Variable | list], Sequence[Variable | None]]:
        """How an entry propagates; asked for once, not at each entry."""
        propagate = self.computed if self.tell is None else self.told
        return partial(self.looked_at, propagate) if self.early else propagate

    def looked_at(self, propagate: Callable, entry: tuple, dL_dr: Variable | list) -> Sequence[Variable | None]:
        """Propagated, unless what it reads is not what it was."""
        if self.index in self.early:
            refuse_stale(self.tape, self.index, self.needed)
        return propagate(entry, dL_dr)

    def computed(self, entry: tuple, dL_dr: Variable | list) -> Sequence[Variable | None]:
        rule, _output, left, right, one, two, _shape, _dtype = entry  # see rows.py
        needed = self.needed
        if rule.__class__ is HandWritten:
            return hand_written(self.tape, entry, dL_dr, needed)
        vjps = rule.vjps
        if len(vjps) == 1:
            return (vjps[0](dL_dr, one, two),)
        inputs = left if left.__class__ is tuple else (left, right)
        return [vjp(dL_dr, one, two) if needed is None or key in needed else None for key, vjp in zip(inputs, vjps)]

    def told(self, entry: tuple, dL_dr: Variable | list) -> Sequence[Variable | None]:
        one = dL_dr.__class__ is not list
        dL_doutputs = [dL_dr] if one else dL_dr
        self.tell.begun(self.index, dL_doutputs)
        dL_dinputs = self.computed(entry, dL_dr)
        partial = not one and any(dL_doutput is None for dL_doutput in dL_doutputs)
        self.tell.ended(self.index, "partial" if partial else "propagated", dL_doutputs, dL_dinputs)
        return dL_dinputs

    def nothing_came(self, entry: tuple) -> None:
        if self.tell is not None:
            self.tell.ended(self.index, "skipped", [None] * (len(entry[1]) if entry[1].__class__ is tuple else 1), ())

    def walk(self, rows: Rows, reached: Sequence[bool] | None) -> Iterable[tuple]:
        """The entries, last first; those that are not `reached` are pruned."""
        return self.counted(rows, reached) if self.early or self.tell is not None else rows.backwards(reached)

    def counted(self, rows: Rows, reached: Sequence[bool] | None) -> Iterator[tuple]:
        for self.index in range((len(rows) if reached is None else len(reached)) - 1, -1, -1):
            if reached is None or reached[self.index]:
                yield rows.entry(self.index)
            elif self.tell is not None:
                self.tell.ended(self.index, "pruned", [], [])


class OnZeros(OnVariables):
    """`none="zeros"`: there is no None. Zeros have the shape, the dtype and the device of the output."""

    device: torch.device | None = None  # of the gradient that came last, where the entry itself does not say

    def rule(self) -> Callable[[tuple, Variable | list], Sequence[Variable | None]]:
        return self.filled

    def nothing_came(self, entry: tuple) -> Variable | list:
        rule, output, _, _, one, two, shape, dtype = entry
        if output.__class__ is tuple:
            return [None] * len(output)  # made in `propagate`, with those of which only some are missing
        kept = rule.saved(one, two)
        device = next((x.device for x in kept if isinstance(x, (Variable, torch.Tensor))), self.device)
        return Variable.constant(torch.zeros(shape, dtype=dtype, device=device))

    def filled(self, entry: tuple, dL_dr: Variable | list) -> Sequence[Variable | None]:
        """Propagated, with zeros where nothing came."""
        if dL_dr.__class__ is list:
            triples = zip(dL_dr, entry[6], entry[7])
            dL_dr = [
                Variable.constant(torch.zeros(shape, dtype=kind[0], device=kind[1])) if g is None else g
                for g, shape, kind in triples
            ]
        self.device = (dL_dr[0] if dL_dr.__class__ is list else dL_dr).device
        return super().rule()(entry, dL_dr)


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
        rows, needed, reached, keep = self.tape.rows, None, None, None
        if self.prune == "ahead":
            keep = {x.key for x in self.wanted}
            needed, reached = rows.reached_from(keep)
        on = (OnZeros if self.none == "zeros" else OnVariables)(self.tape, needed, keep)
        on.early = set() if self.trusts else recorded_before_a_change(self.tape, self.L)
        backward(on.walk(rows, reached), dL_d, on)

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


def hand_written(tape: Tape, entry: tuple, dL_doutputs: list, needed: set | None) -> Sequence[Variable | None]:
    """What a hand-written `propagate` returns, held to its entry: a Variable of its input's shape, or None, each."""
    rule, _, inputs = entry[:3]
    outside, tape.propagating = tape.propagating, entry
    try:
        dL_dinputs = rule.propagate_function(list(dL_doutputs))
    except Exception as error:
        error.add_note(f"in the propagate of {said(tape, entry)}")
        raise
    finally:
        tape.propagating = outside
    if dL_dinputs is None:
        raise WrongCountError(
            f"{said(tape, entry)}: propagate returned None, not gradients. Does "
            f"it end without `return`? Return one for each of its {len(inputs)} inputs; [None] says a known zero."
        )
    dL_dinputs = dL_dinputs if isinstance(dL_dinputs, (list, tuple)) else [dL_dinputs]
    if len(dL_dinputs) != len(inputs):
        names = ", ".join(tape.name_of(key) for key in inputs)
        raise WrongCountError(
            f"{said(tape, entry)}: propagate returned {len(dL_dinputs)} gradients for "
            f"{len(inputs)} inputs ({names}). Return one for each, in that order; None for a known zero."
        )
    for slot, (key, shape, dL_dinput) in enumerate(zip(inputs, rule.input_shapes, dL_dinputs)):
        if dL_dinput is not None and not (dL_dinput.__class__ is Variable and dL_dinput.shape == shape):
            check_gradient(
                f"{said(tape, entry)}, gradient {slot} (of {tape.name_of(key)})", tape, key, shape, dL_dinput
            )
    if needed is None:
        return dL_dinputs
    return [dL_dinput if key in needed else None for key, dL_dinput in zip(inputs, dL_dinputs)]


def said(tape: Tape, entry: tuple) -> str:
    index = next(index for index in range(len(tape.rows)) if tape.rows.rule(index) is entry[0])
    return f"entry {index}, '{tape.text(index)}'"


def check_gradient(where: str, tape: Tape, key: Key, shape: Sequence[int], gradient: Variable) -> None:
    if not isinstance(gradient, Variable):
        raise RawTensorError(
            f"{where}: propagate returned a {type(gradient).__name__}, not a Variable or None. Compute it from the "
            f"incoming gradients with operators on Variables, so that it can be differentiated again."
        )
    if gradient.key not in tape.keys:
        tape.adopt(gradient, where)
    if gradient.shape != shape:
        name = tape.name_of(key)
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
