"""One backward pass of two PyTorch runs: the first entry that is given the same and passes on something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from simplegrad.locks import cached_property

from ..trace import calls as kinds
from ..trace.calls import Call, Filled, Held
from ..trace.events import Accumulated, Entry, Pass, PassBegun, PassEnded, Value, Visited
from ..trace.trace import Trace
from .forward import COMPUTES, CUTS, MOST_ALIKE, Forward, key_of
from .gaps import Given, allowed, apart, differs, given, norm_of, precision
from .pairing import paired
from .parting import EXTRA, MISSING, VALUE, Parting, place_of

CLEARS = (kinds.ZERO_GRAD, kinds.GRAD_SET)


@dataclass
class PassVisits:
    pass_: Pass
    begun: PassBegun
    visits: list[Visited]
    ended: PassEnded | None = None
    brought: dict[Value, Value] = field(default_factory=dict)  # what came to a value, before hooks of its own
    floors: dict[Value, float] = field(default_factory=dict)  # the norm below which what came may be only rounding


def passes_of(trace: Trace) -> list[PassVisits]:
    found: dict[int, PassVisits] = {}
    visits: dict[tuple, tuple] = {}
    events = trace.events
    for place, (kind, _, pass_id, _, _, *fields) in enumerate(events.rows()):  # a long run has more of them than visits
        if kind is PassBegun:
            event = events.made(place)
            found[pass_id] = PassVisits(event.pass_, event, [])
        elif kind is Visited and pass_id in found:
            event = events.made(place)
            found[pass_id].visits.append(event)
            visits[pass_id, event.entry] = event.incoming
        elif kind is Accumulated and pass_id in found:
            entry, _, value, _, total, _ = fields
            if total is not None:
                both = found[pass_id]
                both.brought[value] = total
                floor = given([(x, None) for x in visits.get((pass_id, entry), ())]).floor(value)
                both.floors[value] = max(floor, both.floors.get(value, 0.0))
        elif kind is PassEnded and pass_id in found:
            found[pass_id].ended = events.made(place)
    return list(found.values())


class SameGrad:
    """Whether what `.grad` holds is the same on both sides, beside the largest one and what was summed up for it."""

    def __init__(self, left: PassVisits, right: PassVisits, rows: Sequence[Filled], eps: float):
        self.left, self.right, self.eps = left, right, eps
        self.largest = max((row.after or 0.0 for row in rows), default=0.0)

    def says(self, x: float, y: float, mine: Value, other: Value) -> bool:
        floor = max(self.left.floors.get(mine, 0.0), self.right.floors.get(other, 0.0), self.largest / 100)
        return abs(x - y) <= allowed(max(self.eps, precision(mine, other))) * max(x, y, floor)


class Backward:
    """One pass of both runs. An entry that is given the same and passes on something else is where they part."""

    def __init__(self, number: int, left: PassVisits, right: PassVisits, forward: Forward):
        self.number, self.left, self.right, self.forward = number, left, right, forward
        self.where = f"backward pass {number}"
        self.pairs = paired(*[[_visit_key(visit) for visit in side.visits] for side in (left, right)])

    def parting(self) -> Parting | None:
        if other_seed(self.left.pass_, self.right.pass_):
            return self.begun_otherwise()
        agreed = True
        for i, j in self.pairs:
            a, b = self.left.visits[i], self.right.visits[j]
            came = list(zip(a.incoming, b.incoming))
            rounded = given(came, self.eps)
            if differs(came, replace(rounded, came=0.0)):  # it came in: an entry before it passed on something else
                if self.is_replaced(a, b, rounded):
                    return self.made(VALUE, a, b, self.by_a_hook(b), self.hook_of(b))
                agreed = agreed and self.in_other_order(a, b)
                continue
            if self.hands_on_another(a, b, rounded) and not self.in_other_order(a, b):
                return self.told(a, b)
        return self.other_leaf() if agreed else self.unpaired()

    def begun_otherwise(self) -> Parting:
        """With another gradient of the loss itself."""
        norms = [norm_of(side.pass_.seed) for side in (self.left, self.right)]
        first = next((visit for visit in self.right.visits if visit.entry), None)
        return Parting(
            self.where,
            first.entry.operator.removesuffix("Backward0") if first else "",
            first.entry.group if first else "",
            VALUE,
            place_of(self.left.begun.source),
            place_of(self.right.begun.source),
            f"Backward pass {self.number}: it begins with another gradient of {self.right.pass_.loss.name}: "
            f"norm {norms[1]:.6g} instead of {norms[0]:.6g}.",
            left_step=self.left.begun.index,
            right_step=self.right.begun.index,
            since=self.right.begun.index,
        )

    def told_pairs(self) -> dict[tuple[int, int], bool]:
        """Visits of both passes that are partners -> whether what they hand on differs."""
        visits = [(self.left.visits[i], self.right.visits[j]) for i, j in self.pairs]
        return {(a.index, b.index): any(map(self.differs, a.outgoing, b.outgoing)) for a, b in visits}

    @cached_property
    def eps(self) -> float:
        """The precision that the losses of both were computed in, and so all that comes back from them."""
        return self.forward.eps(self.left.pass_.loss, self.right.pass_.loss)

    def is_replaced(self, a: Visited, b: Visited, rounded: Given) -> bool:
        """Whether the same came to what differs: then a hook of the tensor's own stands between."""
        ends = zip(a.entry.outputs, b.entry.outputs, a.incoming, b.incoming)
        pairs = [(self.left.brought.get(x), self.right.brought.get(y)) for x, y, g, h in ends if self.differs(g, h)]
        return bool(pairs) and all(map(all, pairs)) and not differs(pairs, replace(rounded, came=0.0))

    def differs(self, x: Value | None, y: Value | None) -> bool:
        return differs([(x, y)], Given(eps=self.eps))

    def by_a_hook(self, b: Visited) -> str:
        return f"a hook replaces the gradient that {b.entry.operator} is given."

    def hook_of(self, b: Visited) -> tuple[str, int] | None:
        hooks = [c for c in self.forward.right.calls if c.kind == kinds.HOOK and {*c.inputs} & {*b.entry.outputs}]
        return hooks[0].source if hooks else None

    def in_other_order(self, a: Visited, b: Visited) -> bool:
        """Whether each has its equal elsewhere in the other pass: independent entries, walked in another order."""

        return self.is_in(a, self.right, b) and self.is_in(b, self.left, a)

    def is_in(self, visit: Visited, there: PassVisits, other: Visited | None = None) -> bool:
        """Whether the other pass has its equal, in another place."""
        alike = (v for v in there.visits if v is not other and _visit_key(v) == _visit_key(visit))
        return any(self.are_equal(visit, mate) for mate in islice(alike, MOST_ALIKE))

    def are_equal(self, a: Visited, b: Visited) -> bool:
        if len(a.incoming) != len(b.incoming) or len(a.outgoing) != len(b.outgoing):
            return False
        pairs = [*zip(a.incoming, b.incoming), *zip(a.outgoing, b.outgoing)]
        return not differs(pairs, Given(eps=self.eps))

    def other_leaf(self) -> Parting | None:
        """Every entry passes on the same, and yet a `.grad` ends up as another one: a hook of the leaf's own did it."""
        sides = [
            {row.value.name: row for row in trace.filled if row.pass_id == side.pass_.id}
            for trace, side in ((self.forward.left, self.left), (self.forward.right, self.right))
        ]
        same = SameGrad(self.left, self.right, list(sides[0].values()), self.eps)
        for name, row in sides[1].items():
            mate = sides[0].get(name)
            if mate is None or mate.after is None or row.after is None:
                continue
            if (mate.before or 0.0) != (row.before or 0.0):
                cleared = self.cleared_alone(mate, row)
                if cleared is not None:
                    return cleared
                continue
            if not same.says(mate.after, row.after, mate.value, row.value):
                hook = next(
                    (c for c in self.forward.right.calls if c.kind == kinds.HOOK and row.value in c.inputs), None
                )
                held = next((each for each in self.forward.right.held if each.value is row.value), None)
                hooks = [hook.source] if hook else held.hooks if held is not None else ()
                at = place_of(hooks[-1] if hooks else self.right.begun.source)
                module = held.path.rpartition(".")[0] if held is not None else ""
                sentence = f"every entry passes on the same gradient, but .grad of {name} ends up different"
                sentence += f": norm {row.after:.6g} instead of {mate.after:.6g}."
                left = place_of(self.left.begun.source)
                return Parting(
                    self.where, "AccumulateGrad", module, VALUE, left, at, f"Backward pass {self.number}: {sentence}"
                )
        return None

    def cleared_alone(self, mate: Filled, row: Filled) -> Parting | None:
        """One run cleared a `.grad` before this pass, and the other one adds to what it held."""
        clears = [
            [c for c in calls if x in c.leaves and c.event <= side.begun.index]
            for calls, side, x in zip(self.clears, (self.left, self.right), (mate.value, row.value))
        ]
        if len(clears[0]) == len(clears[1]):
            return None
        how = MISSING if len(clears[0]) > len(clears[1]) else EXTRA
        call = clears[0 if how == MISSING else 1][-1]
        begun = (self.right if how == MISSING else self.left).begun.source
        left, right = (call.source, begun) if how == MISSING else (begun, call.source)
        adds, clears_it = ("right", "left") if how == MISSING else ("left", "right")
        sentence = (
            f"Backward pass {self.number}: on the {adds} it adds to what .grad of {row.value.name} held; on the "
            f"{clears_it} that was cleared before."
        )
        module = row.value.name.rpartition(".")[0] if len(call.leaves) == 1 else ""
        return Parting(self.where, "AccumulateGrad", module, how, place_of(left), place_of(right), sentence)

    @cached_property
    def clears(self) -> list[list[Call]]:
        return [[c for c in trace.calls if c.kind in CLEARS] for trace in (self.forward.left, self.forward.right)]

    def hands_on_another(self, a: Visited, b: Visited, rounded: Given) -> bool:
        if len(a.outgoing) != len(b.outgoing):  # an input that autograd does not follow has no place
            return True
        return differs(list(zip(a.outgoing, b.outgoing)), rounded)

    def told(self, a: Visited, b: Visited) -> Parting:
        name = b.entry.operator.removesuffix("Backward0")
        left, right = (sum(x is not None for x in visit.outgoing) for visit in (a, b))
        if right < left:
            frozen = self.frozen(a, b)
            if frozen is not None:
                sentence = f"{name} passes on no gradient for {frozen.path}, which requires none on the right."
                return self.made(MISSING, a, b, sentence, frozen.frozen_at)
            at = self.cut_at()
            sentence = f"{name} passes on {right} {_gradients(right)}, the left run {left}{self.because(at)}."
            return self.made(MISSING, a, b, sentence, at)
        if right > left:
            return self.made(EXTRA, a, b, f"{name} passes on {right} {_gradients(right)}, the left run {left}.", None)
        pairs = [(x, y) for x, y in zip(a.outgoing, b.outgoing) if self.differs(x, y)]
        norms = "".join(f": norm {norm_of(y):.6g} instead of {norm_of(x):.6g}" for x, y in pairs[:1] if _both(x, y))
        sentence = f"{name} is given the same gradient and passes on a different one{norms}."
        return self.made(VALUE, a, b, sentence, self.inside(b))

    def frozen(self, a: Visited, b: Visited) -> Held | None:
        """A parameter that the left one passes a gradient on to, and whose requires_grad is off on the right."""
        names = self.leaves(self.forward.left, a.entry) - self.leaves(self.forward.right, b.entry)
        held = [each for each in self.forward.right.held if each.path in names and not each.requires_grad]
        return held[0] if held and held[0].is_leaf else None

    def leaves(self, trace: Trace, entry: Entry) -> set[str]:
        """Names of those that it reads, a transposed one too."""
        direct = {x.name for x in entry.inputs if x.leaf}
        behind = (each for each in trace.entries[max(0, entry.id - 8) : entry.id] if {*each.outputs} & {*entry.inputs})
        return direct | {each.inputs[0].name for each in behind if len(each.inputs) == 1 and each.inputs[0].leaf}

    def unpaired(self) -> Parting | None:
        """What differs came in from entries that have no partner."""
        done = {j for _, j in self.pairs}
        others = {i for i, _ in self.pairs}
        left = next(
            (v for i, v in enumerate(self.left.visits) if i not in others and not self.is_in(v, self.right)), None
        )
        right = next(
            (v for j, v in enumerate(self.right.visits) if j not in done and not self.is_in(v, self.left)), None
        )
        if left is None and right is None:
            return None
        a, b = left or right, right or left
        how = VALUE if left and right else MISSING if left else EXTRA
        at = self.cut_at() if how == MISSING else self.inside(b) if how == VALUE and b.entry.aggregate else None
        name = b.entry.operator.removesuffix("Backward0")
        found = self.made(how, a, b, f"from {name} on, the gradients differ.", at)
        if how == MISSING and at is None:  # the right has no such entry: its line is where the entry would stand
            return replace(found, right_place=place_of(self.line_beside(0, a)))
        return replace(found, left_place=place_of(self.line_beside(1, b))) if how == EXTRA else found

    def line_beside(self, side: int, visit: Visited) -> tuple[str, int] | None:
        """Of a visit of one side: the line on the other side of what stands before it in both passes; of what begins
        the pass, that of the pass."""
        both = (self.left, self.right)
        place = both[side].visits.index(visit)
        before = [pair[1 - side] for pair in self.pairs if pair[side] < place]
        if not before:
            return both[1 - side].begun.source
        trace = (self.forward.right, self.forward.left)[side]
        return _line(trace, both[1 - side].visits[before[-1]].entry)

    def cut_at(self) -> tuple[str, int] | None:
        """The line that took a value out of the graph: the first call that autograd follows on the left alone; a
        gradient of an earlier pass that was computed without a graph points to that pass."""
        call = self.forward.cut()
        if call is None or call.name in CUTS:
            return call and call.source
        made = self.forward.made[1]
        for event in self.forward.right.events:
            if isinstance(event, PassEnded) and any(_is_one_of(x, event.results) for x in call.inputs if x not in made):
                begun = (e for e in self.forward.right.events if isinstance(e, PassBegun) and e.pass_ is event.pass_)
                return next(begun).source
        return call.source

    def because(self, at: tuple[str, int] | None) -> str:
        return "" if at is None else f": line {at[1]} takes it out of the graph"

    def inside(self, b: Visited) -> tuple[str, int] | None:
        """Of a custom Function: the first line of its backward that computes something else; where it leaves out what
        the left one computes, its last."""
        sides = [
            [c for c in trace.calls if c.within == "backward" and c.pass_id == side.pass_.id and c.kind in COMPUTES]
            for trace, side in ((self.forward.left, self.left), (self.forward.right, self.right))
        ]
        pairs = paired(*[[key_of(c) for c in calls] for calls in sides])
        done = -1
        for i, j in pairs:
            x, y = sides[0][i], sides[1][j]
            if j > done + 1:
                return sides[1][done + 1].source
            if differs(list(zip(x.outputs, y.outputs))):
                return y.source
            done = j
        if done + 1 < len(sides[1]):
            return sides[1][done + 1].source
        last = [c for c in sides[1] if c.event <= b.index] if b.entry.aggregate else []
        return last[-1].source if last else b.entry.returns_at

    def made(self, how: str, a: Visited, b: Visited, sentence: str, at: tuple[str, int] | None) -> Parting:
        return Parting(
            self.where,
            b.entry.operator.removesuffix("Backward0"),
            b.entry.group,
            how,
            place_of(_line(self.forward.left, a.entry)),
            place_of(at or _line(self.forward.right, b.entry)),
            f"Backward pass {self.number}: {sentence}",
            left_step=a.index,
            right_step=b.index,
        )


