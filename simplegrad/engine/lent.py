"""Tensors that somebody else has too, and which entries read them as they are no more.

What the engine computes is its own. But leaves are made of somebody's tensors, `x.value` hands a tensor out, and a view
has the numbers of another: those can be changed behind the tape's back. torch counts how often a tensor was changed in
place. The count is remembered when an entry reads a leaf or a view, and when a result is handed out; a pass compares
(see stale.py), as torch's own does.
"""

from __future__ import annotations

from collections.abc import Sized
from weakref import ReferenceType, ref

import torch

from ..torch_private import changes, viewed
from .names import Key, Keyed


class Lent:
    """`rows`: the entries of the tape. An entry before `last_change` may have read another value than there is now."""

    def __init__(self, rows: Sized):
        self.rows = rows
        # Of each tensor that owns its memory, by identity: itself, its count, and how many entries there were when it
        # was last found changed. Views share the count.
        self.seen: dict[int, tuple[ReferenceType[torch.Tensor], int, int]] = {}
        # What a pass computed on its way that was recorded after such a change, and has not the value that it had; and
        # what was changed.
        self.late: dict[Key, str] = {}
        self.replaced: dict[Key, int] = {}  # how many there were when `x.value = …` gave a Variable another tensor

    def look_at(self, tensor: torch.Tensor) -> int:
        """Remember how often it was changed by now."""
        owner = owner_of(tensor)
        place, version = id(owner), version_of(owner)
        known = self.seen.get(place)
        if known is None or known[0]() is not owner:
            self.seen[place] = ref(owner), version, 0
        elif known[1] != version:
            self.seen[place] = known[0], version, len(self.rows)
        return version

    def remember(self, tensor: torch.Tensor, version: int) -> None:
        """That this is how often it had been changed when entries read it."""
        owner = owner_of(tensor)
        known = self.seen.get(id(owner))
        if known is None or known[0]() is not owner:
            self.seen[id(owner)] = ref(owner), version, 0

    def changes_now(self, x: Keyed | torch.Tensor) -> None:
        """What was found changed has been so for all entries up to here."""
        tensor = x if isinstance(x, torch.Tensor) else x._value
        if self.changed_before(tensor):
            owner = owner_of(tensor)
            self.seen[id(owner)] = (*self.seen[id(owner)][:2], len(self.rows))
        if not isinstance(x, torch.Tensor) and x.key in self.replaced:
            self.replaced[x.key] = len(self.rows)

    def look_again(self) -> None:
        """At all of them."""
        for key, (reference, version, _) in list(self.seen.items()):
            owner = reference()
            if owner is None:
                self.seen.pop(key, None)  # another thread may have
            elif version_of(owner) != version:
                self.look_at(owner)

    @property
    def last_change(self) -> int:
        changed = [before for _, _, before in list(self.seen.values())]
        return len(self.rows) if self.late else max([0, *changed, *self.replaced.values()])

    def changed_before(self, tensor: torch.Tensor) -> int:
        """Entries before this one read it as it is no more."""
        owner = owner_of(tensor)
        reference, _, before = self.seen.get(id(owner), (lambda: None, 0, 0))
        return before if reference() is owner else 0


def owner_of(tensor: torch.Tensor) -> torch.Tensor:
    """Itself, or what it is a view of."""
    base = viewed(tensor)
    return tensor if base is None else base


def version_of(tensor: torch.Tensor) -> int:
    """How often it was changed in place; torch does not count for tensors of an inference mode."""
    try:
        return changes(tensor)
    except RuntimeError:
        return 0
