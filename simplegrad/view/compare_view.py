"""What the Compare page shows, as data: which two runs, one list of steps for both, facts, ghosts, tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..aggregates import Aggregate
from ..checks.report import Report, short
from ..comparison.compare import Comparison, Cost, Result, compare
from ..comparison.compare import Ghost as Pathway
from ..comparison.divergence import Divergence, shown
from ..comparison.runs import RunComparison
from ..trace.looks import Looks
from ..trace.trace import Trace
from . import running
from .compile_view import links_of
from .figure import Ghost
from .offered import offered
from .pytorch_view import clauses_of
from .session import COMPARISONS, DEFAULT_AGGREGATE, REPORTS, TRACES, Shown, from_query
from .views import bytes_of

REFERENCE = "reference"  # in the URL and the menu: the left aggregate's own, where that is no registered one
UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Sides:
    """Program, modes and step as on Step (`both`), and what `f` is on each side: names, or REFERENCE on the right."""

    both: Shown = field(default_factory=Shown)
    left: str = DEFAULT_AGGREGATE
    right: str = "simple"

    def query(self) -> dict[str, str]:
        """As it stands in the URL."""
        query = self.both.query()
        query.pop("aggregate")
        return {**query, "left": self.left, "right": self.right, **links_of([self.left, self.right])}

    @property
    def step(self) -> int:
        return self.both.step

    def at(self, step: int) -> Sides:
        return replace(self, both=self.both.at(step))

    @property
    def problems(self) -> tuple[str, ...]:
        return self.both.problems


def sides_from_query(query: Mapping[str, str], traces: Collection[str] = ()) -> Sides:
    """What a URL asks for; what it says wrongly is left at its default, and told in `problems`."""
    plain = {name: value for name, value in query.items() if name not in ("left", "right")}
    left = query.get("left", query.get("aggregate", DEFAULT_AGGREGATE))  # an address of Step's may say the latter
    both = from_query({**plain, "aggregate": left}, traces)
    said = "says left=" if "left" in query else "says aggregate="
    problems = [problem.replace("says aggregate=", said) for problem in both.problems]
    if both.program.startswith("file:"):
        problems.append("A saved trace is a single run, so there is nothing to compare it with. Choose a program.")
        both = replace(both, program=Shown().program)
    right = query.get("right", default_right(both.aggregate))
    if right not in rights(both.aggregate):
        used = default_right(both.aggregate)
        problems.append(f"The address says right={right[:40]}, which is not known; {used} is shown instead.")
        right = used
    return Sides(replace(both, problems=tuple(problems)), both.aggregate, right)


def default_right(left: str) -> str:
    """What an aggregate is held against unless somebody says otherwise."""
    reference = offered[left].reference
    if isinstance(reference, str) and reference in offered:
        return reference
    if callable(reference):
        return REFERENCE
    return "simple" if offered[left].arity == 2 else left


def rights(left: str) -> list[str]:
    """The choices on the right."""
    own = [REFERENCE] if default_right(left) == REFERENCE else []
    return [*own, *offered]


def right_title(left: str, right: str) -> str:
    if right == REFERENCE:
        reference = offered[left].reference
        return f"the reference: {getattr(reference, '__name__', 'a function')}"
    return f"{right} (the reference)" if offered[left].reference == right else right


def function_of(sides: Sides, which: str) -> Aggregate | Callable:
    name = sides.left if which == "left" else sides.right
    return offered[sides.left].reference if name == REFERENCE else offered[name]


def trace_of_side(sides: Sides, which: str, version: object = ()) -> Trace:
    """The run of one side, made once. Raises ProgramError for a text that is no program."""
    name = sides.left if which == "left" else (sides.right, sides.left if sides.right == REFERENCE else "")
    both = sides.both
    key = (
        both.source,
        name if isinstance(name, str) else name[0] if not name[1] else name,
        both.none,
        both.prune,
        version,
    )

    def run() -> Trace:
        return both.introduced(running.run(both.source, function_of(sides, which), both.none, both.prune))

    return TRACES.get(key, run, bytes_of)


def comparison_of(left: Trace, right: Trace) -> Comparison:
    """The comparison of two traces, made once for all sessions that show it."""
    size = bytes_of(left) + bytes_of(right)
    return COMPARISONS.get((left, right), lambda: compare(left, right), lambda _: size)


def differing_events(trace: Trace, reference: Trace) -> list[int]:
    """The events of `trace` at which a gradient differs from the reference's, for a player of this trace alone."""
    comparison = comparison_of(trace, reference)
    steps = rows(comparison)
    return sorted({steps[k][0] for k in comparison.differing_steps if steps[k][0] >= 0})


