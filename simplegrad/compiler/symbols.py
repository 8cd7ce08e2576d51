"""Symbols: what stands for a Variable (or a condition, or a size) while an expression is read. They have no values.

A symbol has the operators of a Variable, by the same names; each makes a node of the expression graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real

from ..ops import ALIASES as OTHER_NAMES
from ..ops import FUNCTIONS as OPS
from ..ops import TABLE, Op, named_operator
from .graph import CONSTANT, MASK, SHAPE, SIZE, VALUE, Graph, Node


class CompileError(ValueError):
    """What stands in the source cannot be compiled. The message says what came, and what to write instead."""


class Thing:
    """Base of all symbols: a node, and the graph that it belongs to."""

    __slots__ = ("graph", "node")

    def __init__(self, graph: Graph, node: Node):
        self.graph = graph
        self.node = node

    def make(self, op: str, *args, attrs: tuple = (), kind: str = VALUE):
        return wrapped(self.graph, self.graph(op, *[bare(arg) for arg in args], attrs=attrs, kind=kind))

    def __bool__(self) -> bool:
        raise CompileError(
            f"{self!r} has no value while the function is compiled, so no `if`, `and` or `not` can ask for it. "
            f"Choose between values with where(condition, a, b)."
        )

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", str(func))
        kwargs = {key: value for key, value in (kwargs or {}).items() if not is_default(key, value)}
        operator = FUNCTIONS.get(name) or METHODS.get(name) or named_operator(name)
        if operator is None:
            raise CompileError(f"torch.{name} is no operator of the engine. There are: {', '.join(sorted(FUNCTIONS))}.")
        if name.startswith("__r") and not isinstance(args[0], Symbol):
            args = args[::-1]
        return operator(*args, **kwargs)

    @staticmethod
    def bind(op: Op, args: tuple):
        """An operator of the table, of symbols: a node."""
        if op.name in _BOUND:
            return _BOUND[op.name](*args)
        if op.name in _OWN:
            return _OWN[op.name](*args)
        symbol = next(arg for arg in args if isinstance(arg, Thing))
        return symbol.make(op.name, *args, kind=VALUE if op.has_gradient else CONSTANT)

    def __repr__(self) -> str:
        return f"'{self.node.name}'" if self.node.name else f"the result of '{self.node.op}'"


def bare(arg):
    """Nodes in the place of symbols, within tuples and slices too."""
    if isinstance(arg, Thing):
        return arg.node
    if isinstance(arg, (tuple, list)):
        return tuple(bare(each) for each in arg)
    if isinstance(arg, slice):
        return slice(bare(arg.start), bare(arg.stop), bare(arg.step))
    return arg


def wrapped(graph: Graph, node):
    if isinstance(node, slice):
        return slice(*[wrapped(graph, end) for end in (node.start, node.stop, node.step)])
    if not isinstance(node, Node):
        return tuple(wrapped(graph, each) for each in node) if isinstance(node, tuple) else node
    return KINDS[node.kind](graph, node)


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
        raise CompileError(f"a size of {self!r} is met at the call, and the function needs it as a number to go on.")

    __int__ = __float__ = __index__

    def _compared(self, other):
        raise CompileError("a size is met at the call: the compiled expression cannot choose by it.")

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _compared
    __hash__ = object.__hash__


class Shape(Thing):
    """x.shape: as many sizes as there will be at the call. `*x.shape` and `x.shape[0]` can be said of it."""

    __slots__ = ()

    def __getitem__(self, index):
        (x,) = self.node.args
        if self.node.op == "shape" and isinstance(index, int):
            return self.make("size", x, attrs=(index,), kind=SIZE)
        if self.node.op == "shape" and isinstance(index, slice):
            return self.make("shape_part", x, index, kind=SHAPE)
        raise CompileError(f"x.shape[{index!r}]: write the index of one dimension, or a slice of them.")

    def __iter__(self):
        yield self  # `f(*x.shape)` hands it on whole

    def numel(self) -> Size:
        return self.make("numel", self.node.args[0], kind=SIZE)

    def __len__(self) -> int:
        raise CompileError(
            "how many dimensions there are is met at the call: name them by number, x.shape[0], x.shape[-1], and "
            "count from the end where there may be more in front."
        )

    def _compared(self, other):
        raise CompileError("a shape is met at the call: the compiled expression cannot choose by it.")

    __eq__ = __ne__ = _compared
    __hash__ = object.__hash__


def no_gradient(op: str, kind: str) -> Callable:
    def method(self, *others):
        for other in others:
            if not isinstance(other, (Real, Symbol, Mask)):
                raise CompileError(f"cannot compare {self!r} with a {type(other).__name__}.")
        return self.make(op, *map(undetached, (self, *others)), kind=kind)

    return method


_POINTWISE = {"add", "sub", "mul", "div", "pow", "neg", "exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "relu"}
_POINTWISE |= {"abs", "detach", "alias", "softmax"} | {op.name for op in TABLE.values() if op.pointwise}


def shaped_like(node: Node) -> Node:
    """The earliest node that surely has the shape of this one."""
    passed = []
    while node.shaped is None and node.op in _POINTWISE and len(set(node.nodes)) == 1:
        passed.append(node)
        (node,) = set(node.nodes)
    first = node.shaped or node
    for each in passed:
        each.shaped = first
    return first


def undetached(x):
    """A condition is a constant anyway."""
    return x.node.args[0] if isinstance(x, Symbol) and x.node.op == "detach" else x


class Mask(Thing):
    """A condition, as comparisons give it: no gradient flows through."""

    __slots__ = ()
    __and__ = no_gradient("and", MASK)
    __or__ = no_gradient("or", MASK)
    __invert__ = no_gradient("not", MASK)

    @property
    def value(self) -> Mask:
        return self

    def halves(self, like: Symbol) -> Weights:
        """1, or 0.5 where this is True."""
        return self.make("halves", self, like, kind=CONSTANT)

    def shares(self, dim, like: Symbol) -> Weights:
        """1 / n for each of n that are True along `dim`."""
        return self.make("shares", self, like, attrs=(dim,), kind=CONSTANT)

    def __getattr__(self, name: str):
        raise CompileError(f"a condition has no '{name}'. Conditions are for where(condition, a, b), joined by & | ~.")

    def _operand(self, other):
        raise CompileError("a condition is no number: write where(condition, x, 0.0) for condition * x.")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _operand


class Weights(Thing):
    """A constant tensor that a gradient is multiplied with."""

    __slots__ = ()


class Symbol(Thing):
    """Stands for a Variable: its operators, methods and shape."""

    __slots__ = ()

    @property
    def shape(self) -> Shape:
        return self.make("shape", shaped_like(self.node), kind=SHAPE)

    def size(self, dim: int | None = None):
        return self.shape if dim is None else self.shape[dim]

    @property
    def name(self) -> str:
        return self.node.name

    def numel(self) -> Size:
        return self.make("numel", shaped_like(self.node), kind=SIZE)

    @property
    def value(self) -> Symbol:
        """The raw tensor. No gradient flows through it, unless it is an aggregate's forward that is read."""
        return self if self.graph.reads_tensors else self.detach()

    data = value

    def detach(self) -> Symbol:
        return self if self.graph.reads_tensors else self.make("detach", self)

    @property
    def T(self) -> Symbol:
        return self.make("T", self)

    @property
    def mT(self) -> Symbol:
        return self.make("transpose", self, attrs=(-2, -1))

    def named(self, name: str, compute: Callable) -> Symbol:
        result = compute()
        if not result.node.chosen:
            result.node.name, result.node.chosen = name, True
        return result

    __lt__ = no_gradient("lt", MASK)
    __le__ = no_gradient("le", MASK)
    __gt__ = no_gradient("gt", MASK)
    __ge__ = no_gradient("ge", MASK)
    __eq__ = no_gradient("eq", MASK)
    __ne__ = no_gradient("ne", MASK)
    __hash__ = object.__hash__

    # for partials only
    def scaled(self, weights: Weights) -> Symbol:
        return self.make("scaled", self, weights)

    def tanh_backward(self, t: Symbol) -> Symbol:
        return self.make("tanh_backward", self, t)

    def sigmoid_backward(self, s: Symbol) -> Symbol:
        return self.make("sigmoid_backward", self, s)

    def sign(self) -> Weights:
        return self.make("sign", self, kind=CONSTANT)

    def largest(self, dim) -> Mask:
        return self.make("largest", self, attrs=(dim,), kind=MASK)

    def put(self, shape, parts: tuple) -> Symbol:
        return self.make("put", self, shape, parts)

    def __iter__(self):
        raise CompileError(f"how many rows {self!r} has is met at the call: take them by index, x[0], x[1].")

    def __len__(self) -> int:
        raise CompileError(f"how many rows {self!r} has is met at the call: write x.shape[0] where a size belongs.")

    def _number(self, *_):
        raise CompileError(f"{self!r} has no value while the function is compiled: it cannot be made a number.")

    item = tolist = __float__ = __int__ = __index__ = _number

    def __setitem__(self, index, value):
        raise CompileError("a value is never changed in place: build the new one with where, cat or stack.")

    def __getattr__(self, name: str):
        if name in ("ndim", "dim"):
            raise CompileError(
                "how many dimensions there are is met at the call: count dimensions from the end, x.sum(dim=-1)."
            )
        raise CompileError(f"'{name}' is no operator of the engine. There are: {', '.join(sorted(METHODS))}.")


