"""The Compile page: an expression as an aggregate, its code for each pattern of Nones, and what a program uses."""

from __future__ import annotations

from collections import Counter

import streamlit as st

from ...compiler import CompiledAggregate
from ...language import ProgramError, pack, unpack
from ...trace.trace import Trace
from ..compile_view import (
    EXAMPLES,
    Listing,
    compiled,
    links_of,
    listings,
    pattern_said,
    patterns_of,
    program_text,
    run,
)
from . import page

FIRST = "(a + b) * b"
OWN = "your own text"
MOST_NAMED = 24  # characters
# Code needs its width: on narrow screens one text below the other. Its colours are to be read in both themes.
STYLE = """
@media (max-width: 1100px) {
  .st-key-codes .stHorizontalBlock { flex-wrap: wrap; }
  .st-key-codes .stColumn { flex: 1 1 100%; min-width: 100%; }
}
[class*="st-key-compile-"] textarea { font-family: monospace; }
.st-key-codes .token:is(.punctuation, .operator) { color: light-dark(#1f2933, #e6ebf1); }
.st-key-codes .token:is(.keyword, .function) { color: light-dark(#005a9e, #6cb8ee); }
.st-key-codes .token:is(.string, .triple-quoted-string, .boolean, .number) { color: light-dark(#006b4a, #4fc79b); }
.st-key-codes .token.comment { color: light-dark(#5a6472, #9aa6b4); }
"""


def compile_page() -> None:
    """Write an expression; see its forward and its propagate, for each pattern of Nones; step through it."""
    page.through_router()
    st.html(f"<style>{STYLE}</style>")
    st.markdown("Write an expression. It becomes one entry on the tape, with a `propagate` that is right at any order.")
    with st.container(key="texts"):
        left, right = st.columns(2, gap="medium")
    with left:
        text, wished = expression()
        aggregate = attempt(text, wished)
    if aggregate is None:
        with right:
            st.info("The code will be shown here as soon as the text is an expression: see the marked place.")
        return
    with right:
        trace = program(aggregate)
    counts = patterns_of(trace, aggregate) if trace is not None else Counter()
    with left:
        ways_out(aggregate)
        occurred(aggregate, counts, trace)
    codes(listings(aggregate, counts))


# --- the expression ----------------------------------------------------------------------------------------------


def expression() -> tuple[str, str]:
    """The text and the name that was wished for; kept in the URL."""
    begin_with_url()
    examples, name = st.columns([3, 2])
    examples.selectbox(
        "Begin with an example", choices(), index=None, placeholder=OWN, key="compile-example",
        on_change=begin_with_example,
    )  # fmt: skip
    wished = name.text_input("Name", key="compile-name", max_chars=MOST_NAMED, placeholder="f")
    text = st.text_area("Expression", key="compile-text", height=130, help="Free names are its inputs, in their order.")
    said = {"expression": pack(text)} | ({"name": wished} if wished else {})
    if st.query_params.to_dict() != said:
        st.query_params.from_dict(said)
    st.session_state["compile-written"], st.session_state["compile-kept"] = said, (text, wished)
    return text, wished


def begin_with_url() -> None:
    """What the address says when it says something new; else what the page showed, or the first example."""
    said = {name: st.query_params[name] for name in ("expression", "name") if name in st.query_params}
    text, wished = st.session_state.get("compile-kept", (FIRST, ""))
    if "expression" in said and said != st.session_state.get("compile-written"):
        try:
            text, wished = unpack(said["expression"]), said.get("name", "")[:MOST_NAMED]
        except ProgramError as error:
            told = f"The address asks for an expression, but {error.message}"
            st.warning(page.as_it_stands(told), icon=":material/link_off:")
    elif "compile-text" in st.session_state:
        return
    st.session_state["compile-text"], st.session_state["compile-name"] = text, wished


def choices() -> list[str]:
    """The examples, and the text that one of them took the place of."""
    return [*([OWN] if "compile-own" in st.session_state else []), *EXAMPLES]


