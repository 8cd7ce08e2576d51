"""What is judged, whatever it stands in: a function as a whole (`Subject`), and each backward by hand in it (`Rule`).

An aggregate on the tape, a `torch.autograd.Function` and an operator of `torch.library` differ in how they are run, and
in nothing else that a check asks. `Forward` and `Gradient` are a subject as the map whose gradients are held against
differences of its values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from ..measure.numbers import directions, inner_sum, moved, plain
from ..report import Place

Gradients = list[torch.Tensor | None]


class Run(Protocol):
    """One forward, from the state that all others begin in. `outputs`: the values of those that can be differentiated.

    What comes in is one gradient for each of them, None where nothing comes.
    """

    outputs: list[torch.Tensor]

    def gradients(self, incoming: Sequence[torch.Tensor | None], graph: bool = False, keep: bool = False) -> Gradients:
        """By the inputs. `graph`: in a run of backward that is recorded; `keep`: so that it may be asked again."""

    def returned(self, incoming: list[torch.Tensor]) -> Gradients:
        """What backward itself gives for exactly these tensors; any number of times."""

    def undefined(self) -> Gradients:
        """What backward gives where no gradient comes in at all; of rules that have modes only."""

    def led_on(self, incoming: Sequence[torch.Tensor | None]) -> tuple[Gradients, Callable]:
        """The gradients, and what gives, once, the derivatives of <weights, gradients> by the inputs and by what came
        in, for some weights."""

    def second(self, incoming: Sequence[torch.Tensor | None], weights: Sequence[torch.Tensor]) -> Gradients:
        """These derivatives alone."""


class Subject(Protocol):
    """`names` of the `values` that it is differentiated by; one gradient comes in for each output, named in `made`."""

    name: str
    names: list[str]
    made: list[str]
    values: list[torch.Tensor]
    incoming: list[torch.Tensor]
    bits: int
    is_whole: bool  # or a rule in it
    truth: Subject | None  # another one that has the right gradients; without it differences say what they are

    def run(self, values: list[torch.Tensor], needs: tuple[int, ...] | None = None) -> Run:
        """At these values. `needs`: places of those whose gradients are wanted; by default all are."""


class Rule(Subject, Protocol):
    """One backward by hand and its forward, which is also run by itself: forward gives what it keeps for backward."""

    code: Any  # of backward
    backward_said: str  # "backward of Sinh", "propagate"
    forward_said: str
    arguments: list[str]  # what backward returns gradients for
    takes_none: bool  # whether backward may be run with no gradient at all coming in
    untried: dict[int, str]  # of a clause, by its number: what there is nothing to try of
    first: list[torch.Tensor]  # what its first run gave, for which gradients can come in
    has_modes: bool  # whether it is run with and without a graph, and whether inputs can do without a gradient

    def again(self, values: list[torch.Tensor]) -> Any:
        """One run more, from whatever state there is."""

    def forward(self) -> Any: ...

    def backward(self, kept: Any, incoming: list[Any], graph: bool = False, copies: bool = True) -> Any: ...

    def given(self, kept: Any) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
        """Of each tensor that forward was given and may not change: its name, as it is now, and as it was."""

    def changed_by_forward(self, name: str) -> Place | None:
        """The line of forward after which this one of the `given` was another."""

    def own(self, name: str) -> str:
        """What to write so that an input is not changed behind its owner's back."""

    def reads(self, kept: Any) -> list[tuple[str, torch.Tensor]]:
        """What backward can read."""

    def shared(self) -> tuple[str, Place | None]:
        """What a second forward writes over among what the first one kept, and where."""

    def all_incoming(self, incoming: list[torch.Tensor] | None = None) -> list[Any]: ...

    def returned_at(self) -> Place | None: ...

    def raised_at(self, error: Exception) -> Place | None: ...

    # how a sentence about it begins, and what to write instead

    needs_fix: str

    def incoming_name(self, which: int) -> str: ...

    def unknown(self, left: list[str]) -> str: ...

    def none_fix(self, left: list[str]) -> str: ...

    def wanting(self, names: list[str]) -> str: ...


