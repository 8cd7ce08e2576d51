"""Texts that are typed in the browser, in CodeMirror: which one it is to show, what it told, what is wrong there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import streamlit as st
import torch

from ...language import ProgramError
from ...trace.trace import Trace
from .. import assets

_HERE = Path(__file__).parent
OLD_RUN = "The graph shows the program as it ran last."


@cache
def component(script: str):
    """`script`: the module that mounts the editor and what stands around it."""
    js = assets.part(script)
    css = "".join((_HERE / name).read_text() for name in ("code.css", "editor.css"))
    html = '<div class="sg-root sg-editor-root"></div>'
    return st.components.v2.component(f"simplegrad_{script}", html=html, css=css, js=js, isolate_styles=False)


def field(
    name: str,
    label: str,
    text: str,
    heard: Callable[[str], None],
    error: Mapping | None = None,
    old: str = "",
    query: Mapping[str, str] | None = None,
    writes: bool = False,
    least: int = 4,
) -> None:
    """An editor for a text. `heard`: is told what was typed, before the page is drawn; `old`: what of the page is of
    an older text, where this one is wrong; `query`, `writes`: as of a player; `least`: its room, in lines."""
    showing(name, text)
    data = {
        "name": name,
        "label": label,
        "text": text,
        "draft": draft(name),
        "error": error,
        "old": old,
        "least": least,
    }
    component("field")(
        key=f"text-{name}",
        data={**data, "query": query, "writes": writes},
        on_text_change=lambda: hear(name, heard),
    )


def hear(name: str, heard: Callable[[str], None]) -> None:
    """What the browser told, if it is of the text that it is to show."""
    told = (st.session_state.get(f"text-{name}") or {}).get("text") or {}
    if told.get("draft") == draft(name) and isinstance(told.get("text"), str):
        st.session_state[f"known-{name}"] = told["text"]
        heard(told["text"])


def showing(name: str, text: str) -> None:
    """This is the text now. Where it did not come from the browser, the browser is to show it."""
    if st.session_state.setdefault(f"known-{name}", text) != text:
        st.session_state[f"known-{name}"] = text
        new_draft(name)


def new_draft(name: str) -> None:
    st.session_state[f"draft-{name}"] = st.session_state.get(f"draft-{name}", 0) + 1


def draft(name: str) -> str:
    """Names the text that did not come from the editor; another session's, in the same browser tab, is another one."""
    session = st.session_state.setdefault("session-number", f"{_process_number()}{id(st.session_state):x}")
    return f"{session}-{st.session_state.get(f'draft-{name}', 0)}"


@cache
def _process_number() -> str:
    return f"{torch.initial_seed():x}"[-8:]


# --- what is wrong, as the editor marks it ------------------------------------------------------------------------


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
