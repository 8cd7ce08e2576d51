"""`python -m simplegrad check FILE[::NAME] [--order N] [--surrogate] [--json]`: check what a file of your own holds.

Checked are, in the order of the file, every aggregate and every torch.autograd.Function that has example inputs (see
simplegrad/files.py for how to declare them), and what `case()` returns; with `::NAME` only the one of that name.

Exit code 0: everything is correct (notes alone are correct). 1: something has a fault. 2: the file, or something in it,
was not judged: its verdict is `unverified`, or it could not be run, and the reason is on stderr. A 1 wins over a 2.

`--surrogate`: the first-order gradients of torch.autograd.Functions are not meant to be forward's derivatives. What of
a file that holds for one alone is declared on it, with `@simplegrad.surrogate`.

`--json` prints one list with an object for each: `name`, `verdict` (`correct`, the code of the gravest fault,
`unverified`, or `could_not_run` with an `error`), `ok`, `clauses`, `findings` with every field, `errors` per order and
input, `coverage`, `truth`, `patterns`. Numbers that JSON has no word for are the strings "nan", "inf", "-inf". What the
file itself prints goes to stderr then.

In CI, one line is the whole step:

    python -m simplegrad check my_ops.py --order 3

In pytest, without the command line:

    import pytest, simplegrad
    from my_ops import fused, fused_example

    def test_fused_is_right_to_third_order():
        report = simplegrad.check(fused, *fused_example(), order=3)
        assert report.ok, report            # a failing test prints the whole report

or for all that a file holds, one test each:

    from simplegrad.checks.command import checked, opened

    @pytest.mark.parametrize("target", opened("my_ops.py"), ids=lambda target: target.name)
    def test_backward(target):
        report = checked(target)
        assert report.ok, report
"""

from __future__ import annotations

import difflib
import json
import math
import sys
import traceback
from contextlib import nullcontext, redirect_stdout
from typing import Any, TextIO

from ..files import UserFile
from ..targets import Target
from .report import Report

CORRECT, FAULTY, NOT_JUDGED = 0, 1, 2


class CouldNotRun(Exception):
    """What was asked for cannot be checked; the message says why and what to do."""


def main(target: str, order: int = 2, as_json: bool = False, out: TextIO | None = None, surrogate: bool = False) -> int:
    """Check `target`, FILE or FILE::NAME; print reports on stdout, troubles on stderr; give the exit code."""
    out = out or sys.stdout
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        try:
            chosen = opened(target)
        except CouldNotRun as trouble:
            print(trouble, file=sys.stderr)
            if as_json:
                print("[]", file=out)
            return NOT_JUDGED
        results = [(each, attempted(each, order, surrogate)) for each in chosen]
    if as_json:
        print(json.dumps([as_plain(each, result) for each, result in results], indent=2, allow_nan=False), file=out)
    else:
        print(as_text([result for _, result in results if isinstance(result, Report)]), file=out, flush=True)
    for each, result in results:
        if not isinstance(result, Report):
            print(f"{each.name}: could not be checked. {result}", file=sys.stderr)
    return exit_code([result for _, result in results])


def opened(target: str) -> list[Target]:
    """What FILE or FILE::NAME names that has inputs to be checked on. Raises CouldNotRun where there is nothing."""
    path, _, name = target.rpartition("::") if "::" in target else (target, "", "")
    file = UserFile(path)
    file.refresh()
    if file.problem is not None:
        raise CouldNotRun(str(file.problem))
    if file.content.trace is not None:
        raise CouldNotRun(f"{path}: a saved trace holds no function to check. Give the Python file that it came from.")
    targets = file.content.targets
    if name:
        return [named(targets, name, path)]
    ready = [each for each in targets if each.is_ready]
    has_case = any(each.kind == "case" for each in ready)  # it tells how to call the others
    for each in targets:
        if not each.is_ready and not has_case:
            print(f"{each.name}: not checked, it has no example inputs. {_how_to_declare(each)}", file=sys.stderr)
    if not ready:
        raise CouldNotRun(
            f"{path}: nothing to check. Declare example inputs, @simplegrad.aggregate(example=lambda: (…)) or "
            f"EXAMPLES = {{'Name': lambda: (…)}}, or a function case() that returns (function, inputs)."
        )
    return ready


def named(targets: list[Target], name: str, path: str) -> Target:
    """The target of this name. Raises CouldNotRun with the nearest names there are, or for want of inputs."""
    for each in targets:
        if each.name == name:
            if not each.is_ready:
                raise CouldNotRun(f"{path}::{name} has no example inputs. {_how_to_declare(each)}")
            return each
    names = [each.name for each in targets]
    near = difflib.get_close_matches(name, names, 1)
    meant = f" Did you mean {near[0]}?" if near else f" It has: {', '.join(names)}." if names else ""
    raise CouldNotRun(f"{path} has no '{name}' that could be checked.{meant}")


def _how_to_declare(target: Target) -> str:
    if target.kind == "aggregate":
        return "Write @simplegrad.aggregate(example=lambda: (…)) above it."
    return f"Write EXAMPLES = {{'{target.name}': lambda: (…)}} in the file."


def checked(target: Target, order: int = 2, surrogate: bool = False) -> Report:
    """The report on one target. Whatever making its inputs raises comes through."""
    from .check import check  # the parts that compute are loaded once there is something to compute

    function, inputs = target.prepared()
    report = check(function, *inputs, order=order, surrogate=surrogate)
    report.name = target.name if target.kind != "case" else _case_name(report.name, function, target)
    return report


def _case_name(name: str, function: Any, target: Target) -> str:
    """A case goes by the name of its function, or of its file where that has none to speak of."""
    return name if name.isidentifier() else target.function.__module__.removeprefix("_file_").rpartition("_")[0]


def attempted(target: Target, order: int, surrogate: bool = False) -> Report | str:
    """The report, or why there is none, with the line of the file that raised."""
    try:
        return checked(target, order, surrogate)
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if f.filename == target.file]
        where = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
        return f"{type(error).__name__}{where}: {error}"


def as_text(reports: list[Report]) -> str:
    """The reports one after the other, and of several a last line that sums them up."""
    parts = [str(report) for report in reports]
    if len(reports) > 1:
        faulty = [report.name for report in reports if report.faults]
        unjudged = [report.name for report in reports if not report.faults and not report.ok]
        left = f", {', '.join(unjudged)} not judged" if unjudged else ""
        parts.append(f"{len(reports)} checked: {', '.join(faulty) or 'none'} with a fault{left}.")
    return "\n\n".join(parts)


def exit_code(results: list[Report | str]) -> int:
    if any(isinstance(result, Report) and result.faults for result in results):
        return FAULTY
    return CORRECT if all(isinstance(result, Report) and result.ok for result in results) else NOT_JUDGED


def as_plain(target: Target, result: Report | str) -> dict:
    """One object of the JSON list."""
    if isinstance(result, Report):
        return finite(result.as_json())
    return {"name": target.name, "verdict": "could_not_run", "ok": False, "findings": [], "error": result}


def finite(thing: Any) -> Any:
    """The same with strings for the numbers that JSON cannot hold."""
    match thing:
        case dict():
            return {key: finite(value) for key, value in thing.items()}
        case list() | tuple():
            return [finite(value) for value in thing]
        case float() if not math.isfinite(thing):
            return str(thing)
        case _:
            return thing
