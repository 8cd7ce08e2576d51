"""Arguments of operators, as they come from a function that is read: held to what may stand there, and made things."""

from __future__ import annotations

import torch

from ..engine import Variable
from ..ops import Op, choosing, pointwise
from .errors import CompileError
from .graph import SHAPE, SIZE, Graph, flat, mapped
from .things import Thing, flows, kind_of, wrapped


def captured(what: str, graph: Graph, arg):
    """The same, with a thing for each raw tensor in it. What is trained is no constant, nor is what was computed."""

    def one(each):
        if isinstance(each, Variable) or isinstance(each, torch.Tensor) and each.requires_grad:
            raise CompileError(
                f"{what}: a {type(each).__name__} of shape {tuple(each.shape)} is not a constant, since gradients flow "
                f"to it. Make it an input of the function."
            )
        return wrapped(graph, graph.constant(each)) if isinstance(each, torch.Tensor) else each

    return mapped(one, arg)


def plain(arg):
    """The same, with constants in the place of what gradients flow through."""
    return mapped(lambda each: each.weights if flows(each) else each, arg)


def operand(op: Op, place: int, arg, is_constant: bool):
    """An argument, held to what the operator takes there. Where a gradient flows to its neighbours, conditions and
    constants are numbers like theirs."""
    for each in flat((arg,)):
        if isinstance(each, str) and not (op is pointwise.step and each in pointwise.STEPS):
            raise CompileError(f"{op.name}: text is of no use here, and {each!r} was given.")
    if op.pointwise and isinstance(arg, (list, tuple)):
        raise CompileError(f"{op.name}: a list stands where a tensor or a number belongs.")
    if op.name in choosing.CONDITIONS:
        return undetached(arg)
    if op.vjp(place) is not None:
        return arg if is_constant else [as_value(each) for each in arg] if op.each else as_value(arg)
    check = _CHECKS.get(op.parameters[place] if place < len(op.parameters) else "")
    if check is not None:
        check(op.name, arg)
    return arg


def as_value(arg):
    return arg.numbers() if isinstance(arg, Thing) else arg


def undetached(arg):
    """A condition is a constant anyway."""
    return wrapped(arg.graph, arg.node.args[0]) if flows(arg) and arg.node.op == "detach" else arg


def check_dim(what: str, dim: object) -> None:
    for each in flat((dim,)):
        if each is not None and (isinstance(each, bool) or not isinstance(each, int)):
            raise CompileError(f"{what}: dim is a whole number, not {each!r}.")


def check_sizes(what: str, sizes: object) -> None:
    for each in flat((sizes,)):
        if not isinstance(each, int) and kind_of(each) not in (SIZE, SHAPE):
            raise CompileError(f"{what}: sizes are whole numbers, x.shape[0] or *x.shape, not {each!r}.")


def check_index(what: str, index: tuple) -> None:
    for part in index if isinstance(index, tuple) else ():
        ends = (part.start, part.stop, part.step) if isinstance(part, slice) else ()
        if not all(end is None or isinstance(end, int) or kind_of(end) == SIZE for end in ends):
            raise CompileError("x[…]: the ends of a slice are whole numbers or sizes, x[1:], x[: y.shape[0]].")
        for each in () if ends else flat((part,)):
            if not isinstance(each, (int, Thing, type(None), type(...))) or kind_of(each) == SHAPE:
                raise CompileError(
                    f"x[…]: an index is whole numbers, slices, None, …, a condition or an input, not a "
                    f"{type(each).__name__}."
                )


_CHECKS = {"dim": check_dim, "dims": check_dim, "dim0": check_dim, "dim1": check_dim}
_CHECKS |= {"sizes": check_sizes, "index": check_index}
