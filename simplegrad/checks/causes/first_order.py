"""Why the first-order gradient of a custom Function is wrong: its call alone, where the right gradients are known.

The rules go from the plainest cause to the least plain; the first that accounts for the numbers is told. Those about
uses and slots are the tape's (`partial`, `contributions`). The line is found by running backward (`accused`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ...locks import cached_property
from .. import source
from ..measure.numbers import gap, is_floating, near, plain, size
from ..report import Finding, Place
from ..subjects.function import Rule
from .accused import Accused
from .captured import captured
from .contributions import missing_or_double, scaled_use
from .examined import SMALL
from .misnamed import kept_as_another, saving_at, taken_for_another
from .outputs import FunctionExamined, examined_of, fitted
from .partial import ignored, ordered
from .samples import Sample, samples_of
from .suspects import Search
from .trail import Note, Site, birth, tensors_in
from .words import (
    Relation,
    all_in_words,
    cause_in,
    explained_by,
    explanation_of,
    factor_in_words,
    place_in_words,
    relation,
)


class Case(Accused):
    @cached_property
    def examined(self) -> list[FunctionExamined]:
        return examined_of(self)


def why_wrong(rule: Rule) -> list[Finding]:
    """Findings on the gradient of a Function that is not its forward's derivative; none where none can be made out."""
    joint = samples_of(rule.alone, rule.bits, ways=rule.ways)
    if joint is None or not joint.wrong:
        return []
    case = Case(rule, joint)
    for cause in CAUSES:
        found = cause(case)
        if found:
            return found
    return [of_statement(case, i) for i in joint.wrong]


def with_lines(rule: Rule, findings: list[Finding]) -> list[Finding]:
    """The same findings; those about linearity with the statement that makes the gradient wrong."""
    joint = samples_of(rule.alone, rule.bits, ways=rule.ways)
    if joint is None or not joint.wrong:
        return findings
    case = Case(rule, joint)
    told = next((f for f in not_linear(case) if f.explanation), None)
    at = case.place_of(joint.wrong[0])

    def sharper(finding: Finding) -> Finding:
        if finding.code != "not_linear" or finding.entry != case.name:
            return finding
        return told or replace(finding, read_at=at if case.repairs else at or finding.read_at)

    return [sharper(finding) for finding in findings]


# -- causes, the plainest first ----------------------------------------------------------------------------------


def nonfinite(case: Case) -> list[Finding]:
    """A gradient that is no number where the right one is: of another value than the one that is meant, maybe."""
    sample = next((s for s in case.joint.each if any(map(_is_nonfinite, s.returned))), None)
    if sample is None:
        return []
    slots = [i for i, g in enumerate(sample.returned) if _is_nonfinite(g) and not _is_nonfinite(sample.truth[i])]
    return (misnamed(case) or [nonfinite_finding(case, sample, slots)]) if slots else []


def nonfinite_finding(case: Case, sample: Sample, slots: list[int]) -> Finding:
    notes = Search(case.joint, case.joint.wrong).run(sample).notes
    born, repaired = birth(notes), case.repair_of(slots[0])
    names = " and ".join(case.names[i] for i in slots)
    at = born.site.statement if born else case.returned_at
    how = f": it comes from {born.operation} in `{at.text.strip()}`, which is given finite numbers" if born else ""
    if repaired is not None:
        at = repaired.place
        how += f". {'Before that, ' if born else ''}{place_in_words(at)}, {repaired.said}"
    return case.finding(
        "nonfinite_gradient",
        f"backward of {case.name} returns a gradient of {names} that is not finite, where forward's derivative is "
        f"finite{how}.",
        slots[0],
        read_at=at,
        explanation=repaired.written if repaired else "",
        fix=repaired.statement if repaired else "",
    )


def _is_nonfinite(value: Any) -> bool:
    return is_floating(value) and not bool(torch.isfinite(plain(value.detach())).all())


