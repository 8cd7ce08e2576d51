"""What the PyTorch page shows, as data: which run, what check says of it, and the sources with their lines marked."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch

from .. import source_text
from ..checks.report import UNVERIFIED, Finding, Report, short
from ..files import UserFiles
from ..language.errors import nearest
from ..targets import Target
from ..torch_bridge.gallery import GALLERY
from ..trace.events import Entry, Failed, PassFailed, VisitBegun
from ..trace.nonfinite import Birth, find_nonfinite
from ..trace.texts import Chunks, called, is_ours, is_torchs, lines_of
from ..trace.trace import Trace
from .figure import Ghost
from .session import REPORTS, TRACES, in_reach, step_of
from .views import bytes_of, bytes_of_report
from .why_view import diagnosis, parameters, place_row

DEFAULT_CASE = "sinh-bad"
TRACE, OWN = "trace:", "file:"  # how a saved trace, and what a file of one's own holds, are called in the URL
UNCHECKED, CHECKING = "unchecked", "checking"
OVER = "A saved trace is a run that is over. To have its Functions checked, give their file on the command line."
AROUND = 4  # lines shown before and after one that stands in no function
MOST_BLOCKS = 6
MOST_NUMBERS = 12
RAISED = "The run raised"  # a notice that begins so says why there is nothing more


@dataclass(frozen=True)
class Looked:
    """`case`: a name of the gallery, "file:NAME" for a Function of one's own file, or "trace:FILE"."""

    case: str = DEFAULT_CASE
    step: int = 0
    problems: tuple[str, ...] = field(default=(), compare=False)

    def query(self) -> dict[str, str]:
        """As it stands in the URL."""
        return {"case": self.case, "step": str(self.step)}

    def at(self, step: int) -> Looked:
        return replace(self, step=step, problems=())


@dataclass(frozen=True)
class Case:
    """Something that can be recorded and checked: `prepared` gives the function and its inputs, made anew."""

    name: str
    title: str
    sentence: str = ""
    prepared: Callable[[], tuple[Callable, tuple]] | None = None
    trace: Trace | None = None  # a saved one, where there is nothing left to run
    passes: int = 2


def cases_of(files: UserFiles | None, opened: Mapping[str, Trace] | None = None) -> dict[str, Case]:
    """All that can be chosen, by its name in the URL: what the command line gave comes first, then what was opened."""
    found: dict[str, Case] = {}
    for target in files.targets if files is not None else ():
        if target.kind != "aggregate" and target.is_ready:
            name = OWN + _own_name(target, found)
            found[name] = Case(name, f"{name.removeprefix(OWN)}, of your file", _about(target), target.prepared)
    for name, trace in {**(files.traces if files is not None else {}), **(opened or {})}.items():
        found[TRACE + name] = Case(TRACE + name, f"saved trace: {name}", "A saved run.", trace=trace)
    for name, exhibit in GALLERY.items():
        found[name] = Case(name, exhibit.title, exhibit.sentence, exhibit.prepared, passes=exhibit.passes)
    return found


def _own_name(target: Target, taken: Mapping[str, Case]) -> str:
    """Its own name; with the file's where another file has the same."""
    file = called(target.file)
    name = f"case of {file}" if target.kind == "case" else target.name
    return f"{file}::{target.name}" if OWN + name in taken else name


def _about(target: Target) -> str:
    return f"{called(target.file)}, line {target.line}." if target.line else called(target.file)


def looked_from_query(query: Mapping[str, str], cases: Mapping[str, Case]) -> Looked:
    """What a URL asks for; what it says wrongly is left at its default, and told in `problems`."""
    problems, case = [], query.get("case", next(iter(cases)))
    if case not in cases:
        hint = nearest(case, list(cases))
        meant = f" Did you mean '{hint}'?" if hint else " It may come from a file that is not loaded."
        problems.append(f"The address says case={case[:60]}, which is not known; {next(iter(cases))} is shown.{meant}")
        case = next(iter(cases))
    step = step_of(query, problems)
    return Looked(case, step, tuple(problems))


def clamped(looked: Looked, trace: Trace) -> Looked:
    """With a step that the trace has; a step past its end is told."""
    step, told = in_reach(looked.step, len(trace.events))
    return replace(looked, step=step, problems=(*looked.problems, *told))


# --- running ------------------------------------------------------------------------------------------------------


def trace_of_case(case: Case, version: object = ()) -> Trace:
    """The recorded run of a case, made once. What its code raises is the last event, or in `notices`."""
    if case.trace is not None:
        return case.trace
    return TRACES.get(("torch", case.name, version), lambda: recorded(case), bytes_of)