def rows(comparison: Comparison | RunComparison) -> list[list[int]]:
    """The player's steps: the event that each side shows, -1 before its first; a side that waits keeps its own."""
    found, now = [], [-1, -1]
    for pair in comparison.steps:
        now = [new if new is not None else old for new, old in zip(pair, now)]
        found.append(now)
    return found


# --- the verdict and the first difference -------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """`code`: the report's verdict, or "unchecked". `text`: one sentence. `report`: all of it, as for a terminal."""

    code: str
    text: str
    report: str = ""
    ok: bool = False
    tried: dict = field(default_factory=dict)  # clauses and evidence, as data for the browser


def verdict_of(name: str, check: Callable[..., Report], version: object = ()) -> Verdict:
    """What `check` says of a registered aggregate on its example inputs."""
    aggregate = offered[name]
    if aggregate.example is None:
        return Verdict(UNCHECKED, f"{name} has no example inputs, so it was not checked on its own.")
    key = ("aggregate", aggregate, version)
    return REPORTS.get(key, lambda: _verdict(name, aggregate, check), lambda verdict: len(verdict.report))


def _verdict(name: str, aggregate: Aggregate, check: Callable[..., Report]) -> Verdict:
    try:
        report = check(aggregate)
    except Exception as error:  # a user's example may raise anything
        return Verdict(UNCHECKED, f"{name} could not be checked: {type(error).__name__}: {error}")
    gravest = next((each for each in report.faults if each.code == report.verdict), None)
    notes = "; ".join(each.sentence for each in report.notes)
    text = gravest.sentence if gravest else notes or "Its gradients are right, for every pattern of known zeros."
    return Verdict(report.verdict, text, str(report), report.ok, clauses_of(report))


def facts(sides: Sides, comparison: Comparison) -> dict:
    """What the top of the page says of two runs, as data for the browser: first divergence, missing pathway."""
    return facts_of(comparison, [sides.left, right_title(sides.left, sides.right)])


def facts_of(comparison: Comparison, names: list[str]) -> dict:
    """The same of any two runs; `names` says what each is."""
    found = comparison.divergence
    return {
        "names": names,
        "divergence": None if found is None else _divergence(found),
        "same": _same(comparison),
        "ghosts": [pathway_text(pathway) for pathway in comparison.ghosts],
    }


def _divergence(found: Divergence) -> dict:
    return {
        "kind": found.kind,
        "title": found.pass_.title if found.pass_ is not None else "forward",
        "variable": found.variable,
        "sentence": found.sentence,
        "left": found.left,
        "right": found.right,
        "step": found.step,
    }


def _same(comparison: Comparison) -> str:
    """What is said where nothing differs."""
    both_failed = comparison.left.error is not None and comparison.right.error is not None
    if both_failed:
        return f"Both runs end with an error: {comparison.left.error.message}"
    count = len(comparison.results)
    gradients = (
        f"{count} wanted gradient{'s' if count != 1 else ''}" if count else "no gradients, since none were asked for"
    )
    said = f"No divergence: every line and {gradients} agree on both sides."
    _, *both = comparison.costs[-1]
    zeros = [side.on_zeros for side in both]
    if zeros[0] == zeros[1]:
        return said
    word, other = ("left", "right") if zeros[0] > zeros[1] else ("right", "left")
    return f"{said} The {word} computes {max(zeros)} operations on zeros, the {other} {min(zeros) or 'none'}."


# --- the missing pathway ------------------------------------------------------------------------------------------


