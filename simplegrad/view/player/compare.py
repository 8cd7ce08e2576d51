"""The Compare page: two runs of one program in one player, what differs first, and what that costs."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ...checks.check import check
from ...comparison.compare import Comparison
from ...files import UserFiles
from ...language import EXAMPLES, ProgramError
from ...language.starter import own_program
from ...trace.trace import Trace
from .. import assets
from ..compare_view import (
    COST_COLUMNS,
    Sides,
    comparison_of,
    cost_rows,
    default_right,
    facts,
    ghosts,
    partner_rows,
    result_rows,
    right_title,
    rights,
    rows,
    sides_from_query,
    trace_of_side,
    verdict_of,
)
from ..html import comparison_html
from ..offered import offered
from ..runs_view import Runs, is_of_runs, runs_from_query
from ..session import NONE_MODES, PRUNE_MODES, Shown, in_reach, view_of
from ..views import TraceView
from . import carry, chart, page, panel, player
from .runs import runs_page
from .state import PageState
from .tables import made_row, table

FIELDS = ("program", "aggregate", "left", "right", "none", "prune", "step", "compiled")
OWN = "own"  # in the menu of programs: made of the left aggregate's example inputs
RUNS = "runs"  # in the menu of programs: two traces that were saved
PLAYER = "compare"
_HERE = Path(__file__).parent


def compare_page() -> None:
    """Choose a program and two aggregates, see where they part, and walk through both at once."""
    page.through_router()
    files = page.user_files()
    traces = page.saved_traces(files)
    if isinstance(sides_now(traces), Runs):
        runs_page(state(), traces, lambda column: choose_program(column, RUNS, [RUNS, *EXAMPLES]), runs_side_by_side)
    else:
        programs(files)
    if files is not None:
        page.watch(files)


def programs(files: UserFiles | None) -> None:
    """One program, run with either aggregate."""
    version, sides = page.files_version(files), state().shown
    file = menus(sides)
    try:
        traces = trace_of_side(sides, "left", version), trace_of_side(sides, "right", version)
    except ProgramError as error:
        page.messages(sides.both, files)
        page.program_error(error)
        if st.button("Mend it in Step", icon=":material/edit:"):
            st.switch_page("pages/step.py", query_params=sides.both.query())
    else:
        comparison = comparison_of(*traces)
        sides = state().keep(clamped(sides, len(comparison.steps)))
        page.messages(sides.both, files)
        if comparison.steps and not comparison.left.aggregate:
            st.info(
                "This program does not call f: both sides are the same run. Choose another program, or call f in it."
            )
        here, title = state(), f"{sides.left} beside {right_title(sides.left, sides.right)}"
        with file:
            carry.save_as_html(
                title, lambda: comparison_html(comparison, title=title, step=here.shown.step), "save-compare"
            )
        side_by_side(sides, comparison, version)


def side_by_side(sides: Sides, comparison: Comparison, version: object) -> None:
    """All that shows two runs. The verdict comes last: whatever `check` takes, the rest can be used by then."""
    if not comparison.steps:
        st.info("This program does nothing yet: give it a line such as a = rand(4).")
        return
    for_verdict, for_divergence = st.container(key="compare-top").columns([2, 3])
    with for_divergence:
        told("divergence", facts(sides, comparison))
    traces = {"left": comparison.left, "right": comparison.right}
    views = [
        view_of(trace, state().opened.get(number, ()), ghosts(comparison, which))
        for number, (which, trace) in enumerate(traces.items())
    ]
    titles = f"f is {sides.left}", f"f is {right_title(sides.left, sides.right)}"
    both_sides(views, sides, rows(comparison), comparison.differing_steps, titles)
    tables(comparison)
    for_report = st.container()
    with for_verdict.empty(), st.spinner(f"check tries {sides.left} at several points and orders …"):
        verdict = verdict_of(sides.left, check, version)
    with for_verdict:
        told("verdict", {"verdict": {"code": verdict.code, "text": verdict.text, "ok": verdict.ok, **verdict.tried}})
    if verdict.report:
        with for_report.expander(page.as_it_stands(f"Everything that check says about {sides.left}")):
            st.code(verdict.report, language=None, wrap_lines=True)


def runs_side_by_side(
    facts: dict, views: list[TraceView], runs: Runs, steps: list[list[int]], differs: list[int], titles: Sequence[str]
) -> None:
    told("divergence", facts)
    both_sides(views, runs, steps, differs, titles)


def both_sides(
    views: list[TraceView],
    shown: Sides | Runs,
    steps: list[list[int]],
    differs: list[int],
    titles: Sequence[str],
) -> None:
    """The player, and under it what it moves: a column for each run."""
    stepping(views, shown, steps, differs)
    for number, column in enumerate(st.columns(2)):
        with column, st.container(gap="xxsmall"):
            one_side(views[number], number, titles[number])


def one_side(view: TraceView, side: int, title: str) -> None:
    name = ("left", "right")[side]
    st.html(f'<h3 data-testid="side-{name}" class="sg-side">{name}: {html.escape(title)}</h3>')
    panel("event", side=side, player=PLAYER)
    chart(view, side=side, player=PLAYER, key=f"chart-{name}")
    panel("gradients", "tape", side=side, player=PLAYER)
    panel("inspector", side=side, player=PLAYER)
    panel("source", "python", side=side, player=PLAYER)


@st.fragment
def stepping(views: list[TraceView], sides: Sides | Runs, aligned: list[list[int]], differs: list[int]) -> None:
    here = state()
    paused = player(
        views,
        aligned_steps=aligned,
        start=sides.step,
        nonce=str(here.nonce),
        key=PLAYER,
        charts=2,
        panels=2 * 4,
        breakpoints=here.marks_at_start.get("break", ""),
        watches=here.marks_at_start.get("watch", ""),
        query=here.shown.query(),
        differs=differs,
    )
    row = aligned[min(here.shown.step if paused.step is None else paused.step, len(aligned) - 1)]
    here.hear(paused, {side: view.group_at(row[side]) for side, view in enumerate(views)})
    here.write_address()


# --- what the page remembers --------------------------------------------------------------------------------------


def state() -> PageState[Sides | Runs]:
    return PageState.of("compare")


def sides_now(traces: dict[str, Trace]) -> Sides | Runs:
    """What the address says when it says something new; else what the page showed before, or the other pages show."""
    here = state()
    here.default = Sides()
    said = here.news(FIELDS)
    if said:
        here.keep(runs_from_query(said, traces) if is_of_runs(said) else sides_from_query(said, traces))
        for name in FIELDS:
            st.session_state.pop(f"pick-{name}", None)
    if here.shown is None and sum(trace.kind == "torch" for trace in traces.values()) > 1:
        here.keep(Runs())  # who gives two recorded runs wants to see both
    if here.shown is None:
        both = page.shown_last()
        both = replace(both if not both.saved else Shown(), step=0, problems=())
        here.keep(Sides(both, both.aggregate, default_right(both.aggregate)))
    sides = here.shown
    if isinstance(sides, Runs):
        gone = {side: "" for side in ("left", "right") if getattr(sides, side) not in traces}
        return here.keep(replace(sides, **gone))
    if sides.left not in offered or sides.right not in rights(sides.left):  # its file was saved without it
        left = sides.left if sides.left in offered else Shown().aggregate
        sides = here.keep(replace(sides, left=left, right=default_right(left)))
    return sides


def clamped(sides: Sides, steps: int) -> Sides:
    """With a step that the two runs have; a step past their end is told."""
    step, told = in_reach(sides.both.step, steps, "these runs have")
    return replace(sides, both=replace(sides.both, step=step, problems=(*sides.both.problems, *told)))


# --- menus --------------------------------------------------------------------------------------------------------


def menus(sides: Sides) -> DeltaGenerator:
    both = sides.both
    own = [OWN] if offered[sides.left].example is not None else []
    listed = [*EXAMPLES, *(["text"] if both.text else []), *own, RUNS]
    with st.container(key="menus"):
        program, left, right, options, file = st.columns([3.2, 3.8, 3.8, 1.5, 1.2])
    choose_program(program, both.program, listed, sides.left)
    choose(left, "Left: f is", "left", list(offered), sides.left, lambda name: f"left: {name}")
    choose(
        right,
        "Right: f is",
        "right",
        rights(sides.left),
        sides.right,
        lambda name: f"right: {right_title(sides.left, name)}",
    )
    with options.popover("options", help="how None and unneeded entries are treated", width="stretch"):
        choose(st, "None", "none", list(NONE_MODES), both.none, NONE_MODES.get)
        choose(st, "Pruning", "prune", list(PRUNE_MODES), both.prune, PRUNE_MODES.get)
    return file.popover("file", help="save this page", width="stretch")


def choose_program(column: DeltaGenerator, now: str, listed: list[str], left: str = "") -> None:
    choose(column, "Program", "program", listed, now, lambda name: program_title(name, left))


def program_title(name: str, left: str) -> str:
    if name == RUNS:
        return "two saved runs"
    if name == OWN:
        return f"made of the example inputs of {left}"
    return EXAMPLES[name].title if name in EXAMPLES else "your own program"


def choose(column, label: str, field: str, options: list[str], now: str, titles: Callable = str) -> None:
    key = f"pick-{field}"
    if st.session_state.get(key) not in options or field == "program":
        st.session_state[key] = now
    shown = "collapsed" if column is not st else "visible"
    column.selectbox(
        label, options, format_func=titles, key=key, on_change=changed, args=(field,), label_visibility=shown
    )


def changed(field: str) -> None:
    """Something else was chosen: both sides begin at their first step."""
    here, chosen = state(), st.session_state[f"pick-{field}"]
    if field == "program" and chosen == RUNS:
        here.keep(Runs())
        here.begin_anew({})
        return
    sides = Sides() if isinstance(here.shown, Runs) else here.shown
    both = replace(sides.both, step=0, problems=())
    if field in ("left", "right"):
        sides = replace(sides, **{field: chosen})
    elif field == "program" and chosen == OWN:
        both = own(both, sides.left)
    else:
        both = replace(both, **{field: chosen})
    if field == "left":
        sides = replace(sides, right=default_right(chosen))
        st.session_state["pick-right"] = sides.right
    here.keep(replace(sides, both=replace(both, aggregate=sides.left)))
    here.begin_anew({} if field == "program" else None)


def own(both: Shown, left: str) -> Shown:
    """A program of the aggregate's example inputs, or why there is none."""
    try:
        return replace(both, program="text", text=own_program(offered[left]))
    except Exception as error:  # a user's example may raise anything
        return replace(both, problems=(f"{left}: {error}",))


