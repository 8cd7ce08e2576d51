"""Two PyTorch runs side by side: where they first part, and whether that was born there or came in.

Operations are paired in their order, by name and module; what has no partner may be another way to compute the same
(a fused kernel) and is looked at only where the results behind it differ. First the forward part is read, then each
pass. Of a value its norm is compared, and its numbers where both runs kept them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..trace.events import Visited
from ..trace.trace import Trace
from .backward import Backward, one_pass_more, passes_of
from .forward import COMPUTES, Forward
from .gaps import is_known, norm_of
from .parting import Parting


@dataclass(frozen=True)
class LayerRow:
    """One module: norms of the last result in it and of the last gradient, on both sides; None where unknown."""

    module: str
    left: float | None
    right: float | None
    left_gradient: float | None = None
    right_gradient: float | None = None


@dataclass
class RunComparison:
    """`compare(a, b)` of two PyTorch traces; worked out when it is asked for."""

    left: Trace
    right: Trace

    @property
    def agrees(self) -> bool | None:
        """None where numbers were not kept, so that nothing was compared."""
        if not self.is_judged:
            return None
        return self.divergence is None

    @cached_property
    def is_judged(self) -> bool:
        return all(any(is_known(y) for call in trace.calls for y in call.outputs) for trace in (self.left, self.right))

    @cached_property
    def divergence(self) -> Parting | None:
        if not self.is_judged:
            return None
        forward = Forward(self.left, self.right)
        found = forward.parting()
        runs = [passes_of(trace) for trace in (self.left, self.right)]
        for number, (left, right) in enumerate(zip(*runs), 1):
            if found is not None:
                return found
            found = Backward(number, left, right, forward).parting()
        if found is None and len(runs[0]) != len(runs[1]):
            found = one_pass_more(runs)
        return found

    @property
    def sentence(self) -> str:
        if self.agrees is None:
            return (
                "Not compared: at least one of the runs kept no numbers (record_torch with values='norm' keeps them)."
            )
        return "The runs agree, up to rounding." if self.divergence is None else self.divergence.sentence

    @cached_property
    def layers(self) -> list[LayerRow]:
        """A row for each module that ran in either run, in the order of the left one."""
        sides = [_by_module(trace) for trace in (self.left, self.right)]
        names = list(dict.fromkeys([*sides[0], *sides[1]]))
        nothing = (None, None)
        return [LayerRow(m, *_columns(sides[0].get(m, nothing), sides[1].get(m, nothing))) for m in names]

    def as_json(self) -> dict:
        found = self.divergence
        return {
            "agrees": self.agrees,
            "sentence": self.sentence,
            "divergence": None
            if found is None
            else {
                **{name: getattr(found, name) for name in ("where", "op", "module", "how", "born", "sentence")},
                "left_place": found.left_place and found.left_place.as_json(),
                "right_place": found.right_place and found.right_place.as_json(),
            },
            "layers": [vars(row) for row in self.layers],
        }

    def __str__(self) -> str:
        lines = [self.sentence]
        found = self.divergence
        for word, place in (("left", found and found.left_place), ("right", found and found.right_place)):
            if place is not None:
                lines += [f"  {word}: {place}", *(f"    | {text}" for text in place.text.splitlines())]
        return "\n".join(lines)


def _columns(left: tuple, right: tuple) -> tuple:
    return left[0], right[0], left[1], right[1]


def _by_module(trace: Trace) -> dict[str, tuple]:
    """module -> (norm of its last result, norm of the last gradient that came to an entry in it)"""
    results: dict[str, float | None] = {}
    gradients: dict[str, float | None] = {}
    for call in trace.calls:
        if call.kind in COMPUTES and call.outputs and not call.within:
            results[call.module] = norm_of(call.outputs[-1])
    for event in trace.events:
        if isinstance(event, Visited) and event.entry.group in results:
            known = [norm for norm in map(norm_of, filter(None, event.outgoing)) if norm is not None]
            if known:
                gradients[event.entry.group] = max(known)
    return {module: (norm, gradients.get(module)) for module, norm in results.items()}
