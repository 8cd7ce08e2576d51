"""What crosses from Python to the player: one class a row, fields in their order. The player's constants are made here.

Rows are tuples, since a trace of 100,000 entries has some 400,000 of them; they travel as JSON lists. Ids are places in
the payload's lists; -1 stands for None. `python -m simplegrad.view.contract` writes `player/contract.js` anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

NOWHERE = -1  # the id of None
UNKNOWN, NOT_FINITE = -1, -2  # in the place of a value's largest element


class EventRow(NamedTuple):
    """One event. `subject` and what follows depend on the kind: see EVENTS."""

    kind: str
    parent: int = NOWHERE  # the event that it is nested in
    pass_id: int = NOWHERE
    line: int = 0  # of the program, 0 for none
    file: int = NOWHERE  # a place in `sources`
    file_line: int = 0
    subject: int = NOWHERE
    second: int | list[int] = NOWHERE
    third: int | list[int] = NOWHERE
    contribution: int = NOWHERE
    total: int = NOWHERE


# kind of event -> what `subject`, `second` and `third` are; the last two fields are those of a sum alone
EVENTS: dict[str, tuple[str, ...]] = {
    "leaf": ("value",),
    "recorded": ("entry",),
    "read": ("value", "entry"),
    "begun": ("pass", "loss and seed"),
    "visit": ("entry", "incoming"),
    "propagated": ("entry", "incoming", "outgoing"),
    "partial": ("entry", "incoming", "outgoing"),
    "skipped": ("entry", "incoming", "outgoing"),
    "pruned": ("entry", "incoming", "outgoing"),
    "accumulated": ("entry", "slot", "value"),
    "lost": ("entry", "slot", "value"),
    "nothing": ("entry", "slot", "value"),
    "ended": ("pass", "results"),
    "broken": ("pass",),  # a pass that raised
    "reset": (),
    "failed": (),
}
VISITED = ("propagated", "partial", "skipped", "pruned")
SUMS = ("accumulated", "lost", "nothing")
_HEAD = EventRow._fields.index("subject")
# how many fields of a row are sent: its kind's own
WIDTHS = {kind: _HEAD + (5 if kind in SUMS else len(what)) for kind, what in EVENTS.items()}


class EntryRow(NamedTuple):
    statement: str
    pass_id: int  # the pass that recorded it
    made_by: int  # the entry whose propagate recorded it
    line: int
    inputs: list[int]
    outputs: list[int]
    formulas: list[str]  # for each input, with the incoming gradient left as {g}
    group: str


class ValueRow(NamedTuple):
    name: str
    shape: str
    text: str
    zero: int
    leaf: int
    largest: float  # the largest absolute element, or UNKNOWN or NOT_FINITE


class PassRow(NamedTuple):
    title: str
    loss: str
    wanted: list[int]


class SourceRow(NamedTuple):
    name: str
    first: int
    lines: list[str]


class ModuleRow(NamedTuple):
    """Entries that follow each other in one module (or region), by its path: something to search for."""

    name: str
    first: int
    count: int


class NodeRow(NamedTuple):
    """A node of the drawing, in the order of the chart's markers."""

    mark: str  # entry, value, hole or group
    id: int | str
    x: float
    y: float
    pass_id: int  # of a hole: the pass whose lane it stands in
    kind: str
    text: str  # inside it; a variable's name stands below it, and the player knows that


class EdgeRow(NamedTuple):
    """An edge of the drawing: from a variable to the entry that reads it, and the four points of its curve."""

    value: int
    entry: int
    slot: int
    x0: float
    y0: float
    x1: float
    y1: float
    x2: float
    y2: float
    x3: float
    y3: float
    near: int  # 1 within a lane, 0 between two


class BoxRow(NamedTuple):
    """The box of a module: closed, a node of the same key stands for it; open, a frame from one corner to the other."""

    key: str
    path: str
    title: str  # as seen from the box around it
    count: int  # entries in it
    worst: str  # the gravest state of a gradient of its parameters: nan, none, zero, huge, tiny, or ""
    open: int
    outer: str  # key of the box around it, or ""
    x0: float
    y0: float
    x1: float
    y1: float


ROWS = (EventRow, EntryRow, ValueRow, PassRow, SourceRow, ModuleRow, NodeRow, EdgeRow, BoxRow)


def javascript() -> str:
    """`contract.js`: for each row the places of its fields, and the kinds of events."""
    lines = ["// Made by `python -m simplegrad.view.contract`; contract.py says what each field is."]
    for row in ROWS:
        fields = ", ".join(f"{field}: {place}" for place, field in enumerate(row._fields))
        lines.append(f"export const {row.__name__.removesuffix('Row').upper()} = Object.freeze({{ {fields} }});")
    for name, kinds in (("EVENTS", EVENTS), ("VISITED_KINDS", VISITED), ("SUM_KINDS", SUMS)):
        lines.append(f"export const {name} = Object.freeze([{', '.join(repr(kind) for kind in kinds)}]);")
    lines.append(f"export const NOWHERE = {NOWHERE}, UNKNOWN = {UNKNOWN}, NOT_FINITE = {NOT_FINITE};")
    return "\n".join(lines).replace("'", '"') + "\n"


FILE = Path(__file__).parent / "player" / "contract.js"

if __name__ == "__main__":
    FILE.write_text(javascript())
