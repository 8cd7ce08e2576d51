"""The tape: a list of entries, each saying how gradients get from its outputs back to its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from operator import attrgetter
from typing import Any, NamedTuple, overload
from weakref import ReferenceType, WeakValueDictionary, ref

from .errors import OtherTapeError, UnknownNameError
from .lent import Lent
from .names import Key, Keyed, Names, check_name, era_of, plain_name
from .rows import Rows, inputs_of, outputs_of

_key = attrgetter("key")


class TapeEntry(NamedTuple):
    """One hand-written computation: `gradient_tape.append(TapeEntry([a.name, b.name], [r.name], propagate))`.

    `propagate` is given dL/doutputs, a Variable or None for each output, and returns dL/dinputs, one for each input.
    `on_tensors`, where there is one, makes of `propagate` its twin on plain tensors, and is told for each input whether
    its gradient is needed.
    """

    inputs: Sequence[str]
    outputs: Sequence[str]
    propagate: Callable[[list[Any]], Sequence[Any]]
    on_tensors: Callable[[Callable, tuple[bool, ...]], Callable] | None = None


class Tape:
    """A list of entries, the names given out on it, and whoever watches it.

    `with Tape() as tape:` makes it the current one; without that every thread (every context) has one of its own.

    Indexing it gives TapeEntry; `rows` has the entries as the engine keeps them, see rows.py.
    """

    def __init__(self):
        self.rows = Rows()
        self.flat = self.rows.flat  # to which `put_on_tape` adds
        self.observers: tuple[Any, ...] = ()  # Observers: see watched.py
        self.unread: tuple[ReferenceType, ...] = ()  # that watch no more, and yet are told of a reset
        self.eras: list[range] = []
        self.trusts = False  # that nobody changes values before their pass: a check tells of those who do by itself
        self.begin_era()

    def begin_era(self) -> None:
        self.names = Names()
        self.keys = self.names.keys
        self.start, self.first = self.keys.start, self.names.computed
        self.lent = Lent(self.rows)
        before = self.eras.pop() if self.eras and self.eras[-1].stop == self.start else self.keys
        self.eras.append(range(before.start, self.keys.stop))  # of many resets in a row one
        _tapes[era_of(self.start)] = self
        self.new_key: Callable[[], Key] = self.names.numbers.__next__  # the key of the next v0, v1, …
        self.catch_up: Callable[[], None] = nothing_to_do  # called before anybody counts or reads entries
        self.adopted: set[Key] = set()  # leaves of other tapes that were used on this one
        self.has_hand_written = False
        self.warned = False  # that it has grown long
        self.propagating: HandWritten | None = None  # whose propagate runs
        self.constants: set[Key] = set()  # numbers that a propagate made: nobody asks for their gradients

    @property
    def entries(self) -> Rows:
        """All that was recorded, as tuples."""
        self.catch_up()
        return self.rows

    def reset(self) -> None:
        """Forget the entries and start names anew at v0. Leaves made before can still be used."""
        unread, self.unread = [reference() for reference in self.unread], ()
        for observer in (*self.observers, *unread):
            if observer is not None:
                observer.reset()
        self.rows.clear()
        _tapes.pop(era_of(self.start), None)
        self.begin_era()

    clear = reset

    def unwatch(self, observer: Any) -> None:
        """Tell it nothing more but of a reset, which takes away names that it may not have asked for yet."""
        self.observers = tuple(each for each in self.observers if each is not observer)
        self.unread = (*(each for each in self.unread if each() is not None), ref(observer))

    def append(self, entry: TapeEntry) -> None:
        """Record a hand-written entry. Raises UnknownNameError if it names a Variable that this tape does not know,
        OtherTapeError if an input was computed on another one, TypeError for what is no entry."""
        if not hasattr(entry, "propagate"):
            raise TypeError(
                f"gradient_tape.append(…) was given a {type(entry).__name__}. Append "
                f"TapeEntry(inputs=[x.name, …], outputs=[r.name, …], propagate=propagate)."
            )
        self.catch_up()
        inputs, keys = self.find("inputs", entry.inputs)
        outputs, output_keys = self.find("outputs", entry.outputs)
        on_tensors = getattr(entry, "on_tensors", None)
        rule = HandWritten(entry.propagate, tuple([x.shape for x in inputs]), on_tensors)
        for r in outputs:
            self.meet(r, rule)
        self.put(rule, tuple(inputs), keys, tuple(outputs), output_keys)
        for r in outputs:
            r._leaf = False
        self.has_hand_written = self.has_hand_written or on_tensors is None

    def put(self, rule: HandWritten, inputs: tuple, keys: tuple, outputs: tuple, output_keys: tuple) -> None:
        """Record an entry of these Variables, the outputs met."""
        first, last = self.first, self.keys.stop
        for key, x in zip(keys, inputs):
            if not first <= key < last:  # no result that only the tape has
                self.meet(x, rule)
        shapes, kinds = tuple([r.shape for r in outputs]), [(r.dtype, r.device) for r in outputs]
        self.flat += (rule, output_keys, keys, None, (), None, shapes, kinds)
        for observer in self.observers:
            observer.recorded(inputs, outputs)

    def meet(self, x: Keyed, rule: Any) -> None:
        """Somebody else may have the tensor of this operand: remember what it is now. Raises OtherTapeError."""
        if x.key in self.keys:
            if not is_as_it_was(x):
                x._version = self.lent.look_at(x._value)
        else:
            self.adopt(x, getattr(rule, "function_name", rule.name))
            self.lent.look_at(x._value)
            self.adopted.add(x.key)

    def adopt(self, x: Keyed, where: str) -> None:
        """An operand whose key is of another tape, or of before a reset: a leaf is one here too. Raises OtherTapeError
        for what was computed there, since no gradient finds its way back."""
        self.name_of(x.key, x)
        if x.computed:
            when = "before this tape was reset" if any(x.key in era for era in self.eras) else "on another tape"
            raise OtherTapeError(
                f"{where}: the operand {x.name}, of shape {tuple(x.shape)}, was computed {when}, and no gradient finds "
                f"its way back through that. Compute it here; or, if it is meant to be a constant, take its value: "
                f"Variable.constant({x.name}.value)."
            )

    def find(self, kind: str, names: Sequence[str]) -> tuple[Sequence[Keyed], tuple[Key, ...]]:
        """The Variables that a hand-written entry names (they may stand for themselves), and their keys."""
        try:
            return names, tuple(map(_key, names))
        except AttributeError:
            found = self.named(kind, names)
            return found, tuple(map(_key, found))

    def named(self, kind: str, names: Sequence[str]) -> list[Keyed]:
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

    def variable(self, name: str) -> Any:
        """The Variable of this name, as long as somebody holds it."""
        return self.names.variable(name)

    def name_of(self, key: Key, variable: Keyed | None = None) -> str:
        return self.names.of(key, variable)

    @contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """The first Variable made inside that is given no name gets this one, and uses up no number: an operator
        inside names its result as `x.sum(name="L0")` does."""
        check_name(name, "the name of a result")
        self.catch_up()
        before = self.new_key

        def once() -> Key:
            self.new_key = before
            return self.names.give(name)

        self.new_key = once
        try:
            yield
        finally:
            if self.new_key is once:
                self.new_key = before

    def rename(self, variable: Keyed, name: str) -> None:
        """Give a Variable another name, in all that was recorded with it too."""
        self.names.rename(variable, name)

    def owns(self, key: Key) -> bool:
        return any(key in era for era in self.eras)

    def text(self, index: int) -> str:
        """An entry as a transcript would print it: `v3 = v2 * b`."""
        entry = self.rows.entry(index)
        rule, one, two = entry[0], entry[4], entry[5]
        names = [self.name_of(key) for key in inputs_of(entry)]
        right = rule.template(len(names), one, two).format(*names)
        return f"{', '.join(map(self.name_of, outputs_of(entry)))} = {right}"

    def __enter__(self) -> Tape:
        _entered.set((*_entered.get(()), _current.set(self)))  # of this context: a tape may be entered in two threads
        return self

    def __exit__(self, *_) -> None:
        *before, token = _entered.get()
        _entered.set(tuple(before))
        _current.reset(token)

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> TapeEntry: ...

    @overload
    def __getitem__(self, index: slice) -> list[TapeEntry]: ...

    def __getitem__(self, index: int | slice) -> TapeEntry | list[TapeEntry]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        entry = self.entries.entry(range(len(self))[index])
        names = [[self.name_of(key) for key in keys] for keys in (inputs_of(entry), outputs_of(entry))]
        return TapeEntry(*names, Propagate(entry))

    def __iter__(self) -> Iterator[TapeEntry]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return "\n".join(map(self.text, range(len(self)))) or "an empty tape"


class Propagate:
    """The `propagate` of an entry of the tape; of one entry they are all equal."""

    __slots__ = ("rule", "output", "one", "two")

    def __init__(self, entry: tuple):
        self.rule, self.output, _, _, self.one, self.two, _, _ = entry

    def __call__(self, dL_doutputs: list) -> Sequence[Any]:
        if self.rule.__class__ is HandWritten:
            return self.rule.propagate_function(dL_doutputs)
        (dL_dr,) = dL_doutputs
        return [*self.rule.propagate(dL_dr, self.one, self.two)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Propagate) and (other.rule, other.output) == (self.rule, self.output)

    def __hash__(self) -> int:
        return hash(self.output)

    def __repr__(self) -> str:
        return f"<propagate of {self.rule.name}>"


def nothing_to_do() -> None:
    pass


class HandWritten:
    """The rule of an entry that somebody appended: a `propagate`, held to what the entry promises by `grad`. `twin`
    makes of it the same on plain tensors. `asked`: which inputs' gradients are, all but where it is given."""

    __slots__ = ("propagate_function", "input_shapes", "twin", "asked")
    name = "aggregate"

    def __init__(
        self, propagate: Callable, input_shapes: tuple, twin: Callable | None = None, asked: tuple[bool, ...] = ()
    ):
        self.propagate_function = propagate
        self.input_shapes = input_shapes
        self.twin = twin
        self.asked = asked

    def on_tensors(self, dL_doutputs: list, one: tuple, two: None) -> Sequence[Any]:
        asked = self.asked or (True,) * len(self.input_shapes)
        return self.those_asked(self.twin(self.propagate_function, asked)(dL_doutputs))

    def those_asked(self, dL_dinputs: Sequence[Any]) -> Sequence[Any]:
        return [x if asked else None for x, asked in zip(dL_dinputs, self.asked)] if self.asked else dL_dinputs

    def part(self, asked: tuple[bool, ...]) -> HandWritten:
        return self if all(asked) else HandWritten(self.propagate_function, self.input_shapes, self.twin, asked)

    def template(self, count: int, one=(), two=None) -> str:
        return f"{self.function_name}({', '.join(['{}'] * count)})"

    @property
    def function_name(self) -> str:
        return function_name(self.propagate_function)


