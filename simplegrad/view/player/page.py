"""What pages with a player share: the session's state and the URL, the user's files, messages instead of tracebacks."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ...aggregates import Aggregate
from ...files import UserFiles, from_command_line
from ...language import ProgramError
from ...trace.trace import Trace
from ..offered import OF_NO_PAGE, offered
from ..running import asker
from ..session import Shown, from_query
from ..straight import TURNING
from . import typed
from .state import PageState

APP = "app.py"
EDITOR = "program"  # the name of Step's text
UPLOADED = "uploaded"  # what this visitor has opened, by name: see carry.py
FIELDS = ("program", "aggregate", "none", "prune", "step", "compiled")


def of_this_session() -> dict[str, Aggregate]:
    """What the visitor whose page runs has compiled."""
    in_a_page = get_script_run_ctx(suppress_warning=True) is not None
    return st.session_state.setdefault("compiled-own", {}) if in_a_page else OF_NO_PAGE


def still_open() -> None:
    """Raises, in a page that was closed or that is to run anew, what Streamlit ends its run with."""
    if get_script_run_ctx(suppress_warning=True) is not None:
        st.session_state.get("asked")  # each look at it is a place where a run may end


offered.own = of_this_session
asker.still = still_open


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
    files = given_files()
    st.session_state["files-seen"] = files.state if files is not None else ()
    return files


def given_files() -> UserFiles | None:
    """The same for those that are no page: read once, by whoever asks first, which may be the server as it starts."""
    arguments = sys.argv[1:] if Path(sys.argv[0]).name == APP else []  # another program's are not meant for us
    return from_command_line(arguments) if arguments else None


def files_version(files: UserFiles | None) -> tuple:
    """A part of the key of what is kept: an aggregate of a file that was saved again is another one."""
    return files.version if files is not None else ()


def saved_traces(files: UserFiles | None) -> dict[str, Trace]:
    """Of the command line, and those that this visitor has opened."""
    given = dict(files.traces) if files is not None else {}
    return {**given, **st.session_state.get(UPLOADED, {})}


@st.fragment(run_every=1.5)
def watch(files: UserFiles) -> None:
    """Runs the page again once a file was saved."""
    if files.have_changed() or files.state != st.session_state.get("files-seen"):
        st.rerun()


def shown_now(traces: dict[str, Trace]) -> Shown:
    """What the page shows: what the address says when it says something new, else what it showed before."""
    state = state_of_step()
    first = next(iter(traces), None)  # who gives a trace on the command line wants to see it
    state.default = Shown(program=f"file:{first}") if first else Shown()
    said = state.news(FIELDS)
    if said:
        state.keep(from_query(said, traces))
        forget_widgets()
    if state.shown is None:
        state.keep(state.default)
    if state.shown.saved and state.shown.saved not in traces:
        state.keep(Shown())
    if state.shown.aggregate not in offered:  # its file was saved without it, or others took its place in the menus
        state.keep(from_query({**state.shown.query(), "compiled": said.get("compiled", "")}, traces))
    return state.shown


def state_of_step() -> PageState[Shown]:
    """Of Step; Compare begins with its program."""
    return PageState.of("step")


def shown_last() -> Shown:
    """What Step shows, or would show."""
    return state_of_step().shown or Shown()


def show(**changes) -> None:
    """Something else was chosen: it begins at its first step, and messages about the address are out of date."""
    state = state_of_step()
    state.keep(replace(shown_last(), **{"step": 0, "problems": (), **changes}))
    state.begin_anew({} if "program" in changes else None)
    state.change(is_edited=False)
    if "program" in changes:
        new_draft()


def edit(text: str) -> None:
    """Somebody wrote in the program: breakpoints stay, and the browser keeps the step near where it was."""
    state = state_of_step()
    state.keep(replace(shown_last(), program="text", text=text, problems=()))
    state.change(is_edited=True)


def new_draft() -> None:
    """The text did not come from the editor: it is to show this one."""
    typed.new_draft(EDITOR)


def forget_widgets() -> None:
    """What menus and the editor hold is older than the address."""
    for name in FIELDS:
        st.session_state.pop(f"choose-{name}", None)
    new_draft()


def program_error(error: ProgramError) -> None:
    """A text that is no program: what is wrong, and where."""
    st.error(as_it_stands(f"Line {error.line}, column {error.column}: {error.message}"), icon=":material/error:")
    st.code(f"{error.text}\n{' ' * (error.column - 1)}^", language=None, wrap_lines=True)


def messages(shown: Shown, files: UserFiles | None) -> None:
    """What is wrong with the address and with the user's files, above the page that works nevertheless."""
    link_problems(shown.problems)
    for problem in files.problems if files is not None else ():
        st.error(as_it_stands(problem.headline), icon=":material/error:")
        if problem.text:
            st.code(problem.excerpt, language=None, wrap_lines=True)


def link_problems(problems: Sequence[str]) -> None:
    """What the address says wrongly, all of it in one box: the page is what somebody came for."""
    if problems:
        st.warning("\n\n".join(map(as_it_stands, problems)), icon=":material/link_off:")


_JOINER = "\u2060"  # unseen, and no part of a word: what would become a link is none with it inside
_TURNING = {each: f"U+{each:04X}" for each in TURNING}
_MARKUP = re.compile(r"([\\`*\[\]{}$<>~#|&]|:(?=\w)|(?<![^\W_])_|_(?![^\W_])|^[-+=](?!\w))", re.MULTILINE)


def as_it_stands(text: str) -> str:
    """A text that Streamlit would read as Markdown, with nothing in it meaning anything: `__import__`, `a * b * c`,
    and no address in it a link."""
    text = text.encode("utf-8", "replace").decode().translate(_TURNING)
    text = re.sub(r"https?:(?=//)|\bwww(?=\.)|(?<=\w)@(?=\w)", rf"\g<0>{_JOINER}", text, flags=re.IGNORECASE)
    return re.sub(r"^([ \t]*\d+)([.)])(?=\s|$)", r"\1\\\2", _MARKUP.sub(r"\\\1", text), flags=re.MULTILINE)
