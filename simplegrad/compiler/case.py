"""The code of a compiled aggregate for one kind of shapes, and the functions that were made of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType

from simplegrad.locks import cached_property

from ..engine import TapeEntry
from .code import MOST_BODIES, Code
from .fused import Copied, is_worth_an_entry
from .graph import Expression
from .reverse import Differentiated, Pattern
from .run import function_of, namespace
from .shapes import Shapes, Unknown


class Case:
    """The code for one kind of shapes, and the bodies that were made so far."""

    def __init__(self, expression: Expression, name: str, shapes: Shapes, fused: bool):
        self.expression = expression
        self.made = Differentiated(expression, shapes)
        self.code = Code(name, self.made)
        self.first, self.all = self.made.first, self.made.all
        self.bodies = Bodies(self.body)
        self.twins = Bodies(self.names_of_twins)  # by the inputs whose gradients are needed
        self.fused = fused
        more = {"bodies": self.bodies, "_on_tensors": self.on_tensors, **expression.graph.named}
        self.forward = function_of(self.code.fast_forward_text(), name, name, **more)

    @cached_property
    def watched(self) -> Callable:
        """Forward as people read it, for whoever watches: the entry's `propagate` is of the text that is shown."""
        more = {"bodies": self.bodies, "TapeEntry": self.entry, **self.expression.graph.named}
        return function_of(self.code.forward_text(), self.code.name, self.code.name, **more)

    def entry(self, inputs: list, outputs: list, propagate: Callable) -> TapeEntry:
        return tuple.__new__(TapeEntry, (inputs, outputs, propagate, self.on_tensors))

    def on_tensors(self, propagate: Callable, needed: tuple[bool, ...]) -> Callable:
        """The same `propagate`, with what it captured; only the bodies that it finds are others."""
        return FunctionType(propagate.__code__, self.twins[needed], None, None, propagate.__closure__)

    def names_of_twins(self, needed: tuple[bool, ...]) -> dict:
        if len(self.twins) >= MOST_BODIES and not all(needed):
            return self.twins[(True,) * len(needed)]
        return namespace(bodies=Bodies(partial(self.twin, needed)))

    def body(self, pattern: Pattern) -> Callable:
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

    def twin(self, needed: tuple[bool, ...], pattern: Pattern) -> Callable:
        """The body that computes on tensors, and no more than is needed, for passes that are deferred."""
        text = self.code.twin_text(pattern, needed)
        return function_of(text, self.code.body_name(pattern), **self.made.graph.named)

    def fused_body(self, pattern: Pattern) -> Callable | None:
        """The body of this pattern as one entry; None where there is nothing to gain, or a size is not at hand."""
        body = self.made.body(pattern)
        if not is_worth_an_entry(body, self.code):
            return None
        copied, name = Copied(body, self.code), self.code.body_name(pattern)
        inner = Case(copied.expression(), name, copied.shapes, fused=True)
        return function_of(copied.text(name), name, compute=inner.forward)

    @property
    def general(self) -> Differentiated:
        """What it is made of, right for all shapes of these ranks."""
        return Differentiated(self.expression, Unknown(self.made.shapes))

    @property
    def seen(self) -> list[Pattern]:
        """The patterns that passes brought so far, recorded ones first."""
        return list(dict.fromkeys(itertools.chain(self.bodies, *(names["bodies"] for names in self.twins.values()))))

    def pattern(self, pattern: Sequence) -> Pattern:
        pattern = tuple(each is not None and each is not False for each in pattern)
        names = self.code.outputs
        if len(pattern) != len(names) or not any(pattern):
            raise ValueError(
                f"a pattern says for each of {', '.join(names)} whether its gradient comes in, and at least one "
                f"does; got {pattern}."
            )
        return pattern


class Bodies(dict):
    """Pattern -> what is made for it. Nothing is made before a pass brings the pattern."""

    def __init__(self, make: Callable):
        super().__init__()
        self.make = make

    def __missing__(self, pattern: Pattern) -> Callable:
        self[pattern] = self.make(pattern)
        return self[pattern]
