"""How a recorder lets go of a graph: a long one must not fall with each node within the one before it.

A node that Python has seen and its wrapper keep each other. Whoever drops the last result of a long chain then takes
all of it down, each node within the one before, and tens of thousands are more than a stack can hold: the process ends.
So wrappers are let go of one by one, the last made first; and what somebody still holds gets a list of all that it
leads to, in the same order, which Python's collector takes apart later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

MANY = 1000  # nodes that may fall one within another, on the smallest stacks that threads have
MOST_KNOWN = 10
_KEY = "simplegrad: let go of one by one"
_ALONE = 2  # references to a wrapper of which nobody else holds the node: a local name, and the argument


def let_go(wrappers: list[Any], edges: Callable[[], list[list[int]]], known: Sequence[int] = ()) -> None:
    """Empty the list, whose nodes stand as they were made. `edges`: for each the places of those that it leads to,
    which are earlier ones, and leaves. `known`: places of results that the program has names for, and may hold longer
    than what was made of them."""
    led_to: set[int] = set()
    leads_to, known = edges() if len(wrappers) > MANY else [], set(known[-MOST_KNOWN:])
    while wrappers:
        wrapper, place = wrappers.pop(), len(wrappers)
        if leads_to and (place in known or place not in led_to) and sys.getrefcount(wrapper) > _ALONE:
            found = _below(place, leads_to)
            _leave_with(wrapper, [wrappers[each] for each in sorted(found) if each < place])
            led_to |= found


def _below(place: int, leads_to: list[list[int]]) -> set[int]:
    found, todo = set(), [place]
    while todo:
        new = set(leads_to[todo.pop()]) - found
        found |= new
        todo += new
    return found


def _leave_with(top: Any, below: list[Any]) -> None:
    """The top's node holds them until it goes; the list holds itself, so that the collector finds it only then."""
    if len(below) > MANY:
        below.append(below)
        top.metadata[_KEY] = below
