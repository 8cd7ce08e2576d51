"""Which statement of a backward is wrong: the one whose value, changed, makes the wrong gradient right.

Every value on the way from the fault to the gradient can repair it, and values before the fault often can too. So each
suspect is weighed by what the run says of it: whether its value has a meaning as it is (then it is likely right),
whether what it would have to be has one (then it is likely wrong), and whether few numbers suffice to repair many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from .. import source
from ..report import Place
from .meanings import means
from .samples import Known, Samples
from .suspect import BEGINNINGS, Suspect, operations_of
from .suspects import Search, flowing, last_value
from .trail import Change

# What counts for and against a statement, in the logarithm of its odds.
ALL_ZEROS = 3.0
MEANT = 2.0  # another value belongs there, exactly
MEANT_UP_TO_FACTOR = 0.6
BY_FACTOR = 1.2  # a constant factor is enough
NEVER_REPAIRS = -2.0
BEGINS_A_SUM = -2.0  # zeros that something is added to
HAS_MEANING = -2.0
ALIAS_OF_RIGHT = 0.3  # it only renames a value that is right: something was left out there
ALIAS_OF_OTHER = -1.0
ONLY_ARRANGES = -1.5  # no constant factor comes of that
NEEDS_MORE = -1.5  # another value repairs with fewer numbers
EXPLAINED = -1.2  # an earlier value accounts for it
LEAST = -1.2  # below this the statement that returns is likelier than any other
# what was tried at every sample
CONFIRMED = {"zero", "meaning", "missing", "factor", "transposed", "conjugated", "inverted"}


@dataclass(frozen=True)
class Culprit:
    """The statement that is wrong.

    `how`: "zero" (its value is all zeros), "meaning" (another value belongs there), "missing" (a term or a factor is),
    "factor" (a constant factor away), "transposed", "conjugated", "inverted", "value" (some other value belongs there),
    "returned" (all before is right).
    """

    statement: Place
    how: str
    suspect: Suspect | None = None
    slots: tuple[int, ...] = ()
    is_alone: bool = True  # no other statement is known whose value, changed, would do as well
    others: frozenset[Place] | None = frozenset()  # statements that could be wrong as well; None where it is not known
    scaled: frozenset[Place] = frozenset()  # statements that a constant factor would put right

    @property
    def is_sure(self) -> bool:
        """Whether it is named: what it has to be is known everywhere, or it is what is returned and nothing before it
        could be wrong. That some other value of something on the way would do as well says little."""
        if self.suspect is not None and self.suspect.begins:
            return False  # what is missing may be missing where it is added to
        if self.how in CONFIRMED:
            return self.place is not None
        is_vouched = self.others is not None and not self.others  # what it only puts together is right
        is_last = self.suspect is None or (
            self.suspect.is_final and (self.suspect.computes or is_vouched) and not self.suspect.is_shared
        )
        return is_last and self.is_alone and self.place is not None

    @property
    def is_alone_sure(self) -> bool:
        """Whether it is named, and no other statement with it."""
        return self.is_sure and not self.others

    @property
    def place(self) -> Place | None:
        """The statement; where another could be wrong as well, both, if they stand close to each other."""
        if not self.others:
            return self.statement if self.others is not None else None
        return source.together({self.statement, *self.others})

    @property
    def is_known(self) -> bool:
        """Whether what belongs in its place is a value with a meaning, in the middle of the way."""
        suspect = self.suspect
        return suspect is not None and accuses(suspect) and suspect.is_meant_exactly

    @property
    def factor(self) -> float | None:
        return self.suspect.factor if self.suspect and self.how == "factor" else None

    @property
    def meant(self) -> Known | None:
        return self.suspect.meant if self.suspect and self.how == "meaning" else None


def culprits(samples: Samples) -> list[Culprit]:
    """The wrong statement of each wrong gradient: one for all of them where one change repairs them all."""
    wrong = samples.wrong
    if not wrong or source.code_of(samples.alone.call.backward) is None:
        return []
    search = Search(samples, wrong)
    if len(wrong) > 1 and (shared := named(search, shared=True)) is not None:
        return [shared]
    each = [named(Search(samples, [i], search.until)) for i in wrong]
    return joined([c for c in each if c is not None])


def joined(found: list[Culprit]) -> list[Culprit]:
    """One for each statement, with all its gradients: a helper that is called for each of them is wrong for all."""
    by_place: dict[tuple, Culprit] = {}
    for each in found:
        before = by_place.get((each.statement, each.how))
        by_place[each.statement, each.how] = (
            each if before is None else replace(before, slots=before.slots + each.slots)
        )
    return list(by_place.values())


def named(search: Search, shared: bool = False) -> Culprit | None:
    """The statement that accounts for all that is wrong. `shared`: only one whose value repairs all of it."""
    suspects = search.suspects()
    if shared:
        suspects = [s for s in suspects if s.moved >= set(search.wrong)]
    for suspect in suspects:
        search.solve(suspect)
    suspects = [s for s in suspects if not s.is_given and (not shared or s.is_repaired or s.is_zero)]
    weighed = weights(suspects)
    best = max(range(len(suspects)), key=lambda i: (weighed[i], i), default=None)
    if best is None or (weighed[best] < LEAST and not shared and returns_what_it_computes(search)):
        return (
            None
            if shared
            else returned(search, suspects, not search.is_spent and not any(map(could_be_wrong, suspects)))
        )
    likely = suspects[best]
    others = [s for s in suspects if s.statement != likely.statement and could_be_wrong(s)]
    is_alone = not others and not search.is_spent
    word = how(search, likely)
    doubtful = in_doubt(search, suspects, likely, word)
    scaled = frozenset(s.statement for s in suspects if s.factor is not None and s.computes)
    return Culprit(likely.statement, word, likely, tuple(search.wrong), is_alone, doubtful, scaled)


def in_doubt(search: Search, suspects: list[Suspect], likely: Suspect, word: str) -> frozenset[Place] | None:
    """The other statements that could be wrong as well as the likely one; None where they are not known."""
    if word == "zero":
        return None if is_of_zeros(search, likely) else frozenset()
    if word not in CONFIRMED:
        leading = {likely.site.statement_of(level) for level in range(len(likely.site.calls))}  # by calls
        return unvouched(search, suspects, leading)
    found = equals(search, suspects, likely) if word in ("factor", "missing", "meaning") else set()
    if word == "meaning":
        before = suspects[: suspects.index(likely)]
        found |= {s.statement for s in before if is_open(search, s) or is_partial_for_another(s)}
    return None if search.is_spent else frozenset(found - {likely.statement})  # then not all were tried


def is_of_zeros(search: Search, suspect: Suspect) -> bool:
    """Whether its zeros come from a value that an earlier statement gave: they need not be wrong here."""
    ran = search.bases[0]
    names = source.names_read(suspect.statement)
    return any(_is_nothing(ran.locals.get(name)) and id(ran.locals[name]) not in ran.given for name in names)


def _is_nothing(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(value.detach().any())


def equals(search: Search, suspects: list[Suspect], likely: Suspect) -> set[Place]:
    """Statements whose value the same change would put right: a factor may be missing anywhere along a product. Where
    the likely one has no meaning as it is, and just one as it would have to be, that tells them apart."""
    if likely.meaning is None and accuses(likely) and likely.is_meant_exactly:
        return set()
    factor = likely.factor
    mend = likely.mend if factor is None else lambda k, v: v * factor
    if mend is None:
        return set()
    able = [s for s in suspects if s.computes and not s.is_alias and s.statement != likely.statement]
    able = [s for s in able if s.is_final or s.meaning is None]
    return {s.statement for s in able if search.takes(s, mend)}


def is_partial_for_another(suspect: Suspect) -> bool:
    """Whether it holds one part of a derivative where just another, or a whole gradient, would do: a term may be
    missing."""
    is_part = suspect.meaning is not None and suspect.meaning.kind == "partial"
    return is_part and suspect.is_meant_exactly and suspect.meant.kind in ("partial", "gradient")


def is_open(search: Search, suspect: Suspect) -> bool:
    """Whether it could be wrong as far as is known, where the search for other values of it may not have ended."""
    return could_be_wrong(suspect) or (search.is_spent and suspect.meaning is None and not suspect.is_alias)


def unvouched(search: Search, suspects: list[Suspect], but: set[Place]) -> frozenset[Place] | None:
    """The other statements that nothing speaks for: neither has what they compute a meaning, nor does a right gradient
    depend on it. None in a loop. That no other value of theirs would do says nothing of indices and plain numbers,
    which no other value is sought for."""
    if search.is_loop:
        return None
    base = search.bases[0]
    seen = {site.statement for site in flowing(base) if not isinstance(last_value(base, site), int | float)}
    doubtful = {s.statement for s in suspects if s.meaning is None and not s.is_given}
    for place in {source.place(search.code, line) for line in base.lines} - seen:
        does_any = operations_of(search.code, place.first, place.last) or source.is_alias(place, search.code)
        if does_any and source.goes_into(place, {*but, *doubtful}):
            doubtful.add(place)
    return frozenset(doubtful - but)


def could_be_wrong(suspect: Suspect) -> bool:
    """Whether another value of it would do, and nothing says that the one it has is right, but for a term too many. Of
    what a loop computes many times it is not known."""
    if suspect.needed is not None and suspect.needed.is_nothing:
        return False
    is_unknown = suspect.executions > 1 or isinstance(suspect.values[0], float)
    is_possible = is_unknown or (suspect.is_repaired and not suspect.is_arrangement)
    is_doubtful = suspect.meaning is None or bool(suspect.missing) or accuses(suspect)
    return is_possible and is_doubtful and not suspect.is_alias


def right_statements(samples: Samples) -> set[Place]:
    """Statements of a backward that compute a derivative, or a gradient, as it has to be: what is wrong is wrong after
    them. A value of forward is no more than what something is made of."""
    search = Search(samples, samples.wrong)
    derivatives = [m for m in search.meanings if m[0].kind in ("partial", "gradient")]
    right, others = set(), set()
    for site, notes in flowing(search.bases[0]).items():
        values = [last_value(base, site) for base in search.bases]
        is_right = len(notes) == 1 and any(means(values, m) for m in derivatives)
        (right if is_right and not search.is_returned(values[0]) else others).add(site.statement)
    return right - others


def returns_what_it_computes(search: Search) -> bool:
    """Whether the statement that returns does more than that."""
    at = search.bases[0].returned_at
    return at is not None and operations_of(search.code, at.first, at.last) > 0


def returned(search: Search, suspects: list[Suspect], is_alone: bool) -> Culprit | None:
    """The statement that returns: of a helper's, where backward only passes on what that gives."""
    ran = search.bases[0]
    made = [n for n in ran.notes for i in search.wrong if n.made is ran.returned[i] and len(n.site.calls) > 1]
    handed = [ran.handed[id(ran.returned[i])] for i in search.wrong if id(ran.returned[i]) in ran.handed]
    at = made[-1].site.statement if made else handed[0] if handed else ran.returned_at
    others = unvouched(search, suspects, {at, ran.returned_at})
    return Culprit(at, "returned", None, tuple(search.wrong), is_alone, others) if at else None


