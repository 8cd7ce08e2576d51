"""The program beside the graph: its editor, what can be put into it, its inputs, and what it printed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial

import streamlit as st
import torch

from ...language import Program, ProgramError, palette
from ...language.palette import Item, Template, names_in
from ...trace.trace import Trace
from ..session import Shown, trace_of
from . import page, typed
from .typed import failure, marked

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
    run begins near the step that was shown: the browser knows which. `version`: of the user's files."""
    state = page.state_of_step()
    before: Shown | None = st.session_state.get("ran")
    try:
        trace = trace_of(state.shown, version)
    except ProgramError as error:
        kept = run_again(before, version) if state.is_edited and before is not None else None
        shown = replace(before, step=state.shown.step) if kept is not None else state.shown
        return Ran(kept, shown, marked(error), kept is not None)
    if state.is_edited and before is not None and state.shown.at(0) != before.at(0):
        state.keep(state.shown.at(max(0, min(state.shown.step, len(trace) - 1))))  # the browser finds its place
        state.begin_anew()
    st.session_state["ran"] = state.shown
    return Ran(trace, state.shown, failure(trace))


def run_again(shown: Shown, version: object) -> Trace | None:
    try:
        return trace_of(shown, version)
    except ProgramError:  # what it stood on is gone: an aggregate of a file that was saved without it
        return None


# --- the editor ---------------------------------------------------------------------------------------------------


def program_part(ran: Ran, unfolded: bool) -> None:
    """The editor, and the inputs of what it holds. `unfolded`: palette and inputs are open from the start."""
    shown = page.shown_last()
    editor(shown, ran, unfolded)
    with st.container(key="inputs"):
        inputs(shown, unfolded)


def editor(shown: Shown, ran: Ran, unfolded: bool) -> None:
    data = {
        "text": shown.source,
        "draft": typed.draft(page.EDITOR),
        "error": ran.error,
        "old": typed.OLD_RUN if ran.is_old else "",
        "groups": groups(shown.source),
        "player": "player",
        "unfolded": unfolded,
    }
    heard = partial(typed.hear, page.EDITOR, page.edit)
    typed.component("editor")(key=f"text-{page.EDITOR}", data=data, on_text_change=heard)


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
            key = f"input-{name}-{typed.draft(page.EDITOR)}-{text}"
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
