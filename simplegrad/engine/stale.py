"""Entries of a pass whose rules would read another value than forward computed with: an error, not a wrong gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..ops.table import reads
from .errors import ChangedInPlaceError
from .names import Key
from .rows import inputs_of, outputs_of
from .tape import HandWritten, Tape
from .variable import Variable


def recorded_before_a_change(tape: Tape, L: Variable) -> set[int]:
    """Entries that L depends on, recorded before somebody changed a value, by their places on the tape."""
    tape.lent.look_again()
    last, reached, found = tape.lent.last_change, {L.key}, set()
    for index in range(len(tape.rows) - 1 if last else -1, -1, -1):
        entry = tape.rows.entry(index)
        output = entry[1]
        if output in reached if output.__class__ is int else not reached.isdisjoint(output):
            reached.update(inputs_of(entry))
            if index < last:
                found.add(index)
    return found


def refuse_stale(tape: Tape, index: int, needed: set[Key] | None) -> None:
    """Raises ChangedInPlaceError if a rule that runs reads a value that was changed since this entry was recorded."""
    where = f"entry {index}, '{tape.text(index)}'"
    x = next(stale_values(tape, index, needed), None)
    if x is None:
        return
    name, how = changed(tape, index, x)
    if isinstance(x, Variable) and x.key in tape.lent.late:
        raise ChangedInPlaceError(
            f"{where}: the gradient needs {name}, of shape {tuple(x.shape)}, as its pass computed it. That was not "
            f"kept, and {tape.lent.late[x.key]} after that pass. Change values after the last pass; or leave them as "
            f"they are, and compute with new ones: Variable.constant(…)."
        )
    raise ChangedInPlaceError(
        f"{where}: the gradient needs {name}, of shape {tuple(x.shape)}, as it was, and it "
        f"{how} after this entry was recorded. Change it after the last pass that goes through here; or leave it as it "
        f"is, and compute with a new one: Variable.constant(…)."
    )


def changed(tape: Tape, index: int, x: Variable | torch.Tensor) -> tuple[str, str]:
    """The name of a value that was changed since this entry was recorded, and how."""
    name = x.name if isinstance(x, Variable) else "a tensor"
    replaced = isinstance(x, Variable) and index < tape.lent.replaced.get(x.key, 0)
    return name, f"was given another tensor, {name}.value = …," if replaced else "was changed in place"


def stale_values(tape: Tape, index: int, needed: set[Key] | None) -> Iterator[Variable | torch.Tensor]:
    """The values that this entry's rules read and that are others now than when the entry was recorded."""
    lent = tape.lent
    for x in read_by(tape.rows.entry(index), needed):
        if isinstance(x, torch.Tensor):
            is_other = index < lent.changed_before(x)
        else:
            is_other = x.key in lent.late or index < max(lent.replaced.get(x.key, 0), lent.changed_before(x._value))
        if is_other:
            yield x


def recorded_late(tape: Tape, start: int, changes: list[tuple[Variable | torch.Tensor, str]], kept: set[Key]) -> None:
    """The entries from `start` on are of a pass that ran before these changes. What they computed from what was
    changed is not what it was, but for what is `kept`: a gradient through an entry that reads it is refused."""
    late = {x.key: what for x, what in changes if isinstance(x, Variable)}
    unknown = None if changes else "tensors that it read were changed"  # by numpy, for example
    everything = next((what for x, what in changes if isinstance(x, torch.Tensor)), unknown)
    for index in range(start, len(tape.rows)):
        entry = tape.rows.entry(index)
        what = everything or next((late[key] for key in inputs_of(entry) if key in late), None)
        if what is not None:
            late.update({key: what for key in outputs_of(entry) if key not in kept})
    for x, _ in changes:
        tape.lent.changes_now(x)
        late.pop(getattr(x, "key", None), None)
    tape.lent.late.update(late)


def read_by(entry: tuple, needed: set[Key] | None) -> Iterator[Variable | torch.Tensor]:
    """The values that the rules of an entry read, where only gradients of `needed` are asked for."""
    rule, inputs, one, two = entry[0], inputs_of(entry), entry[4], entry[5]
    if rule.__class__ is HandWritten:
        known = {*inputs, *outputs_of(entry)}
        yield from (x for x in closed_over(rule.propagate_function) if isinstance(x, Variable) and x.key in known)
        return
    places = [0] * len(inputs) if rule.op.each else rule.places
    vjps = [rule.op.vjp(place) for key, place in zip(inputs, places) if needed is None or key in needed]
    for slot, x in enumerate(rule.saved(one, two)):
        if any(reads(vjp, 1 + slot) for vjp in vjps):
            yield from values_in(x)


def closed_over(function: object) -> Iterator[Variable | torch.Tensor]:
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield from values_in(cell.cell_contents)
        except ValueError:  # nothing in it yet
            continue


def values_in(x: object) -> Iterator[Variable | torch.Tensor]:
    for each in x if isinstance(x, (list, tuple)) else [x]:
        if isinstance(each, (Variable, torch.Tensor)):
            yield each
