"""What each operation is in code, and beside it its partials, on symbols: (k, g, r, *arguments) -> contribution.

`g` is dL/dr. The formulas are the engine's own (engine/operators.py), so that compiled and recorded gradients agree; a
partial of None is a known zero. `k` knows shapes: `k.fit` undoes broadcasting, `k.rank` counts dimensions. In a text,
`tensor` tells the code that computes on raw tensors from the code that computes on Variables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..ops import TABLE, Op
from .symbols import Symbol, where


class Rule:
    """`text(arguments, attrs, tensor)` is the expression; `partials` one for each argument that gradients flow to.

    `same_shape`: the result has the shape that its arguments broadcast to, so that a partial may need fitting.
    """

    def __init__(self, text: str | Callable, *partials: Callable | None, several: Callable | None = None):
        self._text = text
        self.partials = partials
        self.several = several  # instead of partials, for a list of arguments

    def text(self, args: Sequence[str], attrs: tuple, tensor: bool) -> str:
        if isinstance(self._text, str):
            return self._text.format(*args, *attrs)
        return self._text(args, attrs, tensor)


def reduction(name: str) -> Callable:
    def text(args: Sequence[str], attrs: tuple, tensor: bool) -> str:
        dim, keepdim = attrs
        if name == "logsumexp" and dim is None:
            dim = f"tuple(range({args[0]}.dim()))"
        said = [f"dim={dim}"] if dim is not None or (keepdim and name != "amax") else []
        return f"{args[0]}.{name}({', '.join(said + ['keepdim=True'] * keepdim)})"

    return text


def named(variable: str, tensor: str) -> Callable:
    """An operation that raw tensors call by another name."""
    return lambda args, attrs, on_tensors: (tensor if on_tensors else variable).format(*args, *attrs)


def joined(name: str) -> Callable:
    def text(args: Sequence[str], attrs: tuple, tensor: bool) -> str:
        return f"{'torch.' * tensor}{name}([{', '.join(args)}], dim={attrs[0]})"

    return text


def indexed(args: Sequence[str], attrs: tuple, tensor: bool) -> str:
    return f"{args[0]}[{', '.join(args[1:])}]"


def transposed(args: Sequence[str], attrs: tuple, tensor: bool) -> str:
    return f"{args[0]}.mT" if set(attrs) == {-1, -2} else f"{args[0]}.transpose({attrs[0]}, {attrs[1]})"


# --- what a gradient goes back through --------------------------------------------------------------------------


def restored(k, g: Symbol, x: Symbol, dim, keepdim: bool) -> Symbol:
    """The gradient of a reduction's result, with the reduced dimensions there again, of size 1."""
    if keepdim or dim is None or k.rank(x) == 0:
        return g
    dims = (dim,) if isinstance(dim, int) else dim
    for each in sorted(dims, key=abs):  # from the outside in: 0, 1, … or -1, -2, …
        g = g.unsqueeze(each)
    return g


def count(k, x: Symbol, dim):
    """How many elements a mean is of."""
    if dim is not None and k.rank(x) == 0:
        return 1
    if dim is None:
        return x.numel()
    return math.prod((x.size(d) for d in ((dim,) if isinstance(dim, int) else dim)), start=1)


def tied(g: Symbol, mine: Symbol, other: Symbol) -> Symbol:
    """The gradient of the one of two operands that won; a tie is shared, as torch does."""
    return where(mine < other, 0.0, g).scaled((mine == other).halves(g))


def matmul_left(k, g: Symbol, r: Symbol, a: Symbol, b: Symbol) -> Symbol:
    if k.rank(b) == 1:
        return g * b if k.rank(a) == 1 else g.unsqueeze(-1) * b
    if k.rank(a) == 1:
        return (b @ g.unsqueeze(-1)).squeeze(-1)
    return g @ b.transpose(-1, -2)


def matmul_right(k, g: Symbol, r: Symbol, a: Symbol, b: Symbol) -> Symbol:
    if k.rank(a) == 1:
        return g * a if k.rank(b) == 1 else a.unsqueeze(-1) * g.unsqueeze(-2)
    if k.rank(b) == 1:
        return (a.transpose(-1, -2) @ g.unsqueeze(-1)).squeeze(-1)
    return a.transpose(-1, -2) @ g


