"""The values of a backward that a wrong gradient depends on, and for each of them what would make the gradient right.

A value is suspected where it moves a wrong gradient and no right one. What it would have to be is solved for in the run
(see `needed`), and held against what has a meaning: values of forward, gradients that come back to them, derivatives of
forward's operations.
"""

from __future__ import annotations

import math
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ...locks import cached_property
from .. import source
from ..measure.numbers import near, plain
from .meanings import Meaning, equal, is_alike, meanings, means
from .needed import MOST_ELEMENTS, Needed, flattened, needed
from .owner import Owner
from .samples import Known, Sample, Samples
from .suspect import BEGINNINGS, Suspect
from .trail import Change, Note, Ran, Site, Spot, copy_of, followed, tensors_in

MOST_RUNS = 3000  # changed runs of one search
MOST_NOTES = 150  # operations of a backward; one that runs more is a loop
IN_LOOPS = 60  # changed runs, of a loop
LONGEST = 12.0  # seconds of work, whatever is searched: what takes 6 alone takes 9 beside others
MOST_TRIED = 40  # values with a meaning put in one place

ADDS = ("add", "add_", "__iadd__", "__radd__", "sub", "sub_", "__setitem__")

# operations that compute nothing: where another value would do for what they give, it is wrong before them
ARRANGE = {"cat", "concat", "stack", "reshape", "view", "t", "transpose", "permute", "contiguous", "flatten", "expand"}
ARRANGE |= {"unsqueeze", "squeeze", "movedim", "swapaxes", "view_as", "reshape_as", "to", "type_as", "clone"}
ARRANGE |= {"squeeze_", "unsqueeze_", "t_", "transpose_", "__getitem__", "chunk", "split", "narrow", "select", "unbind"}
ARRANGE |= {"pad", "flip", "roll", "gather", "index_select", "take_along_dim", "expand_as", "repeat", "unfold", "="}

OTHER_MASK = "a mask of where the right gradient is not zero"

Changes = dict[Site, Change]


