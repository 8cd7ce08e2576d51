"""The operators: each with its forward and, beside it, its partials.

A partial takes dL/dr, the incoming gradient of the result, and what was saved, and gives dL/dinput. It computes on
Variables, so what it does is recorded too and can be differentiated again; and as operators on Variables are torch's,
the same line computes on plain tensors too. Where an operator broadcast an input, its entry sums that one's gradient to
the input's shape again (see `undoing`). Where torch's own formula is cheaper than the textbook's (tanh, sigmoid, the
zeros that indexing leaves), ours follows torch's derivatives.yaml.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from numbers import Real

import torch

from .. import torch_private
from .errors import RawTensorError
from .tape import Tape, _current, current_tape
from .variable import Variable

_new = object.__new__
_FLOATS = (torch.float32, torch.float64)
_tape = _current.get


class Operator:
    """How an operator is written in a transcript, and one partial for each input: (dL_dr, *saved) -> dL_dinput.

    In a text, {0} and {1} are the inputs' names, {s[0]} and so on what was saved. A partial whose last parameter is
    called `r` is given the operator's own result there.
    """

    __slots__ = ("name", "form", "partials", "reads_result", "on_tensors")

    def __init__(self, form: str | Callable[..., str], *partials: Callable, name: str = ""):
        self.name = name
        self.form = form
        self.partials = partials
        self.reads_result = any(p.__code__.co_varnames[p.__code__.co_argcount - 1] == "r" for p in partials)
        self.on_tensors: list[Callable] = []

    def text(self, inputs: Sequence[str], saved: tuple) -> str:
        return self.form.format(*inputs, s=saved) if isinstance(self.form, str) else self.form(inputs, saved)

    def propagate(self, dL_doutputs: list, saved: tuple) -> list[Variable]:
        """The rule as the notebook writes it: all partials, over a list of one incoming gradient."""
        (dL_dr,) = dL_doutputs
        return [partial(dL_dr, *saved) for partial in self.partials]

    def made_for_tensors(self, saved: tuple) -> list[Callable]:
        """The partials, (dL_dr, saved) -> dL_dinput, on plain tensors: of what was saved, the Variables' values."""
        self.on_tensors = [of_values(partial, saved) for partial in self.partials]
        return self.on_tensors

    def __repr__(self) -> str:
        return self.name


def of_values(partial: Callable, saved: tuple) -> Callable:
    """A partial that takes Variables' values. What an operator saves is always of the same kinds, mostly these."""
    kinds = [x.__class__ is Variable for x in saved]
    if not kinds:
        return lambda dL_dr, saved: partial(dL_dr)
    if kinds == [True]:
        return lambda dL_dr, saved: partial(dL_dr, saved[0].value)
    if kinds == [True, True]:
        return lambda dL_dr, saved: partial(dL_dr, saved[0].value, saved[1].value)
    return lambda dL_dr, saved: partial(dL_dr, *map(value_of, saved))


def value_of(x):
    """The tensor of a Variable; of a tensor (or a number, a shape) itself."""
    return x.value if x.__class__ is Variable else x


def record(operator: Operator, inputs: tuple, saved: tuple, value: torch.Tensor, shape) -> Variable:
    """A Variable for `value`, and the entry that says how it came from `inputs`.

    All operations of all passes come through here, so it does without constructors (a third of its time), and is told
    the shape: asking a tensor for it takes 0.1 of the 1 microsecond that an operation on 4 elements takes.
    """
    try:
        tape = _tape()
    except LookupError:  # the first operation of a new thread
        tape = current_tape()
    r = _new(Variable)
    r.value = value
    r.shape = shape
    r.key = key = tape.new_key()
    if operator.reads_result:
        saved = (*saved, r)
    own = tape.keys
    if len(inputs) == 2:
        a, b = inputs
        keys = first, second = (a.key, b.key)
        if first not in own or second not in own:
            adopt(tape, operator, inputs)
    elif len(inputs) == 1:
        keys = (inputs[0].key,)
        if keys[0] not in own:
            adopt(tape, operator, inputs)
    else:
        keys = tuple([x.key for x in inputs])
        adopt(tape, operator, inputs)
    tape.rows.append((operator, keys, key, saved, shape, value.dtype))
    if tape.observers:
        for observer in tape.observers:
            observer.recorded(inputs, (r,))
    return r


def adopt(tape: Tape, operator: Operator, inputs: tuple) -> None:
    for x in inputs:
        if x.key not in tape.keys:
            tape.adopt(x, operator.name)


def record_two(operator: Operator, a: Variable, b: Variable, saved: tuple, value: torch.Tensor) -> Variable:
    """The same for two operands whose shapes may differ: the entry that broadcast undoes it."""
    if a.shape == b.shape:
        return record(operator, (a, b), saved, value, a.shape)
    return record_broadcast(operator, (a, b), saved, value)


def record_broadcast(operator: Operator, inputs: tuple, saved: tuple, value: torch.Tensor) -> Variable:
    shape, constants = value.shape, current_tape().constants
    shapes = tuple([None if x.shape == shape or x.key in constants else x.shape for x in inputs])
    return record(undoing(operator, shapes), inputs, saved, value, shape)


