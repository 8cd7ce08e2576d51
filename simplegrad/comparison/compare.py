"""Two runs of one program side by side: what differs first, which pathway is missing, what each pass gives and costs.

Pure functions of two traces; nothing is run again. `compare(left, right)` is the whole of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

import torch

from simplegrad.locks import cached_property

from ..attached import Shown, attached
from ..trace.events import Accumulated, Entry, Leaf, Pass, Recorded, Value, Visited
from ..trace.looks import added, zero
from ..trace.trace import Trace
from .align import Alignment, Side
from .divergence import (
    DeadEnd,
    Divergence,
    dead_ends,
    derivation,
    differing_steps,
    ended,
    first_divergence,
    sides,
    tensor,
)
from .equal import difference, same
from .runs import RunComparison

EQUAL, BOTH_ZERO, MISSING, DIFFERENT, NOT_REACHED = (
    "equal",
    "equal, None for zeros",
    "missing",
    "different",
    "not reached",
)


@dataclass(frozen=True)
class Result:
    """A wanted gradient of a pass, on both sides. `difference`: the largest of an element; None counts as zeros."""

    pass_: Pass | None  # of the left side
    other_pass: Pass | None
    variable: str
    left: Value | None
    right: Value | None
    difference: float | None
    verdict: str  # one of the five above
    run = property(attrgetter("pass_"))  # its older name, which programs still say
    other_run = property(attrgetter("other_pass"))

    @property
    def title(self) -> str:
        return (self.pass_ or self.other_pass).title

    @property
    def agrees(self) -> bool:
        return self.verdict in (EQUAL, BOTH_ZERO)


@dataclass(frozen=True)
class Cost:
    """What one pass (or the forward part) did on one side.

    `entries` ran their propagate (in the forward part: were recorded), `skipped` did not. `operations` were computed,
    `elements` of results in all; `on_zeros` of the operations had an input that is all zeros.
    """

    entries: int = 0
    skipped: int = 0
    operations: int = 0
    elements: int = 0
    on_zeros: int = 0


@dataclass(frozen=True)
class GhostEdge:
    """`output` is computed from `input` by `text`, on the other side only; `gradient` is what flows back along it."""

    input: Value
    output: Value
    text: str
    gradient: torch.Tensor | None
    gradient_name: str = ""


@dataclass(frozen=True)
class Ghost:
    """A pathway that one side lacks: from a dead end (`value`) to what it derives from on the other side.

    `nodes` are values of the other side without a partner here, `edges` the way. `dropped`: per variable of this side,
    the gradient that the pathway would bring it; `exact` is False where that is the difference of the results.
    """

    side: str
    value: Value
    pass_: Pass
    nodes: tuple[Value, ...]
    edges: tuple[GhostEdge, ...]
    dropped: dict[str, torch.Tensor]
    exact: bool = True
    run = property(attrgetter("pass_"))  # its older name, which programs still say


@attached
class Comparison(Shown):
    """`compare(left, right)`: everything is worked out when it is asked for."""

    def __init__(self, left: Trace, right: Trace):
        self.left = left
        self.right = right

    @cached_property
    def alignment(self) -> Alignment:
        return Alignment(self.left, self.right)

    @property
    def agrees(self) -> bool:
        """Whether every line and every wanted gradient is the same on both sides."""
        return self.divergence is None

    @property
    def sentence(self) -> str:
        return "The runs agree." if self.divergence is None else self.divergence.sentence

    def __str__(self) -> str:
        found = self.divergence
        return self.sentence if found is None else f"{found.sentence}\n  left: {found.left}\n  right: {found.right}"

    @property
    def steps(self) -> list[tuple[int | None, int | None]]:
        """Pairs of event indices for one player of both; None where that side waits."""
        return self.alignment.steps

    @cached_property
    def divergence(self) -> Divergence | None:
        """The first difference, or None: the runs agree in every line and every wanted gradient."""
        return first_divergence(self.alignment)

    @cached_property
    def differing_steps(self) -> list[int]:
        """Where in `steps` a gradient differs from the other side's: something to stop at."""
        return differing_steps(self.alignment)

    @cached_property
    def ghosts(self) -> list[Ghost]:
        """The pathways missing in passes whose results differ, on either side."""
        found: dict[Value, Ghost] = {}
        for end in self._losses():
            if end.value not in found:
                found[end.value] = ghost(self.alignment, end)
        return list(found.values())

    def _losses(self) -> list[DeadEnd]:
        wrong = {pass_ for result in self.results if not result.agrees for pass_ in (result.pass_, result.other_pass)}
        ends = [*dead_ends(self.alignment, "left"), *dead_ends(self.alignment, "right")]
        return [end for end in ends if end.pass_ in wrong]

    @cached_property
    def results(self) -> list[Result]:
        return [result for pass_, other in self.alignment.passes for result in results_of(self, pass_, other)]

    @cached_property
    def costs(self) -> list[tuple[str, Cost | None, Cost | None]]:
        """(title, left, right) of the forward part, of each pass, and of all; None where a side has no such pass."""
        rows = [("forward", cost(self.alignment.left, None), cost(self.alignment.right, None))]
        for pass_, other in self.alignment.passes:
            left = cost(self.alignment.left, pass_.id) if pass_ else None
            right = cost(self.alignment.right, other.id) if other else None
            rows.append(((pass_ or other).title, left, right))
        return [*rows, ("in all", total(row[1] for row in rows), total(row[2] for row in rows))]

    def partner_text(self, entry: Entry, which: str) -> str:
        """What an entry of a side has for a partner, in words."""
        one, _ = sides(self.alignment, which)
        partner = one.entry_partner.get(entry)
        if partner is not None:
            return partner.statement
        owner = one.inside.get(entry)
        return f"inside {owner.statement}" if owner is not None else "no partner"


