"""The Learn page: a lesson's text and exercises, and beside them the player on its program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Thread

import streamlit as st

from ...lessons import Lesson, Reply, Scene, beside, course, judge, step_of, traces_of
from ...lessons.facts import warm
from ...trace.trace import Trace
from .. import assets
from ..bounded import Bounded
from ..session import view_of
from ..views import TraceView, bytes_of
from . import chart, page, panel, player

_HERE = Path(__file__).parent
RUNS = Bounded(count=32, cost=60_000_000)  # of lessons, for all sessions
REPLIES = Bounded(count=256, cost=60_000_000)
LONGEST = 20_000  # characters of an answer
KEY = "lesson"  # of the component


@dataclass
class Learning:
    """What one session does. `scene`: which run of the lesson; `shown`: the exercise whose answer's run is shown
    instead, or ""; `stale`: another run is to be shown than the page shows; `heard`: numbers of what the browser
    told, so that each is heard once."""

    number: int = 1
    scene: int = 0
    step: int | None = None
    nonce: int = 0
    shown: str = ""
    stale: bool = False
    replies: dict[str, Reply] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)  # that the replies are about
    heard: dict[str, str] = field(default_factory=dict)

    def open(self, number: int) -> None:
        if number != self.number:
            self.number, self.scene, self.step, self.shown = number, 0, None, ""
            self.nonce += 1

    def go(self, step: int | None, of: str, scene: int = 0) -> None:
        self.step, self.scene, self.shown = step, scene, "" if of == "lesson" else of
        self.nonce += 1


@dataclass(frozen=True)
class Stage:
    """What is stepped through: one run, or two beside each other, joined by `rows`. `titles`: of the sides."""

    views: tuple[TraceView, ...]
    start: int
    rows: list[tuple[int, int]] | None = None
    titles: tuple[str, ...] = ("",)

    @property
    def key(self) -> str:
        """Other traces have parts of their own: none of them meets what is not its own."""
        return f"lesson-{'-'.join(view.id for view in self.views)}"


def learn_page() -> None:
    """Read, predict, step, and write: the notebook as sixteen lessons."""
    page.through_router()
    get_ready()
    learning = st.session_state.setdefault("learning", Learning())
    asked_for(learning)
    lesson = course()[learning.number - 1]
    stage = on_stage(learning, lesson)
    with st.container(key="learn"):
        text, picture = st.columns([5, 8], gap="medium")
    with text:
        reading(learning, lesson, stage.key)
    with picture:
        if learning.shown:
            said, back = st.columns([3, 2], vertical_alignment="center")
            said.markdown(f"The run of your answer to exercise {learning.shown}:")
            back.button("Back to the lesson's run", on_click=learning.go, args=(None, "lesson"))
        draw(stage)
    stepping(stage, learning)


def draw(stage: Stage) -> None:
    """The sentence and the graph of each side; below them the programs, and the gradients of a run that is alone."""
    alone = len(stage.views) == 1
    heights = [height_of(view, alone) for view in stage.views]
    st.html(f"<style>.st-key-learn {{ --sgl-graphs: {sum(heights)}px; }}</style>")  # learn.css reckons with it
    for side, (view, title) in enumerate(zip(stage.views, stage.titles)):
        with st.container(gap=None):
            if title:
                st.html(f'<p class="sgl-side">{title}</p>')
            panel("event", side=side, player=stage.key)
            graph = f"{stage.key}-tape" if side == 0 else f"{stage.key}-other"
            chart(view, side=side, player=stage.key, key=graph, height=heights[side])
    for side, column in enumerate(st.columns(2)):
        with column:
            if side < len(stage.views):
                panel("source", side=side, player=stage.key)
            else:
                panel("gradients", player=stage.key)
    panel("python", player=stage.key)


def height_of(view: TraceView, alone: bool) -> int:
    """In pixels: the program and the gradients are to be in sight below it. From about 300 numbers stand at the nodes
    of a graph of two lanes."""
    natural = view.figure.layout.height
    return min(natural, 230) if not alone else 300 if 300 < natural < 360 else min(natural, 320)


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
            page.link_problems([f"The address says lesson={said[:20]}. There are lessons 1 to {len(course())}."])
            st.query_params["lesson"] = learning.heard["address"] = "1"
        learning.open(int(said) if there else 1)


def on_stage(learning: Learning, lesson: Lesson) -> Stage:
    """The run of an answer, where that was asked for; else a scene of the lesson."""
    reply = learning.replies.get(learning.shown)
    if reply is not None and reply.trace is not None and len(reply.trace):
        return Stage((view_of(reply.trace),), min(learning.step or 0, len(reply.trace) - 1))
    learning.shown = ""
    learning.scene = min(learning.scene, len(lesson.scenes) - 1)
    traces, rows = run_of(lesson, learning.scene)
    views = tuple(view_of(trace) for trace in traces)
    start = step_in(lesson, learning.scene, lesson.scenes[learning.scene].begin)
    titles = ("on the tape", "in PyTorch") if rows else ("",)
    return Stage(views, start or 0 if learning.step is None else learning.step, rows, titles)


def run_of(lesson: Lesson, number: int) -> tuple[tuple[Trace, ...], list[tuple[int, int]] | None]:
    """The traces of a scene, one or two, and how the steps of two go together."""

    def run() -> tuple[tuple[Trace, ...], list[tuple[int, int]] | None]:
        traces = traces_of(lesson, lesson.scenes[number])
        return traces, beside(*traces) if len(traces) == 2 else None

    return RUNS.get((lesson.number, number), run, lambda made: sum(map(bytes_of, made[0])))


def step_in(lesson: Lesson, number: int, at: Mapping) -> int | None:
    """The step of the scene that is meant: where there are two sides, the first that shows the tape's event."""
    traces, rows = run_of(lesson, number)
    event = step_of(traces[0], at)
    if rows is None or event is None:
        return event
    return next(step for step, (mine, _) in enumerate(rows) if mine == event)


