"""Reverse accumulation, as a graph: what the outgoing gradients are computed from, for each pattern of Nones."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .graph import CONSTANT, MASK, SHAPE, SIZE, VALUE, Graph, Node, needed_for
from .rules import MADE_ANEW, RULES
from .shapes import Shapes
from .symbols import Symbol, bare, wrapped

_CONSTANT_NAMES = {"le": "off", "lt": "less", "gt": "more", "ge": "least", "eq": "ties", "ne": "differs"}
_CONSTANT_NAMES |= {"halves": "share", "shares": "share", "and": "both", "or": "either"}


class Context:
    """What a partial may ask for: ranks, and whether two shapes are the same."""

    def __init__(self, shapes: Shapes):
        self.shapes = shapes

    def rank(self, x: Symbol) -> int:
        return self.shapes.rank(x.node)

    def spread(self, g: Symbol, x: Symbol) -> Symbol:
        """The gradient of a sum: the same one for each element that was added."""
        return g if self.shapes.same(g.node, x.node) else g.expand(x.shape)

    def times(self, g: Symbol, x: Symbol | float) -> Symbol:
        """g * x; a gradient that was spread need not be where the product spreads it anyway."""
        if g.node.op == "expand" and isinstance(x, Symbol) and self.shapes.same(g.node, x.node):
            g = Symbol(g.graph, g.node.args[0])
        return g * x

    def fit(self, g: Symbol, x: Symbol) -> Symbol:
        """Where forward broadcast x, sum what was repeated."""
        return g if self.shapes.same(g.node, x.node) else g.sum_to_size(x.shape)


def forked(graph: Graph) -> Graph:
    """A graph that goes on from this one, and leaves it as it is."""
    fork = copy.copy(graph)
    fork.nodes, fork.known = list(graph.nodes), dict(graph.known)
    return fork


def accumulated(graph: Graph, shapes: Shapes, incoming: Mapping[Node, Node]) -> tuple[dict, dict]:
    """The gradient table: for each node that one reaches, the node that computes its gradient; and the forward
    operation that the last contribution to it came through.

    Entries in reverse order, slots in order, as `grad` goes: sums are the same to the last bit.
    """
    table, through = dict(incoming), {}
    context = Context(shapes)
    for node in reversed(needed_for(incoming)):
        if node in table and node.args:
            for arg, contribution in contributions(graph, context, node, table[node]):
                if arg in table:
                    with Naming(graph, node, arg):
                        contribution = graph("add", table[arg], contribution)
                    shapes.like(contribution, arg)
                table[arg], through[arg] = contribution, node
    return table, through


def contributions(graph: Graph, context: Context, node: Node, gradient: Node) -> Iterable[tuple[Node, Node]]:
    """What `node` hands back to each of its arguments, in that argument's shape."""
    rule, g, r = RULES[node.op], Symbol(graph, gradient), Symbol(graph, node)
    args = [wrapped(graph, arg) for arg in node.args]
    if rule.several is not None:
        with Naming(graph, node):
            pairs = list(zip(node.args[0], map(bare, rule.several(context, g, r, *args))))
        for arg, contribution in pairs:
            name_gradient(contribution, arg)
        yield from pairs
        return
    for arg, partial in zip(node.args, rule.partials):
        if partial is None or not isinstance(arg, Node) or arg.kind != VALUE:
            continue
        with Naming(graph, node, arg):
            contribution = partial(context, g, r, *args)
            if contribution is None:
                continue
            if node.op == "put":  # g[index], whose shape may depend on the values of a condition
                context.shapes.like(contribution.node, arg)
            contribution = context.fit(contribution, Symbol(graph, arg)).node
        context.shapes.like(contribution, arg)
        yield arg, contribution


def name_gradient(node: Node, of: Node) -> None:
    if not node.chosen:
        node.name = f"dL_d{of.name}"


class Naming:
    """Names what is made while it lasts: dL_dt for what depends on a gradient, dr_dt for a partial, of r = f(t)."""

    def __init__(self, graph: Graph, node: Node, arg: Node | None = None):
        self.graph, self.node, self.arg = graph, node, arg

    def __enter__(self) -> Naming:
        self.graph.watcher = self.made
        return self

    def __exit__(self, *_) -> None:
        self.graph.watcher = None

    def made(self, made: Node) -> None:
        made.about = self.node
        x = self.arg or self.node
        if made.kind in (MASK, CONSTANT):
            made.name = f"{_CONSTANT_NAMES.get(made.op, made.op)}_{self.node.name}"
        elif any(each.is_gradient for each in made.nodes):
            made.name, made.is_gradient = f"dL_d{x.name}", True
        else:
            made.name = f"d{self.node.name}_d{x.name}"


