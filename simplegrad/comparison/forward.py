"""The forward part of two PyTorch runs: operations in pairs, and the first whose result is another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest

from torch import nn

from simplegrad.locks import cached_property

from ..trace import calls as kinds
from ..trace.calls import Call
from ..trace.events import Entry, PassBegun, Recorded, Source, Value
from ..trace.trace import Trace
from .acts import otherwise
from .coarse import coarseness
from .gaps import Given, apart, differs, given, norm_of
from .pairing import paired, slid
from .parting import EXTRA, FORWARD, INPUT, MISSING, VALUE, Parting, in_module, norms, parting_of, place_of, shown

COMPUTES = (kinds.OPERATION, kinds.IN_PLACE, kinds.FUNCTION, kinds.NEW_LEAF)
CUTS = ("detach", "detach_", "data")
SHAPES = ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "clone", "expand")
MOST_ALIKE = 64  # operations of one name in one module that are looked through


class Forward:
    """The operations of both runs that no pass computed, paired."""

    def __init__(self, left: Trace, right: Trace):
        self.left, self.right = left, right
        self.calls = [[c for c in trace.calls if computes(c)] for trace in (left, right)]
        keys = [[key_of(c) for c in calls] for calls in self.calls]
        self.pairs = slid(paired(*keys), *keys, self.likeness)
        self.sure: list[set[Call]] = [set(), set()]  # those that agree for sure, as far as `parting` has come
        self.made = [{y: call for call in calls for y in call.outputs} for calls in self.calls]

    def likeness(self, i: int, j: int) -> int:
        """How much the calls at two places look like the same one."""
        a, b = self.calls[0][i], self.calls[1][j]
        return (a.source == b.source) + (a.numbers == b.numbers) + (len(a.inputs) == len(b.inputs))

    def parting(self) -> Parting | None:
        """The first pair whose results differ, or what without a partner stands before it."""
        agreed = (-1, -1)
        for i, j in self.pairs:
            a, b = self.calls[0][i], self.calls[1][j]
            if self.is_other(a, b) and not self.in_other_order(a, b):
                return self.told(a, b, self.calls[0][agreed[0] + 1 : i], self.calls[1][agreed[1] + 1 : j])
            if self.agrees_for_sure(a, b):
                agreed = (i, j)
                self.sure[0].add(a), self.sure[1].add(b)
        return None

    def in_other_order(self, a: Call, b: Call) -> bool:
        """Whether each has its equal elsewhere in the other run: independent operations in another order."""
        return all(
            any(
                mate is not other and not self.is_other(*pair(mate))
                for mate in self.alike[side].get(key_of(call), ())[:MOST_ALIKE]
            )
            for side, call, other, pair in ((1, a, b, lambda mate: (a, mate)), (0, b, a, lambda mate: (mate, b)))
        )

    @cached_property
    def alike(self) -> list[dict[tuple, list[Call]]]:
        """By name and module, on each side."""
        found: list[dict[tuple, list[Call]]] = [{}, {}]
        for side, calls in enumerate(self.calls):
            for call in calls:
                found[side].setdefault(key_of(call), []).append(call)
        return found

    def other_loss(self, x: Value, y: Value) -> Parting | None:
        """Where a pass begins at another number though all pairs agree: what made it has no partner."""
        x, y = self.unscaled(x, 0), self.unscaled(y, 1)
        a, b = self.made[0].get(x), self.made[1].get(y)
        if a is None or b is None or not (x.shape != y.shape or differs([(x, y)], self.made_in(x, y))):
            return None
        return self.told(a, b, *self.since_agreed(a, b))

    def unscaled(self, loss: Value, side: int) -> Value:
        """As it was before a GradScaler scaled it."""
        return self.scaled[side].get(loss, loss)

    @cached_property
    def scaled(self) -> list[dict[Value, Value]]:
        """What a GradScaler made, and of what."""
        return [
            {output: call.inputs[0] for call in trace.calls if call.kind == kinds.SCALE for output in call.outputs}
            for trace in (self.left, self.right)
        ]

    def since_agreed(self, a: Call, b: Call) -> list[list[Call]]:
        """What stands between the last pair that agrees for sure and these two."""
        found = []
        for side, call in enumerate((a, b)):
            before = [each for each in self.calls[side] if each.id < call.id]
            last = max((n for n, each in enumerate(before) if each in self.sure[side]), default=-1)
            found.append(before[last + 1 :])
        return found

    def is_other(self, a: Call, b: Call) -> bool:
        if len(a.outputs) != len(b.outputs):
            return True
        if any(x.shape != y.shape for x, y in zip(a.outputs, b.outputs)):
            return True
        operands = zip_longest(a.inputs, b.inputs)
        return differs(list(zip(a.outputs, b.outputs)), given(operands, self.eps(a.outputs[0], b.outputs[0])))

    def eps(self, x: Value, y: Value) -> float:
        """The precision that both were computed in: the finer one, so that a cast on one side alone excuses nothing."""
        return min(self.coarse[0].get(x, 0.0), self.coarse[1].get(y, 0.0))

    @cached_property
    def coarse(self) -> list[dict[Value, float]]:
        return [coarseness(self.left), coarseness(self.right)]

    def agrees_for_sure(self, a: Call, b: Call) -> bool:
        """With numbers of one dtype on both sides, and the same ones coming in: only then what stands before it is
        cleared. A norm alone may agree by chance, or always, as that of a layer norm's result."""
        known = all(x.dtype == y.dtype and apart(x, y) is not None for x, y in zip(a.outputs, b.outputs))
        return known and not any(differs([pair], self.made_in(*pair)) for pair in self.operands(a, b))

    def made_in(self, x: Value, y: Value) -> Given:
        return Given(eps=self.eps(x, y))

    def operands(self, a: Call, b: Call) -> list[tuple[Value, Value]]:
        return [(x, y) for x, y in zip(a.inputs, b.inputs) if x.shape == y.shape]

    def told(self, a: Call, b: Call, left: list[Call], right: list[Call]) -> Parting:
        """`left`, `right`: what stands between the last pair that agrees and this one, on either side."""
        writes = [call.kind == kinds.IN_PLACE for call in (a, b)]
        if writes[0] != writes[1] and a.outputs[0].shape != b.outputs[0].shape:  # a pair by their name alone
            return self.alone(MISSING, a, b) if writes[0] else self.alone(EXTRA, b, a)
        mode = self.other_mode(a, b)
        if mode:
            return self.made_of(VALUE, a, b, mode, self.mode_set(b))
        parameter = self.other_parameter(a, b)
        if parameter is not None:
            what = (
                f"{self.called(parameter)} differs on the right before anything is computed{self.as_others(parameter)}"
            )
            return self.made_of(INPUT, a, b, what, self.set_at(parameter))
        partners = {(self.calls[0][i], self.calls[1][j]) for i, j in self.pairs}
        paired_left, paired_right = {x for x, _ in partners}, {y for _, y in partners}
        only_left = [c for c in self.behind(a, 0) if c not in paired_left]
        only_right = [c for c in self.behind(b, 1) if c not in paired_right]
        only_left, only_right = self.more_of(only_left, 0), self.more_of(only_right, 1)
        if a.entries and b.entries:
            only_left, only_right = self.less_constants(only_left, 0), self.less_constants(only_right, 1)
        if only_left and not only_right:
            return self.alone(MISSING, only_left[0], self.stand_in(only_left[0], b, right, 0))
        if only_right and not only_left:
            return self.alone(EXTRA, only_right[0], self.stand_in(only_right[0], a, left, 1))
        if only_left and only_right:
            return self.made_of(VALUE, only_left[0], only_right[0], "is computed in another way, with another result")
        step = self.moved_by(a, b)
        if step is not None:
            what = "reads a parameter that the previous optimizer step moved differently, and gives a different result"
            return self.done_to_parameter(a, b) or self.made_of(VALUE, a, b, what, step.source)
        written = self.done_to_parameter(a, b) or self.written_between(a, b)
        if written is not None:
            return written
        otherwise = self.told_otherwise(a, b)
        if otherwise is not None:
            what = "is called with other numbers, which the norm of its result does not show; the next result shows it"
            return self.made_of(VALUE, *otherwise, what)
        source = self.other_number(a, b)
        little = None if source else self.done_to_any(a, b)
        return little or self.made_of(VALUE, a, b, "gives a different result", source and source.source)

    def more_of(self, calls: list[Call], side: int) -> list[Call]:
        """Without those of which the other run has as many: they have no partner only since pairs stand in order."""
        mine, its = self.alike[side], self.alike[1 - side]
        return [c for c in calls if len(mine.get(key_of(c), ())) != len(its.get(key_of(c), ()))]

    def less_constants(self, calls: list[Call], side: int) -> list[Call]:
        """Without those that compute from no parameter and no data: a mask that an operation behind them reads."""
        constant: set[Call] = set()
        for call in calls:
            makers = [self.made[side].get(x) for x in call.inputs]
            if not call.entries and not call.followed and all(made in constant for made in makers):
                constant.add(call)
        return [call for call in calls if call not in constant]

    def behind(self, call: Call, side: int) -> list[Call]:
        """What leads to a call, and itself, in order: as far back as nothing on the way agrees for sure."""
        found, todo = {call}, [*call.inputs, *call.outputs]
        while todo:
            made = self.made[side].get(todo.pop())
            if made is not None and made not in found and made not in self.sure[side]:
                found.add(made)
                todo.extend(made.inputs)
        return sorted(found, key=lambda each: each.id)

    def stand_in(self, alone: Call, behind: Call, between: list[Call], side: int) -> Call:
        """Where on the other side it would stand: what reads its result there, if that is called in the same module;
        else the call before it in that, else the one behind. `side`: of the call that stands alone."""
        reader = self.reader(alone, side)
        if reader is not None and self.caller(reader, 1 - side) == self.caller(alone, side):
            return reader
        same = [c for c in between if c.module == alone.module]
        if same:
            return same[-1]
        calls = self.calls[1 - side]
        place = calls.index(behind)
        before = [c for c in calls[max(0, place - 40) : place] if c.module == alone.module]
        return before[-1] if before and behind.module != alone.module else behind

    def reader(self, call: Call, side: int) -> Call | None:
        """The partner of the first that reads what a call gives, by way of others that have none."""
        mates = {each: mate for pair in self.partner.items() for mate, each in (pair if side == 0 else pair[::-1],)}
        calls, known = self.calls[side], {*call.outputs}
        for each in calls[calls.index(call) + 1 :]:
            if known & {*each.inputs}:
                if each in mates:
                    return mates[each]
                known |= {*each.outputs}
        return None

    def caller(self, call: Call, side: int) -> str:
        """The innermost module around a call that a person wrote: a layer of torch's is used by the one around it."""
        path = call.module
        while path and hasattr(nn, self.classes[side].get(path, "")):
            path = path.rpartition(".")[0]
        return path

    @cached_property
    def classes(self) -> list[dict[str, str]]:
        """path -> name of the class, of the modules that ran"""
        return [{c.module: c.name for c in t.calls if c.kind == kinds.MODULE} for t in (self.left, self.right)]

    def other_parameter(self, a: Call, b: Call) -> Value | None:
        """A leaf of both runs that has other numbers; it was changed before, or made otherwise."""
        for x, y in zip(a.inputs, b.inputs):
            is_given = x not in self.made[0] and y not in self.made[1] and x.leaf and y.leaf
            if is_given and x.shape == y.shape and differs([(x, y)]):
                return y
        return None

    def moved_by(self, a: Call, b: Call) -> Call | None:
        """The last step of an optimizer that moved what the right reads, where all else that comes in is the same."""
        if any(differs([pair], self.made_in(*pair)) for pair in zip(a.inputs, b.inputs) if not pair[1].leaf):
            return None
        steps = (c for c in self.right.calls[: b.id] if c.kind == kinds.STEP and {*c.leaves} & {*b.inputs})
        return max(steps, key=lambda call: call.id, default=None)

    def done_to_parameter(self, a: Call, b: Call) -> Parting | None:
        """Of a parameter that both read, and that the runs have changed: what one of them did to it and the other did
        not, or otherwise."""
        for x, y in self.parameters_of(a, b):
            found = otherwise((self.left, self.right), x, y, (a, b))
            if found is not None:
                how = VALUE if found.left and found.right else MISSING if found.left else EXTRA
                what = f"reads {y.name}, which {found.said}; its result is another one"
                parted = self.made_of(how, a, b, what, found.source)
                return replace(parted, left_place=place_of(found.left.source)) if found.left else parted
        return None

    def done_to_any(self, a: Call, b: Call) -> Parting | None:
        """An act on any parameter, where steps were so small that rounding hides who reads it first."""
        moved = [c for c in self.right.calls[: b.id] if c.kind == kinds.STEP]
        leaves = {x.name: x for c in self.left.calls[: a.id] if c.kind == kinds.STEP for x in c.leaves}
        for y in moved[0].leaves[:8] if moved else ():
            x = leaves.get(y.name)
            found = otherwise((self.left, self.right), x, y, (a, b)) if x is not None else None
            if found is not None:
                how = VALUE if found.left and found.right else MISSING if found.left else EXTRA
                what = f"is the first whose result shows that {y.name} {found.said}"
                return self.made_of(how, a, b, what, found.source)
        return None

    def parameters_of(self, a: Call, b: Call) -> Iterator[tuple[Value, Value]]:
        """Leaves of one name that both read, also through what reads nothing else that differs."""
        todo, seen = list(zip(a.inputs, b.inputs)), set()
        while todo and len(seen) < MOST_ALIKE:
            x, y = todo.pop(0)
            if x.leaf and y.leaf and x.name == y.name:
                yield x, y
            one, other = self.made[0].get(x), self.made[1].get(y)
            if one is not None and other is not None and one not in seen and self.is_other(one, other):
                seen.add(one)
                todo += zip(one.inputs, other.inputs)

    def other_mode(self, a: Call, b: Call) -> str:
        """Where a module evaluates in one run and trains in the other, and computes otherwise for that."""
        if a.module != b.module or not any(word in a.name for word in ("batch_norm", "instance_norm", "dropout")):
            return ""
        modes = []
        for trace, call in ((self.left, a), (self.right, b)):
            marks = (c for c in reversed(trace.calls[: call.id]) if c.kind == kinds.MODULE and c.module == call.module)
            modes.append("eval" if "eval" in getattr(next(marks, None), "note", "") else "train")
        return f"runs in {modes[1]} mode on the right, in {modes[0]} mode on the left" if modes[0] != modes[1] else ""

    def mode_set(self, b: Call) -> Source | None:
        """The line that set it, if that was seen."""
        marks = [
            c for c in self.right.calls[: b.id] if c.kind == kinds.MODE and f"{b.module}.".startswith(f"{c.module}.")
        ]
        marks += [c for c in self.right.calls[: b.id] if c.kind == kinds.MODE and not c.module]
        return max(marks, key=lambda call: call.id).source if marks else None

    def called(self, leaf: Value) -> str:
        return "a tensor that it is given" if leaf.name[:1] == "v" and leaf.name[1:].isdigit() else leaf.name

    def as_others(self, leaf: Value) -> str:
        """Whether most of what is read before the first pass differs, which is what another seed makes."""
        firsts = [next((e.index for e in t.events.of(PassBegun)), len(t.events)) for t in (self.left, self.right)]
        read: dict[Value, Value] = {}
        for b, a in self.partner.items():
            if a.event <= firsts[0] and b.event <= firsts[1]:
                read |= {y: x for x, y in self.operands(a, b) if x.leaf and y.leaf and apart(x, y) is not None}
        others = sum(differs([(x, y)]) for y, x in read.items() if y is not leaf)
        if others < 3 or 2 * others < len(read):
            return ""
        return f", as do {others} others of {len(read)} tensors that are read: another seed makes them so"

    def written_between(self, a: Call, b: Call) -> Parting | None:
        """A change in place that one run alone makes to the memory of what both read."""
        partners = ({x for x in self.partner.values()}, {*self.partner})
        for side, read in enumerate((a, b)):
            calls = self.calls[side]
            for call in reversed(calls[: calls.index(read)]):
                if call.kind == kinds.IN_PLACE and call not in partners[side] and {*call.aliases} & {*read.inputs}:
                    how, other = (MISSING, b) if side == 0 else (EXTRA, a)
                    return self.alone(how, call, other)
        return None

    def set_at(self, parameter: Value) -> Source | None:
        """The line that gave a parameter of the right its numbers."""
        return next((held.set_at for held in self.right.held if held.value is parameter), None)

    def other_number(self, a: Call, b: Call) -> Call | None:
        """Of an input whose numbers were not kept (a mask), or are infinite on both sides: the call behind it that was
        given other arguments."""
        todo, seen = list(zip(a.inputs, b.inputs)), set()
        while todo and len(seen) < MOST_ALIKE:
            x, y = todo.pop(0)
            made_a, made_b = self.made[0].get(x), self.made[1].get(y)
            is_open = apart(x, y) is None or bool(x.nonfinite and y.nonfinite) or x.shape != y.shape
            if not is_open or made_a is None or made_b is None or made_a in seen:
                continue
            if key_of(made_a) == key_of(made_b) and made_a.numbers != made_b.numbers:
                return made_b
            seen.add(made_a)
            todo += zip(made_a.inputs, made_b.inputs)
        return None

    def told_otherwise(self, a: Call, b: Call) -> tuple[Call, Call] | None:
        """The nearest calls behind both that were called with other numbers: a roll, a sign, or the groups of a
        normalisation are not to be seen in a norm. None where the two may themselves be what differs."""
        if a.kind == kinds.FUNCTION or a.name != b.name or _is_told_otherwise(a, b) or "dropout" in a.name:
            return None
        todo, seen = self.operands(a, b), set()
        while todo and len(seen) < MOST_ALIKE:
            x, y = todo.pop(0)
            one, other = self.made[0].get(x), self.made[1].get(y)
            if one is None or other is None or one in seen or key_of(one) != key_of(other) or norm_of(x) is None:
                continue
            if x.tensor is not None and y.tensor is not None:
                continue  # its numbers were compared
            if one.name not in SHAPES and _is_told_otherwise(one, other):
                return one, other
            seen.add(one)
            todo += self.operands(one, other)
        return None

    def alone(self, how: str, call: Call, other: Call) -> Parting:
        side = "left" if how == MISSING else "right"
        left, right = (call, other) if how == MISSING else (other, call)
        what = f"{shown(call)} runs on the {side} only"
        sentence = f"{in_module(call)}, {what}, and what follows differs."
        return parting_of(FORWARD, how, call, left, right, sentence, steps=self.steps_of(left, right))

    def made_of(self, how: str, a: Call, b: Call, what: str, place: Source | None = None) -> Parting:
        sentence = f"{in_module(b)}, {what}." if how == INPUT else f"{in_module(b)}, {shown(b)} {what}: {norms(a, b)}."
        return parting_of(FORWARD, how, b, a, b, sentence, place, self.steps_of(a, b))

    def steps_of(self, left: Call, right: Call) -> tuple[int, int]:
        return self.step_of(0, left), self.step_of(1, right)

    def told_pairs(self) -> dict[tuple[int, int], bool]:
        """Events that tell of both calls of a pair -> whether the results differ."""
        calls = [(self.calls[0][i], self.calls[1][j]) for i, j in self.pairs]
        steps = {pair: (self.step_of(0, pair[0]), self.step_of(1, pair[1])) for pair in calls if all(map(_told, pair))}
        return {step: self.is_other(*pair) for pair, step in steps.items()}

    def step_of(self, side: int, call: Call) -> int:
        """The event at which a call is seen: what it recorded; of what autograd did not follow, the next one."""
        return self.recorded[side].get(call.entries[-1], call.event) if call.entries else call.event

    @cached_property
    def recorded(self) -> list[dict[Entry, int]]:
        return [
            {event.entry: event.index for event in trace.events if isinstance(event, Recorded)}
            for trace in (self.left, self.right)
        ]

    @cached_property
    def partner(self) -> dict[Call, Call]:
        """call of the right -> of the left"""
        return {self.calls[1][j]: self.calls[0][i] for i, j in self.pairs}

    def cut(self) -> Call | None:
        """The first call of the right that autograd no longer follows where it does on the left: there a gradient is
        cut. Of one without a partner it is asked whether what it was given was followed."""
        followed = {y for call in self.calls[1] if call.followed for y in call.outputs}
        for call in self.calls[1]:
            mate = self.partner.get(call)
            lost = mate.followed if mate is not None else any(x in followed for x in call.inputs)
            if lost and not call.followed and any(norm_of(y) is not None for y in call.outputs):
                return self.cut_before(call) or call
        return None

    def cut_before(self, call: Call) -> Call | None:
        """Of a gradient that is detached before it is read: no call gave it, so none could be asked."""
        makers = (self.made[1].get(x) for x in call.inputs)
        return next((made for made in makers if made is not None and made.name in CUTS), None)


def _is_told_otherwise(a: Call, b: Call) -> bool:
    """Whether numbers that two calls were given differ, by more than how a dimension is counted."""
    dims = len(a.outputs[0].shape)
    pairs = zip_longest(a.numbers, b.numbers)
    return any(x != y and (None in (x, y) or {x + dims, x} & {y + dims, y} == set()) for x, y in pairs)


def _told(call: Call) -> bool:
    return bool(call.entries)


def computes(call: Call) -> bool:
    return call.kind in COMPUTES and not call.within and call.inside is None and bool(call.outputs)


def key_of(call: Call) -> tuple:
    name = call.name.strip("_")
    return call.module, _SAME.get(name, name)


_SAME = {
    "truediv": "div",
    "matmul": "mm",
    "bmm": "mm",
    "subtract": "sub",
    "multiply": "mul",
    "iadd": "add",
    "imul": "mul",
}
_SAME |= {"radd": "add", "rmul": "mul", "rsub": "sub", "pow": "pow", "rtruediv": "div", "add": "add", "isub": "sub"}
