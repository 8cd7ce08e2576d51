"""Elements of a gradient that nothing was written into: what `torch.empty` found in memory is what is returned."""

from __future__ import annotations

import ast
from typing import Any

import torch

from .. import source
from ..diagnosis import DIFFERENT_RUNS
from ..measure.numbers import is_floating, plain
from ..report import Finding, Place
from ..subjects.function import Rule
from .samples import samples_of
from .suspects import Search
from .trail import Note, Ran

EMPTY = {"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"}


def unwritten(rule: Rule) -> Finding | None:
    """What is returned where empty memory holds NaN: an element that is NaN then was never written."""
    joint = samples_of(rule.alone, rule.bits, ways=rule.ways) if rule.code is not None else None
    if joint is None or not joint.slots:
        return None
    search, sample = Search(joint, joint.slots), joint.each[0]
    ran = search.run(sample)
    for note in {note.site: note for note in ran.notes if note.operation in EMPTY and is_floating(note.made)}.values():
        found = search.run(sample, {note.site: _of_nan}).returned
        for i in joint.slots:
            lost = _left_empty(found[i])
            if lost:
                return _finding(rule, i, lost, found[i].numel(), note, ran)
    return None


def _of_nan(value: torch.Tensor) -> torch.Tensor:
    return torch.full_like(value, torch.nan)


def _left_empty(gradient: Any) -> int:
    return int(plain(gradient.detach()).isnan().sum()) if is_floating(gradient) else 0


def _finding(rule: Rule, slot: int, lost: int, count: int, note: Note, ran: Ran) -> Finding:
    made = note.site.statement_of(0)
    return Finding(
        "wrong_gradient",
        f"Of the gradient that backward of {rule.name} returns for {rule.names[slot]}, {lost} of {count} elements are "
        f"never written: they are what `{made.text.strip()}` found in memory, another number each time.",
        entry=rule.name,
        slot=rule.names[slot],
        made_at=made,
        read_at=_written_at(ran, note),
        order=1,
        explanation="elements that are never written",
        fix=f"{made.text.strip().replace('empty', 'zeros', 1)}  # a sketch: where zeros belong",
    )


def _written_at(ran: Ran, note: Note) -> Place | None:
    """The statements that write into it, with the loops around them: those that ran, else all; where there are none,
    the one that made it."""
    code, made = note.site.calls[0][0], note.site.statement_of(0)
    at = {n.site.statement_of(0) for n in ran.notes if n.args and n.args[0] is note.made and _writes(n)}
    at = at or {source.place(code, n.lineno) for n in source.writing(code, made)}
    loops = [n for n in source.statements(code) if isinstance(n, ast.For | ast.While)]
    around = [n for n in loops if any(n.lineno < each.first <= (n.end_lineno or 0) for each in at)]
    return source.together(at | {source.place(code, n.lineno) for n in around}) if at else made


def _writes(note: Note) -> bool:
    return note.in_place or note.operation in ("__setitem__", "copy_")


def told(rules: list[Rule], findings: list[Finding]) -> list[Finding]:
    """The findings; where a backward returns unwritten memory, that in the place of all it shows as at order 1."""
    for rule in rules:
        shown = [each for each in findings if _shows(each, rule)]
        if shown and (found := unwritten(rule)) is not None:
            findings = [found, *(each for each in findings if not any(each is one for one in shown))]
    return findings


def _shows(finding: Finding, rule: Rule) -> bool:
    """Whether numbers that nobody wrote may be why this is said."""
    if finding.kind == "unverified":
        return finding.sentence == DIFFERENT_RUNS
    is_first = finding.order == 1 or finding.code == "not_repeatable"
    return is_first and finding.entry == rule.name and not finding.is_note
