"""Where expressions come from; of a Python function of Variables, by calling it once, with symbols."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from ..ops import UnsupportedError
from .errors import CompileError, UnfitError, UnknownSizeError
from .graph import Expression, Graph, Node
from .names import name_nodes
from .shapes import Ranks
from .sizes import Shape, Size
from .symbols import Mask, Symbol, Weights
from .things import Thing


@dataclass
class Source:
    """What expressions are read from.

    `inputs`: their names; `what`: the source in a line; `begin` gives a graph, and what computes results of symbols of
    it; `function`: the same on Variables, where it is a function.
    """

    inputs: list[str]
    name: str
    what: str
    begin: Callable[[], tuple[Graph, Callable[[list[Symbol]], list[Node]]]] = field(repr=False)
    function: Callable | None = field(default=None, repr=False)

    def read(self, level: type[Ranks] | None, tensors: Sequence[torch.Tensor]) -> Expression:
        """An expression for inputs like these tensors, of which this much may be known; without a level, for all."""
        graph, compute = self.begin()
        inputs = [graph.leaf("input", name) for name in self.inputs]
        graph.shapes = level and level(dict(zip(inputs, tensors)))
        expression = Expression(graph, inputs, compute([Symbol(graph, each) for each in inputs]), self.what)
        graph.shapes = None
        if graph.reads_tensors:
            for node in graph.nodes[len(inputs) :]:
                node.name = node.name.removesuffix("_v")  # t_v is what holds t
        name_nodes(expression)
        return expression


def source_of(function: Callable, reads_tensors: bool = False) -> Source:
    """Of a function, which is called with symbols each time that it is read.

    `reads_tensors`: it is an aggregate's forward, which computes on `x.value`: that is x, for us.
    """
    plain = getattr(function, "__name__", type(function).__name__)  # an object that is called may have none
    said = (inspect.getdoc(function) or plain).split("\n\n")[0]
    what = "" if reads_tensors else said.replace("\n", " ").replace('"""', "'''").rstrip("\\")
    name = plain if plain.isidentifier() else "compiled"

    def begin() -> tuple[Graph, Callable]:
        graph = Graph()
        graph.reads_tensors = reads_tensors
        return graph, partial(computed, function, graph)

    return Source(parameters_of(function), name, what, begin, function)


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


def computed(function: Callable, graph: Graph, symbols: Sequence[Symbol]) -> list[Node]:
    """The results of the function, which has names for what it computed. Raises CompileError for what has to know a
    value, UnknownSizeError for what has to know a size."""
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
            returned = function(*symbols)
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
    for name, value in local.items():
        if isinstance(value, Thing):
            value.node.give_name(name)
    return results_of(graph, returned)


def results_of(graph: Graph, returned) -> list[Node]:
    several = returned if isinstance(returned, (tuple, list)) else [returned]
    return [result_node(graph, each) for each in several]


def result_node(graph: Graph, result) -> Node:
    if not isinstance(result, Symbol):
        kinds = {Shape: "a shape", Size: "a size, a whole number", Mask: "a condition", Weights: "a constant"}
        what = kinds.get(type(result), type(result).__name__)
        raise CompileError(f"the result is {what}: it has to be computed from the inputs, with the engine's operators.")
    node = result.node
    return graph("alias", node) if node.op in ("input", "alias") else node
