"""The calls of custom Functions that a real run makes, each distinct one judged afterwards with its own arguments."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...attached import attached
from ...targets import Target
from ...torch_bridge.patches import watched_by
from ...torch_private import CHECK, CHECK_FUNCTION, needs
from ..functions import check_function
from ..report import CORRECT, FAULTS, UNVERIFIED, Finding, Report, described
from ..runs.chance import one_at_a_time, random_state_kept
from ..source import code_of
from ..subjects.autocast import in_autocast
from ..subjects.opening import opened, undisturbed
from .attempt import Result, trouble_of
from .bundle import Bundle
from .kept import MOST_CALLS, Keeping, Kept, LeftOut, as_call, shapes_of
from .part import broken, differs, parts, runs

FOLDER = "simplegrad-calls"
MOST_WHOLE = 20_000  # elements: with more, all of a call's arguments are judged along one direction alone


@attached
@dataclass
class CallsReport:
    """What came of the calls of a run, the worst first. Empty, and `is_open`, until the block is left."""

    results: list[Result] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)  # what was seen and not judged
    is_open: bool = True
    told: dict[int, str] = field(default_factory=dict)  # of a result, by its id: which call it was, how often
    bundles: dict[int, Path] = field(default_factory=dict)  # of a faulty one: where its arguments are kept

    if TYPE_CHECKING:  # given to it by `attached`: see simplegrad/view/html.py

        def to_html(self, path: str | os.PathLike[str] | None = None, **options: Any) -> str | None: ...

    @property
    def reports(self) -> list[Report]:
        return [each.report for each in self.results if each.report is not None]

    @property
    def faults(self) -> list[Finding]:
        return [fault for report in self.reports for fault in report.faults]

    @property
    def verdict(self) -> str:
        """The gravest of all; `unverified` where a call was not judged, or none was seen."""
        if self.faults:
            return self.results[0].verdict
        return CORRECT if self.ok else UNVERIFIED

    @property
    def ok(self) -> bool:
        return bool(self.results) and not self.left_out and all(each.verdict == CORRECT for each in self.results)

    def as_json(self) -> dict:
        calls = [
            {
                "call": self.told.get(id(each), ""),
                "bundle": str(self.bundles[id(each)]) if id(each) in self.bundles else None,
                **(each.report.as_json() if each.report is not None else _untold(each)),
            }
            for each in self.results
        ]
        left = [each.as_json() for each in self.left_out]
        return {"verdict": self.verdict, "ok": self.ok, "calls": calls, "left_out": left}

    def merged(self) -> Report:
        """One report with all that was found, for a page."""
        report = Report(self.summary())
        for each in self.reports:
            report.findings += each.findings
            for clause in each.tried.values():
                report.tell(clause.number, clause.state, clause.why)
        report.findings += [unjudged(each.name, each.trouble) for each in self.results if each.report is None]
        report.findings += [unjudged(each.name, each.why) for each in self.left_out]
        return report

    def summary(self) -> str:
        if self.is_open:
            return "calls of custom Functions: judged when the block is left"
        if not self.results and not self.left_out:
            return "no call of a custom Function or operator that autograd follows was seen"
        names = list(dict.fromkeys(each.name for each in self.results))
        faulty = list(dict.fromkeys(each.name for each in self.results if each.report and each.report.faults))
        calls, functions = _counted(len(self.results), "distinct call"), _counted(len(names), "custom Function")
        return f"{calls} of {functions} judged: {', '.join(faulty) or 'none'} with a fault"

    def __str__(self) -> str:
        lines = [self.summary()]
        for each in self.results:
            lines += ["", *self._lines(each)]
        if self.left_out:
            lines += ["", "not judged:"]
            lines += [f"  {each.name}: {each.why} ({_counted(each.count, 'call')})" for each in self.left_out]
        return "\n".join(lines)

    def _lines(self, result: Result) -> Iterator[str]:
        yield f"{result.name}: {result.verdict}   {self.told.get(id(result), '')}".rstrip()
        if result.report is None:
            yield f"  {result.trouble}"
            return
        if not result.report.ok or result.report.surrogate:
            yield f"  compared with {result.report.truth}"
            for finding in result.report.findings:
                yield from described(finding)
        if id(result) in self.bundles:
            yield f"  its arguments are kept: {again(result, self.bundles[id(result)])}"


def _untold(result: Result) -> dict:
    return {"name": result.name, "verdict": result.verdict, "ok": False, "findings": [], "error": result.trouble}


def unjudged(name: str, why: str) -> Finding:
    return Finding("unverified", f"{name} was not judged: {why}.", entry=name)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


@contextlib.contextmanager
def check_calls(
    *,
    order: int = 2,
    surrogate: bool = False,
    limit: int = MOST_CALLS,
    megabytes: int = 256,
    keep: str | os.PathLike[str] | None = FOLDER,
) -> Iterator[CallsReport]:
    """`with check_calls() as report:` around a step of training: its custom Functions and operators are judged.

    Of the calls that autograd follows, made by this thread and the passes that it starts, each distinct one (by
    Function, autocast, shapes, dtypes, values of what is no tensor) is kept with a copy of its arguments. When the
    block is left, each is judged as `check` does, on a part of its arguments where there are many, which is then held
    against all of them along a random direction; the worst comes first. The run itself is not changed, its random
    numbers included.

    `order`, `surrogate`: as in `check`. `limit`: the most distinct calls. `megabytes`: the most that copies may take.
    What is left out for these is told. `keep`: the folder for the arguments of faulty calls, which `simplegrad check
    FILE::NAME --inputs KEPT` takes; None to keep none. An exception of the block goes on, after the judgement.
    """
    for name, value in (("order", order), ("limit", limit), ("megabytes", megabytes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"check_calls({name}={value!r}): expected a whole number, 1 or more.")
    needs(CHECK)
    needs(CHECK_FUNCTION)
    report = CallsReport()
    keeping = Keeping(limit, megabytes << 20)
    try:
        with watched_by(keeping):
            yield report
    except Exception:
        judge_calls(keeping, report, order, surrogate, keep)
        raise
    judge_calls(keeping, report, order, surrogate, keep)


def judge_calls(keeping: Keeping, report: CallsReport, order: int, surrogate: bool, keep: Any) -> None:
    """Fill the report with what comes of each kept call."""
    report.left_out = list(keeping.left.values())
    results = []
    for kept in keeping.kept.values():
        result = judged(kept, order, surrogate)
        results.append(result)
        report.told[id(result)] = told_of(kept)
        if keep is not None and result.report is not None and result.report.faults:
            bundled(report, result, kept, Path(keep), order, surrogate)
    report.results = sorted(results, key=gravity)
    report.is_open = False


def gravity(result: Result) -> tuple[int, int]:
    if result.verdict in FAULTS:
        return 0, FAULTS.index(result.verdict)
    return (2 if result.verdict == CORRECT else 1), 0


def told_of(kept: Kept) -> str:
    at = kept.called_at
    where = f", {os.path.basename(at.file)}:{at.first}" if at is not None else ""
    return f"{kept.shapes} ({_counted(kept.count, 'call')}{where})"


# -- one call ----------------------------------------------------------------------------------------------------------


def judged(kept: Kept, order: int, surrogate: bool) -> Result:
    """The check of one call; what keeps it from being checked is the result's trouble."""
    began = time.perf_counter()
    kept = as_call(kept)
    target = target_of(kept)
    try:
        with one_at_a_time(), random_state_kept():
            report, inputs = checked(kept, order, surrogate)
    except Exception as error:  # a user's Function may raise anything, anywhere
        return Result(target, None, trouble_of(error, target.file), seconds=time.perf_counter() - began)
    return Result(target, report, "", inputs, seconds=time.perf_counter() - began)


