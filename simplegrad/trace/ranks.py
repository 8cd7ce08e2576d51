"""What a run of several processes adds to a trace: each collective, and what ranks can be held against each other by.

`trace.rank`, `trace.world` and `trace.seed` say whose run it was. Of a gradient or a parameter its prints are kept: a
few numbers that add up as tensors do (see torch_bridge/prints.py), so that a sum or a mean over ranks shows in them.
"""

from __future__ import annotations

from dataclasses import dataclass

from .events import Value

DONE, WAITS, STARTED = "done", "waits", "started"
CAME, BEFORE, AFTER, USED, STEPPED, AT_END, VALUE = "came", "before", "after", "used", "stepped", "at the end", "value"


@dataclass(frozen=True, slots=True, eq=False)
class Collective:
    """One collective of this rank. `call`: place of its mark in trace.calls, which has its name, line and values.

    `op`: sum, avg, max, ..., "" where there is none. `ranks`: the group's. `root`: the rank that sends or gets, for
    those that have one. `state`: done; waits (it never came back: the run was cut off, or ended in an error, in it);
    started (nobody waited for it). `owners`: for each tensor given, whose it is: "fc.weight.grad", "fc.weight", or ""
    for what is neither a gradient nor part of a model; of a flat tensor that several gradients lie in, each.
    `counts`: how many owners each tensor has. `before`, `after`: prints of the tensors given, and of those it gave.
    `by`: "" for a line of the program's own, else what torch did it for: "DDP", "DDP buffers",
    "DDP buckets" (it agrees on their order in the second forward), "join".
    """

    call: int
    op: str = ""
    ranks: tuple[int, ...] = ()
    root: int | None = None
    state: str = DONE
    owners: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    by: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """A gradient or a parameter of this rank at one moment.

    `what`: came (what a pass brings to a leaf), before and after (its .grad then), used (a parameter, when a pass
    begins), stepped (.grad when an optimizer's step begins), at the end (.grad), value (a parameter or buffer at the
    end). `state`: none, nan, value, or "local" where only this rank's part of it is known. `call`: how many calls
    were before it.
    """

    what: str
    path: str
    state: str
    pass_id: int | None = None
    call: int = 0
    prints: tuple[float, ...] = ()
    value: Value | None = None  # what the gradient is in the trace's calls
