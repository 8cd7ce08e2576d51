"""A forward that iterates towards a solution, and a backward that is right for the solution itself.

Such a backward differs from the derivative of what forward computes by as much as forward differs from the solution.
Numbers cannot tell that from a backward that is a little wrong, so where forward runs a loop, backward reads what came
out of it, and the two are near each other, nothing is said.
"""

from __future__ import annotations

import ast
import types
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from ..measure.answer import Answer
from ..runs.tracing import traced
from ..source import statements
from ..subjects.function import Rule

NEAR = 0.03  # relative
_NOT_THEIRS = (str(Path(torch.__file__).parent), str(Path(__file__).parent.parent), "<frozen")


def is_solver(rule: Rule, found: Answer) -> bool:
    """Whether backward may be that of a solver that stops early."""
    near = all(look.gap <= NEAR * max(abs(look.slope.value), look.scale) for look in found.wrong)
    return near and reads_output(rule) and iterates(rule)


def reads_output(rule: Rule) -> bool:
    """Whether backward can read an output of forward."""
    ran = rule.alone.forward()
    return any(slot.value is out for slot in ran.slots for out in ran.outputs)


def iterates(rule: Rule) -> bool:
    """Whether forward, or Python code that it calls, runs the body of a loop more than once."""
    seen: Counter = Counter()

    def watched(run: Any, ctx: Any) -> Any:
        with counting(seen):
            return run()

    rule.alone.forward(around=watched)
    return any(times > 1 for times in bodies(seen).values())


def stops_by_incoming(rule: Any, ways: list[list[torch.Tensor]]) -> bool:
    """Whether it depends on the incoming gradients how often backward runs the body of a loop."""
    found = []
    for incoming in ways:
        kept, seen = rule.forward(), Counter()
        with counting(seen):
            rule.backward(kept, rule.all_incoming(incoming))
        found.append(bodies(seen))
    return any(each != found[0] for each in found)


def counting(seen: Counter) -> Any:
    """Counts how often each line of theirs runs."""

    def entered(frame: types.FrameType, event: str, arg: Any) -> Any:
        return None if frame.f_code.co_filename.startswith(_NOT_THEIRS) else lines

    def lines(frame: types.FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            seen[frame.f_code, frame.f_lineno] += 1
        return lines

    return traced(entered)


def bodies(seen: Counter) -> dict[tuple[types.CodeType, int], int]:
    """How often the body of each loop began."""
    codes = {code for code, _ in seen}
    begun = [(c, s.body[0].lineno) for c in codes for s in statements(c) if isinstance(s, ast.For | ast.While)]
    return {body: seen[body] for body in begun}