@lru_cache(maxsize=4096)
def undoing(operator: Operator, shapes: tuple) -> Operator:
    """The operator where it broadcast: the gradients of these inputs are summed to their shapes.

    One input is left alone: a number that a `propagate` made (`Variable.constant(torch.zeros(()))` for a None), whose
    gradient nobody asks for. The notebook does not sum it either.
    """
    if all(shape is None for shape in shapes):
        return operator
    partials = [p if shape is None else summed(p, shape) for p, shape in zip(operator.partials, shapes)]
    made = Operator(operator.form, *partials, name=operator.name)
    made.reads_result = operator.reads_result
    return made


def summed(partial: Callable, shape: torch.Size) -> Callable:
    def to_shape(dL_dr, *saved):
        dL_dinput = partial(dL_dr, *saved)
        return dL_dinput if dL_dinput.shape == shape else dL_dinput.sum_to_size(shape)

    return to_shape


def say_operands(error: RuntimeError, symbol: str, a: Variable, b: Variable) -> None:
    """To what torch says of two operands that do not go together, add their names and shapes."""
    error.add_note(f"in {a.name} {symbol} {b.name}, of shapes {tuple(a.shape)} and {tuple(b.shape)}")


def check_operand(what: str, x) -> Variable:
    if isinstance(x, Variable):
        x.key  # noqa: B018  a result that has none yet is given one
        return x
    shape = f" of shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else ""
    raise RawTensorError(
        f"{what}: got a {type(x).__name__}{shape} where a Variable belongs. A gradient cannot flow through it. "
        f"If it is a constant, wrap it: Variable.constant(…); if it was computed from Variables, compute it on them."
    )


_scalars: dict[tuple, torch.Tensor] = {}


def operand(number: Real, beside: torch.Tensor) -> torch.Tensor | Real:
    """A number as a tensor operation takes it fastest: a Python number costs 2.0 microseconds, a tensor 0.8.

    (Not for number / x, which torch computes as a reciprocal and a product: the last bit would differ.)
    """
    dtype = beside.dtype
    found = _scalars.get((number, dtype))
    if found is not None and beside.__class__ is torch.Tensor:
        return found
    return scalar(number, dtype) if number and dtype in _FLOATS and beside.__class__ is torch.Tensor else number


def scalar(number: Real, dtype: torch.dtype) -> torch.Tensor | Real:
    """A tensor that any code may compute with from now on; the number itself where torch makes no such tensor now: in
    a transform of torch.func, with fake tensors."""
    with torch.inference_mode(False):
        made = torch.tensor(float(number), dtype=dtype, device="cpu")
    if made.__class__ is not torch.Tensor or not has_memory(made):
        return number
    if len(_scalars) >= 1024:
        _scalars.clear()
    return _scalars.setdefault((number, dtype), made)


def has_memory(tensor: torch.Tensor) -> bool:
    try:
        return tensor.data_ptr() != 0
    except RuntimeError:
        return False


def times(x: Variable | torch.Tensor, number: Real) -> Variable | torch.Tensor:
    """x * number, of a plain tensor too as fast as of a Variable."""
    return x * number if x.__class__ is Variable else x * operand(number, x)


def over(x: Variable | torch.Tensor, number: Real) -> Variable | torch.Tensor:
    """x / number, likewise."""
    return x / number if x.__class__ is Variable else x / operand(number, x)


# --- pointwise, two operands -------------------------------------------------------------------------------------

ADD = Operator("{} + {}", lambda dL_dr: dL_dr, lambda dL_dr: dL_dr)
ADD_NUMBER = Operator("{} + {s[0]}", lambda dL_dr, number: dL_dr)


def add(self: Variable, rhs: Variable | float) -> Variable:
    if rhs.__class__ is Variable:
        try:
            value = self.value + rhs.value
        except RuntimeError as error:
            say_operands(error, "+", self, rhs)
            raise
        if self.shape is rhs.shape:
            return record(ADD, (self, rhs), (), value, self.shape)
        return record_two(ADD, self, rhs, (), value)
    if isinstance(rhs, Real):
        return record(ADD_NUMBER, (self,), (rhs,), self.value + operand(rhs, self.value), self.shape)
    return add(self, check_operand("+", rhs))


SUB = Operator("{} - {}", lambda dL_dr: dL_dr, lambda dL_dr: -dL_dr)
SUB_NUMBER = Operator("{} - {s[0]}", lambda dL_dr, number: dL_dr)
NUMBER_SUB = Operator("{s[0]} - {}", lambda dL_dr, number: -dL_dr)


def sub(self: Variable, rhs: Variable | float) -> Variable:
    if rhs.__class__ is Variable:
        try:
            value = self.value - rhs.value
        except RuntimeError as error:
            say_operands(error, "-", self, rhs)
            raise
        if self.shape is rhs.shape:
            return record(SUB, (self, rhs), (), value, self.shape)
        return record_two(SUB, self, rhs, (), value)
    if isinstance(rhs, Real):
        return record(SUB_NUMBER, (self,), (rhs,), self.value - operand(rhs, self.value), self.shape)
    return sub(self, check_operand("-", rhs))