def begin_with_example() -> None:
    chosen, text = st.session_state.get("compile-example"), st.session_state.get("compile-text", "")
    meant = st.session_state.get("compile-own", text) if chosen == OWN else EXAMPLES.get(chosen, text)
    if text not in EXAMPLES.values():
        st.session_state["compile-own"] = text
    st.session_state["compile-text"], st.session_state["compile-example"] = meant, None


def attempt(text: str, wished: str) -> CompiledAggregate | None:
    """The aggregate, or the error at its place."""
    try:
        return compiled(text, wished)
    except ProgramError as error:
        page.program_error(error)
    return None


# --- the program it runs in --------------------------------------------------------------------------------------


def program(aggregate: CompiledAggregate) -> Trace | None:
    """A program that calls it as f; its shapes are those that the code below is for."""
    key = f"compile-program-{aggregate.name}"
    try:
        first = program_text(aggregate)
    except ValueError as error:
        st.warning(page.as_it_stands(f"No program could be made for it: {error}"))
        return None
    kept = st.session_state.setdefault("compile-programs", {})
    text = st.text_area("A program that calls it as f", kept.get(aggregate.name, first), key=key, height=225)
    kept[aggregate.name] = text
    try:
        trace = run(aggregate, text)
    except ProgramError as error:
        page.program_error(error)
        return None
    if trace.error is not None:
        told = f"Line {trace.error.line or 1}: {trace.error.message}"
        st.error(page.as_it_stands(told), icon=":material/error:")
    return trace


def ways_out(aggregate: CompiledAggregate) -> None:
    step, compare, torch_function = st.columns(3)
    text = st.session_state.get("compile-programs", {}).get(aggregate.name) or program_text(aggregate)
    query = {"program": pack(text), "none": "skip", "prune": "none", "step": "0", **links_of([aggregate.name])}
    if step.button("Open in Step", icon=":material/play_arrow:", type="primary", width="stretch"):
        st.switch_page("pages/step.py", query_params={**query, "aggregate": aggregate.name})
    if compare.button("Open in Compare", icon=":material/compare:", width="stretch"):
        st.switch_page("pages/compare.py", query_params={**query, "left": aggregate.name, "right": "reference"})
    torch_function.download_button(
        "torch Function",
        aggregate.to_torch_function().source,
        f"{aggregate.written}.py",
        "text/x-python",
        icon=":material/download:",
        width="stretch",
        help="The same for PyTorch: a torch.autograd.Function that can be differentiated again, as a module.",
    )


def occurred(aggregate: CompiledAggregate, counts: Counter, trace: Trace | None) -> None:
    """Which patterns the passes of the program brought."""
    if trace is None:
        return
    names = ", ".join(f"`{name}`" for name in aggregate.outputs)
    st.markdown(f"Outputs of its entry: {names}. Patterns of incoming gradients in the {len(trace.passes)} passes:")
    rows = [{"comes in": pattern_said(aggregate.outputs, p), "times": n} for p, n in counts.most_common()]
    if rows:
        st.table(rows)
    else:
        st.caption("None: no pass came to its entry.")


# --- the code ----------------------------------------------------------------------------------------------------


def codes(all_of_them: list[Listing]) -> None:
    """Forward, the general propagate, and the bodies, beside each other."""
    forward, general, *bodies = all_of_them
    with st.container(key="codes"):
        for column, each in zip(st.columns(2, gap="medium"), (forward, general)):
            with column:
                listing(each)
        st.markdown("**A body for each pattern**, a straight line that was made when a pass first brought the pattern")
        beside([each for each in bodies if each.ran])
        others = [each for each in bodies if not each.ran]
        if others:
            with st.expander(f"Patterns that this program does not bring: {len(others)}"):
                beside(others)


def beside(bodies: list[Listing]) -> None:
    """Two in a row."""
    for start in range(0, len(bodies), 2):
        for column, each in zip(st.columns(2, gap="medium"), bodies[start : start + 2]):
            with column:
                listing(each)


def listing(each: Listing) -> None:
    st.markdown(f"**{page.as_it_stands(each.title)}** · {each.caption}")
    st.code(each.code, language="python", wrap_lines=True)
