"""The expression graph: nodes that are shared where they compute the same, so that common subexpressions are one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Protocol

import torch

from ..language.limits import check_time
from ..ops import TABLE, Op

# What a node stands for: a float tensor that gradients flow through, a boolean tensor, a tensor that is a constant, a
# size (an int), a shape.
VALUE, MASK, CONSTANT, SIZE, SHAPE = "value", "mask", "constant", "size", "shape"
SIZES_OF_TENSORS = ("size", "shape", "numel", "shape_part")  # operations whose argument is a tensor; others compute

# Numbers that stand in a text or were captured, and a condition as 1 and 0. A reverse part that reads them makes them
# anew.
LITERALS = {
    name: Op(name, f"Variable.constant({text})", None, (), in_torch=text)
    for name, text in {
        "constant": "torch.tensor({})",
        "filled": "torch.full(({},), {})",
        "indicator": "{}.to(torch.get_default_dtype())",
        "captured": "{}",
        "given": "{}",
    }.items()
}
LITERALS |= {name: Op(name, "{}", None, ()) for name in ("captured_constant", "call")}


@dataclass(frozen=True)
class Call:
    """A function of torch, or a method of its tensors, on constants. `place`: of several results, the one it is."""

    name: str
    place: int | None = None


def operation(name: str) -> Op:
    """The operator that a node's `op` says."""
    return TABLE.get(name) or LITERALS[name]


class Node:
    """One operation: `op`, a name of the table, on its arguments there: nodes, numbers, dims, an index.

    `name` is what it is called in the code. Made by `Graph` only.
    """

    __slots__ = ("op", "args", "kind", "number", "name", "chosen", "about", "is_gradient", "shaped")

    def __init__(self, op: str, args: tuple, kind: str, number: int):
        self.op = op
        self.args = args
        self.kind = kind
        self.number = number  # its place: arguments come before what is made of them
        self.name = ""
        self.chosen = False  # a person chose the name
        self.is_gradient = False  # it is computed from an incoming gradient
        self.shaped: Node | None = None  # the earliest node that surely has this shape, once it was asked for
        self.about: Node | None = None  # in a reverse part: the forward operation that this line differentiates

    @property
    def is_size(self) -> bool:
        """A size or a shape: no tensor."""
        return self.kind in (SIZE, SHAPE)

    @property
    def is_constant(self) -> bool:
        """A tensor that no gradient flows through."""
        return self.kind in (MASK, CONSTANT)

    @property
    def is_by_name(self) -> bool:
        """A large constant, which code has at hand under the name that stands in it."""
        return self.op == "captured_constant" and self.args[0].text.startswith("_given")

    @property
    def nodes(self) -> Iterator[Node]:
        """The arguments that are nodes, those within lists and indices too."""
        return (each for each in flat(self.args) if isinstance(each, Node))

    def __lt__(self, other: Node) -> bool:
        """Whether it can be computed before the other."""
        return self.number < other.number

    def give_name(self, name: str | None) -> None:
        """One that a person chose, unless it has such a name already."""
        if name and not self.chosen:
            self.name, self.chosen = name, True

    def __repr__(self) -> str:
        return f"<{self.number} {self.name} {self.op}>"


def flat(args: Iterable) -> Iterator:
    for each in args:
        if isinstance(each, (tuple, list)):
            yield from flat(each)
        elif isinstance(each, slice):
            yield from (each.start, each.stop, each.step)
        else:
            yield each


def mapped(change: Callable, arg):
    """The argument with its elements changed, those of lists, tuples and slices in it."""
    if isinstance(arg, slice):
        return slice(*[mapped(change, end) for end in (arg.start, arg.stop, arg.step)])
    if isinstance(arg, (tuple, list)):
        elements = [mapped(change, each) for each in arg]
        return elements if isinstance(arg, list) else tuple(elements)
    return change(arg)


class KnownShapes(Protocol):
    """What is known of shapes where a reverse part is made."""

    has_sizes: bool

    def same(self, a: Node, b: Node) -> bool: ...

    def value(self, node: Node): ...

    def sizes(self, node: Node) -> torch.Size | None: ...

    def rank(self, node: Node) -> int: ...

    def dtype(self, node: Node) -> torch.dtype | None: ...


@dataclass(frozen=True, eq=False)
class Captured:
    """A tensor that a function had at hand when it was read, `text` in the code: its numbers, or a name for them."""

    tensor: torch.Tensor
    text: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<captured {id(self)}>"


