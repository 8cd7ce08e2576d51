"""The PyTorch page: a run of autograd in the player, with what check says of its Functions on top."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import streamlit as st

from ...files import UserFiles
from ...trace.trace import Trace
from ..graph import OPEN_GROUPS
from ..pytorch_view import (
    RAISED,
    Case,
    Looked,
    cases_of,
    clamped,
    facts,
    ghosts,
    looked_from_query,
    report_of_case,
    trace_of_case,
)
from ..session import view_of
from ..views import TraceView
from . import Paused, chart, page, panel, player

FIELDS = ("case", "step")
PLAYER = "pytorch"
NOTHING = "No autograd node was recorded: the function's result does not depend on an input that requires grad."
PARTS = ("source", "tape", "gradients", "inspector")
_HERE = Path(__file__).parent


def pytorch_page() -> None:
    """Choose a Function or a saved trace; read what is wrong with it, and walk through its passes."""
    files = page.user_files()
    cases = cases_of(files)
    looked = looked_now(cases)
    menu(cases, looked)
    case = cases[looked.case]
    trace = trace_of_case(case, page.files_version(files))
    looked = keep(clamped(looked, trace))
    messages(looked, files)
    walk(case, trace, looked, page.files_version(files))
    if files is not None:
        page.watch(files)


def walk(case: Case, trace: Trace, looked: Looked, version: object) -> None:
    """Findings and sources, then the player with its graph and texts."""
    report = report_of_case(case, version)
    told = facts(case, trace, report)
    component("facts", **told)
    if not trace.events:
        component("lanes", **{**told, "lanes": []})
        raised = [page.as_it_stands(each) for each in trace.notices if each.startswith(RAISED)]
        st.info(*raised[:1] or [NOTHING])
        write_url(looked)
        return
    view = view_of(trace, opened(), ghosts(trace, report))
    with st.container(key="stage", gap="xsmall"):
        stepping(view, looked)
        panel("event", player=PLAYER)
        component("lanes", **told)
        chart(view, player=PLAYER, key="torch-graph")
    with st.container(key="texts"):
        for part, column in zip(PARTS, st.columns([3.4, 3, 3.3, 4])):
            with column:
                panel(part, player=PLAYER)


@st.fragment
def stepping(view: TraceView, looked: Looked) -> None:
    marks = marks_at_start()
    paused = player(
        [view],
        start=looked.step,
        nonce=nonce(),
        key=PLAYER,
        charts=1,
        panels=5,
        breakpoints=marks.get("break", ""),
        watches=marks.get("watch", ""),
    )
    hear(paused, view)


@cache
def _component():
    css = (_HERE / "compare.css").read_text() + (_HERE / "pytorch.css").read_text()
    body = '<div class="sg-root sg-pytorch"></div>'
    js = (_HERE / "pytorch.js").read_text()
    return st.components.v2.component("simplegrad_pytorch", html=body, css=css, js=js, isolate_styles=False)


def component(part: str, **told) -> None:
    """A part of the page that is drawn in the browser: "facts", or the "lanes" of the graph."""
    _component()(key=f"torch-{part}", data=json.dumps({**told, "part": part, "player": PLAYER}))


# --- what the page remembers --------------------------------------------------------------------------------------


def looked_now(cases: dict[str, Case]) -> Looked:
    """What the URL says when it says something new; else what the page showed before; else the first case."""
    said = {name: st.query_params[name] for name in FIELDS if name in st.query_params}
    if said and said != st.session_state.get("torch-written"):
        st.session_state["torch-written"] = said  # heard once: it does not undo what is chosen later
        st.session_state["torch-marks"] = {name: st.query_params.get(name, "") for name in page.MARKS}
        keep(looked_from_query(said, cases))
        begin_anew()
        st.session_state.pop("torch-case", None)
    looked = st.session_state.setdefault("torch-looked", Looked(next(iter(cases))))
    if looked.case not in cases:  # its file was saved without it
        looked = keep(Looked(next(iter(cases))))
    return looked


def keep(looked: Looked) -> Looked:
    st.session_state["torch-looked"] = looked
    return looked


def begin_anew() -> None:
    st.session_state["torch-nonce"] = st.session_state.get("torch-nonce", 0) + 1
    st.session_state["torch-opened"] = ()


def nonce() -> str:
    return str(st.session_state.get("torch-nonce", 0))


def marks() -> dict[str, str]:
    """Breakpoints and watched gradients, as the URL has them; those that there are."""
    return {name: text for name, text in st.session_state.get("torch-marks", {}).items() if text}


def marks_at_start() -> dict[str, str]:
    """The same as they were when this run came to be shown: the browser knows what it changed since."""
    if st.session_state.get("torch-marks-of") != nonce():
        st.session_state["torch-marks-of"], st.session_state["torch-marks-then"] = nonce(), marks()
    return st.session_state["torch-marks-then"]


def opened() -> tuple[str, ...]:
    return st.session_state.get("torch-opened", ())


def hear(paused: Paused, view: TraceView) -> None:
    """Keep the step that the person paused at in the URL; open a collapsed group that was clicked or stepped into."""
    looked = st.session_state["torch-looked"]
    if paused.step is not None and paused.step != looked.step:
        looked = keep(replace(looked, step=paused.step, problems=()))
    if paused.breakpoints is not None:
        st.session_state["torch-marks"] = {"break": paused.breakpoints, "watch": paused.watches or ""}
    write_url(looked)
    group = view.group_at(looked.step)
    if paused.click and paused.click != st.session_state.get("torch-clicked"):
        st.session_state["torch-clicked"] = paused.click
        group = paused.group or group
    if group is not None and group not in opened():
        st.session_state["torch-opened"] = tuple([*opened(), group][-OPEN_GROUPS:])
        st.rerun()


def write_url(looked: Looked) -> None:
    query = looked.query()
    st.session_state["torch-written"] = query
    wanted = {**query, **marks()}
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


# --- menu and messages --------------------------------------------------------------------------------------------


def menu(cases: dict[str, Case], looked: Looked) -> None:
    if st.session_state.get("torch-case") not in cases:
        st.session_state["torch-case"] = looked.case
    with st.container(key="menus"):
        left, right = st.columns([2, 5], vertical_alignment="bottom")
    titles = {name: case.title for name, case in cases.items()}
    left.selectbox("Function or trace", list(cases), format_func=titles.get, key="torch-case", on_change=changed)
    right.markdown(page.as_it_stands(cases[looked.case].sentence))


def changed() -> None:
    keep(Looked(st.session_state["torch-case"]))
    st.session_state["torch-marks"] = {}
    begin_anew()


def messages(looked: Looked, files: UserFiles | None) -> None:
    """What is wrong with the address and with the user's files, above the page that works nevertheless."""
    page.messages(looked, files)