def pathway_text(pathway: Pathway) -> str:
    """`missing on the left: t = a + b; it drops a's gradient [...]`"""
    name = pathway.value.name
    steps = dict.fromkeys(edge.text for edge in pathway.edges if edge.text)
    way = f"how {name} came from {', '.join(pathway.dropped)}" if not steps else ", ".join(reversed(steps))
    lost = "; ".join(f"of {variable}: {short(gradient)}" for variable, gradient in pathway.dropped.items())
    exact = "" if pathway.exact else " (taken as the difference of the results)"
    here = f"Missing on the {pathway.side}: the pathway from {name} back ({way} on the other side)."
    return f"{here} Dropped gradient {lost}{exact}."


def ghosts(comparison: Comparison | RunComparison, which: str) -> tuple[Ghost, ...]:
    """The missing pathways of one side as the figure draws them: from the dead end to each variable both sides have."""
    found: list[Ghost] = []
    for pathway in getattr(comparison, "ghosts", ()):  # of two runs of PyTorch none are known
        if pathway.side == which:
            found += _drawn(pathway)
    return tuple(found)


def _drawn(pathway: Pathway) -> list[Ghost]:
    inner = set(pathway.nodes)
    ends = dict.fromkeys(edge.input for edge in pathway.edges if edge.input not in inner)
    return [
        Ghost(f"v{pathway.value.id}", f"v{end.id}", dropped_text(end.name, pathway), through(pathway, end))
        for end in ends
    ]


def through(pathway: Pathway, end) -> tuple[str, ...]:
    """The values of the other side between a dead end and a variable, along the shortest way."""
    came = {pathway.value: None}
    waiting = [pathway.value]
    while waiting:
        output = waiting.pop(0)
        for edge in pathway.edges:
            if edge.output is output and edge.input not in came:
                came[edge.input] = output
                waiting.append(edge.input)
    names, at = [], came.get(end)
    while at is not None and at is not pathway.value:
        names.append(at.name)
        at = came[at]
    return tuple(reversed(names))


def dropped_text(variable: str, pathway: Pathway) -> str:
    """What stands on a ghost: `a misses 1.73, 3.37, 5.34, 2.41`."""
    gradient = pathway.dropped.get(variable)
    if gradient is None:
        return ""
    if gradient.numel() > 4:
        return f"{variable} misses a gradient of norm {Looks().norm(gradient):.3g}"
    return f"{variable} misses {', '.join(f'{float(x):.3g}' for x in gradient.flatten())}"


# --- tables -------------------------------------------------------------------------------------------------------


def result_rows(results: Sequence[Result]) -> list[dict]:
    """The table of results: every wanted gradient of every pass."""
    return [
        {
            "pass": each.title,
            "gradient": f"d{(each.pass_ or each.other_pass).loss.name}/d{each.variable}",
            "left": shown(each.left) if each.verdict != "not reached" or each.left else "",
            "right": shown(each.right) if each.verdict != "not reached" or each.right else "",
            "difference": "" if each.difference is None else f"{each.difference:.3g}",
            "verdict": each.verdict,
            "agrees": each.agrees,
        }
        for each in results
    ]


COST_COLUMNS = {
    "entries": "entries run",
    "skipped": "skipped",
    "operations": "operations",
    "on_zeros": "on zeros",
    "elements": "elements",
}


def cost_rows(costs: Sequence[tuple[str, Cost | None, Cost | None]]) -> list[dict]:
    """The table of costs: for each column a pair, left and right; None where a side has no such pass."""
    return [
        {"pass": title}
        | {
            name: tuple(None if side is None else getattr(side, name) for side in (left, right))
            for name in COST_COLUMNS
        }
        for title, left, right in costs
    ]


def partner_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    """(left, right, kind) of every entry: what has no partner says where its work is done, or that nobody does it."""
    found = []
    for left, right in comparison.alignment.entries:
        if left is not None and right is not None:
            found.append((left.statement, right.statement, "partners"))
        elif left is not None:
            found.append((left.statement, comparison.partner_text(left, "left"), "left only"))
        else:
            found.append((comparison.partner_text(right, "right"), right.statement, "right only"))
    return found
