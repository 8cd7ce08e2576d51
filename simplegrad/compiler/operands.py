"""What an operator of the table, or a function of torch, makes of things: a node of the graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.overrides import resolve_name

from ..engine.operators import called, is_default
from ..ops import FUNCTIONS, Op, Operators, UnsupportedError, choosing, named_operator, pointwise
from ..ops.refused import advice, spelled
from .arguments import captured, operand, plain
from .errors import CompileError, UnfitError, UnknownSizeError
from .graph import CONSTANT, MASK, VALUE, Call, Graph, Node, flat
from .things import Thing, bare, flows, kind_of, wrapped


class Operand(Thing):
    """A thing that operators and functions may be called with."""

    __slots__ = ()

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", str(func)), kwargs or {}
        things = [each for each in flat((args, [*kwargs.values()])) if isinstance(each, Thing)]
        if any(each.node.is_size for each in things):
            raise UnknownSizeError(f"{spelled(name)} needs sizes that are known only at the call.")
        if not any(map(flows, things)) and name != "where":
            return called_plainly(func, args, kwargs)
        operator = getattr(type(args[0]), name, None) if name.startswith("__") else named_operator(name)
        if operator is None:
            return without_gradient(name, func, args, kwargs)
        if args and isinstance(args[0], torch.Tensor):
            args = (captured(name, things[0].graph, args[0]), *args[1:])
        kwargs = {key: value for key, value in kwargs.items() if not is_default(key, value)}
        try:
            return called(f"torch.{name}", operator, args, kwargs)
        except UnsupportedError as error:
            raise UnfitError(str(error)) from error

    @staticmethod
    def bind(op: Op, args: tuple):
        """An operator of the table: a node."""
        graph = graph_of(args)
        if graph.is_read and not graph.reads_tensors and not torch.is_grad_enabled():
            args = plain(args)
        args = captured(op.name, graph, list(args))
        is_constant = not any(map(flows, flat(args)))
        args = [operand(op, place, arg, is_constant) for place, arg in enumerate(args)]
        if op in (pointwise.add, pointwise.mul) and not isinstance(args[0], Operators):
            args.reverse()  # a number stands on the right
        if op.name in choosing.CONDITIONS or op.shapes and kind_of(args[0]) == MASK:
            kind = MASK
        else:
            kind = CONSTANT if is_constant or not op.has_gradient else VALUE
        return wrapped(graph, graph(op.name, *map(bare, args), kind=kind))


def graph_of(args: tuple) -> Graph:
    return next(each for each in flat(args) if isinstance(each, Thing)).graph


def called_plainly(func: Callable, args: tuple, kwargs: dict):
    """A function of torch, of constants: no gradient flows through, so that it needs no rule. Of several results, a
    constant for each."""
    name = resolve_name(func) or f"torch.{func.__name__}"
    graph = graph_of((args, [*kwargs.values()]))
    if graph.shapes is None:
        raise UnknownSizeError(f"{name}: of what kind its result is, is known only at the call.")
    if func.__name__.endswith("_") and not func.__name__.startswith("_"):
        raise CompileError(f"{name}: a value is never changed in place. Without the _ it gives a new one.")
    said = bare(captured(name, graph, (args, tuple(kwargs.items()))))
    try:
        result = graph.shapes.value(Node("call", (Call(name), *said), CONSTANT, 0))
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        raise UnfitError(f"{name} of what is known only at the call: {str(error).split(chr(10))[0]}") from error
    if isinstance(result, torch.Tensor):
        return constant_of(graph, Call(name), said, result)
    if not isinstance(result, (tuple, list)) or isinstance(result, torch.Size):
        return result
    if type(result) in (tuple, list) and not graph.shapes.has_sizes:
        raise UnknownSizeError(f"{name}: how many results it has is known only at the call.")
    return type(result)([constant_of(graph, Call(name, at), said, each) for at, each in enumerate(result)])


def constant_of(graph: Graph, call: Call, said: tuple, like: torch.Tensor):
    return wrapped(graph, graph("call", call, *said, kind=MASK if like.dtype == torch.bool else CONSTANT))


def without_gradient(name: str, func: Callable, args: tuple, kwargs: dict):
    """torch.isnan(x), x.argmax(1): their results are no floats, so that no gradient could flow through."""
    result = called_plainly(func, plain(args), {key: plain(value) for key, value in kwargs.items()})
    for each in result if isinstance(result, tuple) else (result,):
        if not isinstance(each, Thing) or each.dtype.is_floating_point or each.dtype.is_complex:
            raise CompileError(f"{spelled(name)} is not an operator of the engine. {advice(name, FUNCTIONS)}")
    return result
