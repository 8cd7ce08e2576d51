"""Clause 11: what `torch.library.opcheck` asks of an operator, beside all that is asked of its backward."""

from __future__ import annotations

from .. import source
from ..report import BROKEN, HOLDS, NOT_TRIED, Finding, Place
from ..subjects.function import Rule
from ..subjects.operator import Operator, refused_by_opcheck
from ..words import said_within
from .tried import Tried


def operators(rule: Rule) -> Tried | None:
    """What opcheck says; None for a Function that is no operator's."""
    operator: Operator | None = getattr(rule.call.cls, "operator", None)
    if operator is None:
        return None
    try:
        refused = refused_by_opcheck(operator, rule.call.cls.lists.joined(rule.call.args))
    except Exception as error:  # opcheck itself could not go on
        return Tried(NOT_TRIED, f"opcheck raises {said_within(error)}")
    schema = refused.pop("test_schema", "")
    if schema:
        return Tried(BROKEN, "opcheck: test_schema", [wrong_schema(operator, schema)])
    if refused:
        told = "; ".join(f"{name}: {why}" for name, why in refused.items())
        return Tried(HOLDS, f"opcheck refuses {told}", [opcheck_note(operator, told)])
    return Tried(HOLDS, "opcheck too, but for test_aot_dispatch_dynamic, which is not tried")


def wrong_schema(operator: Operator, why: str) -> Finding:
    sentence = (
        f"{operator.name} does not do what its schema says (torch.library.opcheck, test_schema: {why}). A tensor that "
        f"it changes has to be named in mutates_args, and what it returns must be no view of an input."
    )
    fix = '@torch.library.custom_op(..., mutates_args={"x"})  # the arguments that it changes'
    return Finding("input_mutated", sentence, entry=operator.name, read_at=body_of(operator), order=0, fix=fix)


def opcheck_note(operator: Operator, told: str) -> Finding:
    sentence = f"torch.library.opcheck refuses {operator.name}, and this says nothing about its gradient: {told}."
    return Finding("opcheck", sentence, entry=operator.name, order=0)


def body_of(operator: Operator) -> Place | None:
    code = source.code_of(operator.body) if operator.body is not None else None
    return source.heading(code) if code is not None else None
