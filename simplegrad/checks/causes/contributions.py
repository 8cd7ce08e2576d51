"""What is wrong with a gradient, in terms of forward's uses: one is missing, one came twice, one has a wrong factor."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from ..measure.numbers import in_one_row, same, size
from ..report import Finding
from ..source import place
from ..tape.climb import Gradients
from ..tape.forward import Use
from .examined import SMALL, Examined, gaps_of
from .words import Relation, explanation_of

MOST_TIMES = 3  # that a person adds one thing up; more is a factor


def only(gradients: Sequence[Gradients], slots: Sequence[int]) -> list[Gradients]:
    return [[g if i in slots else None for i, g in enumerate(row)] for row in gradients]


def missing_or_double(examined: Examined) -> list[Finding]:
    """A use whose contribution is not there, or is there twice: first one that accounts for all, then slot by slot."""
    gaps = gaps_of(examined)
    for count in (1, 2):
        uses = explaining(examined, gaps, None, count)
        if uses:
            return [use_finding(examined, uses, examined.wrong)]
    found = []
    for i in examined.wrong:
        uses = next((u for u in (explaining(examined, gaps, i, count) for count in (1, 2)) if u), None)
        whole = all(c.returned[i] is None or size([c.returned[i]]) <= SMALL for c in examined.calls)
        if uses is None and not whole:
            return []
        found.append(use_finding(examined, uses or [], [i]))
    return found


def explaining(examined: Examined, gaps: Sequence[Gradients], slot: int | None, count: int) -> list[int] | None:
    """Places (among the uses) of those whose contributions together are the gap, in all calls."""
    amount = min((len(call.uses) for call in examined.calls), default=0)
    if amount == 0 or amount > (60 if count == 1 else 25) or len({len(c.uses) for c in examined.calls}) > 1:
        return None
    slots = range(len(examined.names)) if slot is None else [slot]
    # several only of uses of the inputs themselves: those are parallel, where others may lie on one path
    places = [u for u in range(amount) if count == 1 or examined.calls[0].uses[u].direct]
    for chosen in combinations(places, count):
        parts = [total_of([call.uses[u].parts for u in chosen], slots) for call in examined.calls]
        if examined.fits(only(gaps, slots), parts):
            return list(chosen)
    return None


def total_of(parts: Sequence[Gradients], slots: Sequence[int]) -> Gradients:
    found: Gradients = []
    for i in range(len(parts[0])):
        terms = [p[i] for p in parts if p[i] is not None] if i in slots else []
        found.append(sum(terms[1:], terms[0]) if terms else None)
    return found


def use_finding(examined: Examined, uses: Sequence[int], wrong: Sequence[int]) -> Finding:
    """missing_use, for these uses of forward (none given: all of them)."""
    call = examined.calls[0]
    names = [examined.names[i] for i in wrong]
    named, at = " and ".join(names), None
    sentence = f"{examined.word} gives zero for {named}, though forward uses {named}: no use's contribution is in it."
    if uses:
        used = [call.uses[u] for u in uses]
        at = place(*used[0].done.at)
        said = "`, `".join(dict.fromkeys(place(*u.done.at).text.strip() for u in used))
        sentence = (
            f"The gradient of {named} lacks a contribution: in forward, the use in `{said}` contributes, "
            f"and {examined.word} does not return that part."
        )
    gap = gaps_of(examined)[0]
    dropped = {examined.names[i]: gap[i].detach() for i in wrong if gap[i] is not None}
    return Finding(
        "missing_use",
        sentence,
        entry=examined.text,
        slot=names[0],
        made_at=at,
        read_at=examined.places.computed(wrong[0]),
        order=1,
        dropped=dropped,
        fix=examined.added_to(names[0]),
    )


def scaled_use(examined: Examined) -> list[Finding]:
    """One use whose contribution has a wrong factor: twice (or more often) what it should be is counted double."""
    gaps = gaps_of(examined)
    found = []
    for slots in [None] if factor_of(examined, gaps, None) else examined.wrong:
        best = factor_of(examined, gaps, slots)
        wrong = examined.wrong if slots is None else [slots]
        if best is None or is_of_all_uses(examined, best[0], wrong):
            return []
        found.append(factor_finding(examined, best, wrong))
    return found


def is_of_all_uses(examined: Examined, u: int, wrong: Sequence[int]) -> bool:
    """Whether whole gradients have a wrong factor, and not this use's part of them: of x * x, both uses are alike."""
    call = examined.calls[0]
    limit = examined.limit.of(call.truth)
    of_whole = all(isinstance(in_common(examined, i), float) for i in wrong)
    return of_whole and not all(same(call.uses[u].parts[i], call.truth[i], limit) for i in wrong)


