"""The Step page: menus, the controls, the graph, and the texts beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ...language import EXAMPLES, Program, ProgramError
from ...trace.trace import Trace
from ..compare_view import Sides, default_right, differing_events, trace_of_side
from ..html import trace_html
from ..offered import offered
from ..session import NONE_MODES, PRUNE_MODES, Shown, clamped, view_of
from ..views import TraceView
from . import carry, page, player, why_answer
from .program import Ran, program_part, ran_now, transcript
from .stage import PANELS, PANELS_BESIDE_A_PROGRAM, stage, without_a_run

MOST_COMPARED = 5_000  # events; comparing two runs of this size takes half a second


def step_page(unfolded: bool = False) -> None:
    """Choose a program or write one, see what it does as you write, and walk through the events of its run.

    `unfolded`: what can be put into the program, and its inputs, are open from the start.
    """
    files = page.user_files()
    traces = page.saved_traces(files)
    shown = page.shown_now(traces)
    file = menus(shown, traces)
    version = page.files_version(files)
    ran = Ran(traces[shown.saved], shown) if shown.saved else ran_now(version)
    state = page.state_of_step()
    if ran.trace is not None:
        state.keep(clamped(state.shown, ran.trace))
    page.messages(state.shown, files)
    walk(ran, unfolded, differing(ran, version))
    with file:
        if ran.trace is not None:
            save(ran.trace)
        carry.open_a_trace(lambda name: page.show(program=f"file:{name}"))
    if files is not None:
        page.watch(files)


def save(trace: Trace) -> None:
    state = page.state_of_step()
    carry.save_as_html(trace.title or "run", lambda: trace_html(trace, step=state.shown.step), "save-step")


def differing(ran: Ran, version: object) -> list[int]:
    """The events at which a gradient differs from what the aggregate's reference gives: something to stop at."""
    trace, shown = ran.trace, ran.shown
    aggregate = None if shown.saved else offered[shown.aggregate]
    if trace is None or aggregate is None or aggregate.reference is None or not trace.aggregate:
        return []
    if len(trace.events) > MOST_COMPARED:
        return []
    sides = Sides(shown, aggregate.name, default_right(aggregate.name))
    return differing_events(trace, trace_of_side(sides, "right", version))


def walk(ran: Ran, unfolded: bool, differs: list[int]) -> None:
    """The program, and all that shows its run."""
    program = None if ran.shown.saved else partial(program_part, ran, unfolded)
    if ran.trace is None or not ran.trace.events:
        alone(ran, program)
        return
    state = page.state_of_step()
    view = view_of(ran.trace, state.opened_first(0, lambda: view_of(ran.trace).opened_at(ran.shown.step)))
    stage(view, "player", "tape", program=program, tab="program" if unfolded else "gradients")
    stepping(view, PANELS if program is None else PANELS_BESIDE_A_PROGRAM, differs)
    if program is not None:
        transcript(ran.trace)


def alone(ran: Ran, program: Callable[[], None] | None) -> None:
    """The program, as long as it does nothing."""
    state = page.state_of_step()
    state.change(is_edited=False)  # no player is there, which would write the address
    without_a_run(program, partial(nothing_to_show, ran.error))
    state.write_address()


def nothing_to_show(error: dict | None) -> None:
    if error is None:
        st.info("This program does nothing yet: write a line such as a = rand(4).")
        return
    said = f"Line {error['line']}, column {error['column']}: {error['message']}"
    st.error(page.as_it_stands(said), icon=":material/error:")


@st.fragment
def stepping(view: TraceView, panels: int, differs: list[int]) -> None:
    state = page.state_of_step()
    paused = player(
        [view],
        start=state.shown.step,
        nonce=str(state.nonce),
        charts=1,
        panels=panels,
        breakpoints=state.marks_at_start.get("break", ""),
        watches=state.marks_at_start.get("watch", ""),
        query=state.shown.query(),
        edited=state.is_edited,
        writes=state.writes,
        differs=differs,
        asks=True,
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
    own = ["text"] if shown.text or shown.program == "text" else []  # an empty one is one's own too
    programs = [*EXAMPLES, *own, *(f"file:{name}" for name in traces)]
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
