"""The tape: a list of entries, each saying how gradients get from its outputs back to its inputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple
from weakref import ReferenceType, ref

from .errors import UnknownNameError

if TYPE_CHECKING:
    from .deferred import Deferred
    from .variable import Variable

_key, _shape = attrgetter("key"), attrgetter("shape")
_eras = itertools.count()
_ERA = 1 << 40  # more Variables than one tape will ever see


class Label:
    """The key of a Variable that was given a name; two of one name are two keys."""

    __slots__ = ("text", "eras")

    def __init__(self, text: str, eras: set[int]):
        self.text = text
        self.eras = eras

    def settle(self) -> None:
        """Before its name is made: a key that is not yet what the tape will know it by is so from now on."""


class Reserved(Label):
    """A Label that stands in `tape.fresh`, where the next result takes it; `tape.fresh + 1` is then the number that
    was to be next. So naming a result costs nothing where results are made."""

    __slots__ = ("number",)

    def __init__(self, text: str, eras: set[int], number: int):
        super().__init__(text, eras)
        self.number = number

    def __add__(self, _: int) -> int:
        return self.number


# Whose gradient it is: a number for v0, v1, …, else a Label. Two Variables never share a key, so two gradients never
# merge, whatever their names; and a key holds no value, so that the tape keeps no tensor that no rule reads.
Key = int | Label


class TapeEntry(NamedTuple):
    """One hand-written computation: `gradient_tape.append(TapeEntry([a.name, b.name], [r.name], propagate))`.

    `propagate` is given dL/doutputs, a Variable or None for each output, and returns dL/dinputs, one for each input.
    `on_tensors`, where there is one, makes of `propagate` its twin on plain tensors, for a pass that is deferred.
    """

    inputs: Sequence[str]
    outputs: Sequence[str]
    propagate: Callable[[list[Variable | None]], Sequence[Variable | None]]
    on_tensors: Callable[[Callable], Callable] | None = None


class Tape:
    """A list of entries, the names given out on it, and whoever watches it.

    `with Tape() as tape:` makes it the current one; without that every thread (every context) has one of its own.

    An entry is a plain tuple, since thousands are made in a pass: (rule, input keys, output key, saved, shape), where
    `rule` is an Operator with `saved` for its partials; or, for a hand-written one, (HandWritten, input keys, output
    keys, (), output shapes). Indexing the tape gives TapeEntry with names.
    """

    def __init__(self):
        self.entries: list[tuple] = []
        self.observers: tuple[Observer, ...] = ()
        self.unread: tuple[ReferenceType[Observer], ...] = ()  # that watch no more, and yet are told of a reset
        self.eras: set[int] = set()
        self._tokens: list = []
        self.begin_era()

    def begin_era(self) -> None:
        self.fresh: int = next(_eras) * _ERA  # the key of the next v0, v1, …
        self.eras.add(self.fresh // _ERA)
        self.names: dict[Key, str] = {}  # only names that were given or asked for
        self.owners: dict[str, tuple[Key, ReferenceType | None]] = {}  # name -> whose it is, and the Variable if alive
        self.broadcast: dict[Key, Sequence[int]] = {}  # shapes of the Variables that an operator broadcast
        self.hand_written = False  # an entry that has no twin on tensors
        self.may_defer = False  # after a first pass: a pass that may be the last need not be recorded
        self.was_settled = False
        self.deferred: Deferred | None = None

    def settle(self) -> None:
        """Record the pass that was put off, if one was: what comes next may tell the difference."""
        if self.deferred is not None:
            deferred, self.deferred = self.deferred, None
            self.may_defer, self.was_settled = False, True
            deferred.record(self)

    def reset(self) -> None:
        """Forget the entries and start names anew at v0. Variables made before can still be used, as leaves."""
        if self.deferred is not None and self.deferred.awaited():
            self.settle()
        unread, self.unread = [reference() for reference in self.unread], ()
        for observer in (*self.observers, *unread):
            if observer is not None:
                observer.reset()
        self.entries.clear()
        self.begin_era()

    clear = reset

    def unwatch(self, observer: Observer) -> None:
        """Tell it nothing more but of a reset, which takes away names that it may not have asked for yet."""
        self.observers = tuple(each for each in self.observers if each is not observer)
        self.unread = (*(each for each in self.unread if each() is not None), ref(observer))

    def append(self, entry: TapeEntry) -> None:
        """Record a hand-written entry. Raises UnknownNameError if it names a Variable that this tape does not know,
        TypeError for what is no entry."""
        if not hasattr(entry, "propagate"):
            raise TypeError(
                f"gradient_tape.append(…) was given a {type(entry).__name__}. Append "
                f"TapeEntry(inputs=[x.name, …], outputs=[r.name, …], propagate=propagate)."
            )
        self.settle()
        inputs, keys = self.find("inputs", entry.inputs)
        outputs, output_keys = self.find("outputs", entry.outputs)
        on_tensors = getattr(entry, "on_tensors", None)
        self.hand_written = self.hand_written or on_tensors is None
        rule = HandWritten(entry.propagate, tuple(map(_shape, inputs)), on_tensors)
        self.entries.append((rule, keys, output_keys, (), tuple(map(_shape, outputs))))
        for observer in self.observers:
            observer.recorded(tuple(inputs), tuple(outputs))

    def find(self, kind: str, names: Sequence[str]) -> tuple[Sequence[Variable], tuple[Key, ...]]:
        """The Variables that a hand-written entry names (they may stand for themselves), and their keys."""
        try:
            return names, tuple(map(_key, names))
        except AttributeError:
            found = self.named(kind, names)
            return found, tuple(map(_key, found))

    def named(self, kind: str, names: Sequence[str]) -> list[Variable]:
        found = []
        for slot, name in enumerate(names):
            variable = name if hasattr(name, "key") else self.variable(name)
            if variable is None:
                raise UnknownNameError(
                    f"TapeEntry({kind}={list(names)}): {kind}[{slot}] is '{name}', and no Variable of this tape has "
                    f"that name. Use the Variable's own: {kind}=[x.name]."
                )
            found.append(variable)
        return found

    def variable(self, name: str) -> Variable | None:
        """The Variable of this name, as long as somebody holds it."""
        reference = self.owners.get(name, (None, None))[1]
        return reference and reference()

    def name_of(self, key: Key, variable: Variable | None = None) -> str:
        """`v0`, `v1`, … or the given name; with `_1`, `_2`, … behind it if another Variable of the tape has it."""
        name = self.names.get(key)
        if name is None:
            name = self.names[key] = self.free(key.text if isinstance(key, Label) else f"v{key % _ERA}")
            self.owners[name] = (key, None)
        if variable is not None and self.owners[name][1] is None:
            self.owners[name] = (key, ref(variable))
        return name

    def free(self, plain: str) -> str:
        """This name, or the first of `plain_1`, `plain_2`, … that no Variable of the tape has."""
        name, suffix = plain, 0
        while name in self.owners:
            suffix += 1
            name = f"{plain}_{suffix}"
        return name

    @contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """The first Variable made inside that is given no name gets this one, and uses up no number: an operator
        inside names its result as `x.sum(name="L0")` does."""
        self.settle()
        number = self.fresh
        self.fresh = Reserved(name, self.eras, number)
        try:
            yield
        finally:
            if isinstance(self.fresh, Reserved):
                self.fresh = number

    def rename(self, variable: Variable, name: str) -> None:
        """Give a Variable another name, in all that was recorded with it too."""
        variable.key.settle() if isinstance(variable.key, Label) else None
        self.owners.pop(self.names.pop(variable.key, None), None)
        name = self.names[variable.key] = self.free(name)
        self.owners[name] = (variable.key, ref(variable))

    def owns(self, key: Key) -> bool:
        return key.eras is self.eras if isinstance(key, Label) else key // _ERA in self.eras

    def text(self, entry: tuple) -> str:
        """An entry as a transcript would print it: `v3 = v2 * b`."""
        rule, inputs, _, saved, _ = entry
        right = rule.text([self.name_of(key) for key in inputs], saved)
        return f"{', '.join(map(self.name_of, output_keys(entry)))} = {right}"

    def __enter__(self) -> Tape:
        self._tokens.append(_current.set(self))  # a stack: a tape may be entered within itself
        return self

    def __exit__(self, *_) -> None:
        _current.reset(self._tokens.pop())

    def __len__(self) -> int:
        self.settle()
        return len(self.entries)

    def __getitem__(self, index: int) -> TapeEntry:
        self.settle()
        rule, inputs, _, saved, _ = self.entries[index]
        return TapeEntry(
            [self.name_of(key) for key in inputs],
            [self.name_of(key) for key in output_keys(self.entries[index])],
            lambda dL_doutputs: rule.propagate(dL_doutputs, saved),
        )

    def __iter__(self) -> Iterator[TapeEntry]:
        return (self[index] for index in range(len(self)))


def output_keys(entry: tuple) -> tuple[Key, ...]:
    return entry[2] if entry[2].__class__ is tuple else (entry[2],)


class HandWritten:
    """The rule of an entry that somebody appended: a `propagate`, held to what the entry promises by `grad`."""

    __slots__ = ("propagate_function", "input_shapes", "on_tensors")
    name = "aggregate"

    def __init__(self, propagate: Callable, input_shapes: tuple, on_tensors: Callable | None = None):
        self.propagate_function = propagate
        self.input_shapes = input_shapes
        self.on_tensors = on_tensors

    def propagate(self, dL_doutputs: list, saved: tuple = ()) -> Sequence[Variable | None]:
        return self.propagate_function(dL_doutputs)

    def text(self, inputs: Sequence[str], saved: tuple = ()) -> str:
        return f"{self.function_name}({', '.join(inputs)})"

    @property
    def function_name(self) -> str:
        return function_name(self.propagate_function)


def function_name(propagate: Callable) -> str:
    """The function that a `propagate` was written in: 'fused' of 'test.<locals>.fused.<locals>.propagate'."""
    inside = getattr(propagate, "__qualname__", type(propagate).__name__).split(".<locals>.")
    return inside[max(len(inside) - 2, 0)].rsplit(".", 1)[-1]


_current: ContextVar[Tape] = ContextVar("tape")


def current_tape() -> Tape:
    """The tape that this context records on; a thread that has none gets a new one."""
    try:
        return _current.get()
    except LookupError:
        tape = Tape()
        _current.set(tape)
        return tape


class CurrentTape:
    """`gradient_tape` of the notebook: whatever is done to it is done to the current tape."""

    def append(self, entry: TapeEntry) -> None:
        current_tape().append(entry)

    def __getattr__(self, name: str):
        return getattr(current_tape(), name)

    def __len__(self) -> int:
        return len(current_tape())

    def __iter__(self) -> Iterator[TapeEntry]:
        return iter(current_tape())

    def __getitem__(self, index: int) -> TapeEntry:
        return current_tape()[index]

    def __repr__(self) -> str:
        tape = current_tape()
        tape.settle()
        return "\n".join(map(tape.text, tape.entries)) or "an empty tape"


gradient_tape = CurrentTape()


def reset_tape() -> None:
    """Forget what the current tape recorded, and start names anew at v0."""
    current_tape().reset()


def fresh_name() -> str:
    """A name that no Variable of the current tape has: v0, v1, …"""
    tape = current_tape()
    tape.settle()
    while True:
        number = tape.fresh % _ERA
        tape.fresh += 1
        if f"v{number}" not in tape.owners:
            return f"v{number}"


class Observer:
    """What a recorder is told, in the order of the run. The engine knows nothing else of it.

    `index` is the place of an entry in `tape.entries`. All methods do nothing; override what you need.
    """

    told_late = False  # whether it will do to be told of a pass over a pass when somebody asks what that recorded

    def pass_deferred(self) -> None:
        """`grad` is done with a pass of which all is told, from `pass_begun` on, when the tape is settled."""

    def changed_since(self) -> None:
        """The pass told late is over. Tensors that it read were changed in place between its run and now: its gradients
        are those of then, what its rules computed on the way is computed from the tensors as they are now."""

    def leaf(self, variable: Variable) -> None:
        """`Variable.constant(value, name)` made a leaf."""

    def recorded(self, inputs: tuple[Variable, ...], outputs: tuple[Variable, ...]) -> None:
        """`tape.entries[-1]` was appended."""

    def pass_begun(self, L: Variable, seed: Variable, wanted: list, none: str, prune: str) -> None:
        """`grad` starts: dL/dL = seed."""

    def visit_begun(self, index: int, dL_doutputs: list) -> None:
        """`propagate` of this entry is about to run."""

    def visited(self, index: int, state: str, dL_doutputs: list, dL_dinputs: list) -> None:
        """The pass is done with an entry: 'propagated', 'partial', 'skipped' or 'pruned'."""

    def accumulated(self, key: Key, contribution: Variable | None, total: Variable | None) -> None:
        """The next outgoing gradient of the entry visited last came to `key`; `total` is the running sum, or None."""

    def pass_ended(self, dL_d: dict[Key, Variable], results: list) -> None:
        """The pass is over: the gradient table, and what `grad` returns."""

    def reset(self) -> None:
        """The tape is about to forget its entries and names."""
