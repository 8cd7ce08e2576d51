"""The Learn page: a lesson's text and exercises, and beside them the player on its program."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Thread

import streamlit as st

from ...language import Program
from ...lessons import Lesson, Reply, course, judge, step_of
from ...lessons.facts import warm
from ...trace.trace import Trace
from ..bounded import Bounded
from ..session import view_of
from ..views import TraceView, bytes_of
from . import chart, page, panel, player

_HERE = Path(__file__).parent
RUNS = Bounded(count=32, cost=60_000_000)  # of lessons, for all sessions
REPLIES = Bounded(count=256, cost=60_000_000)
LONGEST = 20_000  # characters of an answer


@dataclass
class Learning:
    """What one session does. `shown`: a trace of an answer, and the exercise that it belongs to; `heard`: numbers of
    what the browser told, so that each is heard once."""

    number: int = 1
    step: int | None = None
    nonce: int = 0
    shown: str = ""
    replies: dict[str, Reply] = field(default_factory=dict)
    heard: dict[str, str] = field(default_factory=dict)

    def open(self, number: int) -> None:
        if number != self.number:
            self.number, self.step, self.shown = number, None, ""
            self.nonce += 1

    def go(self, step: int, of: str) -> None:
        self.step, self.shown = step, "" if of == "lesson" else of
        self.nonce += 1


def learn_page() -> None:
    """Read, predict, step, and write: the notebook as sixteen lessons."""
    page.through_router()
    get_ready()
    learning = st.session_state.setdefault("learning", Learning())
    asked_for(learning)
    lesson = course()[learning.number - 1]
    trace, start = on_stage(learning, lesson)
    view = view_of(trace)
    key = f"lesson-{view.id}"  # another trace has parts of its own: none of them meets what is not its own
    with st.container(key="learn"):
        text, stage = st.columns([5, 8], gap="medium")
    with text:
        reading(learning, lesson)
    with stage:
        if learning.shown:
            said, back = st.columns([3, 2], vertical_alignment="center")
            said.markdown(f"The run of your answer to exercise {learning.shown}:")
            back.button("Back to the lesson's own", on_click=learning.go, args=(begin_of(lesson), "lesson"))
        panel("event", player=key)
        chart(view, player=key, key=f"{key}-tape", height=330)
        source, gradients = st.columns(2)
        with source:
            panel("source", player=key)
        with gradients:
            panel("gradients", player=key)
    stepping(view, start, learning, key)


@cache
def get_ready() -> None:
    """While the first visitor reads, import what the first answer will need."""
    Thread(target=warm, daemon=True).start()


def asked_for(learning: Learning) -> None:
    """The lesson that the address says, where it says one; a lesson that there is not is the first."""
    said = st.query_params.get("lesson", "")
    if said and learning.heard.get("address") != said:
        learning.heard["address"] = said
        there = said.isascii() and said.isdigit() and 1 <= int(said[:4]) <= len(course())
        if not there:
            st.warning(
                page.as_it_stands(f"The address says lesson={said[:20]}. There are lessons 1 to {len(course())}.")
            )
        learning.open(int(said) if there else 1)


def on_stage(learning: Learning, lesson: Lesson) -> tuple[Trace, int]:
    """The trace that is shown, and the step to begin at."""
    reply = learning.replies.get(learning.shown)
    if reply is not None and reply.trace is not None and len(reply.trace):
        return reply.trace, min(learning.step or 0, len(reply.trace) - 1)
    learning.shown = ""
    return run_of(lesson), begin_of(lesson) if learning.step is None else learning.step


def run_of(lesson: Lesson) -> Trace:
    def run() -> Trace:
        program = Program.parse(lesson.program.strip("\n"), title=lesson.title)
        return program.run(lesson.aggregate, none=lesson.none)

    return RUNS.get(lesson.number, run, bytes_of)


def begin_of(lesson: Lesson) -> int:
    return step_of(run_of(lesson), lesson.begin) or 0


@st.fragment
def stepping(view: TraceView, start: int, learning: Learning, key: str) -> None:
    player([view], start=start, nonce=f"{learning.number}-{learning.nonce}", key=key, charts=1, panels=3)


# --- the text ----------------------------------------------------------------------------------------------------


@cache
def _component():
    js, css = (_HERE / "learn.js").read_text(), (_HERE / "learn.css").read_text()
    html = '<div class="sg-learn-root"></div>'
    return st.components.v2.component("simplegrad_learn", html=html, css=css, js=js, isolate_styles=False)


@st.fragment
def reading(learning: Learning, lesson: Lesson) -> None:
    """The lesson, drawn in the browser; an answer runs this part alone."""
    nothing = {f"on_{name}_change": _nothing for name in ("lesson", "go", "check")}
    told = _component()(key="lesson", data=data_of(learning, lesson), **nothing)
    check, go, other = (news(learning, told, name) for name in ("check", "go", "lesson"))
    if other is not None and isinstance(other.get("number"), int) and 1 <= other["number"] <= len(course()):
        learning.open(other["number"])
        learning.heard["address"] = str(other["number"])
        st.query_params["lesson"] = str(other["number"])
        st.rerun()
    if go is not None and isinstance(go.get("step"), int) and isinstance(go.get("of"), str):
        learning.go(max(go["step"], 0), go["of"])
        st.rerun()
    if check is not None and isinstance(check.get("text"), str):
        answer(learning, lesson, str(check.get("id")), check["text"][:LONGEST])
        st.rerun(scope="fragment")


def news(learning: Learning, told, name: str) -> dict | None:
    """What the browser told under this name, if it was not heard before."""
    said = getattr(told, name, None)
    if not isinstance(said, dict) or learning.heard.get(name) == said.get("n"):
        return None
    learning.heard[name] = said.get("n")
    return said


def answer(learning: Learning, lesson: Lesson, name: str, text: str) -> None:
    if name in [each.id for each in lesson.exercises]:
        learning.replies[name] = REPLIES.get((name, text), lambda: judge(name, text), cost_of)


def cost_of(reply: Reply) -> int:
    return 1_000 + (0 if reply.trace is None else bytes_of(reply.trace))


def data_of(learning: Learning, lesson: Lesson) -> dict:
    trace = run_of(lesson)
    asked = lesson.prediction
    return {
        "rail": [
            {"number": each.number, "title": each.title, "exercises": [e.id for e in each.exercises]}
            for each in course()
        ],
        "lesson": {
            "number": lesson.number,
            "title": lesson.title,
            "aim": lesson.aim,
            "text": lesson.text,
            "table": lesson.table,
            "remarks": [{"text": each.text, "step": step_of(trace, each.at)} for each in lesson.remarks],
            "prediction": asked
            and {
                "question": asked.question,
                "step": step_of(trace, asked.before),
                "answers": [{"text": a.text, "reply": a.reply, "right": a.right} for a in asked.answers],
            },
            "exercises": [
                {"id": e.id, "title": e.title, "task": e.task, "start": e.start, "hint": e.hint, "model": e.model}
                for e in lesson.exercises
            ],
        },
        "replies": {name: said_of(reply) for name, reply in learning.replies.items()},
    }


def said_of(reply: Reply) -> dict:
    shows = reply.step is not None and reply.trace is not None and reply.step < len(reply.trace)
    return {
        "solved": reply.solved,
        "sentence": reply.sentence,
        "place": reply.place,
        "line": reply.line,
        "step": reply.step if shows else None,
    }


def _nothing() -> None:
    """Streamlit wants a callback for each state that a component may set."""
