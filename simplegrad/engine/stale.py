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
    index = len(tape.rows)
    for entry in tape.rows.backwards() if last else ():
        index, output = index - 1, entry[1]
        if output in reached if output.__class__ is int else not reached.isdisjoint(output):
            reached.update(inputs_of(entry))
            if index < last:
                found.add(index)
    return found


def refuse_stale(tape: Tape, index: int, needed: set[Key] | None) -> None:
    """Raises ChangedInPlaceError if a rule that runs reads a value that was changed since this entry was recorded."""
    where = f"entry {index}, '{tape.text(index)}'"
    if is_late(tape, index):
        what = next(what for entries, what in tape.lent.late if index in entries)
        raise ChangedInPlaceError(
            f"{where}: this is of a pass whose gradients cannot be differentiated any more: {what} after that pass. "
            f"Change values after the last pass; or leave them as they are, and compute with new ones: "
            f"Variable.constant(…)."
        )
    x = stale_value(tape, index, needed)
    if x is None:
        return
    name, how = changed(tape, index, x)
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


def is_stale(tape: Tape, index: int, needed: set[Key] | None) -> bool:
    return is_late(tape, index) or stale_value(tape, index, needed) is not None


def is_late(tape: Tape, index: int) -> bool:
    """Whether it is of a pass that was put off, and recorded when what it read had been changed."""
    return any(index in entries for entries, _ in tape.lent.late)


def stale_value(tape: Tape, index: int, needed: set[Key] | None) -> Variable | torch.Tensor | None:
    """The first value that this entry's rules read and that is another now than when the entry was recorded."""
    for x in read_by(tape.rows.entry(index), needed):
        if isinstance(x, torch.Tensor):
            before = tape.lent.changed_before(x)
        else:
            before = max(tape.lent.replaced.get(x.key, 0), tape.lent.changed_before(x._value))
        if index < before:
            return x
    return None


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