KINDS = {VALUE: Symbol, MASK: Mask, CONSTANT: Weights, SIZE: Size, SHAPE: Shape}


# --- operators, with torch's arguments ---------------------------------------------------------------------------


def operand(what: str, x):
    """A symbol or a number. A raw tensor belongs in no operator, in the engine either."""
    if isinstance(x, (Symbol, Real, Size)) and not isinstance(x, bool):
        return x
    if isinstance(x, Mask):
        x._operand(None)
    raise CompileError(
        f"{what}: a {type(x).__name__} stands where a Variable or a number belongs. Make it an input of the function."
    )


def two(op: str, swap: bool = False) -> Callable:
    def method(self: Symbol, other):
        a, b = operand(op, self), operand(op, other)
        a, b = (b, a) if swap else (a, b)
        if op in ("add", "mul") and not isinstance(a, Symbol):
            a, b = b, a  # a number stands on the right
        if not isinstance(a, Symbol) and not isinstance(b, Symbol):
            raise CompileError(f"{op}: neither side is a Variable.")
        return (a if isinstance(a, Symbol) else b).make(op, a, b)

    method.__name__ = op
    return method


def one(op: str) -> Callable:
    def method(self: Symbol) -> Symbol:
        return self.make(op, self)

    method.__name__ = op
    return method


def both(op: str) -> Callable:
    """maximum and minimum: numbers stand on neither side, as in torch."""

    def method(self: Symbol, other: Symbol) -> Symbol:
        if not isinstance(operand(op, other), Symbol):
            raise CompileError(f"{op}: takes two Variables. Write where(x > {other!r}, x, {other!r}) for a number.")
        return self.make(op, self, other)

    method.__name__ = op
    return method


def dimension(what: str, dim: object) -> int:
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise CompileError(f"{what}: dim is a whole number, not {dim!r}.")
    return dim


def reducing(op: str) -> Callable:
    def method(self: Symbol, dim=None, keepdim: bool = False) -> Symbol:
        if isinstance(dim, (tuple, list)):
            dims = tuple(dimension(op, d) for d in dim)
            dim = dims[0] if len(dims) == 1 else dims or None
            if dims and min(dims) < 0 <= max(dims) and not keepdim:  # whose place is known only with them all there
                return squeeze(self.make(op, self, attrs=(dim, True)), dims)
        elif dim is not None:
            dim = dimension(op, dim)
        return self.make(op, self, attrs=(dim, bool(keepdim)))

    method.__name__ = op
    return method


def softmax(self: Symbol, dim: int = -1) -> Symbol:
    return self.make("softmax", self, attrs=(dimension("softmax", dim),))


def sizes_of(what: str, sizes: tuple) -> tuple:
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    for size in sizes:
        if not isinstance(size, (int, Size, Shape)):
            raise CompileError(f"{what}: sizes are whole numbers, x.shape[0] or *x.shape, not {size!r}.")
    return sizes


def sized(op: str) -> Callable:
    def method(self: Symbol, *sizes) -> Symbol:
        return self.make(op, self, sizes_of(op, sizes))

    method.__name__ = op
    return method


def transpose(self: Symbol, dim0: int, dim1: int) -> Symbol:
    return self.make("transpose", self, attrs=(dimension("transpose", dim0), dimension("transpose", dim1)))


def permute(self: Symbol, *dims) -> Symbol:
    dims = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return self.make("permute", self, attrs=(tuple(dimension("permute", d) for d in dims),))


def unsqueeze(self: Symbol, dim: int) -> Symbol:
    return self.make("unsqueeze", self, attrs=(dimension("unsqueeze", dim),))


def squeeze(self: Symbol, *dim) -> Symbol:
    return self.make("squeeze", self, attrs=dim)


def flatten(self: Symbol, start_dim: int = 0, end_dim: int = -1) -> Symbol:
    return self.make("flatten", self, attrs=(start_dim, end_dim))


class Literal(str):
    """An argument as it is written: a list of places, [0, 2]."""

    __slots__ = ()


def literal(part):
    if isinstance(part, list) and part and all(isinstance(place, int) for place in part):
        return Literal(repr(part))
    return part


