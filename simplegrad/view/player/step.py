"""The Step page: menus, the controls, the graph, and the texts beside it."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ...language import EXAMPLES, Program, ProgramError
from ...trace.trace import Trace
from ..compare_view import Sides, default_right, differing_events, trace_of_side
from ..html import trace_html
from ..offered import offered
from ..session import NONE_MODES, PRUNE_MODES, Shown, clamped, trace_of, view_of
from ..views import TraceView
from . import carry, page, player, why_answer
from .stage import PANELS, stage

MOST_COMPARED = 5_000  # events; comparing two runs of this size takes half a second


def step_page() -> None:
    """Choose a program and how it is run, and walk through the events of its trace."""
    files = page.user_files()
    traces = page.saved_traces(files)
    shown = page.shown_now(traces)
    file = menus(shown, traces)
    try:
        trace = traces[shown.saved] if shown.saved else trace_of(shown, page.files_version(files))
    except ProgramError as error:
        page.messages(shown, files)
        page.program_error(error)
        page.state_of_step().write_address()
    else:
        shown = page.state_of_step().keep(clamped(shown, trace))
        page.messages(shown, files)
        walk(trace, shown, differing(trace, shown, page.files_version(files)))
        state = page.state_of_step()
        with file:
            carry.save_as_html(trace.title or "run", lambda: trace_html(trace, step=state.shown.step), "save-step")
    with file:
        carry.open_a_trace(lambda name: page.show(program=f"file:{name}"))
    if files is not None:
        page.watch(files)


def differing(trace: Trace, shown: Shown, version: object) -> list[int]:
    """The events at which a gradient differs from what the aggregate's reference gives: something to stop at."""
    aggregate = None if shown.saved else offered[shown.aggregate]
    if aggregate is None or aggregate.reference is None or not trace.aggregate or len(trace.events) > MOST_COMPARED:
        return []
    sides = Sides(shown, aggregate.name, default_right(aggregate.name))
    return differing_events(trace, trace_of_side(sides, "right", version))


def walk(trace: Trace, shown: Shown, differs: list[int]) -> None:
    """All that shows one trace."""
    if not trace.events:
        st.info("This program does nothing yet: give it a line such as a = rand(4), on the Compose page.")
        return
    view = view_of(trace, page.state_of_step().opened.get(0, ()))
    stage(view, "player", "tape")
    stepping(view, shown, differs)


@st.fragment
def stepping(view: TraceView, shown: Shown, differs: list[int]) -> None:
    state = page.state_of_step()
    paused = player(
        [view],
        start=shown.step,
        nonce=str(state.nonce),
        charts=1,
        panels=PANELS,
        breakpoints=state.marks_at_start.get("break", ""),
        watches=state.marks_at_start.get("watch", ""),
        query=state.shown.query(),
        differs=differs,
    )
    why_answer(view.trace, paused, "player")
    state.hear(paused, {0: view.group_at(state.shown.step if paused.step is None else paused.step)})
    state.write_address()


# --- menus --------------------------------------------------------------------------------------------------------


# What each of the notebook's variants is an example of; a person's own aggregates are for `check` to judge.
STANDING = {
    "simple": "recorded",
    "simple_type_error": "wrong",
    "simple_recompute": "right",
    "simple_variable_wrong": "wrong",
    "simple_variable_almost": "almost",
    "simple_variable": "right",
}


def menus(shown: Shown, traces: dict[str, Trace]) -> DeltaGenerator:
    """One row: the program, what f stands for, how gradients are computed, and a menu for what is saved and opened."""
    programs = [*EXAMPLES, *(["text"] if shown.text else []), *(f"file:{name}" for name in traces)]
    with st.container(key="menus"):
        program, aggregate, options, file = st.columns([4, 4, 1.6, 1.3])
    choose(program, "Program", "program", programs, shown, program_title)
    if uses_f(shown):
        choose(aggregate, "Aggregate that f stands for", "aggregate", list(offered), shown, aggregate_title)
    if not shown.saved:
        with options.popover("options", help="how None and unneeded entries are treated", width="stretch"):
            choose(st, "None", "none", list(NONE_MODES), shown, NONE_MODES.get)
            choose(st, "Pruning", "prune", list(PRUNE_MODES), shown, PRUNE_MODES.get)
    return file.popover("file", help="save this page, or open a saved trace", width="stretch")


def aggregate_title(name: str) -> str:
    if " = " in name:  # a compiled expression says itself what it is
        return name
    standing = f" ({STANDING[name]})" if name in STANDING else ""
    return f"f: {name}{standing}"


def choose(column, label: str, field: str, options: list[str], shown: Shown, titles=str) -> None:
    """A menu whose choice is kept in the session and in the URL."""
    key = f"choose-{field}"
    st.session_state[key] = getattr(shown, field)
    visibility = "collapsed" if column is not st else "visible"
    column.selectbox(
        label, options, format_func=titles, key=key, on_change=changed, args=(field,), label_visibility=visibility
    )


def changed(field: str) -> None:
    if f"choose-{field}" in st.session_state:  # gone, where the page was left at the same moment
        page.show(**{field: st.session_state[f"choose-{field}"]})


def program_title(name: str) -> str:
    if name == "text":
        return "your own program"
    return EXAMPLES[name].title if name in EXAMPLES else f"saved trace: {name.removeprefix('file:')}"


def uses_f(shown: Shown) -> bool:
    if shown.saved:
        return False
    try:
        return Program.parse(shown.source).uses_f
    except ProgramError:
        return True
