"""One rank's trace, looked up by what is asked of it beside the others."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from simplegrad.locks import cached_property

from ...trace import calls as kinds
from ...trace import ranks as told
from ...trace.calls import Call, Held
from ...trace.events import PassBegun, Source, Value
from ...trace.ranks import Collective, Share
from ...trace.trace import Trace

COMPUTES = (kinds.OPERATION, kinds.FUNCTION, kinds.IN_PLACE, kinds.NEW_LEAF, kinds.COPY, kinds.SCALE, kinds.GRAD_SET)
PRINTS = 8  # numbers of one tensor: see torch_bridge/prints.py
WRAPPERS = {"DistributedDataParallel": "module.", "DataParallel": "module.", "OptimizedModule": "_orig_mod."}
REDUCES = ("all_reduce", "all_reduce_coalesced", "reduce", "reduce_scatter", "reduce_scatter_tensor")


@dataclass(frozen=True, eq=False)
class Met:
    """A collective of a rank, with its mark among the calls."""

    noted: Collective
    call: Call

    @property
    def name(self) -> str:
        return f"{self.noted.by} {self.call.name}" if self.noted.by else self.call.name

    @property
    def owners(self) -> tuple[str, ...]:
        return self.noted.owners

    @property
    def waits(self) -> bool:
        return self.noted.state == told.WAITS


class RankRun:
    """Made once for a trace."""

    def __init__(self, trace: Trace, rank: int) -> None:
        self.trace, self.rank = trace, rank
        self.calls = trace.calls
        self.held: dict[str, Held] = {held.path: held for held in trace.held}
        self.met = [Met(each, self.calls[each.call]) for each in trace.collectives if each.call < len(self.calls)]
        self._gradients: dict[Met, list[str]] = {}
        self.shares: dict[str, list[Share]] = defaultdict(list)
        for share in trace.shares:
            self.shares[share.what].append(share)

    @cached_property
    def passes(self) -> list[PassBegun]:
        """Those that brought something to a leaf's .grad, in order."""
        bring = {share.pass_id for share in self.shares[told.CAME]}
        if not self.trace.shares:  # recorded where nobody said how many ranks there are
            bring = {filled.pass_id for filled in self.trace.filled if filled.came is not None and filled.accumulates}
        begun = [event for event in self.trace.events if isinstance(event, PassBegun)]
        return [event for event in begun if event.pass_.id in bring or self._failed_in(event)]

    def _failed_in(self, event: PassBegun) -> bool:
        return any(met.waits and met.noted.by == "DDP" and met.call.pass_id == event.pass_.id for met in self.met)

    def mark_of(self, event: PassBegun) -> Call | None:
        """The mark of a pass, which has all its lines."""
        return next((c for c in self.calls if c.kind == kinds.PASS and c.pass_id == event.pass_.id), None)

    @cached_property
    def lines(self) -> set[Source]:
        """All that is known to have run here."""
        return {place for call in self.calls for place in call.stack}

    @cached_property
    def giver(self) -> dict[Value, Call]:
        found: dict[Value, Call] = {}
        for call in self.calls:
            if call.kind in COMPUTES or call.kind == kinds.COLLECTIVE:
                for value in call.outputs:
                    if value not in call.inputs:
                        found.setdefault(value, call)
        return found

    @cached_property
    def order(self) -> list[str]:
        """Paths of parameters, as the model has them."""
        return [path for path, held in self.held.items() if held.kind == "parameter"]

    # -- what belongs to whom ----------------------------------------------------------------------------------------

    @cached_property
    def grads(self) -> dict[Value, str]:
        """Values that are a parameter's .grad -> its path."""
        found = {share.value: share.path for share in self.trace.shares if share.value is not None}
        for call in self.calls:
            if call.kind == kinds.GRAD_SET and len(call.leaves) == 1:
                path = self.path_of(call.leaves[0])
                news = call.inputs[1:2] if call.name == "grad" else call.outputs
                found.update(dict.fromkeys(news, path) if path else {})
        for met in self.met:
            if met.noted.counts and all(count == 1 for count in met.noted.counts):
                for values in (met.call.inputs, met.call.outputs):
                    for value, whose in zip(values, met.owners):
                        if whose.endswith(".grad"):
                            found[value] = whose.removesuffix(".grad")
        return found

    @cached_property
    def wrapped(self) -> str:
        """What stands before every path where a wrapper was recorded in place of its model: `module.`, say, or ""."""
        roots = {call.name for call in self.calls if call.kind == kinds.MODULE and not call.module}
        if roots - WRAPPERS.keys() or not self.order:
            return ""
        found = ""
        while more := next((x for x in WRAPPERS.values() if all(y.startswith(found + x) for y in self.order)), ""):
            found += more
        return found

    def path_of(self, value: Value) -> str:
        """Of a tensor of a module; one that was changed in place has a number behind its name."""
        if value.name in self.held:
            return value.name
        path = re.sub(r"_\d+$", "", value.name)
        return path if path in self.held else ""

    def gradients_in(self, met: Met) -> list[str]:
        """The parameters whose gradients a collective is given, also as parts of a flat tensor or as copies."""
        if met not in self._gradients:
            self._gradients[met] = self._find_gradients(met)
        return self._gradients[met]

    def _find_gradients(self, met: Met) -> list[str]:
        hooked = [path for (path, _), (each, _) in self.in_hooks.items() if each is met]
        if hooked:
            return hooked
        direct = [whose.removesuffix(".grad") for whose in met.owners if whose.endswith(".grad")]
        if direct:
            return direct
        found, todo, seen = [], list(met.call.inputs), set()
        while todo:
            value = todo.pop()
            if value in seen:
                continue
            seen.add(value)
            if value in self.grads:
                found.append(self.grads[value])
                continue
            giver = self.giver.get(value)
            if giver is not None and giver.id < met.call.id and giver.kind != kinds.COLLECTIVE:
                todo += giver.inputs
        return sorted(set(found), key=self._place)

    def _place(self, path: str) -> int:
        return self.order.index(path) if path in self.order else len(self.order)

    def leads_to(self, loss: Value) -> set[Call]:
        """The calls that a loss was computed by."""
        found: set[Call] = set()
        todo = [loss]
        while todo:
            giver = self.giver.get(todo.pop())
            if giver is not None and giver not in found:
                found.add(giver)
                todo += giver.inputs
        return found

    # -- segments: from one optimizer's step to the next -------------------------------------------------------------

    @cached_property
    def segments(self) -> list[Segment]:
        begun = {event.pass_.id for event in self.passes}
        steps = [call.id for call in self.calls if call.kind == kinds.STEP]
        found, first = [], 0
        for last in [*steps, len(self.calls)]:
            passes = [e for e in self.passes if e.pass_.id in begun and first <= self._at(e) < last]
            if passes or not found:
                found.append(Segment(first, last, passes, last < len(self.calls)))
            first = last
        return found

    def _at(self, event: PassBegun) -> int:
        mark = self.mark_of(event)
        return mark.id if mark is not None else 0

    def final(self, segment: Segment, path: str) -> Share | None:
        """The gradient that a segment ends with: what a step uses, or what is left at the end."""
        if segment.steps:
            found = [s for s in self.shares[told.STEPPED] if s.path == path and s.call <= segment.last]
            found = [s for s in found if s.call > segment.first or segment.first == 0]
            if found:
                return found[-1]
        return next((s for s in self.shares[told.AT_END] if s.path == path), None)

    def came(self, segment: Segment, path: str) -> Iterator[tuple[int, tuple[float, ...]]]:
        """(which pass of the segment, prints of what it brought): before a hook reduced it, where one did."""
        ids = [event.pass_.id for event in segment.passes]
        for share in self.shares[told.CAME]:
            if share.path == path and share.pass_id in ids:
                _, before = self.in_hooks.get((path, share.pass_id), (None, share.prints))
                yield ids.index(share.pass_id), before

    @cached_property
    def in_hooks(self) -> dict[tuple[str, int | None], tuple[Met, tuple[float, ...]]]:
        """(parameter, pass) -> the collective that a hook of the gradient's own called, prints of what it was given."""
        found = {}
        for met in (each for each in self.met if each.call.within == "hook" and not each.noted.by):
            for i in range(0, len(met.noted.after), PRINTS):
                after, before = met.noted.after[i : i + PRINTS], met.noted.before[i : i + PRINTS]
                for share in self.shares[told.CAME]:
                    if share.pass_id == met.call.pass_id and _is_multiple(share.prints, after):
                        scale = self._scale(share, met.call.inputs[i // PRINTS : i // PRINTS + 1])
                        found[share.path, share.pass_id] = met, tuple([x * scale for x in before])
        return found

    def _scale(self, share: Share, given: tuple[Value, ...]) -> float:
        """By how much what the pass brought is larger than what the hook gave to the collective."""
        filled = [f for f in self.trace.filled if f.pass_id == share.pass_id and f.value.name == share.path]
        brought = filled[0].came.norm if filled and filled[0].came is not None else None
        norm = given[0].norm if given else None
        return brought / norm if brought and norm else 1.0


def _is_multiple(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether one is the other times a number."""
    size = sum(x * x for x in b)
    if len(a) != len(b) or not size or not any(a):
        return False
    factor = sum(x * y for x, y in zip(a, b)) / size
    largest = max(map(abs, a))
    return all(abs(x - factor * y) <= 1e-4 * largest for x, y in zip(a, b))


@dataclass(frozen=True, eq=False)
class Segment:
    """From one optimizer's step, or the beginning, to the next, or the end; `steps`: whether it ends with one."""

    first: int  # call
    last: int
    passes: list[PassBegun]
    steps: bool