def weights(suspects: list[Suspect]) -> list[float]:
    """How likely each one is the fault, in the order in which they were computed."""
    freedoms = [s.needed.freedom for s in suspects if s.needed is not None]
    found, is_explained = [], False
    for suspect in suspects:
        found.append(weight(suspect, min(freedoms, default=0)) + EXPLAINED * is_explained)
        is_explained = is_explained or accuses(suspect)
    return found


def weight(suspect: Suspect, least: int) -> float:
    """`least`: the smallest number of independent numbers that repairs the gradient."""
    found = math.log(1 + suspect.operations)
    found += ALL_ZEROS * suspect.is_zero
    found += BY_FACTOR * (suspect.factor is not None)
    found += NEVER_REPAIRS * (not suspect.is_repaired)
    found += BEGINS_A_SUM * (suspect.note.operation in BEGINNINGS[1:] and not suspect.is_final)
    found += HAS_MEANING * (suspect.meaning is not None and not suspect.is_final)
    if accuses(suspect):
        found += MEANT if suspect.is_meant_exactly else MEANT_UP_TO_FACTOR
    found += MEANT * bool(suspect.missing)
    if suspect.is_alias:
        found += ALIAS_OF_OTHER if suspect.meaning is None else ALIAS_OF_RIGHT
    found += ONLY_ARRANGES * (suspect.factor is not None and not suspect.computes)
    found += ONLY_ARRANGES * (suspect.is_arrangement and not suspect.is_final)
    if suspect.factor is None and suspect.needed is not None and suspect.needed.freedom > least:
        found += NEEDS_MORE
    return found