def missing(case: Case) -> list[Finding]:
    """None for an input whose gradient is not zero."""
    slots = [i for i in case.joint.wrong if all(s.returned[i] is None for s in case.joint.each)]
    if not slots or any(i not in slots for i in case.joint.wrong) and swapped(case):
        return []
    if all(s.returned[i] is None for s in case.joint.each for i in case.joint.slots) and len(case.joint.slots) > 1:
        names = "all its inputs"
    else:
        names = " and ".join(case.names[i] for i in slots)
    return [
        case.finding(
            "missing_gradient",
            f"backward of {case.name} returns None as the gradient of {names}, where forward's derivative is not zero: "
            f"autograd takes the input for one that the output does not depend on.",
            slots[0],
            read_at=none_at(case, slots[0]),
            dropped={case.names[i]: case.joint.each[0].truth[i].detach() for i in slots},
        )
    ]


def none_at(case: Case, slot: int) -> Place | None:
    """Where a name is returned that is bound to None: the head of the branch not taken that binds it to anything else,
    or the statement that bound it; else the return."""
    if case.code is None:
        return None
    names = source.returned_names(case.code, case.ran.returned_at, case.rule.call.differentiated[slot])
    truth = case.joint.each[0].truth[slot]
    held = [x for x in case.ran.locals.values() if is_floating(x) and x.shape == truth.shape]
    if any(near(x, truth, case.joint.tolerance) for x in held):
        return case.returned_at  # it is there, under another name
    empty = [name for name in names if name in case.ran.bound and holds_none(case.ran.locals.get(name, case))]
    if len(empty) != 1:
        is_call = source.returns_call(case.code, case.ran.returned_at, case.rule.call.differentiated[slot])
        return case.ran.handed.get(id(None), case.returned_at) if is_call else case.returned_at
    return source.untaken(case.code, empty[0], case.ran.lines) or case.ran.bound[empty[0]]


def holds_none(value: Any) -> bool:
    """None, or a list of nothing else."""
    return value is None or isinstance(value, list | tuple) and bool(value) and all(each is None for each in value)


def swapped(case: Case) -> bool:
    return any(ordered(each) for each in case.examined)


def misnamed(case: Case) -> list[Finding]:
    """What forward kept goes under another value's name in backward."""
    if case.code is None:
        return []
    found = taken_for_another(Search(case.joint, case.joint.wrong), case.ran)
    if found:
        return [unpacked_as_another(case, {site.name: other for site, other in found.items()}, next(iter(found)))]
    name = kept_as_another(case.joint)
    return [kept_another(case, name)] if name else []


def unpacked_as_another(case: Case, names: dict[str, str], at: Site) -> Finding:
    """`names`: of backward, and what forward calls what it holds."""
    said = " and ".join(f"for `{name}` what forward calls `{other}`" for name, other in names.items())
    return case.finding(
        "wrong_gradient",
        f"backward of {case.name} takes {said}: what forward saves and what backward unpacks do not stand in the same "
        f"order, or another value is saved. With forward's values under these names every gradient is right.",
        case.joint.wrong[0],
        made_at=saving_at(case.alone, "ctx.save_for_backward"),
        read_at=at.statement,
        explanation="; ".join(f"`{other}` stands where `{name}` belongs" for name, other in names.items()),
        fix=source.bound_otherwise(at.statement.text, names) if set(names) == set(names.values()) else "",
    )


def kept_another(case: Case, name: str) -> Finding:
    return case.finding(
        "wrong_gradient",
        f"forward of {case.name} keeps another value as ctx.{name} than it calls `{name}`. With `{name}` kept there "
        f"every gradient is right.",
        case.joint.wrong[0],
        made_at=saving_at(case.alone, f"ctx.{name}"),
        read_at=source.naming_at(case.code, f"ctx.{name}"),
        explanation=f"another value than `{name}` is kept",
        fix=f"ctx.{name} = {name}",
    )


def broadcast(case: Case) -> list[Finding]:
    """A gradient of a larger shape, which PyTorch sums to the input's without a word, and which is wrong then."""
    found = []
    for i in case.joint.wrong:
        gradient, value = case.joint.each[0].returned[i], case.joint.each[0].values[i]
        if gradient is not None and gradient.shape != value.shape:
            shapes = f"{tuple(gradient.shape)}, where {case.names[i]} has {tuple(value.shape)}"
            found.append(
                case.finding(
                    "wrong_gradient",
                    f"backward of {case.name} returns a gradient of shape {shapes}: PyTorch sums it to that without a "
                    f"word, and the sum is not the derivative of forward.",
                    i,
                    read_at=case.place_of(i),
                    explanation="a sum over the broadcast axes",
                )
            )
    return found if len(found) == len(case.joint.wrong) else []