class Search:
    """One backward in which the gradients of the inputs `wrong` are wrong."""

    def __init__(self, samples: Samples, wrong: list[int], until: float | None = None) -> None:
        self.samples, self.wrong = samples, wrong
        self.alone = samples.alone
        self.code = source.code_of(self.alone.call.backward)
        self.owner = Owner(self.code)
        self.runs, self._until = 0, until
        self.solved = min(1, len(samples.each) - 1)  # the sample at which needed values are solved for
        self.right = [i for i in samples.slots if i not in samples.wrong and has_gradient(samples, i)]

    @cached_property
    def bases(self) -> list[Ran]:
        """Backward at each sample, followed."""
        return [self.run(sample) for sample in self.samples.each]

    @cached_property
    def until(self) -> float:
        """When it has worked for long enough."""
        return self._until or time.thread_time() + LONGEST

    @cached_property
    def is_loop(self) -> bool:
        return len(self.bases[0].notes) > MOST_NOTES

    @cached_property
    def meanings(self) -> list[Meaning]:
        return meanings(self.samples)

    @property
    def is_spent(self) -> bool:
        """Whether no more is tried: what was not seen to be wrong may be wrong all the same."""
        return self.runs > (IN_LOOPS if self.is_loop else MOST_RUNS) or time.thread_time() > self.until

    @property
    def asked(self) -> list[int]:
        """The inputs whose gradient must come out right."""
        return [*self.wrong, *self.right]

    # -- running -----------------------------------------------------------------------------------------------

    def run(self, sample: Sample, changes: Changes | None = None) -> Ran:
        ran = self.alone.forward(sample.values)
        given = {id(slot.value) for slot in ran.slots} | {id(x) for x in ran.args}
        found = followed(lambda: self.alone.backward(ran, sample.incoming), {self.code}, self.owner, changes)
        found.given = given
        return found

    def gradients(self, sample: Sample, changes: Changes) -> list[Any]:
        self.runs += 1
        if self.is_spent:
            raise TimeoutError
        return self.run(sample, changes).returned

    def vector(self, sample: Sample, site: Site, change: Change) -> torch.Tensor:
        """The gradients that must be right, as one flat vector, with a change at one site."""
        return joined(self.gradients(sample, {site: change}), sample.truth, self.asked)

    def repaired_by(self, site: Site, change_at: Callable[[int], Change]) -> bool:
        """Whether the change makes every wrong gradient right at every sample, and keeps the right ones right."""
        for k in reversed(range(len(self.samples.each))):
            sample = self.samples.each[k]
            try:
                found = self.gradients(sample, {site: change_at(k)})
            except Exception:  # a value of another kind need not fit what follows
                return False
            if not all(self.samples.right(found[i], sample, i) for i in self.asked):
                return False
        return True

    # -- suspects ----------------------------------------------------------------------------------------------

    def suspects(self) -> list[Suspect]:
        """In the order in which they were computed."""
        found, innocent = [], set()
        for site, notes in flowing(self.bases[0]).items():
            moved = self._moved_by(site)
            if any(i in moved for i in self.wrong) and not any(i in moved for i in self.right):
                found.append(self._suspect(site, notes, moved))
            elif moved and moved <= set(self.right):
                innocent.add(site.calls[-1])
        for suspect in found:
            suspect.level = self._level(suspect.site, innocent)
        return found

    def _level(self, site: Site, innocent: set[Spot]) -> int:
        """How deep in the calls it may be wrong: what forward calls as well is right, since forward is; and so is what
        another call of it made a right gradient of. Then it was given something wrong."""
        level = len(site.calls) - 1
        while level and (site.calls[level][0] in self.of_forward or site.calls[level] in innocent):
            level -= 1
        return level

    @cached_property
    def of_forward(self) -> set[types.CodeType]:
        """The functions that forward runs."""
        return {code for note in self.samples.each[0].forward for code, _ in note.site.calls} - {self.code}

    def _suspect(self, site: Site, notes: list[Note], moved: set[int]) -> Suspect:
        values = [last_value(base, site) for base in self.bases]
        suspect = Suspect(site, notes[-1], values, len(notes), moved)
        suspect.is_final = self.is_returned(values[0])
        made = id(notes[0].made)
        spots = [n.site.calls for n in self.bases[0].notes if n.site.calls[-1] == site.calls[-1]]
        suspect.is_shared = any(calls != site.calls for calls in spots)
        suspect.computes = self._computes(notes[-1]) or bool(site.name) and suspect.is_final
        suspect.begins = not suspect.is_final and suspect.is_nothing and self._is_added_to(notes[-1])
        suspect.is_given = bool(site.name) and made in self.bases[0].given and self._first_bound(made) == site
        suspect.is_alias = bool(site.name) and not suspect.is_given and self._is_known_before(made, site)
        if len(notes) == 1:
            suspect.meaning = next((m[0] for m in self.meanings if means(values, m)), None)
        return suspect

    def _computes(self, note: Note, deep: int = 6) -> bool:
        """Whether more than an arrangement comes of its statement up to it, by an operation of PyTorch or otherwise."""
        if note.operation not in ARRANGE:
            return True
        here = [n for n in self.bases[0].notes if n.operation != "=" and _together(n, note)]
        if note.operation == "=":
            makers = [n for n in here if n.made is note.made] or here
            return not makers or any(map(self._computes, makers))
        given = [x for x in tensors_in((note.args, note.kwargs)) if x is not note.made]
        makers = [n for n in here if any(n.made is x for x in given)]
        return deep > 0 and any(self._computes(n, deep - 1) for n in makers)

    def _is_added_to(self, note: Note) -> bool:
        users = (each.operation for each in self.bases[0].notes if any(note.made is x for x in each.args))
        return note.operation in BEGINNINGS or any(each in ADDS for each in users)

    def _first_bound(self, made: int) -> Site | None:
        return next((n.site for n in self.bases[0].notes if n.site.name and id(n.made) == made), None)

    def _is_known_before(self, made: int, site: Site) -> bool:
        first = next((n.site for n in self.bases[0].notes if id(n.made) == made), site)
        return first != site or made in self.bases[0].given

    def _moved_by(self, site: Site) -> set[int]:
        """The inputs whose gradient moves when what is computed at this site does."""
        sample = self.samples.each[0]
        try:
            found = self.gradients(sample, {site: stirred})
        except Exception:
            return set()
        return {i for i in self.samples.slots if not equal(found[i], sample.returned[i])}

    def is_returned(self, value: Any) -> bool:
        """Whether it is what is returned for one of the wrong gradients."""
        return any(self._is_returned(value, i) for i in self.wrong)

    def _is_returned(self, value: Any, slot: int) -> bool:
        returned = self.samples.each[0].returned[slot]
        if returned is None or not is_alike(returned, value):
            return False
        return near(value, returned.detach().reshape(value.shape), 1e-9)

    # -- what repairs a suspect --------------------------------------------------------------------------------

    def solve(self, suspect: Suspect) -> None:
        """What it would have to be; whether that has a meaning, and whether it is a constant factor away."""
        if suspect.executions == 1:
            suspect.needed = self._needed(suspect)
        c = self._factor(suspect)
        if c is not None and self.repaired_by(suspect.site, lambda k: scaled(c)):
            suspect.factor = c
        if suspect.executions == 1 and isinstance(suspect.values[0], torch.Tensor):
            if suspect.values[0].dtype == torch.bool:
                self._find_mask(suspect)
                return
            self._find_meant(suspect)
            if suspect.factor is None and not suspect.is_meant_exactly:
                self._find_missing(suspect)

    def _needed(self, suspect: Suspect) -> Needed | None:
        sample = self.samples.each[self.solved]
        truth = joined(sample.truth, sample.truth, self.asked)
        value = suspect.values[self.solved]
        try:
            # copies: backward may go on to change it in place
            found = needed(lambda v: self.vector(sample, suspect.site, lambda _: copy_of(v)), value, truth)
            return found if found is not None and self._is_steady(suspect, found) else None
        except Exception:
            return None

    def _is_steady(self, suspect: Suspect, found: Needed) -> bool:
        """What does not depend on the incoming gradient has to be the same for another one at the same point."""
        first, second = self.samples.each[0], self.samples.each[self.solved]
        there, _ = flattened(suspect.values[0])
        same_point = first is not second and all(map(torch.equal, first.values, second.values))
        if not same_point or there is None or not torch.equal(there, found.found):
            return True
        value = flattened(suspect.values[0])[1](found.value)
        gradients = self.gradients(first, {suspect.site: lambda _: copy_of(value)})
        return all(self.samples.right(gradients[i], first, i) for i in self.asked)

    def _find_meant(self, suspect: Suspect) -> None:
        """The value with a meaning that belongs there; or one that does so up to a constant factor."""
        if self.is_loop and suspect.needed is None and suspect.values[0].numel() <= MOST_ELEMENTS:
            return  # likely no value at all would do, and to try some takes long
        alike = [m for m in self.meanings if is_alike(m[0].value, suspect.values[0])]
        if not suspect.is_final:  # what is right in the end passes through a projection on the way unchanged
            alike = [m for m in alike if not self._is_truth(m)]
        if suspect.needed is None or suspect.needed.rounds > 1:
            alike = alike[:MOST_TRIED]
            found = next((m for m in alike if self._takes(suspect, m)), None)
        else:
            flats = [(m, flattened(m[self.solved].value)[0]) for m in alike]
            fitting = [m for m, flat in flats if flat is not None and suspect.needed.is_met_by(flat)]
            found = next((m for m in fitting if self._takes(suspect, m)), None)
            if found is None:
                for meaning, flat in flats:
                    c = suspect.needed.factor_of(flat) if flat is not None else None
                    if c is not None and self._takes(suspect, meaning, c):
                        suspect.meant = meaning[0]
                        return
        if found is not None:
            suspect.meant, suspect.is_meant_exactly = found[0], True
            suspect.mend = _by_ratio(suspect.values, [each.value for each in found])

    def _find_mask(self, suspect: Suspect) -> None:
        """Whether it should hold just where the right gradient is something."""
        for i in self.wrong:
            rows = [sample.truth[i] for sample in self.samples.each]
            if any(row is None or row.shape != suspect.values[0].shape for row in rows):
                continue
            masks = [plain(row.detach()) != 0 for row in rows]
            if self.repaired_by(suspect.site, lambda k, masks=masks: lambda _: masks[k]):
                suspect.meant, suspect.is_meant_exactly = Known(masks[0], "mask", OTHER_MASK), True
                return

    def _is_truth(self, meaning: Meaning) -> bool:
        """Whether it is the right gradient of an input whose gradient is wrong."""
        rows = [[sample.truth[i] for sample in self.samples.each] for i in self.wrong]
        return any(None not in row and means(row, meaning) for row in rows)

    def _find_missing(self, suspect: Suspect) -> None:
        """A value computed before it, or one with a meaning, that is missing in it as a term or as a factor."""
        needed = suspect.needed
        if needed is None or needed.rounds > 1 or needed.is_nothing:
            return  # where it had to be nothing, too much is there
        is_part = suspect.meaning is not None and suspect.meaning.kind == "gradient"  # what came back along one use
        if suspect.meaning is not None and not is_part:
            return  # it lacks nothing
        for name, values in self._others(suspect):
            other = flattened(values[self.solved].reshape(suspect.values[0].shape))[0]
            c = needed.factor_of(other, needed.value - needed.found)
            if c is not None and self._takes_joined(suspect, lambda v, x, c=c: v + c * x, values):
                suspect.missing = f"the term {name}"
            elif is_part:
                continue
            elif needed.is_met_by(needed.found * other) and self._takes_joined(suspect, torch.mul, values):
                suspect.missing = f"the factor {name}"
            elif needed.is_met_by(needed.found / other) and self._takes_joined(suspect, torch.div, values):
                suspect.missing = f"the divisor {name}"
            if suspect.missing:
                return

    def _takes_joined(self, suspect: Suspect, join: Callable, values: list[torch.Tensor]) -> bool:
        suspect.mend = lambda k, v: join(v, _shaped(values[k], v))
        return self.takes(suspect, suspect.mend)

    def takes(self, suspect: Suspect, mend: Callable[[int, Any], Any]) -> bool:
        """Whether this change of its value repairs the gradients."""
        return self.repaired_by(suspect.site, lambda k: lambda v: mend(k, v))

    def _others(self, suspect: Suspect) -> Iterator[tuple[str, list[torch.Tensor]]]:
        """What could be missing: (its name, its value at each sample)."""
        for name, rows in self._computed.items():
            if rows[0] < self._first(suspect.site) and is_alike(rows[1][0], suspect.values[0]):
                yield name, rows[1]
        for meaning in self.meanings:
            if is_alike(meaning[0].value, suspect.values[0]):
                yield meaning[0].what, [known.value for known in meaning]

    def _first(self, site: Site) -> int:
        return next((k for k, note in enumerate(self.bases[0].notes) if note.site == site), 0)

    @cached_property
    def _computed(self) -> dict[str, tuple[int, list[torch.Tensor]]]:
        """What each local name of backward holds in the end: (when it was computed, its value at each sample)."""
        found = {}
        for name, value in self.bases[0].locals.items():
            site = next((note.site for note in self.bases[0].notes if note.made is value), None)
            rows = [last_value(base, site) for base in self.bases] if site is not None else []
            if rows and all(isinstance(row, torch.Tensor) and row.is_floating_point() for row in rows):
                found[f"`{name}`"] = self._first(site), rows
        return found

    def _takes(self, suspect: Suspect, meaning: Meaning, factor: float = 1.0) -> bool:
        shape = suspect.values[0].shape
        return self.repaired_by(suspect.site, lambda k: put(factor * meaning[k].value.reshape(shape)))

    def _factor(self, suspect: Suspect) -> float | None:
        """The constant that brings the gradients to the truth."""
        if suspect.needed is not None and suspect.needed.rounds == 1:
            c = suspect.needed.factor_of(suspect.needed.found)
        else:
            sample = self.samples.each[self.solved]
            truth = joined(sample.truth, sample.truth, self.asked)
            try:
                c = solved_factor(lambda c: self.vector(sample, suspect.site, scaled(c)), truth)
            except Exception:
                return None
        is_one = c is not None and (not math.isfinite(c) or c == 0 or abs(c - 1) <= 1e-6)
        return None if is_one else c