def along(dim: int, part) -> tuple:
    """The index that takes `part` of dimension `dim`: [:, part], or [..., part, :] counted from the end."""
    return (*[slice(None)] * dim, part) if dim >= 0 else (..., part, *[slice(None)] * (-dim - 1))


def cat_partials(k, g: Symbol, r: Symbol, tensors: Sequence[Symbol]) -> list[Symbol]:
    (dim,) = r.node.attrs
    pieces, start = [], None
    for x in tensors:
        size = x.size(dim)
        stop = size if start is None else start + size
        pieces.append(g[along(dim, slice(start, None if len(pieces) == len(tensors) - 1 else stop))])
        start = stop
    return pieces


def stack_partials(k, g: Symbol, r: Symbol, tensors: Sequence[Symbol]) -> list[Symbol]:
    return [g[along(r.node.attrs[0], i)] for i in range(len(tensors))]


def logsumexp_partial(k, g: Symbol, r: Symbol, x: Symbol) -> Symbol:
    dim, keepdim = r.node.attrs
    return restored(k, g, x, dim, keepdim) * (x - restored(k, r, x, dim, keepdim)).exp()


def amax_partial(k, g: Symbol, r: Symbol, x: Symbol) -> Symbol:
    dim, keepdim = r.node.attrs
    return restored(k, g, x, dim, keepdim).scaled(x.largest(dim).shares(dim, g))


def softmax_partial(k, g: Symbol, r: Symbol, x: Symbol) -> Symbol:
    return (g - (g * r).sum(dim=r.node.attrs[0], keepdim=True)) * r


def permuted_back(k, g: Symbol, r: Symbol, x: Symbol) -> Symbol:
    dims = [d % len(r.node.attrs[0]) for d in r.node.attrs[0]]
    return g.permute(*[dims.index(d) for d in range(len(dims))])


