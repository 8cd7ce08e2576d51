"""The code of a compiled aggregate for one kind of shapes, and the functions that were made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType

from ..engine import TapeEntry
from .code import MOST_BODIES, Code
from .fused import Copied, is_worth_an_entry
from .reverse import Differentiated
from .run import function_of, namespace
from .shapes import Shapes
from .tracing import Expression


class Case:
    """The code for one kind of shapes, and the bodies that were made so far."""

    def __init__(self, expression: Expression, name: str, shapes: Shapes, fused: bool, fast: bool = False):
        self.expression = expression
        self.made = Differentiated(expression.graph, expression.inputs, expression.results, shapes)
        self.code = Code(name, expression.what, self.made, fast=fast)
        self.bodies = Bodies(self.body)
        self.twins = namespace(bodies=Bodies(self.twin))
        self.fused = fused
        more = {"bodies": self.bodies, "TapeEntry": self.entry, **expression.graph.named}
        self.forward = function_of(self.code.forward_text(), self.code.name, self.code.name, **more)

    def entry(self, inputs: list, outputs: list, propagate: Callable) -> TapeEntry:
        return tuple.__new__(TapeEntry, (inputs, outputs, propagate, self.on_tensors))

    def on_tensors(self, propagate: Callable) -> Callable:
        """The same `propagate`, with what it captured; only the bodies that it finds are others."""
        return FunctionType(propagate.__code__, self.twins, None, None, propagate.__closure__)

    def body(self, pattern: tuple[bool, ...]) -> Callable:
        whole = self.fused_body(pattern) if self.fused else None
        if whole is not None:
            return whole
        more, name = self.made.graph.named, self.code.body_name(pattern)
        if len(self.bodies) < MOST_BODIES or pattern == self.all:
            text = self.code.body_text(pattern)
        else:
            text = self.code.fallback_text(pattern)
            more[self.code.body_name(self.all)] = self.bodies[self.all]
        return function_of(text, name, name, tensor=False, **more)

    def twin(self, pattern: tuple[bool, ...]) -> Callable:
        """The body that computes on tensors, for passes that are deferred."""
        return function_of(self.code.twin_text(pattern), self.code.body_name(pattern), **self.made.graph.named)

    def fused_body(self, pattern: tuple[bool, ...]) -> Callable | None:
        """The body of this pattern as one entry; None where there is nothing to gain, or a size is not at hand."""
        body = self.made.body(pattern)
        if not is_worth_an_entry(body, self.code):
            return None
        copied, name = Copied(body, self.code), self.code.body_name(pattern)
        inner = Case(copied.expression(name), name, copied.shapes, fused=True, fast=True)
        return function_of(copied.text(name), name, compute=inner.forward)

    @property
    def seen(self) -> list[tuple[bool, ...]]:
        """The patterns that passes brought so far, recorded ones first."""
        return list(dict.fromkeys([*self.bodies, *self.twins["bodies"]]))

    @property
    def all(self) -> tuple[bool, ...]:
        return (True,) * len(self.made.outputs)

    @property
    def first(self) -> tuple[bool, ...]:
        """What a first pass sees: gradients of the results."""
        return tuple(node in self.made.results for node in self.made.outputs)

    def pattern(self, pattern: Sequence) -> tuple[bool, ...]:
        pattern = tuple(each is not None and each is not False for each in pattern)
        names = [self.code.names[node] for node in self.made.outputs]
        if len(pattern) != len(names) or not any(pattern):
            raise ValueError(
                f"a pattern says for each of {', '.join(names)} whether its gradient comes in, and at least one "
                f"does; got {pattern}."
            )
        return pattern


class Bodies(dict):
    """Pattern -> the function made for it. Nothing is made before a pass brings the pattern."""

    def __init__(self, make: Callable):
        super().__init__()
        self.make = make

    def __missing__(self, pattern: tuple[bool, ...]) -> Callable:
        self[pattern] = self.make(pattern)
        return self[pattern]