def recorded(case: Case) -> Trace:
    """The function run, its sum differentiated, and the sum of those gradients differentiated again."""
    from ..checks.runs.recorded import fresh
    from ..checks.runs.recorded import recorded as run

    trace = Trace()
    try:
        function, inputs = case.prepared()
        inputs = tuple(fresh(x) for x in inputs)
        trace = run(function, inputs, case.passes, _names(function, inputs))
    except Exception as error:  # a user's code may raise anything
        trace._notices.append(f"{RAISED} {type(error).__name__}: {_first_line(error)}")
    if isinstance(failed := trace.events[-1] if trace.events else None, Failed):
        trace._notices.append(f"{RAISED} {failed.error}: {failed.message}")
    trace.title, trace.kind = case.title, "torch"
    return trace


def _names(function: Callable, inputs: tuple) -> dict[str, torch.Tensor]:
    """What the function calls its arguments; what a module calls its parameters."""
    names = dict(zip(_parameters(function), inputs))
    if isinstance(function, torch.nn.Module):
        names |= dict(function.named_parameters())
    return {name: x for name, x in names.items() if isinstance(x, torch.Tensor)}


def _parameters(function: Callable) -> Iterator[str]:
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, torch.autograd.Function):
        named = list(inspect.signature(owner.forward).parameters.values())
        own_setup = owner.setup_context is not torch.autograd.Function.setup_context
        named = named if own_setup else named[1:]
    else:
        try:
            named = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            named = []
    for each in named:
        if each.kind == each.VAR_POSITIONAL:
            yield from (f"{each.name}[{i}]" for i in range(64))
        yield each.name
    yield from (f"input{i}" for i in range(len(named), 64))


# --- what check says ----------------------------------------------------------------------------------------------


def report_of_case(case: Case, version: object = ()) -> Report | str:
    """What `check` says of it, found out once; a sentence where it could not be checked."""
    if case.prepared is None:
        return OVER
    return REPORTS.get(("torch", case.name, version), lambda: _checked(case), bytes_of_report)


def report_so_far(case: Case, version: object = ()) -> Report | str | None:
    """The same as far as it is known already: None where `check` would have to work for it."""
    return OVER if case.prepared is None else REPORTS.kept(("torch", case.name, version))


def _checked(case: Case) -> Report | str:
    from ..checks.check import check

    try:
        function, inputs = case.prepared()
        return check(function, *inputs)
    except Exception as error:  # inputs of which none requires grad, compiled code, a user's example that raises
        return f"It could not be checked: {type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def births_of(trace: Trace) -> tuple[list[Birth], str]:
    """The first NaN or infinity, and the first NaN where that is another; or why nobody knows."""
    if not trace.values:
        return [], "Nothing in this run had a number."
    try:
        first = find_nonfinite(trace)
        nan = first if first is None or first.kind == "nan" else find_nonfinite(trace, ("nan",))
    except ValueError as error:
        return [], str(error)
    failed = next((event for event in trace.events if isinstance(event, PassFailed)), None)
    if first is None and failed is not None:
        message = f"The {failed.pass_.title} failed: {failed.error}: {failed.message}"
        return [], f"{message} Every number that came before it did is finite."
    return list(dict.fromkeys(birth for birth in (first, nan) if birth is not None)), ""


# --- the top of the page, as data for the browser -----------------------------------------------------------------


def facts(case: Case, trace: Trace, report: Report | str | None) -> dict:
    """Verdict, findings, the first non-finite value, and the sources with their lines marked. `report`: None as long as
    `check` is at work."""
    births, _ = births_of(trace)
    findings = report.findings if isinstance(report, Report) else []
    return {
        "verdict": _verdict(report) if report is not None else _at_work(case),
        "findings": [_finding(finding, trace) for finding in findings],
        **facts_of_births(trace),
        "sources": sources(trace, findings, births),
        "lanes": lanes(trace),
        "diagnosis": diagnosis(trace),
        "parameters": parameters(trace),
        "notices": list(trace.notices),
    }


def facts_of_births(trace: Trace) -> dict:
    """The first values of a run that are not finite, or why that is not known."""
    births, unknown = births_of(trace)
    return {"births": [_birth(birth) for birth in births], "unknown": unknown}


def facts_of_report(report: Report, trace: Trace) -> dict:
    """What a report alone says: no run was looked at for numbers that are not finite."""
    return {
        "verdict": _verdict(report),
        "findings": [_finding(finding, trace) for finding in report.findings],
        "sources": sources(trace, report.findings, []),
    }


