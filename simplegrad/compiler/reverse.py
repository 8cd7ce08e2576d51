"""The reverse part as a graph: what the outgoing gradients are computed from, for each pattern of Nones.

It is the engine's own loop, `backward`, over the nodes of forward; gradients are symbols, and what is added up and
multiplied makes nodes.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ..engine.grad import backward
from ..ops.shapes import summed
from .graph import LITERALS, VALUE, Expression, Graph, Node, mapped, needed_for, operation
from .shapes import Shapes
from .symbols import Symbol
from .things import flows, wrapped

_CONSTANT_NAMES = {"le": "off", "lt": "less", "gt": "more", "ge": "least", "eq": "ties", "ne": "differs"}
_CONSTANT_NAMES |= {"half_of_ties": "share", "shares": "share", "and": "both", "or": "either"}


def forked(graph: Graph) -> Graph:
    """A graph that goes on from this one, and leaves it as it is."""
    fork = copy.copy(graph)
    fork.nodes, fork.known = list(graph.nodes), dict(graph.known)
    return fork


def slots_of(node: Node) -> Iterator[tuple]:
    """For each argument that gradients flow to: (the vjp, it, what the vjp is told besides: the place in a list)."""
    if not node.is_size:
        op = operation(node.op)
        for place, arg in enumerate(node.args):
            vjp = op.vjp(place)
            several = enumerate(arg) if isinstance(arg, list) and op.each else [(None, arg)]
            for at, x in several if vjp is not None else ():
                if isinstance(x, Node) and x.kind == VALUE:
                    yield vjp, x, () if at is None else (at,)


class OnSymbols:
    """Gradients are symbols: each contribution is a node, named and shaped after what it is a gradient of.

    `through`: node -> the forward operation that hands it its last contribution.
    """

    keep = None

    def __init__(self, graph: Graph, shapes: Shapes):
        self.graph = graph
        self.shapes = shapes
        self.through: dict[Node, Node] = {}
        self.about: tuple[Node, Node] | None = None  # the forward node, and which argument's gradient is made
        graph.watcher = self.made

    def entry(self, node: Node) -> tuple:
        return partial(self.propagate, node), node, tuple(x for _, x, _ in slots_of(node)), None, None, None

    def add(self, total: Symbol, contribution: Symbol, x: Node) -> Symbol:
        return total + contribution

    def propagate(self, node: Node, g: Symbol, one: None, two: None) -> Iterator[Symbol | None]:
        """One contribution at a time, so that what adds it up is named with it."""
        self.about = node, node
        op, r = operation(node.op), Symbol(self.graph, node)
        args = [wrapped(self.graph, arg) for arg in node.args]
        if op.shapes:
            args = [arg if op.vjp(place) is None else shapes_alone(arg) for place, arg in enumerate(args)]
        for vjp, x, more in slots_of(node):
            self.about = node, x
            yield self.fitted(op, vjp(g, r, *args, *more), x)

    def fitted(self, op, dL_dx: Symbol | None, x: Node) -> Symbol | None:
        """The contribution in the shape of x: what was broadcast is summed."""
        if dL_dx is None:
            return None
        if op.shapes:  # its vjps see to that; of g[condition] no shape is known beforehand
            self.shapes.like(dL_dx.node, x)
        dL_dx = summed(dL_dx, Symbol(self.graph, x).shape)
        self.shapes.like(dL_dx.node, x)
        return dL_dx

    def added(self, x: Node, contribution: Symbol | None, total: Symbol | None) -> None:
        if contribution is not None:
            self.shapes.like(total.node, x)
            self.through[x] = self.about[0]

    def made(self, made: Node) -> None:
        """Name it: dL_dt for what depends on a gradient, dr_dt for a factor of it, of r = f(t)."""
        made.about, x = self.about
        if made.is_constant:
            made.name = f"{_CONSTANT_NAMES.get(made.op, made.op)}_{made.about.name}"
        elif any(each.is_gradient for each in made.nodes):
            made.name, made.is_gradient = f"dL_d{x.name}", True
        else:
            made.name = f"d{made.about.name}_d{x.name}"


def shapes_alone(arg):
    """For a vjp that reads no numbers: shapes in the place of the values that gradients flow to."""
    return mapped(lambda each: each.shape if flows(each) else each, arg)


Pattern = tuple[bool, ...]  # for each output, whether a gradient comes in: else it is a known zero


@dataclass
class Body:
    """The reverse part for one pattern. `order`: what it computes; `outgoing`: a node (or None) for each input that
    gradients flow to."""

    incoming: list[Node | None]  # for each output, None where it is a known zero
    outgoing: list[Node | None]
    order: list[Node]
    reads: list[Node]  # forward nodes that it computes from
    through: dict[Node, Node]  # input -> the forward operation that hands it its last contribution
    graph: Graph = field(repr=False)

    @property
    def operations(self) -> list[Node]:
        """What it computes on gradients and values, one torch operation each."""
        return [node for node in self.order if not node.is_size]


class Differentiated:
    """A forward graph with all that its reverse parts need: its declared temporaries, and what forward keeps for them.

    `outputs`: the results, then the temporaries; one incoming gradient each. `kept`: conditions that forward computes
    since what they are of is not at hand later.
    """

    def __init__(self, expression: Expression, shapes: Shapes):
        self.expression = expression
        self.graph = forked(expression.graph)
        self.graph.shapes = self.shapes = shapes
        self.inputs, self.results = expression.inputs, expression.results
        self.values = [node for node in self.inputs if node.kind == VALUE]  # that gradients flow to
        self.temporaries: list[Node] = []
        self.kept: list[Node] = []
        self.gradients: dict[Node, Node] = {}  # the incoming gradient of each output
        self.bodies: dict[Pattern, Body] = {}
        self.declare()

    @property
    def outputs(self) -> list[Node]:
        return self.results + self.temporaries

    @property
    def forward(self) -> list[Node]:
        return needed_for([*self.outputs, *self.kept])

    @property
    def all(self) -> Pattern:
        return (True,) * len(self.outputs)

    @property
    def first(self) -> Pattern:
        """What a first pass sees: gradients of the results."""
        return tuple(node in self.results for node in self.outputs)

    @property
    def patterns(self) -> list[Pattern]:
        """All in which something comes in, the first pass's first."""
        *patterns, _ = itertools.product((True, False), repeat=len(self.outputs))
        return list(dict.fromkeys([self.first, *patterns]))

    def declare(self) -> None:
        """Every forward temporary that a reverse part reads becomes an output, until no further one is read."""
        while True:
            body = self.body(self.all)
            at_hand = {*self.inputs, *self.outputs}
            read = [n for n in body.reads if n.kind == VALUE and n not in at_hand]
            if not read:
                break
            self.temporaries = sorted([*self.temporaries, *read])
            self.bodies.clear()
        self.kept = [n for n in body.reads if n.is_constant and n not in self.inputs]
        self.graph = body.graph  # what other patterns make is the same node where it computes the same

    def body(self, pattern: Pattern) -> Body:
        if pattern not in self.bodies:
            self.bodies[pattern] = self.made(pattern)
        return self.bodies[pattern]

    def made(self, pattern: Pattern) -> Body:
        graph = forked(self.graph)
        incoming = [self.gradient(graph, n) if comes else None for n, comes in zip(self.outputs, pattern)]
        seeds: dict[Node, Node] = {}
        for output, g in zip(self.outputs, incoming):
            if g is not None:  # a result may stand there twice
                seeds[output] = g if output not in seeds else graph("add", seeds[output], g)
        on, dL_d = OnSymbols(graph, self.shapes), {node: Symbol(graph, g) for node, g in seeds.items()}
        backward([on.entry(node) for node in reversed(needed_for(seeds)) if node.args], dL_d, on)
        graph.watcher = None
        outgoing = [dL_d[node].node if node in dL_d else None for node in self.values]
        order, reads = self.split([node for node in outgoing if node is not None])
        return Body(incoming, outgoing, order, reads, on.through, graph)

    def partly(self, body: Body, needed: Sequence[bool]) -> Body:
        """What of a body computes the gradients of these inputs, of those that gradients flow to."""
        outgoing = [g if is_needed else None for g, is_needed in zip(body.outgoing, needed)]
        order, _ = self.split([g for g in outgoing if g is not None])
        return replace(body, outgoing=outgoing, order=order)

    def gradient(self, graph: Graph, output: Node) -> Node:
        """The node of the gradient that comes in for this output: the same one in all patterns."""
        if output not in self.gradients:
            leaf = Node("incoming", (), VALUE, 1 << 30)
            leaf.give_name(f"dL_d{output.name}")
            leaf.is_gradient = True
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
            if node.op == "incoming" or node.is_by_name:
                continue
            if node in forward and node.op not in LITERALS or must_be_kept(node, forward, at_hand):
                reads.append(node)
                continue
            order.append(node)
            new = {each for each in node.nodes if not each.is_size} - seen
            waiting += new
            seen |= new
        return sorted(order), sorted(reads)


def must_be_kept(node: Node, forward: set[Node], at_hand: set[Node]) -> bool:
    """A condition (or weights) on forward values of which one is gone when the reverse part runs: forward computes it
    instead. What a function of torch found is not looked for again."""
    if not node.is_constant or node.op == "call":
        return node.op == "call" and node in forward
    direct, constants, seen = set(), [node], {node}
    while constants:
        for each in constants.pop().nodes:
            if each.kind == VALUE:
                direct.add(each)
            elif each.is_constant and each not in seen:
                seen.add(each)
                constants.append(each)
    return direct <= forward and not direct <= at_hand
