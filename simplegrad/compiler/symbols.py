"""Symbols: what stands for a Variable (or a condition, or a constant) while an expression is read.

A symbol has the operators of a Variable, since both have them from the table.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import torch

from ..ops import METHODS, Op, Operators, choosing, places, pointwise
from ..ops.calls import sizes_of
from ..ops.refused import advice
from .errors import CompileError, UnknownSizeError
from .graph import CONSTANT, MASK, SHAPE, VALUE, Graph, shaped_like
from .operands import Operand
from .sizes import Size
from .things import bare, wrapped


def compares(op: Op) -> Callable:
    def method(self, *others):
        for other in others:
            if not isinstance(other, (Real, Size, Tensorlike, torch.Tensor)):
                raise CompileError(f"cannot compare {self!r} with a {type(other).__name__}.")
        return op(self, *others)

    return method


class Tensorlike(Operand):
    """What conditions have too: a shape, parts, and whether elements are the same."""

    __slots__ = ()
    __eq__, __ne__ = compares(choosing.eq), compares(choosing.ne)
    __hash__ = object.__hash__

    @property
    def shape(self):
        """The sizes, where they are known while the function is read."""
        known = None if self.graph.shapes is None else self.graph.shapes.sizes(self.node)
        return self.make("shape", shaped_like(self.node), kind=SHAPE) if known is None else known

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index):
        return places.index(self, tuple(map(places_of, places.parts_of(index))))

    def method(self, name: str, otherwise: str) -> Callable:
        """One that torch's tensors have, and that is no operator."""
        method = getattr(torch.Tensor, name, None)
        if not callable(method):
            raise CompileError(otherwise)
        return lambda *args, **kwargs: self.__torch_function__(method, (), (self, *args), kwargs)


class Mask(Tensorlike, kind=MASK):
    """A condition, as comparisons give it: no gradient flows through. As a factor it is 1 and 0."""

    __slots__ = ()
    __and__ = __rand__ = compares(choosing.both)
    __or__ = __ror__ = compares(choosing.either)
    __invert__ = compares(choosing.negated)

    @property
    def value(self) -> Mask:
        return self

    @property
    def dtype(self) -> torch.dtype:
        return torch.bool

    def numbers(self) -> Symbol:
        return self.make("indicator", self)

    def to(self, dtype=None) -> Symbol:
        return self.numbers()

    float = double = type_as = to

    def __mul__(self, other) -> Symbol:
        return self.numbers() * other

    __rmul__ = __mul__

    def __getattr__(self, name: str):
        return self.method(name, f"a condition has no '{name}'. Conditions are for where(condition, a, b).")

    def _operand(self, other):
        raise CompileError("a condition is not a number: write where(condition, 1.0, 0.0), or condition * x.")

    __add__ = __radd__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = _operand


class Elements(Tensorlike, Operators):
    """What has elements: the operators, methods and shape of a Variable."""

    __slots__ = ()

    def size(self, dim: int | None = None):
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return self.ndim

    @property
    def dtype(self) -> torch.dtype:
        known = None if self.graph.shapes is None else self.graph.shapes.dtype(self.node)
        if known is None:
            raise UnknownSizeError(f"the dtype of {self!r} is known only at the call.")
        return known

    @property
    def device(self) -> torch.device:
        """Where constants are made: on the processor."""
        return torch.device("cpu")

    def numel(self):
        return self.shape.numel()

    __lt__ = compares(choosing.lt)
    __le__ = compares(choosing.le)
    __gt__ = compares(choosing.gt)
    __ge__ = compares(choosing.ge)

    def __iter__(self):
        return iter(self.unbind(0))

    def __len__(self) -> int:
        return self.shape[0].__index__()

    def _number(self, *_):
        raise CompileError(f"{self!r} has no value while the function is compiled: it cannot be made a number.")

    item = tolist = __float__ = __int__ = __index__ = _number

    def new_zeros(self, *size) -> Symbol:
        return filled(self.graph, size, 0.0)

    def new_ones(self, *size) -> Symbol:
        return filled(self.graph, size, 1.0)

    def __setitem__(self, index, value):
        raise CompileError("a value is never changed in place: build the new one with where, cat or stack.")

    def __getattr__(self, name: str):
        return self.method(name, f"'{name}' is not an operator of the engine. {advice(name, METHODS)}")


class Weights(Elements, kind=CONSTANT):
    """A constant tensor: places, factors of a gradient, and what is computed of numbers alone."""

    __slots__ = ()

    def numbers(self) -> Symbol:
        symbol = Symbol(self.graph, self.node)
        return pointwise.detach(symbol) if self.node.kind == VALUE else self.make("given", self)

    def detach(self) -> Weights:
        return self

    value = data = weights = property(detach)


class Symbol(Elements, kind=VALUE):
    """Stands for a Variable."""

    __slots__ = ()
    flows = True

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def value(self) -> Symbol:
        """The raw tensor. No gradient flows through it, unless it is an aggregate's forward that is read."""
        return self.detach()

    data = value

    @property
    def weights(self) -> Weights:
        """The same numbers as a constant."""
        return Weights(self.graph, self.node)

    def detach(self) -> Symbol:
        return self if self.graph.reads_tensors else pointwise.detach(self)

    def named(self, name: str, compute: Callable) -> Symbol:
        result = compute()
        result.node.give_name(name)
        return result


def filled(graph: Graph, sizes: tuple, number: float) -> Symbol:
    return wrapped(graph, graph("filled", bare(sizes_of(sizes)), number))


def places_of(part):
    """[True, False, True] as the places where it is True, whose number is known."""
    if isinstance(part, list) and part and all(isinstance(each, bool) for each in part):
        return [place for place, each in enumerate(part) if each]
    return part
