"""Two PyTorch runs side by side: where they first part, and whether that was born there or came in.

Operations are paired in their order, by name and module; what has no partner may be another way to compute the same
(a fused kernel) and is looked at only where the results behind it differ. First the forward part is read, then each
pass. Of a value its norm is compared, and its numbers where both runs kept them.
"""

from __future__ import annotations

from dataclasses import dataclass

from simplegrad.locks import cached_property

from ..attached import Shown, attached
from ..trace.events import Value, Visited
from ..trace.trace import Trace
from .backward import Backward, PassVisits, one_pass_more, passes_of
from .ends import ends_agree, last_step
from .forward import COMPUTES, Forward
from .gaps import differs, is_known, norm_of
from .parting import Parting
from .walk import Step, begun, walked

Ends = tuple[Value | None, Value | None]  # of a module: a result and a gradient


@dataclass(frozen=True)
class LayerRow:
    """One module: norms of the last result in it and of the last gradient, on both sides; None where unknown.
    `differs`: whether one of the two is another one, beyond rounding."""

    module: str
    left: float | None
    right: float | None
    left_gradient: float | None = None
    right_gradient: float | None = None
    differs: bool = False


@attached
@dataclass
class RunComparison(Shown):
    """`compare(a, b)` of two PyTorch traces; worked out when it is asked for. It has a page, as a Comparison has."""

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
        if ends_agree(self.left, self.right, self._passes):
            return last_step(self.left, self.right)  # whatever lies between is another way to compute the same
        forward = self._forward.parting()
        for both in self._backwards:
            if forward is None or _ended_before(both, forward):
                if again := self._again(both.number - 1):
                    return again
                losses = both.left.pass_.loss, both.right.pass_.loss
                found = self._forward.other_loss(*losses) or both.parting()
                if found is not None:
                    return found
        if forward is None and len(self._passes[0]) != len(self._passes[1]):
            return one_pass_more(self._passes, min(map(len, self._passes)), len(self._passes[0]) > len(self._passes[1]))
        return forward or last_step(self.left, self.right)

    def _again(self, number: int) -> Parting | None:
        """Where one run alone goes back from the same loss once more."""
        if not number:
            return None
        twice = [passes[number].pass_.loss is passes[number - 1].pass_.loss for passes in self._passes]
        return one_pass_more(self._passes, number, twice[0]) if twice[0] != twice[1] else None

    @cached_property
    def _forward(self) -> Forward:
        return Forward(self.left, self.right)

    @cached_property
    def _passes(self) -> list[list[PassVisits]]:
        return [passes_of(trace) for trace in (self.left, self.right)]

    @cached_property
    def _backwards(self) -> list[Backward]:
        return [Backward(number, *both, self._forward) for number, both in enumerate(zip(*self._passes), 1)]

    @cached_property
    def _partners(self) -> dict[Step, bool]:
        """Events that are partners -> whether their numbers differ."""
        calls = self._forward.told_pairs()
        return calls | {pair: differ for both in self._backwards for pair, differ in both.told_pairs().items()}

    @cached_property
    def steps(self) -> list[Step]:
        """Pairs of event indices to walk through both runs; None where that side has nothing there and waits."""
        pairs = [*self._partners, *begun(self.left, self.right)]
        return walked(pairs, len(self.left.events), len(self.right.events))

    @cached_property
    def differing_steps(self) -> list[int]:
        """Where in `steps` the runs part, and where a result or a gradient differs: something to stop at."""
        found = {number for number, pair in enumerate(self.steps) if self._partners.get(pair)}
        return sorted(found if self.first_step is None else {*found, self.first_step})

    @property
    def first_step(self) -> int | None:
        """Where in `steps` the runs part; None where they do not."""
        found = self.divergence
        if found is None:
            return None
        at = (found.left_step, found.right_step)
        near = (n for n, pair in enumerate(self.steps) if any(x is not None and x == y for x, y in zip(pair, at)))
        return next(near, 0)

    @property
    def sentence(self) -> str:
        if self.agrees is None:
            empty = [
                side for side, run in (("left", self.left), ("right", self.right)) if not run.calls and not run.events
            ]
            if empty:
                return f"Not compared: the {empty[0]} run is empty."
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
        return [_row(m, sides[0].get(m, nothing), sides[1].get(m, nothing)) for m in names]

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


def _ended_before(both: Backward, forward: Parting) -> bool:
    """Whether a pass was over by then: what parts in the forward part of a later step may have come of it."""
    ended = both.right.ended
    return ended is not None and forward.since is not None and ended.index < forward.since


def _row(module: str, left: Ends, right: Ends) -> LayerRow:
    norms = [x and norm_of(x) for pair in zip(left, right) for x in pair]
    return LayerRow(module, *norms, differs=differs(list(zip(left, right))))


def _by_module(trace: Trace) -> dict[str, Ends]:
    """module -> (its last result, the largest gradient that came to an entry in it)"""
    results: dict[str, Value] = {}
    gradients: dict[str, Value] = {}
    for call in trace.calls:
        if call.kind in COMPUTES and call.outputs and not call.within:
            results[call.module] = call.outputs[-1]
    for event in trace.events:
        if isinstance(event, Visited) and event.entry.group in results:
            known = [(norm, x) for x in event.outgoing if x is not None and (norm := norm_of(x)) is not None]
            if known:
                gradients[event.entry.group] = max(known, key=lambda each: each[0])[1]
    return {module: (result, gradients.get(module)) for module, result in results.items()}