def of_slots(case: Case) -> list[Finding]:
    """Gradients in each other's slots."""
    return next((found for each in case.examined if (found := ordered(each))), [])


def captured_in(case: Case) -> list[Finding]:
    """A value that forward kept, and then changed in place."""
    return captured(case.rule, case.joint)


def ignores(case: Case) -> list[Finding]:
    """An output whose incoming gradient is not used, by any input or by one of them."""
    for each in case.examined:
        found = ignored(each)
        if found:
            return found
    return []


def not_linear(case: Case) -> list[Finding]:
    """Twice the incoming gradient has to give twice the gradient, and none of it none."""
    sample = case.joint.each[0]
    nothing, twice = (returned_for(case, sample, factor) for factor in (0.0, 2.0))
    if nothing is None or twice is None or any(map(_is_nonfinite, [*sample.returned, *nothing, *twice])):
        return []
    least = case.joint.least(sample)
    constant = [i for i in case.joint.wrong if not near(nothing[i], None, 1e-9, least)]
    curved = [
        i
        for i in case.joint.wrong
        if sample.returned[i] is not None and not near(twice[i], 2 * sample.returned[i], 1e-6, least)
    ]
    still = [i for i in case.joint.wrong if i in curved or vanishes(case, i)]
    still = [i for i in still if is_the_same_for_another(case, i)]
    if still and len(case.joint.each) > 1:
        return [ignores_all(case, i) for i in still]
    if not curved and not constant:
        return []
    i = (constant or curved)[0]
    said = "is not zero where the incoming gradient is" if constant else "does not grow with the incoming gradient"
    return [
        case.finding(
            "not_linear",
            f"backward of {case.name} is not linear in the incoming gradient: what it returns for {case.names[i]} "
            f"{said}.",
            i,
            read_at=case.place_of(i),
        )
    ]


def vanishes(case: Case, i: int) -> bool:
    """Whether a gradient is computed of other things than what comes in, and comes to nothing, up to rounding."""
    found = [s.returned[i] for s in case.joint.each]
    if not all(g is not None and near(g, None, 0.0, 1e-12) for g in found):
        return False
    sample = case.joint.each[0]
    notes = [note for note in Search(case.joint, [i]).run(sample).notes if not is_made_like(note)]
    came = [g for g in sample.incoming if is_floating(g)]
    return not any(x.shape == g.shape and torch.equal(x, g) for n in notes for x in tensors_in(n.args) for g in came)


def is_made_like(note: Note) -> bool:
    """Whether only the shape of what it is given counts."""
    return note.operation.endswith("_like") or note.operation.startswith("new_")


def is_the_same_for_another(case: Case, i: int) -> bool:
    """Whether the gradient is the same for two incoming gradients at one point."""
    first, second = case.joint.each[:2] if len(case.joint.each) > 1 else (case.joint.each[0], None)
    if second is None or not all(map(torch.equal, first.values, second.values)):
        return False
    a, b = first.returned[i], second.returned[i]
    return a is not None and b is not None and (torch.equal(a, b) or near(b, a, 1e-9))


def ignores_all(case: Case, i: int) -> Finding:
    return case.finding(
        "ignored_output_gradient",
        f"What backward of {case.name} returns for {case.names[i]} does not depend on the incoming gradient: it is the "
        f"same whatever comes in.",
        i,
        read_at=case.place_taking(i),
        explanation="the incoming gradient is left out",
        fix="# a sketch\n... * grad_output  # the incoming gradient belongs in it",
    )


def returned_for(case: Case, sample: Sample, factor: float) -> list[Any] | None:
    """What backward returns for a multiple of a sample's incoming gradients."""
    incoming = [factor * g if is_floating(g) else g for g in sample.incoming]
    try:
        return case.alone.backward(case.alone.forward(sample.values), incoming)
    except Exception:  # it may refuse zeros, say
        return None


def everything(case: Case) -> list[Finding]:
    """All gradients are the right ones times one constant, or conjugated."""
    slots = [i for i in case.joint.slots if size([case.joint.each[0].truth[i]]) > SMALL]
    if len(slots) < 2 or case.joint.wrong != slots:
        return []
    found = relation(case.joint, slots)
    return [whole_finding(case, slots, found)] if found is not None else []


