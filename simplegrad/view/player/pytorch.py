"""The PyTorch page: a run of autograd in the player, with what check says of its Functions on top."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ...checks.report import Report
from ...files import UserFiles
from ...trace.trace import Trace
from .. import assets
from ..html import page as html_page
from ..pytorch_view import (
    RAISED,
    TRACE,
    Case,
    Looked,
    cases_of,
    clamped,
    facts,
    ghosts,
    looked_from_query,
    report_of_case,
    report_so_far,
    trace_of_case,
)
from ..session import view_of
from ..views import TraceView
from . import carry, page, player, why_answer
from .stage import PANELS, stage
from .state import PageState

FIELDS = ("case", "step")
PLAYER = "pytorch"
NOTHING = "No autograd node was recorded: no backward pass ran, or no input of it requires a gradient."
_HERE = Path(__file__).parent


def pytorch_page() -> None:
    """Choose a Function or a saved trace; read what is wrong with it, and walk through its passes."""
    files = page.user_files()
    cases = cases_of(files, st.session_state.get(page.UPLOADED))
    looked = looked_now(cases)
    file = menu(cases, looked)
    case = cases[looked.case]
    trace = trace_of_case(case, page.files_version(files))
    looked = state().keep(clamped(looked, trace))
    messages(looked, files)
    with file:
        save(case, trace, page.files_version(files))
        carry.open_a_trace(opened)
    walk(case, trace, looked, page.files_version(files))
    if files is not None:
        page.watch(files)


def save(case: Case, trace: Trace, version: object) -> None:
    """The page as a file, with what check says of the Function."""
    here = state()

    def made() -> str:
        told = {"title": case.title, "facts": facts(case, trace, report_of_case(case, version))}
        views = [TraceView(trace)] if trace.events else []
        return html_page({**told, "notices": list(trace.notices)}, views, here.shown.step)

    carry.save_as_html(case.title, made, "save-pytorch")


def walk(case: Case, trace: Trace, looked: Looked, version: object) -> None:
    """Findings and sources, then the player with its graph and texts; all but what check says, which takes longest, and
    with that once more. Of the run of a model the parameters and sources stand below the graph, which they would push
    out of sight."""
    report, before = report_so_far(case, version), st.session_state.pop("torch-checked", None)
    if report is None and before == (case.name, version):  # others have pushed it out since
        report = report_of_case(case, version)
    told = facts(case, trace, report)
    is_below = bool(told["parameters"]) and bool(trace.events)
    with st.container(key="torch-top"):
        component("findings" if is_below else "facts", **told)
    run_of(trace, looked, report, told, is_below)
    if report is None:
        report_of_case(case, version)
        st.session_state["torch-checked"] = (case.name, version)
        st.rerun()


def run_of(trace: Trace, looked: Looked, report: Report | str | None, told: dict, is_below: bool) -> None:
    if not trace.events:
        component("lanes", **{**told, "lanes": []})
        raised = [page.as_it_stands(each) for each in trace.notices if each.startswith(RAISED)]
        st.info(*raised[:1] or [NOTHING])
        state().write_address()
        return
    born = [each["step"] for each in told.get("births", ())]
    opened = state().opened_first(0, lambda: view_of(trace).opened_at(looked.step or (born or [0])[0]))
    view = view_of(trace, opened, ghosts(trace, report))
    stage(view, PLAYER, "torch-graph", lambda: component("lanes", **told))
    if is_below:
        component("sources", **told)
    stepping(view, looked)


@st.fragment
def stepping(view: TraceView, looked: Looked) -> None:
    here = state()
    paused = player(
        [view],
        start=looked.step,
        nonce=str(here.nonce),
        key=PLAYER,
        charts=1,
        panels=PANELS,
        breakpoints=here.marks_at_start.get("break", ""),
        watches=here.marks_at_start.get("watch", ""),
        query=here.shown.query(),
        asks=True,
    )
    why_answer(view.trace, paused, PLAYER)
    here.hear(paused, {0: view.group_at(here.shown.step if paused.step is None else paused.step)})
    here.write_address()


@cache
def _component():
    css = (_HERE / "compare.css").read_text() + (_HERE / "pytorch.css").read_text()
    body = '<div class="sg-root sg-pytorch"></div>'
    js = assets.part("pytorch")
    return st.components.v2.component("simplegrad_pytorch", html=body, css=css, js=js, isolate_styles=False)


def component(part: str, **told) -> None:
    """A part of the page that is drawn in the browser: "facts", its two halves "findings" and "sources", or the
    "lanes" of the graph."""
    _component()(key=f"torch-{part}", data=json.dumps({**told, "part": part, "player": PLAYER, "asks": True}))


# --- what the page remembers --------------------------------------------------------------------------------------


def state() -> PageState[Looked]:
    return PageState.of("pytorch")


def looked_now(cases: dict[str, Case]) -> Looked:
    """What the address says when it says something new; else what the page showed before; else the first case."""
    here = state()
    here.default = Looked(next(iter(cases)))
    said = here.news(FIELDS)
    if said:
        here.keep(looked_from_query(said, cases))
        st.session_state.pop("torch-case", None)
    if here.shown is None or here.shown.case not in cases:  # its file was saved without it
        here.keep(here.default)
    return here.shown


# --- menu and messages --------------------------------------------------------------------------------------------


def menu(cases: dict[str, Case], looked: Looked) -> DeltaGenerator:
    if st.session_state.get("torch-case") not in cases:
        st.session_state["torch-case"] = looked.case
    titles = {name: case.title for name, case in cases.items()}
    with st.container(key="menus"):
        chosen, file = st.columns([10, 1.3])
        chosen.selectbox(
            "Function or trace",
            list(cases),
            format_func=titles.get,
            key="torch-case",
            on_change=changed,
            label_visibility="collapsed",
        )
    if cases[looked.case].sentence:
        st.markdown(page.as_it_stands(cases[looked.case].sentence))
    return file.popover("file", help="save this page, or open a saved trace", width="stretch")


def changed() -> None:
    chosen(st.session_state["torch-case"])


def opened(name: str) -> None:
    st.session_state.pop("torch-case", None)
    chosen(TRACE + name)


def chosen(case: str) -> None:
    state().keep(Looked(case))
    state().begin_anew({})


def messages(looked: Looked, files: UserFiles | None) -> None:
    """What is wrong with the address and with the user's files, above the page that works nevertheless."""
    page.messages(looked, files)
