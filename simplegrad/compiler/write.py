"""Nodes as text: one expression for each, as a person would write it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from numbers import Real

import torch

from simplegrad.locks import cached_property

from ..ops import Op
from ..ops.pointwise import STEPS
from .errors import CompileError
from .graph import SHAPE, SIZE, SIZES_OF_TENSORS, Call, Node, operation, shaped_like

_FACTORS = ("add", "sub", "mul", "div")  # where a number costs torch more than a tensor
_TIGHT = ("{} ", "-{}", "~{}")  # how an operator begins beside which a sum stands in brackets
_SIZES = {"size_add": "{} + {}", "size_sub": "{} - {}", "size_mul": "{} * {}"}
_SIZES |= {"size_floor": "{} // {}", "size_div": "{} / {}", "size_pow": "{} ** {}"}


@dataclass(eq=False)
class Writer:
    """Writes expressions. `names`: what each node is called; `tensor`: on raw tensors, not on Variables.

    `boxed`: nodes that are Variables where the code computes on tensors, to be read as `t.value`. `known`: nodes that
    are at hand, so that a shape can be asked of them; of others, `t_shape` was kept. `fast`: not to be read, but to be
    run beside the engine, with its functions, and with numbers as it has them.
    """

    names: Mapping[Node, str]
    tensor: bool
    known: Set[Node]
    boxed: Set[Node] = frozenset()
    fast: bool = False
    kept_shapes: dict[Node, None] = field(default_factory=dict)  # asked for, of nodes that are not at hand
    asked_shapes: dict[Node, None] = field(default_factory=dict)  # and of those that are

    @cached_property
    def alike(self) -> dict[Node, Node]:
        """A shape that is asked for may be at hand so."""
        return {shaped_like(n): n for n in sorted(self.known)}

    def expression(self, node: Node) -> str:
        op = operation(node.op)
        if node.op in ("constant", "captured", "captured_constant"):
            return op.written(node.args, self.form(op))  # of numbers that were read, and written anew: see leaves.py
        if node.op == "call":
            return self.call(*node.args)
        raw = self.tensor or node.is_constant
        args = [self.argument(op, arg, raw, place) for place, arg in enumerate(node.args)]
        if self.fast and node.op in _FACTORS:
            args = self.factors(node, args)
        return op.written(args, self.form(op))

    def call(self, call: Call, args: tuple, keywords: tuple) -> str:
        """A function of torch, or a method of a tensor; of several results one is picked."""
        said = [self.said(each) for each in args] + [f"{key}={self.said(value)}" for key, value in keywords]
        name = call.name
        if name.startswith("torch.Tensor."):
            name = f"{said.pop(0)}.{name.removeprefix('torch.Tensor.')}"
        return f"{name}({', '.join(said)})" + ("" if call.place is None else f"[{call.place}]")

    def said(self, arg) -> str:
        """An argument of a call, as it is written there."""
        if isinstance(arg, tuple):
            return f"({listed([self.said(each) for each in arg])})"
        if isinstance(arg, list):
            return f"[{', '.join(map(self.said, arg))}]"
        if isinstance(arg, str) and arg.isidentifier():  # a word: "bilinear"
            return repr(arg)
        return self.part(arg, True, spelled=True)

    def form(self, op: Op):
        """How the operator is written where this code runs."""
        return op.in_torch if self.tensor and op.in_torch is not None and not (self.fast and op.by_name) else op.code

    def argument(self, op: Op, arg, raw: bool, place: int) -> str:
        if isinstance(arg, tuple):
            comma = "," * (len(arg) == 1)
            if op.by_name:
                return f"({self.parts(arg, raw, spelled=True)}{comma})"
            return "*" * (op.name == "filled" and len(arg) == 1 and is_shape(arg[0])) + self.parts(arg, raw)
        if isinstance(arg, list):
            return ", ".join(self.operand(each, raw) for each in arg)
        text = self.operand(arg, raw)
        code = op.code if isinstance(op.code, str) else ""
        tight = place == 0 and text.startswith("-") or " " in text and isinstance(arg, Node) and code[:3] in _TIGHT
        return f"({text})" if tight else text

    def factors(self, node: Node, args: list[str]) -> list[str]:
        """A number beside a tensor, as a tensor. (Not of number / x: see the engine's `operand`.)"""
        left, right = (not isinstance(arg, Node) or arg.kind == SIZE for arg in node.args)
        if right:
            return [args[0], f"_operand({args[1]}, {args[0]})"]
        return [f"_operand({args[0]}, {args[1]})", args[1]] if left and node.op != "div" else args

    def operand(self, arg, raw: bool) -> str:
        if not isinstance(arg, Node):
            return literal(arg)
        if arg.is_size:
            return self.size(arg)
        name = arg.args[0].text if arg.is_by_name and arg not in self.names else self.names[arg]
        if not raw or arg.is_constant:
            return name
        value = "_value" if self.fast else "value"
        return f"{name}.{value}" if arg in self.boxed or not self.tensor else name

    def size(self, node: Node) -> str:
        """A size or a shape, in place."""
        if node.op in SIZES_OF_TENSORS:
            x = node.args[0]
            x = x if x in self.known else self.alike.get(x, x)
            shape = f"{self.names[x]}.shape"
            if x in self.known:
                self.asked_shapes[x] = None
            else:
                self.kept_shapes[x] = None
                shape = f"{self.names[x]}_shape"
            if node.op == "size":
                return f"{shape}[{literal(node.args[1])}]"
            if node.op == "shape_part":
                return f"{shape}[{self.part(node.args[1], False)}]"
            return f"{shape}.numel()" if node.op == "numel" else shape
        return _SIZES[node.op].format(*map(self.inner_size, node.args))

    def inner_size(self, arg) -> str:
        text = self.size(arg) if isinstance(arg, Node) else literal(arg)
        return f"({text})" if " " in text else text

    def parts(self, parts: tuple, raw: bool, spelled: bool = False) -> str:
        """Sizes, dims, the parts of an index: `2, *x.shape`. A shape alone stands as it is."""
        several = len(parts) > 1
        texts = [self.part(each, raw, spelled) for each in parts]
        stars = ["*" * (several and is_shape(each)) for each in parts]
        return ", ".join(star + text for star, text in zip(stars, texts)) or "()"

    def part(self, part, raw: bool, spelled: bool = False) -> str:
        """`0`, `1:`, `...`, `None`, `[0, 2]`; in brackets that are a tuple's, a slice is spelled out."""
        if isinstance(part, slice):
            ends = [end if end is None else self.operand(end, False) for end in (part.start, part.stop, part.step)]
            if spelled:
                ends = ends if ends[2] is not None else ends[:2] if ends[0] is not None else ends[1:2]
                return f"slice({', '.join(map(str, ends))})"
            return ":".join("" if end is None else end for end in (ends[:2] if ends[2] is None else ends))
        if isinstance(part, (list, tuple)):
            return f"[{', '.join(self.part(each, raw) for each in part)}]"
        return "..." if part is Ellipsis else self.operand(part, raw)


def listed(texts: Sequence[str]) -> str:
    """As a tuple is written, without brackets: `a,` and `a, b`."""
    return ", ".join(texts) + "," * (len(texts) == 1)


def is_shape(arg: object) -> bool:
    return isinstance(arg, Node) and arg.kind == SHAPE


def literal(arg: object) -> str:
    """What is no node. Nothing comes into code as somebody wrote it: what is no number is one of few words."""
    if isinstance(arg, Real):
        return number_text(arg)
    if arg is None or isinstance(arg, (torch.dtype, torch.device)) or arg in STEPS:
        return repr(arg) if isinstance(arg, torch.device) else str(arg)
    raise CompileError(f"a {type(arg).__name__} has no place in what is compiled: {str(arg)[:40]!r}.")


def number_text(number: Real) -> str:
    if isinstance(number, float) and not math.isfinite(number):
        return f'float("{number}")'
    return repr(number)
