"""A pass that nobody has asked to record: computed on plain tensors, and recorded when somebody does ask.

A pass over a pass is mostly the last one, and what it would put on the tape, which is most of the tape, is read by
nobody. So it runs without Variables, entries and names, in half the time. Whatever could tell the difference (a new
operation, another pass, a name, the length of the tape) first has `Tape.settle` run it again, recorded: numbers and
names come out the same, bit for bit. A tape on which that happened once defers no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

import torch

from .broadcast import added, fitted, gradients
from .tape import _ERA, HandWritten, Key, Label, Tape
from .variable import Variable

if TYPE_CHECKING:
    from .grad import Pass


def propagate_tensors(
    tape: Tape, dL_d: dict[Key, torch.Tensor], plan: list[int], needed: set[Key], keep: set[Key]
) -> None:
    """`propagate_backward` on tensors, watched by nobody."""
    entries, broadcast = tape.entries, tape.broadcast
    own = set()  # keys whose gradient is a tensor that was made for it alone, so that it can be added to in place
    for index in reversed(plan):
        rule, inputs, output, saved, _ = entries[index]
        dL_dr = dL_d.get(output) if output in keep else dL_d.pop(output, None)
        if dL_dr is None:
            if output.__class__ is tuple:
                by_hand(dL_d, rule, inputs, output, broadcast, needed)
            continue
        if broadcast:
            dL_dr = fitted(broadcast, dL_dr, output)
        for key, partial in zip(inputs, rule.on_tensors or rule.made_for_tensors(saved)):
            if key not in needed:
                pass
            elif key not in dL_d:
                dL_d[key] = partial(dL_dr, saved)
                if rule.makes_new:
                    own.add(key)
            elif key in broadcast:
                dL_d[key] = added(broadcast, dL_d[key], partial(dL_dr, saved), key)
            else:
                total, dL_dinput = dL_d[key], partial(dL_dr, saved)
                if key in own and total.dtype is dL_dinput.dtype:
                    total += dL_dinput
                else:
                    dL_d[key] = total + dL_dinput
                    own.add(key)


def by_hand(dL_d: dict, rule: HandWritten, inputs: tuple, outputs: tuple, broadcast: dict, needed: set[Key]) -> None:
    """The same through a hand-written entry whose propagate has a twin on tensors."""
    if dL_d.keys().isdisjoint(outputs):
        return
    dL_doutputs = gradients(dL_d, outputs, broadcast)
    for key, dL_dinput in zip(inputs, rule.on_tensors(rule.propagate_function)(dL_doutputs)):
        if dL_dinput is not None and key in needed:
            dL_d[key] = added(broadcast, dL_d[key], dL_dinput, key) if key in dL_d else dL_dinput


def defer(tape: Tape, run: Pass, gradients: list[torch.Tensor | None]) -> list[Variable | None]:
    """The results of a pass that ran on tensors. The tape is to record `run` when it is settled."""
    results = [None if g is None else unsettled(tape, g) for g in gradients]
    tape.deferred = Deferred(run, tape.fresh, {place: ref(x) for place, x in enumerate(results) if x is not None})
    tape.fresh = AfterDeferred("", tape)
    return results


def unsettled(tape: Tape, gradient: torch.Tensor) -> Variable:
    variable = object.__new__(Variable)
    variable.value = gradient
    variable.shape = gradient.shape
    variable.key = Unsettled(f"v{tape.fresh % _ERA}", tape)
    return variable


class Deferred:
    """A pass to be made up for, the number it starts with, and its results, where somebody still has them."""

    __slots__ = ("run", "fresh", "results")

    def __init__(self, run: Pass, fresh: Key, results: dict[int, ref]):
        self.run = run
        self.fresh = fresh
        self.results = results

    def record(self, tape: Tape) -> None:
        """Run the pass, recorded. Its results, as they were handed out, get the keys that they have on the tape."""
        tape.fresh = self.fresh
        with tape:
            recorded = self.run.run(tape)
        for place, reference in self.results.items():
            result, made = reference(), recorded[place]
            if result is not None:
                if result.key in tape.broadcast:  # by the operation that has the pass recorded
                    tape.broadcast[made.key] = tape.broadcast.pop(result.key)
                result.key = made.key


class Unsettled(Label):
    """The key of a deferred pass's result until that is recorded; `text` is its name if that can be no more, since
    the tape was reset or is gone."""

    __slots__ = ("tape",)

    def __init__(self, text: str, tape: Tape):
        super().__init__(text, tape.eras)
        self.tape = ref(tape)

    def settle(self) -> None:
        tape = self.tape()
        if tape is not None:
            tape.settle()


class AfterDeferred(Unsettled):
    """Stands in `tape.fresh` after a deferred pass, so that the next result of an operation takes it for its key and,
    by asking for the number that comes next, has the pass recorded: operations themselves need not ask."""

    __slots__ = ()

    def __add__(self, _: int) -> int:
        self.settle()
        number = self.tape().fresh
        self.text = f"v{number % _ERA}"
        return number + 1