def whole_finding(case: Case, slots: list[int], found: Relation) -> Finding:
    because = _because(case, slots[0])
    return case.finding(
        "wrong_gradient",
        f"All gradients that backward of {case.name} returns are {all_in_words(found)}{because}",
        slots[0],
        read_at=case.place_of(slots[0]),
        explanation=explanation_of(found),
    )


def of_uses(case: Case) -> list[Finding]:
    """Of the uses of the inputs in forward one is missing, counted twice, or has a wrong factor."""
    for each in case.examined:
        if not each.samples.by_autograd or any(i in case.joint.wrong for i in _unseen(each)):
            continue
        each.with_uses()
        for rule in (missing_or_double, scaled_use):
            found = rule(each)
            if found:
                return [with_explanation(case, one) for one in found]
    return []


def _unseen(examined: FunctionExamined) -> list[int]:
    """Inputs that no truth is known of."""
    return [i for i in range(len(examined.names)) if any(c.truth[i] is None for c in examined.calls)]


def with_explanation(case: Case, finding: Finding) -> Finding:
    slot = case.names.index(finding.slot) if finding.slot in case.names else -1
    words = explanation_of(relation(case.joint, [slot])) if slot >= 0 else ""
    repaired = case.repair_of(slot) if slot in case.joint.wrong else None
    fix = repaired.statement if repaired is not None and repaired.place == finding.read_at else finding.fix
    return replace(finding, explanation=words or finding.explanation, fix=fix)


def of_statement(case: Case, i: int) -> Finding:
    """What is left: the statement, and what repairs it."""
    repaired = case.repair_of(i)
    written = repaired.written if repaired else ""
    words = explanation_of(relation(case.joint, [i])) or written or cause_in(case.culprit_of(i))
    code = "wrong_partial" if is_only_use(case, i) else "wrong_gradient"
    return case.finding(
        code,
        f"What backward of {case.name} returns for {case.names[i]} is not the derivative of forward times the incoming "
        f"gradient: {largest(case, i)}{_because(case, i)}",
        i,
        read_at=case.place_of(i),
        explanation=words,
        fix=repaired.statement if repaired and not case.doubtful(i) else "",
    )


def _because(case: Case, i: int) -> str:
    repaired = case.repair_of(i)
    if repaired is not None:
        rivals, doubtful = case.rivals_of(i), case.doubtful(i) - {repaired.place}
        others = "".join(f"; or {place_in_words(each.place)}: {each.said}" for each in rivals)
        unsaid = sorted(doubtful - {each.place for each in rivals}, key=lambda each: each.first)
        others += "".join(f"; what is wrong may also stand {place_in_words(each)}" for each in unsaid)
        return f". It goes wrong {place_in_words(repaired.place)}: {repaired.said}{others}."
    found = case.culprit_of(i)
    if found is None or not found.is_sure:
        if case.only_statement is not None:
            return f". It goes wrong {place_in_words(case.only_statement)}, the only statement that computes."
        return ". No statement was found that could be changed alone to make it right: the line is not known."
    said = explained_by(found)
    return f". It goes wrong {place_in_words(found.place)}{f': {said}' if said else ''}."


def largest(case: Case, i: int) -> str:
    """The element that is furthest off, in words."""
    sample = max(case.joint.each, key=lambda s: gap(fitted(s)[i], s.truth[i]))
    truth, returned = sample.truth[i], fitted(sample)[i]
    truth = torch.zeros_like(returned) if truth is None else plain(truth.detach())
    returned = torch.zeros_like(truth) if returned is None else returned
    where = int((truth - returned).abs().argmax())
    index = ", ".join(str(int(k)) for k in torch.unravel_index(torch.tensor(where), truth.shape))
    pair = returned.flatten()[where].item(), truth.flatten()[where].item()
    return f"element [{index}] is {factor_in_words(pair[0])} where {factor_in_words(pair[1])} is right"


def is_only_use(case: Case, i: int) -> bool:
    """Whether forward uses this input once, so that it is the partial of that use which is wrong."""
    if len(case.examined) != 1 or not case.joint.by_autograd:
        return False
    uses = case.examined[0].with_uses().calls[0].uses
    return sum(use.direct and use.parts[i] is not None and size([use.parts[i]]) > SMALL for use in uses) == 1


CAUSES = (nonfinite, missing, misnamed, broadcast, of_slots, captured_in, ignores, not_linear, everything, of_uses)