def accuses(suspect: Suspect) -> bool:
    """Whether what it would have to be says that it is wrong: what is returned always has to be something, and what has
    a meaning as it is is right, whatever it has to be for what is made of it later. But what came back along one use
    may stand where all that comes back to a value belongs."""
    if suspect.meant is None or suspect.is_final or suspect.is_arrangement:
        return False
    is_part = suspect.is_meant_exactly and suspect.meant.kind == "gradient"
    is_other = suspect.is_meant_exactly and suspect.meant.kind == "value"  # of forward one value stands for another
    kind = suspect.meaning.kind if suspect.meaning is not None else ""
    return not kind or (is_part and kind == "gradient") or (is_other and kind == "value")


def how(search: Search, suspect: Suspect) -> str:
    """What repairs it, in a word."""
    if suspect.is_zero:
        return "zero"
    if suspect.factor is not None:
        return "factor"
    for word, change in shapes(suspect.values[0]):
        if search.repaired_by(suspect.site, lambda k, c=change: c):
            return word
    if suspect.missing:
        return "missing"
    return "meaning" if accuses(suspect) else "value"


def shapes(value: Any) -> list[tuple[str, Change]]:
    """The other ways round that a value can stand."""
    if not isinstance(value, torch.Tensor):
        return []
    if value.dtype == torch.bool:
        return [("inverted", lambda v: ~v)]
    found: list[tuple[str, Change]] = []
    if value.dim() >= 2 and value.shape[-1] == value.shape[-2] and value.shape[-1] > 1:
        found.append(("transposed", lambda v: v.mT.contiguous()))
    if value.is_complex():
        found.append(("conjugated", lambda v: v.conj().resolve_conj()))
    return found