# --- facts and tables ---------------------------------------------------------------------------------------------


@cache
def _facts_component():
    js, css = assets.part("compare"), (_HERE / "compare.css").read_text()
    body = '<div class="sg-root sg-facts"></div>'
    return st.components.v2.component("simplegrad_facts", html=body, css=css, js=js, isolate_styles=False)


def told(part: str, what: dict) -> None:
    """The verdict; or the first divergence, with a button that goes there in the browser."""
    _facts_component()(key=f"compare-{part}", data=json.dumps({**what, "part": part, "player": PLAYER}))


def tables(comparison: Comparison) -> None:
    """Results, costs, and which entry is whose partner."""
    left, right = st.container(key="compare-tables").columns([3, 2])
    with left:
        st.html("<h3 class='sg-side'>Wanted gradients</h3>" + results_table(comparison))
    with right:
        st.html("<h3 class='sg-side'>What each pass costs, left | right</h3>" + costs_table(comparison))
    with st.expander("Entries and their partners"):
        st.html(partners_table(comparison))


def results_table(comparison: Comparison) -> str:
    body = [
        made_row(
            [row["pass"], row["gradient"], row["left"], row["right"], row["difference"], row["verdict"]],
            f'data-verdict="{html.escape(row["verdict"])}" class="{"" if row["agrees"] else "sg-differs"}"',
        )
        for row in result_rows(comparison.results)
    ]
    head = ["pass", "gradient", "left", "right", "largest difference", "verdict"]
    return table("results", head, body)


def costs_table(comparison: Comparison) -> str:
    body = []
    for row in cost_rows(comparison.costs):
        cells = [" | ".join("–" if side is None else str(side) for side in row[name]) for name in COST_COLUMNS]
        body.append(made_row([row["pass"], *cells]))
    return table("costs", ["", *COST_COLUMNS.values()], body)


def partners_table(comparison: Comparison) -> str:
    found = partner_rows(comparison)
    body = [made_row([left, right, kind], f'data-kind="{kind}"') for left, right, kind in found[:1000]]
    more = f"<p>and {len(found) - 1000} more</p>" if len(found) > 1000 else ""
    return table("partners", ["left", "right", ""], body) + more
