"""Symbols: what stands for a Variable (or a condition, or a size) while an expression is read. They have no values.

A symbol has the operators of a Variable, since both have them from the table; each makes a node of the expression
graph. In a reverse part, where shapes are known, a symbol's shape can be asked for its rank and compared.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import torch
from torch.overrides import resolve_name

from ..engine import Variable
from ..engine.operators import called, is_default
from ..ops import FUNCTIONS, METHODS, Op, Operators, UnsupportedError, choosing, named_operator, places, pointwise
from ..ops.calls import sizes_of
from ..ops.refused import advice, spelled
from .errors import CompileError, UnfitError, UnknownSizeError
from .graph import CONSTANT, MASK, SHAPE, SIZE, VALUE, Call, Graph, Node, flat, shaped_like


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
        name, kwargs = getattr(func, "__name__", str(func)), kwargs or {}
        things = [each for each in flat((args, [*kwargs.values()])) if isinstance(each, Thing)]
        if any(isinstance(each, (Size, Shape)) for each in things):
            raise UnknownSizeError(f"{spelled(name)} needs sizes that are known only at the call.")
        if not any(isinstance(each, Symbol) for each in things) and name != "where":
            return called_plainly(func, args, kwargs)
        operator = getattr(type(args[0]), name, None) if name.startswith("__") else named_operator(name)
        if operator is None:
            return without_gradient(name, func, args, kwargs)
        if args and isinstance(args[0], torch.Tensor):
            args = (captured(name, things[0].graph, args[0]), *args[1:])
        kwargs = {key: value for key, value in kwargs.items() if not is_default(key, value)}
        try:
            return called(f"torch.{name}", operator, args, kwargs)
        except UnsupportedError as error:
            raise UnfitError(str(error)) from error

    @staticmethod
    def bind(op: Op, args: tuple):
        """An operator of the table, of symbols: a node."""
        graph = next(each for each in flat(args) if isinstance(each, Thing)).graph
        if graph.is_read and not graph.reads_tensors and not torch.is_grad_enabled():
            args = plain(args)
        args = [captured(op.name, graph, arg) for arg in args]
        is_constant = not any(isinstance(each, Symbol) for each in flat(args))
        args = [operand(op, place, arg, is_constant) for place, arg in enumerate(args)]
        if op in (pointwise.add, pointwise.mul) and not isinstance(args[0], Elements):
            args.reverse()  # a number stands on the right
        if op.name in choosing.CONDITIONS or op.shapes and isinstance(args[0], Mask):
            kind = MASK
        else:
            kind = CONSTANT if is_constant or not op.has_gradient else VALUE
        return wrapped(graph, graph(op.name, *map(bare, args), kind=kind))

    def __repr__(self) -> str:
        return f"'{self.node.name}'" if self.node.name else f"the result of '{self.node.op}'"


def operand(op: Op, place: int, arg, is_constant: bool):
    """An argument, held to what the operator takes there."""
    for each in flat((arg,)):
        if isinstance(each, str) and not (op is pointwise.step and each in pointwise.STEPS):
            raise CompileError(f"{op.name}: text is of no use here, and {each!r} was given.")
    if op.pointwise and isinstance(arg, (list, tuple)):
        raise CompileError(f"{op.name}: a list stands where a tensor or a number belongs.")
    if op.name in choosing.CONDITIONS:
        return undetached(arg)
    if op.vjp(place) is not None:
        return arg if is_constant else [as_value(each) for each in arg] if op.each else as_value(arg)
    check = _CHECKS.get(op.parameters[place] if place < len(op.parameters) else "")
    if check is not None:
        check(op.name, arg)
    return arg


def as_value(arg):
    """A condition or a constant where a gradient flows to its neighbours: numbers like theirs."""
    if isinstance(arg, Shape):
        raise UnknownSizeError("a shape is computed with, and its sizes are known only at the call.")
    return arg.numbers() if isinstance(arg, (Mask, Weights)) else arg


def called_plainly(func: Callable, args: tuple, kwargs: dict):
    """A function of torch, of constants: no gradient flows through, so that it needs no rule. Of several results, a
    constant for each."""
    name = resolve_name(func) or f"torch.{func.__name__}"
    graph = next(each for each in flat((args, [*kwargs.values()])) if isinstance(each, Thing)).graph
    if graph.shapes is None:
        raise UnknownSizeError(f"{name}: of what kind its result is, is known only at the call.")
    if func.__name__.endswith("_") and not func.__name__.startswith("_"):
        raise CompileError(f"{name}: a value is never changed in place. Without the _ it gives a new one.")
    said = bare(captured(name, graph, (args, tuple(kwargs.items()))))
    try:
        result = graph.shapes.value(Node("call", (Call(name), *said), CONSTANT, 0))
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        raise UnfitError(f"{name} of what is known only at the call: {str(error).split(chr(10))[0]}") from error
    if isinstance(result, torch.Tensor):
        return constant_of(graph, Call(name), said, result)
    if not isinstance(result, (tuple, list)) or isinstance(result, torch.Size):
        return result
    if type(result) in (tuple, list) and not graph.shapes.has_sizes:
        raise UnknownSizeError(f"{name}: how many results it has is known only at the call.")
    return type(result)([constant_of(graph, Call(name, at), said, each) for at, each in enumerate(result)])


def constant_of(graph: Graph, call: Call, said: tuple, like: torch.Tensor):
    return wrapped(graph, graph("call", call, *said, kind=MASK if like.dtype == torch.bool else CONSTANT))


def without_gradient(name: str, func: Callable, args: tuple, kwargs: dict):
    """torch.isnan(x), x.argmax(1): their results are no floats, so that no gradient could flow through."""
    result = called_plainly(func, plain(args), {key: plain(value) for key, value in kwargs.items()})
    for each in result if isinstance(result, tuple) else (result,):
        if not isinstance(each, (Mask, Weights)) or each.dtype.is_floating_point or each.dtype.is_complex:
            raise CompileError(f"{spelled(name)} is not an operator of the engine. {advice(name, FUNCTIONS)}")
    return result


def plain(arg):
    """The same, with constants in the place of the symbols in it."""
    if isinstance(arg, Symbol):
        return arg.weights
    return type(arg)([plain(each) for each in arg]) if type(arg) in (tuple, list) else arg


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
        return (list if isinstance(arg, list) else tuple)([bare(each) for each in arg])
    if isinstance(arg, slice):
        return slice(bare(arg.start), bare(arg.stop), bare(arg.step))
    return arg


def wrapped(graph: Graph, node):
    if isinstance(node, slice):
        return slice(*[wrapped(graph, end) for end in (node.start, node.stop, node.step)])
    if isinstance(node, (tuple, list)):
        return type(node)([wrapped(graph, each) for each in node])
    return KINDS[node.kind](graph, node) if isinstance(node, Node) else node


def of_sizes(op: str, swap: bool = False) -> Callable:
    def method(self, other):
        if not isinstance(other, (int, float, Size)):
            return NotImplemented
        return self.make(op, *((other, self) if swap else (self, other)), kind=SIZE)

    return method


class Size(Thing):
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


class Shape(Thing):
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


def compares(op: Op) -> Callable:
    def method(self, *others):
        for other in others:
            if not isinstance(other, (Real, Size, Elements, Mask, torch.Tensor)):
                raise CompileError(f"cannot compare {self!r} with a {type(other).__name__}.")
        return op(self, *others)

    return method


def undetached(x):
    """A condition is a constant anyway."""
    return wrapped(x.graph, x.node.args[0]) if isinstance(x, Symbol) and x.node.op == "detach" else x


class Mask(Thing):
    """A condition, as comparisons give it: no gradient flows through. As a factor it is 1 and 0."""

    __slots__ = ()
    __and__ = __rand__ = compares(choosing.both)
    __or__ = __ror__ = compares(choosing.either)
    __invert__ = compares(choosing.negated)
    __eq__, __ne__ = compares(choosing.eq), compares(choosing.ne)
    __hash__ = object.__hash__

    @property
    def value(self) -> Mask:
        return self

    @property
    def dtype(self) -> torch.dtype:
        return torch.bool

    @property
    def shape(self):
        return shape_of(self)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def numbers(self) -> Symbol:
        return self.make("indicator", self)

    def to(self, dtype=None) -> Symbol:
        return self.numbers()

    float = double = type_as = to

    def __mul__(self, other) -> Symbol:
        return self.numbers() * other

    __rmul__ = __mul__

    def __getattr__(self, name: str):
        return method_of(self, name, f"a condition has no '{name}'. Conditions are for where(condition, a, b).")

    def __getitem__(self, index) -> Mask:
        return places.index(self, tuple(map(places_of, places.parts_of(index))))

    def _operand(self, other):
        raise CompileError("a condition is not a number: write where(condition, 1.0, 0.0), or condition * x.")

    __add__ = __radd__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = _operand


def shape_of(x: Thing):
    """The sizes, where they are known while the function is read."""
    known = None if x.graph.shapes is None else x.graph.shapes.sizes(x.node)
    return x.make("shape", shaped_like(x.node), kind=SHAPE) if known is None else known


def method_of(x: Thing, name: str, otherwise: str) -> Callable:
    """One that torch's tensors have, and that is no operator."""
    method = getattr(torch.Tensor, name, None)
    if not callable(method):
        raise CompileError(otherwise)
    return lambda *args, **kwargs: x.__torch_function__(method, (), (x, *args), kwargs)


