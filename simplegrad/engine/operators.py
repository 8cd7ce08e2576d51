"""The operators of the table on Variables: compute on the tensors, and record the entry that says how to go back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import cache, lru_cache
from numbers import Real

import torch

from ..ops import FUNCTIONS, Op, UnsupportedError, choosing, linear, named_operator, places, pointwise
from ..ops.calls import signature_of
from ..ops.numbers import operand
from ..ops.refused import advice, spelled
from ..torch_private import viewed
from .errors import RawTensorError
from .rows import Part
from .tape import _current, current_tape
from .variable import Variable

_new = object.__new__
_tape = _current.get
cat, stack, where = (FUNCTIONS[name] for name in ("cat", "stack", "where"))


class Rule:
    """An operator for arguments of which those at `places` are Variables: what an entry has to go back by.

    `propagate`: (g, one, two) -> a contribution for each input. `on_tensors`: the same on plain tensors,
    taking the values of saved Variables. `one` and `two` are what an entry keeps for them: of (r, *arguments) those in
    the slots `kept`. Where that would be more than two, or arguments may be left out, `kept` is None, and `one` all of
    them, with None for what no vjp reads. `left`, `right`: of two inputs, the part for one.
    """

    __slots__ = ("op", "name", "places", "keeps", "reads_result", "kept", "ways", "propagate", "on_tensors")
    __slots__ += ("left", "right")

    def __init__(self, op: Op, places: tuple[int, ...], count: int = 0):
        self.op = op
        self.name = name_of(op, places)
        self.places = places
        vjps = [op.vjp(place) for place in places]
        self.reads_result, *self.keeps = op.reads(vjps)
        slots = range(0 if self.reads_result else 1, 1 + len(self.keeps))
        kept = tuple([slot for slot in slots if slot == 0 or slot - 1 not in places or self.keeps[slot - 1]])
        self.kept = kept if op.pointwise and len(kept) <= 2 else None
        if op.each:  # one rule, which is told its place in the list
            vjps = [of_place(vjps[0], place) for place in range(count)]
        self.go_back_by([on_variables(self, vjp) for vjp in vjps], [on_tensors(self, vjp) for vjp in vjps])

    def go_back_by(self, *ways: list[Callable]) -> None:
        """A propagate for each input: on Variables, and on tensors."""
        self.ways = ways
        self.propagate, self.on_tensors = map(in_turn, ways)
        self.left, self.right = map(self.part, ((True, False), (False, True))) if len(ways[0]) == 2 else (None, None)

    def part(self, asked: tuple[bool, ...]) -> Part:
        """For the gradients of these inputs."""
        chosen = [[way if is_asked else no_gradient for way, is_asked in zip(ways, asked)] for ways in self.ways]
        return Part(*map(in_turn, chosen))

    def keep(self, args: Sequence) -> tuple:
        """`one` and `two` of these arguments, as far as they are known before there is a result: no tensor that no vjp
        reads, and of some operators only shapes."""
        if self.kept is not None:
            return (*[args[slot - 1] for slot in self.kept if slot], None, None)[:2]
        read = [place not in self.places or self.keeps[place] for place in range(len(args))]
        kept = [self.shaped(place, arg) if is_read else None for place, (arg, is_read) in enumerate(zip(args, read))]
        return (None, *kept), None

    def shaped(self, place: int, arg):
        if not self.op.shapes or place not in self.places:
            return arg
        return [x.shape for x in arg] if isinstance(arg, list) else arg.shape

    def saved(self, one, two) -> tuple:
        """(r, *arguments), with None for what was not kept."""
        if self.kept is None:
            return one
        found = dict(zip(self.kept, (one, two)))
        return tuple([found.get(slot) for slot in range(1 + len(self.keeps))])

    def template(self, count: int, one=None, two=None) -> str:
        """How a transcript writes it, {} for each of its inputs."""
        if count == len(self.keeps) and self.op.text.__class__ is str and not self.op.each:
            return self.op.text  # of Variables alone
        saved = self.saved(one, two)
        if self.op.each:
            return self.op.written([", ".join(["{}"] * count), *map(argument_text, saved[2:])])
        named = zip(saved[1:], [*self.op.parameters, *[""] * len(saved)])
        return self.op.written(
            ["{}" if i in self.places else argument_text(arg, name) for i, (arg, name) in enumerate(named)]
        )

    def __repr__(self) -> str:
        return self.name


def no_gradient(g, one, two) -> tuple[None]:
    return (None,)


def in_turn(ways: Sequence[Callable]) -> Callable:
    """A `propagate` of those for one input each."""
    if len(ways) == 1:
        return ways[0]
    if len(ways) > 2:
        return lambda g, one, two: [dL_dinput for way in ways for dL_dinput in way(g, one, two)]
    left, right = ways
    return lambda g, one, two: left(g, one, two) + right(g, one, two)


def name_of(op: Op, places: tuple[int, ...]) -> str:
    """What an entry is called: `mul`, and of one Variable and a number `mul_number` or `number_mul`."""
    if op is choosing.where:
        return {(1,): "where_left", (2,): "where_right"}.get(places, op.name)
    two = op.pointwise and sum(vjp is not None for vjp in op.vjps) == 2
    return {(0,): f"{op.name}_number", (1,): f"number_{op.name}"}.get(places, op.name) if two else op.name


def of_place(vjp: Callable, place: int) -> Callable:
    return lambda g, *saved: vjp(g, *saved, place)


def argument_text(arg, name: str = "") -> str:
    """An argument as it is written: `1:, ::2`. A tensor that is a constant has the name of the parameter."""
    if isinstance(arg, (tuple, list)):
        return ", ".join(map(argument_text, arg))
    if isinstance(arg, slice):
        ends = [arg.start, arg.stop] if arg.step is None else [arg.start, arg.stop, arg.step]
        return ":".join("" if end is None else str(end) for end in ends)
    if isinstance(arg, (torch.Tensor, Variable)):
        return name if name not in ("", "index") else f"tensor{tuple(arg.shape)}"
    return "..." if arg is Ellipsis else str(arg).replace("{", "{{").replace("}", "}}")


# The propagate of one input, for (how many arguments its vjp has after g, which of them are kept): on Variables, and on
# their values. Written out, since a call with `*` takes twice as long, and most of what passes go through is of these.
_CALLS: dict[tuple, Callable] = {
    (2, ()): lambda vjp: lambda g, one, two: (vjp(g, None, None),),
    (2, (0,)): lambda vjp: lambda g, one, two: (vjp(g, one, None),),
    (2, (1,)): lambda vjp: lambda g, one, two: (vjp(g, None, one),),
    (3, ()): lambda vjp: lambda g, one, two: (vjp(g, None, None, None),),
    (3, (2,)): lambda vjp: lambda g, one, two: (vjp(g, None, None, one),),
    (3, (0, 2)): lambda vjp: lambda g, one, two: (vjp(g, one, None, two),),
    (3, (1, 2)): lambda vjp: lambda g, one, two: (vjp(g, None, one, two),),
}
_CALLS_ON_VALUES: dict[tuple, Callable] = {
    (2, (0,)): lambda vjp: lambda g, one, two: (vjp(g, one._value, None),),
    (2, (1,)): lambda vjp: lambda g, one, two: (vjp(g, None, one._value),),
    (3, (0, 2)): lambda vjp: lambda g, one, two: (vjp(g, one._value, None, two._value),),
    (3, (1, 2)): lambda vjp: lambda g, one, two: (vjp(g, None, one._value, two._value),),
}


def on_variables(rule: Rule, vjp: Callable) -> Callable:
    """The vjp as (g, one, two) -> (contribution,)."""
    if rule.kept is None:
        return lambda g, one, _: (vjp(g, *one),)
    made = _CALLS.get((vjp.__code__.co_argcount - 1, rule.kept))
    return made(vjp) if made is not None else lambda g, one, two: (vjp(g, *rule.saved(one, two)),)


def on_tensors(rule: Rule, vjp: Callable) -> Callable:
    """The same, with the values of saved Variables. Which those are is known, so that nothing is asked on the way."""
    if rule.op.shapes or rule.kept == ():
        return on_variables(rule, vjp)
    if rule.places == (0,) and rule.op in (pointwise.mul, pointwise.div):
        return lambda g, number, _: (vjp(g, None, None, operand(number, g)),)
    if rule.kept is None:
        return lambda g, one, _: (vjp(g, *map(value_of, one)),)
    of_variables = all(slot - 1 in rule.places for slot in rule.kept if slot)
    made = _CALLS_ON_VALUES.get((vjp.__code__.co_argcount - 1, rule.kept)) if of_variables else None
    if made is not None:
        return made(vjp)
    called = on_variables(rule, vjp)
    return lambda g, one, two: called(g, value_of(one), value_of(two))


def value_of(x):
    """The tensor of a Variable; of a tensor (or a number, a shape) itself."""
    return x._value if x.__class__ is Variable else x


rule_of = cache(Rule)


# --- recording ---------------------------------------------------------------------------------------------------


def put_on_tape(
    rule: Rule, inputs: tuple, value: torch.Tensor, shape, one=None, two=None, is_view: bool = False
) -> Variable:
    """A Variable for `value`, and the entry that says how it came from `inputs`. Of an input that is no result of an
    operator, the tape remembers what its tensor is now: see lent.py.

    All operations of all passes come through here, so it does without constructors (a third of its time), and is told
    the shape: asking a tensor for it takes 0.1 of the 1 microsecond that an operation on 4 elements takes.
    """
    try:
        tape = _tape()
    except LookupError:  # the first operation of a new thread
        tape = current_tape()
    r = _new(Variable)
    r._value = value
    r.shape = shape
    r.key = key = tape.new_key()
    first = tape.first  # of the keys of results; `key` is the last
    try:
        for x in inputs:
            of_input = x.key
            if of_input < first:
                if of_input < tape.start or x._version != x._value._version:
                    tape.meet(x, rule)
            elif of_input > key:
                tape.meet(x, rule)
    except (RuntimeError, AttributeError):  # of an inference mode, where nobody counts; a result that was given a name
        for x in inputs:
            tape.meet(x, rule)
    if len(inputs) > 2:
        left, right = tuple([x.key for x in inputs]), None
    else:
        left, right = inputs[0].key, inputs[1].key if len(inputs) == 2 else None
    if is_view:
        r.key, r._version = key, _ = tape.names.lent(key), -1
    if rule.reads_result:
        one, two = (r, one) if rule.kept is not None else ((r, *one[1:]), None)
    flat = tape.flat
    flat += (rule, key, left, right, one, two, shape, value.dtype)
    for observer in tape.observers:
        observer.recorded(inputs, (r,))
    return r


def put_broadcast_on_tape(
    rule: Rule, inputs: tuple, value: torch.Tensor, one=None, two=None, is_view: bool = False
) -> Variable:
    """The same where the shapes of inputs may differ from the result's: the entry that broadcast undoes it."""
    shape, constants = value.shape, current_tape().constants
    undo = tuple([None if x.shape == shape or x.key in constants else x.shape for x in inputs])
    return put_on_tape(undoing(rule, undo), inputs, value, shape, one, two, is_view)