def checked(kept: Kept, order: int, surrogate: bool) -> tuple[Report, tuple]:
    """The report on the smallest part of the arguments that all of them bear out, and that part."""
    fn, doubt = callable_of(kept), ""
    for flat in parts(kept.flat):
        args = kept.arguments(flat)
        if flat is not kept.flat and not runs(fn, args):
            continue
        report = check_function(fn, args, order=order, name=kept.name, surrogate=surrogate)
        if flat is kept.flat:
            return report, args
        doubt = doubted(fn, kept.arguments(), report)
        if not doubt:
            report.truth += f", at a part of the arguments, {shapes_of(flat)} of {kept.shapes}"
            return report, args
    if sum(x.numel() for x in kept.flat if isinstance(x, torch.Tensor)) <= MOST_WHOLE or not doubt:
        args = kept.arguments()
        return check_function(fn, args, order=1, name=kept.name, surrogate=surrogate), args
    return Report(kept.name, [unjudged(kept.name, doubt)]), kept.arguments()


def doubted(fn: Callable, args: tuple, report: Report) -> str:
    """Why what was found at a part of the arguments does not hold for all of them; empty where it does."""
    wrong = broken(report)
    if report.surrogate and not wrong:
        return ""
    with undisturbed(fn, args):
        problem = opened(fn, args, Report(report.name))
        for level in sorted(wrong or {1}) if problem is not None else ():
            found = differs(problem, level, apart=bool(wrong))
            if found is not None and found != (level in wrong):
                part, whole = ("wrong", "right") if level in wrong else ("right", "wrong")
                return (
                    f"at a part of its arguments the gradient of order {level} is {part}, and at all of them it is "
                    f"{whole} along a random direction"
                )
    return ""


def callable_of(kept: Kept) -> Callable:
    """What is checked: the Function, within the autocast that it was called in."""
    return kept.cls.apply if kept.autocast is None else in_autocast(kept.cls.apply, *kept.autocast)


def target_of(kept: Kept) -> Target:
    """Where it is defined, for those who print lines."""
    operator = getattr(kept.cls, "operator", None)
    code = code_of(operator.backward if operator is not None else kept.cls.forward)
    file, line = (code.co_filename, code.co_firstlineno) if code is not None else ("", None)
    return Target(kept.name, "function", callable_of(kept), None, file, line)


# -- what is kept of a faulty one --------------------------------------------------------------------------------------


def bundled(report: CallsReport, result: Result, kept: Kept, folder: Path, order: int, surrogate: bool) -> None:
    """Write the arguments it was judged on. A folder that cannot be written to is told, and nothing else is lost."""
    name = "".join(c if c.isalnum() or c in "_-" else "-" for c in result.name)
    number = 1 + sum(path.name.startswith(f"{name}-") for path in report.bundles.values())
    path = folder / f"{name}-{number}.safetensors"
    about = {"name": result.name, "file": result.target.file, "codes": [each.code for each in result.report.faults]}
    about |= {"order": order, "surrogate": surrogate, "call": told_of(kept)}
    about |= {"autocast": [kept.autocast[0], str(kept.autocast[1])]} if kept.autocast is not None else {}
    try:
        Bundle(result.inputs, about).save(path)
    except OSError as error:
        report.left_out.append(LeftOut(result.name, f"its arguments could not be kept: {error}"))
        return
    report.bundles[id(result)] = path


def again(result: Result, path: Path) -> str:
    """How to check it again."""
    file = os.path.relpath(result.target.file) if result.target.file else ""
    if "::" in result.name or not file or "<" in file:
        return f"simplegrad.load_bundle({str(path)!r}).inputs"
    return f"simplegrad check {file}::{result.name} --inputs {path}"