def number_sub(self: Variable, lhs: float) -> Variable:
    if isinstance(lhs, Real):
        return record(NUMBER_SUB, (self,), (lhs,), operand(lhs, self.value) - self.value, self.shape)
    return sub(check_operand("-", lhs), self)


MUL = Operator("{} * {}", lambda dL_dr, a, b: dL_dr * b, lambda dL_dr, a, b: dL_dr * a)
# As made_for_tensors would make them, without its detour: products are most of what a pass goes through (2 % of it).
MUL.on_tensors = [lambda dL_dr, saved: dL_dr * saved[1].value, lambda dL_dr, saved: dL_dr * saved[0].value]
MUL_NUMBER = Operator("{} * {s[0]}", lambda dL_dr, number: times(dL_dr, number))


def mul(self: Variable, rhs: Variable | float) -> Variable:
    if rhs.__class__ is Variable:
        try:
            value = self.value * rhs.value
        except RuntimeError as error:
            say_operands(error, "*", self, rhs)
            raise
        operands = (self, rhs)
        if self.shape is rhs.shape:
            return record(MUL, operands, operands, value, self.shape)
        return record_two(MUL, self, rhs, operands, value)
    if isinstance(rhs, Real):
        if rhs == 1.0:  # the notebook's peephole: a partial of 1.0 costs nothing
            return self
        return record(MUL_NUMBER, (self,), (rhs,), self.value * operand(rhs, self.value), self.shape)
    return mul(self, check_operand("*", rhs))


DIV = Operator("{} / {}", lambda dL_dr, b, r: dL_dr / b, lambda dL_dr, b, r: -(dL_dr * (r / b)))
DIV_NUMBER = Operator("{} / {s[0]}", lambda dL_dr, number: over(dL_dr, number))
NUMBER_DIV = Operator("{s[0]} / {}", lambda dL_dr, number, x, r: -(dL_dr * (r / x)))


def div(self: Variable, rhs: Variable | float) -> Variable:
    if rhs.__class__ is Variable:
        try:
            value = self.value / rhs.value
        except RuntimeError as error:
            say_operands(error, "/", self, rhs)
            raise
        if self.shape is rhs.shape:
            return record(DIV, (self, rhs), (rhs,), value, self.shape)
        return record_two(DIV, self, rhs, (rhs,), value)
    if isinstance(rhs, Real):
        return record(DIV_NUMBER, (self,), (rhs,), self.value / operand(rhs, self.value), self.shape)
    return div(self, check_operand("/", rhs))


def number_div(self: Variable, lhs: float) -> Variable:
    if isinstance(lhs, Real):
        return record(NUMBER_DIV, (self,), (lhs, self), lhs / self.value, self.shape)
    return div(check_operand("/", lhs), self)


POW = Operator(
    "{} ** {}",
    # where b is 0 the partial is, also of a = 0, whose power of -1 would make it NaN
    lambda dL_dr, a, b, r: masked(dL_dr * b, value_of(b) == 0) * a ** masked(b - 1, value_of(b) == 0),
    # where the power is 0 whatever the exponent, log(0) counts for nothing
    lambda dL_dr, a, b, r: masked(dL_dr * r, zero_base(a, b)) * torch.where(zero_base(a, b), 1.0, a).log(),
)
POW_NUMBER = Operator(
    "{} ** {s[1]}", lambda dL_dr, x, number: dL_dr * times(x ** (number - 1), number) if number else dL_dr * 0.0
)
NUMBER_POW = Operator(
    "{s[0]} ** {}", lambda dL_dr, number, r: dL_dr * times(r, math.log(number)) if number else dL_dr * 0.0
)


def zero_base(a, b) -> torch.Tensor:
    return (value_of(a) == 0) & (value_of(b) >= 0)


def pow(self: Variable, rhs: Variable | float) -> Variable:
    if rhs.__class__ is Variable:
        value = self.value**rhs.value
        return record_two(POW, self, rhs, (self, rhs), value)
    if isinstance(rhs, Real):
        return record(POW_NUMBER, (self,), (self, rhs), self.value**rhs, self.shape)
    return pow(self, check_operand("**", rhs))


def number_pow(self: Variable, lhs: float) -> Variable:
    if isinstance(lhs, Real):
        return record(NUMBER_POW, (self,), (lhs,), lhs**self.value, self.shape)
    return pow(check_operand("**", lhs), self)


# --- pointwise, one operand --------------------------------------------------------------------------------------

