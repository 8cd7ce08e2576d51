"""Gradients that are another than they should be, told by the numbers alone: what is said where no cause is known."""

from __future__ import annotations

from ...torch_bridge.calls import Call
from .. import source
from ..measure.answer import Answer, Look
from ..report import Finding
from ..subjects.function import Rule
from ..subjects.problem import Problem
from ..words import ordinal
from .detector import Examination


def numbers_of(found: Answer, several: bool = False) -> str:
    """For each input whose gradient is wrong the two numbers that are furthest apart; of `several` outputs which."""
    worst: dict[str, Look] = {}
    for look in found.wrong:
        if look.input not in worst or look.gap > worst[look.input].gap:
            worst[look.input] = look
    return "; ".join(
        f"for {look.input}{f' and {look.output}' if several else ''} it gives {look.told:.4g} where differences of "
        f"forward give {look.slope.value:.4g}"
        for look in worst.values()
    )


def wrong_gradient(rule: Rule, found: Answer) -> list[Finding]:
    """Backward is not the derivative of forward."""
    several = len({look.output for look in found.looks}) > 1
    return [
        Finding(
            "wrong_gradient",
            f"backward of {rule.name} is not the derivative of its forward: along one random direction, "
            f"{numbers_of(found, several)}.",
            entry=rule.name,
            slot=", ".join(found.inputs),
            read_at=rule.returned_at(),
            order=1,
        )
    ]


def nearly_right(rule: Rule, found: Answer) -> str:
    """Of a solver that may stop early: how far apart the two are."""
    return (
        f"forward of {rule.name} iterates, and backward reads what came out of it. Its gradient is near the derivative "
        f"of what forward computes, but not equal to it: along one random direction, {numbers_of(found)}. A backward "
        f"that is right for the solution differs so much where forward stops early; a backward that is a little wrong "
        f"does as well."
    )


def handed_on(name: str, found: Answer) -> str:
    """Of one that gives a gradient to an input which what it returns does not depend on."""
    return (
        f"forward of {name} returns one of its arguments as it came, and backward gives gradients to others: along one "
        f"random direction, {numbers_of(found)}. Whether that is right depends on how its caller made that argument."
    )


def other_gradient(name: str, found: Answer, reason: str) -> Finding:
    """The gradient is another than forward's derivative, and meant so."""
    return Finding(
        "other_gradient",
        f"The gradient of {name} is not the derivative of its forward, and counts as meant so, since {reason}: along "
        f"one random direction, {numbers_of(found)}. Its own derivative is judged by what backward gives.",
        entry=name,
        order=1,
    )


def nonfinite_whole(name: str, found: Answer) -> Finding:
    """Of no Function in it: an operation of torch gives nan where the whole has a slope."""
    return Finding(
        "nonfinite_gradient",
        f"At the given inputs the gradient of {name} is not finite where its values have a finite slope: along these "
        f"elements, {numbers_of(found)}. A branch that is not taken, hidden by where() say, sends back 0 times "
        f"infinity: give it numbers that it can bear before where() picks.",
        entry=name,
        slot=", ".join(found.inputs),
        order=1,
    )


def nested_tensors(problem: Problem, found: Answer) -> Finding:
    """A Function was given tensors inside of a container, where autograd does not follow them."""
    cls, code, line = problem.nested[0]
    return Finding(
        "missing_gradient",
        f"{cls.__name__}.apply was given tensors inside of a list, a tuple or a dict. Autograd follows direct "
        f"arguments only, so no gradient gets through to them: {numbers_of(found)}.",
        entry=cls.__name__,
        slot=", ".join(found.inputs),
        read_at=source.place(code, line),
        order=1,
        fix=f"{cls.__name__}.apply(*tensors)  # and forward(ctx, *tensors), with one gradient for each",
    )


def only_call(problem: Problem) -> Call | None:
    """A call of the one Function that there is; None of several."""
    calls = list({call.cls: call for call in problem.calls}.values())
    return calls[0] if len(calls) == 1 else None


def unlike_reference(problem: Problem, name: str, slot: str, gap: float, limit: float) -> Finding:
    """The gradient of one input is another than the reference's."""
    call = only_call(problem)
    return Finding(
        "wrong_gradient",
        f"The gradient of {name} for {slot} differs from the reference's by up to {gap:.3g}, where rounding of the "
        f"inputs explains {limit:.2g}.",
        entry=call.name if call else name,
        slot=slot,
        read_at=source.returned_at(source.code_of(call.backward)) if call else None,
        order=1,
    )


def steps_apart(problem: Problem, name: str, said: float, found: float) -> Finding:
    """In half precision the gradient of one input is grossly another than forward's values say."""
    call = only_call(problem)
    return Finding(
        "wrong_gradient",
        f"The gradient that {f'backward of {call.name}' if call else 'the function'} gives for {name} is not what its "
        f"values say, also where they move so far that the steps of half precision are small beside it: along one "
        f"random direction {said:.3g}, where they say {found:.3g}.",
        entry=call.name if call else "",
        slot=name,
        read_at=source.returned_at(source.code_of(call.backward)) if call else None,
        order=1,
    )


def whole_differs(problem: Problem, found: Answer, left_out: list[str]) -> Finding:
    """Each Function is right alone, and the whole is not: something between the calls, or one that was left out."""
    where = "Each Function in it is right when it is run alone; a value may change between its forward and its backward"
    if left_out:
        where = f"It may be {' or '.join(left_out)}, which could not be run alone"
    return Finding(
        "unexplained",
        f"The gradient of the whole is not the derivative of its values: along one random direction, "
        f"{numbers_of(found)}. {where}.",
        entry=names_of(problem.calls),
        order=1,
    )


def names_of(calls: list[Call]) -> str:
    return ", ".join(dict.fromkeys(call.name for call in calls)) or "the function"


def unexplained(
    calls: list[Call], wrong: list[str], level: int, found: list[Examination | None], has_nan: bool = False
) -> Finding:
    """The numbers disagree and no value was found that says why."""
    names, inputs = names_of(calls), ", ".join(wrong)
    hidden = [e.call.name for e in found if e is not None and not e.is_complete]
    how = f"is wrong for {inputs}, and no value was found that explains it."
    if has_nan:
        how = (
            f"is not a finite number for {inputs}, where differences of the first-order gradient are finite: a root or "
            f"a quotient at 0, perhaps."
        )
    elif hidden:
        how = f"is wrong for {inputs}, and backward of {hidden[0]} reads something that was not found."
    return Finding("unexplained", f"The {ordinal(level)} derivative of {names} {how}", entry=names, order=level)
