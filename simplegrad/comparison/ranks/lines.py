"""The line that decides: where ranks go different ways in a program."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache

from ... import source_text
from ...trace.events import Source
from ...trace.texts import lines_of
from ...trace.trace import Trace

_JUMPS = (ast.Return, ast.Continue, ast.Break, ast.Raise)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def parting(stack: Sequence[Source], lines: set[Source]) -> Source | None:
    """The outermost line of a stack that another rank did not run; None where it ran them all, if less often."""
    return next((place for place in reversed(stack) if place not in lines), None)


def decides(trace: Trace, place: Source | None) -> Source | None:
    """The line that decides whether this one runs: an `if` around it, one before it that leaves, or its loop."""
    if place is None:
        return None
    file, line = place
    found = _deciding("\n".join(lines_of(file, trace.texts)), line)
    return (file, found) if found is not None else None


def seeded_apart(trace: Trace) -> Source | None:
    """`torch.manual_seed(rank)`: where ranks get seeds of their own, if the files that ran seed at one place only."""
    files = {place[0] for call in trace.calls for place in call.stack}
    found = [(file, *seed) for file in sorted(files) for seed in _seeds("\n".join(lines_of(file, trace.texts)))]
    return found[0][:2] if len(found) == 1 and not found[0][2] else None


@lru_cache(maxsize=64)
def _seeds(text: str) -> tuple[tuple[int, bool], ...]:
    """(line, whether it is a constant) of each call that seeds."""
    try:
        calls = [node for node in ast.walk(source_text.parsed(text)) if isinstance(node, ast.Call) and node.args]
    except (SyntaxError, ValueError):
        return ()
    named = [(node, getattr(node.func, "attr", getattr(node.func, "id", ""))) for node in calls]
    return tuple(
        (node.lineno, isinstance(node.args[0], ast.Constant))
        for node, name in named
        if name in ("manual_seed", "seed_everything", "set_seed")
        and not (isinstance(node.func, ast.Attribute) and "Generator" in ast.dump(node.func.value))
    )


def text_at(trace: Trace, place: Source | None) -> str:
    """The statement there, in its own words."""
    if place is None:
        return ""
    lines = lines_of(place[0], trace.texts)
    return lines[place[1] - 1].strip() if 0 < place[1] <= len(lines) else ""


@lru_cache(maxsize=256)
def _deciding(text: str, line: int) -> int | None:
    try:
        path = _path(source_text.parsed(text), line)
    except (SyntaxError, ValueError):
        return None
    loop = None
    for i in range(len(path) - 1, 0, -1):
        node, around = path[i], path[i - 1]
        if isinstance(node, _FUNCTIONS):
            break
        before = _leaves_before(node, around)
        if before is not None:
            return before
        if isinstance(around, ast.If) and node is not around.test and around.lineno != line:
            return around.lineno
        if isinstance(around, _LOOPS) and loop is None:
            loop = around.lineno
    return loop


def _path(tree: ast.AST, line: int) -> list[ast.AST]:
    """From the module to the innermost statement at this line."""
    path = [tree]
    while True:
        inside = [
            child
            for child in ast.iter_child_nodes(path[-1])
            if isinstance(child, ast.stmt | ast.excepthandler) and child.lineno <= line <= (child.end_lineno or 0)
        ]
        if not inside:
            return path
        path.append(inside[0])


def _leaves_before(node: ast.AST, around: ast.AST) -> int | None:
    """The nearest `if` before a statement, in the same block, whose body ends the loop or the function."""
    for block in (getattr(around, name, None) for name in ("body", "orelse", "finalbody")):
        if isinstance(block, list) and node in block:
            for before in reversed(block[: block.index(node)]):
                if isinstance(before, ast.If) and isinstance(before.body[-1], _JUMPS):
                    return before.lineno
    return None