NEG = Operator("-{}", lambda dL_dr: -dL_dr)
EXP = Operator("{}.exp()", lambda dL_dr, r: dL_dr * r)
LOG = Operator("{}.log()", lambda dL_dr, x: dL_dr / x)
SQRT = Operator("{}.sqrt()", lambda dL_dr, r: dL_dr / times(r, 2))
SIN = Operator("{}.sin()", lambda dL_dr, x: dL_dr * x.cos())
COS = Operator("{}.cos()", lambda dL_dr, x: dL_dr * -x.sin())
TANH = Operator("{}.tanh()", lambda dL_dr, r: tanh_backward(dL_dr, r))
SIGMOID = Operator("{}.sigmoid()", lambda dL_dr, r: sigmoid_backward(dL_dr, r))
RELU = Operator("{}.relu()", lambda dL_dr, r: relu_backward(dL_dr, value_of(r)))
ABS = Operator("{}.abs()", lambda dL_dr, x: scaled(dL_dr, value_of(x).sign()))


def neg(self: Variable) -> Variable:
    return record(NEG, (self,), (), -self.value, self.shape)


def exp(self: Variable) -> Variable:
    return record(EXP, (self,), (), self.value.exp(), self.shape)


def log(self: Variable) -> Variable:
    operands = (self,)
    return record(LOG, operands, operands, self.value.log(), self.shape)


def sqrt(self: Variable) -> Variable:
    return record(SQRT, (self,), (), self.value.sqrt(), self.shape)


def sin(self: Variable) -> Variable:
    operands = (self,)
    return record(SIN, operands, operands, self.value.sin(), self.shape)


def cos(self: Variable) -> Variable:
    operands = (self,)
    return record(COS, operands, operands, self.value.cos(), self.shape)


def tanh(self: Variable) -> Variable:
    return record(TANH, (self,), (), self.value.tanh(), self.shape)


def sigmoid(self: Variable) -> Variable:
    return record(SIGMOID, (self,), (), self.value.sigmoid(), self.shape)


def relu(self: Variable) -> Variable:
    return record(RELU, (self,), (), self.value.relu(), self.shape)


def abs(self: Variable) -> Variable:
    operands = (self,)
    return record(ABS, operands, operands, self.value.abs(), self.shape)


# The backward formulas that torch has in one kernel each.
TANH_BACKWARD = Operator(
    "tanh_backward({}, {})",
    lambda dL_dr, g, t: tanh_backward(dL_dr, t),  # of g * (1 - t*t)
    lambda dL_dr, g, t: dL_dr * times(g * t, -2),
)
SIGMOID_BACKWARD = Operator(
    "sigmoid_backward({}, {})",
    lambda dL_dr, g, s: sigmoid_backward(dL_dr, s),  # of g * s * (1 - s)
    lambda dL_dr, g, s: dL_dr * (g * (1 - times(s, 2))),
)


RELU_BACKWARD = Operator("relu_backward({}, relu)", lambda dL_dr, relu: relu_backward(dL_dr, relu))
SOFTMAX_BACKWARD = Operator(
    "softmax_backward({}, {}, dim={s[2]})",
    lambda dL_dr, g, s, dim: softmax_backward(dL_dr, s, dim),  # of (g - (g * s).sum(dim, True)) * s
    lambda dL_dr, g, s, dim: (
        dL_dr * g - dL_dr * (g * s).sum(dim=dim, keepdim=True) - g * (dL_dr * s).sum(dim=dim, keepdim=True)
    ),
)


def tanh_backward(g: Variable, t: Variable) -> Variable:
    """g * (1 - t*t), for t = tanh(x)."""
    if g.__class__ is not Variable:
        return torch_private.tanh_backward(g, t)
    value = torch_private.tanh_backward(g.value, t.value)
    return record_two(TANH_BACKWARD, g, t, (g, t), value)


def sigmoid_backward(g: Variable, s: Variable) -> Variable:
    """g * s * (1 - s), for s = sigmoid(x)."""
    if g.__class__ is not Variable:
        return torch_private.sigmoid_backward(g, s)
    value = torch_private.sigmoid_backward(g.value, s.value)
    return record_two(SIGMOID_BACKWARD, g, s, (g, s), value)


def relu_backward(g: Variable, relu: torch.Tensor) -> Variable:
    """g, with 0 where the constant `relu` is 0."""
    value = torch_private.threshold_backward(value_of(g), relu, 0)
    return record(RELU_BACKWARD, (g,), (relu,), value, g.shape) if g.__class__ is Variable else value


def softmax_backward(g: Variable, s: Variable, dim: int) -> Variable:
    """(g - (g * s).sum(dim, keepdim=True)) * s, for s = softmax(x, dim)."""
    if g.__class__ is not Variable:
        return torch_private.softmax_backward(g, s, dim, g.dtype)
    value = torch_private.softmax_backward(g.value, s.value, dim, g.dtype)
    return record(SOFTMAX_BACKWARD, (g, s), (g, s, dim), value, g.shape)


# --- choosing ----------------------------------------------------------------------------------------------------

MASKED = Operator("{}.masked_fill(mask, 0)", lambda dL_dr, mask: masked(dL_dr, mask))
SCALED = Operator("{} * weights", lambda dL_dr, weights: scaled(dL_dr, weights))


