"""One target of a file, checked: its report or the reason why there is none, and the inputs that it was checked on."""

from __future__ import annotations

import random
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...targets import Target
from ..report import Report
from ..runs.chance import one_at_a_time, random_state_kept


@dataclass(frozen=True)
class Result:
    """`report` is None where nothing could be run; `trouble` then says why, with the line of the file that raised."""

    target: Target
    report: Report | None = None
    trouble: str = ""
    inputs: tuple[Any, ...] = ()
    called: frozenset[str] = field(default_factory=frozenset)  # Functions that it ran, as file:name
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return self.report.name if self.report is not None else self.target.name

    @property
    def verdict(self) -> str:
        return "could_not_run" if self.report is None else self.report.verdict


def attempt(target: Target, *, seed: int | None = None, inputs: tuple | None = None, **asked: Any) -> Result:
    """Check a target. `asked`: order, surrogate, reference, as `check` takes them. `seed`: what the example inputs are
    drawn with (None: as they come); `inputs`: others than the target's own."""
    began = time.perf_counter()
    made: tuple = ()
    try:
        is_given = inputs is not None and target.kind != "case"  # of its own there may be none
        function, made = (target.function, inputs) if is_given else prepared(target, seed)
        made = made if inputs is None else inputs
        called = frozenset() if target.kind == "aggregate" else functions_called(function, made)
        from ..check import check  # the parts that compute are loaded once there is something to compute

        report = check(function, *made, **asked)
        report.name = target.name if target.kind != "case" else case_name(report.name, function, target)
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        return Result(target, None, trouble_of(error, target.file), made, seconds=time.perf_counter() - began)
    return Result(target, report, "", made, called, time.perf_counter() - began)


def prepared(target: Target, seed: int | None) -> tuple[Any, tuple]:
    if seed is None:
        return target.prepared()
    with one_at_a_time(), random_state_kept():
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        return target.prepared()


def trouble_of(error: BaseException, file: str) -> str:
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{where}: {error}"


def case_name(name: str, function: Any, target: Target) -> str:
    """A case goes by the name of its function, or of its file where that has none to speak of."""
    return name if name.isidentifier() else target.function.__module__.removeprefix("_file_").rpartition("_")[0]


def functions_called(function: Any, inputs: tuple) -> frozenset[str]:
    """The custom Functions that a call runs, so that what a case covers is not called uncovered."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type):
        return frozenset([identity(owner)])
    from ...torch_bridge.calls import recorded_calls

    with random_state_kept():
        try:
            with recorded_calls() as recording, torch.enable_grad():
                function(*inputs)
        except Exception:  # the check itself says what is wrong with it
            return frozenset()
    return frozenset(identity(call.cls) for call in recording.calls)


def identity(thing: Any) -> str:
    """A Function, by the file and the name that a target has too."""
    module = sys.modules.get(thing.__module__)
    return f"{Path(getattr(module, '__file__', None) or '').resolve()}:{thing.__name__}"


def identity_of(target: Target) -> str:
    return f"{Path(target.file).resolve()}:{target.name}"
