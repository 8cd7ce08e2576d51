"""The Step page: menus, the controls, the graph, and the texts beside it."""

from __future__ import annotations

import streamlit as st

from ...aggregates import registry
from ...program import EXAMPLES, Program, ProgramError
from ...trace.trace import Trace
from ..compare_view import Sides, default_right, differing_events, trace_of_side
from ..session import NONE_MODES, PRUNE_MODES, Shown, clamped, trace_of, view_of
from ..views import TraceView
from . import chart, page, panel, player

MOST_COMPARED = 5_000  # events; comparing two runs of this size takes half a second


def step_page() -> None:
    """Choose a program and how it is run, and walk through the events of its trace."""
    files = page.user_files()
    traces = page.saved_traces(files)
    shown = page.shown_now(traces)
    menus(shown, traces)
    try:
        trace = traces[shown.saved] if shown.saved else trace_of(shown, page.files_version(files))
    except ProgramError as error:
        page.messages(shown, files)
        page.program_error(error)
        page.write_url(shown)
    else:
        shown = page.keep(clamped(shown, trace))
        page.messages(shown, files)
        walk(trace, shown, differing(trace, shown, page.files_version(files)))
    if files is not None:
        page.watch(files)


def differing(trace: Trace, shown: Shown, version: object) -> list[int]:
    """The events at which a gradient differs from what the aggregate's reference gives: something to stop at."""
    aggregate = None if shown.saved else registry[shown.aggregate]
    if aggregate is None or aggregate.reference is None or not trace.aggregate or len(trace.events) > MOST_COMPARED:
        return []
    sides = Sides(shown, aggregate.name, default_right(aggregate.name))
    return differing_events(trace, trace_of_side(sides, "right", version))


def walk(trace: Trace, shown: Shown, differs: list[int]) -> None:
    """All that shows one trace."""
    if not trace.events:
        st.info("This program does nothing yet: give it a line such as a = rand(4), on the Compose page.")
        return
    view = view_of(trace, page.opened_groups())
    stage(view)
    stepping(view, shown, differs)


def stage(view: TraceView, key: str = "player") -> None:
    """One trace in the first screen: the sentence over program, gradients and graph; tape and arithmetic below."""
    with st.container(key="stage", gap="small"):
        panel("event", player=key)
        beside, picture = st.columns([3, 9])
        with beside:
            panel("source", "gradients", player=key)
        with picture:
            chart(view, player=key, key="tape" if key == "player" else f"{key}-graph")
    with st.container(key="texts"):
        for part, column in zip(("tape", "inspector", "python"), st.columns([4, 5, 4])):
            with column:
                panel(part, player=key)


@st.fragment
def stepping(view: TraceView, shown: Shown, differs: list[int]) -> None:
    marks = page.marks_at_start()
    paused = player(
        [view],
        start=shown.step,
        nonce=page.nonce(),
        charts=1,
        panels=5,
        breakpoints=marks.get("break", ""),
        watches=marks.get("watch", ""),
        differs=differs,
    )
    page.hear(paused, view)


# --- menus --------------------------------------------------------------------------------------------------------


def menus(shown: Shown, traces: dict[str, Trace]) -> None:
    programs = [*EXAMPLES, *(["text"] if shown.text else []), *(f"file:{name}" for name in traces)]
    calls_f = uses_f(shown)
    summary = page.as_it_stands(registry[shown.aggregate].summary) if calls_f else "This program does not call f."
    with st.container(key="menus"):
        columns = st.columns([3, 3, 2, 2.4])
    choose(columns[0], "Program", "program", programs, shown, program_title, help=about(shown))
    choose(
        columns[1],
        "Aggregate that f stands for",
        "aggregate",
        list(registry),
        shown,
        disabled=not calls_f,
        help=summary,
    )
    choose(columns[2], "None", "none", list(NONE_MODES), shown, NONE_MODES.get, disabled=bool(shown.saved))
    choose(columns[3], "Pruning", "prune", list(PRUNE_MODES), shown, PRUNE_MODES.get, disabled=bool(shown.saved))


def choose(column, label: str, field: str, options: list[str], shown: Shown, titles=str, **more) -> None:
    """A menu whose choice is kept in the session and in the URL."""
    key = f"choose-{field}"
    st.session_state[key] = getattr(shown, field)
    column.selectbox(label, options, format_func=titles, key=key, on_change=changed, args=(field,), **more)


def changed(field: str) -> None:
    if f"choose-{field}" in st.session_state:  # gone, where the page was left at the same moment
        page.show(**{field: st.session_state[f"choose-{field}"]})


def program_title(name: str) -> str:
    if name == "text":
        return "your own program"
    return EXAMPLES[name].title if name in EXAMPLES else f"saved trace: {name.removeprefix('file:')}"


def about(shown: Shown) -> str:
    sentence = EXAMPLES[shown.program].sentence if shown.program in EXAMPLES else ""
    return f"{sentence} Write your own on the Compose page.".strip()


def uses_f(shown: Shown) -> bool:
    if shown.saved:
        return False
    try:
        return Program.parse(shown.source).uses_f
    except ProgramError:
        return True
