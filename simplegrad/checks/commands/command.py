"""`simplegrad check FILE[::NAME] [--order N] [--surrogate] [--format FORMAT]`: check what a file of your own holds.

Checked are, in the order of the file, every aggregate, every torch.autograd.Function and every custom op that has
example inputs (see simplegrad/files.py for how to declare them), and what `case()` returns; with `::NAME` only the one
of that name. What has no inputs, and is called by no case either, is named on stderr.

Exit code 0: everything is correct (notes alone are correct). 1: something has a fault. 2: the file, or something in it,
was not judged: its verdict is `unverified`, or it could not be run, and the reason is on stderr. A 1 wins over a 2.

`--surrogate`: the first-order gradients of torch.autograd.Functions are not meant to be forward's derivatives. What of
a file that holds for one alone is declared on it, with `@simplegrad.surrogate`.

`--format text` is for people. `json` prints one list with an object for each: `name`, `verdict` (`correct`, the code of
the gravest fault, `unverified`, or `could_not_run` with an `error`), `ok`, `clauses`, `findings` with every field,
`errors` per order and input, `coverage`, `truth`, `patterns`; numbers that JSON has no word for are the strings "nan",
"inf", "-inf". `github` prints annotations for a workflow, `sarif` what code scanning reads, `junit` what CI servers
show of tests. What the file itself prints goes to stderr then.

`--inputs FILE`: the inputs that a failing check of pytest has kept (see simplegrad/pytest_plugin.py), in place of the
example's. In pytest, `pytest --simplegrad my_ops.py` makes a test of each.
"""

from __future__ import annotations

import difflib
import json
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from typing import Any, TextIO

import torch

from ...files import UserFile
from ...targets import Target
from ..report import Report
from .attempt import Result, attempt, identity_of
from .bundle import BundleError, load_bundle
from .formats import github, junit, sarif

CORRECT, FAULTY, NOT_JUDGED = 0, 1, 2


class CouldNotRun(Exception):
    """What was asked for cannot be checked; the message says why and what to do."""


def main(
    target: str,
    order: int = 2,
    format: str = "text",
    out: TextIO | None = None,
    surrogate: bool = False,
    inputs: str | None = None,
) -> int:
    """Check `target`, FILE or FILE::NAME; print reports on stdout, troubles on stderr; give the exit code.

    `format`: one of FORMATS. `inputs`: a file that a failing check has kept, in place of the example inputs.
    """
    out = out or sys.stdout
    with nullcontext() if format == "text" else redirect_stdout(sys.stderr):  # what the file itself prints
        try:
            chosen, left = opened(target, has_inputs=inputs is not None)
            given = None if inputs is None else kept_inputs(inputs, chosen)
        except CouldNotRun as trouble:
            print(trouble, file=sys.stderr)
            print(FORMATS[format]([]), end="", file=out)
            return NOT_JUDGED
        results = [attempt(each, inputs=given, order=order, surrogate=surrogate) for each in chosen]
    print(FORMATS[format](results), end="", file=out, flush=True)
    for each in left:
        if identity_of(each) not in {called for result in results for called in result.called}:
            print(f"{each.name}: not checked, it has no example inputs. {_how_to_declare(each)}", file=sys.stderr)
    for each in results:
        if each.report is None:
            print(f"{each.name}: could not be checked. {each.trouble}", file=sys.stderr)
    return exit_code(results)


def kept_inputs(path: str, chosen: list[Target]) -> tuple:
    """The inputs of a bundle for the one target that was named, which goes into the autocast that they were met in.

    Raises CouldNotRun.
    """
    if len(chosen) != 1:
        raise CouldNotRun(f"--inputs {path}: these inputs fit one target only. Say which: FILE::NAME.")
    try:
        kept = load_bundle(path)
    except (OSError, BundleError) as error:
        raise CouldNotRun(f"--inputs {error}") from None
    match kept.about.get("autocast"):
        case [str() as device, str() as dtype] if chosen[0].kind == "function" and dtype in AUTOCAST:
            from ..subjects.autocast import in_autocast

            chosen[0] = replace(chosen[0], function=in_autocast(chosen[0].function, device, AUTOCAST[dtype]))
    return kept.inputs


