"""A value that backward keeps and that is changed in place afterwards: is the gradient right with its earlier value?"""

from __future__ import annotations

from typing import Any

import torch

from ..report import Finding
from ..subjects.function import Rule
from ..subjects.slots import Slot
from .samples import Sample, Samples, followed_forward
from .trail import Note


def captured(rule: Rule, samples: Samples) -> list[Finding]:
    """One finding for a kept value whose earlier value, put back, repairs every wrong gradient."""
    sample = samples.each[0]
    ran, notes = followed_forward(rule.alone, sample.values, graph=False)
    for slot in ran.slots:
        for earlier, change in changes_of(slot.value, notes):
            if repairs(rule, samples, slot, earlier):
                return [captured_finding(rule, slot, change)]
    return []


def changes_of(value: Any, notes: list[Note]) -> list[tuple[Note, Note]]:
    """(what it was, the operation that changed it in place) for each change of this very tensor, or of its memory."""
    if not isinstance(value, torch.Tensor):
        return []
    own = [n for n in notes if n.made is value or (n.in_place and shares(n.made, value))]
    return [(a, b) for a, b in zip(own, own[1:], strict=False) if b.in_place and a.value.shape == value.shape]


def shares(a: Any, b: torch.Tensor) -> bool:
    same_kind = isinstance(a, torch.Tensor) and a.layout == b.layout == torch.strided
    return same_kind and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def repairs(rule: Rule, samples: Samples, slot: Slot, earlier: Note) -> bool:
    """Whether backward is right, at every sample, when it is given the earlier value."""

    def with_earlier(sample: Sample) -> list[Any]:
        ran, notes = followed_forward(rule.alone, sample.values, graph=False)
        (value, *_) = [note.value for note in notes if note.site == earlier.site]
        rule.alone.swap(ran, [(slot.path, value)])
        return rule.alone.backward(ran, sample.incoming)

    return samples.are_right(with_earlier)


def captured_finding(rule: Rule, slot: Slot, change: Note) -> Finding:
    at = change.site.statement
    return Finding(
        "captured_value_mutated",
        f"{slot.name} is kept for backward and then changed in place at line {at.first}, `{at.text.strip()}`: backward "
        f"of {rule.name} reads the changed value. With the value that it had before, the gradients are right.",
        entry=rule.name,
        slot=slot.name,
        made_at=at,
        order=1,
        fix=f"# a sketch\n{slot.name.split('[')[0]} = value.clone()  # or change nothing in place after it was kept",
    )