@dataclass
class Body:
    """The reverse part for one pattern. `order`: what it computes; `outgoing`: a node (or None) for each input."""

    pattern: tuple[bool, ...]
    incoming: list[Node | None]  # for each output, None where it is a known zero
    outgoing: list[Node | None]
    order: list[Node]
    reads: list[Node]  # forward nodes that it computes from
    through: dict[Node, Node]  # input -> the forward operation that hands it its last contribution
    graph: Graph = field(repr=False)

    @property
    def operations(self) -> list[Node]:
        """What it computes on gradients and values, one torch operation each."""
        return [node for node in self.order if node.kind not in (SIZE, SHAPE)]


class Differentiated:
    """A forward graph with all that its reverse parts need: its declared temporaries, and what forward keeps for them.

    `outputs`: the results, then the temporaries; one incoming gradient each. `kept`: conditions that forward computes
    since what they are of is not at hand later.
    """

    def __init__(self, graph: Graph, inputs: Sequence[Node], results: Sequence[Node], shapes: Shapes):
        self.graph = forked(graph)
        self.inputs = list(inputs)
        self.results = list(results)
        self.shapes = shapes
        self.temporaries: list[Node] = []
        self.kept: list[Node] = []
        self.gradients: dict[Node, Node] = {}  # the incoming gradient of each output
        self.bodies: dict[tuple[bool, ...], Body] = {}
        self.declare()

    @property
    def outputs(self) -> list[Node]:
        return self.results + self.temporaries

    @property
    def forward(self) -> list[Node]:
        return needed_for([*self.outputs, *self.kept])

    def declare(self) -> None:
        """Every forward temporary that a reverse part reads becomes an output, until no further one is read."""
        while True:
            body = self.body((True,) * len(self.outputs))
            at_hand = {*self.inputs, *self.outputs}
            read = [n for n in body.reads if n.kind == VALUE and n not in at_hand]
            if not read:
                break
            self.temporaries = sorted([*self.temporaries, *read], key=lambda n: n.number)
            self.bodies.clear()
        self.kept = [n for n in body.reads if n.kind in (MASK, CONSTANT) and n not in self.inputs]
        self.graph = body.graph  # what other patterns make is the same node where it computes the same

    def body(self, pattern: tuple[bool, ...]) -> Body:
        """For these incoming gradients, True where one comes in, False where it is a known zero."""
        if pattern not in self.bodies:
            self.bodies[pattern] = self.made(pattern)
        return self.bodies[pattern]

    def made(self, pattern: tuple[bool, ...]) -> Body:
        graph = forked(self.graph)
        incoming = [self.gradient(graph, n) if comes else None for n, comes in zip(self.outputs, pattern)]
        arriving: dict[Node, Node] = {}
        for output, g in zip(self.outputs, incoming):
            if g is not None:
                arriving[output] = g if output not in arriving else graph("add", arriving[output], g)
        table, through = accumulated(graph, self.shapes, arriving)
        outgoing = [table.get(node) if node.kind == VALUE else None for node in self.inputs]
        order, reads = self.split([node for node in outgoing if node is not None])
        return Body(pattern, incoming, outgoing, order, reads, through, graph)

    def gradient(self, graph: Graph, output: Node) -> Node:
        """The node of the gradient that comes in for this output: the same one in all patterns."""
        if output not in self.gradients:
            leaf = Node("incoming", (), (output.name,), VALUE, 1 << 30)
            leaf.name, leaf.chosen, leaf.is_gradient = f"dL_d{output.name}", True, True
            self.gradients[output] = leaf
            self.shapes.like(leaf, output)
        return self.gradients[output]

    def split(self, outgoing: list[Node]) -> tuple[list[Node], list[Node]]:
        """What the reverse part computes, and what it reads of forward."""
        forward = set(self.inputs).union(needed_for(self.outputs))
        at_hand = {*self.inputs, *self.outputs}
        order, reads, waiting, seen = [], [], list(outgoing), set(outgoing)
        while waiting:
            node = waiting.pop()
            if node.op == "incoming":
                continue
            if node in forward and node.op not in MADE_ANEW or must_be_kept(node, forward, at_hand):
                reads.append(node)
                continue
            order.append(node)
            new = {each for each in node.nodes if each.kind not in (SIZE, SHAPE)} - seen
            waiting += new
            seen |= new
        return sorted(order, key=_number), sorted(reads, key=_number)


def _number(node: Node) -> int:
    return node.number


def must_be_kept(node: Node, forward: set[Node], at_hand: set[Node]) -> bool:
    """A condition on forward values of which one is gone when the reverse part runs: forward computes it instead."""
    if node.kind != MASK:
        return False
    direct, masks, seen = set(), [node], {node}
    while masks:
        for each in masks.pop().nodes:
            if each.kind == VALUE:
                direct.add(each)
            elif each.kind == MASK and each not in seen:
                seen.add(each)
                masks.append(each)
    return direct <= forward and not direct <= at_hand