def compare(left: Trace, right: Trace) -> Comparison | RunComparison:
    """Two runs of one program, usually with an aggregate and with its reference; or two runs of PyTorch.

    Either has `.agrees` and `.divergence`. Raises TypeError for a trace of a tape beside one of PyTorch.
    """
    if left.kind != right.kind:
        raise TypeError(
            f"compare: one trace is of a {left.kind} run, the other of a {right.kind} run; give two of one kind."
        )
    return RunComparison(left, right) if left.kind == "torch" else Comparison(left, right)


def results_of(comparison: Comparison, pass_: Pass | None, other: Pass | None) -> list[Result]:
    """Every wanted gradient of a pass; None for a pass that a side does not have."""
    sides = ((comparison.left, pass_), (comparison.right, other))
    ends = [ended(trace, each) if each else None for trace, each in sides]
    wanted = (pass_ or other).wanted
    rows = []
    for number, value in enumerate(wanted):
        found = [end.results[number] if end and number < len(end.results) else None for end in ends]
        if None in ends:
            rows.append(Result(pass_, other, value.name, *found, None, NOT_REACHED))
            continue
        left, right = tensor(found[0]), tensor(found[1])
        rows.append(Result(pass_, other, value.name, *found, difference(left, right), verdict(left, right)))
    return rows


def verdict(left: torch.Tensor | None, right: torch.Tensor | None) -> str:
    """How two gradients compare, in the words of the table."""
    if same(left, right):
        return EQUAL if (left is None) == (right is None) else BOTH_ZERO
    return MISSING if left is None else DIFFERENT


def cost(side: Side, pass_id: int | None) -> Cost:
    """What a pass did; of the forward part with pass_id None."""
    events = [event for event in side.trace.events if event.pass_id == pass_id]
    recorded = [event.entry for event in events if isinstance(event, Recorded)]
    visits = [event.state for event in events if isinstance(event, Visited)]
    ran = sum(state in ("propagated", "partial") for state in visits)
    made = [v for entry in recorded for v in entry.outputs]
    if pass_id is not None:  # zeros that a propagate makes are computed too
        made += [event.value for event in events if isinstance(event, Leaf)]
    return Cost(
        entries=len(recorded) if pass_id is None else ran,
        skipped=len(visits) - ran,
        operations=len(recorded),
        elements=sum(torch.Size(value.shape).numel() for value in made),
        on_zeros=sum(any(value.is_zero for value in entry.inputs) for entry in recorded),
    )


