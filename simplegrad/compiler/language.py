"""From a text of the program language to an expression graph: read with `ast` and a whitelist, never run."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

from ..program.errors import ProgramError, did_you_mean, error_at, lines_of, nearest
from .graph import Graph
from .symbols import FUNCTIONS, METHODS, CompileError, Shape, Size, Symbol, Thing
from .tracing import Expression, result_node

MOST_CHARACTERS = 20_000
MOST_NODES = 5_000
MOST_DEPTH = 100

_BINARY: dict[type, Callable] = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
_BINARY |= {ast.Div: operator.truediv, ast.Pow: operator.pow, ast.MatMult: operator.matmul}
_BINARY |= {ast.FloorDiv: operator.floordiv, ast.BitAnd: operator.and_, ast.BitOr: operator.or_}
_UNARY: dict[type, Callable] = {ast.USub: operator.neg, ast.UAdd: lambda x: x, ast.Invert: operator.invert}
_COMPARE: dict[type, Callable] = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt}
_COMPARE |= {ast.GtE: operator.ge, ast.Eq: operator.eq, ast.NotEq: operator.ne}
_METHODS = METHODS | {"size": Symbol.size, "numel": Symbol.numel, "detach": Symbol.detach}
_ATTRIBUTES = ("shape", "T", "mT")


def read_text(text: str) -> Expression:
    """Raises ProgramError, with line and column, for a text that is no expression of the language."""
    if len(text) > MOST_CHARACTERS:
        raise ProgramError(f"{len(text)} characters: an expression has at most {MOST_CHARACTERS}.")
    lines = lines_of(text)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        line = min(error.lineno or 1, len(lines))
        raise ProgramError(f"{error.msg}.", line, max(error.offset or 1, 1), lines[line - 1]) from None
    except (ValueError, RecursionError, MemoryError):
        raise ProgramError("this is no text of a program, or it is nested too deeply.", 1, 1, lines[0]) from None
    return Reader(lines).read(tree)


class Reader(ast.NodeVisitor):
    """Walks the tree of a text, and makes the nodes that it says."""

    def __init__(self, lines: list[str]):
        self.lines = lines
        self.graph = Graph()
        self.names: dict[str, object] = {}
        self.inputs = []
        self.depth = 0

    def read(self, tree: ast.Module) -> Expression:
        if not tree.body:
            raise ProgramError("there is no expression: write one, (a + b) * b.", 1, 1, self.lines[0])
        result = None
        for statement in tree.body:
            result = self.statement(statement)
        with At(self, tree.body[-1]):
            node = result_node(self.graph, result)
        what = "; ".join(line.strip() for line in self.lines if line.strip() and not line.strip().startswith("#"))
        what = what.replace("\\", "").replace('"""', "'''").removesuffix('"')
        return Expression(self.graph, self.inputs, [node], "f", what, "\n".join(self.lines))

    def statement(self, node: ast.stmt):
        if isinstance(node, ast.Expr):
            return self.value(node.value)
        if isinstance(node, ast.Return) and node.value is not None:
            return self.value(node.value)
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            return self.assign(node.targets[0].id, self.value(node.value))
        raise self.error(node, "an expression is made of assignments, t = a + b, and of what they compute.")

    def assign(self, name: str, value):
        self.names[name] = value
        if isinstance(value, Thing) and not value.node.chosen and value.node.op != "input":
            value.node.name, value.node.chosen = name, True
        return value

    def error(self, node: ast.AST, message: str, hint: str = "") -> ProgramError:
        return error_at(node, self.lines, message + did_you_mean(hint), hint)

    def value(self, node: ast.AST):
        if self.depth > MOST_DEPTH:
            raise self.error(node, f"nested more than {MOST_DEPTH} deep: give the parts names.")
        if len(self.graph.nodes) > MOST_NODES:
            raise self.error(node, f"more than {MOST_NODES} operations.")
        method = getattr(self, f"visit_{type(node).__name__}", None)
        if method is None:
            raise self.error(node, f"{_WORDS.get(type(node).__name__, 'this')} has no place in an expression.")
        self.depth += 1
        try:
            with At(self, node):
                return method(node)
        finally:
            self.depth -= 1

    # --- one method for each kind of syntax --------------------------------------------------------------------------

    def visit_Constant(self, node: ast.Constant):
        if node.value is None or node.value is Ellipsis or isinstance(node.value, (int, float)):
            return node.value
        raise self.error(node, f"{node.value!r:.30} is no number.")

    def visit_Name(self, node: ast.Name):
        if node.id not in self.names:
            if node.id in FUNCTIONS:
                raise self.error(node, f"'{node.id}' is a function: {node.id}(x).")
            leaf = self.graph.leaf("input", node.id)
            self.inputs.append(leaf)
            self.names[node.id] = Symbol(self.graph, leaf)
        return self.names[node.id]

    def visit_BinOp(self, node: ast.BinOp):
        operation = _BINARY.get(type(node.op))
        if operation is None:
            raise self.error(node, "no such operator: there are + - * / ** @, and & | between conditions.")
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return self.number(node, operation, left, right)
        if operation is operator.floordiv and not isinstance(left, Size):
            raise self.error(node, "// is for sizes. Write / for tensors.")
        return operation(left, right)

    def number(self, node: ast.AST, operation: Callable, left: float, right: float):
        """Arithmetic of numbers, in floats where whole numbers would grow without bound."""
        if operation is operator.pow and max(abs(left), abs(right)) > 64:
            left, right = float(left), float(right)
        value = operation(left, right)
        if isinstance(value, complex) or isinstance(value, int) and abs(value) > 1 << 62:
            raise self.error(node, "this number is complex, or too large.")
        return value

    def visit_UnaryOp(self, node: ast.UnaryOp):
        operation = _UNARY.get(type(node.op))
        if operation is None:
            raise self.error(node, "conditions are joined by & | ~, not by `not`.")
        return operation(self.value(node.operand))

    def visit_Compare(self, node: ast.Compare):
        operation = _COMPARE.get(type(node.ops[0]))
        if operation is None or len(node.ops) > 1:
            raise self.error(node, "compare two values at a time, with < <= > >= == or !=.")
        left, right = self.value(node.left), self.value(node.comparators[0])
        if not isinstance(left, Symbol) and isinstance(right, Symbol):
            left, right, operation = right, left, _MIRRORED.get(operation, operation)
        if not isinstance(left, Symbol):
            raise self.error(node, "one side of a comparison has to be a tensor.")
        return operation(left, right)

    def visit_Tuple(self, node: ast.Tuple):
        return tuple(self.value(each) for each in node.elts)

    visit_List = visit_Tuple

    def visit_Starred(self, node: ast.Starred):
        value = self.value(node.value)
        if not isinstance(value, Shape):
            raise self.error(node, "only a shape is unpacked: x.expand(*y.shape).")
        return value

    def visit_Slice(self, node: ast.Slice):
        return slice(*[None if end is None else self.value(end) for end in (node.lower, node.upper, node.step)])

    def visit_Subscript(self, node: ast.Subscript):
        value = self.value(node.value)
        if not isinstance(value, (Symbol, Shape)):
            raise self.error(node, "only a tensor or a shape has an index.")
        return value[self.value(node.slice)]

    def visit_Attribute(self, node: ast.Attribute):
        value = self.value(node.value)
        if isinstance(value, Symbol) and node.attr in _ATTRIBUTES:
            return getattr(value, node.attr)
        hint = nearest(node.attr, (*_METHODS, *_ATTRIBUTES))
        called = f" It is a method: .{node.attr}(…)." if node.attr in _METHODS else ""
        raise self.error(named_part(node), f"there is no attribute '{node.attr}'.{called}", "" if called else hint)

    def visit_Call(self, node: ast.Call):
        function, first = self.function(node.func)
        args = first + [self.value(arg) for arg in node.args]
        kwargs = {}
        for each in node.keywords:
            if each.arg is None:
                raise self.error(node, "no ** in a call.")
            kwargs[each.arg] = self.keyword(each.value)
        try:
            return function(*args, **kwargs)
        except (TypeError, AttributeError) as error:
            said = str(error).removeprefix(f"{function.__qualname__}()").replace("reducing.<locals>.", "").strip()
            raise self.error(node, f"called with other arguments than it takes: {said}.") from None

    def keyword(self, node: ast.AST):
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, bool) else self.value(node)

    def function(self, node: ast.AST) -> tuple[Callable, list]:
        """What is called: torch.tanh, tanh, or a method with what it is of."""
        if isinstance(node, ast.Name) and node.id not in self.names:
            return self.named(node, node.id, FUNCTIONS), []
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "torch" and "torch" not in self.names:
                return self.named(node, node.attr, FUNCTIONS), []
            value = self.value(node.value)
            if isinstance(value, Shape) and node.attr == "numel":
                return Shape.numel, [value]
            if isinstance(value, Symbol):
                return self.named(node, node.attr, _METHODS), [value]
        raise self.error(node, "only an operator can be called: tanh(x), x.sum(dim=-1).")

    def named(self, node: ast.AST, name: str, known: dict) -> Callable:
        if name.startswith("_") or name not in known:
            hint = nearest(name, (k for k in known if not k.startswith("_")))
            raise self.error(named_part(node), f"there is no operator '{name}'.", hint)
        return known[name]


def named_part(node: ast.AST) -> ast.AST:
    """Of x.tahn, the place of `tahn`."""
    if not isinstance(node, ast.Attribute):
        return node
    start = (node.end_col_offset or 0) - len(node.attr.encode())
    return ast.copy_location(ast.Name(node.attr), ast.Name(lineno=node.end_lineno, col_offset=start))


_MIRRORED = {operator.lt: operator.gt, operator.gt: operator.lt, operator.le: operator.ge, operator.ge: operator.le}
_WORDS = {"IfExp": "`if`", "Lambda": "`lambda`", "BoolOp": "`and` or `or` (conditions are joined by & |)"}
_WORDS |= {"ListComp": "a loop", "GeneratorExp": "a loop", "JoinedStr": "a string", "NamedExpr": "`:=`"}


class At:
    """Errors of symbols, with their place in the text."""

    def __init__(self, reader: Reader, node: ast.AST):
        self.reader, self.node = reader, node

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, CompileError):
            raise self.reader.error(self.node, str(error)) from None
        if isinstance(error, (ArithmeticError, TypeError)):
            raise self.reader.error(self.node, f"these do not go together: {error}.") from None
