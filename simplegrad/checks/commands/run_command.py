"""`simplegrad run train.py [--step N] [-- ARGUMENTS]`: run a script up to one step of training, and judge its calls.

The script runs as `python train.py ARGUMENTS` would, unchanged; with -m, as `python -m NAME ARGUMENTS` would. Step N is
what happens between the steps N-1 and N of its optimizers, the first counting from the start; where each optimizer that
is alive has made it, or one begins the next, the script is stopped, and each distinct call of a custom Function or
operator in that step is judged (see real_calls.py). A script that ends earlier is judged by what it did.

Exit code 0: all are correct. 1: a fault was found. 2: something was not judged, no such call was seen, or the script
failed, whose error is on stderr. A 1 wins over a 2. `--format` is as for `simplegrad check`; what the script prints
goes to stderr unless the format is `text`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any, TextIO

import torch

from ...torch_bridge.patches import watched_by
from ...torch_private import CHECK, CHECK_FUNCTION, needs
from .command import CORRECT, FAULTY, FORMATS, NOT_JUDGED, finite
from .kept import Keeping
from .real_calls import CallsReport, judge_calls


class Script(SourceFileLoader):
    """What Python runs a file with; no compiled copy of it is written beside it."""

    def set_data(self, path: str, data: bytes, *, _mode: int = 0o666) -> None:
        pass


class StepIsOver(BaseException):
    """Ends the script: no `except Exception` of its own takes it for an error."""


class OneStep(Keeping):
    """Keeps the calls of the step `number` alone, and ends the script after it."""

    sees_modules = True  # optimizers

    def __init__(self, number: int) -> None:
        super().__init__(is_on=number == 1)
        self.number = number
        self.made: dict[int, int] = {}  # by optimizer: its steps
        self.is_over = False

    def optimizer_steps(self, optimizer: Any, is_over: bool) -> None:
        if self.is_over:
            return
        made = self.made.setdefault(id(optimizer), 0)
        if not is_over and made >= self.number:
            self.end()
        if is_over:
            self.made[id(optimizer)] = made + 1
            if self.all_made(self.number):
                self.end()
            self.is_on = self.is_on or self.all_made(self.number - 1)

    def all_made(self, steps: int) -> bool:
        """Whether every optimizer that there is has made as many; one that is never used is not waited for."""
        if steps < 1 or not any(made >= steps for made in self.made.values()):
            return False
        alive = {id(each) for each in gc.get_objects() if issubclass(type(each), torch.optim.Optimizer)}
        waited_for = alive if steps == 1 else alive & self.made.keys()
        return all(self.made.get(each, 0) >= steps for each in waited_for)

    def end(self) -> None:
        self.is_on, self.is_over = False, True
        raise StepIsOver


def main(
    script: str,
    arguments: Sequence[str] = (),
    step: int = 1,
    format: str = "text",
    order: int = 2,
    keep: str | None = None,
    out: TextIO | None = None,
    is_module: bool = False,
) -> int:
    """Run `script`, the path of a file or the name of a module, judge, print; give the exit code."""
    out = out or sys.stdout
    needs(CHECK)
    needs(CHECK_FUNCTION)
    report, keeping = CallsReport(), OneStep(step)
    with contextlib.nullcontext() if format == "text" else contextlib.redirect_stdout(sys.stderr):
        try:
            failed = not ran(script, arguments, keeping, is_module)
        except OSError as error:
            wanted = "Expected the Python file of a training run, or -m and its module."
            print(f"{script}: {error.strerror or error}. {wanted}", file=sys.stderr)
            if format != "text":
                print(printed(report, format), end="", file=out)
            return NOT_JUDGED
        keeping.is_on = False
        judge_calls(keeping, report, order, False, keep)
    if step > 1 and max(keeping.made.values(), default=0) < step - 1:
        seen = max(keeping.made.values(), default=0)
        print(f"{script}: it ended after {seen} steps of its optimizers, before step {step} began.", file=sys.stderr)
    print(printed(report, format), end="", file=out, flush=True)
    if report.faults:
        return FAULTY
    return CORRECT if report.ok and not failed else NOT_JUDGED


def printed(report: CallsReport, format: str) -> str:
    if format == "text":
        return f"{report}\n"
    if format == "json":
        return json.dumps(finite(report.as_json()), indent=2, allow_nan=False) + "\n"
    return FORMATS[format](report.results)


def ran(script: str, arguments: Sequence[str], keeping: OneStep, is_module: bool = False) -> bool:
    """Run the script to the end of the step; False where it failed. Raises OSError where it cannot be read."""
    spec = spec_of(script) if is_module else None
    file = script if spec is None else str(spec.origin)
    open(file, "rb").close()  # what cannot be read at all is no failure of the script
    with as_main(file, arguments, spec) as module:
        try:
            with watched_by(keeping):
                module.__loader__.exec_module(module)
        except StepIsOver:
            return True
        except SystemExit as ended:
            return not ended.code
        except Exception:  # a script may raise anything: it is told as Python tells it, without our own frames
            told(sys.exc_info()[1])
            return False
    return True


def told(error: BaseException | None) -> None:
    """Print it on stderr from the script's own first line on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith((__file__, "<frozen importlib")):
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)


def spec_of(name: str) -> ModuleSpec:
    """Of the module that `python -m NAME` runs, looked for from this folder on. Raises FileNotFoundError for none."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except (ImportError, ValueError):
        spec = None
    finally:
        sys.path.pop(0)
    if spec is None or not str(spec.origin).endswith(".py"):
        raise FileNotFoundError("there is no such module here, as python -m would run it")
    return spec


@contextlib.contextmanager
def as_main(script: str, arguments: Sequence[str], spec: ModuleSpec | None = None) -> Iterator[types.ModuleType]:
    """A module `__main__` for the script, its folder first on the path and its arguments in `sys.argv`; for that of a
    package, which says from where it imports, the folder that one is in."""
    module = types.ModuleType("__main__")
    module.__file__, module.__loader__ = script, Script("__main__", script)
    folder = Path(script).resolve().parent
    if spec is not None:
        module.__spec__, module.__package__, folder = spec, spec.parent, Path.cwd()
    before = sys.modules["__main__"], sys.argv, list(sys.path)
    sys.modules["__main__"] = module
    sys.argv, sys.path[:0] = [script, *arguments], [str(folder)]
    try:
        yield module
    finally:
        sys.modules["__main__"], sys.argv, sys.path[:] = before
