"""Sizes and shapes that are known only at the call, while a function is read.

Where shapes are known, as in a reverse part, a shape can be asked for its rank and compared.
"""

from __future__ import annotations

from collections.abc import Callable

from .errors import UnknownSizeError
from .graph import SHAPE, SIZE
from .operands import Operand


def of_sizes(op: str, swap: bool = False) -> Callable:
    def method(self, other):
        if not isinstance(other, (int, float, Size)):
            return NotImplemented
        return self.make(op, *((other, self) if swap else (self, other)), kind=SIZE)

    return method


class Size(Operand, kind=SIZE):
    """x.shape[0], x.numel(), and what whole numbers are computed from them."""

    __slots__ = ()

    __add__, __radd__ = of_sizes("size_add"), of_sizes("size_add", swap=True)
    __sub__, __rsub__ = of_sizes("size_sub"), of_sizes("size_sub", swap=True)
    __mul__ = __rmul__ = of_sizes("size_mul")
    __truediv__, __rtruediv__ = of_sizes("size_div"), of_sizes("size_div", swap=True)
    __floordiv__, __pow__ = of_sizes("size_floor"), of_sizes("size_pow")

    def __neg__(self) -> Size:
        return 0 - self

    def __repr__(self) -> str:
        if self.node.op == "size":
            x, dim = self.node.args
            return f"the size {x.name or 'x'}.shape[{dim}]"
        return "what is computed from sizes"


class Shape(Operand, kind=SHAPE):
    """x.shape: as many sizes as there will be at the call. `*x.shape` and `x.shape[0]` can be said of it."""

    __slots__ = ()

    def __getitem__(self, index):
        x = self.node.args[0]
        if self.is_whole and isinstance(index, int):
            return 1 if self.graph.shapes is not None and not len(self) else self.make("size", x, index, kind=SIZE)
        if self.is_whole and isinstance(index, slice):
            return self.make("shape_part", x, index, kind=SHAPE)
        return self.asked()

    def __iter__(self):
        if self.is_whole and self.graph.shapes is not None:
            yield from [self[place] for place in range(len(self))]
        else:
            yield self  # `f(*x.shape)` hands it on whole

    @property
    def is_whole(self) -> bool:
        return self.node.op == "shape"

    def numel(self) -> Size:
        return self.make("numel", self.node.args[0], kind=SIZE) if self.is_whole else self.asked()

    def __len__(self) -> int:
        known = self.graph.shapes if self.is_whole else None
        return self.asked() if known is None else known.rank(self.node.args[0])

    def __eq__(self, other) -> bool:
        if isinstance(other, tuple) and not other:  # `x.shape == ()` asks for a scalar
            return self.graph.shapes is not None and not len(self)
        both_whole = self.is_whole and isinstance(other, Shape) and other.is_whole
        if not both_whole or self.graph.shapes is None or not self.graph.shapes.has_sizes:
            return self.asked()
        return self.graph.shapes.same(self.node.args[0], other.node.args[0])

    def numbers(self):
        raise UnknownSizeError("a shape is computed with, and its sizes are known only at the call.")

    def __repr__(self) -> str:
        return f"the shape of '{self.node.args[0].name or 'x'}'"


def asked(self, *_):
    """Whatever else is done with a size or a shape needs its number."""
    raise UnknownSizeError(
        f"{self!r} is known only at the call, and the function needs it as a number to go on. Give example inputs: "
        f"compile_aggregate(f, example=(x, …))."
    )


_ASKED = "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod divmod rdivmod pow rpow neg pos abs "
_ASKED += "round bool index int float lt le gt ge eq ne contains"
for _kind in (Size, Shape):
    _kind.asked = asked
    for _name in _ASKED.split():
        if f"__{_name}__" not in vars(_kind):
            setattr(_kind, f"__{_name}__", asked)
    _kind.__hash__ = object.__hash__
