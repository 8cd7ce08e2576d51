"""Nodes as text: one expression for each, as a person would write it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from functools import cached_property
from numbers import Real

from .graph import CONSTANT, MASK, SHAPE, SIZE, Node
from .rules import RULES
from .symbols import shaped_like

_SPREAD = ("index", "put", "cat", "stack")  # the parts of their lists are arguments of their own
_FACTORS = ("add", "sub", "mul", "div")  # where a number costs torch more than a tensor
_OURS = ("tanh_backward", "sigmoid_backward", "scaled")  # the engine's, which take tensors too
_LOOSE = ("add", "sub", "mul", "div", "matmul", "neg", "pow", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not")


class Writer:
    """Writes expressions. `names`: what each node is called; `tensor`: on raw tensors, not on Variables.

    `boxed`: nodes that are Variables where the code computes on tensors, to be read as `t.value`. `known`: nodes that
    are at hand, so that a shape can be asked of them; of others, `t_shape` was kept. `fast`: not to be read, but to be
    run beside the engine, with its functions, and with numbers as it has them.
    """

    def __init__(
        self,
        names: Mapping[Node, str],
        tensor: bool,
        known: Set[Node],
        boxed: Set[Node] = frozenset(),
        fast: bool = False,
    ):
        self.names = names
        self.tensor = tensor
        self.fast = fast
        self.known = known
        self.boxed = boxed
        self.kept_shapes: dict[Node, None] = {}  # asked for, of nodes that are not at hand
        self.asked_shapes: dict[Node, None] = {}  # and of those that are

    @cached_property
    def alike(self) -> dict[Node, Node]:
        """A shape that is asked for may be at hand so."""
        return {shaped_like(n): n for n in sorted(self.known, key=lambda n: n.number)}

    def expression(self, node: Node) -> str:
        raw = self.tensor or node.kind in (MASK, CONSTANT)
        args: list[str] = []
        for place, arg in enumerate(node.args):
            if not isinstance(arg, tuple):
                args.append(self.operand(arg, raw and node.op not in ("halves", "shares"), node, place))
            elif node.op in _SPREAD:
                args += [self.part(each, raw or node.op == "put", spelled=node.op == "put") for each in arg]
            else:
                args.append(self.sizes(arg))
        if self.fast and node.op in _FACTORS:
            args = self.factors(node, args)
        return RULES[node.op].text(args, node.attrs, self.tensor and not (self.fast and node.op in _OURS))

    def factors(self, node: Node, args: list[str]) -> list[str]:
        """A number beside a tensor, as a tensor. (Not of number / x: see the engine's `operand`.)"""
        left, right = (not isinstance(arg, Node) or arg.kind == SIZE for arg in node.args)
        if right:
            return [args[0], f"_operand({args[1]}, {args[0]})"]
        return [f"_operand({args[0]}, {args[1]})", args[1]] if left and node.op != "div" else args

    def operand(self, arg, raw: bool, node: Node | None = None, place: int = 0) -> str:
        if isinstance(arg, str):
            return arg
        if not isinstance(arg, Node):
            text = number_text(arg)
            return f"({text})" if text.startswith("-") and node is not None and place == 0 else text
        if arg.kind in (SIZE, SHAPE):
            text = self.size(arg)
            return f"({text})" if " " in text and node is not None and node.op in _LOOSE else text
        name = self.names[arg]
        if not raw or arg.kind in (MASK, CONSTANT):
            return name
        return f"{name}.value" if arg in self.boxed or not self.tensor else name

    def size(self, node: Node) -> str:
        """A size or a shape, in place."""
        if node.op in ("size", "shape", "numel", "shape_part"):
            (x, *_) = node.args
            x = x if x in self.known else self.alike.get(x, x)
            shape = f"{self.names[x]}.shape"
            if x in self.known:
                self.asked_shapes[x] = None
            else:
                self.kept_shapes[x] = None
                shape = f"{self.names[x]}_shape"
            if node.op == "size":
                return f"{shape}[{node.attrs[0]}]"
            if node.op == "shape_part":
                return f"{shape}[{self.part(node.args[1], False)}]"
            return f"{shape}.numel()" if node.op == "numel" else shape
        return RULES[node.op].text([self.inner_size(arg) for arg in node.args], (), True)

    def inner_size(self, arg) -> str:
        text = self.size(arg) if isinstance(arg, Node) else str(arg)
        return f"({text})" if " " in text else text

    def sizes(self, sizes: tuple) -> str:
        if len(sizes) == 1 and isinstance(sizes[0], Node) and sizes[0].kind == SHAPE:
            return self.size(sizes[0])
        texts = [self.operand(each, False) for each in sizes]
        stars = ["*" if isinstance(each, Node) and each.kind == SHAPE else "" for each in sizes]
        return ", ".join(star + text for star, text in zip(stars, texts)) or "()"

    def part(self, part, raw: bool, spelled: bool = False) -> str:
        """A part of an index: `0`, `1:`, `...`, `None`; within `put`, which has no brackets, a slice is spelled out."""
        if isinstance(part, slice):
            ends = [end if end is None else self.operand(end, False) for end in (part.start, part.stop, part.step)]
            if spelled:
                return f"slice({', '.join(map(str, ends[:2] if ends[2] is None else ends))})"
            return ":".join("" if end is None else end for end in (ends[:2] if ends[2] is None else ends))
        if part is Ellipsis:
            return "..."
        return "None" if part is None else self.operand(part, raw)


def number_text(number: Real) -> str:
    if isinstance(number, float) and not math.isfinite(number):
        return f'float("{number}")'
    return repr(number)
