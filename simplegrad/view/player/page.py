"""What pages with a player share: the session's state and the URL, the user's files, messages instead of tracebacks."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from ...aggregates import registry
from ...files import UserFiles, from_command_line
from ...program import ProgramError
from ...trace.trace import Trace
from ..graph import OPEN_GROUPS
from ..session import Shown, from_query
from ..views import TraceView
from . import Paused

APP = "app.py"
FIELDS = ("program", "aggregate", "none", "prune", "step", "compiled")
MARKS = ("break", "watch")  # breakpoints and watched gradients


def through_router() -> None:
    """Let app.py run before its pages. Every page begins with this, or with `user_files`, which does it too.

    Until st.navigation was called once in the process, Streamlit takes the folder pages/ for its older kind of app:
    the first address opened on a fresh server would show its page bare, without app.py's navigation and layout.
    """
    if PagesManager.uses_pages_directory:
        PagesManager.uses_pages_directory = False
        st.rerun()


def user_files() -> UserFiles | None:
    """The files of the command line, read anew where they were saved; None if there are none."""
    through_router()
    return given_files()


def given_files() -> UserFiles | None:
    """The same for those that are no page: read once, by whoever asks first, which may be the server as it starts."""
    arguments = sys.argv[1:] if Path(sys.argv[0]).name == APP else []  # another program's are not meant for us
    return from_command_line(arguments) if arguments else None


def files_version(files: UserFiles | None) -> tuple:
    """A part of the key of what is kept: an aggregate of a file that was saved again is another one."""
    return files.version if files is not None else ()


def saved_traces(files: UserFiles | None) -> dict[str, Trace]:
    return dict(files.traces) if files is not None else {}


@st.fragment(run_every=1.5)
def watch(files: UserFiles) -> None:
    """Runs the page again once a file was saved."""
    if files.have_changed():
        st.rerun()


def shown_now(traces: dict[str, Trace]) -> Shown:
    """What the page shows: what the URL says when it says something new, else what it showed before."""
    said = {name: st.query_params[name] for name in FIELDS if name in st.query_params}
    if said and said != st.session_state.get("written"):
        st.session_state["shown"] = from_query(said, traces)
        st.session_state["written"] = said  # heard once: it does not undo what is chosen later
        st.session_state["marks"] = {name: st.query_params.get(name, "") for name in MARKS}
        forget_widgets()
    first = next(iter(traces), None)  # who gives a trace on the command line wants to see it
    shown = st.session_state.setdefault("shown", Shown(program=f"file:{first}") if first else Shown())
    if shown.saved and shown.saved not in traces:
        shown = keep(Shown())
    if shown.aggregate not in registry:  # its file was saved without it, or others took its place in the menus
        shown = keep(from_query({**shown.query(), "compiled": said.get("compiled", "")}, traces))
    return shown


def keep(shown: Shown) -> Shown:
    st.session_state["shown"] = shown
    return shown


def show(**changes) -> None:
    """Something else was chosen: it begins at its first step, and messages about the address are out of date."""
    before = st.session_state.get("shown", Shown())
    keep(replace(before, **{"step": 0, "problems": (), **changes}))
    if "program" in changes:
        st.session_state["marks"] = {}
    st.session_state["nonce"] = st.session_state.get("nonce", 0) + 1
    st.session_state["opened"] = ()


def forget_widgets() -> None:
    for name in FIELDS:
        st.session_state.pop(f"choose-{name}", None)
    st.session_state["nonce"] = st.session_state.get("nonce", 0) + 1
    st.session_state["opened"] = ()


def write_url(shown: Shown) -> None:
    """Only what differs is written: each write is a message to the browser."""
    query = shown.query()
    st.session_state["written"] = query
    wanted = {**query, **marks()}
    if st.query_params.to_dict() != wanted:  # what another page left there is taken away too
        st.query_params.from_dict(wanted)


def marks() -> dict[str, str]:
    """The breakpoints and the watched gradients, as the URL has them; those that there are."""
    return {name: text for name, text in st.session_state.get("marks", {}).items() if text}


def marks_at_start() -> dict[str, str]:
    """The same as they were when this run came to be shown: the browser knows what it changed since, and data that
    changes with every click would be sent again and again."""
    if st.session_state.get("marks-of") != nonce():
        st.session_state["marks-of"], st.session_state["marks-then"] = nonce(), marks()
    return st.session_state["marks-then"]


def nonce() -> str:
    return str(st.session_state.get("nonce", 0))


def opened_groups() -> tuple[str, ...]:
    return st.session_state.get("opened", ())


def open_group(group: str) -> None:
    """Draw a collapsed group in full; of many opened ones the first closes again."""
    others = [each for each in opened_groups() if each != group]
    st.session_state["opened"] = tuple([*others, group][-OPEN_GROUPS:])


def hear(paused: Paused, view: TraceView) -> None:
    """The person paused at a step, or clicked a collapsed group: keep the one in the URL, open the other."""
    shown = st.session_state["shown"]
    if paused.step is not None and paused.step != shown.step:
        shown = keep(replace(shown, step=paused.step, problems=()))
    if paused.breakpoints is not None:
        st.session_state["marks"] = {"break": paused.breakpoints, "watch": paused.watches or ""}
    write_url(shown)
    group = None
    if paused.click and paused.click != st.session_state.get("clicked"):
        st.session_state["clicked"] = paused.click
        group = paused.group
    group = group or view.group_at(shown.step)
    if group is not None and group not in opened_groups():
        open_group(group)
        st.rerun()


def program_error(error: ProgramError) -> None:
    """A text that is no program: what is wrong, and where."""
    st.error(as_it_stands(f"Line {error.line}, column {error.column}: {error.message}"), icon=":material/error:")
    st.code(f"{error.text}\n{' ' * (error.column - 1)}^", language=None)


def messages(shown: Shown, files: UserFiles | None) -> None:
    """What is wrong with the address and with the user's files, above the page that works nevertheless."""
    for problem in shown.problems:
        st.warning(as_it_stands(problem), icon=":material/link_off:")
    for problem in files.problems if files is not None else ():
        st.error(as_it_stands(problem.headline), icon=":material/error:")
        if problem.text:
            st.code(problem.excerpt, language=None)


def as_it_stands(text: str) -> str:
    """A text that Streamlit would read as Markdown, with nothing in it meaning anything: `__import__`, `a * b * c`."""
    return re.sub(r"([\\`*\[\]{}$<>~#|&]|:(?=\w)|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)