def total(costs) -> Cost:
    rows = [each for each in costs if each is not None]
    return Cost(*(sum(getattr(row, name) for row in rows) for name in Cost.__dataclass_fields__))


# --- the missing pathway ------------------------------------------------------------------------------------------


def ghost(alignment: Alignment, end: DeadEnd) -> Ghost:
    """What the other side has between a dead end and the variables that both have."""
    if end.maker is None or end.other_pass is None:
        return _straight(alignment, end)
    one, other = sides(alignment, end.side)
    exact = same(tensor(end.gradient), tensor(other.gradient(end.other_pass, end.partner)))
    lost = {} if exact else differences(alignment, end)
    flows = _flows(other.trace, end.other_pass) if exact else {}
    nodes: list[Value] = []
    edges: list[GhostEdge] = []
    for entry in derivation(alignment, end)[1]:
        output = end.value if end.partner in entry.outputs else other.partner.get(entry.outputs[0], entry.outputs[0])
        for slot, value in enumerate(entry.inputs):
            mine, flow = other.partner.get(value), flows.get((entry, slot))
            if mine is None and value not in nodes:
                nodes.append(value)
            gradient = tensor(flow) if exact else lost.get(mine)
            edges.append(GhostEdge(mine or value, output, entry.statement, gradient, flow.name if flow else ""))
    return Ghost(end.side, end.value, end.pass_, tuple(nodes), tuple(edges), _dropped(edges, nodes, lost), exact)


def _dropped(edges: list[GhostEdge], nodes: list[Value], lost: dict[Value, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Per variable of this side what all edges to it would bring, or what was found as a difference."""
    if lost:
        return {value.name: lost[value] for value in dict.fromkeys(edge.input for edge in edges) if value in lost}
    brought: dict[str, torch.Tensor | None] = {}
    for edge in edges:
        if edge.input not in nodes and edge.gradient is not None:
            name = edge.input.name
            brought[name] = added(brought[name], edge.gradient) if name in brought else edge.gradient
    return {name: gradient for name, gradient in brought.items() if gradient is not None}


def _flows(trace: Trace, pass_: Pass) -> dict[tuple[Entry, int], Value]:
    """(entry, slot) -> the contribution that it made in a pass."""
    return {
        (event.entry, event.slot): event.contribution
        for event in trace.events
        if isinstance(event, Accumulated) and event.pass_id == pass_.id and event.contribution is not None
    }


def differences(alignment: Alignment, end: DeadEnd) -> dict[Value, torch.Tensor]:
    """Per variable of this side that has a partner: what the other side's gradient of it has more, if anything."""
    one, other = sides(alignment, end.side)
    found = {}
    for value in (*end.pass_.wanted, *(end.reader.inputs if end.reader is not None else ())):
        partner = one.partner.get(value)
        if partner is None or end.other_pass is None:
            continue
        mine, its = tensor(one.gradient(end.pass_, value)), tensor(other.gradient(end.other_pass, partner))
        if not same(mine, its):
            found[value] = its if mine is None else added(zero(mine) if its is None else its, mine, times=-1)
    return {value: more for value, more in found.items() if more is not None}


def _straight(alignment: Alignment, end: DeadEnd) -> Ghost:
    """The other side has no such value: straight to the variables whose gradients differ."""
    lost = differences(alignment, end)
    edges = [GhostEdge(value, end.value, "", gradient) for value, gradient in lost.items()]
    return Ghost(end.side, end.value, end.pass_, (), tuple(edges), _dropped(edges, [], lost), False)