def factor_of(examined: Examined, gaps: Sequence[Gradients], slot: int | None) -> tuple[int, float] | None:
    """(use, f): that use's contribution is there f times. All of the gap is (1 - f) times its contribution."""
    amount = min((len(call.uses) for call in examined.calls), default=0)
    if len({len(c.uses) for c in examined.calls}) > 1 or amount > 60:
        return None
    slots = range(len(examined.names)) if slot is None else [slot]
    for u in range(amount):
        parts = [total_of([call.uses[u].parts], slots) for call in examined.calls]
        ratio = ratio_of(only(gaps, slots), parts)
        if ratio is not None and abs(ratio) > 1e-6:
            scaled = [[None if p is None else p * ratio for p in row] for row in parts]
            if examined.fits(only(gaps, slots), scaled):
                return u, 1 - ratio
    return None


def ratio_of(gaps: Sequence[Gradients], parts: Sequence[Gradients]) -> float | None:
    """The factor between two lists of gradients, by least squares; None from fewer than three numbers."""
    pairs = [
        (g.flatten(), p.flatten())
        for gs, ps in zip(gaps, parts)
        for g, p in zip(gs, ps)
        if g is not None and p is not None
    ]
    if not pairs:
        return None
    g, p = in_one_row([a for a, _ in pairs]), in_one_row([b for _, b in pairs])
    if p.numel() < 3 or float((p * p).sum()) == 0:
        return None
    return float((g * p).sum() / (p * p).sum())


def factor_finding(examined: Examined, best: tuple[int, float], wrong: Sequence[int]) -> Finding:
    u, factor = best
    use, name = examined.calls[0].uses[u], examined.names[wrong[0]]
    times = round(factor)
    double = 2 <= times <= MOST_TIMES and abs(factor - times) < 1e-6 and adds_equals(examined, use, wrong)
    line = place(*use.done.at)
    said = f"What comes back to {name} along `{line.text.strip()}`"
    if double:
        sentence = f"{said} is counted {times} times."
    elif abs(factor + 1) < 1e-6:
        sentence = f"{said} has the wrong sign."
    else:
        sentence = f"{said} is {factor:.6g} times what it should be."
    return Finding(
        "double_counted" if double else "wrong_partial",
        sentence,
        entry=examined.text,
        slot=name,
        made_at=line,
        read_at=examined.places.contribution(use, factor, wrong[0]) or examined.places.computed(wrong[0]),
        order=1,
        explanation=explanation_of(factor),
        fix=f"{examined.gradient_of(name)} = ...  # count that contribution once" if double else "",
    )


def adds_equals(examined: Examined, use: Use, wrong: Sequence[int]) -> bool:
    """Whether the surplus is added up, and not a factor: in propagate, or because an input is listed twice.

    Where the use is all there is to a gradient, twice of it may be a factor of 2 as well; then an addition of equal
    things is asked for.
    """
    if examined.lists_twice:
        return True
    call = examined.calls[0]
    limit = examined.limit.of(call.truth)
    if any(not same(use.parts[i], call.truth[i], limit) for i in wrong):
        return True
    return examined.places.adds_equals(limit)


def wrong_partial(examined: Examined, i: int) -> Finding:
    call, name = examined.calls[0], examined.names[i]
    gap = float(gaps_of(examined)[0][i].abs().max()) if gaps_of(examined)[0][i] is not None else 0.0
    return Finding(
        "wrong_partial",
        f"What {examined.word} returns for {name} is not d{examined.output}/d{name} times the incoming gradient of "
        f"{examined.output}: off by up to {gap:.3g}, where the gradient is up to {size([call.truth[i]]):.3g}.",
        entry=examined.text,
        slot=name,
        read_at=examined.places.computed(i),
        order=1,
        explanation=explanation_of(in_common(examined, i)),
    )


def in_common(examined: Examined, i: int) -> Relation:
    """What made all that was returned for an input out of what is right: a factor, or a transposition."""
    returned, truth = ([[getattr(call, what)[i]] for call in examined.calls] for what in ("returned", "truth"))
    if any(g is None or t is None or g.shape != t.shape for (g,), (t,) in zip(returned, truth)):
        return None
    factor = ratio_of(returned, truth)
    ways = [(factor, lambda t: t * factor)] if factor is not None and abs(factor) > 1e-6 else []
    if all(t.dim() >= 2 and t.shape[-1] == t.shape[-2] for (t,) in truth):
        ways.append(("transposed", lambda t: t.mT))
    limits = [examined.limit.of(call.truth) for call in examined.calls]
    for relation, made in ways:
        if all(same(g, made(t), limit) for (g,), (t,), limit in zip(returned, truth, limits)):
            return relation
    return None
