"""A pass of which nobody has asked what it records: computed on plain tensors, and recorded when somebody does ask.

The last pass of a tape puts on it what is read by nobody, and is most of the tape. So it runs without Variables,
entries and names, in half the time. Whatever could tell the difference (a new operation, another pass, a name, the
length of the tape) needs a key or the entries of the tape: `tape.new_key` and `tape.catch_up` are where this module
puts itself, and has the pass run again, recorded. Numbers and names come out the same, bit for bit; where tensors were
changed meanwhile, no gradient goes back through what is recorded (see stale.py). No other module knows more of this
than that there is a `Pass.put_off`.

Which pass is the last? A first one, unless it was not when this line of the program last called `grad`; and one over a
pass, unless it was not, on this tape. While somebody watches, a first pass is never put off.

Whoever watches and does not mind being told late (`Observer.may_wait`) gets the gradients themselves: they are kept,
and the pass that is recorded later is given them in place of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from weakref import WeakKeyDictionary, ref

import torch

from ..torch_private import function_mode_stack, transforms_active
from .errors import ChangedInPlaceError
from .grad import Pass, backward, torch_autograd_below
from .lent import version_of
from .names import Key
from .rows import inputs_of
from .stale import changed, recorded_before_a_change, recorded_late, stale_values
from .tape import Tape, TapeEntry, hand_out, nothing_to_do
from .variable import Variable, check_replacement
from .watched import Observer

CHANGED_SINCE = (
    "Tensors that this pass reads were changed in place after it ran and before this trace was first looked at. Its "
    "gradients are shown as they were computed; what its rules computed on the way, as computed from those tensors now."
)
_key = Variable.key  # the slot itself, under the property of `Waiting`
_past: WeakKeyDictionary[Tape, range] = WeakKeyDictionary()  # tapes that had a pass, by the era in which they had it
_settled: WeakKeyDictionary[Tape, range] = WeakKeyDictionary()  # that had to record one over it after all
_Place = tuple[int, int]  # a call: its code, by identity, and the instruction
_went_on: set[_Place] = set()  # calls of `grad` whose pass was not the last


def put_off_a_last_one(grad_pass: Pass) -> list[Variable | None] | None:
    """The results of a pass that will be the last one, where nothing speaks against putting it off; else None."""
    tape = grad_pass.tape
    tape.catch_up()
    is_first = _past.get(tape) is not tape.keys
    caller = sys._getframe(3)  # past `Pass.run` and `grad`
    called_at = (id(caller.f_code), caller.f_lasti) if is_first else None
    may_be_last = called_at not in _went_on and not tape.observers if is_first else _settled.get(tape) is not tape.keys
    if may_be_last and may_wait(grad_pass):
        return put_off(grad_pass, called_at)
    _past[tape] = tape.keys
    return None


Pass.put_off = put_off_a_last_one


def may_wait(grad_pass: Pass) -> bool:
    tape = grad_pass.tape
    return (
        grad_pass.none == "skip"
        and not tape.has_hand_written
        and tape.propagating is None
        and all(observer.may_wait for observer in tape.observers)
        and not grad_pass.L._value.is_meta  # which autocast does not know
        and not torch.is_autocast_enabled("cpu")
        and not torch.is_autocast_enabled(grad_pass.L._value.device.type)
        and not function_mode_stack()
        and not transforms_active()  # whose tensors are no more when it is over
        and grad_pass.L._value.__class__ is torch.Tensor
    )


def put_off(grad_pass: Pass, called_at: _Place | None) -> list[Variable | None]:
    """The results alone; what this pass records is made up for should anybody ask."""
    tape = grad_pass.tape
    keep = {x.key for x in grad_pass.wanted}
    needed, rules = tape.rows.reached_from(keep)
    early = () if grad_pass.trusts else recorded_before_a_change(tape, grad_pass.L)
    asked = needed if grad_pass.prune == "ahead" else None
    if any(any(True for _ in stale_values(tape, index, asked)) for index in early):
        return grad_pass.run_now()  # which says so, if a gradient comes there
    on = OnTensors(keep, needed, [] if tape.observers else None)
    dL_d = {grad_pass.L.key: torch.ones_like(grad_pass.L._value)}
    try:
        with torch_autograd_below(tape, grad_pass.L):
            backward(tape.rows.backwards([rule.on_tensors for rule in rules]), dL_d, on)
            gradients = grad_pass.results(dL_d)
    except Exception:
        return grad_pass.run_now()  # which says where, and to whoever watches
    promise = Promise(grad_pass, on, called_at)
    results: dict[int, Variable | None] = {id(None): None}
    for place, gradient in enumerate(gradients):
        if id(gradient) not in results:  # of a + b, one gradient is that of both
            results[id(gradient)] = promise.result(place, gradient)
    tape.new_key, tape.catch_up = promise.next_key, promise.keep
    return [results[id(gradient)] for gradient in gradients]


class OnTensors:
    """Gradients are tensors. `came`, if somebody watches, gets each contribution and the sum it led to."""

    def __init__(self, keep: set[Key], needed: set[Key], came: list[torch.Tensor] | None):
        self.keep = keep
        self.needed = needed
        self.came = came
        self.sums: set[Key] = set()  # whose gradient is a sum made here: nobody else has it, so it is added to in place

    def add(self, total: torch.Tensor, contribution: torch.Tensor, key: Key) -> torch.Tensor:
        if key in self.sums and total.dtype is contribution.dtype:
            total += contribution
            return total
        if self.came is None:
            self.sums.add(key)
        return total + contribution

    @property
    def added(self) -> Callable | None:
        return None if self.came is None else self.note

    def note(self, key: Key, contribution: torch.Tensor | None, total: torch.Tensor | None) -> None:
        if contribution is not None:
            self.came += (contribution, total)


class Promise:
    """A pass to be made up for: what it ran under, its results, and who watched it, where they still are. `called_at`:
    where the program called `grad`, if it is a first pass."""

    def __init__(self, grad_pass: Pass, on: OnTensors, called_at: _Place | None):
        tape = grad_pass.tape
        self.grad_pass = grad_pass
        self.tape = ref(tape)
        grad_pass.tape = None  # so that a tape with a pass put off is no cycle
        self.names = tape.names
        self.on = on
        self.called_at = called_at
        self.watched_by = [(ref(observer), observer.place()) for observer in tape.observers]
        self.modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        self.results: dict[int, ref[Waiting]] = {}
        self.gave: dict[int, tuple[torch.Tensor, int]] = {}
        self.asked = RLock()  # a tape may be entered in two threads
        self.kept = False

    def result(self, place: int, gradient: torch.Tensor) -> Variable:
        variable = object.__new__(Waiting)
        variable._value = gradient
        variable.shape = gradient.shape
        _key.__set__(variable, self)
        self.results[place] = ref(variable)
        self.gave[place] = (gradient, version_of(gradient))
        return variable

    def awaited(self) -> list[tuple[Observer, object]]:
        """Those who have yet to be told of it, and where the program was."""
        return [(it, place) for reference, place in self.watched_by if (it := reference()) is not None]

    def next_key(self) -> Key:
        self.keep()
        return self.tape().new_key()

    def keep(self) -> None:
        """Run the pass, recorded. Its results get the keys that they have on the tape."""
        with self.asked:
            tape = self.tape()
            if self.kept or tape is None or tape.names is not self.names:
                self.let_go()
            else:
                self.make_up_for(tape)

    def make_up_for(self, tape: Tape) -> None:
        self.kept = True
        tape.new_key, tape.catch_up = self.names.numbers.__next__, nothing_to_do
        self.learn(tape)
        start = len(tape.rows)
        try:
            changes = self.known_changes(tape)
            with self.watched(tape) as again:
                recorded = self.run_again(tape)
            if changes or again.changed or self.changed(recorded):
                recorded_late(tape, start, changes, again.kept)
            self.hand_over(tape, recorded)
        except Exception as error:  # of a tensor that was given another shape: whoever asked has nothing to do with it
            self.cannot_be_recorded(tape, error)
        except BaseException:  # interrupted: there is still somebody to ask
            self.kept, tape.new_key, tape.catch_up = False, self.next_key, self.keep
            raise

    def known_changes(self, tape: Tape) -> list[tuple[Variable | torch.Tensor, str]]:
        """What the tape knows to have changed since the pass ran: gradients may come out the same, and theirs not."""
        early, found = () if self.grad_pass.trusts else recorded_before_a_change(tape, self.grad_pass.L), {}
        for index in early:
            for x in stale_values(tape, index, self.on.needed):
                name, how = changed(tape, index, x)
                found[id(x)] = x, f"{name}, of shape {tuple(x.shape)}, {how}"
        return list(found.values())

    def run_again(self, tape: Tape) -> list[Variable | None]:
        trusts, self.grad_pass.trusts, self.grad_pass.tape = self.grad_pass.trusts, True, tape
        try:
            with tape, self.as_it_ran():
                return self.grad_pass.run_now()
        finally:
            self.grad_pass.trusts, self.grad_pass.tape = trusts, None

    def hand_over(self, tape: Tape, recorded: list[Variable | None]) -> None:
        """The results are those of the tape from now on, with the tensors that they had, or that they were given."""
        for place, (gradient, version) in self.gave.items():
            result, of_tape = self.results[place](), recorded[place]
            tape.lent.remember(gradient, version)
            tape.lent.late.pop(of_tape.key, None)
            of_tape._value = gradient if result is None else result._value
            if of_tape._value is not gradient:
                tape.lent.replaced[of_tape.key] = len(tape.rows)
            if result is not None:
                result.becomes(of_tape.key)

    def cannot_be_recorded(self, tape: Tape, error: Exception) -> None:
        """It does not even run now: an entry stands for it, which no gradient goes through."""
        results = [result for reference in self.results.values() if (result := reference()) is not None]
        for result in results:
            if result.__class__ is Waiting:
                result.becomes(tape.new_key())
        here, why = len(tape.rows), f"{type(error).__name__}: {error}"

        def gradients(dL_doutputs: list) -> list:
            raise ChangedInPlaceError(
                f"The pass that '{tape.text(here)}' stands for does not run any more: tensors that it read were "
                f"changed in place after it ({why})."
            )

        tape.append(TapeEntry((self.grad_pass.L, *self.grad_pass.wanted), results, gradients))

    def learn(self, tape: Tape) -> None:
        """It was not the last."""
        if self.called_at is None:
            _settled[tape] = tape.keys
        else:
            _past[tape] = tape.keys
            _went_on.add(self.called_at)

    @contextmanager
    def as_it_ran(self):
        """In the modes of the pass, whatever they are now; under autocast none is put off."""
        device = self.grad_pass.L._value.device.type
        with torch.inference_mode(self.modes[1]), torch.set_grad_enabled(self.modes[0]):
            if not (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled(device)):
                yield
                return
            with torch.autocast("cpu", enabled=False), torch.autocast(device, enabled=False):
                yield

    def changed(self, recorded: list) -> bool:
        """Whether other gradients came than those that were given, which themselves nobody changed."""
        return any(
            version_of(gradient) == version and not same(recorded[place]._value, gradient)
            for place, (gradient, version) in self.gave.items()
        )

    @contextmanager
    def watched(self, tape: Tape) -> Iterator[AsItCame]:
        """Tell those who watched the pass of it, as if it ran then and there; and nobody else."""
        watching, told = tape.observers, self.awaited()
        again = AsItCame(tape, self)
        tape.observers = (again, *(observer for observer, _ in told)) if told else ()
        for observer, place in told:
            observer.at(place)
        try:
            yield again
        finally:
            tape.observers = watching
            for observer, _ in told:
                observer.at(None)
                if again.changed:
                    observer.note(CHANGED_SINCE)

    def let_go(self) -> None:
        """The tape was reset or is gone: results are computed values that no entry leads to."""
        for reference in self.results.values():
            result = reference()
            if result is not None and isinstance(result, Waiting):
                result.becomes(next(self.names.numbers))


def put_off_on(tape: Tape) -> Promise | None:
    """The pass that this tape has yet to record."""
    owner = getattr(tape.catch_up, "__self__", None)
    return owner if isinstance(owner, Promise) else None


class Waiting(Variable):
    """A result of a pass that was put off. It has no key before somebody asks for that, which has the pass recorded."""

    __slots__ = ()

    @property
    def key(self) -> Key:
        _key.__get__(self).keep()
        return self.key  # of the Variable that it is now

    @property
    def value(self) -> torch.Tensor:
        """The tensor. `Promise.gave` knows what it was."""
        return self._value

    @value.setter
    def value(self, value: torch.Tensor) -> None:
        check_replacement(self, value)
        self._value = value

    def becomes(self, key: Key) -> None:
        self.__class__ = Variable
        self.key = key
        hand_out(self)


class AsItCame(Observer):
    """Sees to it that a pass recorded late has the very gradients that were computed, before anyone else is told of
    them: tensors may have been changed in place since. What a rule computes on the way to them was not kept."""

    def __init__(self, tape: Tape, promise: Promise):
        self.tape = tape
        self.needed = promise.on.needed
        self.came = iter(promise.on.came or ())
        self.gave = promise.gave
        self.totals: list[torch.Tensor] = []  # to which the contributions of the entry visited last lead
        self.changed = False  # the rules do not give now what they gave
        self.kept: set[Key] = set()  # what has the tensors of then

    def visited(self, index: int, state: str, dL_doutputs: list, dL_dinputs: list) -> None:
        came, needed = self.came, self.needed
        for key, dL_dinput in zip(inputs_of(self.tape.rows.entry(index)), dL_dinputs):
            if dL_dinput is not None and key in needed:
                again, dL_dinput._value = dL_dinput._value, next(came)
                self.kept.add(dL_dinput.key)
                self.totals.append(next(came))
                self.changed = self.changed or not same(again, dL_dinput._value)

    def accumulated(self, key: Key, contribution: Variable | None, total: Variable | None) -> None:
        if contribution is not None and key in self.needed:
            total._value = self.totals.pop(0)
            self.kept.add(total.key)

    def pass_ended(self, dL_d: dict, results: list) -> None:
        for place, (gradient, version) in self.gave.items():
            if version_of(gradient) == version:
                self.changed = self.changed or not same(results[place]._value, gradient)
            results[place]._value = gradient


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Up to rounding, which a kernel that runs in several threads need not repeat."""
    if torch.equal(a, b):
        return True
    if not a.is_floating_point() or a.shape != b.shape or a.dtype != b.dtype:
        return False
    rounding = 300 * torch.finfo(a.dtype).eps * float(a.abs().nan_to_num(0, 0, 0).max())
    return torch.allclose(a, b, rtol=0, atol=rounding, equal_nan=True)