def _at_work(case: Case) -> dict:
    doing = f"check tries {case.title}: orders, patterns of None, layouts, and what else autograd may do."
    return {"code": CHECKING, "text": f"{doing} The run can be stepped through meanwhile.", "ok": False}


def _verdict(report: Report | str) -> dict:
    if isinstance(report, str):
        return {"code": UNCHECKED, "text": report, "ok": False}
    count = len(report.faults)
    right = "Its gradient is the derivative of forward, and differentiated again the derivative of that."
    text = right if report.ok else f"{count} {'fault' if count == 1 else 'faults'}, explained below."
    if report.surrogate and report.ok:
        text = f"Its gradient counts as intended ({report.surrogate}); its derivative is that of what backward gives."
    if report.verdict == UNVERIFIED:
        text = "Not judged, for the reason given below."
    held = f" Compared with {report.truth}." if report.truth else ""
    return {"code": report.verdict, "text": text + held, "ok": report.ok, "name": report.name, **clauses_of(report)}


def clauses_of(report: Report) -> dict:
    """What was tried, and the remainders of Taylor expansions; NaN as None, which JSON has."""
    evidence = [each.as_json() for each in report.evidence]
    for each in evidence:
        each["remainders"] = [x if math.isfinite(x) else None for x in each["remainders"]]
        each["rate"] = each["rate"] if math.isfinite(each["rate"]) else None
    clauses = [clause.as_json() for clause in report.clauses]
    return {"clauses": clauses, "untried": list(report.untried), "evidence": evidence}


def _finding(finding: Finding, trace: Trace) -> dict:
    return {
        "code": finding.code,
        "kind": finding.kind,
        "sentence": finding.sentence,
        "explanation": finding.explanation,
        "entry": finding.entry,
        "slot": finding.slot,
        "reads": _READ.get(finding.code, "read"),
        "made": place_row(finding.made_at),
        "read": place_row(finding.read_at),
        "dropped": [[name, numbers(value)] for name, value in finding.dropped.items()],
        "fix": finding.fix,
        "step": _backward_step(finding, trace),
    }


def numbers(value: torch.Tensor) -> str:
    """All numbers of a small tensor, to four digits and in its shape; shape and norm of a large one."""
    if value.dim() < 2 or value.numel() > MOST_NUMBERS:
        return short(value)
    return f"[{', '.join(numbers(row) for row in value)}]"


def _backward_step(finding: Finding, trace: Trace) -> int | None:
    """Where the run first calls the backward of the Function that the finding is about."""
    for event in trace.events:
        if isinstance(event, VisitBegun) and event.entry.aggregate and event.entry.operator == finding.entry:
            return event.index
    return None


def _birth(birth: Birth) -> dict:
    told = {"kind": birth.kind, "where": birth.where, "sentence": birth.sentence, "step": birth.step}
    return told | {"line": birth.source[1] if birth.source else None}


def lanes(trace: Trace) -> list[dict]:
    """For each lane of the graph what is in it: entries of forward, and those that each pass recorded."""
    counts: dict[int | None, int] = {}
    for entry in trace.entries:
        counts[entry.pass_id] = counts.get(entry.pass_id, 0) + 1
    told = [{"title": "forward", "order": 0, "text": _entries(counts.get(None, 0), "recorded")}]
    for pass_ in trace.passes:
        walked, order = _walked(trace, pass_.id), _order(trace, pass_.id)
        what = f"walks {_entries(walked, '')}".strip()
        made = counts.get(pass_.id, 0)
        records = f", and records {made} for the next" if made else ", and records none"
        told.append({"title": pass_.title, "order": order, "text": what + records})
    return told


def ghosts(trace: Trace, report: Report | str | None) -> tuple[Ghost, ...]:
    """The pathways that are missing in the double backward: from where backward read the values, to the inputs."""
    lost: dict[tuple[str, str], None] = {}
    for finding in report.findings if isinstance(report, Report) else ():
        reader = _reader(finding, trace)
        for name in finding.dropped if reader is not None else ():
            value = next((x for x in reader.inputs if x.name == name), None) or trace.value_named(name)
            made = _made_at(finding, trace, reader)
            if value is not None and made is not None:
                lost[f"e{made.id}", f"v{value.id}"] = None
    return tuple(Ghost(*ends, "dropped") for ends in lost)


