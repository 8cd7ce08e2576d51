"""Bodies that are aggregates themselves: a whole reverse part as one entry, whose own propagate is compiled too.

A body computes on Variables, an entry for each operation. A fused body computes on tensors and appends one entry; what
differentiates that is made of its graph in the same way, when a pass first needs it, and so on to any order.
"""

from __future__ import annotations

from .code import Code, lines_of
from .graph import SIZES_OF_TENSORS, Expression, Graph, Node, mapped, shaped_like
from .names import name_nodes
from .reverse import Body
from .shapes import Shapes

FEWEST = 6  # operations; an entry of its own costs as much as recording some five


def is_worth_an_entry(body: Body, code: Code) -> bool:
    return len(body.operations) >= FEWEST and not code.kept_shapes


class Copied:
    """The graph of a body on its own: incoming gradients and what it reads are its inputs."""

    def __init__(self, body: Body, code: Code):
        self.body = body
        self.code = code
        self.graph = Graph()
        self.graph.captured = code.made.graph.captured
        reads = dict.fromkeys([*body.reads, *(n for n in code.asked_shapes if n not in body.reads)])
        incoming = [node for node in body.incoming if node is not None]
        self.inputs = {n: self.graph.leaf("input", code.names.get(n, n.name), n.kind) for n in (*incoming, *reads)}
        self.copies: dict[Node, Node] = dict(self.inputs)
        self.by_shape = {shaped_like(n): leaf for n, leaf in self.inputs.items()}
        made = [self.copy(node) for node in body.outgoing if node is not None and node not in self.inputs]
        self.results = list(dict.fromkeys(made))

    def expression(self) -> Expression:
        of = ", ".join(n.name for n in self.body.incoming if n is not None)
        what = f"The gradients of {self.code.name}, of {of}."
        expression = Expression(self.graph, list(self.inputs.values()), self.results, what)
        name_nodes(expression)
        return expression

    @property
    def shapes(self) -> Shapes:
        return Shapes({leaf: self.code.made.shapes.value(node) for node, leaf in self.inputs.items()})

    def copy(self, node: Node) -> Node:
        if node not in self.copies:
            if node.op in SIZES_OF_TENSORS:
                x, *rest = node.args
                args = (self.copies.get(x) or self.by_shape[shaped_like(x)], *rest)
            else:
                args = mapped(lambda arg: self.copy(arg) if isinstance(arg, Node) else arg, node.args)
            self.copies[node] = self.graph(node.op, *args, kind=node.kind)
        return self.copies[node]

    def text(self, name: str) -> str:
        """Called as every body is, with all gradients and all that forward captured."""
        names = self.code.names | {g: f"dL_d{self.code.names[n]}" for n, g in self.code.made.gradients.items()}
        made = {node: f"r{i}" for i, node in enumerate(self.results)}
        returned = [
            "None" if node is None else names[node] if node in self.inputs else made[self.copies[node]]
            for node in self.body.outgoing
        ]
        call = f"{', '.join(made.values())} = compute({', '.join(names[node] for node in self.inputs)})"
        return lines_of(f"def {name}({self.code.parameters}):", [call, f"return [{', '.join(returned)}]"])
