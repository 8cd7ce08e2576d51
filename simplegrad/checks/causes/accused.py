"""A Function whose first gradients are wrong, and which of its statements is to blame for each of them.

Two searches answer: `repair`, for a small change of the text that makes the gradient right, and `culprit`, for a
statement whose value would have to be another. Where several would do, it is weighed which is likely wrong.
"""

from __future__ import annotations

import ast
from typing import Any

from ...locks import cached_property
from .. import source
from ..report import Finding, Place
from ..subjects.function import Rule
from .culprit import Culprit, culprits, right_statements
from .repair import PLAIN, Repair, repairs
from .samples import Samples
from .suspects import MOST_NOTES, Search
from .trail import Ran


class Accused:
    """A rule whose gradients are wrong at `joint`, samples with gradients for all outputs."""

    def __init__(self, rule: Rule, joint: Samples) -> None:
        self.rule, self.joint, self.alone = rule, joint, rule.alone
        self.code = source.code_of(rule.call.backward)
        self.chosen: dict[int, Repair | None] = {}  # by slot

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def names(self) -> list[str]:
        return self.rule.names

    @cached_property
    def culprits(self) -> list[Culprit]:
        return culprits(self.joint)

    def culprit_of(self, slot: int) -> Culprit | None:
        return next((c for c in self.culprits if slot in c.slots), None)

    @cached_property
    def repairs(self) -> list[Repair]:
        """Small changes of backward's text that make wrong gradients right."""
        return repairs(self.joint)

    def repair_of(self, slot: int) -> Repair | None:
        """The one of this gradient: of several statements that could be changed, in the one that is likely wrong."""
        if slot not in self.chosen:
            plain = self.plainest_of(slot)
            self.chosen[slot] = self.likeliest_of(plain, slot)
        return self.chosen[slot]

    def rivals_of(self, slot: int) -> list[Repair]:
        """Those in other statements that are as likely: a plainer one than what the numbers speak for, one of two where
        the other statement computes what only looks right, those that nothing tells apart."""
        found, plain = self.repair_of(slot), self.plainest_of(slot)
        places = {each.place for each in plain}
        if found is None or len(places) == 1:
            return []
        others = [each for each in plain if each.place != found.place]
        is_doubtful = len(places) == 2 and bool(places & self.right_statements)
        tied = [each for each in others if self.is_tied(each, found, slot)]
        plainer = [each for each in others if each.suspicion and (is_doubtful or each.rank < found.rank)]
        return list({each.place: each for each in reversed(tied or plainer[:1])}.values())[::-1]

    def is_tied(self, one: Repair, other: Repair, slot: int) -> bool:
        """Whether neither the change, nor the statement, nor the run tells the two apart."""
        if one.rank != other.rank or one.place.text.strip() in self.forward_texts:
            return False
        if not one.inserts and (one.suspicion != other.suspicion or one.place in self.right_statements):
            return False
        likely = self.culprit_of(slot)
        return likely is None or not (likely.is_alone_sure and likely.statement == other.place)

    def doubtful(self, slot: int) -> set[Place]:
        """The other statements that could be wrong as well as the one that a repair of this gradient changes: those of
        its rivals; and where it is a number, another branch, or would have to be put in, those that the run speaks for.
        """
        found, places = self.repair_of(slot), {each.place for each in self.rivals_of(slot)}
        if found is None or not (found.inserts or found.is_branch) or len(self.ran.notes) > MOST_NOTES:
            return places
        likely = self.culprit_of(slot)
        if likely is None:
            return places
        places |= likely.scaled if found.is_number else set()
        places |= {likely.statement} if likely.is_sure or found.is_branch else set()
        return {each for each in places if each.text.strip() not in self.forward_texts}

    def plainest_of(self, slot: int) -> list[Repair]:
        of_all = [each for each in self.repairs if each.slots.issuperset(self.joint.wrong)]
        return plainest(of_all or [each for each in self.repairs if slot in each.slots])

    def likeliest_of(self, found: list[Repair], slot: int) -> Repair | None:
        if len({each.place for each in found}) > 1:
            found = [each for each in found if each.place not in self.right_statements] or found
            found = [each for each in found if each.place.text.strip() not in self.forward_texts] or found
            found = likeliest(found)
        places = {each.place for each in found}
        if places & self.calling and (too_much := [each for each in found if each.after in each.before]):
            return too_much[0]  # something stands there that is not the call
        if not found or len(places) == 1 and not places & self.calling:
            return found[0] if found else None
        if len(self.ran.notes) > MOST_NOTES:  # to search in a loop takes long: the plainest
            return None if places & self.calling else found[0]
        likely = self.culprit_of(slot)
        named = [each for each in found if likely is not None and each.place == likely.statement]
        if named and (likely.is_known or likely.is_sure and places & self.calling):
            return named[0]
        if places & self.calling:
            return None
        least = [each for each in found if each.rank == found[0].rank]
        return next((each for each in named if each in least and likely.is_sure), least[0])

    @cached_property
    def right_statements(self) -> set[Place]:
        return right_statements(self.joint)

    @cached_property
    def forward_texts(self) -> set[str]:
        """Statements of forward: where backward repeats one, it computes what forward does, which is right."""
        code = source.code_of(self.rule.call.cls.forward)
        return {ast.unparse(node) for node in source.statements(code)} if code else set()

    @cached_property
    def calling(self) -> set[Place]:
        """Statements of backward that call other functions of the person's, in which it may go wrong: not in one that
        forward calls too."""
        right = Search(self.joint, self.joint.wrong).of_forward
        deep = [note.site for note in self.ran.notes if len(note.site.calls) > 1]
        return {site.statement_of(0) for site in deep if site.calls[1][0] not in right}

    def place_of(self, slot: int) -> Place | None:
        """The statement that makes the gradient of an input wrong."""
        if slot in self.joint.wrong and (repaired := self.repair_of(slot)) is not None:
            return source.together({repaired.place, *self.doubtful(slot)})
        found = self.culprit_of(slot)
        if found is None or not found.is_sure:
            return self.only_statement
        return source.emptied_after(self.code, found.statement) or found.place

    def place_taking(self, slot: int) -> Place | None:
        """Where an incoming gradient that is left out belongs: where something stands in its place; else in any of the
        statements that it could go through."""
        repaired = self.repair_of(slot)
        if repaired is not None and repaired.rank <= PLAIN:
            return repaired.place
        able = {s.statement for s in Search(self.joint, [slot]).suspects() if not s.is_given}
        last = self.handed_at(slot)
        return source.together(able | ({last} if last is not None and not source.only_passes_on(last) else set()))

    def handed_at(self, slot: int) -> Place | None:
        """The statement that returns a gradient: of a helper's, where backward only passes on what that gives."""
        gradient = self.ran.returned[slot]
        return self.ran.handed.get(id(gradient), self.returned_at) if gradient is not None else self.returned_at

    @cached_property
    def only_statement(self) -> Place | None:
        """The one that is wrong if backward is, there being no other, here or in a helper."""
        return None if self.code is None or self.calling else source.only_statement(self.code)

    @cached_property
    def ran(self) -> Ran:
        """Backward at the first sample, followed."""
        return Search(self.joint, self.joint.wrong).run(self.joint.each[0])

    @property
    def returned_at(self) -> Place | None:
        if self.code is None:
            return None
        return self.ran.returned_at or source.returned_at(self.code)

    def finding(self, code: str, sentence: str, slot: int | None = None, **more: Any) -> Finding:
        name = self.names[slot] if slot is not None else ""
        return Finding(code, sentence, **{"entry": self.name, "slot": name, "order": 1, **more})


def plainest(repairs: list[Repair]) -> list[Repair]:
    """Those of the plainest change: signs, and what else is as plain, can be put right in several places."""
    least = min((each.rank for each in repairs), default=0)
    return [each for each in repairs if each.rank <= (PLAIN if 0 <= least <= PLAIN else least)]


def likeliest(repairs: list[Repair]) -> list[Repair]:
    """Those of the statements that are likeliest wrong by what they are."""
    most = max((each.suspicion for each in repairs), default=0)
    return [each for each in repairs if each.suspicion == most]