class Graph:
    """Makes nodes, and gives the one that is there already where op and arguments are the same."""

    def __init__(self):
        self.nodes: list[Node] = []
        self.known: dict[tuple, Node] = {}
        self.watcher: Callable[[Node], None] | None = None  # told of each new node
        self.captured: dict[int, Captured] = {}  # by the identity of the tensor that was met
        self.met: list[torch.Tensor] = []  # those, so that no other takes their places
        self.is_read = False  # by a function that is being called
        self.reads_tensors = False  # `x.value` is x: an aggregate's forward is read, which computes on raw tensors
        self.shapes: KnownShapes | None = None  # while an expression is read: of examples, or nothing is known

    def __call__(self, op: str, *args, kind: str = VALUE) -> Node:
        args = self.unspread(op, args)
        simpler = simplified(op, args)
        if simpler is not None:
            return simpler
        key = (op, tuple(map(_key, ordered(op, args))), kind)
        if key not in self.known:
            check_time()
            node = self.known[key] = Node(op, tuple(args), kind, len(self.nodes))
            self.nodes.append(node)
            if self.watcher is not None:
                self.watcher(node)
        return self.known[key]

    def leaf(self, op: str, name: str, kind: str = VALUE) -> Node:
        """A node that no other is the same as: an input, an incoming gradient, a captured constant."""
        node = Node(op, (), kind, len(self.nodes))
        node.give_name(name)
        self.nodes.append(node)
        return node

    def constant(self, tensor: torch.Tensor) -> Node:
        """A raw tensor beside symbols: a constant, with the numbers that it has now."""
        if id(tensor) not in self.captured:
            named = f"_given{len(self.met) + 1}"
            small = numbers_text(tensor) if tensor.numel() <= MOST_WRITTEN else None
            self.captured[id(tensor)] = Captured(tensor.detach().clone(), small or named)
            self.met.append(tensor)
        kind = VALUE if tensor.is_floating_point() else MASK if tensor.dtype == torch.bool else CONSTANT
        return self("captured" if kind == VALUE else "captured_constant", self.captured[id(tensor)], kind=kind)

    @property
    def has_unknown_sizes(self) -> bool:
        """Whether somebody asked for one that is met at the call."""
        return any(node.is_size for node in self.nodes)

    @property
    def named(self) -> dict[str, torch.Tensor]:
        """The captured tensors whose names stand in the code."""
        return {each.text: each.tensor for each in self.captured.values() if each.text.startswith("_given")}

    def unspread(self, op: str, args: tuple) -> tuple:
        """A gradient that was spread need not be where the operation spreads it anyway. But without dimensions it would
        take the dtype of what stands beside it, which may be less precise: ones and zeros of a condition are."""
        if op in ("mul", "div", "scaled") and self.shapes is not None and self.shapes.has_sizes:
            g, other = args
            if isinstance(g, Node) and g.op == "expand" and isinstance(other, Node) and other.kind in (VALUE, CONSTANT):
                return (g.args[0], other) if self.shapes.rank(g.args[0]) and self.shapes.same(g, other) else args
        return args


@dataclass(eq=False)
class Expression:
    """What is compiled: a graph with inputs and results. `what`: what it computes, in a line."""

    graph: Graph
    inputs: list[Node]
    results: list[Node]
    what: str


MOST_WRITTEN = 8  # numbers of a captured tensor that stand in the code themselves


def numbers_text(tensor: torch.Tensor) -> str | None:
    """`torch.tensor([0, 2])`; None for an infinity or a NaN, and where the tensor is on another device."""
    if tensor.is_floating_point() and not tensor.isfinite().all() or tensor.device.type != "cpu":
        return None
    usual = tensor.dtype in (torch.bool, torch.int64)
    return f"torch.tensor({tensor.tolist()}{'' if usual else f', dtype={tensor.dtype}'})"


def _key(arg) -> tuple:
    if isinstance(arg, Node):
        return ("node", id(arg))
    if isinstance(arg, (tuple, list)):
        return (type(arg).__name__, *map(_key, arg))
    if isinstance(arg, slice):
        return ("slice", _key(arg.start), _key(arg.stop), _key(arg.step))
    return (type(arg).__name__, repr(arg))  # 1, 1.0 and True are three; so are 0.0 and -0.0


def ordered(op: str, args: tuple) -> tuple:
    """a + b and b + a are one expression (and give the same bits)."""
    if op in ("add", "mul") and all(isinstance(arg, Node) for arg in args):
        return tuple(sorted(args, key=id))
    return args


_NEUTRAL = {"mul": 1, "div": 1, "pow": 1, "size_mul": 1, "add": 0, "sub": 0}


def simplified(op: str, args: tuple) -> Node | None:
    """Times 1.0 and the like are gone, as in the engine; and what is undone again."""
    if op in ("neg", "transpose", "t") and args[0].op == op and sorted(args[0].args[1:]) == sorted(args[1:]):
        return args[0].args[0]
    neutral = _NEUTRAL.get(op)
    if neutral is not None and is_number(args[1], neutral):
        return args[0]
    return args[1] if op in ("mul", "add") and is_number(args[0], neutral) else None


def is_number(arg, number: float) -> bool:
    return isinstance(arg, Real) and not isinstance(arg, bool) and arg == number


def needed_for(results: Iterable[Node]) -> list[Node]:
    """What the results are computed from, in the order in which it can be computed: all else is dead."""
    found: set[Node] = set()
    waiting = list(results)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.nodes)
    return sorted(found)


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
    if node.is_size or not node.args:
        return False
    op = operation(node.op)
    return op.pointwise or op.alike
