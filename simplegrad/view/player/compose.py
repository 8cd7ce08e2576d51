"""The Compose page: a program's text, what it is made of, what it computes, and the way to step through it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import streamlit as st
import torch

from ...language import EXAMPLES, Program, ProgramError, palette
from ...language.palette import Item, Template, names_in
from ...trace.events import PassEnded
from ...trace.trace import Trace
from ..nothing import Nothing
from ..offered import offered
from ..sentences import value_text
from ..session import Shown, trace_of
from . import page

_HERE = Path(__file__).parent
MOST_SHOWN = 40_000  # characters of a transcript or tape
MOST_NUMBERS = 64  # of an input that can be edited as a list


def compose_page() -> None:
    """Write a program; see its errors as you type, its tape and what the notebook would print; step through it."""
    files = page.user_files()
    shown = page.shown_now(page.saved_traces(files))
    if shown.saved:
        shown = page.state_of_step().keep(Shown())
    page.messages(shown, files)
    with st.container(key="texts"):
        left, right = st.columns([6, 5], gap="medium")
    version = page.files_version(files)
    program, trace, error = attempt(shown, version)
    with left:
        choices(shown)
        editor(shown, error)
        if program is not None:
            inputs(program)
    with right:
        results(trace, error)
    page.state_of_step().write_address()
    if files is not None:
        page.watch(files)


def attempt(shown: Shown, version: object) -> tuple[Program | None, Trace | None, dict | None]:
    """The program and its trace, as far as they can be had, and the error as the editor marks it."""
    try:
        program = Program.parse(shown.source)
        trace = trace_of(shown, version)
    except ProgramError as error:
        excerpt = error.excerpt if error.text else ""
        return None, None, {"line": error.line, "column": error.column, "message": error.message, "excerpt": excerpt}
    failed = trace.error
    if failed is None:
        return program, trace, None
    line = failed.line or 1
    text = program.lines[line - 1] if line <= len(program.lines) else ""
    column = len(text) - len(text.lstrip()) + 1
    return program, trace, {"line": line, "column": column, "message": failed.message, "excerpt": f"    {text}"}


# --- left: the text -----------------------------------------------------------------------------------------------


def choices(shown: Shown) -> None:
    with st.container(key="choices"):
        start, aggregate = st.columns(2)
    texts = [*(["text"] if shown.text else []), *EXAMPLES]
    start.selectbox(
        "Begin with an example",
        texts,
        index=texts.index(shown.program) if shown.program in texts else None,
        placeholder="your own program",
        format_func=lambda name: EXAMPLES[name].title if name in EXAMPLES else "your own program",
        key=f"begin-{draft()}-{shown.program}",
        on_change=begin,
        args=(f"begin-{draft()}-{shown.program}",),
    )
    key = "compose-aggregate"
    st.session_state[key] = shown.aggregate
    aggregate.selectbox("Aggregate that f stands for", list(offered), key=key, on_change=chosen)


def draft() -> int:
    """Counts the texts that came from elsewhere than from the editor."""
    return st.session_state.get("draft", 0)


def replace_text(**changes) -> None:
    page.show(**changes)
    st.session_state["draft"] = draft() + 1


def begin(key: str) -> None:
    if st.session_state.get(key) in ("text", *EXAMPLES):
        replace_text(program=st.session_state[key])


def chosen() -> None:
    if st.session_state.get("compose-aggregate") in offered:  # gone, where the page was left at the same moment
        page.show(aggregate=st.session_state["compose-aggregate"])


@cache
def _component():
    js, css = (_HERE / "editor.js").read_text(), (_HERE / "editor.css").read_text()
    html = '<div class="sg-editor-root"></div>'
    return st.components.v2.component("simplegrad_editor", html=html, css=css, js=js, isolate_styles=False)


def editor(shown: Shown, error: dict | None) -> None:
    names = names_in(shown.source)
    groups = [
        [
            group.title,
            [[item.label, written(item, names, shown.source), item.sentence] for item in group.items],
        ]
        for group in palette()
    ]
    data = {"text": shown.source, "draft": f"{session_number()}-{draft()}", "error": error, "groups": groups}
    _component()(key="editor", data=data, on_text_change=typed)


def written(item: Item, names: dict[str, bool], text: str) -> str:
    """What is inserted for it: with the names that are there, or as one reads it in a list."""
    if isinstance(item, Template):
        return item.statement(names, text)
    return item.statement(names) if names else item.snippet


def typed() -> None:
    """The editor told its text: it is the program now, right or wrong."""
    told = (st.session_state.get("editor") or {}).get("text") or {}
    if told.get("draft") == f"{session_number()}-{draft()}" and isinstance(told.get("text"), str):
        page.show(program="text", text=told["text"])
        st.session_state.pop("choose-program", None)


@cache
def _process_number() -> str:
    return f"{torch.initial_seed():x}"[-8:]


def session_number() -> str:
    """Tells drafts of this session from those that another one left in the same browser tab."""
    return st.session_state.setdefault("session-number", f"{_process_number()}{id(st.session_state):x}")


def inputs(program: Program) -> None:
    """The leaves with their numbers; what is written here goes into the text."""
    try:
        leaves = {name: value for name, value in program.inputs.items() if value.numel() <= MOST_NUMBERS}
    except Exception:  # a leaf that cannot be made is an error of the run, which the editor shows
        return
    if not leaves:
        return
    with st.expander("Values of the inputs", expanded=len(leaves) <= 4):
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
        if st.session_state.get("input-problem"):
            st.error(page.as_it_stands(st.session_state.pop("input-problem")))


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
            f"{name}: write a number, or a list of numbers as [0.1, 0.2], all rows of one length. ({error})"
        )
        return
    replace_text(program="text", text=text)


# --- right: what came of it ---------------------------------------------------------------------------------------


def results(trace: Trace | None, error: dict | None) -> None:
    if trace is None:
        st.info("The tape will be shown here as soon as the text is a program: see the marked line.")
        return
    entries, passes, events = len(trace.entries), len(trace.passes), len(trace.events)
    st.markdown(f"**{entries} entries, {passes} {'pass' if passes == 1 else 'passes'}, {events} events**")
    if st.button("Step through it", type="primary", disabled=not events, icon=":material/play_arrow:"):
        st.switch_page("pages/step.py")
    if error is not None:
        st.error(page.as_it_stands(f"Line {error['line']}: {error['message']}"), icon=":material/error:")
    gradients(trace)
    st.markdown("**Tape**")
    tape = "\n".join(f"{entry.id:>4}  {entry.statement}" for entry in trace.entries)
    listing(shortened(tape) or "nothing is recorded yet", 290 if entries > 10 else "content")
    st.markdown("**Transcript**, as the notebook prints it")
    text = shortened(trace.transcript())
    listing(text or "nothing is printed yet", 330 if text.count("\n") > 12 else "content")


def listing(text: str, height: int | str) -> None:
    """Scrolled by the box around it: that has a button in it, so that keys reach it too."""
    with st.container(height=height, border=False):
        st.code(text, language=None, wrap_lines=True)


def gradients(trace: Trace) -> None:
    """What each pass returned, by the names of the program."""
    lines, nothing = [], Nothing()
    for event in trace.events:
        nothing.see(event)
        if isinstance(event, PassEnded):
            for x, g in zip(event.pass_.wanted, event.results):
                value = nothing.result(event.pass_, x) if g is None else f"{g.name} = {value_text(g)}"
                lines.append(f"d{event.pass_.loss.name}/d{x.name} = {value}")
    if lines:
        st.markdown("**Gradients**")
        st.code(shortened("\n".join(lines)), language=None, wrap_lines=True)


def shortened(text: str) -> str:
    if len(text) <= MOST_SHOWN:
        return text
    return f"{text[:MOST_SHOWN]}\n… and {len(text) - MOST_SHOWN} characters more"
