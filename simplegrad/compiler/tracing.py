"""From a Python function of Variables to an expression graph: it is called once, with symbols."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ..ops import UnsupportedError
from .errors import CompileError, UnfitError, UnknownSizeError
from .graph import Expression, Graph, KnownShapes, Node
from .symbols import Mask, Shape, Size, Symbol, Thing, Weights


@dataclass
class Source:
    """Where expressions come from: `read` makes one, for inputs of which this much is known, or nothing.

    `inputs`: their names; `what`: the source in a line; `function`: the same on Variables, where it is a function.
    """

    inputs: list[str]
    name: str
    what: str
    read: Callable[[Known | None], Expression] = field(repr=False)
    function: Callable | None = field(default=None, repr=False)


Known = Callable[[list[Node]], KnownShapes]  # of these inputs


def source_of(function: Callable, reads_tensors: bool = False) -> Source:
    """Of a function, which is called with symbols each time that it is read.

    `reads_tensors`: it is an aggregate's forward, which computes on `x.value`: that is x, for us.
    """
    plain = getattr(function, "__name__", type(function).__name__)  # an object that is called may have none
    what = (inspect.getdoc(function) or plain).split("\n\n")[0].replace("\n", " ").replace('"""', "'''").rstrip("\\")
    name = plain if plain.isidentifier() else "compiled"
    names = parameters_of(function)

    def read(known: Known | None = None) -> Expression:
        graph = Graph()
        graph.reads_tensors = reads_tensors
        inputs = [graph.leaf("input", name) for name in names]
        graph.shapes = known and known(inputs)
        returned, local = called(function, [Symbol(graph, node) for node in inputs], graph)
        say_names(local)
        several = returned if isinstance(returned, (tuple, list)) else [returned]
        return Expression(graph, inputs, [result_node(graph, each) for each in several], what)

    return Source(names, name, what, read, function)


def parameters_of(function: Callable) -> list[str]:
    try:  # of a torch.nn.Module, what its forward says
        parameters = inspect.signature(getattr(function, "forward", function)).parameters.values()
    except ValueError:
        said = getattr(function, "__name__", "it")
        raise CompileError(f"{said} does not say its parameters: call it in a function of yours.") from None
    if not parameters:
        raise CompileError("the function has no parameters: the inputs of an aggregate are its parameters.")
    for each in parameters:
        is_keyword = each.kind == each.KEYWORD_ONLY and each.default is each.empty
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) or is_keyword:
            raise CompileError(f"parameter '{each}': an aggregate has a fixed list of inputs, each with a name.")
    return [each.name for each in parameters if each.default is each.empty]


def called(function: Callable, symbols: Sequence[Symbol], graph: Graph) -> tuple[object, dict]:
    """What the function returns, and its local variables when it did. Raises CompileError for what has to know a value,
    UnknownSizeError for what has to know a size."""
    local: dict = {}
    code = getattr(inspect.unwrap(function), "__code__", None)

    def watch(frame, event, _):
        if event == "return" and frame.f_code is code:
            local.update(frame.f_locals)

    is_profiled = sys.getprofile() is not None  # then by somebody else, whom we leave alone: nodes get no names
    if not is_profiled:
        sys.setprofile(watch)
    graph.is_read = True
    try:
        with torch.enable_grad():  # so that what the function computes without it is known
            return function(*symbols), local
    except CompileError:
        raise
    except UnsupportedError as error:
        raise UnfitError(str(error)) from error
    except (TypeError, ValueError, AttributeError, LookupError, RuntimeError) as error:
        if graph.has_unknown_sizes:  # of which it expected numbers
            raise UnknownSizeError(f"a size is known only at the call ({error}).") from error
        raise
    finally:
        graph.is_read = False
        if not is_profiled:
            sys.setprofile(None)


def say_names(local: dict) -> None:
    """Call the nodes as the function calls them."""
    for name, value in local.items():
        if isinstance(value, Thing) and not value.node.chosen and value.node.op != "input":
            value.node.name, value.node.chosen = name, True


def result_node(graph: Graph, result) -> Node:
    if not isinstance(result, Symbol):
        kinds = {Shape: "a shape", Size: "a size, a whole number", Mask: "a condition", Weights: "a constant"}
        what = kinds.get(type(result), type(result).__name__)
        raise CompileError(f"the result is {what}: it has to be computed from the inputs, with the engine's operators.")
    node = result.node
    return graph("alias", node) if node.op in ("input", "alias") else node
