"""A custom Function's call as a rule that is run by itself, and the maps whose gradients are judged.

`Rule` and `Problem` (a whole function) are both run through PyTorch's own engine, at other values and with other
incoming gradients; what is asked of them does not depend on which it is.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

import torch

from simplegrad.checks.alike import seed
from simplegrad.checks.numbers import directions, inner, inner_graph, moved, plain
from simplegrad.checks.subjects.alone import Alone
from simplegrad.torch_bridge.calls import Call, plain_copy


class Subject(Protocol):
    """What is differentiated: `names` of the `values`, and one incoming gradient for each output."""

    names: list[str]
    values: list[torch.Tensor]
    incoming: list[torch.Tensor]
    bits: int

    def outputs(self, values: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]: ...


class Rule:
    """One call of a custom Function, alone: a hand-written backward beside its forward."""

    def __init__(self, call: Call, bits: int = 64) -> None:
        self.call, self.bits = call, bits
        self.alone = Alone(call)
        self.values = self.alone.values
        self.names = [call.parameter_names[i] for i in call.differentiated]
        _, outputs = self.outputs(self.values)
        self.alone.state.restore(thorough=True)
        self.incoming = directions(outputs, torch.Generator().manual_seed(7), scaled=False)
        self.places = self.differentiable

    @functools.cached_property
    def gradient(self) -> list[Any]:
        """What backward gives at the given values, all of it wanted."""
        return gradient_of(self, self.values, self.incoming)

    @property
    def name(self) -> str:
        return self.call.name

    def outputs(
        self, values: list[torch.Tensor], needs: tuple[int, ...] | None = None
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """(leaves, outputs that autograd can follow) of one `apply`, from the same state each time.

        `needs`: which of the values require grad; all of them by default.
        """
        self.alone.state.restore()
        seed()
        self.held = [plain_copy(arg) if isinstance(arg, torch.Tensor) else arg for arg in self.call.args]
        return self.applied(values, needs)

    def applied(
        self, values: list[torch.Tensor], needs: tuple[int, ...] | None = None
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The same from whatever state there is, and with those arguments that are not differentiated as they are."""
        args = list(self.held)
        leaves = [plain_copy(x).requires_grad_(needs is None or k in needs) for k, x in enumerate(values)]
        for place, leaf in zip(self.call.differentiated, leaves, strict=True):
            args[place] = leaf.clone() if leaf.requires_grad else leaf  # forward may change it in place, but no leaf
        with torch.enable_grad():
            result = self.call.cls.apply(*args)
        several = result if isinstance(result, tuple) else (result,)
        self.differentiable = [i for i, out in enumerate(several) if _is_followed(out)]
        return leaves, [several[i] for i in self.differentiable]

    def all_incoming(self, incoming: list[torch.Tensor] | None = None) -> list[Any]:
        """What backward is given for every output, those included that carry no gradient."""
        given = iter(incoming or self.incoming)
        return [next(given) if i in self.places else g for i, g in enumerate(self.call.incoming or [])]

    @property
    def made(self) -> list[str]:
        """Names of its differentiable outputs."""
        return ["its output"] if len(self.places) == 1 else [f"output {i}" for i in self.places]


def _is_followed(out: Any) -> bool:
    return isinstance(out, torch.Tensor) and out.requires_grad


class Forward:
    """Order 1: forward, with the gradients that backward gives."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.bits = subject, subject.bits
        self.at, self.names = subject.values, subject.names
        self.made = getattr(subject, "made", None) or [f"output {i}" for i in range(len(subject.incoming))]

    def values(self, at: list[torch.Tensor]) -> list[torch.Tensor]:
        return [out.detach() for out in self.subject.outputs(at)[1]]

    def vjp(self, at: list[torch.Tensor], weights: list[torch.Tensor]) -> list[torch.Tensor | None]:
        leaves, outputs = self.subject.outputs(at)
        return list(torch.autograd.grad(outputs, leaves, [w.clone() for w in weights], allow_unused=True))


class Gradient:
    """Order 2: the first-order gradient as backward gives it, by the inputs and by the incoming gradients."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.bits = subject, subject.bits
        self.count = len(subject.values)
        self.at = [*subject.values, *subject.incoming]
        several = len(subject.incoming) > 1
        own = [f"incoming gradient {i}" if several else "incoming gradient" for i in range(len(subject.incoming))]
        self.names = [*subject.names, *own]
        self.made = [f"the gradient of {name}" for name in subject.names]

    def values(self, at: list[torch.Tensor]) -> list[torch.Tensor | None]:
        leaves, outputs = self.subject.outputs(at[: self.count])
        incoming = [v.clone() for v in at[self.count :]]
        found = torch.autograd.grad(outputs, leaves, incoming, allow_unused=True)
        return [None if g is None else g.detach() for g in found]

    def vjp(self, at: list[torch.Tensor], weights: list[torch.Tensor]) -> list[torch.Tensor | None]:
        leaves, outputs = self.subject.outputs(at[: self.count])
        incoming = [v.clone().requires_grad_() for v in at[self.count :]]
        copies = [v.clone() for v in incoming]  # since a backward may change what it is given in place
        first = torch.autograd.grad(outputs, leaves, copies, allow_unused=True, create_graph=True)
        terms = [inner_graph(g, u) for g, u in zip(first, weights, strict=True) if g is not None and g.requires_grad]
        wanted = [*leaves, *incoming]
        return list(torch.autograd.grad(sum(terms), wanted, allow_unused=True)) if terms else [None] * len(wanted)


def gradient_of(
    subject: Subject, values: list[torch.Tensor], incoming: list[torch.Tensor], graph: bool = False
) -> list[Any]:
    """The first-order gradients, as ordinary tensors."""
    leaves, outputs = subject.outputs(values)
    given = [v.clone() for v in incoming]
    found = torch.autograd.grad(outputs, leaves, given, allow_unused=True, create_graph=graph)
    return [None if g is None else plain(g.detach()) for g in found]


class Along:
    """A map of which only one way is asked: the inputs all move together, by one number."""

    names = ["one way"]

    def __init__(self, map: Any, ways: list[torch.Tensor], draw: int = 0) -> None:
        self.map, self.bits, self.made = map, map.bits, map.made
        rest = map.at[len(ways) :]  # incoming gradients, which move as they like
        self.ways = [*ways, *directions(rest, torch.Generator().manual_seed(draw), scaled=False)]
        self.at = [torch.zeros((), dtype=torch.float64)]

    def point(self, at: list[torch.Tensor]) -> list[torch.Tensor]:
        h = float(at[0])
        return [moved(x, way.to(plain(x).dtype), h) for x, way in zip(self.map.at, self.ways, strict=True)]

    def values(self, at: list[torch.Tensor]) -> list[torch.Tensor | None]:
        return self.map.values(self.point(at))

    def vjp(self, at: list[torch.Tensor], weights: list[torch.Tensor]) -> list[torch.Tensor | None]:
        found = self.map.vjp(self.point(at), weights)
        told = sum(inner(g, way) for g, way in zip(found, self.ways, strict=True))
        return [torch.tensor(told, dtype=torch.float64)]
