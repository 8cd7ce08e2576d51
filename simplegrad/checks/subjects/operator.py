"""A `torch.library` operator with a registered backward, as the custom Function that it stands for.

PyTorch makes a Function of the operator, whose forward and backward are its own few lines around the user's. A check
runs, watches and names the user's: an operator's call becomes the call of a Function whose forward is the operator's
body, and whose `setup_context` and `backward` are the registered ones. Nothing else in the check knows of operators,
but for their words (`worded`) and for `opcheck`, which is asked as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...torch_bridge.calls import Call
from ...torch_private import (
    GENERATED,
    backward_of_operator,
    below_autograd,
    gives_lists,
    operator_behind,
    setup_of_operator,
    tree_flatten,
    tree_unflatten,
)
from ..report import Finding
from ..runs.recorded import fresh
from .lists import Lists, lists_of

MOST_KEPT = 256  # Functions that stand for operators


@dataclass(frozen=True)
class Operator:
    """`name`: "mylib::gate"; `packet`: what opcheck takes; `body`, `setup`, `backward`: what somebody wrote."""

    name: str
    packet: Any
    arguments: tuple[tuple[str, Any], ...]  # names and defaults
    keywords: tuple[tuple[str, Any], ...]  # the same of those that are given by keyword only
    body: Callable | None
    setup: Callable | None
    backward: Callable
    returns: tuple[bool, ...] = (False,)  # for each result whether it is a list of tensors


def operator_of(cls: type) -> Operator | None:
    """The operator that a Function was made for; None for a Function that somebody wrote."""
    if not cls.__name__.startswith(GENERATED):
        return None
    packet, _, arguments, body = operator_behind(cls) or (None, None, (), None)
    backward = backward_of_operator(cls)
    if packet is None or backward is None:
        return None
    positional = tuple((name, default) for name, by_keyword, default in arguments if not by_keyword)
    keywords = tuple((name, default) for name, by_keyword, default in arguments if by_keyword)
    setup, returns = setup_of_operator(cls), gives_lists(packet)
    return Operator(packet.name(), packet, positional, keywords, body, setup, backward, returns)


def as_written(call: Call) -> Call:
    """The same call, of the Function that the operator stands for; any other call as it is."""
    operator = operator_of(call.cls)
    if operator is None:
        return call
    *given, metadata = call.args  # PyTorch's own last argument
    lists = lists_of(given, metadata, operator.returns)
    if lists is None:
        return call
    if lists:
        *given, metadata = given
    missing = operator.arguments[len(lists.joined(given)) :]  # equal to their defaults, they are left away
    keywords = {**dict(operator.keywords), **getattr(metadata, "keyword_only_args", {})}
    args = (*given, *(default for _, default in missing))
    returned = [*call.returned[: len(given)], *[None] * len(missing)]
    return replace(call, cls=function_for(operator, tuple(keywords.items()), lists), args=args, returned=returned)


_made: dict[Any, type[torch.autograd.Function]] = {}


def function_for(operator: Operator, keywords: tuple[tuple[str, Any], ...], lists: Lists) -> type:
    """A Function with the operator's name, body, setup_context and backward; the same one each time."""
    key = (operator.name, id(operator.backward), id(operator.setup), id(operator.body), repr(keywords), lists)
    if key not in _made:
        if len(_made) >= MOST_KEPT:
            _made.clear()
        _made[key] = made_for(operator, dict(keywords), lists)
    return _made[key]


def made_for(operator: Operator, given: dict[str, Any], lists: Lists) -> type[torch.autograd.Function]:
    def forward(*args: Any) -> Any:
        if operator.body is not None:
            return operator.body(*args, **given)
        with below_autograd():
            return operator.packet(*args, **given)

    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        if operator.setup is None:
            return
        named = {"keyword_only_inputs": given} if given else {}
        operator.setup(ctx=ctx, inputs=inputs, output=output, **named)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    forward.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name, _ in operator.arguments])
    if operator.body is not None:
        forward.__wrapped__ = operator.body
    if operator.setup is not None:
        setup_context.__wrapped__ = operator.setup
    backward = operator.backward
    if lists:
        forward, setup_context = lists.around_body(forward), lists.around_setup(setup_context)
        backward = lists.around_backward(backward)
    methods = {"forward": forward, "setup_context": setup_context, "backward": backward}
    made = type(operator.name, (torch.autograd.Function,), {k: staticmethod(f) for k, f in methods.items()})
    made.operator, made.lists = operator, lists
    if lists:
        made.argument_names = lists.names([name for name, _ in operator.arguments])
    return made


# --- its words -------------------------------------------------------------------------------------------------------

WORDS = (  # of a Function -> of an operator
    ("that forward computed and did not return", "that setup_context computed and the operator did not return"),
    ("recompute saved_tensors in backward", "compute it in backward"),
    ("# or return it from forward, and drop it in a function around apply", "# or return it from the operator as well"),
    ("@staticmethod\n", ""),
)


def worded(finding: Finding, operator: Operator) -> Finding:
    """A finding about a Function, in the words of `torch.library`."""
    sentence, fix = finding.sentence, finding.fix
    for of_function, of_operator in WORDS:
        sentence, fix = sentence.replace(of_function, of_operator), fix.replace(of_function, of_operator)
    return replace(finding, sentence=sentence, fix=fix, entry=operator.name)


# --- PyTorch's own check ---------------------------------------------------------------------------------------------

QUESTIONS = ("test_schema", "test_autograd_registration", "test_faketensor")


def refused_by_opcheck(operator: Operator, args: tuple) -> dict[str, str]:
    """What `torch.library.opcheck` says of a call: question -> why it refuses, for those that it does."""
    flat, spec = tree_flatten(tuple(args))
    given = [fresh(x) for x in flat]
    answers = torch.library.opcheck(
        operator.packet, tree_unflatten(given, spec), test_utils=QUESTIONS, raise_exception=False
    )
    return {name: first_line(answer) for name, answer in answers.items() if answer != "SUCCESS"}


def first_line(error: Any) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
