"""The program beside the graph: its editor, what can be put into it, its inputs, and what it printed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import streamlit as st
import torch

from ...language import Program, ProgramError, palette
from ...language.palette import Item, Template, names_in
from ...trace.trace import Trace
from .. import assets
from ..near import near
from ..session import Shown, trace_of
from . import page

_HERE = Path(__file__).parent
KEY = "editor"  # of the component
MOST_SHOWN = 40_000  # characters of a transcript
MOST_NUMBERS = 64  # of an input that can be edited as a list


@dataclass(frozen=True)
class Ran:
    """What is stepped through: `trace`, the run of `shown`; None where nothing ran. `error`: as the editor marks it, of
    the text that stands there now, which may be a later one (`is_old`)."""

    trace: Trace | None
    shown: Shown
    error: dict | None = None
    is_old: bool = False


def ran_now(version: object) -> Ran:
    """The run of the program that is shown. While a text is edited and is no program, the run before stays, and a new
    run begins near the step that was shown. `version`: of the user's files."""
    state = page.state_of_step()
    before: Shown | None = st.session_state.get("ran")
    try:
        trace = trace_of(state.shown, version)
    except ProgramError as error:
        kept = run_again(before, version) if state.is_edited and before is not None else None
        shown = replace(before, step=state.shown.step) if kept is not None else state.shown
        return Ran(kept, shown, marked(error), kept is not None)
    if state.is_edited and before is not None and state.shown.at(0) != before.at(0):
        old = run_again(before, version)
        state.keep(state.shown.at(near(old, state.shown.step, trace) if old is not None else 0))
        state.begin_anew()
    st.session_state["ran"] = state.shown
    return Ran(trace, state.shown, failure(trace))


def run_again(shown: Shown, version: object) -> Trace | None:
    try:
        return trace_of(shown, version)
    except ProgramError:  # what it stood on is gone: an aggregate of a file that was saved without it
        return None


def marked(error: ProgramError) -> dict:
    return {"line": error.line, "column": error.column, "message": error.message}


def failure(trace: Trace) -> dict | None:
    """What the run raised, at its line."""
    failed = trace.error
    if failed is None:
        return None
    line = failed.line or 1
    lines = trace.program.split("\n")
    text = lines[line - 1] if line <= len(lines) else ""
    column = len(text) - len(text.lstrip()) + 1
    return {"line": line, "column": column, "message": failed.message}


# --- the editor ---------------------------------------------------------------------------------------------------


def program_part(ran: Ran, unfolded: bool) -> None:
    """The editor, and the inputs of what it holds. `unfolded`: palette and inputs are open from the start."""
    shown = page.shown_last()
    editor(shown, ran, unfolded)
    with st.container(key="inputs"):
        inputs(shown, unfolded)


@cache
def _component():
    js = assets.script("editor")
    rules = "".join((_HERE / name).read_text() for name in ("code.css", "editor.css"))
    css = assets.style() + rules  # beside an empty program there is no player that would bring them
    html = '<div class="sg-root sg-editor-root"></div>'
    return st.components.v2.component("simplegrad_editor", html=html, css=css, js=js, isolate_styles=False)


def editor(shown: Shown, ran: Ran, unfolded: bool) -> None:
    data = {
        "text": shown.source,
        "draft": draft(),
        "error": ran.error,
        "old": ran.is_old,
        "groups": groups(shown.source),
        "player": "player",
        "unfolded": unfolded,
    }
    _component()(key=KEY, data=data, on_text_change=typed)


def groups(text: str) -> list[list]:
    """The palette: [title, [[label, statement, what it does], …]]."""
    names = names_in(text)
    return [
        [group.title, [[item.label, written(item, names, text), item.sentence] for item in group.items]]
        for group in palette()
    ]


def written(item: Item, names: dict[str, bool], text: str) -> str:
    """What is inserted for it: with the names that are there, or as one reads it in a list."""
    if isinstance(item, Template):
        return item.statement(names, text)
    return item.statement(names) if names else item.snippet


def typed() -> None:
    """The editor told its text: it is the program now, right or wrong."""
    told = (st.session_state.get(KEY) or {}).get("text") or {}
    if told.get("draft") == draft() and isinstance(told.get("text"), str):
        page.edit(told["text"])


@cache
def _process_number() -> str:
    return f"{torch.initial_seed():x}"[-8:]


def draft() -> str:
    """Names the text that did not come from the editor; another session's, in the same browser tab, is another one."""
    session = st.session_state.setdefault("session-number", f"{_process_number()}{id(st.session_state):x}")
    return f"{session}-{st.session_state.get('draft', 0)}"


# --- its inputs ---------------------------------------------------------------------------------------------------


def inputs(shown: Shown, unfolded: bool) -> None:
    """The leaves with their numbers; what is written here goes into the text."""
    leaves = leaves_of(shown.source)
    problem = st.session_state.pop("input-problem", "")
    with st.expander("Values of the inputs", expanded=unfolded, key="inputs-unfolded"):
        if not leaves:
            st.caption("There are none yet: the program has no leaf such as a = rand(4).")
        for name, value in leaves.items():
            text = value_list(value)
            key = f"input-{name}-{draft()}-{text}"
            st.text_input(
                page.as_it_stands(f"{name}, {'×'.join(map(str, value.shape)) or 'scalar'}"),
                text,
                key=key,
                on_change=write_input,
                args=(name, key, text),
            )
        if problem:
            st.error(page.as_it_stands(problem))


def leaves_of(text: str) -> dict[str, torch.Tensor]:
    """Those that are small enough to be written as a list."""
    try:
        leaves = Program.parse(text).inputs
    except Exception:  # no program yet; or a leaf that cannot be made, an error of the run, which the editor shows
        return {}
    return {name: value for name, value in leaves.items() if value.numel() <= MOST_NUMBERS}


def value_list(value: torch.Tensor) -> str:
    """As one types it: [0.3605, 0.9889]."""

    def listed(numbers):
        if isinstance(numbers, list):
            return f"[{', '.join(map(listed, numbers))}]"
        return f"{numbers:.6g}"

    return listed(value.tolist())


def write_input(name: str, key: str, shown: str) -> None:
    """Read as JSON, so that nothing of it is evaluated. What is as it was `shown` changes nothing."""
    if st.session_state.get(key, shown) == shown:
        return
    try:
        value = torch.tensor(json.loads(st.session_state[key]), dtype=torch.get_default_dtype())
        text = Program.parse(page.shown_last().source).with_input(name, value)
    except (ValueError, TypeError, RuntimeError, KeyError, RecursionError) as error:
        st.session_state["input-problem"] = (
            f"{name}: write a number, or a list of numbers such as [0.1, 0.2], with rows of the same length. ({error})"
        )
        return
    page.edit(text)
    page.new_draft()


# --- what it printed ----------------------------------------------------------------------------------------------


def transcript(trace: Trace) -> None:
    """Made when it is unfolded."""
    box = st.expander("Transcript, as the notebook prints it", key="transcript-unfolded", on_change="rerun")
    if box.open:
        with box:
            st.code(shortened(trace.transcript()) or "nothing is printed yet", language=None, wrap_lines=True)


def shortened(text: str) -> str:
    if len(text) <= MOST_SHOWN:
        return text
    return f"{text[:MOST_SHOWN]}\n… and {len(text) - MOST_SHOWN} characters more"
