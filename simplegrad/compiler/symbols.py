"""Symbols: what stands for a Variable (or a condition, or a size) while an expression is read. They have no values.

A symbol has the operators of a Variable, since both have them from the table; each makes a node of the expression
graph. In a reverse part, where shapes are known, a symbol's shape can be asked for its rank and compared.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import torch

from ..engine import Variable
from ..engine.operators import called, is_default
from ..ops import FUNCTIONS, METHODS, Op, Operators, choosing, named_operator, pointwise
from ..ops.methods import UnsupportedError, parts_of, sizes_of
from ..ops.refused import advice, spelled
from .graph import CONSTANT, MASK, SHAPE, SIZE, VALUE, Graph, Node, flat, operation


class CompileError(ValueError):
    """What stands in the source cannot be compiled. The message says what came, and what to write instead."""


class UnfitError(CompileError, RuntimeError):
    """Inputs of shapes that the expression does not compute on. The message says which step, and with what shapes."""


class Thing:
    """Base of all symbols: a node, and the graph that it belongs to."""

    __slots__ = ("graph", "node")

    def __init__(self, graph: Graph, node: Node):
        self.graph = graph
        self.node = node

    def make(self, op: str, *args, kind: str = VALUE):
        return wrapped(self.graph, self.graph(op, *map(bare, args), kind=kind))

    def __bool__(self) -> bool:
        raise CompileError(
            f"{self!r} has no value while the function is compiled, so no `if`, `and` or `not` can ask for it. "
            f"Choose between values with where(condition, a, b)."
        )

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", str(func))
        if args and isinstance(args[0], torch.Tensor):
            symbol = next(each for each in flat((args, [*(kwargs or {}).values()])) if isinstance(each, Thing))
            args = (captured(name, symbol.graph, args[0]), *args[1:])
        kwargs = {key: value for key, value in (kwargs or {}).items() if not is_default(key, value)}
        operator = getattr(type(args[0]), name, None) if name.startswith("__") else named_operator(name)
        if operator is None:
            raise CompileError(f"{spelled(name)} is not an operator of the engine. {advice(name, FUNCTIONS)}")
        try:
            return called(f"torch.{name}", operator, args, kwargs)
        except UnsupportedError as error:
            raise CompileError(str(error)) from error

    @staticmethod
    def bind(op: Op, args: tuple):
        """An operator of the table, of symbols: a node."""
        symbol = next(each for each in flat(args) if isinstance(each, Thing))
        args = [operand(op, place, captured(op.name, symbol.graph, arg)) for place, arg in enumerate(args)]
        if op in (pointwise.add, pointwise.mul) and not isinstance(args[0], Symbol):
            args.reverse()  # a number stands on the right
        return symbol.make(op.name, *args, kind=kind_of(op))

    def __repr__(self) -> str:
        return f"'{self.node.name}'" if self.node.name else f"the result of '{self.node.op}'"


def kind_of(op: Op) -> str:
    return VALUE if op.has_gradient else MASK if op.name in choosing.CONDITIONS else CONSTANT


def operand(op: Op, place: int, arg):
    """An argument, held to what the operator takes there."""
    for each in flat((arg,)):
        if isinstance(each, str) and not (op is pointwise.step and each in pointwise.STEPS):
            raise CompileError(f"{op.name}: text is of no use here, and {each!r} was given.")
    if op.name in choosing.CONDITIONS:
        return undetached(arg)
    if op.vjp(place) is not None:
        return arg.numbers() if isinstance(arg, Mask) else arg
    check = _CHECKS.get(op.parameters[place] if place < len(op.parameters) else "")
    if check is not None:
        check(op.name, arg)
    return arg


def captured(what: str, graph: Graph, arg):
    """The same, with a symbol for each raw tensor in it. What is trained is no constant, nor is what was computed."""
    if type(arg) in (tuple, list):
        return type(arg)([captured(what, graph, each) for each in arg])
    if isinstance(arg, Variable) or isinstance(arg, torch.Tensor) and arg.requires_grad:
        raise CompileError(
            f"{what}: a {type(arg).__name__} of shape {tuple(arg.shape)} is not a constant, since gradients flow to "
            f"it. Make it an input of the function."
        )
    return wrapped(graph, graph.constant(arg)) if isinstance(arg, torch.Tensor) else arg


def check_dim(what: str, dim: object) -> None:
    for each in flat((dim,)):
        if each is not None and (isinstance(each, bool) or not isinstance(each, int)):
            raise CompileError(f"{what}: dim is a whole number, not {each!r}.")


def check_sizes(what: str, sizes: object) -> None:
    for each in flat((sizes,)):
        if not isinstance(each, (int, Size, Shape)):
            raise CompileError(f"{what}: sizes are whole numbers, x.shape[0] or *x.shape, not {each!r}.")


def check_index(what: str, index: tuple) -> None:
    for part in index if isinstance(index, tuple) else ():
        ends = (part.start, part.stop, part.step) if isinstance(part, slice) else ()
        if not all(end is None or isinstance(end, (int, Size)) for end in ends):
            raise CompileError("x[…]: the ends of a slice are whole numbers or sizes, x[1:], x[: y.shape[0]].")
        for each in () if ends else flat((part,)):
            if not isinstance(each, (int, Symbol, Mask, Weights, Size, type(None), type(...))):
                raise CompileError(
                    f"x[…]: an index is whole numbers, slices, None, …, a condition or an input, not a "
                    f"{type(each).__name__}."
                )


_CHECKS = {"dim": check_dim, "dims": check_dim, "dim0": check_dim, "dim1": check_dim}
_CHECKS |= {"sizes": check_sizes, "index": check_index}


def places_of(part):
    """[True, False, True] as the places where it is True, whose number is known."""
    if isinstance(part, list) and part and all(isinstance(each, bool) for each in part):
        return [place for place, each in enumerate(part) if each]
    return part


def bare(arg):
    """Nodes in the place of symbols, within lists, tuples and slices too."""
    if isinstance(arg, Thing):
        return arg.node
    if isinstance(arg, (tuple, list)):
        return type(arg)([bare(each) for each in arg])
    if isinstance(arg, slice):
        return slice(bare(arg.start), bare(arg.stop), bare(arg.step))
    return arg


def wrapped(graph: Graph, node):
    if isinstance(node, slice):
        return slice(*[wrapped(graph, end) for end in (node.start, node.stop, node.step)])
    if isinstance(node, (tuple, list)):
        return type(node)([wrapped(graph, each) for each in node])
    return KINDS[node.kind](graph, node) if isinstance(node, Node) else node


class Size(Thing):
    """x.shape[0], x.numel(), and what whole numbers are computed from them."""

    __slots__ = ()

    def _of(self, op: str, other, swap: bool = False):
        if not isinstance(other, (int, float, Size)):
            return NotImplemented
        return self.make(op, *((other, self) if swap else (self, other)), kind=SIZE)

    def __add__(self, other):
        return self._of("size_add", other)

    def __radd__(self, other):
        return self._of("size_add", other, True)

    def __sub__(self, other):
        return self._of("size_sub", other)

    def __mul__(self, other):
        return self if isinstance(other, int) and other == 1 else self._of("size_mul", other)

    __rmul__ = __mul__

    def __floordiv__(self, other):
        return self._of("size_floor", other)

    def __truediv__(self, other):
        return self._of("size_div", other)

    def __rtruediv__(self, other):
        return self._of("size_div", other, True)

    def __pow__(self, other):
        return self._of("size_pow", other)

    def __index__(self) -> int:
        raise CompileError(f"{self!r} is known only at the call, and the function needs it as a number to go on.")

    __int__ = __float__ = __index__

    def __repr__(self) -> str:
        if self.node.op == "size":
            x, dim = self.node.args
            return f"the size {x.name or 'x'}.shape[{dim}]"
        return "what is computed from sizes"

    def _compared(self, other):
        raise CompileError("a size is known only at the call: the compiled expression cannot choose by it.")

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _compared
    __hash__ = object.__hash__


class Shape(Thing):
    """x.shape: as many sizes as there will be at the call. `*x.shape` and `x.shape[0]` can be said of it."""

    __slots__ = ()

    def __getitem__(self, index):
        x = self.node.args[0]
        if self.node.op == "shape" and isinstance(index, int):
            return 1 if self.graph.shapes is not None and not len(self) else self.make("size", x, index, kind=SIZE)
        if self.node.op == "shape" and isinstance(index, slice):
            return self.make("shape_part", x, index, kind=SHAPE)
        raise CompileError(f"x.shape[{index!r}]: write the index of one dimension, or a slice of them.")

    def __iter__(self):
        if self.node.op == "shape" and self.graph.shapes is not None:
            yield from [self[place] for place in range(len(self))]
        else:
            yield self  # `f(*x.shape)` hands it on whole

    def numel(self) -> Size:
        return self.make("numel", self.node.args[0], kind=SIZE)

    def __len__(self) -> int:
        if self.graph.shapes is not None:
            return self.graph.shapes.rank(self.node.args[0])
        raise CompileError(
            "the number of dimensions is known only at the call: count dimensions from the end, x.sum(dim=-1), "
            "x.shape[-1]; or give example inputs: compile_aggregate(f, example=(x, …))."
        )

    def __eq__(self, other) -> bool:
        if isinstance(other, tuple) and not other:  # `x.shape == ()` asks for a scalar
            return self.graph.shapes is not None and not len(self)
        if self.graph.shapes is None:
            raise CompileError("a shape is known only at the call: the compiled expression cannot choose by it.")
        return self.graph.shapes.same(self.node.args[0], other.node.args[0])

    __hash__ = object.__hash__


def compares(op: Op) -> Callable:
    def method(self, *others):
        for other in others:
            if not isinstance(other, (Real, Symbol, Mask, torch.Tensor)):
                raise CompileError(f"cannot compare {self!r} with a {type(other).__name__}.")
        return op(self, *others)

    return method


def shaped_like(node: Node) -> Node:
    """The earliest node that surely has the shape of this one."""
    passed = []
    while node.shaped is None and keeps_shape(node) and len(set(node.nodes)) == 1:
        passed.append(node)
        (node,) = set(node.nodes)
    first = node.shaped or node
    for each in passed:
        each.shaped = first
    return first


def keeps_shape(node: Node) -> bool:
    """Whether the result has the shape that the arguments broadcast to."""
    if node.kind in (SIZE, SHAPE) or not node.args:
        return False
    op = operation(node.op)
    return op.pointwise or op.alike


def undetached(x):
    """A condition is a constant anyway."""
    return wrapped(x.graph, x.node.args[0]) if isinstance(x, Symbol) and x.node.op == "detach" else x


class Mask(Thing):
    """A condition, as comparisons give it: no gradient flows through. As a factor it is 1 and 0."""

    __slots__ = ()
    __and__ = compares(choosing.both)
    __or__ = compares(choosing.either)
    __invert__ = compares(choosing.negated)

    @property
    def value(self) -> Mask:
        return self

    def numbers(self) -> Symbol:
        return self.make("indicator", self)

    def to(self, dtype=None) -> Symbol:
        return self.numbers()

    def __mul__(self, other) -> Symbol:
        return self.numbers() * other

    __rmul__ = __mul__
    __rand__, __ror__ = __and__, __or__

    def __getattr__(self, name: str):
        raise CompileError(f"a condition has no '{name}'. Conditions are for where(condition, a, b), joined by & | ~.")

    def _operand(self, other):
        raise CompileError("a condition is not a number: write where(condition, 1.0, 0.0), or condition * x.")

    __add__ = __radd__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = _operand


class Weights(Thing):
    """A constant tensor that a gradient is multiplied with."""

    __slots__ = ()


class Symbol(Thing, Operators):
    """Stands for a Variable: its operators, methods and shape."""

    __slots__ = ()

    @property
    def shape(self) -> Shape:
        return self.make("shape", shaped_like(self.node), kind=SHAPE)

    def size(self, dim: int | None = None):
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return self.ndim

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def dtype(self) -> torch.dtype:
        known = None if self.graph.shapes is None else self.graph.shapes.dtype(self.node)
        if known is None:
            raise CompileError(
                f"the dtype of {self!r} is known only at the call. Give example inputs: "
                f"compile_aggregate(f, example=(x, …))."
            )
        return known

    @property
    def device(self) -> torch.device:
        """Where constants are made: on the processor."""
        return torch.device("cpu")

    def numel(self) -> Size:
        return self.make("numel", shaped_like(self.node), kind=SIZE)

    @property
    def value(self) -> Symbol:
        """The raw tensor. No gradient flows through it, unless it is an aggregate's forward that is read."""
        return self.detach()

    data = value

    def detach(self) -> Symbol:
        return self if self.graph.reads_tensors else pointwise.detach(self)

    def named(self, name: str, compute: Callable) -> Symbol:
        result = compute()
        if not result.node.chosen:
            result.node.name, result.node.chosen = name, True
        return result

    __lt__ = compares(choosing.lt)
    __le__ = compares(choosing.le)
    __gt__ = compares(choosing.gt)
    __ge__ = compares(choosing.ge)
    __eq__ = compares(choosing.eq)
    __ne__ = compares(choosing.ne)
    __hash__ = object.__hash__

    def __iter__(self):
        raise CompileError(f"the number of rows of {self!r} is known only at the call: take them by index, x[0], x[1].")

    def __len__(self) -> int:
        raise CompileError(f"the number of rows of {self!r} is known only at the call: write x.shape[0] for a size.")

    def _number(self, *_):
        raise CompileError(f"{self!r} has no value while the function is compiled: it cannot be made a number.")

    def new_zeros(self, *size) -> Symbol:
        return self.filled(size, 0.0)

    def new_ones(self, *size) -> Symbol:
        return self.filled(size, 1.0)

    def filled(self, size: tuple, number: float) -> Symbol:
        return wrapped(self.graph, self.graph("filled", bare(sizes_of(size)), number))

    item = tolist = __float__ = __int__ = __index__ = _number

    def __getitem__(self, index) -> Symbol:
        return super().__getitem__(tuple(map(places_of, parts_of(index))))

    def __setitem__(self, index, value):
        raise CompileError("a value is never changed in place: build the new one with where, cat or stack.")

    def __getattr__(self, name: str):
        raise CompileError(f"'{name}' is not an operator of the engine. {advice(name, METHODS)}")


KINDS = {VALUE: Symbol, MASK: Mask, CONSTANT: Weights, SIZE: Size, SHAPE: Shape}