def _reader(finding: Finding, trace: Trace) -> Entry | None:
    """The Function's entry on the tape."""
    return next((entry for entry in trace.entries if entry.aggregate and entry.operator == finding.entry), None)


def _made_at(finding: Finding, trace: Trace, reader: Entry) -> Entry | None:
    """What its backward recorded at the line that reads the value; else the first thing that it recorded."""
    made = [entry for entry in trace.entries if entry.made_by == reader.id]
    place = finding.read_at
    here = [entry for entry in made if place and entry.source and place.first <= entry.source[1] <= place.last]
    return next(iter(here or made), None)


def _entries(count: int, verb: str) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'} {verb}".strip()


def _walked(trace: Trace, pass_id: int) -> int:
    states = ("propagated", "partial")
    return sum(1 for event in trace.events if event.pass_id == pass_id and getattr(event, "state", "") in states)


def _order(trace: Trace, pass_id: int) -> int:
    """1 for a first backward; 2 for one that walks what a first backward recorded, and so on."""
    orders: dict[int, int] = {}
    for event in trace.events:
        if event.pass_id is None:
            continue
        orders.setdefault(event.pass_id, 1)
        entry: Entry | None = getattr(event, "entry", None)
        walked = getattr(event, "state", "") in ("propagated", "partial")
        if walked and entry.pass_id is not None and entry.pass_id != event.pass_id:
            orders[event.pass_id] = max(orders[event.pass_id], orders.get(entry.pass_id, 1) + 1)
    return orders.get(pass_id, 1)


_WRONG = (
    "wrong_gradient",
    "wrong_partial",
    "missing_use",
    "double_counted",
    "not_linear",
    "layout_assumed",
    "wrong_order",
)
# what a finding's read_at is, where nothing is read there
_READ = {"raises": "raised", **dict.fromkeys(_WRONG, "wrong")}

# --- sources ------------------------------------------------------------------------------------------------------


def sources(trace: Trace, findings: list[Finding], births: list[Birth]) -> list[dict]:
    """The classes and functions that matter, line by line: [number, text, marks]."""
    marks: dict[tuple[str, int], list[str]] = {}
    for finding in findings:
        for mark, place in (("made", finding.made_at), (_READ.get(finding.code, "read"), finding.read_at)):
            if place is not None:
                for line in range(place.first, place.last + 1):
                    marks.setdefault((place.file, line), []).append(mark)
    for birth in births:
        if birth.source is not None:
            marks.setdefault(birth.source, []).append("born")
    also = [entry.propagate_source for entry in trace.entries if entry.propagate_source]
    also += [entry.source for entry in trace.entries if entry.source and entry.pass_id is None]
    wanted = [*marks, *(place for place in also if not is_torchs(place[0]))]
    blocks: dict[tuple[str, int, int], None] = {}
    for file, line in wanted:
        shown = any(file == there and first <= line <= last for there, first, last in blocks)
        block = None if shown or is_ours(file) else block_around(file, line, trace.texts)
        if block is not None and len(blocks) < MOST_BLOCKS:
            blocks[block] = None
    return [_source(*block, marks, trace.texts) for block in blocks]


def _source(file: str, first: int, last: int, marks: dict[tuple[str, int], list[str]], texts: Chunks | None) -> dict:
    lines = lines_of(file, texts)
    shown = [
        [number, lines[number - 1].rstrip(), sorted(set(marks.get((file, number), ())))]
        for number in range(first, last + 1)
    ]
    return {"file": called(file), "lines": shown}


def block_around(file: str, line: int, texts: Chunks | None = None) -> tuple[str, int, int] | None:
    """(file, first line, last line) of the class around a line, or else the function, or else a few lines."""
    lines = lines_of(file, texts)
    for first, last in _blocks("\n".join(lines)):
        if first <= line <= last:
            return file, first, last
    end = len(lines)
    return (file, max(1, line - AROUND), min(end, line + AROUND)) if 0 < line <= end else None


@lru_cache(maxsize=64)
def _blocks(text: str) -> tuple[tuple[int, int], ...]:
    """Spans of classes, smallest first; then those of functions."""
    try:
        nodes = list(ast.walk(source_text.parsed(text)))
    except (SyntaxError, ValueError):
        return ()
    spans = []
    for kinds in ((ast.ClassDef,), (ast.FunctionDef, ast.AsyncFunctionDef)):
        found = [node for node in nodes if isinstance(node, kinds)]
        each = ((min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.end_lineno) for node in found)
        spans += sorted(each, key=lambda span: span[1] - span[0])
    return tuple(spans)