def gradient_of(
    subject: Subject, values: list[torch.Tensor], incoming: Sequence[torch.Tensor | None], graph: bool = False
) -> Gradients:
    """The first-order gradients, as ordinary tensors."""
    found = subject.run(values).gradients(incoming, graph)
    return [None if g is None else plain(g.detach()) for g in found]


class Map:
    """What `looks` holds against differences."""

    is_free = True

    def both(self, at: list[torch.Tensor]) -> tuple[Gradients, Callable]:
        """The values, and what gives the gradients, once, for some weights."""
        return self.values(at), lambda weights: self.vjp(at, weights)


class Forward(Map):
    """Order 1: forward, with the gradients that backward gives."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.bits = subject, subject.bits
        self.at, self.names, self.made = subject.values, subject.names, subject.made

    def values(self, at: list[torch.Tensor]) -> list[torch.Tensor]:
        return self.subject.run(at).outputs

    def vjp(self, at: list[torch.Tensor], weights: list[torch.Tensor]) -> Gradients:
        return self.subject.run(at).gradients(weights)

    def both(self, at: list[torch.Tensor]) -> tuple[Gradients, Callable]:
        run = self.subject.run(at)
        return run.outputs, run.gradients

    @property
    def exact(self) -> Callable | None:
        return self.subject.truth and type(self)(self.subject.truth).vjp


class Gradient(Map):
    """Order 2: the first-order gradient as backward gives it, by the inputs and by the incoming gradients."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.bits = subject, subject.bits
        self.count = len(subject.values)
        self.at = [*subject.values, *subject.incoming]
        several = len(subject.incoming) > 1
        own = [f"incoming gradient {i}" if several else "incoming gradient" for i in range(len(subject.incoming))]
        self.names = [*subject.names, *own]
        self.made = [f"the gradient of {name}" for name in subject.names]

    def ones(self) -> list[torch.Tensor]:
        """The plainest weights of the gradients."""
        return [torch.ones_like(x) for x in self.subject.values]

    def values(self, at: list[torch.Tensor]) -> Gradients:
        return self._told(self.subject.run(at[: self.count]).gradients(at[self.count :]), at)

    def _told(self, found: Gradients, at: list[torch.Tensor]) -> Gradients:
        if self.exact or all(g is None for g in found):  # a gradient that is missing is not to be passed over
            found = [torch.zeros_like(x) if g is None else g for x, g in zip(at, found)]
        return [None if g is None else g.detach() for g in found]

    def vjp(self, at: list[torch.Tensor], weights: list[torch.Tensor]) -> Gradients:
        return self.subject.run(at[: self.count]).second(at[self.count :], weights)

    def both(self, at: list[torch.Tensor]) -> tuple[Gradients, Callable]:
        first, second = self.subject.run(at[: self.count]).led_on(at[self.count :])
        return self._told(first, at), second

    @property
    def exact(self) -> Callable | None:
        return self.subject.truth and type(self)(self.subject.truth).vjp


class Along(Map):
    """A map of which only one way is asked: the inputs all move together, by one number."""

    names, exact, is_free = ["one way"], None, False

    def __init__(self, map: Any, ways: list[torch.Tensor], draw: int = 0) -> None:
        self.map, self.bits, self.made = map, map.bits, map.made
        rest = map.at[len(ways) :]  # incoming gradients, which move as they like
        self.ways = [*ways, *directions(rest, torch.Generator().manual_seed(draw), scaled=False)]
        self.at = [torch.zeros((), dtype=torch.float64)]

    def point(self, at: list[torch.Tensor]) -> list[torch.Tensor]:
        h = float(at[0])
        return [moved(x, way.to(plain(x).dtype), h) for x, way in zip(self.map.at, self.ways, strict=True)]

    def values(self, at: list[torch.Tensor]) -> Gradients:
        return self.map.values(self.point(at))

    def vjp(self, at: list[torch.Tensor], weights: list[torch.Tensor]) -> Gradients:
        found = self.map.vjp(self.point(at), weights)
        told = inner_sum(found, self.ways)
        return [torch.tensor(told, dtype=torch.float64)]
