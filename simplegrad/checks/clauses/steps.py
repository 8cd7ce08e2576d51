"""What the lines of one function do in one run, to hold two runs of it beside each other line by line."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ...engine import Variable
from .. import source
from ..measure.numbers import plain
from ..report import Place
from ..runs.tracing import traced
from ..subjects.subject import Rule
from .tried import apart

LARGEST = 1 << 16  # elements; of a larger tensor it is not kept what it was at each line


@dataclass
class Steps:
    """The lines of `code` in the order in which they ran, and what its tensors were after each."""

    code: types.CodeType | None
    ran: list[tuple[int, dict[str, torch.Tensor]]] = field(default_factory=list)
    none: list[set[str]] = field(default_factory=list)  # names that held None, after each
    _line: int = 0

    def watching(self) -> Any:
        return traced(self._enter)

    def left_at(self) -> Place | None:
        """The statement by which it returned."""
        return source.place(self.code, self.ran[-1][0]) if self.ran else None

    def _enter(self, frame: types.FrameType, event: str, arg: Any) -> Callable | None:
        if frame.f_code is not self.code:
            return None
        self._line = frame.f_lineno
        return self._step

    def _step(self, frame: types.FrameType, event: str, arg: Any) -> Callable:
        self._note(self._line, frame.f_locals)
        if event == "return":
            given = arg if isinstance(arg, tuple | list) else (arg,)
            self._note(frame.f_lineno, {f"<{i}>": x for i, x in enumerate(given)})
        self._line = frame.f_lineno
        return self._step

    def _note(self, line: int, named: dict[str, Any]) -> None:
        self.ran.append((line, _copies(named)))
        self.none.append({name for name, x in named.items() if x is None})


def _copies(named: dict[str, Any]) -> dict[str, torch.Tensor]:
    tensors = {name: x.value if isinstance(x, Variable) else x for name, x in named.items()}
    return {name: plain(x.detach()).clone() for name, x in tensors.items() if _is_kept(x)}


def _is_kept(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.numel() <= LARGEST and x.layout is torch.strided


def watched(run: Callable[[], Any], code: types.CodeType | None) -> Steps:
    """The lines of this function while `run` runs it."""
    steps = Steps(code)
    with steps.watching():
        run()
    return steps


def returned_at(run: Callable[[], Any], function: Callable | types.CodeType | None) -> Place | None:
    """The statement at which this function returned last while `run` ran."""
    code = function if isinstance(function, types.CodeType) else source.code_of(function)
    return None if code is None else watched(run, code).left_at()


def parted(rule: Rule, one: Callable[[], Any], other: Callable[[], Any]) -> Place | None:
    """The first statement of backward after which the one run has other values than the other; else the last."""
    if rule.code is None:
        return None
    first, second = (watched(run, rule.code) for run in (one, other))
    return parting(first, second, lambda a, b: not apart(a, b)) or second.left_at()


def stepped(rule: Rule, incoming: list[Any], kept: Any = None, graph: bool = False) -> Steps:
    """The lines of one backward by itself, as far as it comes."""
    kept, steps = rule.forward() if kept is None else kept, Steps(rule.code)
    with contextlib.suppress(Exception), steps.watching():
        rule.backward(kept, incoming, graph=graph)
    return steps


def parting(a: Steps, b: Steps, holds: Callable[[torch.Tensor, torch.Tensor], bool]) -> Place | None:
    """The first line after which the two runs are not what `holds` says of their values, or that `b` alone took."""
    for (line, mine), (other, theirs) in zip(a.ran, b.ran, strict=False):
        if line != other:
            return source.place(a.code, other)
        pairs = [(mine[name], theirs[name]) for name in mine if name in theirs]
        if mine.keys() != theirs.keys() or not all(x.shape == y.shape and holds(x, y) for x, y in pairs):
            return source.place(a.code, line)
    return None


def parting_by_none(a: Steps, b: Steps, holds: Callable[[torch.Tensor, torch.Tensor], bool]) -> Place | None:
    """The statement after which a run that was given None, `a`, is no longer what one that was given zeros is, None
    being zeros; of a branch that only one of them takes its head."""
    i = j = 0
    head = None
    while i < len(a.ran) and j < len(b.ran):
        if a.ran[i][0] == b.ran[j][0]:
            if not _alike(a, i, b, j, holds):
                return source.place(a.code, a.ran[i][0] if head is None else head)
            head, i, j = None, i + 1, j + 1
            continue
        head = a.ran[i - 1][0] if i else None
        met = _where_they_meet(a, i, b, j)
        if met is None:  # it returns by itself
            return a.left_at()
        i, j = met
        if not _alike(a, i - 1, b, j - 1, holds):
            break
        head = None
    return source.place(a.code, head) if head is not None else None


def _where_they_meet(a: Steps, i: int, b: Steps, j: int) -> tuple[int, int] | None:
    """The next line that both come to, in either."""
    ahead = {line: k for k, (line, _) in reversed([*enumerate(b.ran)]) if k >= j}
    return next(((k, ahead[line]) for k, (line, _) in enumerate(a.ran) if k >= i and line in ahead), None)


def _alike(a: Steps, i: int, b: Steps, j: int, holds: Callable[[torch.Tensor, torch.Tensor], bool]) -> bool:
    mine, theirs = a.ran[i][1], b.ran[j][1]
    both = ((mine[name], theirs[name]) for name in mine.keys() & theirs.keys())
    lost = (theirs[name] for name in a.none[i] & theirs.keys())
    return all(x.shape == y.shape and holds(x, y) for x, y in both) and all(holds(x, x * 0) for x in lost)


def beside_it(a: Steps, b: Steps, at: Place) -> Place | None:
    """Of what is only put together there, the statement that made the one part that is the same in both runs while
    others are not; None where there is no such part."""
    pairs = [
        (line, {n: (x, theirs[n]) for n, x in mine.items() if n in theirs})
        for (line, mine), (_, theirs) in zip(a.ran, b.ran)
    ]
    joined = source.arranged_names(source.statement_at(a.code, at.first))
    last = next((both for _, both in reversed(pairs) if both.keys() >= {*joined}), {})
    known = {name: last[name] for name in joined if name in last}
    still = [name for name, (x, y) in known.items() if torch.equal(x, y) and bool(x.any())]
    if len(still) != 1 or len(still) == len(known):
        return None
    made = known[still[0]][0]
    return next(
        (source.place(a.code, line) for line, both in pairs if still[0] in both and both[still[0]][0].equal(made)), None
    )


def is_same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-9, atol=0, equal_nan=True) if a.is_floating_point() else torch.equal(a, b)
