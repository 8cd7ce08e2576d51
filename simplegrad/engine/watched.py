"""Whoever watches a tape. The engine knows nothing else of a recorder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .names import Key
from .variable import Variable


class Observer:
    """What a recorder is told, in the order of the run.

    `index` is the place of an entry in `tape.entries`. All methods do nothing; override what you need.
    """

    may_wait = False  # whether it will do to be told of a pass over a pass when somebody reads `tape.entries`

    def place(self) -> object:
        """Where the program is, for a pass that is told later: it is handed back to `at` before that is told."""

    def at(self, place: object) -> None:
        """What follows happened at this place; None: it happens now."""

    def note(self, text: str) -> None:
        """Something to be known about the pass that was told last."""

    def leaf(self, variable: Variable) -> None:
        """`Variable.constant(value, name)` made a leaf."""

    def recorded(self, inputs: tuple[Variable, ...], outputs: tuple[Variable, ...]) -> None:
        """`tape.entries[-1]` was appended."""

    def pass_begun(self, L: Variable, seed: Variable, wanted: list, none: str, prune: str) -> None:
        """`grad` starts: dL/dL = seed."""

    def visit_begun(self, index: int, dL_doutputs: list) -> None:
        """`propagate` of this entry is about to run."""

    def visited(self, index: int, state: str, dL_doutputs: list, dL_dinputs: list) -> None:
        """The pass is done with an entry: 'propagated', 'partial', 'skipped' or 'pruned'."""

    def accumulated(self, key: Key, contribution: Variable | None, total: Variable | None) -> None:
        """The next outgoing gradient of the entry visited last came to `key`; `total` is the running sum, or None."""

    def pass_ended(self, dL_d: dict[Key, Variable], results: list) -> None:
        """The pass is over: the gradient table (pruned ahead, what is left of it), and what `grad` returns."""

    def pass_failed(self, error: BaseException) -> None:
        """The pass raised, and is over: what follows, should somebody catch the error, belongs to no pass."""

    def reset(self) -> None:
        """The tape is about to forget its entries and names."""


def to_all(observers: tuple[Observer, ...], name: str) -> Callable:
    """This method of all of them, but for those who have left it as it is in Observer."""
    methods = [getattr(observer, name) for observer in observers]
    methods = [each for each in methods if getattr(each, "__func__", None) is not getattr(Observer, name)]
    if len(methods) == 1:
        return methods[0]

    def tell(*what: Any) -> None:
        for method in methods:
            method(*what)

    return tell
