"""Step: choose a program, run it, and walk through its passes event by event."""

import streamlit as st

from simplegrad.aggregates import registry
from simplegrad.program import EXAMPLES, Program, ProgramError
from simplegrad.view.player import chart, page, panel, player
from simplegrad.view.session import NONE_MODES, PRUNE_MODES, Shown, clamped, trace_of, view_of

files = page.user_files()
traces = page.saved_traces(files)


def program_title(name: str) -> str:
    if name == "text":
        return "your own program"
    return EXAMPLES[name].title if name in EXAMPLES else f"saved trace {name.removeprefix('file:')}"


def changed(field: str) -> None:
    page.show(**{field: st.session_state[f"choose-{field}"]})


def choose(column, label: str, field: str, options: list[str], shown: Shown, titles=str, **more) -> None:
    """A menu whose choice is kept in the session and in the URL."""
    st.session_state.setdefault(f"choose-{field}", getattr(shown, field))
    column.selectbox(
        label, options, format_func=titles, key=f"choose-{field}", on_change=changed, args=(field,), **more
    )


def menus(shown: Shown) -> None:
    programs = [*EXAMPLES, *(["text"] if shown.text else []), *(f"file:{name}" for name in traces)]
    try:
        calls_f = Program.parse(shown.source).uses_f
    except ProgramError:
        calls_f = True
    why = registry[shown.aggregate].summary if calls_f else "This program does not call f."
    columns = st.columns([3, 3, 2, 2.4])
    choose(columns[0], "Program", "program", programs, shown, program_title, help="Write your own on the Compose page.")
    choose(
        columns[1], "Aggregate, which f stands for", "aggregate", list(registry), shown, disabled=not calls_f, help=why
    )
    choose(columns[2], "None", "none", list(NONE_MODES), shown, NONE_MODES.get)
    choose(columns[3], "Pruning", "prune", list(PRUNE_MODES), shown, PRUNE_MODES.get)


@st.fragment
def stepping(view, shown: Shown) -> None:
    paused = player([view], start=shown.step, nonce=page.nonce(), charts=1, panels=5)
    page.hear(paused, view)


def main() -> None:
    shown = page.shown_now(traces)
    menus(shown)
    try:
        saved = traces.get(shown.program.removeprefix("file:")) if shown.program.startswith("file:") else None
        trace = saved if saved is not None else trace_of(shown, page.files_version(files))
    except ProgramError as error:
        st.error(f"This text is no program. {error}")
        return
    shown = page.keep(clamped(shown, trace))
    page.messages(shown, files)
    if not trace.events:
        st.info("This program does nothing: write a line such as a = rand(4) on the Compose page.")
        return
    view = view_of(trace, page.opened_groups())
    stepping(view, shown)
    panel("event")
    chart(view)
    left, middle, right = st.columns([3, 3, 4])
    with left:
        panel("source")
    with middle:
        panel("tape")
    with right:
        panel("inspector")
        panel("gradients")
    if files is not None:
        page.watch(files)


main()