RULES: dict[str, Rule] = {
    # pointwise, two operands
    "add": Rule("{} + {}", lambda k, g, r, a, b: g, lambda k, g, r, a, b: g),
    "mul": Rule("{} * {}", lambda k, g, r, a, b: k.times(g, b), lambda k, g, r, a, b: k.times(g, a)),
    "maximum": Rule("{}.maximum({})", lambda k, g, r, a, b: tied(g, a, b), lambda k, g, r, a, b: tied(g, b, a)),
    "minimum": Rule("{}.minimum({})", lambda k, g, r, a, b: tied(g, b, a), lambda k, g, r, a, b: tied(g, a, b)),
    # pointwise, one operand
    "exp": Rule("{}.exp()", lambda k, g, r, x: k.times(g, r)),
    "relu": Rule("{}.relu()", lambda k, g, r, x: where(r <= 0, 0.0, g)),
    "abs": Rule("{}.abs()", lambda k, g, r, x: g.scaled(x.sign())),
    "detach": Rule("{}.detach()", None),
    "alias": Rule(named("{0}", "{0}.view_as({0})"), lambda k, g, r, x: g),
    # what the reverse part of tanh, sigmoid and of kinks is made of; a reverse part has one of its own
    "where": Rule(
        named("where({}, {}, {})", "torch.where({}, {}, {})"),
        None,
        lambda k, g, r, condition, a, b: where(condition, g, 0.0),
        lambda k, g, r, condition, a, b: where(condition, 0.0, g),
    ),
    "scaled": Rule(named("scaled({}, {})", "{} * {}"), lambda k, g, r, x, weights: g.scaled(weights), None),
    # reductions and shapes
    "sum": Rule(reduction("sum"), lambda k, g, r, x: k.spread(restored(k, g, x, *r.node.attrs), x)),
    "mean": Rule(
        reduction("mean"),
        lambda k, g, r, x: k.spread(restored(k, g, x, *r.node.attrs) / count(k, x, r.node.attrs[0]), x),
    ),
    "amax": Rule(reduction("amax"), amax_partial),
    "logsumexp": Rule(reduction("logsumexp"), logsumexp_partial),
    "softmax": Rule("{}.softmax(dim={})", softmax_partial),
    "expand": Rule("{}.expand({})", lambda k, g, r, x, sizes: g),  # summed again where it is fitted to x
    "sum_to_size": Rule("{}.sum_to_size({})", lambda k, g, r, x, sizes: k.spread(g, x)),
    "reshape": Rule("{}.reshape({})", lambda k, g, r, x, sizes: g.reshape(x.shape)),
    "unsqueeze": Rule("{}.unsqueeze({})", lambda k, g, r, x: g.squeeze(*r.node.attrs)),
    "squeeze": Rule(
        lambda args, attrs, tensor: f"{args[0]}.squeeze({attrs[0] if attrs else ''})",
        lambda k, g, r, x: g.reshape(x.shape),
    ),
    "flatten": Rule("{}.flatten({}, {})", lambda k, g, r, x: g.reshape(x.shape)),
    "transpose": Rule(transposed, lambda k, g, r, x: g.transpose(*r.node.attrs)),
    "t": Rule("{}.t()", lambda k, g, r, x: g.t()),
    "permute": Rule(lambda args, attrs, tensor: f"{args[0]}.permute({', '.join(map(str, attrs[0]))})", permuted_back),
    "index": Rule(indexed, lambda k, g, r, x, parts: g.put(x.shape, parts)),
    "put": Rule(
        lambda args, attrs, tensor: f"put({args[0]}, {args[1]}, ({', '.join(args[2:])},))",
        lambda k, g, r, x, shape, parts: g[parts],
    ),
    "cat": Rule(joined("cat"), several=cat_partials),
    "stack": Rule(joined("stack"), several=stack_partials),
    "matmul": Rule("{} @ {}", matmul_left, matmul_right),
    # numbers that stand in the text, and a condition as 1 and 0: reverse parts make them anew
    "constant": Rule(named("Variable.constant(torch.tensor({0}))", "torch.tensor({0})")),
    "filled": Rule(named("Variable.constant(torch.full(({0},), {1}))", "torch.full(({0},), {1})")),
    "indicator": Rule(
        named("Variable.constant({0}.to(torch.get_default_dtype()))", "{0}.to(torch.get_default_dtype())")
    ),
    # no gradient flows through these: conditions and weights
    "lt": Rule("{} < {}"),
    "le": Rule("{} <= {}"),
    "gt": Rule("{} > {}"),
    "ge": Rule("{} >= {}"),
    "eq": Rule("{} == {}"),
    "ne": Rule("{} != {}"),
    "and": Rule("{} & {}"),
    "or": Rule("{} | {}"),
    "not": Rule("~{}"),
    "sign": Rule("{}.sign()"),
    "halves": Rule("torch.where({0}, 0.5, 1.0).to({1}.dtype)"),
    "largest": Rule(lambda args, attrs, tensor: f"{args[0]} == {reduction('amax')(args, (*attrs, True), tensor)}"),
    "shares": Rule(
        lambda args, attrs, tensor: f"{args[0]}.to({args[1]}.dtype) / {reduction('sum')(args, (*attrs, True), tensor)}"
    ),
    # sizes, written in place
    "size": Rule("{}.shape[{}]"),
    "numel": Rule("{}.numel()"),
    "shape": Rule("{}.shape"),
    "size_add": Rule("{} + {}"),
    "size_sub": Rule("{} - {}"),
    "size_mul": Rule("{} * {}"),
    "size_floor": Rule("{} // {}"),
    "size_div": Rule("{} / {}"),
    "size_pow": Rule("{} ** {}"),
}


def of_table(op: Op) -> Rule:
    """The rule that the table has: its vjps run on symbols as they are."""

    def text(args: Sequence[str], attrs: tuple, tensor: bool) -> str:
        return op.in_torch.format(*args) if tensor and op.in_torch is not None else op.written(args)

    partials = [vjp and partial_of(vjp) for vjp in op.vjps]
    return Rule(text, *partials)


def partial_of(vjp: Callable) -> Callable:
    return lambda k, g, r, *args: vjp(g, r, *args)


RULES |= {name: of_table(op) for name, op in TABLE.items() if name not in RULES}

# What no gradient flows through, and what is cheaper to make again than to keep.
MADE_ANEW = ("constant", "filled", "indicator")
