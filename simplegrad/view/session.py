"""What a page was asked to show: one typed object, read from the URL and written to it. What is wrong there is told."""

from __future__ import annotations

import gc
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ..language import EXAMPLES, ProgramError, pack, unpack
from ..language.errors import nearest
from ..settings import BYTES
from ..trace.trace import Trace
from . import running
from .bounded import Bounded
from .compile_view import compile_linked, links_of
from .offered import offered
from .views import TraceView, bytes_of

DEFAULT_PROGRAM = "gradient-of-gradient"
DEFAULT_AGGREGATE = "simple_variable_wrong"
NONE_MODES = {"skip": "skip: None is a known zero", "zeros": "zeros: zeros in the place of None"}
PRUNE_MODES = {"none": "none: walk the whole tape", "ahead": "ahead: leave out what no wanted result needs"}
MANY_EVENTS = 20_000

# Of all sessions together; a session itself keeps names and numbers, and what it shows right now. Costs are in bytes,
# and each is that of the traces too that a thing holds: they live as long as it does.
TRACES = Bounded(count=24, cost=int(BYTES()))
VIEWS = Bounded(count=24, cost=int(BYTES()))
COMPARISONS = Bounded(count=16, cost=int(BYTES() / 2))
REPORTS = Bounded(count=64, cost=int(BYTES() / 4))


@dataclass(frozen=True)
class Shown:
    """`program`: an example's name, "file:" and a saved trace's name, or "text"; then `text` is the program's own."""

    program: str = DEFAULT_PROGRAM
    text: str = ""
    aggregate: str = DEFAULT_AGGREGATE
    none: str = "skip"
    prune: str = "none"
    step: int = 0
    problems: tuple[str, ...] = field(default=(), compare=False)

    @property
    def saved(self) -> str:
        """The name of the saved trace that is shown, or ""."""
        return self.program.removeprefix("file:") if self.program.startswith("file:") else ""

    @property
    def source(self) -> str:
        """The text of the program; "" for a saved trace."""
        return self.text if self.program == "text" else EXAMPLES[self.program].text if self.program in EXAMPLES else ""

    def query(self) -> dict[str, str]:
        """As it stands in the URL."""
        program = pack(self.text) if self.program == "text" else self.program
        modes = {"aggregate": self.aggregate, "none": self.none, "prune": self.prune}
        return {"program": program, **modes, "step": str(self.step), **links_of([self.aggregate])}

    def at(self, step: int) -> Shown:
        """The same at another step; messages about the address are out of date then."""
        return replace(self, step=step, problems=())

    def run(self) -> Trace:
        """The trace of its program. Raises ProgramError for a text that is none."""
        return self.introduced(running.run(self.source, offered[self.aggregate], self.none, self.prune))

    def introduced(self, trace: Trace) -> Trace:
        """A run of its program, which says at its start what it is about."""
        trace.about = EXAMPLES[self.program].sentence if self.program in EXAMPLES else trace.title and f"{trace.title}."
        return trace


def from_query(query: Mapping[str, str], traces: Collection[str] = ()) -> Shown:
    """What a URL asks for. What it says wrongly is left at its default, with a sentence in `problems`."""
    problems = compile_linked(query.get("compiled", ""))
    shown = _program(query.get("program", DEFAULT_PROGRAM), traces, problems)
    shown = replace(
        shown,
        aggregate=_one_of("aggregate", query, DEFAULT_AGGREGATE, offered, problems),
        none=_one_of("none", query, "skip", NONE_MODES, problems),
        prune=_one_of("prune", query, "none", PRUNE_MODES, problems),
        step=step_of(query, problems),
    )
    return replace(shown, problems=tuple(problems))


def _program(said: str, traces: Collection[str], problems: list[str]) -> Shown:
    if said in EXAMPLES:
        return Shown(program=said)
    if said.startswith("file:"):
        if said.removeprefix("file:") in traces:
            return Shown(program=said)
        problems.append(
            f"The address asks for the saved trace '{said.removeprefix('file:')[:60]}', which is not loaded."
        )
        return Shown()
    try:
        return Shown(program="text", text=unpack(said))
    except ProgramError as error:
        hint = nearest(said, EXAMPLES)
        meant = f" Did you mean '{hint}'?" if hint else ""
        problems.append(f"The address asks for the program '{said[:40]}', but {error.message}{meant}")
        return Shown()


def _one_of(name: str, query: Mapping[str, str], default: str, known: Collection[str], problems: list[str]) -> str:
    said = query.get(name, default)
    if said in known:
        return said
    hint = nearest(said, known)
    meant = f" Did you mean '{hint}'?" if hint else f" There are: {', '.join(known)}."
    problems.append(f"The address says {name}={said[:40]}, which is not known; {default} is shown instead.{meant}")
    return default if default in known else next(iter(known))


def step_of(query: Mapping[str, str], problems: list[str]) -> int:
    """The step that an address says, whether or not the run has it; the first, and a problem, where it says none."""
    said = query.get("step", "0")
    if said.isascii() and said.isdigit() and len(said) < 10:
        return int(said)
    problems.append(f"The address says step={said[:20]}, which is not a step; the first one is shown instead.")
    return 0


def clamped(shown: Shown, trace: Trace) -> Shown:
    """With a step that the trace has; a step past its end is told."""
    step, told = in_reach(shown.step, len(trace.events))
    return replace(shown, step=step, problems=(*shown.problems, *told))


def in_reach(step: int, steps: int, has: str = "this run has") -> tuple[int, list[str]]:
    """That step, or the last one of so many and a sentence that says so."""
    last = max(0, steps - 1)
    if step <= last:
        return step, []
    return last, [f"The address says step={step}, but {has} steps 0 to {last}; the last one is shown."]


def trace_of(shown: Shown, version: object = ()) -> Trace:
    """The trace of what is shown, run once. `version`: of the user's files, which may change what an aggregate does.

    Raises ProgramError.
    """
    key = (shown.source, shown.aggregate, shown.none, shown.prune, version)
    return TRACES.get(key, shown.run, bytes_of)


def view_of(trace: Trace, opened: tuple[str, ...] = (), ghosts: tuple = ()) -> TraceView:
    """The view of a trace, made once for all sessions that show it."""
    view = VIEWS.get(trace, lambda: _made(trace), lambda view: view.bytes)
    return view.with_opened(opened, ghosts) if opened or ghosts else view


def _made(trace: Trace) -> TraceView:
    """A view. A long trace is put out of the collector's way: Streamlit collects after each run of a page, and would
    walk through all of it, 0.4 s for 100,000 entries. What was let go of since the last time is collected first."""
    view = TraceView(trace)
    if len(trace.events) > MANY_EVENTS and view.graph:  # the payload comes later: the picture is seen first
        gc.unfreeze()
        gc.collect()
        gc.freeze()
    return view
