"""Where a tape keeps its entries: one flat list, `WIDTH` places for each.

A pass makes thousands of entries. As a tuple each, with tuples in it, they were half of what Python's collector had to
walk through, and making them took three times as long. So their parts lie side by side:

    rule     an operator's (see operators.py), or HandWritten
    output   the key of what it computed; of a hand-written entry a tuple of keys
    left     the key of its first input; of a hand-written entry, or one of more than two inputs, a tuple of all keys
    right    the key of its second input, None where there is none
    one      what the rule's vjps read: see `Rule.kept`
    two      the second such thing
    shape    of the output, or a tuple of shapes
    dtype    of the output, or a tuple of dtypes and devices
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import Any, NamedTuple

from .names import Key

WIDTH = 8
_RULE, _OUTPUT, _LEFT, _RIGHT, _ONE, _TWO = range(6)


class Part(NamedTuple):
    """A rule, for the gradients of some of its inputs: None stands in the place of the others'."""

    propagate: Callable | None
    on_tensors: Callable | None


PRUNED = Part(None, None)


class Rows:
    """The entries of a tape, in order."""

    __slots__ = ("flat",)

    def __init__(self):
        self.flat: list = []

    def __len__(self) -> int:
        return len(self.flat) // WIDTH

    def entry(self, index: int) -> tuple:
        """One of them: (rule, output, left, right, one, two, shape, dtype)."""
        return tuple(self.flat[WIDTH * index : WIDTH * (index + 1)])

    def rule(self, index: int) -> Any:
        return self.flat[WIDTH * index]

    def outputs(self) -> set[Key]:
        """The keys of all that entries computed."""
        found = set()
        for output in self.flat[_OUTPUT::WIDTH]:
            found.update(output) if output.__class__ is tuple else found.add(output)
        return found

    def clear(self) -> None:
        self.flat.clear()

    def rules(self) -> list:
        """Of all entries, in order."""
        return self.flat[::WIDTH]

    def backwards(self, propagates: Sequence[Callable | None]) -> Iterable[tuple]:
        """(propagate, output, left, right, one, two) of each entry, last first. `propagates` has one for each, None
        where it is pruned; what another thread adds meanwhile is not among them."""
        last = WIDTH * (len(propagates) - 1)
        columns = (self.flat[last + place :: -WIDTH] for place in (range(_OUTPUT, _TWO + 1) if propagates else ()))
        return compress(zip(reversed(propagates), *columns), reversed(propagates))

    def reached_from(self, keys: Iterable[Key]) -> tuple[set[Key], list]:
        """These and all that was computed from them, and the rules by which gradients get there, by one walk: for each
        entry its own, the part of it that is asked for, or PRUNED."""
        needed, rules = set(keys), []
        for rule, output, left, right in zip(*(self.flat[place::WIDTH] for place in range(_ONE))):
            if left in needed:
                asked = rule if right is None or right in needed else rule.left
            elif right in needed:
                asked = rule.right
            elif left.__class__ is int or needed.isdisjoint(left):
                asked = PRUNED
            else:
                asked = rule.part(tuple([key in needed for key in left]))
            rules.append(asked)
            if asked is not PRUNED:
                needed.update(output) if output.__class__ is tuple else needed.add(output)
        return needed, rules


def inputs_of(entry: tuple) -> tuple[Key, ...]:
    """The keys of its inputs."""
    left, right = entry[_LEFT], entry[_RIGHT]
    return left if left.__class__ is tuple else (left,) if right is None else (left, right)


def outputs_of(entry: tuple) -> tuple[Key, ...]:
    output = entry[_OUTPUT]
    return output if output.__class__ is tuple else (output,)
