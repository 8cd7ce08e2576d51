"""From a Python function of Variables to an expression graph: it is called once, with symbols."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType

from .. import ops
from ..ops.methods import UnsupportedError
from .graph import Graph, Node
from .shapes import ranks_of
from .symbols import CompileError, Shape, Size, Symbol, Thing

_OPS = Path(ops.__file__).parent


@dataclass
class Expression:
    """What is compiled: a graph with inputs and results. `what`: the source in a line; `function`: where it was one;
    `of_these_dtypes`: it asked for the dtype of an example, and is for no other."""

    graph: Graph
    inputs: list[Node]
    results: list[Node]
    name: str
    what: str
    text: str = ""
    function: Callable | None = field(default=None, repr=False)
    of_these_dtypes: bool = False


def read_function(function: Callable, reads_tensors: bool = False, example: Sequence = ()) -> Expression:
    """Trace it. Raises CompileError for what has to know a value or a shape; the number of dimensions is known
    from the example inputs, where there are some.

    `reads_tensors`: it is an aggregate's forward, which computes on `x.value`: that is x, for us.
    """
    names = parameters_of(function)
    graph = Graph()
    graph.reads_tensors = reads_tensors
    inputs = [graph.leaf("input", name) for name in names]
    graph.shapes = ranks_of(inputs, example)
    returned, local = called(function, [Symbol(graph, node) for node in inputs])
    say_names(local)
    several = isinstance(returned, (tuple, list))
    results = [result_node(graph, each) for each in (returned if several else [returned])]
    plain = getattr(function, "__name__", type(function).__name__)  # an object that is called may have none
    of_these_dtypes = getattr(graph.shapes, "asked", False)
    graph.shapes = None
    what = (inspect.getdoc(function) or plain).split("\n\n")[0].replace("\n", " ").replace('"""', "'''")
    name = plain if plain.isidentifier() else "compiled"
    return Expression(graph, inputs, results, name, what.rstrip("\\"), "", function, of_these_dtypes)


def parameters_of(function: Callable) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        said = getattr(function, "__name__", "it")
        raise CompileError(f"{said} does not say its parameters: call it in a function of yours.") from None
    if not parameters:
        raise CompileError("the function has no parameters: the inputs of an aggregate are its parameters.")
    for each in parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.KEYWORD_ONLY):
            raise CompileError(f"parameter '{each}': an aggregate has a fixed list of inputs, each with a name.")
    return [each.name for each in parameters if each.default is each.empty]


def called(function: Callable, symbols: Sequence[Symbol]) -> tuple[object, dict]:
    """What the function returns, and its local variables when it did."""
    local: dict = {}
    code = getattr(inspect.unwrap(function), "__code__", None)

    def watch(frame, event, _):
        if event == "return" and frame.f_code is code:
            local.update(frame.f_locals)

    is_profiled = sys.getprofile() is not None  # then by somebody else, whom we leave alone: nodes get no names
    if not is_profiled:
        sys.setprofile(watch)
    try:
        return function(*symbols), local
    except CompileError:
        raise
    except UnsupportedError as error:
        raise CompileError(str(error)) from error
    except ValueError as error:
        if "unpack" in str(error):
            raise CompileError(
                f"{error}: the number of sizes in x.shape is known only at the call. Write x.shape[0], x.shape[-1] "
                f"instead, or give example inputs: compile_aggregate(f, example=(x, …))."
            ) from error
        raise
    except (TypeError, AttributeError, IndexError, RuntimeError) as error:
        operator = operator_that_raised(error, code)
        if operator is None:
            raise
        raise CompileError(
            f"{operator}: compiled code cannot do this one. It computes with sizes, or with values, in a way that has "
            f"to wait for the call ({error})."
        ) from error
    finally:
        if not is_profiled:
            sys.setprofile(None)


def operator_that_raised(error: BaseException, function: CodeType | None) -> str | None:
    """The operator of ours, made of others, in which this was raised: it met symbols, and expected numbers."""
    inside = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if function is not None and frame.f_code.co_filename == function.co_filename:
            inside.clear()  # back in what a person wrote
        elif Path(frame.f_code.co_filename).parent == _OPS:
            inside.append(frame.f_code.co_name)
    return inside[0] if inside else None


def say_names(local: dict) -> None:
    """Call the nodes as the function calls them."""
    for name, value in local.items():
        if isinstance(value, Thing) and not value.node.chosen and value.node.op != "input":
            value.node.name, value.node.chosen = name, True


def result_node(graph: Graph, result) -> Node:
    if not isinstance(result, Symbol):
        kinds = {Shape: "a shape", Size: "a size, a whole number"}
        what = kinds.get(type(result), "a condition" if isinstance(result, Thing) else type(result).__name__)
        raise CompileError(f"the result is {what}: it has to be computed from the inputs, with the engine's operators.")
    node = result.node
    return graph("alias", node) if node.op in ("input", "alias") else node