def function_name(propagate: Callable) -> str:
    """The function that a `propagate` was written in: 'fused' of 'test.<locals>.fused.<locals>.propagate'."""
    inside = getattr(propagate, "__qualname__", type(propagate).__name__).split(".<locals>.")
    return inside[max(len(inside) - 2, 0)].rsplit(".", 1)[-1]


_tapes: WeakValueDictionary[int, Tape] = WeakValueDictionary()  # by the era of their keys


def name_of(x: Keyed) -> str:
    """A Variable's name. What another tape computed has its own there. A leaf can be used here, and has the name by
    which entries of the current tape may say it."""
    tape = current_tape()
    if x.computed and not tape.owns(x.key):
        tape = _tapes.get(era_of(x.key))
    return plain_name(x.key, x) if tape is None else tape.name_of(x.key, x)


def is_as_it_was(x: Keyed) -> bool:
    """Whether its tape has looked at its tensor, and nobody changed that since."""
    try:
        return x._version == x._value._version
    except (RuntimeError, AttributeError):  # of an inference mode, where nobody counts; a result that nobody asked for
        return False


def hand_out(x: Keyed) -> None:
    """Somebody is about to get the tensor of this Variable, and can change it from now on."""
    key, tape = x.key, _current.get(None)  # mostly it is of that one
    if tape is None or key not in tape.keys:
        tape = _tapes.get(era_of(key))
    known = tape is not None and key in tape.keys
    x._version = tape.lent.look_at(x._value) if known else 0
    if known and key >= tape.first:  # entries to come look at what they read of the results up to this one
        tape.first = key + 1