@lru_cache(maxsize=4096)
def undoing(rule: Rule, shapes: tuple) -> Rule:
    """The rule where it broadcast: the gradients of these inputs are summed to their shapes.

    One input is left alone: a number that a `propagate` made (`Variable.constant(torch.zeros(()))` for a None), whose
    gradient nobody asks for. The notebook does not sum it either.
    """
    if all(shape is None for shape in shapes):
        return rule
    made = copy(rule)
    made.go_back_by(*([way if x is None else summed(way, x) for way, x in zip(ways, shapes)] for ways in rule.ways))
    return made


def summed(way: Callable, shape: torch.Size) -> Callable:
    def to_shape(g, one, two):
        (dL_dinput,) = way(g, one, two)
        return (dL_dinput if dL_dinput.shape == shape else dL_dinput.sum_to_size(shape),)

    return to_shape


# --- an operator on Variables --------------------------------------------------------------------------------------


def apply(op: Op, args: tuple):
    """Compute it, and record the entry. Of a condition, or of weights, a plain tensor: no gradient flows through."""
    if not op.has_gradient:
        return op.forward(*map(raw, args))
    if op.each:
        return apply_to_list(op, args)
    args = [operand_of(op, x) if op.vjp(i) is not None else raw(x) for i, x in enumerate(args)]
    places = tuple([i for i, x in enumerate(args) if x.__class__ is Variable])
    inputs = tuple([args[i] for i in places])
    try:
        value = op.forward(*map(raw, args))
    except (RuntimeError, TypeError) as error:
        say_operands(error, op, args, inputs)
        raise
    if not inputs:
        return Variable.constant(value)
    rule = rule_of(op, places)
    one, two = rule.keep(args)
    for x in (one, two) if rule.kept is not None else one:
        if x.__class__ is torch.Tensor:  # a mask, an index: somebody may change it
            current_tape().lent.look_at(x)
    is_view = viewed(value) is not None or value is inputs[0]._value
    if op.pointwise:
        return put_broadcast_on_tape(rule, inputs, value, one, two, is_view)
    if op is linear.matmul and max(x.ndim for x in inputs) > 2:  # met a batch: its gradient has the batch's dimensions
        return put_on_tape(undoing(rule, tuple([x.shape for x in inputs])), inputs, value, value.shape, one)
    return put_on_tape(rule, inputs, value, value.shape, one, two, is_view)


