"""A pass of which nobody has asked what it records: computed on plain tensors, and recorded when somebody does ask.

A pass over a pass is mostly the last one, and what it would put on the tape, which is most of the tape, is read by
nobody. So it runs without Variables, entries and names, in half the time. Whatever could tell the difference (a new
operation, another pass, a name, the length of the tape) first has `Tape.settle` run it again, recorded: numbers and
names come out the same, bit for bit. A tape on which that happened once defers no more.

Whoever watches and does not mind being told late gets the gradients themselves: they are kept, and the pass that is
recorded later is given them in place of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ReferenceType, ref

import torch

from .broadcast import added, fitted, gradients
from .tape import _ERA, HandWritten, Key, Label, Observer, Tape, current_tape
from .variable import Variable

if TYPE_CHECKING:
    from .grad import Pass


def propagate_tensors(
    tape: Tape,
    dL_d: dict[Key, torch.Tensor],
    plan: list[int],
    needed: set[Key],
    keep: set[Key],
    came: list[torch.Tensor] | None,
) -> None:
    """`propagate_backward` on tensors. `came`, if somebody watches, gets each contribution and the sum it led to."""
    entries, broadcast = tape.entries, tape.broadcast
    own, may_own = set(), came is None  # keys whose gradient was made for it alone: it can be added to in place
    for index in reversed(plan):
        rule, inputs, output, saved, _ = entries[index]
        dL_dr = dL_d.get(output) if output in keep else dL_d.pop(output, None)
        if dL_dr is None:
            if output.__class__ is tuple:
                by_hand(dL_d, rule, inputs, output, broadcast, needed, came)
            continue
        if broadcast:
            dL_dr = fitted(broadcast, dL_dr, output)
        for key, partial in zip(inputs, rule.on_tensors or rule.made_for_tensors(saved)):
            if key not in needed:
                continue
            dL_dinput, total = partial(dL_dr, saved), dL_d.get(key)
            if total is None:
                dL_d[key] = dL_dinput
                if rule.makes_new and may_own and key not in broadcast:
                    own.add(key)
            elif key in own and total.dtype is dL_dinput.dtype:
                total += dL_dinput
            elif key in broadcast:
                dL_d[key] = added(broadcast, total, dL_dinput, key)
            else:
                dL_d[key] = total + dL_dinput
                if may_own:
                    own.add(key)
            if came is not None:
                came += (dL_dinput, dL_d[key])


def by_hand(
    dL_d: dict, rule: HandWritten, inputs: tuple, outputs: tuple, broadcast: dict, needed: set[Key], came: list | None
) -> None:
    """The same through a hand-written entry whose propagate has a twin on tensors."""
    if dL_d.keys().isdisjoint(outputs):
        return
    dL_doutputs = gradients(dL_d, outputs, broadcast)
    for key, dL_dinput in zip(inputs, rule.on_tensors(rule.propagate_function)(dL_doutputs)):
        if dL_dinput is not None and key in needed:
            dL_d[key] = added(broadcast, dL_d[key], dL_dinput, key) if key in dL_d else dL_dinput
            if came is not None:
                came += (dL_dinput, dL_d[key])


def defer(
    tape: Tape, run: Pass, gradients: list[torch.Tensor | None], as_it_came: AsItCame | None
) -> list[Variable | None]:
    """The results of a pass that ran on tensors. The tape is to record `run` when it is settled."""
    results = [None if g is None else unsettled(tape, g) for g in gradients]
    handed_out = {place: ref(x) for place, x in enumerate(results) if x is not None}
    tape.deferred = Deferred(run, tape.fresh, handed_out, tuple(map(ref, tape.observers)), as_it_came)
    tape.fresh = AfterDeferred("", tape)
    for observer in tape.observers:
        observer.pass_deferred()
    return results


def unsettled(tape: Tape, gradient: torch.Tensor) -> Variable:
    variable = object.__new__(Variable)
    variable.value = gradient
    variable.shape = gradient.shape
    variable.key = Unsettled(f"v{tape.fresh % _ERA}", tape)
    return variable


class Deferred:
    """A pass to be made up for: the number it starts with; its results and who watched it, where they still are; and
    the gradients that came, if somebody watched."""

    __slots__ = ("run", "fresh", "results", "watched_by", "as_it_came")

    def __init__(self, run: Pass, fresh: Key, results: dict, watched_by: tuple, as_it_came: AsItCame | None):
        self.run = run
        self.fresh = fresh
        self.results: dict[int, ReferenceType[Variable]] = results
        self.watched_by: tuple[ReferenceType[Observer], ...] = watched_by
        self.as_it_came = as_it_came

    def awaited(self) -> list[Observer]:
        """Those who have yet to be told of it."""
        return [each for each in (reference() for reference in self.watched_by) if each is not None]

    def record(self, tape: Tape) -> None:
        """Run the pass, recorded. Its results, as they were handed out, get the keys that they have on the tape."""
        told, watching = self.awaited(), tape.observers
        tape.observers = (self.as_it_came, *told) if told else ()
        tape.fresh = self.fresh
        try:
            with tape:
                recorded = self.run.run(tape)
        finally:
            tape.observers = watching
        if told and self.as_it_came.changed:
            for observer in told:
                observer.changed_since()
        for place, reference in self.results.items():
            result, made = reference(), recorded[place]
            if result is not None:
                if result.key in tape.broadcast:  # by the operation that has the pass recorded
                    tape.broadcast[made.key] = tape.broadcast.pop(result.key)
                result.key, made.value = made.key, result.value


class AsItCame(Observer):
    """Sees to it that a pass recorded late has the very gradients that were computed, before anyone else is told of
    them: tensors may have been changed in place since. What a rule computes on the way to them was not kept."""

    def __init__(self, needed: set[Key], came: list[torch.Tensor]):
        self.needed = needed
        self.came = iter(came)
        self.totals: list[torch.Tensor] = []  # to which the contributions of the entry visited last lead
        self.changed = False  # the rules do not give now what they gave

    def visited(self, index: int, state: str, dL_doutputs: list, dL_dinputs: list) -> None:
        for key, dL_dinput in zip(current_tape().entries[index][1], dL_dinputs):
            if dL_dinput is not None and key in self.needed:
                again, dL_dinput.value = dL_dinput.value, next(self.came)
                self.totals.append(next(self.came))
                self.changed = self.changed or not same(again, dL_dinput.value)

    def accumulated(self, key: Key, contribution: Variable | None, total: Variable | None) -> None:
        if contribution is not None and key in self.needed:
            total.value = self.totals.pop(0)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Up to rounding, which a kernel that runs in several threads need not repeat."""
    if torch.equal(a, b):
        return True
    rounding = 300 * torch.finfo(a.dtype).eps * float(a.abs().nan_to_num(0, 0, 0).max())
    return torch.allclose(a, b, rtol=0, atol=rounding, equal_nan=True)


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