def masked(x: Variable, mask: torch.Tensor) -> Variable:
    """x, with 0 where the mask (a constant) is True; a NaN or infinity there is gone too, as a product keeps it."""
    if x.__class__ is not Variable:
        return x.masked_fill(mask, 0)
    value = x.value.masked_fill(mask, 0)
    return record_broadcast(MASKED, (x,), (mask,), value)


def scaled(x: Variable, weights: torch.Tensor) -> Variable:
    """x times a constant tensor."""
    if x.__class__ is not Variable:
        return x * weights
    return record_broadcast(SCALED, (x,), (weights,), x.value * weights)


def kept(x: Variable, condition: torch.Tensor) -> Variable:
    """where(condition, x, 0.0) of a gradient; the condition is a constant."""
    if x.__class__ is not Variable:
        return torch.where(condition, x, operand(0.0, x))
    return record_broadcast(WHERE_LEFT, (x,), (condition, 0.0), torch.where(condition, x.value, operand(0.0, x.value)))


def shared(dL_dr: Variable, mine: torch.Tensor, other: torch.Tensor) -> Variable:
    """The gradient of the one of two operands that won where `mine` > `other`; a tie is shared, as torch does."""
    dL_dmine = masked(dL_dr, mine < other)
    ties = mine == other
    return scaled(dL_dmine, torch.where(ties, 0.5, 1.0).to(mine.dtype)) if ties.any() else dL_dmine


MAXIMUM = Operator(
    "maximum({}, {})",
    lambda dL_dr, a, b: shared(dL_dr, value_of(a), value_of(b)),
    lambda dL_dr, a, b: shared(dL_dr, value_of(b), value_of(a)),
)
MINIMUM = Operator(
    "minimum({}, {})",
    lambda dL_dr, a, b: shared(dL_dr, -value_of(a), -value_of(b)),
    lambda dL_dr, a, b: shared(dL_dr, -value_of(b), -value_of(a)),
)


def maximum(self: Variable, other: Variable) -> Variable:
    a, b = check_operand("maximum", self), check_operand("maximum", other)
    value = torch.maximum(a.value, b.value)
    return record_two(MAXIMUM, a, b, (a, b), value)


def minimum(self: Variable, other: Variable) -> Variable:
    a, b = check_operand("minimum", self), check_operand("minimum", other)
    value = torch.minimum(a.value, b.value)
    return record_two(MINIMUM, a, b, (a, b), value)


WHERE = Operator(
    "where(condition, {}, {})",
    lambda dL_dr, condition: kept(dL_dr, condition),
    lambda dL_dr, condition: masked(dL_dr, condition),
)
WHERE_LEFT = Operator("where(condition, {}, {s[1]})", lambda dL_dr, condition, number: kept(dL_dr, condition))
WHERE_RIGHT = Operator("where(condition, {s[1]}, {})", lambda dL_dr, condition, number: masked(dL_dr, condition))


def where(condition: torch.Tensor, a: Variable | float, b: Variable | float) -> Variable:
    """a where the condition (a boolean tensor, no gradient flows through it) is True, else b."""
    condition = condition.value if isinstance(condition, Variable) else condition
    if isinstance(a, Real):
        return _where_number(WHERE_RIGHT, condition, check_operand("where", b), a)
    if isinstance(b, Real):
        return _where_number(WHERE_LEFT, condition, check_operand("where", a), b)
    a, b = check_operand("where", a), check_operand("where", b)
    return record_broadcast(WHERE, (a, b), (condition,), torch.where(condition, a.value, b.value))


def _where_number(operator: Operator, condition: torch.Tensor, x: Variable, number: float) -> Variable:
    other = operand(number, x.value)
    value = torch.where(condition, x.value, other) if operator is WHERE_LEFT else torch.where(condition, other, x.value)
    return record_broadcast(operator, (x,), (condition, number), value)


# --- reductions, and expand, which is the backward of sum --------------------------------------------------------


def _reduction_text(name: str, at: int) -> Callable[..., str]:
    def text(inputs: Sequence[str], saved: tuple) -> str:
        dim, keepdim = saved[at : at + 2]
        said = ([] if dim is None else [f"dim={dim}"]) + ["keepdim=True"] * bool(keepdim)
        return f"{inputs[0]}.{name}({', '.join(said)})"

    return text


def restored(g: Variable, shape: torch.Size, dim, keepdim: bool) -> Variable:
    """A gradient of a reduction's result as one of its input: the reduced dimensions are there again, of size 1."""
    if keepdim or not shape or (dim is None and len(shape) == 1):
        return g
    ones = range(len(shape)) if dim is None else {d % len(shape) for d in ([dim] if isinstance(dim, int) else dim)}
    return g.reshape(*[1 if d in ones else n for d, n in enumerate(shape)])


def spread(g: Variable, shape: torch.Size, dim, keepdim: bool) -> Variable:
    """The gradient of a sum: the same one for each element that was added."""
    if not shape:
        return g
    g = g if dim is None else restored(g, shape, dim, keepdim)
    if g.__class__ is not Variable:
        return g.expand(shape)
    return record(EXPAND, (g,), (g.shape, shape), g.value.expand(shape), shape)