def other_seed(left: Pass, right: Pass) -> bool:
    """Whether two passes of the same loss begin with other gradients of it."""
    seeds = left.seed, right.seed
    if None in seeds or seeds[0].shape != seeds[1].shape or None in map(norm_of, seeds):
        return False
    return differs([(left.loss, right.loss)]) is False and differs([seeds])


def _visit_key(visit: Visited) -> tuple:
    return visit.entry.operator, visit.entry.group


def _is_one_of(value: Value, results: Sequence[Value | None]) -> bool:
    """A gradient that was computed without a graph is a new tensor to whoever reads it: known by its numbers."""
    return any(y is not None and y.shape == value.shape and apart(value, y) == 0.0 for y in results)


def _gradients(count: int) -> str:
    return "gradient" if count == 1 else "gradients"


def _both(x: Value | None, y: Value | None) -> bool:
    return x is not None and y is not None and norm_of(x) is not None and norm_of(y) is not None


def _line(trace: Trace, entry: Entry) -> tuple[str, int] | None:
    """The line of the operation that an entry is of; of what a pass recorded, that of the forward entry."""
    while entry.source is None and entry.made_by is not None:
        entry = trace.entries[entry.made_by]
    return entry.source


def one_pass_more(runs: list[list[PassVisits]], number: int, is_left: bool) -> Parting:
    """`number`: of the pass that one of them has more, from 0."""
    how, side = (MISSING, "left") if is_left else (EXTRA, "right")
    more = runs[0 if is_left else 1][number]
    place = place_of(more.begun.source)
    sentence = f"Backward pass {number + 1} runs on the {side} only."
    return Parting(f"backward pass {number + 1}", "", "", how, place, place, sentence)
