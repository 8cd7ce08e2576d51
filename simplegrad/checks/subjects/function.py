"""A custom Function's call as a rule that is run by itself, through PyTorch's own engine."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from ...locks import cached_property
from ...torch_bridge.calls import Call, plain_copy
from .. import source
from ..causes.owner import user_line
from ..measure.looks import beside
from ..measure.numbers import directions, inner_graph, requires_grad, unlike
from ..report import Place
from ..runs.chance import seed
from ..runs.changed import copied, is_changed, line_of_change
from ..runs.watch import ValueWatch
from .alone import Alone, Ran
from .subject import Gradients, gradient_of

NEAR = 4  # lines between what writes to a value and what keeps it that are told as one place


@functools.cache
def gives_nothing() -> type[torch.autograd.Function]:
    """What comes after an output, and has no gradient for it. Made when it is asked for: some torch cannot make one."""

    class GivesNothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> None:
            return None

    return GivesNothing


class TorchRun:
    """One forward that autograd has recorded, of a Function or of a whole function."""

    def __init__(self, leaves: list[torch.Tensor], outputs: list[torch.Tensor], made: Sequence[int] = ()) -> None:
        self.leaves, self.followed = leaves, outputs
        self.places = made or range(len(outputs))  # which of the subject's outputs these are
        self.needed = [leaf for leaf in leaves if leaf.requires_grad]

    @property
    def outputs(self) -> list[torch.Tensor]:
        return [out.detach() for out in self.followed]

    def gradients(self, incoming: Sequence[torch.Tensor | None], graph: bool = False, keep: bool = False) -> Gradients:
        found = self._asked([None if g is None else g.clone() for g in incoming], graph, keep)
        if graph:
            return found
        return [None if g is None else g.clone() for g in found]  # it may be a buffer that backward writes to again

    def returned(self, incoming: list[torch.Tensor]) -> Gradients:
        return self._asked(incoming, False, True)

    def _asked(self, incoming: Sequence[torch.Tensor | None], graph: bool, keep: bool) -> Gradients:
        pairs = [(out, incoming[i]) for out, i in zip(self.followed, self.places) if incoming[i] is not None]
        if not pairs:  # an output may depend on the others alone
            return [None] * len(self.leaves)
        outputs, given = zip(*pairs)
        options = {"create_graph": graph, "retain_graph": keep or graph, "allow_unused": True}
        found = iter(torch.autograd.grad(outputs, self.needed, given, **options))
        return [next(found) if leaf.requires_grad else None for leaf in self.leaves]

    def undefined(self) -> Gradients:
        """What it gives where the engine comes to it with no gradient at all."""
        unknown = [gives_nothing().apply(out) for out in self.followed]
        given = [torch.ones_like(out) for out in unknown]
        return list(torch.autograd.grad(unknown, self.needed, given, allow_unused=True))

    def led_on(self, incoming: Sequence[torch.Tensor | None]) -> tuple[Gradients, Callable]:
        given = [None if v is None else v.clone().requires_grad_() for v in incoming]
        first = self.gradients(given, graph=True)  # copies, since a backward may change what it is given in place
        wanted = [*self.leaves, *(v for v in given if v is not None)]

        def second(weights: Sequence[torch.Tensor]) -> Gradients:
            pairs = zip(first, weights, strict=True)
            terms = [inner_graph(g, u) for g, u in pairs if g is not None and g.requires_grad]
            return list(torch.autograd.grad(sum(terms), wanted, allow_unused=True)) if terms else [None] * len(wanted)

        return first, second

    def second(self, incoming: Sequence[torch.Tensor | None], weights: Sequence[torch.Tensor]) -> Gradients:
        return self.led_on(incoming)[1](weights)


class Rule:
    """One call of a custom Function, alone: a hand-written backward beside its forward."""

    has_modes, is_whole = True, False
    truth = None
    untried: dict[int, str] = {}
    ways: Callable[[int], list[torch.Tensor] | None] | None = None  # how its inputs move with those of the function

    def __init__(self, call: Call, bits: int = 64) -> None:
        self.call, self.bits = call, bits
        self.alone = Alone(call)
        self.values = self.alone.values
        self.names = [call.parameter_names[i] for i in call.differentiated]
        _, outputs = self.outputs(self.values)
        self.first = [out.detach().clone() for out in outputs]
        self.alone.state.restore(thorough=True)
        self.incoming = directions(outputs, torch.Generator().manual_seed(7), scaled=False)
        self.places = self.differentiable

    def moved_to(self, values: list[torch.Tensor]) -> Rule:
        """The same call at other values of the same shapes."""
        args = list(self.call.args)
        for place, value in zip(self.call.differentiated, values[: len(self.values)], strict=True):
            args[place] = value.detach()
        found = Rule(replace(self.call, args=tuple(args)), self.bits)
        found.names = self.names
        return found

    @cached_property
    def gradient(self) -> Gradients:
        """What backward gives at the given values, all of it wanted."""
        return gradient_of(self, self.values, self.incoming)

    @cached_property
    def takes_none(self) -> bool:
        """Whether forward says `ctx.set_materialize_grads(False)`."""
        return self.alone.forward().ctx.__dict__.get("materialize_grads") is False

    # -- what it is called -----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.call.name

    @property
    def backward_said(self) -> str:
        return f"backward of {self.name}"

    @property
    def forward_said(self) -> str:
        return f"forward of {self.name}"

    @property
    def arguments(self) -> list[str]:
        return self.names

    @property
    def made(self) -> list[str]:
        """Names of its differentiable outputs."""
        return ["its output"] if len(self.places) == 1 else [f"output {i}" for i in self.places]

    @property
    def code(self) -> types.CodeType | None:
        return source.code_of(self.call.backward)

    def returned_at(self) -> Place | None:
        return source.returned_at(self.code)

    def raised_at(self, error: Exception) -> Place | None:
        return user_line(error)

    def incoming_name(self, which: int) -> str:
        """What backward calls the incoming gradient of this output; empty where that cannot be told."""
        try:
            found = inspect.signature(inspect.unwrap(self.call.backward)).parameters.values()
        except (TypeError, ValueError):
            return ""
        names = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][1:]
        return names[self.places[which]] if self.places[which] < len(names) else ""

    def unknown(self, left: list[str]) -> str:
        """That nothing comes in for these outputs, as the beginning of a sentence."""
        return f"Where nothing uses {' and '.join(left)},"

    def none_fix(self, left: list[str]) -> str:
        return "gradient is None  # ask this of each incoming gradient, or leave out ctx.set_materialize_grads(False)"

    def wanting(self, names: list[str]) -> str:
        """That only these gradients are wanted, as the beginning of a sentence."""
        return f"Where only {' and '.join(names)} require{'s' if len(names) == 1 else ''} grad,"

    needs_fix = "if ctx.needs_input_grad[i]: ...  # ask of each input for itself"

    # -- through the engine ----------------------------------------------------------------------------------------

    def run(self, values: list[torch.Tensor], needs: tuple[int, ...] | None = None) -> TorchRun:
        return self._run(*self.outputs(values, needs))

    def again(self, values: list[torch.Tensor]) -> TorchRun:
        return self._run(*self.applied(values))

    def _run(self, leaves: list[torch.Tensor], outputs: list[torch.Tensor]) -> TorchRun:
        return TorchRun(leaves, outputs, [self.places.index(i) for i in self.differentiable])

    def outputs(
        self, values: list[torch.Tensor], needs: tuple[int, ...] | None = None
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """(leaves, outputs that autograd can follow) of one `apply`, from the same state each time."""
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
        self.differentiable = [i for i, out in enumerate(several) if requires_grad(out)]
        return leaves, [several[i] for i in self.differentiable]

    def all_incoming(self, incoming: list[torch.Tensor] | None = None) -> list[Any]:
        """What backward is given for every output, those included that carry no gradient."""
        given = iter(incoming or self.incoming)
        return [next(given) if i in self.places else g for i, g in enumerate(self.call.incoming or [])]

    # -- by itself -------------------------------------------------------------------------------------------------

    def forward(self) -> Ran:
        return self.alone.forward()

    def backward(self, kept: Ran, incoming: list[Any], graph: bool = False, copies: bool = True) -> Gradients:
        return self.alone.backward(kept, incoming, graph=graph, copies=copies)

    def given(self, kept: Ran) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
        """Of those that are not differentiated, the ones that nobody means to be written to (see `_is_spoilt`)."""
        dirty, found = kept.ctx.__dict__.get("dirty_tensors") or (), []
        triples = zip(self.call.parameter_names, kept.args, self.call.args, strict=True)
        for place, (name, now, was) in enumerate(triples):
            if not _is_dense(was) or any(now is marked for marked in dirty):
                continue
            if place in self.call.differentiated or (is_changed(now, was) and self._is_spoilt(place, now)):
                found.append((name, now, was))
        return found

    def _is_spoilt(self, place: int, now: torch.Tensor) -> bool:
        """Whether an argument that was written over is no statistic of the inputs or a buffer for them, which are meant
        to be: it becomes the same whatever the inputs are, and the next call with it gives another result."""
        after = copied(now)
        args = tuple(after if i == place else arg for i, arg in enumerate(self.call.args))
        ours, theirs = (Alone(call).forward().outputs for call in (self.call, replace(self.call, args=args)))
        pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if isinstance(a, torch.Tensor)]
        if not any(is_changed(a, b) for a, b in pairs):
            return False
        elsewhere = self.alone.forward(beside(self.values, 4, 1e-1)).args[place]
        return not is_changed(elsewhere, after)

    def reads(self, kept: Ran) -> list[tuple[str, torch.Tensor]]:
        return [(slot.name, slot.value) for slot in kept.slots if slot.path[0].kind == "name" and _is_dense(slot.value)]

    def changed_by_forward(self, name: str) -> Place | None:
        codes, place = self.alone.forward_codes, self.call.parameter_names.index(name)

        def watched(run: Any, ctx: Any) -> Any:
            nonlocal found
            found = line_of_change(codes, lambda: results.append(run()), lambda: self.alone.args[place])
            return results[-1]

        results, found = [], None
        self.alone.forward(around=watched)
        return found or (source.heading(codes[0]) if codes else None)

    def own(self, name: str) -> str:
        """What to write so that an argument is changed with leave."""
        return f"ctx.mark_dirty({name})  # and return it; or compute on {name}.clone()"

    def shared(self) -> tuple[str, Place | None]:
        ran = self.alone.forward()
        before = {slot.path: slot.value.detach().clone() for slot in ran.slots if _is_dense(slot.value)}
        code, codes = source.code_of(self.call.cls.forward), tuple(self.alone.forward_codes)
        watch = ValueWatch(codes, lambda: self.alone.find_slots(ran.ctx))
        args = list(ran.args)
        for place, value in zip(self.call.differentiated, beside(self.values, 3, 1e-2), strict=True):
            args[place] = value.detach().clone()
        with watch, torch.no_grad():
            self.alone._forward(type(ran.ctx)(self.call, self.alone.needs), args)
        for slot in self.alone.find_slots(ran.ctx):
            if slot.path in before and _is_dense(slot.value) and unlike([slot.value], [before[slot.path]], 0.0):
                seen = watch.seen.get(id(slot.value))
                line = source.line_naming(code, slot.name) if any(slot.value is arg for arg in args) else None
                if line:  # what it was given may be written to, a running statistic, but not kept without a copy
                    lines = sorted((line, seen.last if seen is not None and seen.last > seen.first else line))
                    return slot.name, source.place(code, *(lines if lines[1] - lines[0] <= NEAR else (line,)))
                return slot.name, source.place(seen.code, seen.last) if seen is not None else None
        return "", source.heading(code) if code else None


def _is_dense(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided
