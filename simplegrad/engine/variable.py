"""`Variable`: a tensor, and the key by which the tape knows whose gradient is whose."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import NoReturn

import torch

from ..ops import Operators
from .errors import RawTensorError, WrongShapeError
from .names import check_name
from .tape import current_tape, hand_out, name_of, replaced

_ELSEWHERE = {
    "backward": "gradients are results, da, db = grad(L, [a, b]).",
    "grad": "gradients are results, da, db = grad(L, [a, b]).",
    "data": "the tensor is x.value.",
    "requires_grad": "everything that is computed from a Variable can be differentiated.",
    "requires_grad_": "everything that is computed from a Variable can be differentiated.",
    "cuda": "move the tensor before it becomes a Variable.",
    "cpu": "the tensor is x.value, x.value.cpu().",
}


class Variable(Operators):
    """A tensor whose computation is recorded. Operators on it are torch's, by torch's names (see ops/calls.py).

    `value`: the tensor. `shape`: its shape. `name`: unique on its tape; `v0`, `v1`, … unless one is given, and made
    only when asked for. `Variable.constant` makes a leaf; `Variable(…)` is for the outputs of a hand-written entry.
    Raises RawTensorError for what is no tensor, ValueError for a name that is none.
    """

    __array_ufunc__ = None  # so that numpy.float64(2) * x comes to us, and not to numpy element by element
    __slots__ = ("_value", "key", "shape", "_version", "_given", "_leaf", "__weakref__")

    def __init__(self, value: torch.Tensor, name: str | None = None):
        if not isinstance(value, torch.Tensor):
            raise RawTensorError(
                f"Variable(…) was given a {type(value).__name__}, not a tensor. "
                f"{'It is a Variable already.' if isinstance(value, Variable) else 'Write Variable(torch.tensor(…)).'}"
            )
        if value.is_complex():
            raise RawTensorError(
                "Variable(…) was given a complex tensor, and complex inputs are not supported: keep the real and the "
                "imaginary part apart, torch.view_as_real(z)."
            )
        tape = current_tape()
        self._value, self._version = value, -1  # what it is when it is first read is what counts
        self.shape = value.shape
        self._given, self._leaf = name, True
        if name is None:
            self.key = tape.names.lent(tape.new_key())
        else:
            check_name(name, "Variable(…, name=…)")
            tape.catch_up()
            self.key = tape.names.give(name)  # claimed now: an entry may be appended that says this name
            tape.name_of(self.key, self)

    @staticmethod
    def constant(value: torch.Tensor, name: str | None = None) -> Variable:
        """A leaf: a value that was not computed on the tape."""
        leaf = Variable(value, name)
        tape = current_tape()
        if tape.propagating is not None and not leaf.shape:
            tape.constants.add(leaf.key)
        for observer in tape.observers:
            observer.leaf(leaf)
        return leaf

    @property
    def value(self) -> torch.Tensor:
        """The tensor. Changed in place (`x.value.add_(1)`) or replaced (`x.value = other`), it is the one that whatever
        runs from now on computes with; a pass that has yet to read what it was raises ChangedInPlaceError."""
        try:
            if self._version >= 0:
                return self._value
        except AttributeError:  # the result of an operator, and for the first time
            pass
        hand_out(self)
        return self._value

    @value.setter
    def value(self, value: torch.Tensor) -> None:
        if value is not self._value:  # `x.value += 1` is a change in place
            check_replacement(self, value)
            replaced(self)
            self._value = value

    @property
    def name(self) -> str:
        return name_of(self)

    @property
    def computed(self) -> bool:
        """Whether an entry of a tape says how it was computed: a leaf is not."""
        return not getattr(self, "_leaf", False)

    @property
    def dtype(self) -> torch.dtype:
        return self._value.dtype

    @property
    def device(self) -> torch.device:
        return self._value.device

    def named(self, name: str, compute: Callable[[], Variable]) -> Variable:
        with current_tape().naming(name):
            return compute()

    def size(self, dim: int | None = None):
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return len(self.shape)

    ndimension = dim

    def numel(self) -> int:
        return self._value.numel()

    def item(self):
        return self._value.item()

    def tolist(self):
        return self._value.tolist()

    def __float__(self) -> float:
        return float(self._value)

    def __int__(self) -> int:
        return int(self._value)

    def __format__(self, form: str) -> str:
        return format(self._value, form) if form else str(self)

    def __array__(self, dtype=None, copy=None):
        return self.value.detach().cpu().numpy().astype(dtype) if dtype else self.value.detach().cpu().numpy()

    def new_zeros(self, *size, dtype: torch.dtype | None = None) -> Variable:
        """A leaf of zeros, as this one's dtype says."""
        return Variable.constant(self._value.new_zeros(*size, dtype=dtype))

    def new_ones(self, *size, dtype: torch.dtype | None = None) -> Variable:
        return Variable.constant(self._value.new_ones(*size, dtype=dtype))

    def __copy__(self) -> Variable:
        """A leaf of its own: two Variables never share a gradient."""
        return Variable.constant(self.value)

    def __deepcopy__(self, memo: dict) -> Variable:
        """A leaf with numbers of its own."""
        return Variable.constant(self._value.detach().clone())

    def __reduce__(self) -> tuple:
        """Pickled, it comes back as a leaf of the tape that is current then."""
        return Variable.constant, (self.value,)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not isinstance(vars(Variable).get(name), Missing)]

    def __iter__(self) -> Iterator[Variable]:
        if not self.shape:
            raise TypeError("a Variable without dimensions has no elements to go through.")
        return (self[i] for i in range(self.shape[0]))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(
                "len() of a Variable without dimensions. torch.tensor(…) asks for it too, and takes no Variables: "
                "write x.clone(), x.detach() for a constant, or stack([x, y]) for several."
            )
        return len(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __str__(self) -> str:
        return repr(self._value)

    def __repr__(self) -> str:
        return f"Variable({self._value!r}, name={self.name!r})"


def check_replacement(x: Variable, value: torch.Tensor) -> None:
    """A Variable keeps its shape: gradients of before and after are added up."""
    if not isinstance(value, torch.Tensor):
        raise RawTensorError(f"x.value = … was given a {type(value).__name__}, not a tensor: write torch.tensor(…).")
    if value.shape != x.shape:
        raise WrongShapeError(
            f"x.value = …: the Variable has shape {tuple(x.shape)}, and was given a tensor of shape "
            f"{tuple(value.shape)}. For that, make a new one: x = Variable.constant(…)."
        )


def plain(name: str) -> Callable:
    """A method whose result is a plain tensor, a number or a bool: no gradient flows through it."""

    def method(self: Variable, *args, **kwargs):
        args = [x.value if isinstance(x, Variable) else x for x in args]
        return getattr(self.value, name)(*args, **kwargs)

    method.__name__ = name
    return method


_PLAIN = "eq ne lt le gt ge isnan isinf isfinite isclose allclose equal any all logical_not nonzero count_nonzero "
_PLAIN += "argmax argmin argsort long int bool is_floating_point stride is_contiguous numpy"
for _name in _PLAIN.split():
    setattr(Variable, _name, plain(_name))


class Missing:
    """What a tensor has and a Variable has not: asking for it says what to write. Not a `__getattr__`, which would make
    Python read every attribute of every Variable more slowly, 0.09 of a pass."""

    def __init__(self, name: str):
        self.name = name

    def __get__(self, x: Variable | None, owner: type) -> NoReturn:
        raise AttributeError(f"Variable has no '{self.name}'{self.advice()}")

    def advice(self) -> str:
        if self.name in _ELSEWHERE:
            return f": {_ELSEWHERE[self.name]}"
        if self.name.endswith("_") and hasattr(Variable, self.name[:-1]):
            return f": a value never changes. Write y = x.{self.name[:-1]}(…)."
        near = difflib.get_close_matches(self.name, [name for name in dir(Operators) if name[0] != "_"], 1, 0.75)
        return (
            f"{f'; did you mean {near[0]!r}?' if near else '.'} An operator that is not there can be written with "
            f"TapeEntry, or made of those that are; the tensor itself is .value."
        )


for _name in ("is_nested", "is_sparse", "is_quantized"):  # which torch's modules ask for
    setattr(Variable, _name, False)
for _name in dir(torch.Tensor):
    if _name[0] != "_" and not hasattr(Variable, _name):
        setattr(Variable, _name, Missing(_name))