SUM = Operator(_reduction_text("sum", 1), lambda dL_dr, shape, dim, keepdim: spread(dL_dr, shape, dim, keepdim))
MEAN = Operator(
    _reduction_text("mean", 1),
    lambda dL_dr, shape, dim, keepdim, count: over(spread(dL_dr, shape, dim, keepdim), count),
)
AMAX = Operator(
    _reduction_text("amax", 1),
    lambda dL_dr, x, dim, keepdim, r: scaled(restored(dL_dr, x.shape, dim, keepdim), shares_of_ties(value_of(x), dim)),
)
LOGSUMEXP = Operator(
    _reduction_text("logsumexp", 1),
    lambda dL_dr, x, dim, keepdim, r: (
        restored(dL_dr, x.shape, dim, keepdim) * (x - restored(r, x.shape, dim, keepdim)).exp()
    ),
)
SOFTMAX = Operator("{}.softmax(dim={s[0]})", lambda dL_dr, dim, r: softmax_backward(dL_dr, r, dim))


def _dims(dim) -> tuple | int | None:
    return (tuple(dim) or None) if isinstance(dim, (list, tuple)) else dim


def sum(self: Variable, dim=None, keepdim: bool = False, name: str | None = None) -> Variable:
    """The sum over `dim` (an int, several, or None for all). `name` names the result, as in the notebook."""
    if isinstance(dim, str):  # the notebook's x.sum('L0')
        dim, name = None, dim
    if name is not None:
        with current_tape().naming(name):
            r = sum(self, dim, keepdim)
        r.name  # noqa: B018  asked for now, the name is this result's: a later one gets a suffix
        return r
    dim = _dims(dim)
    value = self.value.sum() if dim is None and not keepdim else self.value.sum(dim, keepdim)
    return record(SUM, (self,), (self.shape, dim, keepdim), value, value.shape)


def mean(self: Variable, dim=None, keepdim: bool = False) -> Variable:
    dim = _dims(dim)
    value = self.value.mean(dim, keepdim)
    count = self.value.numel() // max(value.numel(), 1)
    return record(MEAN, (self,), (self.shape, dim, keepdim, count), value, value.shape)


def shares_of_ties(x: torch.Tensor, dim) -> torch.Tensor:
    """1 where x is largest along `dim`, or an equal share of it for each tie, as torch's amax gives it."""
    largest = (x == x.amax(() if dim is None else dim, True)).to(x.dtype)
    return largest / largest.sum(dim, keepdim=True)


def amax(self: Variable, dim=None, keepdim: bool = False) -> Variable:
    dim = _dims(dim)
    value = self.value.amax(() if dim is None else dim, keepdim)
    return record(AMAX, (self,), (self, dim, keepdim), value, value.shape)


def logsumexp(self: Variable, dim=None, keepdim: bool = False) -> Variable:
    dim = _dims(dim)
    value = self.value.logsumexp(tuple(range(self.ndim)) if dim is None else dim, keepdim)
    return record(LOGSUMEXP, (self,), (self, dim, keepdim), value, value.shape)


def softmax(self: Variable, dim: int = -1) -> Variable:
    return record(SOFTMAX, (self,), (dim,), self.value.softmax(dim), self.shape)


EXPAND = Operator(
    lambda inputs, saved: f"{inputs[0]}.expand({', '.join(map(str, saved[1]))})",
    lambda dL_dr, shape, sizes: dL_dr.sum_to_size(shape),
)
SUM_TO_SIZE = Operator(
    lambda inputs, saved: (
        f"{inputs[0]}.sum_to_size({', '.join(map(str, saved[1]))})" if saved[1] else f"{inputs[0]}.sum()"
    ),
    lambda dL_dr, shape, sizes: dL_dr.expand(shape),
)


def _sizes(sizes: Sequence) -> Sequence[int]:
    return sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def expand(self: Variable, *sizes: int) -> Variable:
    """Repeat dimensions of size 1 (and new ones in front) without copying, to the given sizes (-1: as it is)."""
    value = self.value.expand(_sizes(sizes))
    shape = value.shape
    return record(EXPAND, (self,), (self.shape, shape), value, shape)


def sum_to_size(self: Variable, *sizes: int) -> Variable:
    """The backward of `expand`: sum what broadcasting repeated, until the shape is `sizes`."""
    sizes = _sizes(sizes)
    value = self.value.sum_to_size(sizes) if sizes else self.value.sum()
    return record(SUM_TO_SIZE, (self,), (self.shape, sizes), value, value.shape)


CAST = Operator("{}.to({s[1]})", lambda dL_dr, before, after: cast(dL_dr, before))


def cast(x: Variable, dtype: torch.dtype) -> Variable:
    """x as another dtype: what `grad` does with a gradient that came from operands of two."""
    if x.__class__ is not Variable:
        return x.to(dtype)
    return record(CAST, (x,), (x.value.dtype, dtype), x.value.to(dtype), x.shape)


# --- shapes ------------------------------------------------------------------------------------------------------