def replaced(x: Keyed) -> None:
    """This Variable is about to get another tensor: entries that read it until now do not know that one."""
    x._version = -1
    for reference in _tapes.valuerefs():  # a list: other threads may make tapes meanwhile
        tape = reference()
        if tape is not None and (x.key in tape.keys or x.key in tape.adopted):
            tape.lent.replaced[x.key] = len(tape.rows)


_current: ContextVar[Tape] = ContextVar("tape")
_entered: ContextVar[tuple[Token, ...]] = ContextVar("entered")


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

    def __getattr__(self, name: str):
        return getattr(current_tape(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(current_tape(), name, value)

    def __enter__(self) -> Tape:
        return current_tape().__enter__()

    def __exit__(self, *error) -> None:
        current_tape().__exit__(*error)

    def __len__(self) -> int:
        return len(current_tape())

    def __iter__(self) -> Iterator[TapeEntry]:
        return iter(current_tape())

    def __getitem__(self, index: Any) -> Any:
        return current_tape()[index]

    def __repr__(self) -> str:
        return repr(current_tape())


gradient_tape = CurrentTape()


def reset_tape() -> None:
    """Forget what the current tape recorded, and start names anew at v0."""
    current_tape().reset()


def fresh_name() -> str:
    """A name that no Variable of the current tape has: v0, v1, …"""
    tape = current_tape()
    tape.catch_up()
    return tape.names.fresh()