def apply_to_list(op: Op, args: tuple) -> Variable:
    parts, *rest = args
    parts = [operand_of(op, x) for x in parts]
    for x in parts:
        if x.__class__ is not Variable:
            raise RawTensorError(f"{symbol_of(op)}: joins tensors, and {x} is among them.")
    value = op.forward([x._value for x in parts], *rest)
    rule = rule_of(op, (0,), len(parts))
    return put_on_tape(rule, tuple(parts), value, value.shape, *rule.keep((parts, *rest)))


def raw(x):
    """Tensors in the place of Variables, also of those in an index; what lies deeper is no business of ours."""
    if isinstance(x, Variable):
        return x._value
    if isinstance(x, (tuple, list)) and any(isinstance(part, Variable) for part in x):
        return type(x)([part._value if isinstance(part, Variable) else part for part in x])
    return x


def operand_of(op: Op, x):
    """What a gradient flows to: a Variable; a number or whatever is no tensor, as it is; a raw tensor as a leaf."""
    if x.__class__ is Variable or isinstance(x, Real):
        return x
    if isinstance(x, Variable):
        x.key  # noqa: B018  a result that has none yet is given one
        return x
    if isinstance(x, torch.Tensor):
        return constant(symbol_of(op), x)
    if isinstance(x, complex):
        raise RawTensorError(
            f"{symbol_of(op)}: got {x}. Complex numbers are not supported: the engine has real ones alone."
        )
    if op.pointwise or op.each or op is linear.matmul:
        raise RawTensorError(
            f"{symbol_of(op)}: got a {type(x).__name__} where a Variable belongs. A tensor or a number will do too."
        )
    return x


