"""What each mounted part of a player is told, in a page, a file or a notebook cell: one dict (or bytes) a part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from . import palette
from .views import TraceView


def player_part(
    views: Sequence[TraceView],
    *,
    key: str = "player",
    aligned_steps: Sequence[Sequence[int]] | None = None,
    start: int = 0,
    nonce: str = "",
    charts: int = 0,
    panels: int = 0,
    breakpoints: str = "",
    watches: str = "",
    differs: Sequence[int] = (),
    address: str = "",
    query: Mapping[str, str] | None = None,
    edited: bool = False,
    writes: bool = False,
    hold: Mapping | None = None,
    asks: bool = False,
) -> dict:
    """The controls. `address`: where the step is written in the browser's address, "query" or "fragment"; "page":
    nowhere, but the address leads to what is shown; "": nowhere, and it leads nobody else here. `writes`: at once, also
    without a step; `edited`: it begins near the step of the run before; `hold`: a step that is not made before a
    question (its `id`) is answered; `asks`: there is a server that answers "why?"."""
    letters = {f"entry-{name}": mark.letter for name, mark in palette.ENTRY_STATES.items()}
    letters |= {f"gradient-{name}": mark.letter for name, mark in palette.GRADIENT_STATES.items()}
    return {
        "role": "player",
        "player": key,
        "id": "|".join(view.id for view in views),
        "traces": [view.id for view in views],
        "start": start,
        "nonce": nonce,
        "aligned": aligned_steps,
        "breakpoints": breakpoints,
        "watches": watches,
        "differs": list(differs),
        "address": address,
        "query": {name: text for name, text in (query or {}).items() if name != "step"},
        "edited": edited,
        "writes": writes,
        "hold": dict(hold) if hold else None,
        "asks": asks,
        "charts": charts,
        "panels": panels,
        "letters": letters,
        "legend": palette.legend(),
    }


def panel_part(parts: Sequence[str], *, player: str = "player", side: int = 0, tab: str = "gradients") -> dict:
    """Texts of one side, one below the other. `tab`: the one that a narrow screen shows first."""
    return {"role": "panel", "player": player, "side": side, "parts": list(parts), "tab": tab}


def graph_part(view: TraceView, chart: str, *, player: str = "player", side: int = 0) -> bytes:
    """What paints the chart that stands in the element of the class `st-key-CHART`, as JSON."""
    head = json.dumps({"role": "graph", "player": player, "side": side, "chart": chart, "of": view.id})
    return head[:-1].encode() + b',"drawing":' + view.drawing_json + b"}"
