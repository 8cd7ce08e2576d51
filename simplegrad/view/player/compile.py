"""The Compile page: an expression as an aggregate, its code for each pattern of Nones, and what a program uses."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

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
from .state import PageState
from .typed import failure, field, marked

FIRST = "(a + b) * b"
OWN = "your own text"
FIELDS = ("expression", "name")
MOST_NAMED = 24  # characters
OLD_CODE = "The code below is that of the expression before."
OLD_RUN = "The counts are those of the program as it ran last."
# Code needs its width: on narrow screens one text below the other. Its colours are to be read in both themes.
STYLE = """
@media (max-width: 1100px) {
  .st-key-codes .stHorizontalBlock { flex-wrap: wrap; }
  .st-key-codes .stColumn { flex: 1 1 100%; min-width: 100%; }
}
.st-key-codes .token:is(.punctuation, .operator) { color: light-dark(#1f2933, #e6ebf1); }
.st-key-codes .token:is(.keyword, .function) { color: light-dark(#005a9e, #6cb8ee); }
.st-key-codes .token:is(.string, .triple-quoted-string, .boolean, .number) { color: light-dark(#006b4a, #4fc79b); }
.st-key-codes .token.comment { color: light-dark(#5a6472, #9aa6b4); }
"""


@dataclass(frozen=True)
class Written:
    """What is compiled: its text, and the name that was wished for. It has no steps."""

    text: str = FIRST
    name: str = ""
    step: int = 0

    def at(self, step: int) -> Written:
        return self

    def query(self) -> dict[str, str]:
        return {"expression": pack(self.text)} | ({"name": self.name} if self.name else {})


def compile_page() -> None:
    """Write an expression; see its forward and its propagate, for each pattern of Nones; step through it."""
    page.through_router()
    st.html(f"<style>{STYLE}</style>")
    st.markdown(
        "Write an expression. Names without a value are its inputs, in their order. It becomes one entry on the tape, "
        "with a `propagate` that is right at any order."
    )
    written = written_now()
    aggregate, error = attempt(written)
    with st.container(key="texts"):
        left, right = st.columns(2, gap="medium")
    with left:
        expression(written, error, aggregate is not None)
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


def state() -> PageState[Written]:
    return PageState.of("compile")


def written_now() -> Written:
    """What the address says when it says something new; else what the page showed, or the first example."""
    here = state()
    here.default = Written()
    said = here.news(FIELDS)
    if said:
        try:
            here.keep(Written(unpack(said.get("expression", pack(FIRST))), said.get("name", "")[:MOST_NAMED]))
        except ProgramError as error:
            page.link_problems([f"The address asks for an expression, but {error.message}"])
    return here.shown or here.keep(Written())


def attempt(written: Written) -> tuple[CompiledAggregate | None, dict | None]:
    """The aggregate; of a text that is none, the error at its place, and the aggregate before it."""
    try:
        aggregate = compiled(written.text, written.name)
    except ProgramError as error:
        before: Written | None = st.session_state.get("compile-last")
        return (compiled(before.text, before.name) if before is not None else None), marked(error)
    st.session_state["compile-last"] = written
    return aggregate, None


def expression(written: Written, error: dict | None, has_code: bool) -> None:
    """The text and the name that is wished for; kept in the address."""
    examples, name = st.columns([3, 2])
    examples.selectbox(
        "Begin with an example", choices(), index=None, placeholder=OWN, key="compile-example",
        on_change=begin_with_example,
    )  # fmt: skip
    st.session_state["compile-name"] = written.name
    name.text_input("Name", key="compile-name", max_chars=MOST_NAMED, placeholder="f", on_change=rename)
    old = OLD_CODE if error is not None and has_code else ""
    here = state()
    field("expression", "expression", written.text, type_expression, error, old, written.query(), here.writes)
    here.write_address()


def type_expression(text: str) -> None:
    here = state()
    here.keep(replace(here.shown or Written(), text=text))
    here.change(is_edited=True)


def rename() -> None:
    here = state()
    here.keep(replace(here.shown or Written(), name=st.session_state.get("compile-name", "")))
    here.change(is_edited=False)


def choices() -> list[str]:
    """The examples, and the text that one of them took the place of."""
    return [*([OWN] if "compile-own" in st.session_state else []), *EXAMPLES]


def begin_with_example() -> None:
    here, chosen = state(), st.session_state.get("compile-example")
    text = (here.shown or Written()).text
    meant = st.session_state.get("compile-own", text) if chosen == OWN else EXAMPLES.get(chosen, text)
    if text not in EXAMPLES.values():
        st.session_state["compile-own"] = text
    here.keep(replace(here.shown or Written(), text=meant))
    here.change(is_edited=False)
    st.session_state["compile-example"] = None


# --- the program it runs in --------------------------------------------------------------------------------------


def program(aggregate: CompiledAggregate) -> Trace | None:
    """A program that calls it as f; its shapes are those that the code below is for. The run; that of the text before,
    where this one is no program."""
    try:
        text = program_of(aggregate)
    except ValueError as error:
        st.warning(page.as_it_stands(f"No program could be made for it: {error}"))
        return None
    trace, error = ran(aggregate, text)
    old = OLD_RUN if error is not None and trace is not None and trace.error is None else ""
    field(
        "calling",
        "program that calls it as f",
        text,
        lambda typed: keep_program(aggregate, typed),
        error,
        old,
        least=11,
    )
    return trace


def inputs_of(aggregate: CompiledAggregate) -> tuple[str, ...]:
    return tuple(aggregate.inputs)


def programs() -> dict[tuple[str, ...], str]:
    """The programs that somebody typed, by the inputs that they give."""
    return st.session_state.setdefault("compile-programs", {})


def program_of(aggregate: CompiledAggregate) -> str:
    return programs().get(inputs_of(aggregate)) or program_text(aggregate)


def keep_program(aggregate: CompiledAggregate, text: str) -> None:
    programs()[inputs_of(aggregate)] = text


def ran(aggregate: CompiledAggregate, text: str) -> tuple[Trace | None, dict | None]:
    """The run; of a text that is no program, the error at its place, and the run of the text before."""
    before: dict = st.session_state.setdefault("compile-ran", {})
    try:
        trace = run(aggregate, text)
    except ProgramError as error:
        last = before.get(inputs_of(aggregate))
        return (run(aggregate, last) if last is not None else None), marked(error)
    before[inputs_of(aggregate)] = text
    return trace, failure(trace)


def ways_out(aggregate: CompiledAggregate) -> None:
    step, compare, torch_function = st.columns(3)
    text = program_of(aggregate)
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
