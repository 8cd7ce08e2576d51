"""Colours, marks and their meanings: the one place that says how a state looks. Every state has a letter too.

The hues are Okabe and Ito's (Color Universal Design, 2008), told apart by colour-blind eyes; where one is too pale or
too dark for a background, the theme has a shade of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

OKABE_ITO = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
}


@dataclass(frozen=True)
class Mark:
    """How one state looks: a fill for each theme, the colour of a letter on it, the letter, an outline, a meaning."""

    light: str
    dark: str
    letter: str
    meaning: str
    ink_light: str = "#ffffff"
    ink_dark: str = "#10151c"
    outline: str = "solid"  # or "dashed": a hole


ENTRY_STATES = {
    "pending": Mark("#ffffff", "#1b2430", "·", "this pass has not come to it", "#5b6673", "#98a5b5"),
    "active": Mark("#E69F00", "#F2B632", "▸", "its propagate is running now", "#1d1503", "#1d1503"),
    "propagated": Mark("#00805d", "#2fc79b", "✓", "all incoming gradients were known; it passed gradients on"),
    "partial": Mark("#2b7fb8", "#7cc4f0", "◐", "some incoming gradients were None; it passed on the rest"),
    "skipped": Mark(
        "#ffffff", "#10151c", "○", "every incoming gradient was None: passed over", "#6b7683", "#98a5b5", "dashed"
    ),
    "pruned": Mark("#a5487a", "#e3a3c6", "✕", "no wanted result depends on it: left out ahead"),
}

GRADIENT_STATES = {
    "unreached": Mark("#ffffff", "#1b2430", "·", "nothing has come in this pass yet", "#5b6673", "#98a5b5"),
    "none": Mark("#ffffff", "#10151c", "N", "None: nothing came, or a known zero came", "#8a3c00", "#ffb070", "dashed"),
    "zero": Mark("#F0E442", "#F0E442", "0", "computed, and all zeros", "#2b2900", "#2b2900"),
    "nonfinite": Mark("#c0180c", "#ff7a6e", "!", "computed, and NaN or infinite somewhere"),
    "value": Mark("#0072B2", "#4aa9e8", "V", "a gradient with a value"),
}


@dataclass(frozen=True)
class EventMark:
    """How a kind of event looks in the timeline: its colour, and how high its bar is (of 1)."""

    light: str
    dark: str
    height: float
    meaning: str


EVENT_KINDS = {
    "leaf": EventMark("#8b95a1", "#7e8a99", 0.45, "a leaf was made"),
    "recorded": EventMark("#56B4E9", "#56B4E9", 0.6, "an entry was recorded"),
    "read": EventMark("#D55E00", "#ff8a3d", 1.0, "a value was read that no entry produced"),
    "begun": EventMark("#1f2933", "#f2f5f8", 1.0, "a pass begins"),
    "visit": EventMark("#E69F00", "#F2B632", 0.8, "an entry is visited"),
    "propagated": EventMark("#009E73", "#2fc79b", 0.8, "it has propagated"),
    "partial": EventMark("#2b7fb8", "#7cc4f0", 0.8, "it has propagated in part"),
    "skipped": EventMark("#c3cad2", "#566273", 0.8, "an entry was skipped"),
    "pruned": EventMark("#CC79A7", "#e3a3c6", 0.8, "an entry was pruned ahead"),
    "accumulated": EventMark("#0072B2", "#4aa9e8", 0.45, "a contribution came to a variable"),
    "lost": EventMark("#D55E00", "#ff8a3d", 0.7, "a gradient came to an escaped temporary: it goes nowhere"),
    "nothing": EventMark("#c9a27e", "#8f6a48", 0.25, "None came, and nothing is added"),
    "ended": EventMark("#1f2933", "#f2f5f8", 1.0, "a pass ended"),
    "broken": EventMark("#c0180c", "#ff5a4d", 1.0, "a pass raised an error"),
    "reset": EventMark("#8b95a1", "#7e8a99", 1.0, "the tape was reset"),
    "failed": EventMark("#c0180c", "#ff5a4d", 1.0, "the run raised, or was cut off"),
}

GRAPH_MARKS = {
    "entry": ("entry", "a tape entry; inside it its operation"),
    "aggregate": ("aggregate", "an entry whose propagate is written by hand"),
    "value": ("variable", "filled by the state of its gradient in the current pass"),
    "leaf": ("leaf", "no entry made it"),
    "read": ("escaped", "an escaped temporary: read, but no entry produced it; its gradient goes nowhere"),
    "hole": ("hole", "in a pass's lane: the entry above it was skipped, or pruned ahead, by that pass"),
    "group": (
        "group",
        "of entries, or a module, collapsed; click to open it, and the title of an open module to close it",
    ),
    "flow": ("gradient", "flowed back along this edge"),
    "dry": ("None", "came back along this edge, or nothing did"),
    "ghost": ("ghost", "a missing pathway, which the reference has"),
}


def css() -> str:
    """The palette as CSS variables, `--sg-entry-active`, `--sg-gradient-none-ink` and so on, for both themes."""
    return f":root{{{_variables('light')}}}\n:root[data-sg-theme=dark]{{{_variables('dark')}}}\n" + "".join(_rules())


def _rules() -> Iterator[str]:
    """How each state looks as a chip in the texts, as a node of the chart, and as a letter on either."""
    for prefix, marks in (("entry", ENTRY_STATES), ("gradient", GRADIENT_STATES)):
        for name, mark in marks.items():
            look, fill, ink = f"{prefix}-{name}", f"var(--sg-{prefix}-{name})", f"var(--sg-{prefix}-{name}-ink)"
            border = f"border-style:{mark.outline};border-color:{ink}" if mark.outline == "dashed" else ""
            dashes = f"stroke-dasharray:3px 3px;stroke:{ink}" if mark.outline == "dashed" else ""
            yield f".sg-chip-{look}{{background:{fill};color:{ink};{border}}}\n"
            yield f".sg-node.sg-{look}{{fill:{fill};{dashes}}}\n"
            yield f".sg-sheet text.sg-{look}-ink{{fill:{ink}}}\n"
            yield f".sg-sheet text.sg-badge-{look}{{fill:{ink if mark.outline == 'dashed' else fill}}}\n"
    for name in EVENT_KINDS:
        yield f".sg-swatch-{name}{{background:var(--sg-event-{name})}}\n"


def _variables(theme: str) -> str:
    parts = []
    for prefix, marks in (("entry", ENTRY_STATES), ("gradient", GRADIENT_STATES)):
        for name, mark in marks.items():
            parts.append(f"--sg-{prefix}-{name}:{getattr(mark, theme)}")
            parts.append(f"--sg-{prefix}-{name}-ink:{getattr(mark, f'ink_{theme}')}")
    parts += [f"--sg-event-{name}:{getattr(mark, theme)}" for name, mark in EVENT_KINDS.items()]
    return ";".join(parts)


def legend() -> dict:
    """What the legend lists, as data: rows of (state or mark, letter, meaning) by section."""
    return {
        "entries": [[name, mark.letter, mark.meaning] for name, mark in ENTRY_STATES.items()],
        "gradients": [[name, mark.letter, mark.meaning] for name, mark in GRADIENT_STATES.items()],
        "events": [[name, mark.height, mark.meaning] for name, mark in EVENT_KINDS.items()],
        "graph": [[name, label, meaning] for name, (label, meaning) in GRAPH_MARKS.items()],
    }