class Elements(Thing, Operators):
    """What has elements: the operators, methods and shape of a Variable."""

    __slots__ = ()

    @property
    def shape(self):
        return shape_of(self)

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
    __eq__ = compares(choosing.eq)
    __ne__ = compares(choosing.ne)
    __hash__ = object.__hash__

    def __iter__(self):
        return iter(self.unbind(0))

    def __len__(self) -> int:
        return self.shape[0].__index__()

    def _number(self, *_):
        raise CompileError(f"{self!r} has no value while the function is compiled: it cannot be made a number.")

    item = tolist = __float__ = __int__ = __index__ = _number

    def new_zeros(self, *size) -> Symbol:
        return self.filled(size, 0.0)

    def new_ones(self, *size) -> Symbol:
        return self.filled(size, 1.0)

    def filled(self, size: tuple, number: float) -> Symbol:
        return wrapped(self.graph, self.graph("filled", bare(sizes_of(size)), number))

    def __getitem__(self, index):
        return super().__getitem__(tuple(map(places_of, places.parts_of(index))))

    def __setitem__(self, index, value):
        raise CompileError("a value is never changed in place: build the new one with where, cat or stack.")

    def __getattr__(self, name: str):
        return method_of(self, name, f"'{name}' is not an operator of the engine. {advice(name, METHODS)}")


class Weights(Elements):
    """A constant tensor: places, factors of a gradient, and what is computed of numbers alone."""

    __slots__ = ()

    def numbers(self) -> Symbol:
        symbol = Symbol(self.graph, self.node)
        return pointwise.detach(symbol) if self.node.kind == VALUE else self.make("given", self)

    def detach(self) -> Weights:
        return self

    value = data = weights = property(detach)


class Symbol(Elements):
    """Stands for a Variable."""

    __slots__ = ()

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
        if not result.node.chosen:
            result.node.name, result.node.chosen = name, True
        return result


KINDS = {VALUE: Symbol, MASK: Mask, CONSTANT: Weights, SIZE: Size, SHAPE: Shape}