AUTOCAST = {str(dtype): dtype for dtype in (torch.bfloat16, torch.float16, torch.float32)}


def opened(target: str, has_inputs: bool = False) -> tuple[list[Target], list[Target]]:
    """What FILE or FILE::NAME names that has inputs to be checked on, and what has none. Raises CouldNotRun.

    `has_inputs`: others than its own are given for the one that is named.
    """
    path, _, name = target.rpartition("::") if "::" in target else (target, "", "")
    file = UserFile(path)
    file.refresh()
    if file.problem is not None:
        raise CouldNotRun(str(file.problem))
    if file.content.trace is not None:
        raise CouldNotRun(f"{path}: a saved trace holds no function to check. Give the Python file that it came from.")
    targets = file.content.targets
    if name:
        return [named(targets, name, path, has_inputs)], []
    ready = [each for each in targets if each.is_ready]
    left = [each for each in targets if not each.is_ready]
    if not ready:
        for each in left:
            print(f"{each.name}: not checked, it has no example inputs. {_how_to_declare(each)}", file=sys.stderr)
        raise CouldNotRun(
            f"{path}: nothing to check. Declare example inputs, @simplegrad.example(lambda: (…)) above a Function or "
            f"an aggregate, or a function case() that returns (function, inputs)."
        )
    return ready, left


def named(targets: list[Target], name: str, path: str, has_inputs: bool = False) -> Target:
    """The target of this name. Raises CouldNotRun with the nearest names there are, or for want of inputs."""
    for each in targets:
        if each.name == name:
            if not each.is_ready and not has_inputs:
                raise CouldNotRun(f"{path}::{name} has no example inputs. {_how_to_declare(each)}")
            return each
    names = [each.name for each in targets]
    near = difflib.get_close_matches(name, names, 1)
    meant = f" Did you mean {near[0]}?" if near else f" It has: {', '.join(names)}." if names else ""
    raise CouldNotRun(f"{path} has no '{name}' that could be checked.{meant}")


def _how_to_declare(target: Target) -> str:
    return "Write @simplegrad.example(lambda: (…)) above it."


def checked(target: Target, order: int = 2, surrogate: bool = False) -> Report:
    """The report on one target. Raises CouldNotRun where there is none."""
    result = attempt(target, order=order, surrogate=surrogate)
    if result.report is None:
        raise CouldNotRun(f"{target.name}: {result.trouble}")
    return result.report


def as_text(results: Sequence[Result]) -> str:
    """The reports one after the other, and of several a last line that sums them up."""
    reports = [each.report for each in results if each.report is not None]
    parts = [str(report) for report in reports]
    if len(reports) > 1:
        faulty = [report.name for report in reports if report.faults]
        unjudged = [report.name for report in reports if not report.faults and not report.ok]
        left = f", {', '.join(unjudged)} not judged" if unjudged else ""
        parts.append(f"{len(reports)} checked: {', '.join(faulty) or 'none'} with a fault{left}.")
    return "\n\n".join(parts) + "\n" if parts else ""


def exit_code(results: Sequence[Result]) -> int:
    if any(each.report is not None and each.report.faults for each in results):
        return FAULTY
    return CORRECT if all(each.report is not None and each.report.ok for each in results) else NOT_JUDGED


def as_json(results: Sequence[Result]) -> str:
    return json.dumps([as_plain(each) for each in results], indent=2, allow_nan=False) + "\n"


def as_plain(result: Result) -> dict:
    """One object of the JSON list."""
    if result.report is not None:
        return finite(result.report.as_json())
    return {"name": result.name, "verdict": result.verdict, "ok": False, "findings": [], "error": result.trouble}


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


FORMATS: dict[str, Callable[[Sequence[Result]], str]] = {
    "text": as_text,
    "json": as_json,
    "github": github,
    "sarif": lambda results: json.dumps(sarif(results), indent=2) + "\n",
    "junit": junit,
}
