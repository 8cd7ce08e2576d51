"""Two saved runs on the Compare page: menus for both sides, where they part, one player, a row for each layer."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ...comparison.compare import Comparison
from ...comparison.runs import RunComparison
from ...trace.trace import Trace
from .. import runs_view
from ..compare_view import comparison_of, ghosts, rows
from ..html import comparison_html
from ..runs_view import Runs, facts_of, layer_rows
from ..session import in_reach, view_of
from . import carry, page
from .state import PageState
from .tables import made_row, table

WANTED = (
    "Two saved runs stand side by side here. Save each with trace.save('a.trace'), then open both in the file menu, or "
    "start with simplegrad app a.trace b.trace."
)
MOST_LAYERS = 1000


def runs_page(state: PageState, traces: dict[str, Trace], program: Callable, side_by_side: Callable) -> None:
    """`program` draws the menu that leads back to programs, into a column; `side_by_side` the player of two traces."""
    runs = state.keep(runs_view.chosen(state.shown, traces))
    with st.container(key="menus"):
        first, left, right, file = st.columns([3, 3.8, 3.8, 1.3])
    program(first)
    for side, column in (("left", left), ("right", right)):
        choose(column, side, runs, traces, state)
    with file.popover("file", help="open and save", width="stretch"):
        carry.open_a_trace(lambda name: opened(state, name))
        saving = st.container()
    page.link_problems(runs.problems)
    if not (runs.left and runs.right):
        st.info(WANTED)
        state.write_address()
        return
    try:
        comparison = comparison_of(traces[runs.left], traces[runs.right])
    except TypeError as error:
        st.warning(page.as_it_stands(str(error)))
        state.write_address()
        return
    shown(comparison, state, saving, side_by_side)


def shown(
    comparison: Comparison | RunComparison, state: PageState, saving: DeltaGenerator, side_by_side: Callable
) -> None:
    with st.spinner("The two runs are compared, operation by operation …"):
        step, told = in_reach(state.shown.step, len(comparison.steps), "these runs have")
        runs = state.keep(replace(state.shown, step=step, problems=(*state.shown.problems, *told)))
        facts = facts_of(comparison, [runs.left, runs.right])
    page.link_problems(told)
    title = f"{runs.left} beside {runs.right}"
    with saving:
        carry.save_as_html(
            title, lambda: comparison_html(comparison, title=title, step=state.shown.step), "save-compare"
        )
    traces = (("left", comparison.left), ("right", comparison.right))
    views = [
        view_of(trace, state.opened.get(n, ()), ghosts(comparison, which)) for n, (which, trace) in enumerate(traces)
    ]
    side_by_side(facts, views, runs, rows(comparison), comparison.differing_steps, (runs.left, runs.right))
    if isinstance(comparison, RunComparison):
        st.html("<h3 class='sg-side'>Layers: norms of what each computes and is given back</h3>" + layers(comparison))


def layers(comparison: RunComparison) -> str:
    found = layer_rows(comparison)
    body = [
        made_row(
            row["cells"],
            f'class="{"sg-differs" if row["differs"] else ""}" data-layer="{html.escape(row["cells"][0])}"',
        )
        for row in found[:MOST_LAYERS]
    ]
    more = f"<p>and {len(found) - MOST_LAYERS} more</p>" if len(found) > MOST_LAYERS else ""
    return table("layers", list(runs_view.LAYER_COLUMNS), body) + more


def choose(column: DeltaGenerator, side: str, runs: Runs, traces: dict[str, Trace], state: PageState) -> None:
    key, now = f"pick-run-{side}", getattr(runs, side)
    st.session_state[key] = now or None
    column.selectbox(
        f"{side.capitalize()} run",
        list(traces),
        format_func=lambda name: f"{side}: {name}",
        key=key,
        index=None,
        placeholder=f"{side}: no run is open",
        disabled=not traces,
        on_change=lambda: changed(state, **{side: st.session_state[key] or ""}),
        label_visibility="collapsed",
    )


def changed(state: PageState, **sides: str) -> None:
    state.keep(replace(state.shown, step=0, problems=(), **sides))
    state.begin_anew({})


def opened(state: PageState, name: str) -> None:
    """A trace that was just read goes where none is yet, else to the right."""
    runs = state.shown
    changed(state, **{"left" if not runs.left else "right": name})