RESHAPE = Operator(
    lambda inputs, saved: f"{inputs[0]}.reshape({', '.join(map(str, saved[1]))})",
    lambda dL_dr, shape, sizes: dL_dr.reshape(shape),
)
TRANSPOSE = Operator("{}.transpose({s[0]}, {s[1]})", lambda dL_dr, d0, d1: dL_dr.transpose(d0, d1))
PERMUTE = Operator(
    lambda inputs, saved: f"{inputs[0]}.permute({', '.join(map(str, saved[0]))})",
    lambda dL_dr, dims, back: dL_dr.permute(*back),
)


def reshape(self: Variable, *sizes: int) -> Variable:
    value = self.value.reshape(_sizes(sizes))
    return record(RESHAPE, (self,), (self.shape, value.shape), value, value.shape)


def transpose(self: Variable, dim0: int, dim1: int) -> Variable:
    value = self.value.transpose(dim0, dim1)
    return record(TRANSPOSE, (self,), (dim0, dim1), value, value.shape)


def permute(self: Variable, *dims: int) -> Variable:
    dims = tuple(_sizes(dims))
    value = self.value.permute(dims)
    positive = [d % self.ndim for d in dims]
    back = tuple(positive.index(d) for d in range(self.ndim))
    return record(PERMUTE, (self,), (dims, back), value, value.shape)


def unsqueeze(self: Variable, dim: int) -> Variable:
    return reshape(self, *self.value.unsqueeze(dim).shape)


def squeeze(self: Variable, *dim: int) -> Variable:
    return reshape(self, *self.value.squeeze(*dim).shape)


def flatten(self: Variable, start_dim: int = 0, end_dim: int = -1) -> Variable:
    return reshape(self, *self.value.flatten(start_dim, end_dim).shape)


def t(self: Variable) -> Variable:
    return transpose(self, 0, 1) if self.ndim > 1 else self


def index_text(index: tuple) -> str:
    """An index as it is written: `1:, ::2`."""
    return ", ".join(map(_index_part, index))


def _index_part(part) -> str:
    if isinstance(part, slice):
        ends = [part.start, part.stop] if part.step is None else [part.start, part.stop, part.step]
        return ":".join("" if end is None else str(end) for end in ends)
    if part is Ellipsis:
        return "..."
    return f"tensor{tuple(part.shape)}" if isinstance(part, torch.Tensor) else str(part)


INDEX = Operator(
    lambda inputs, saved: f"{inputs[0]}[{index_text(saved[1])}]", lambda dL_dr, shape, index: put(dL_dr, shape, index)
)
PUT = Operator(
    lambda inputs, saved: f"zeros{tuple(saved[0])}.index_put([{index_text(saved[1])}], {inputs[0]})",
    lambda dL_dr, shape, index: dL_dr[index],
)


def getitem(self: Variable, index) -> Variable:
    """x[index]: ints, slices, None, …, and integer or boolean tensors, as in torch."""
    parts = index if isinstance(index, tuple) else (index,)
    index = tuple(part.value if isinstance(part, Variable) else part for part in parts)
    value = self.value[index]
    return record(INDEX, (self,), (self.shape, index), value, value.shape)


def put(g: Variable, shape: torch.Size, index: tuple) -> Variable:
    """Zeros of `shape` with g added at `index`: the backward of indexing. A place taken twice gets both."""
    value = value_of(g)
    zeros = value.new_zeros(shape)
    if all(not isinstance(part, (torch.Tensor, list)) for part in index):
        zeros[index] = value
    else:  # index an array of positions, so that whatever torch makes of the index is what we put back to
        positions = torch.arange(zeros.numel(), device=zeros.device).reshape(shape)[index].flatten()
        zeros.view(-1).index_add_(0, positions, value.flatten())
    return record(PUT, (g,), (shape, index), zeros, shape) if g.__class__ is Variable else zeros


def _joined_text(name: str, dim: int) -> Callable[..., str]:
    return lambda inputs, saved: f"{name}([{', '.join(inputs)}], dim={dim})"


def cat(tensors: Sequence[Variable], dim: int = 0) -> Variable:
    tensors = tuple(check_operand("cat", x) for x in tensors)
    value = torch.cat([x.value for x in tensors], dim)
    before, partials, start = (slice(None),) * (dim % value.ndim), [], 0
    for x in tensors:
        stop = start + x.shape[dim]
        partials.append(lambda dL_dr, here=(*before, slice(start, stop)): dL_dr[here])
        start = stop
    return record(Operator(_joined_text("cat", dim), *partials, name="cat"), tensors, (), value, value.shape)


def stack(tensors: Sequence[Variable], dim: int = 0) -> Variable:
    tensors = tuple(check_operand("stack", x) for x in tensors)
    value = torch.stack([x.value for x in tensors], dim)
    before = (slice(None),) * (dim % value.ndim)
    partials = [lambda dL_dr, here=(*before, i): dL_dr[here] for i in range(len(tensors))]
    return record(Operator(_joined_text("stack", dim), *partials, name="stack"), tensors, (), value, value.shape)


