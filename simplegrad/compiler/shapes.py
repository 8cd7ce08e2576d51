"""Shapes of the nodes of a graph: what decides where broadcasting has to be undone, and which matmul it is.

No shape is known when an expression is compiled. They are met at the call; a `Shapes` holds one case of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from ..language.limits import check_time
from .graph import CONSTANT, MASK, VALUE, Node, flat, keeps_shape, operation
from .run import function_of
from .write import Writer


class Shapes:
    """The shapes of all nodes for inputs like these. Nodes of reverse parts are worked out when asked for."""

    def __init__(self, inputs: Mapping[Node, torch.Tensor]):
        self.values: dict[Node, object] = {node: bodiless(value) for node, value in inputs.items()}

    @staticmethod
    def of_run(order: list[Node], inputs: Mapping[Node, torch.Tensor], name: str) -> Shapes:
        """By computing once with the real tensors: the only way where an index is a condition."""
        shapes, values = Shapes(inputs), dict(inputs)
        with torch.no_grad():
            for node in order:
                if node not in values and not node.is_size:
                    try:
                        values[node] = evaluated(node, values)
                    except Exception as error:
                        error.add_note(f"in {name}, at {said(node)}, with {shapes_said(node, values)}")
                        raise
        shapes.values.update({node: bodiless(value) for node, value in values.items()})
        return shapes

    def like(self, node: Node, other: Node) -> None:
        """A gradient has the shape of what it is of."""
        self.values.setdefault(node, self.value(other))

    def value(self, node: Node):
        """A tensor on the meta device, a size or a shape."""
        if node not in self.values:
            if node.op == "put" and isinstance(node.args[1], Node):  # x.shape, whatever was chosen by the index
                (x,) = node.args[1].args
                self.values[node] = self.value(node.args[0]).new_empty(self.value(x).shape)
            else:
                for each in tensors_of(node):
                    self.value(each)
                self.values[node] = bodiless(evaluated(node, self.values))
        return self.values[node]

    def rank(self, node: Node) -> int:
        return len(self.value(node).shape)

    def same(self, a: Node, b: Node) -> bool:
        return self.value(a).shape == self.value(b).shape

    has_sizes = True

    def sizes(self, node: Node) -> torch.Size | None:
        """None: code says x.shape, so that it is for others too."""
        return None

    def dtype(self, node: Node) -> torch.dtype | None:
        """None: code is for any."""
        return None

    def signature(self, order: list[Node]) -> tuple:
        """Equal for shapes that the same code is right for: the ranks, which are equal, and where a size is 1."""
        seen: dict[tuple, int] = {}
        shapes = [tuple(self.value(node).shape) for node in order if node.kind in (VALUE, MASK, CONSTANT)]
        return tuple((seen.setdefault(shape, len(seen)), tuple(n == 1 for n in shape)) for shape in shapes)


class Ranks(Shapes):
    """While a function is read that asks for it: how many dimensions its inputs have, and their dtypes."""

    has_sizes = False

    @staticmethod
    def key(tensors: Sequence[torch.Tensor]) -> tuple:
        """Equal for inputs for which the function is read alike."""
        return tuple([(x.dim(), x.dtype) for x in tensors])

    def dtype(self, node: Node) -> torch.dtype:
        return self.value(node).dtype


class Sizes(Ranks):
    """And their sizes, which are numbers in the code then."""

    has_sizes = True

    @staticmethod
    def key(tensors: Sequence[torch.Tensor]) -> tuple:
        return tuple([(x.shape, x.dtype) for x in tensors])

    def sizes(self, node: Node) -> torch.Size:
        return self.value(node).shape


LEVELS = (None, Ranks, Sizes)  # what of its inputs a reader may have to know


class Unknown(Shapes):
    """Code that is right for all shapes of these ranks: broadcasting is undone wherever there may have been any."""

    def __init__(self, case: Shapes):
        self.values = case.values
        self.tokens: dict[Node, object] = {}

    def like(self, node: Node, other: Node) -> None:
        super().like(node, other)
        self.tokens[node] = self.token(other)

    def same(self, a: Node, b: Node) -> bool:
        return super().same(a, b) and self.token(a) == self.token(b)

    def token(self, node: Node):
        """The node whose shape this one surely has."""
        if node not in self.tokens:
            self.tokens[node] = self._token(node)
        return self.tokens[node]

    def _token(self, node: Node):
        if node.op in ("expand", "sum_to_size", "reshape", "put", "add_at"):
            sizes = [*flat((node.args[1],))]
            if len(sizes) == 1 and isinstance(sizes[0], Node) and sizes[0].op == "shape":
                return self.token(sizes[0].args[0])
        if not keeps_shape(node):
            return node
        if operation(node.op).alike:
            return self.token(node.args[0])
        tokens = {self.token(a) for a in node.nodes if not a.is_size}
        kept = {a for a in tokens if not any(a is not b and self.covers(b, a) for b in tokens)}
        return kept.pop() if len(kept) == 1 else node

    def covers(self, big: Node, small: Node) -> bool:
        """`big` was made pointwise of `small`, so that its shape has that one broadcast already."""
        if big is small:
            return True
        parts = [self.token(a) for a in big.nodes if not a.is_size] if keeps_shape(big) else []
        return any(part is not big and self.covers(part, small) for part in parts)


def bodiless(value):
    return torch.empty_like(value, device="meta") if isinstance(value, torch.Tensor) else value


def evaluated(node: Node, values: Mapping[Node, object]):
    """What a node computes from these tensors and sizes, by running the very text that stands in the code."""
    check_time()
    if node.op in ("captured", "captured_constant"):
        return node.args[0].tensor
    arguments = list(dict.fromkeys(tensors_of(node)))
    names = {each: f"x{i}" for i, each in enumerate(arguments)}
    writer = Writer(names, tensor=True, known=set(arguments))
    text = f"def compute({', '.join(names.values())}):\n    return {writer.expression(node)}\n"
    return function_of(text, "compute")(*[values[each] for each in arguments])


def tensors_of(node: Node) -> Iterator[Node]:
    """The arguments, and instead of a size what it is a size of."""
    for each in node.nodes:
        if each.is_size:
            yield from tensors_of(each)
        else:
            yield each


def said(node: Node) -> str:
    names = {each: each.name or each.op for each in tensors_of(node)}
    return f"'{node.name} = {Writer(names, tensor=False, known=set(names)).expression(node)}'"


def shapes_said(node: Node, values: Mapping[Node, object]) -> str:
    tensors = dict.fromkeys(tensors_of(node))
    return ", ".join(f"{each.name} of shape {tuple(values[each].shape)}" for each in tensors)
