"""The player: steps through one trace, or through two side by side, in the browser. All of Streamlit that `view` knows.

On a page, in any order:  `chart(view)` draws the graph, `panel("tape", "source")` mounts texts, `player([view])` mounts
the controls and returns the step that the person has paused at. All are joined by the player's key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import streamlit as st

from ...trace.trace import Trace
from .. import assets
from ..parts import graph_part, panel_part, player_part
from ..views import TraceView
from ..why_view import answer

PARTS = ("event", "tabs", "source", "printed", "python", "tape", "inspector", "gradients")
# the wheel reaches Plotly only with Ctrl (graph.js): without it the page scrolls
_CHART_OPTIONS = {"displaylogo": False, "scrollZoom": True, "displayModeBar": False, "doubleClick": "reset"}


@dataclass(frozen=True)
class Paused:
    """What the browser has told: the `step` at which the person paused (None: not yet, on these traces), and the
    collapsed group of a `side` that was clicked last, with the number of that click."""

    step: int | None = None
    group: str | None = None
    side: int = 0
    click: int = 0
    breakpoints: str | None = None  # as the URL has them; None as long as nothing was changed
    watches: str | None = None
    why: str | None = None  # the variable of `side` whose gradient was asked about last, and the number of that asking
    why_side: int = 0
    why_at: int = 0


@cache
def _library():
    js, css = assets.library(), assets.style()
    return st.components.v2.component("simplegrad_library", html="<i></i>", css=css, js=js, isolate_styles=False)


def library() -> None:
    """What all parts of all pages are made of, once for an app: no part is seen without it."""
    _library()(key="library", data={})


@cache
def _component():
    html = '<div class="sg-root"></div>'
    return st.components.v2.component("simplegrad_player", html=html, js=assets.part("mount"), isolate_styles=False)


def player(
    views: Sequence[TraceView],
    *,
    aligned_steps: Sequence[Sequence[int]] | None = None,
    start: int = 0,
    nonce: str = "",
    key: str = "player",
    charts: int = 0,
    panels: int = 0,
    breakpoints: str = "",
    watches: str = "",
    differs: Sequence[int] = (),
    query: Mapping[str, str] | None = None,
    edited: bool = False,
    writes: bool = False,
    hold: Mapping | None = None,
    asks: bool = False,
) -> Paused:
    """The controls: buttons, timeline, slider, keys. One trace, or several that move together.

    `aligned_steps`: a row for each step with the index of the event that each side shows (-1: none yet); a side whose
    index stays the same waits. `start`: the step to show; to send a person who is already stepping somewhere else,
    change `nonce` with it. `breakpoints`, `watches`: as the URL has them (marks.js says how they are written);
    `differs`: the steps at which a gradient differs from the reference. `query`: what the address says of the page; the
    browser writes it there with each step (None: it leaves the address alone); if it `writes`, at once. `edited`: this
    is a program that somebody is writing: it begins near the step of the run before.
    `hold`: `{"step": 12, "id": "lesson-3"}`: no further than before this step, until the page's question of this id
    is answered (shared.js says how the browser keeps that). `asks`: the page answers "why?" (`why_answer`).
    `charts`, `panels`: how many to wait for before `data-ready` says true.
    Mount it inside an `st.fragment`, so that a reported step runs no more than that.
    """
    head = player_part(
        views,
        key=key,
        aligned_steps=aligned_steps,
        start=start,
        nonce=nonce,
        charts=charts,
        panels=panels,
        breakpoints=breakpoints,
        watches=watches,
        differs=differs,
        address="query" if query is not None else "page",
        query=query,
        edited=edited,
        writes=writes,
        hold=hold,
        asks=asks,
    )
    with st.container(key=f"{key}-controls", gap=None):  # player.css keeps it at the bottom of the window
        for side, view in enumerate(views):
            _component()(key=f"{key}-trace-{side}", data=view.payload)
        result = _component()(
            key=key,
            data=json.dumps(head).encode(),
            on_step_change=_nothing,
            on_opened_change=_nothing,
            on_marks_change=_nothing,
            on_why_change=_nothing,
        )
    told, opened = result.step or {}, result.opened or {}
    here = told.get("id") == head["id"] and told.get("nonce") == nonce
    clicked = opened if opened.get("id") == head["id"] else {}
    step = told["step"] if here and isinstance(told.get("step"), int) else None
    marks = result.marks or {}
    marks = marks if marks.get("id") == head["id"] else {}
    asked = result.why or {}
    asked = asked if asked.get("id") == head["id"] and isinstance(asked.get("name"), str) else {}
    return Paused(
        step,
        clicked.get("group"),
        clicked.get("side", 0),
        clicked.get("at", 0),
        marks.get("breakpoints"),
        marks.get("watches"),
        asked.get("name"),
        asked.get("side", 0),
        asked.get("at", 0),
    )


def panel(*parts: str, side: int = 0, player: str = "player", tab: str = "gradients") -> None:
    """Texts of one side, one below the other: each of PARTS by its name. "tabs" is seen on narrow screens alone, and
    shows `tab` first."""
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise ValueError(f"panel({', '.join(parts)}): '{unknown[0]}' is none of {', '.join(PARTS)}.")
    data = panel_part(parts, player=player, side=side, tab=tab)
    _component()(key=f"{player}-{'-'.join(parts)}-{side}", data=data)


def chart(
    view: TraceView, *, side: int = 0, player: str = "player", key: str = "tape", height: int | None = None
) -> None:
    """The graph, drawn once: it never depends on the step. Outside the fragment of the player."""
    figure = view.figure
    if height is not None:
        figure = type(figure)(figure).update_layout(height=height)
    with st.container(key=f"{key}-frame", gap=None):
        st.plotly_chart(figure, key=key, theme=None, config=_CHART_OPTIONS, alt=view.alt)
        data = graph_part(view, key, player=player, side=side)
        _component()(key=f"{key}-painter", data=data)


@cache
def _why_component():
    html, js = '<div class="sg-root sg-why-root"></div>', assets.part("why")
    return st.components.v2.component("simplegrad_why", html=html, css="", js=js, isolate_styles=False)


def why_answer(trace: Trace, paused: Paused, player: str) -> None:
    """What "why?" was asked of last, answered in a drawer. Inside the fragment of the player."""
    told = answer(trace, paused.why) if paused.why else None
    _why_component()(key=f"{player}-why", data=json.dumps({"answer": told, "at": paused.why_at, "player": player}))


def _nothing() -> None:
    """Streamlit wants a callback for each state that a component may set."""