def _matmul_left(dL_dr: Variable, a: Variable, b: Variable) -> Variable:
    if b.ndim == 1:
        return dL_dr * b if a.ndim == 1 else dL_dr.unsqueeze(-1) * b
    if a.ndim == 1:
        return (b @ dL_dr.unsqueeze(-1)).squeeze(-1)
    return dL_dr @ b.mT


def _matmul_right(dL_dr: Variable, a: Variable, b: Variable) -> Variable:
    if a.ndim == 1:
        return dL_dr * a if b.ndim == 1 else a.unsqueeze(-1) * dL_dr.unsqueeze(-2)
    if b.ndim == 1:
        return (a.mT @ dL_dr.unsqueeze(-1)).squeeze(-1)
    return a.mT @ dL_dr


MATMUL = Operator("{} @ {}", _matmul_left, _matmul_right)


def matmul(self: Variable, other: Variable) -> Variable:
    """torch's matmul: vectors, matrices and batches of them."""
    a, b = check_operand("@", self), check_operand("@", other)
    try:
        value = a.value @ b.value
    except RuntimeError as error:
        say_operands(error, "@", a, b)
        raise
    batched = max(a.ndim, b.ndim) > 2  # a vector or matrix that met a batch: its gradient has the batch's dimensions
    operator = undoing(MATMUL, (a.shape, b.shape)) if batched else MATMUL
    return record(operator, (a, b), (a, b), value, value.shape)


# --- as torch's users write them: Python operators, methods, and torch.tanh(x) -----------------------------------

METHODS = {
    f.__name__: f
    for f in (add, sub, mul, div, pow, neg, exp, log, sqrt, sin, cos, tanh, sigmoid, relu, abs, maximum, minimum, sum)
    + (mean, amax, logsumexp, softmax, expand, sum_to_size, reshape, transpose, permute, unsqueeze, squeeze, flatten)
    + (t, matmul)
}
FUNCTIONS = METHODS | {"where": where, "cat": cat, "stack": stack}
ALIASES = {"view": reshape, "mm": matmul, "bmm": matmul, "mv": matmul, "dot": matmul, "subtract": sub, "multiply": mul}
ALIASES |= {"divide": div, "true_divide": div, "absolute": abs, "negative": neg, "concat": cat, "concatenate": cat}
DUNDERS = {"add": add, "radd": add, "sub": sub, "rsub": number_sub, "mul": mul, "rmul": mul, "truediv": div}
DUNDERS |= {"rtruediv": number_div, "pow": pow, "rpow": number_pow, "neg": neg, "abs": abs, "matmul": matmul}
DUNDERS |= {"getitem": getitem, "rmatmul": lambda self, lhs: matmul(check_operand("@", lhs), self)}


def _compare(method: str) -> Callable:
    def compare(self: Variable, other) -> torch.Tensor:
        return getattr(self.value, method)(other.value if isinstance(other, Variable) else other)

    return compare


# What torch.nn.functional passes on where its caller said nothing.
_NOT_ASKED = {"inplace": False, "dtype": None, "out": None, "_stacklevel": 3}


def _torch_function(cls, func, types, args=(), kwargs=None):
    """torch.tanh(x), torch.cat([x, y]), torch.nn.functional.relu(x) on Variables are our operators."""
    name = getattr(func, "__name__", str(func))
    ours = FUNCTIONS.get(name) or ALIASES.get(name) or DUNDERS.get(name.strip("_"))
    if ours is None:
        known = ", ".join(sorted(FUNCTIONS))
        raise RawTensorError(
            f"torch.{name}: not an operator on Variables, so it cannot be recorded. There are: {known}."
        )
    if name.startswith("__r") and name.strip("_") in DUNDERS:
        args = args[::-1] if not isinstance(args[0], Variable) else args
    if name == "pow" and args and isinstance(args[0], Real):  # torch.pow alone takes a number first
        ours, args = number_pow, (args[1], args[0])
    check_operand(f"torch.{name}", args[0]) if name not in ("where", "cat", "stack", "concat", "concatenate") else None
    kwargs = {key: value for key, value in (kwargs or {}).items() if _NOT_ASKED.get(key, _NOT_ASKED) is not value}
    return ours(*args, **kwargs)


for _name, _operator in list(globals().items()):
    if isinstance(_operator, Operator):
        _operator.name = _name.lower()
for _name, _method in (METHODS | {k: v for k, v in ALIASES.items() if not k.startswith("concat")}).items():
    setattr(Variable, _name, _method)
for _name, _method in DUNDERS.items():
    setattr(Variable, f"__{_name}__", _method)
for _name in ("__lt__", "__le__", "__gt__", "__ge__"):
    setattr(Variable, _name, _compare(_name))
Variable.T = Variable.mT = property(lambda self: transpose(self, -1, -2) if self.ndim > 1 else self)
Variable.__torch_function__ = classmethod(_torch_function)
Variable.__array_ufunc__ = None  # so that numpy.float64(2) * x comes to us, and not to numpy element by element