def constant(what: str, x: torch.Tensor) -> Variable:
    """A raw tensor beside Variables is a leaf, as torch takes it. But not what a `propagate` captured of numbers that
    were computed: a gradient of a gradient could not flow through."""
    if current_tape().propagating is not None and x.is_floating_point():
        raise RawTensorError(
            f"{what}: got a {type(x).__name__} of shape {tuple(x.shape)} where a Variable belongs. A gradient "
            f"cannot flow through it. If it is a constant, wrap it: Variable.constant(…); if it was computed from "
            f"Variables, compute it on them."
        )
    return Variable.constant(x)


def symbol_of(op: Op) -> str:
    """`*` of mul, `maximum` of maximum: what a message calls an operator."""
    return op.text.replace("{}", "").strip() if isinstance(op.text, str) and op.text.startswith("{} ") else op.name


def say_operands(error: Exception, op: Op, args: Sequence, inputs: tuple) -> None:
    """To what torch says of operands that do not go together, add their names and shapes. Of places in a list, which
    torch takes for an operand of another kind, say what to write."""
    if op is places.index and isinstance(error, TypeError):
        said = "an index is whole numbers, slices, None, …, lists of whole numbers, or tensors of those or of bools"
        raise IndexError(f"x[{', '.join(map(repr, args[1]))}]: {said}.") from error
    for name, arg in zip(op.parameters, args):
        if name == "index" and isinstance(arg, list | int) and op is not places.index:
            said = f"the places are {'a list' if isinstance(arg, list) else arg}, and torch takes a tensor. Write"
            raise UnsupportedError(f"{op.text.split('(')[0][3:]}: {said} torch.tensor({arg}).") from error
    if len(inputs) == 2:
        a, b = inputs
        error.add_note(f"in {a.name} {symbol_of(op)} {b.name}, of shapes {tuple(a.shape)} and {tuple(b.shape)}")


