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

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any

from .names import Key

WIDTH = 8
_OUTPUT, _LEFT, _RIGHT = 1, 2, 3


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

    def backwards(self, reached: Sequence[bool] | None = None) -> Iterable[tuple]:
        """The entries as they are now, last first; of those that are `reached`, if it is given. Another thread may add
        some meanwhile."""
        last = WIDTH * ((len(self) if reached is None else len(reached)) - 1)
        entries = zip(*(self.flat[last + place :: -WIDTH] for place in range(WIDTH))) if last >= 0 else ()
        return entries if reached is None else compress(entries, reversed(reached))

    def reached_from(self, keys: Iterable[Key]) -> tuple[set[Key], list[bool]]:
        """These and all that was computed from them, and which entries did that, by one walk."""
        needed, reached = set(keys), []
        for left, right, output in zip(*(self.flat[place::WIDTH] for place in (_LEFT, _RIGHT, _OUTPUT))):
            is_reached = right in needed or (left in needed if left.__class__ is int else not needed.isdisjoint(left))
            reached.append(is_reached)
            if is_reached:
                needed.update(output) if output.__class__ is tuple else needed.add(output)
        return needed, reached


def inputs_of(entry: tuple) -> tuple[Key, ...]:
    """The keys of its inputs."""
    left, right = entry[_LEFT], entry[_RIGHT]
    return left if left.__class__ is tuple else (left,) if right is None else (left, right)


def outputs_of(entry: tuple) -> tuple[Key, ...]:
    output = entry[_OUTPUT]
    return output if output.__class__ is tuple else (output,)
