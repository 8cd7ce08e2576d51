"""Things: what stands for a value while an expression is read. A thing has no value, only a node of the graph."""

from __future__ import annotations

from typing import ClassVar

from .errors import CompileError
from .graph import VALUE, Graph, Node, mapped


class Thing:
    """Base of all: a node, and the graph that it belongs to. `flows`: gradients flow through it.

    `class Mask(Thing, kind=MASK)` is what stands for nodes of that kind.
    """

    __slots__ = ("graph", "node")
    flows = False
    of_kind: ClassVar[dict[str, type[Thing]]] = {}

    def __init_subclass__(cls, kind: str = "") -> None:
        if kind:
            Thing.of_kind[kind] = cls

    def __init__(self, graph: Graph, node: Node):
        self.graph = graph
        self.node = node

    def make(self, op: str, *args, kind: str = VALUE):
        return wrapped(self.graph, self.graph(op, *map(bare, args), kind=kind))

    def numbers(self) -> Thing:
        """What is computed with where it is an operand."""
        return self

    def __bool__(self) -> bool:
        raise CompileError(
            f"{self!r} has no value while the function is compiled, so no `if`, `and` or `not` can ask for it. "
            f"Choose between values with where(condition, a, b)."
        )

    def __repr__(self) -> str:
        return f"'{self.node.name}'" if self.node.name else f"the result of '{self.node.op}'"


def kind_of(arg: object) -> str:
    return arg.node.kind if isinstance(arg, Thing) else ""


def flows(arg: object) -> bool:
    return isinstance(arg, Thing) and arg.flows


def bare(arg):
    """Nodes in the place of things, within lists, tuples and slices too."""
    return mapped(lambda each: each.node if isinstance(each, Thing) else each, arg)


def wrapped(graph: Graph, node):
    """Things in the place of nodes."""
    return mapped(lambda each: Thing.of_kind[each.kind](graph, each) if isinstance(each, Node) else each, node)
