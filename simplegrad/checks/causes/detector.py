"""Why a Function's second order is wrong: which values its backward reads that autograd cannot follow.

Backward is a function of what forward left behind and of the incoming gradients. Its derivative along a direction of
the inputs is the sum of one contribution per value left behind: run forward a step further, put that one value into
the backward of the unmoved run, and see how the answer moves. Autograd accounts for the contribution of a saved input
or output; the contribution of any other value is dropped. So:

- a value that autograd does not track, and that contributes: an escaped temporary (or an input detached on purpose);
- a value that it does track, and of whose contribution autograd reports less: the backward itself cuts the graph.

No rule looks at how a value was kept or how it was computed: a tensor, an array or a number are treated alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ...locks import cached_property
from ...torch_bridge.calls import Call, recorded_calls
from ..measure.numbers import (
    Slope,
    all_moved,
    directions,
    inner,
    inner_graph,
    inner_sum,
    is_floating,
    moved,
    norm,
    plain,
    requires_grad,
    slope,
)
from ..subjects.alone import Alone, Ran
from ..subjects.held import FOLLOWED, INNER, INPUT, OUTPUT, UNTRACKED, Held, classified, copied, same
from ..subjects.slots import CTX_OWN, Path, Slot, Step

MOST_VALUES = 300
MANY = 12  # values from which on autograd is believed where its answers add up


@dataclass
class Examination:
    """What was measured on one call, along one random direction."""

    alone: Alone
    held: list[Held]
    total: Slope  # derivative of <weights, backward> when everything moves
    by_gradient: Slope  # the same when only the incoming gradients move
    autograd: float = 0.0  # autograd's derivative for the tracked values
    autograd_by_gradient: float = 0.0
    scale: float = 0.0
    escaped: list[Held] = field(default_factory=list)
    cut: list[Held] = field(default_factory=list)
    cuts_gradient: bool = False
    followed: bool = True  # whether backward could be run with autograd following it
    leaves: tuple[str, ...] | None = None  # for which kinds of value it could; None: for all

    def asked(self, one: Held) -> bool:
        """Whether autograd could be asked about this value."""
        return self.followed and (self.leaves is None or one.kind in self.leaves)

    @property
    def call(self) -> Call:
        return self.alone.call

    @property
    def is_complete(self) -> bool:
        """Whether the contributions found add up to the whole: if not, backward reads something unseen."""
        parts = sum(h.contribution.value for h in self.held if h.contribution)
        return not self.total.disagrees(parts, self.scale, 1e-3)

    @property
    def finds(self) -> bool:
        return bool(self.escaped or self.cuts)

    @property
    def cuts(self) -> bool:
        """Whether backward takes something out of the graph."""
        return bool(self.cut or self.cuts_gradient)

    def forget_cuts(self) -> None:
        """What looked like a cut is a matter of convention."""
        self.cut, self.cuts_gradient = [], False


class Examiner:
    """Measures one call. The steps of an examination are its methods, in order."""

    def __init__(
        self,
        call: Call,
        draw: int = 0,
        bits: int = 64,
        ones: bool = False,
        along: list[torch.Tensor] | None = None,
        alone: Alone | None = None,
    ) -> None:
        self.call, self.alone, self.bits = call, alone or Alone(call), bits
        self.incoming = [_ones(g) if ones else g for g in call.incoming or []]
        generator = torch.Generator().manual_seed(500 + draw)
        self.along = along or directions(self.alone.values, generator)
        self.along_incoming = [
            directions([g], generator, scaled=False)[0] if is_floating(g) else None for g in self.incoming
        ]
        self.base = self.alone.forward()
        answer = self.alone.backward(self.base, self.incoming)
        self.weights = directions(self.alone.values, generator, scaled=False)
        if ones:
            self.weights = [torch.ones_like(weight) for weight in self.weights]
        size = norm(self.weights) * norm(answer)
        self.noise = size * (1e-10 if bits == 64 else 1e-4)

    @cached_property
    def with_ones(self) -> Examiner:
        """Another of the same call, with ones coming in and ones for weights."""
        return Examiner(self.call, 1, self.bits, ones=True, alone=self.alone)

    @cached_property
    def at_random(self) -> Examiner:
        """Another of the same call, along another direction."""
        return Examiner(self.call, 1, self.bits, alone=self.alone)

    def follows_convention(self) -> bool:
        """Whether this Function's gradient and that of one it calls in backward are no derivatives, both.

        Gradients of Lie groups are such: in the coordinates of a tangent space. Then differences of the backward and
        autograd's answer are two conventions, and their disagreement says nothing about a missing way.
        """
        if gradient_is_derivative(self.call, self.along, self.incoming, self.bits):
            return False
        with recorded_calls() as recording:
            ran = self.alone.forward()
            incoming = self.incoming_leaves()
            returned = self.alone.backward(ran, incoming, graph=True)
            terms = [inner_graph(g, u) for g, u in zip(returned, self.weights, strict=True) if requires_grad(g)]
            if terms:
                leaves = [ran.args[i] for i in self.call.differentiated]
                torch.autograd.grad(sum(terms), leaves, allow_unused=True)
        return any(not _is_derivative(call, self.bits) for call in recording.calls if call.incoming)

    def examine(self) -> Examination:
        """Contribution of every value, by finite differences, beside what autograd sees of it."""
        base = self.alone.forward()
        held = classified(base, self.alone.call)
        moving = self._moving(held)
        total = self._slope(lambda h: self._answer(self._moved(h)))
        found = Examination(self.alone, moving, total, self._slope(self._with_gradient))
        self._ask_autograd(found)
        self._measure(found)
        if not found.is_complete:
            found.held += self._whole_attributes(found)
        self._judge(found)
        return found

    def _measure(self, found: Examination) -> None:
        """Each value's contribution; among very many, autograd's word is taken where it adds up to the whole."""
        if len(found.held) > MANY and found.leaves is None and found.followed:
            told = sum(one.seen_by_autograd for one in found.held)
            if not found.total.disagrees(told, abs(told) + self.noise, 1e-4):
                for one in found.held:
                    one.contribution = Slope(one.seen_by_autograd, self.noise)
                return
        for one in found.held:
            one.contribution = self._slope(lambda h, one=one: self._with(one, h))

    def _whole_attributes(self, found: Examination) -> list[Held]:
        """Attributes of ctx that cannot be looked into and yet contribute: a handle of a library, a pickle, a set.

        Swapped as they are; what was found inside one already is taken off.
        """
        more = []
        for name, value in self.base.ctx.__dict__.items():
            if name in CTX_OWN or value is None or isinstance(value, str | int | float | complex | torch.Tensor):
                continue
            path = (Step("name", name, f"ctx.{name}"),)
            one = Held([Slot(path, value)], UNTRACKED)
            whole = self._slope(lambda h, one=one: self._with(one, h))
            inside = [h for h in found.held if any(p[0] == path[0] for p in h.paths)]
            rest = whole.value - sum(h.contribution.value for h in inside)
            one.contribution = Slope(rest, whole.error + sum(h.contribution.error for h in inside))
            more.append(one)
        return more

    # -- moving one thing ----------------------------------------------------------------------------------------

    def _slope(self, evaluate: Callable[[float], float]) -> Slope:
        return slope(evaluate, self.bits, self.noise)

    def _moved(self, h: float) -> Ran:
        return self.alone.forward(all_moved(self.alone.values, self.along, h))

    def _answer(self, ran: Ran, incoming: list[Any] | None = None) -> float:
        """<weights, backward> with grad mode on, as it runs when its gradient is differentiated again."""
        returned = self.alone.backward(ran, incoming or self.incoming, graph=True)
        return inner_sum(returned, self.weights)

    def _with(self, one: Held, h: float) -> float:
        """<weights, backward> of the unmoved run with only this value taken from a run `h` further."""
        return self.with_one_of(one, self._moved(h))

    def with_one_of(self, one: Held, further: Ran) -> float:
        """The same of any other run."""
        there = {slot.path: slot.value for slot in further.slots}
        if one.paths[0] not in there:  # a whole attribute of ctx
            there[one.paths[0]] = one.paths[0][0].get(further.ctx.__dict__)
        values = [(path, copied(there[path])) for path in one.paths if path in there]
        ran = self.alone.forward()
        self.alone.swap(ran, values)
        return self._answer(ran)

    def _with_gradient(self, h: float) -> float:
        incoming = [
            moved(g, d, h) if d is not None else g for g, d in zip(self.incoming, self.along_incoming, strict=True)
        ]
        return self._answer(self.alone.forward(), incoming)

    def _moving(self, held: list[Held]) -> list[Held]:
        """Those that change when the inputs do; everything else is a constant."""
        h = 1e-4 if self.bits == 64 else 1e-2
        ahead, behind = ({slot.path: slot.value for slot in self._moved(step).slots} for step in (h, -h))
        changing = [
            one for one in held if any(p in ahead and p in behind and not same(ahead[p], behind[p]) for p in one.paths)
        ]
        return changing[:MOST_VALUES]

    # -- autograd's view -----------------------------------------------------------------------------------------

    def _ask_autograd(self, found: Examination) -> None:
        """Let autograd differentiate backward for each value that moves, as if each were a leaf."""
        for kinds in (None, (INPUT, OUTPUT, FOLLOWED), ()):
            try:
                gradients, by_gradient = self._autograd(found.held, kinds)
                break
            except Exception:  # such as numpy() on a leaf: try with fewer leaves, down to the incoming gradients
                found.leaves = kinds
        else:
            found.followed = False
            return
        found.leaves = kinds
        h = 1e-5 if self.bits == 64 else 1e-2
        ahead, behind = ({slot.path: slot.value for slot in self._moved(step).slots} for step in (h, -h))
        for one, gradient in zip(found.held, gradients, strict=True):
            path = one.slots[0].path
            if gradient is not None and path in ahead and path in behind and ahead[path].shape == behind[path].shape:
                change = (plain(ahead[path].detach()) - plain(behind[path].detach())) / (2 * h)
                one.seen_by_autograd = inner(gradient, change)
        found.autograd = sum(one.seen_by_autograd for one in found.held if one.is_tracked)
        found.autograd_by_gradient = sum(
            inner(g, d) for g, d in zip(by_gradient, self.along_incoming, strict=True) if d is not None
        )

    def _autograd(self, held: list[Held], kinds: tuple[str, ...] | None = None) -> tuple[list[Any], list[Any]]:
        ran = self.alone.forward()
        objects = {slot.path: slot.value for slot in ran.slots}
        leaves = [self._as_leaf(one, ran, objects) if kinds is None or one.kind in kinds else None for one in held]
        incoming = self.incoming_leaves()
        returned = self.alone.backward(ran, incoming, graph=True)
        terms = [
            inner_graph(g, u) for g, u in zip(returned, self.weights, strict=True) if g is not None and g.requires_grad
        ]
        asked = [x for x in leaves if x is not None]
        asked += [g for g, d in zip(incoming, self.along_incoming, strict=True) if d is not None]
        got = torch.autograd.grad(sum(terms), asked, allow_unused=True) if terms else [None] * len(asked)
        got = iter(got)
        gradients = [next(got) if x is not None else None for x in leaves]
        return gradients, [next(got) if d is not None else None for d in self.along_incoming]

    def incoming_leaves(self) -> list[Any]:
        return [g.detach().clone().requires_grad_() if is_floating(g) else g for g in self.incoming]

    def _as_leaf(self, one: Held, ran: Ran, objects: dict[Path, Any]) -> torch.Tensor | None:
        """A fresh leaf in this value's place; a value with a graph of its own stays, with the leaf that it has."""
        value = objects.get(one.slots[0].path)
        if not isinstance(value, torch.Tensor):
            return None
        if one.kind in (INNER, FOLLOWED):
            return value if value.requires_grad else None
        leaf = value.detach().clone().requires_grad_()
        self.alone.swap(ran, [(path, leaf) for path in one.paths])
        return leaf

    # -- judging -------------------------------------------------------------------------------------------------

    def _judge(self, found: Examination) -> None:
        sizes = [abs(one.contribution.value) for one in found.held]
        found.scale = max(x for x in [abs(found.total.value), abs(found.autograd), *sizes, self.noise] if x < math.inf)
        gradient_scale = max(abs(found.by_gradient.value), abs(found.autograd_by_gradient))
        known = found.followed and math.isfinite(found.autograd_by_gradient)
        found.cuts_gradient = known and found.by_gradient.disagrees(found.autograd_by_gradient, gradient_scale, 1e-3)
        for one in found.held:
            if one.is_tracked:
                self._judge_tracked(one, found)
            elif self._matters(one, found):
                self._judge_untracked(one, found)

    def _matters(self, one: Held, found: Examination) -> bool:
        return one.contribution.disagrees(0.0, found.scale, 1e-5)

    def _judge_tracked(self, one: Held, found: Examination) -> None:
        known = found.asked(one) and math.isfinite(one.seen_by_autograd)
        if known and one.contribution.disagrees(one.seen_by_autograd, found.scale, 1e-4):
            found.cut.append(one)

    def _judge_untracked(self, one: Held, found: Examination) -> None:
        """Returning it from forward would repair it only where backward passes a gradient on to it."""
        if isinstance(one.value, torch.Tensor) and found.asked(one):
            has_leaf = one.kind != INNER or one.value.grad_fn is None
            reached = abs(one.seen_by_autograd) > 1e-5 * found.scale or not has_leaf
        else:
            reached = not found.cuts_gradient
        (found.escaped if reached else found.cut).append(one)


def gradient_is_derivative(call: Call, along: list[torch.Tensor], incoming: list[Any], bits: int) -> bool:
    """Whether one Function's backward gives the derivative of its forward."""
    alone = Alone(call)
    base = alone.forward()
    returned = alone.backward(base, incoming)
    expected = inner_sum(returned, along)

    def at(h: float) -> float:
        ran = alone.forward(all_moved(alone.values, along, h))
        pairs = zip(ran.outputs, incoming, strict=False)
        return sum(inner(out, g) for out, g in pairs if is_floating(g) and isinstance(out, torch.Tensor))

    found = slope(at, bits)
    return not found.disagrees(expected, abs(expected) + abs(found.value), 1e-3)


def _ones(gradient: Any) -> Any:
    """Ones, but zeros stay: that output is not used."""
    return torch.ones_like(gradient) if is_floating(gradient) and bool(plain(gradient).any()) else gradient


def _is_derivative(call: Call, bits: int) -> bool:
    values = [call.args[i] for i in call.differentiated]
    along = directions(values, torch.Generator().manual_seed(9))
    return gradient_is_derivative(call, along, call.incoming or [], bits)
