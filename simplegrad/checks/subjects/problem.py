"""The function under check as numbers: its first-order gradient at any point, and the second order of it."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from simplegrad.checks.alike import State, seed
from simplegrad.checks.numbers import Slope, directions, inner, inner_graph, moved, norm, plain, slope
from simplegrad.checks.report import what_is
from simplegrad.torch_bridge.calls import Call, recorded_calls
from simplegrad.torch_private import tree_flatten, tree_unflatten

WIDER = {torch.float16: 64, torch.bfloat16: 64, torch.float32: 64, torch.complex64: 64}


class NothingToDifferentiate(ValueError):
    """No input requires grad, or no output depends on one that does."""


@dataclass
class Comparison:
    """Second order at one point: autograd's directional derivatives beside those of finite differences."""

    autograd: dict[str, float]
    numeric: dict[str, Slope]
    scale: float

    def wrong(self, tolerance: float = 1e-4) -> list[str]:
        """The inputs (or incoming gradients) for which the two disagree."""
        each = {name: max(_finite(self.autograd[name]), _finite(s.value)) for name, s in self.numeric.items()}
        return [
            name
            for name, s in self.numeric.items()
            if s.disagrees(self.autograd[name], each[name] + 1e-2 * self.scale, tolerance)
        ]

    @property
    def has_nan(self) -> bool:
        """Whether autograd's second order is not a number at all."""
        return any(not math.isfinite(value) for value in self.autograd.values())

    @property
    def is_settled(self) -> bool:
        """Whether finite differences say anything at this point."""
        return all(math.isfinite(s.value) for s in self.numeric.values()) and self.scale < math.inf

    @property
    def errors(self) -> dict[str, float]:
        return {name: abs(s.value - self.autograd[name]) for name, s in self.numeric.items()}


