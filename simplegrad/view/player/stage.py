"""One trace in the first screen: the sentence over program, gradients and graph; tape, arithmetic and rule below."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from ..views import TraceView
from . import chart, panel

PANELS = 5  # how many `stage` mounts, for the player to wait for
PANELS_BESIDE_A_PROGRAM = 7


def stage(
    view: TraceView,
    player: str,
    graph: str,
    above: Callable[[], None] | None = None,
    program: Callable[[], None] | None = None,
    tab: str = "gradients",
) -> None:
    """`player`: the key of the controls, which stand at the bottom of the window; `graph`: that of the picture.
    `above` draws what belongs to the picture, over it; `program` the editor, where the program can be changed. `tab`:
    of the texts, the one that a narrow screen shows first."""
    with st.container(key="stage", gap="small"):
        panel("event", player=player)
        beside, picture = st.columns([3, 9] if program is None else [4, 9])
        with beside:
            if program is None:
                panel("tabs", "source", "gradients", player=player)
            else:
                with st.container(gap="xxsmall"):
                    panel("tabs", player=player, tab=tab)
                    program()
                    panel("printed", "gradients", player=player)
        with picture:
            if above is not None:
                above()
            chart(view, player=player, key=graph)
    with st.container(key="texts"):
        for part, column in zip(("tape", "inspector", "python"), st.columns([4, 5, 4])):
            with column:
                panel(part, player=player)


def without_a_run(program: Callable[[], None] | None, instead: Callable[[], None]) -> None:
    """The same places, the editor where it is beside a run: so it stays the one that somebody writes in."""
    with st.container(key="stage", gap="small"):
        st.empty()  # the sentence
        beside, picture = st.columns([4, 9])
        with beside, st.container(gap="xxsmall"):
            st.empty()  # tabs
            if program is not None:
                program()
        with picture:
            instead()