def _by_ratio(values: list[torch.Tensor], meant: list[torch.Tensor]) -> Callable[[int, Any], Any]:
    """What makes of the values those that are meant, as factors: for other values too."""
    return lambda k, v: v * _shaped(meant[k].reshape(values[k].shape) / values[k], v)


def _shaped(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return x.reshape(like.shape) if x.numel() == like.numel() else x


def solved_factor(at: Callable[[float], torch.Tensor], truth: torch.Tensor) -> float | None:
    """The c for which `at(c)` is the truth, by secants."""
    c, now = 1.0, at(1.0)
    for _ in range(5):
        step = 0.125 * abs(c) or 0.125
        slope = (at(c + step) - now) / step
        size = float(slope @ slope)
        if size == 0:
            return None
        move = float(slope @ (truth - now)) / size
        c, now = c + move, at(c + move)
        if float((truth - now).norm()) <= 1e-8 * float(truth.norm()):
            return c
        if abs(move) <= 1e-7 * abs(c):
            return None
    return None


def flowing(ran: Ran) -> dict[Site, list[Note]]:
    """The sites whose value leaves its statement: goes into another one, is bound to a name, or is returned."""
    makers: dict[int, list[Note]] = {}
    for note in ran.notes:
        if not note.site.name:
            makers.setdefault(id(note.made), []).append(note)
    leaving = {id(x) for x in ran.returned if x is not None}
    for note in ran.notes:
        for argument in [*note.args, *note.kwargs.values()]:
            if any(not _together(maker, note) for maker in makers.get(id(argument), ())):
                leaving.add(id(argument))
    chosen: set[Site] = set()
    for note in ran.notes:
        if note.site.name:
            here = [m.site for m in makers.get(id(note.made), ()) if _together(m, note)]
            chosen.update(here or [note.site])
        elif id(note.made) in leaving or note.in_place:
            chosen.add(note.site)
    found: dict[Site, list[Note]] = {}
    for note in ran.notes:
        if note.site in chosen:
            found.setdefault(note.site, []).append(note)
    return found


def _together(a: Note, b: Note) -> bool:
    return a.site.code is b.site.code and a.site.statement == b.site.statement


def last_value(ran: Ran, site: Site) -> Any:
    return next((note.value for note in reversed(ran.notes) if note.site == site), None)


def has_gradient(samples: Samples, slot: int) -> bool:
    """Whether the true gradient of an input is anything but zero."""
    return any(s.truth[slot] is not None and bool(plain(s.truth[slot]).any()) for s in samples.each)


def joined(gradients: list[Any], like: list[Any], slots: list[int]) -> torch.Tensor:
    """Gradients of some inputs as one flat real vector; what autograd would sum to an input's shape is summed."""
    parts = []
    for i in slots:
        gradient, truth = gradients[i], like[i]
        if truth is None:
            continue
        gradient = torch.zeros_like(plain(truth)) if gradient is None else gradient.sum_to_size(truth.shape)
        parts.append(flattened(plain(gradient.to(truth.dtype)))[0])
    return torch.cat(parts)


# -- changes -----------------------------------------------------------------------------------------------------


def stirred(value: Any) -> Any:
    """Another value of the same kind."""
    if not isinstance(value, torch.Tensor):
        return value * 1.37 + 0.11
    if value.dtype == torch.bool:
        return ~value
    noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(value.device)
    size = float(value.abs().double().square().mean().sqrt()) if value.numel() else 1.0
    size = size if math.isfinite(size) and size > 0 else 1.0
    return (value + 0.4 * size * noise.to(value.dtype)).to(value.dtype)


def scaled(factor: Any) -> Change:
    return lambda value: value * factor


def put(value: torch.Tensor) -> Change:
    return lambda _: value.clone()