# --- the same for the operators that runs are made of, without asking -----------------------------------------------


def binary(op: Op) -> Callable:
    """`a + b`: of two Variables, or of one and a number."""
    forward, of_two, of_left = op.forward, rule_of(op, (0, 1)), rule_of(op, (0,))
    keeps_left, keeps_right = of_two.keeps
    peephole = op is pointwise.mul  # the notebook's: times 1.0 costs nothing

    def method(self: Variable, other) -> Variable:
        if other.__class__ is Variable:
            try:
                value = forward(self._value, other._value)
            except RuntimeError as error:
                say_operands(error, op, [], (self, other))
                raise
            if keeps_left:
                one, two = self, other if keeps_right else None
            else:
                one, two = other if keeps_right else None, None
            if self.shape is other.shape or self.shape == other.shape:
                return put_on_tape(of_two, (self, other), value, self.shape, one, two)
            return put_broadcast_on_tape(of_two, (self, other), value, one, two)
        if isinstance(other, Real):
            if peephole and other == 1.0:
                return self
            value = forward(self._value, operand(other, self._value))
            return put_on_tape(of_left, (self,), value, self.shape, other)
        return apply(op, (self, other))

    return method


def unary(op: Op) -> Callable:
    forward, rule = as_method(op.forward), rule_of(op, (0,))

    def reading(self: Variable) -> Variable:
        return put_on_tape(rule, (self,), forward(self._value), self.shape, self)

    def method(self: Variable) -> Variable:
        return put_on_tape(rule, (self,), forward(self._value), self.shape)

    return reading if rule.keeps[0] else method


def as_method(forward: Callable) -> Callable:
    """`torch.sin` as a tensor's own method, which looks at its arguments for 0.15 microseconds less."""
    name = getattr(forward, "__name__", "")
    return getattr(torch.Tensor, name) if forward is getattr(torch, name, None) else forward


def compare(method: str) -> Callable:
    def condition(self: Variable, other):
        if not isinstance(other, (Variable, torch.Tensor, Real)):
            return NotImplemented
        return getattr(self._value, method)(raw(other))

    return condition


_add, _sub, _mul, _div = map(binary, (pointwise.add, pointwise.sub, pointwise.mul, pointwise.div))
# As they would be made, without a detour: products and sums are most of what passes go through; and a vjp that is an
# operator of its own is called without asking what it is given.
_product, _sum = rule_of(pointwise.mul, (0, 1)), rule_of(pointwise.add, (0, 1))
_product.propagate, _product.on_tensors = lambda g, a, b: (g * b, g * a), lambda g, a, b: (g * b._value, g * a._value)
_product.left = Part(lambda g, a, b: (g * b, None), lambda g, a, b: (g * b._value, None))
_sum.propagate = _sum.on_tensors = lambda g, one, two: (g, g)
_sum.left = Part(*[lambda g, one, two: (g, None)] * 2)
_QUICK = {op: binary(op) for op in (pointwise.tanh_backward, pointwise.sigmoid_backward)}
for _op, _vjp in ((pointwise.tanh, pointwise.tanh_backward), (pointwise.sigmoid, pointwise.sigmoid_backward)):
    rule_of(_op, (0,)).propagate = lambda g, r, _, quick=_QUICK[_vjp]: (quick(g, r),)
    rule_of(_op, (0,)).on_tensors = lambda g, r, _, forward=_vjp.forward: (forward(g, r._value),)
