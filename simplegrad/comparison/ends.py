"""What two runs end in: the losses of their passes, all gradients, and what is made of them. Where these are the same,
the runs agree."""

from __future__ import annotations

from ..trace import calls as kinds
from ..trace.calls import Filled
from ..trace.events import Value
from ..trace.trace import Trace
from .acts import stepped
from .backward import PassVisits, SameGrad, other_seed
from .coarse import coarseness
from .gaps import Given, differs, norm_of
from .parting import EXTRA, FORWARD, MISSING, VALUE, Parting, parting_of


def ends_agree(left: Trace, right: Trace, passes: list[list[PassVisits]]) -> bool:
    """Whether every pass of both begins at the same loss, gives the same results, and fills every `.grad` with the
    same, of which some is no zero. False too where that is not known."""
    if len(passes[0]) != len(passes[1]) or not passes[0]:
        return False
    filled = [_by_pass(trace) for trace in (left, right)]
    coarse = [coarseness(trace) for trace in (left, right)]
    return all(_pass_agrees(a, b, filled, _eps(a, b, coarse)) for a, b in zip(*passes))


def _eps(a: PassVisits, b: PassVisits, coarse: list[dict[Value, float]]) -> float:
    return min(side.get(each.pass_.loss, 0.0) for side, each in zip(coarse, (a, b)))


def _by_pass(trace: Trace) -> dict[int, dict[str, Filled]]:
    found: dict[int, dict[str, Filled]] = {}
    for row in trace.filled:
        found.setdefault(row.pass_id, {})[row.value.name] = row
    return found


def _pass_agrees(a: PassVisits, b: PassVisits, filled: list[dict[int, dict[str, Filled]]], eps: float) -> bool:
    rows, others = filled[0].get(a.pass_.id, {}), filled[1].get(b.pass_.id, {})
    if a.ended is None or b.ended is None or rows.keys() != others.keys():
        return False
    results = list(zip(a.ended.results, b.ended.results))
    known = [norm_of(x) for pair in [(a.pass_.loss, b.pass_.loss), *results] for x in pair if x is not None]
    if None in known or len(a.ended.results) != len(b.ended.results):
        return False
    if other_seed(a.pass_, b.pass_):
        return False
    if a.pass_.loss.shape != b.pass_.loss.shape or differs([(a.pass_.loss, b.pass_.loss), *results], Given(eps=eps)):
        return False
    same = SameGrad(a, b, list(rows.values()), eps)
    if not same.largest and not any(x is not None and norm_of(x) for x, _ in results):
        return False
    return all(_same(rows[name], others[name], same) for name in rows)


def _same(a: Filled, b: Filled, same: SameGrad) -> bool:
    if (
        (a.after_kind, b.after_kind) != ("", "")
        or a.value.dtype != b.value.dtype
        or (a.came is None) != (b.came is None)
    ):
        return False
    ends = [(a.before, b.before), (a.after, b.after)]
    if any((x is None) != (y is None) for x, y in ends):
        return False
    return all(same.says(x, y, a.value, b.value) for x, y in ends if x is not None and y is not None)


def last_step(left: Trace, right: Trace) -> Parting | None:
    """The last steps of optimizers, whose result nothing reads any more: where one run has more of them, or makes them
    with other settings."""
    steps = [[call for call in trace.calls if call.kind == kinds.STEP] for trace in (left, right)]
    if not all(steps):
        return None  # what one run does after its passes may not have been recorded
    for a, b in zip(*steps):
        said = stepped(a, b) if a.name == b.name else ""
        if said:
            is_last = a is steps[0][-1] or b is steps[1][-1]
            when = "after the last result that is compared" if is_last else "without effect on what is compared"
            return parting_of(FORWARD, VALUE, b, a, b, f"{when}, {said}.")
    if len(steps[0]) == len(steps[1]):
        return None
    more = 0 if len(steps[0]) > len(steps[1]) else 1
    alone, other = steps[more][len(steps[1 - more])], steps[1 - more][-1]
    how, ends = (EXTRA, (other, alone)) if more else (MISSING, (alone, other))
    side = ("left", "right")[more]
    return parting_of(FORWARD, how, alone, *ends, f"after all that is compared, {alone.name} steps on the {side} only.")
