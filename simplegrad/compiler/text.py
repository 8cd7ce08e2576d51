"""From a text of the language to an expression graph: the program that was written from it is run over symbols."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType

from ..aggregates import registry
from ..language.errors import ProgramError, RunError, error_at, lines_of
from ..language.leaves import LEAVES, shown
from ..language.limits import Guard, Limits
from ..language.machine import Machine
from ..language.names import FIELDS, NOTEBOOK, F
from ..language.nodes import seeds
from ..language.parse import Parsed, parse
from ..language.rewrite import written
from ..ops import FUNCTIONS, METHODS
from ..trace import LimitError
from .errors import CompileError, UnknownSizeError
from .graph import Graph, Node, needed_for
from .sizes import Shape, Size
from .symbols import Mask, Symbol, filled
from .things import Thing
from .tracing import Source, parameters_of, result_node, results_of

LIMITS = Limits(text=20_000, statements=5_000, elements=1_000)  # elements: of a constant that stands in the text
MOST_NODES = 5_000
_METHODS = METHODS | {name: getattr(Symbol, name) for name in "size dim numel detach item new_zeros new_ones".split()}
_RANDOM = ("rand", "randn")


def source_of_text(text: str) -> Source:
    """Of a text. Raises ProgramError, with line and column, for one that is no expression; so does reading it."""
    parsed = parse(text, LIMITS, free=True)
    lines = lines_of(text)
    if not parsed.statements:
        raise ProgramError("there is no expression. Write one, such as (a + b) * b.", 1, 1, lines[0])
    last = parsed.statements[-1]
    name, inputs = "f", list(parsed.inputs)
    if isinstance(last, ast.FunctionDef):  # its parameters are inputs too
        name, names = last.name, [each.arg for each in last.args.args]
        inputs += names[: len(names) - len(last.args.defaults)]
    what = as_docstring("; ".join(line.strip() for line in lines if line.strip() and not line.strip().startswith("#")))

    def begin() -> tuple[Graph, Callable]:
        compiled = Compiled(text, parsed, lines)
        return compiled.graph, lambda symbols: compiled.results(dict(zip(inputs, symbols)))

    return Source(inputs, name, what, begin)


class Compiled(Machine):
    """A Machine over symbols: what is computed from them makes nodes of a graph."""

    def __init__(self, text: str, parsed: Parsed, lines: Sequence[str]):
        super().__init__(text, parsed, NoSizes(LIMITS), None, {}, seeds(parsed.statements))
        self.lines = lines
        self.graph = Graph()
        self.graph.watcher = self.node_made
        self.numbers: dict = {}  # of the constants in the text, by their nodes
        self.value = None

    @property
    def guard(self) -> Guard:
        """Its own: what is known of tensors elsewhere is not of symbols."""
        return self.own_guard

    def node_made(self, node) -> None:
        self.guard.time()
        if len(self.graph.nodes) > MOST_NODES:
            raise LimitError("nodes", MOST_NODES, f"more than {MOST_NODES} operations.")

    def results(self, symbols: dict[str, Symbol]) -> list[Node]:
        """Run over these inputs."""
        last = self.parsed.statements[-1]
        self.namespace |= {name: symbols[name] for name in self.parsed.inputs}
        try:
            self.run()
            if isinstance(last, ast.FunctionDef):
                given = {name: x for name, x in symbols.items() if name not in self.parsed.inputs}
                self.value = self.namespace[last.name](**given)
            elif not isinstance(last, ast.Expr | ast.Return | ast.Assign | ast.AugAssign | ast.AnnAssign):
                raise RunError("the last line says what is computed: write the name of the result.")
            several = self.value if isinstance(self.value, tuple) else (self.value,)
            results = [self.result_of(each) for each in several]
            if not symbols:
                raise RunError("nothing is an input here: leave a name without a value, as in (a + b) * b.")
        except UnknownSizeError:
            raise
        except (RunError, CompileError, LimitError, RecursionError) as error:
            if isinstance(error, RunError) and self.graph.has_unknown_sizes:
                raise UnknownSizeError(str(error)) from error
            raise error_at(getattr(error, "node", last), self.lines, said_of(error)) from None
        return results

    def result_of(self, value):
        if isinstance(value, Symbol) and not any(node.op == "input" for node in needed_for([value.node])):
            raise RunError("the result is a constant: it has to be computed from the inputs, names without a value.")
        return result_node(self.graph, value)

    def result(self, number: int, value):
        self.value = value
        return value

    # --- where it differs from a run -------------------------------------------------------------------------------

    def functions(self) -> dict:
        return {k: v if k in ("_at", "_machine") else partial(self.placed, v) for k, v in super().functions().items()}

    def placed(self, operation: Callable, number: int, *arguments):
        """The same, whose errors know the node that they are about."""
        return self.guarded(self.nodes[number], operation, (number, *arguments))

    def guarded(self, node: ast.AST, compute: Callable, arguments: Sequence, keywords: dict | None = None):
        try:
            return compute(*arguments, **(keywords or {}))
        except (RunError, CompileError, LimitError) as error:
            error.node = getattr(error, "node", node)
            raise
        except (ArithmeticError, TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
            raised = RunError(said_of_torch(error))
            raised.node = node
            raise raised from None

    def apply(
        self, node: ast.AST, name: str | None, compute: Callable, arguments: Sequence, keywords: dict | None = None
    ):
        return self.named(self.guarded(node, compute, arguments, keywords), name)

    def named(self, result, name: str | None):
        if isinstance(result, Thing):
            result.node.give_name(name)
        return result

    def name_result(self, result, name: str | None, arguments: Sequence) -> None:
        self.named(result, name)

    def is_condition(self, value) -> bool:
        return isinstance(value, (bool, Mask))

    def is_tensor(self, value) -> bool:
        return isinstance(value, Symbol)

    def is_size(self, value) -> bool:
        return isinstance(value, Size)

    def as_numbers(self, condition: Mask) -> Symbol:
        return condition.numbers()

    def condition(self, node: ast.expr, compute: Callable, *operands):
        return self.guarded(node, compute, operands)

    compared = condition

    def tested(self, number: int, value):
        if isinstance(value, Thing):
            raise RunError(
                f"{value!r} has no value while it is compiled, so no 'if', 'and' or 'not' can ask for it. Choose "
                f"between values with where(condition, x, y); join conditions with & and |: (x > 0) & (x < 1)."
            )
        return value

    def attribute(self, number: int, value, attribute: str, name: str | None = None):
        node = self.nodes[number]
        if attribute in FIELDS:
            return self.field(node, value, attribute, name)
        if not isinstance(value, Symbol):
            raise RunError(f"{self.text(node)}: '.{attribute}' is for a tensor, not for {shown(value)}.")
        if attribute in ("value", "name"):
            raise RunError(f"'.{attribute}' has no place in what is compiled: write x for x.value.")
        return self.apply(node, name, getattr, [value, attribute])

    def subscript(self, number: int, value, parts: tuple, name: str | None = None):
        node = self.nodes[number]
        if isinstance(value, (list, tuple)):
            return self.element(node, value, parts)
        if isinstance(value, Shape) and len(parts) == 1:
            return value[parts[0]]
        if not isinstance(value, Symbol):
            raise RunError(f"{self.text(node)}: {shown(value)} has no elements.")
        parts = tuple([self.place(node, each) for each in parts])
        return self.apply(node, name, Symbol.__getitem__, [value, parts if len(parts) > 1 else parts[0]])

    def spread(self, number: int, value) -> Sequence:
        return (value,) if isinstance(value, Shape) else super().spread(number, value)

    # --- calls -------------------------------------------------------------------------------------------------------

    def method(self, number: int, receiver, attr: str, arguments: tuple, keywords: dict, name: str | None):
        node = self.nodes[number]
        if isinstance(receiver, Shape) and attr == "numel":
            return receiver.numel()
        if isinstance(receiver, Mask):
            receiver = self.as_numbers(receiver)
        if not isinstance(receiver, Symbol):
            raise RunError(f"{self.text(node)}: '.{attr}' is for a tensor, not for {shown(receiver)}.")
        return self.symbolic(node, attr, _METHODS, (receiver, *arguments), keywords, name)

    def function(self, number: int, function: str, arguments: tuple, keywords: dict, name: str | None, raw: bool):
        node = self.nodes[number]
        if function in LEAVES:
            return self.constant(node, function, arguments, keywords, name)
        if function == "add_optional":
            given = [each for each in (*arguments, *keywords.values()) if each is not None]
            return self.apply(node, name, sum_of, [given])
        if function == F or function in registry or function in NOTEBOOK or function == "grad":
            raise RunError(f"{function} has no place in what is compiled: write what it computes, with operators.")
        if function == "where" and arguments:
            arguments = [*arguments]
            self.check_where(node, arguments)
        if function in ("cat", "stack", "concat", "concatenate"):
            self.check_joined(node, list(arguments), keywords)
        return self.symbolic(node, function, FUNCTIONS, arguments, keywords, name)

    def symbolic(self, node: ast.Call, name: str, known: dict, arguments: Sequence, keywords: dict, result: str | None):
        """An operator on symbols. Text is a name for the result."""
        self.check_lists(arguments, keywords)
        if name not in known:
            raise RunError(f"'{name}' cannot be compiled.")
        arguments, keywords = self.with_places(node, known[name], list(arguments), dict(keywords))
        if name == "sum":
            texts = [x for x in arguments[1:] if isinstance(x, str)]
            said = keywords.pop("name", None) or next(iter(texts), None)
            result = said if isinstance(said, str) and said.isidentifier() else result
            arguments = [x for x in arguments if not isinstance(x, str)]
        return self.apply(node, result, known[name], arguments, keywords)

    def constant(self, node: ast.Call, function: str, arguments: Sequence, keywords: dict, name: str | None) -> Symbol:
        """Numbers that stand in the text."""
        if function in _RANDOM:
            raise RunError(
                f"{self.text(node)}: what is compiled computes the same each time. Make it an input: a name."
            )
        sizes = [each for each in arguments if isinstance(each, (Size, Shape))]
        if sizes and function in ("zeros", "ones"):
            return self.named(filled(self.graph, arguments, float(function == "ones")), name)
        if sizes:
            raise RunError(f"{self.text(node)}: only zeros and ones can have sizes that are known only at the call.")
        numbers = self.leaf(node, function, arguments, keywords)
        made = self.graph("constant", written(numbers))
        self.numbers[made] = numbers
        return self.named(Symbol(self.graph, made), name)

    def place(self, node: ast.expr, part):
        """Constants that are places, x[tensor([0, 1])], as whole numbers."""
        numbers = self.numbers.get(getattr(part, "node", None))
        return part if numbers is None else Symbol(self.graph, self.graph("constant", str(numbers.long().tolist())))


class Forward(Compiled):
    """Reads the forward of an aggregate that a program defines: raw tensors are symbols, nothing is recorded."""

    def __init__(self, machine: Machine):
        super().__init__(machine.source, machine.parsed, lines_of(machine.source))
        self.machine = machine
        self.graph.reads_tensors = True
        self.namespace |= {name: self.moved(machine.namespace.get(name)) for name in machine.own}

    def moved(self, value):
        """A function of the program, with this Machine's functions in the place of the other's."""
        if not self.machine.is_own(value):
            return value
        return FunctionType(value.__code__, self.namespace, value.__name__, value.__defaults__)

    def computed(self, function: FunctionType, symbols: Sequence[Symbol]) -> list[Node]:
        try:
            returned = self.moved(function)(*symbols)
        except (RunError, LimitError) as error:
            raise CompileError(str(error)) from None
        return results_of(self.graph, returned)

    def attribute(self, number: int, value, attribute: str, name: str | None = None):
        if isinstance(value, Symbol) and attribute in ("value", "name"):
            return value if attribute == "value" else value.name
        return super().attribute(number, value, attribute, name)

    def function(self, number: int, function: str, arguments: tuple, keywords: dict, name: str | None, raw: bool):
        if function in ("Variable", "Variable.constant"):
            value, given = (*arguments, None)[:2]
            return self.named(keywords.get("value", value), keywords.get("name", given))
        if function in NOTEBOOK:
            return None
        return super().function(number, function, arguments, keywords, name, raw)


def source_of_own(function: FunctionType) -> Source:
    """What a function of a program computes."""

    def begin() -> tuple[Graph, Callable]:
        forward = Forward(function.__globals__["_machine"])
        return forward.graph, partial(forward.computed, function)

    return Source(parameters_of(function), function.__name__, "", begin)


def said_of(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "this is nested too deeply: give parts of it names, on lines of their own."
    if isinstance(error, LimitError):
        return f"this is too much to compile: at most {error.limit:g} {error.what}."
    return str(error)


def said_of_torch(error: Exception) -> str:
    """What an operator raised; of a number where it asked a tensor for something, that."""
    other = getattr(error, "obj", None)
    if isinstance(error, AttributeError) and other is not None and not isinstance(other, Thing):
        return f"{shown(other)} stands where a tensor belongs."
    return f"these do not go together: {str(error).removesuffix('.')}."


def sum_of(given: Sequence[Symbol]):
    """What add_optional gives."""
    return None if not given else given[0] if len(given) == 1 else given[0] + given[1]


def as_docstring(text: str) -> str:
    """The text as it may stand between triple quotes."""
    return text.replace("\\", "").replace('"', "'")


class NoSizes(Guard):
    """Of symbols no size is known; how many there are, and the time, are limited all the same."""

    def broadcast(self, *operands) -> None:
        pass

    matmul = expand = unfold = index = joined = broadcast