class Problem:
    """`fn` at `inputs`, with every evaluation made at fresh leaves and from the same state.

    Floating inputs are taken to double precision where `fn` allows it: with float32 finite differences see little.
    """

    def __init__(self, fn: Callable, inputs: tuple[Any, ...], bits: int = 64) -> None:
        self.flat, self.spec = tree_flatten(tuple(inputs))
        self.places = [i for i, leaf in enumerate(self.flat) if _wanted(leaf)]
        if not self.places:
            raise NothingToDifferentiate(
                f"none of the inputs requires grad ({', '.join(map(what_is, inputs))}), so there is nothing to "
                "differentiate: pass floating tensors made with requires_grad=True for the inputs to check"
            )
        self.fn, self.bits, self.inputs = fn, bits, inputs
        self.precision: Callable[[], AbstractContextManager] = nullcontext  # `with problem.precision():` around numbers
        self.is_rounded = False  # computed in half precision, say, so that differences of forward are steps
        self.is_forward = True  # what an error was raised in
        if bits == 64:
            self.fn = _doubled_module(fn)
            self.flat = [_doubled(leaf) for leaf in self.flat]
        self.values = [self.flat[i].detach().clone() for i in self.places]
        self.flat = [leaf.detach() if isinstance(leaf, torch.Tensor) else leaf for leaf in self.flat]
        self.names = input_names(fn, inputs)
        self.not_leaves = False
        self.kept = [*_roots_of(self.fn), *(x for i, x in enumerate(self.flat) if i not in self.places)]
        self.state = State(self.kept)
        self.incoming: list[torch.Tensor] = []
        self.calls: list[Call] = []

    # -- evaluating ----------------------------------------------------------------------------------------------

    def outputs(self, values: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """(leaves, outputs that autograd can follow) of one evaluation."""
        self.state.restore()
        seed()
        leaves = [value.detach().clone().requires_grad_() for value in values]
        flat = list(self.flat)
        for place, leaf in zip(self.places, leaves, strict=True):
            flat[place] = leaf.clone() if self.not_leaves else leaf
        result = self.fn(*tree_unflatten(flat, self.spec))
        self.returned = what_is(result)
        outputs = [out for out in tree_flatten(result)[0] if isinstance(out, torch.Tensor) and out.requires_grad]
        return leaves, outputs

    def first_order(self, values: list[torch.Tensor], incoming: list[torch.Tensor]) -> list[Any]:
        """The gradients for the inputs, given the gradients that come in to the outputs."""
        leaves, outputs = self.outputs(values)
        return list(torch.autograd.grad(outputs, leaves, [v.clone() for v in incoming], allow_unused=True))

    def probe(self) -> None:
        """Run once to see which outputs there are and which custom Functions are called.

        Raises whatever forward or the first backward raises.
        """
        with recorded_calls(within=True) as recording:
            self.calls = recording.calls
            leaves, outputs = self._first_outputs()
            self.is_forward = recording.within = False
            if not outputs:
                raise NothingToDifferentiate(f"no output of the function requires grad: it returned {self.returned}")
            generator = torch.Generator().manual_seed(7)
            self.incoming = directions(outputs, generator, scaled=False)
            incoming = [v.requires_grad_() for v in self.incoming]
            self.gradient = followed_gradient(outputs, leaves, incoming)
            self.leaves = leaves
        self.incoming = [v.detach() for v in incoming]
        self.incoming_leaves = incoming
        self.weights = directions(self.values, torch.Generator().manual_seed(11), scaled=False)

    def _first_outputs(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        try:
            return self.outputs(self.values)
        except RuntimeError as error:
            if "leaf" not in str(error) or self.not_leaves:
                raise
            self.not_leaves = True  # it changes its input in place, which PyTorch forbids on a leaf
            return self.outputs(self.values)

    # -- second order --------------------------------------------------------------------------------------------

    def second_order(self, values: list[torch.Tensor], weights: list[torch.Tensor]) -> list[Any]:
        """Autograd's derivative of <weights, first-order gradient> for the inputs and then the incoming gradients."""
        leaves, outputs = self.outputs(values)
        incoming = [v.clone().requires_grad_() for v in self.incoming]
        first = followed_gradient(outputs, leaves, incoming)
        return differentiated(first, weights, leaves + incoming)

    def value(self, values: list[torch.Tensor], incoming: list[torch.Tensor], weights: list[torch.Tensor]) -> float:
        """<weights, first-order gradient>."""
        return sum(inner(g, u) for g, u in zip(self.first_order(values, incoming), weights, strict=True))

    def agrees(self, draw: int) -> bool:
        """One quick look along a random direction of everything at once; only a yes is an answer."""
        generator = torch.Generator().manual_seed(100 + draw)
        weights = directions(self.values, generator, scaled=False)
        along = directions(self.values, generator)
        along_incoming = directions(self.incoming, generator, scaled=False)
        second = self.second_order(self.values, weights)
        parts = [inner(s, d) for s, d in zip(second, along + along_incoming, strict=True)]

        def at(h: float) -> float:
            values = [moved(v, d, h) for v, d in zip(self.values, along, strict=True)]
            incoming = [moved(v, d, h) for v, d in zip(self.incoming, along_incoming, strict=True)]
            return self.value(values, incoming, weights)

        h = 1e-5 if self.bits == 64 else 1e-2
        numeric = (at(h) - at(-h)) / (2 * h)
        scale = abs(numeric) + max(map(abs, parts))
        precision = 1e-6 if self.bits == 64 else 1e-3
        return abs(numeric - sum(parts)) <= precision * scale + self.noise(weights, h)

    def noise(self, weights: list[torch.Tensor], h: float) -> float:
        """What rounding alone can do to a finite difference."""
        size = norm(weights) * norm(self.gradient)
        return size * (1e-15 if self.bits == 64 else 1e-6) / h

    def compare(self, draw: int, jitter: float = 0.0) -> Comparison:
        """Second order for each input alone, by autograd and by finite differences that know their own error."""
        generator = torch.Generator().manual_seed(1000 + draw)
        values = [moved(v, d, jitter) for v, d in zip(self.values, directions(self.values, generator), strict=True)]
        weights = directions(values, generator, scaled=False)
        along = directions(values, generator) + directions(self.incoming, generator, scaled=False)
        second = self.second_order(values, weights)
        autograd = {n: inner(s, d) for n, s, d in zip(self.all_names, second, along, strict=True)}
        numeric = {name: self._alone(i, along[i], values, weights) for i, name in enumerate(self.all_names)}
        scale = max((abs(s.value) for s in numeric.values() if s.value == s.value), default=0.0)
        return Comparison(autograd, numeric, scale)

    def _alone(self, which: int, along: torch.Tensor, values: list, weights: list) -> Slope:
        def at(h: float) -> float:
            everything = list(values) + list(self.incoming)
            everything[which] = moved(everything[which], along, h)
            return self.value(everything[: len(values)], everything[len(values) :], weights)

        return slope(at, self.bits, self.noise(weights, 1e-5 if self.bits == 64 else 1e-2))

    @property
    def all_names(self) -> list[str]:
        """The inputs' names and then the incoming gradients'."""
        several = len(self.incoming) > 1
        own = [f"incoming gradient {i}" if several else "incoming gradient" for i in range(len(self.incoming))]
        return self.names + own

    def ways_of(self, call: Call, draw: int) -> list[torch.Tensor] | None:
        """The direction in which the arguments of one call move when the inputs of `fn` move in a random one.

        A matrix that `fn` makes symmetric stays so: a Function may rely on it. None where no call like it is found.
        """
        h = 1e-4 if self.bits == 64 else 1e-2
        along = directions(self.values, torch.Generator().manual_seed(700 + draw))
        ahead, behind = (self._same_call(call, along, step) for step in (h, -h))
        if ahead is None or behind is None:
            return None
        pairs = [(plain(ahead.args[i].detach()), plain(behind.args[i].detach())) for i in call.differentiated]
        if any(a.shape != b.shape for a, b in pairs):
            return None
        return [(a - b) / (2 * h) for a, b in pairs]

    def _same_call(self, call: Call, along: list[torch.Tensor], h: float) -> Call | None:
        place = next(i for i, one in enumerate(self.calls) if one is call)
        with recorded_calls(within=True) as recording:
            self.outputs([moved(v, d, h) for v, d in zip(self.values, along, strict=True)])
        calls = recording.calls
        matching = place < len(calls) and calls[place].cls is call.cls
        return calls[place] if matching and calls[place].differentiated == call.differentiated else None

    # -- first order ---------------------------------------------------------------------------------------------

    def compare_first(self, draw: int, jitter: float = 0.0) -> Comparison:
        """First order for each input alone: backward's answer and finite differences of the outputs."""
        generator = torch.Generator().manual_seed(2000 + draw)
        values = [moved(v, d, jitter) for v, d in zip(self.values, directions(self.values, generator), strict=True)]
        along = directions(values, generator)
        first = self.first_order(values, self.incoming)

        def alone(which: int) -> Slope:
            def at(h: float) -> float:
                there = [moved(v, along[i], h) if i == which else v for i, v in enumerate(values)]
                _, outputs = self.outputs(there)
                return sum(inner(out, v) for out, v in zip(outputs, self.incoming, strict=True))

            return slope(at, self.bits)

        told = {name: inner(g, d) for name, g, d in zip(self.names, first, along, strict=True)}
        numeric = {name: alone(i) for i, name in enumerate(self.names)}
        return Comparison(told, numeric, max((abs(s.value) for s in numeric.values()), default=0.0))

    def gradient_is_derivative(self, tolerance: float = 1e-3) -> bool:
        """Whether the first-order gradient is the derivative of the outputs: not that of a straight-through estimator.

        Nor is, to many digits, that of a solver that stops early.
        """
        generator = torch.Generator().manual_seed(3)
        along = directions(self.values, generator)
        first = self.first_order(self.values, self.incoming)
        expected = sum(inner(g, d) for g, d in zip(first, along, strict=True))

        def at(h: float) -> float:
            _, outputs = self.outputs([moved(v, d, h) for v, d in zip(self.values, along, strict=True)])
            return sum(inner(out, v) for out, v in zip(outputs, self.incoming, strict=True))

        found = slope(at, self.bits)
        return not found.disagrees(expected, abs(expected) + abs(found.value), tolerance)

    def is_deterministic(self) -> bool:
        """Whether two evaluations at one point give the same gradient."""
        first, again = (self.value(self.values, self.incoming, self.weights) for _ in range(2))
        return first == again or abs(first - again) <= 1e-9 * (abs(first) + abs(again))


def _finite(value: float) -> float:
    return abs(value) if math.isfinite(value) else 0.0


def followed_gradient(outputs: list, leaves: list, incoming: list[torch.Tensor]) -> tuple[Any, ...]:
    """First-order gradient with a graph; copies go in, since a backward may change what it is given in place."""
    return torch.autograd.grad(outputs, leaves, [v.clone() for v in incoming], allow_unused=True, create_graph=True)


def differentiated(first: Any, weights: list, wanted: list) -> list[Any]:
    """Derivatives of <weights, first>; zeros (None) where autograd sees no way."""
    terms = [inner_graph(g, u) for g, u in zip(first, weights, strict=True) if g is not None and g.requires_grad]
    if not terms:
        return [None] * len(wanted)
    return list(torch.autograd.grad(sum(terms), wanted, allow_unused=True))


def input_names(fn: Callable, inputs: tuple[Any, ...]) -> list[str]:
    """Names of the differentiated inputs: the parameters of `fn`, or of the Function's forward."""
    parameters = parameters_of(fn)
    names = []
    for i, value in enumerate(inputs):
        name = parameters[i] if i < len(parameters) else f"input {i}"
        leaves = tree_flatten(value)[0]
        nested = not isinstance(value, torch.Tensor)
        names += [f"{name}[{k}]" if nested else name for k, leaf in enumerate(leaves) if _wanted(leaf)]
    return names


def parameters_of(fn: Callable) -> list[str]:
    owner = getattr(fn, "__self__", None)
    is_apply = isinstance(owner, type) and issubclass(owner, torch.autograd.Function)
    target = fn.forward if isinstance(fn, torch.nn.Module) else owner.forward if is_apply else fn
    try:
        found = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return []
    names = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    has_ctx = is_apply and owner.setup_context is torch.autograd.Function.setup_context
    return names[1:] if has_ctx else names


def _wanted(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.requires_grad


def _doubled(leaf: Any) -> Any:
    """The same tensor in double precision, still requiring grad if it did."""
    if not isinstance(leaf, torch.Tensor) or leaf.dtype not in WIDER:
        return leaf
    wide = leaf.detach().to(torch.complex128 if leaf.is_complex() else torch.float64)
    return wide.requires_grad_(leaf.requires_grad)


def _doubled_module(fn: Callable) -> Callable:
    if not isinstance(fn, torch.nn.Module):
        return fn
    try:
        return copy.deepcopy(fn).double()
    except Exception:  # a module that cannot be copied is checked as it stands
        return fn


def _roots_of(fn: Callable) -> list[Any]:
    """Where `fn` may keep something from one call to the next."""
    return [fn, getattr(fn, "__self__", None), getattr(fn, "__wrapped__", None)]