def getitem(self: Symbol, index) -> Symbol:
    parts = tuple(map(literal, index if isinstance(index, tuple) else (index,)))
    for part in parts:
        if not isinstance(part, (Literal, int, slice, Symbol, Mask, Size, type(None), type(...))):
            raise CompileError(
                f"{self!r}[…]: an index is whole numbers, slices, None, …, a condition or an input, not a "
                f"{type(part).__name__}."
            )
        ends = (part.start, part.stop, part.step) if isinstance(part, slice) else ()
        if not all(end is None or isinstance(end, (int, Size)) for end in ends):
            raise CompileError(f"{self!r}[…]: the ends of a slice are whole numbers or sizes, x[1:], x[: y.shape[0]].")
    return self.make("index", self, parts)


def joining(op: str) -> Callable:
    def method(tensors: Sequence[Symbol], dim: int = 0) -> Symbol:
        tensors = tuple(tensors)
        if not tensors or not all(isinstance(x, Symbol) for x in tensors):
            raise CompileError(f"{op}: takes a list of Variables, {op}([x, y]).")
        return tensors[0].make(op, tensors, attrs=(dimension(op, dim),))

    method.__name__ = op
    return method


def where(condition: Mask | Symbol, a, b) -> Symbol:
    """a where the condition holds, else b; either may be a number, not both."""
    a, b = operand("where", a), operand("where", b)
    if not isinstance(condition, (Mask, Symbol)) or not (isinstance(a, Symbol) or isinstance(b, Symbol)):
        raise CompileError("where: takes a condition, as a comparison gives it, and two values: where(x > 0, x, 0.0).")
    return condition.make("where", condition, a, b)


METHODS: dict[str, Callable] = {
    **{op: two(op) for op in ("add", "sub", "mul", "div", "pow", "matmul")},
    **{op: both(op) for op in ("maximum", "minimum", "matmul")},
    **{op: one(op) for op in ("neg", "exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "relu", "abs", "t")},
    **{op: reducing(op) for op in ("sum", "mean", "amax", "logsumexp")},
    **{op: sized(op) for op in ("expand", "sum_to_size", "reshape")},
    **{f.__name__: f for f in (softmax, transpose, permute, unsqueeze, squeeze, flatten)},
}
FUNCTIONS: dict[str, Callable] = METHODS | {"where": where, "cat": joining("cat"), "stack": joining("stack")}
ALIASES = {"view": "reshape", "mm": "matmul", "bmm": "matmul", "mv": "matmul", "dot": "matmul", "subtract": "sub"}
ALIASES |= {"multiply": "mul", "divide": "div", "true_divide": "div", "absolute": "abs", "negative": "neg"}
METHODS |= {alias: METHODS[name] for alias, name in ALIASES.items()}
FUNCTIONS |= METHODS | {"concat": FUNCTIONS["cat"], "concatenate": FUNCTIONS["cat"]}
OPERATORS = {"add": two("add"), "radd": two("add", True), "sub": two("sub"), "rsub": two("sub", True)}
OPERATORS |= {"mul": two("mul"), "rmul": two("mul", True), "truediv": two("div"), "rtruediv": two("div", True)}
OPERATORS |= {"pow": two("pow"), "rpow": two("pow", True), "neg": METHODS["neg"], "abs": METHODS["abs"]}
OPERATORS |= {"matmul": METHODS["matmul"], "getitem": getitem}
for _name, _method in METHODS.items():
    setattr(Symbol, _name, _method)
for _name, _method in OPERATORS.items():
    setattr(Symbol, f"__{_name}__", _method)
    FUNCTIONS[f"__{_name}__"] = _method
_OWN = dict(FUNCTIONS)  # what makes the node, of an operator's own arguments
for _name, _method in (OPS | OTHER_NAMES).items():  # torch's arguments are read where they are for Variables
    FUNCTIONS[_name] = METHODS[_name] = _method
    setattr(Symbol, _name, _method)


def is_default(key: str, value) -> bool:
    """What torch.nn.functional and torch.nn pass on where their caller said nothing."""
    return key == "_stacklevel" or (key in ("dtype", "out") and value is None) or (key == "inplace" and value is False)


# Operators of the table that symbols write in a way of their own.
_BOUND: dict[str, Callable] = {
    "masked": lambda x, mask: where(mask, 0.0, x),
    "scaled": lambda x, weights: x.scaled(weights),
    "index": lambda x, parts: getitem(x, parts),
    "squeeze": lambda x, dims: squeeze(x) if dims is None else squeeze(x, dims),
    "T": lambda x: x.T,
    **{op: no_gradient(op, MASK) for op in ("lt", "le", "gt", "ge", "eq", "ne")},
}