def hold_of(learning: Learning, lesson: Lesson) -> dict | None:
    """The question that is asked before a step of the lesson's first scene."""
    if learning.shown or learning.scene or lesson.prediction is None:
        return None
    return {"step": step_in(lesson, 0, lesson.prediction.before), "id": f"lesson-{lesson.number}"}


@st.fragment
def stepping(stage: Stage, learning: Learning) -> None:
    player(
        stage.views,
        aligned_steps=stage.rows,
        start=stage.start,
        nonce=f"{learning.number}-{learning.nonce}",
        key=stage.key,
        charts=len(stage.views),
        panels=len(stage.views) + 3,
        hold=hold_of(learning, course()[learning.number - 1]),
    )


# --- the text ----------------------------------------------------------------------------------------------------


@cache
def _component():
    js = assets.part("learn")
    css = "".join((_HERE / name).read_text() for name in ("code.css", "learn.css"))
    html = '<div class="sg-learn-root"></div>'
    return st.components.v2.component("simplegrad_learn", html=html, css=css, js=js, isolate_styles=False)


@st.fragment
def reading(learning: Learning, lesson: Lesson, stage: str) -> None:
    """The lesson, drawn in the browser; an answer runs this part alone. `stage`: the key of the player beside it."""
    told = _component()(
        key=KEY,
        data=data_of(learning, lesson, stage),
        on_check_change=checked,
        on_lesson_change=_nothing,
        on_go_change=_nothing,
    )
    if hear(learning, told):  # told while the server was away: a new session begins with it, and calls nothing back
        st.rerun()
    if learning.stale:
        learning.stale = False
        st.rerun()
    go, other = (news(learning, told, name) for name in ("go", "lesson"))
    if other is not None and isinstance(other.get("number"), int) and 1 <= other["number"] <= len(course()):
        learning.open(other["number"])
        learning.heard["address"] = str(other["number"])
        st.query_params["lesson"] = str(other["number"])
        st.rerun()
    if go is not None and isinstance(go.get("step"), int) and isinstance(go.get("of"), str):
        scene = go.get("scene")
        learning.go(max(go["step"], 0), go["of"], scene if isinstance(scene, int) and scene > 0 else 0)
        st.rerun()


def checked() -> None:
    """An answer came: judged before the page is drawn, so that it is drawn once, with the reply."""
    hear(st.session_state["learning"], st.session_state.get(KEY))


def hear(learning: Learning, told) -> bool:
    """Judge the answer that the browser told, if it was not heard before; whether there was one."""
    check = news(learning, told, "check")
    if check is None or not isinstance(check.get("text"), str):
        return False
    answer(learning, course()[learning.number - 1], str(check.get("id")), check["text"][:LONGEST])
    return True


def news(learning: Learning, told, name: str) -> dict | None:
    """What the browser told under this name, if it was not heard before."""
    said = getattr(told, name, None)
    if not isinstance(said, dict) or learning.heard.get(name) == said.get("n"):
        return None
    learning.heard[name] = said.get("n")
    return said


def answer(learning: Learning, lesson: Lesson, name: str, text: str) -> None:
    if name not in [each.id for each in lesson.exercises]:
        return
    before, reply = learning.replies.get(name), REPLIES.get((name, text), lambda: judge(name, text), cost_of)
    learning.replies[name], learning.texts[name] = reply, text
    if learning.shown == name and reply is not before:
        show_run(learning, name, reply)


def show_run(learning: Learning, name: str, reply: Reply) -> None:
    """In the place of the run of the answer before: at the step that shows what is wrong, or else at the same step.
    Of an answer without a run, the lesson's."""
    if reply.trace is not None and len(reply.trace):
        learning.go(learning.step if reply.step is None else reply.step, name)
    else:
        learning.go(None, "lesson")
    learning.stale = True


def cost_of(reply: Reply) -> int:
    return 1_000 + (0 if reply.trace is None else bytes_of(reply.trace))


def data_of(learning: Learning, lesson: Lesson, stage: str) -> dict:
    asked = lesson.prediction
    return {
        "player": stage,
        "scene": learning.scene,
        "shown": learning.shown,
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
            "scenes": [scene_told(lesson, number, scene) for number, scene in enumerate(lesson.scenes)],
            "prediction": asked
            and {
                "question": asked.question,
                "step": step_in(lesson, 0, asked.before),
                "answers": [{"text": a.text, "reply": a.reply, "right": a.right} for a in asked.answers],
            },
            "exercises": [
                {"id": e.id, "title": e.title, "task": e.task, "start": e.start, "hint": e.hint, "model": e.model}
                for e in lesson.exercises
            ],
        },
        "replies": {name: {**said_of(reply), "text": learning.texts[name]} for name, reply in learning.replies.items()},
        "heard": learning.heard.get("check", ""),  # an answer that is told the same as the one before is told it again
    }


def scene_told(lesson: Lesson, number: int, scene: Scene) -> dict:
    remarks = [{"text": each.text, "step": step_in(lesson, number, each.at)} for each in scene.remarks]
    return {"label": scene.label, "begin": step_in(lesson, number, scene.begin) or 0, "remarks": remarks}


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
