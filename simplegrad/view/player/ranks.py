"""The Ranks page: what the traces of all ranks say together, ranks by passes, and the way to each rank's own trace."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import streamlit as st

from ...trace.trace import Trace
from .. import assets
from ..pytorch_view import TRACE, Looked
from ..ranks_view import WANTED, facts_of, runs_of
from . import carry, page
from .state import PageState

_HERE = Path(__file__).parent


def ranks_page() -> None:
    """Choose a run; see which rank is at fault, and open its trace where it shows."""
    files = page.user_files()
    traces = page.saved_traces(files)
    runs = runs_of(traces)
    title = menu(list(runs))
    if title is None:
        st.info(page.as_it_stands(WANTED))
    else:
        with st.spinner("The ranks are compared …"):
            told = facts_of(runs[title], traces)
        shown(told, runs[title], traces)
    carry.open_traces(lambda _: None)
    page.messages(Looked(), files)
    if files is not None:
        page.watch(files)


def menu(titles: list[str]) -> str | None:
    """The run that is shown; a menu only where there are several."""
    if len(titles) < 2:
        return titles[0] if titles else None
    with st.container(key="menus"):
        return st.selectbox("Run", titles, key="ranks-run", label_visibility="collapsed")


def shown(told: dict, names: dict[int, str], traces: dict[str, Trace]) -> None:
    if "problem" in told:
        st.warning(page.as_it_stands(told["problem"]))
        return
    result = _component()(key="ranks-told", data=json.dumps(told), on_opened_change=_nothing)
    opened = result.opened or {}
    if opened.get("at") and opened["at"] != st.session_state.get("ranks-opened"):
        st.session_state["ranks-opened"] = opened["at"]
        open_rank(opened, names, traces)


def open_rank(opened: dict, names: dict[int, str], traces: dict[str, Trace]) -> None:
    """The PyTorch page with the trace of one rank, at the step that was clicked."""
    name, step = names.get(opened.get("rank")), opened.get("step", 0)
    if name not in traces or type(step) is not int:
        return
    there: PageState[Looked] = PageState.of("pytorch")
    there.default = Looked()
    there.keep(Looked(f"{TRACE}{name}", max(0, step)))
    there.begin_anew({})
    st.session_state.pop("torch-case", None)
    st.switch_page("pages/pytorch.py")


@cache
def _component():
    css = (_HERE / "compare.css").read_text() + (_HERE / "ranks.css").read_text()
    js = assets.part("ranks")
    html = '<div class="sg-root sg-ranks"></div>'
    return st.components.v2.component("simplegrad_ranks", html=html, css=css, js=js, isolate_styles=False)


def _nothing() -> None:
    """A change is read from the component's result."""