_FAST = {"__add__": _add, "__sub__": _sub, "__mul__": _mul, "__truediv__": _div, "__neg__": unary(pointwise.neg)}
_FAST |= {name: unary(op) for name, op in pointwise.OF_ONE.items()}
_FAST |= {f"__{name}__": compare(f"__{name}__") for name in ("lt", "le", "gt", "ge", "eq", "ne")}


for _name, _method in _FAST.items():
    _method.__name__ = _method.__qualname__ = _name  # which messages say
    setattr(Variable, _name, _method)


def bind(op: Op, args: tuple):
    """What an operator of the table does with arguments among which there is a Variable."""
    quick = _QUICK.get(op)
    return quick(*args) if quick is not None and args[0].__class__ is Variable else apply(op, args)


Variable.bind = staticmethod(bind)
Variable.__hash__ = object.__hash__


# --- torch.tanh(x), torch.nn.functional.relu(x) on Variables ---------------------------------------------------------

# What torch.nn.functional and torch.nn pass on where their caller said nothing.
_SYMBOLS = {"__add__": "+", "__sub__": "-", "__mul__": "*", "__truediv__": "/", "__pow__": "**", "__matmul__": "@"}
_NOT_ASKED = {"dtype": None, "out": None, "_stacklevel": None, "inplace": False, "size_average": None, "reduce": None}


def torch_function(cls, func, types, args=(), kwargs=None):
    name = getattr(func, "__name__", str(func))
    if name.startswith("__"):  # tensor * x, and the like
        return getattr(Variable, name)(as_variable(_SYMBOLS.get(name, name), args[0]), *args[1:])
    ours = named_operator(name)
    if ours is None:
        plain = without_gradient(name, func, args, kwargs or {})
        if plain is not None:
            return plain
        raise RawTensorError(
            f"{spelled(name)}: not an operator on Variables, so it cannot be recorded. {advice(name, FUNCTIONS)}"
        )
    kwargs = {key: value for key, value in (kwargs or {}).items() if not is_default(key, value)}
    if name != "where" and args:  # whose first is a condition
        args = (as_variable(name, args[0]), *args[1:])
    return called(f"torch.{name}", ours, args, kwargs)


def without_gradient(name: str, func: Callable, args: tuple, kwargs: dict):
    """What is no operator, and need not be: torch.isnan(x), torch.argsort(x) and torch.equal(x, y) give no numbers that
    a gradient could flow through, torch.zeros_like(x) a leaf. None for all else."""
    if name.endswith("_"):
        return None
    try:
        result = func(*map(raw, args), **{key: raw(value) for key, value in kwargs.items()})
    except Exception:
        return None
    if name.endswith("_like"):
        return Variable.constant(result) if result.is_floating_point() else result
    several = result if isinstance(result, (tuple, list)) else [result]
    numbers = [x for x in several if not isinstance(x, (bool, int, str, torch.dtype, torch.Size))]
    counts = all(isinstance(x, torch.Tensor) and not x.is_floating_point() and not x.is_complex() for x in numbers)
    return result if counts else None


def is_default(key: str, value) -> bool:
    return key in _NOT_ASKED and (value is _NOT_ASKED[key] or key == "_stacklevel")


def as_variable(what: str, x):
    """A number or a tensor that stands first, as a leaf."""
    if isinstance(x, Real):
        return Variable.constant(torch.tensor(x))
    return constant(what, x) if isinstance(x, torch.Tensor) else x


def called(what: str, ours: Callable, args: tuple, kwargs: dict):
    """Call it; of arguments that it does not take, say what it takes."""
    try:
        return ours(*args, **kwargs)
    except TypeError as error:
        if f"{ours.__name__}()" not in str(error):
            raise
        raise UnsupportedError(f"{what}: {error}. {signature_of(ours)}") from None


Variable.__torch_function__ = classmethod(torch_function)
