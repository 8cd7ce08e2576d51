"""The parser: the text of a program, checked node by node, and the tree of what runs, written from what was accepted.

The text itself is never run, nor is its own tree.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .. import source_text
from .errors import ProgramError, error_at, lines_of
from .limits import DEFAULT_LIMITS, Limits
from .names import DEFINED, MODULE, F, is_reserved
from .reader import ExpressionReader
from .scopes import Scope, given
from .syntax import BINARY
from .torch_functions import FunctionReader

FILE = "<program>"
DEEPEST = 120  # levels of nesting: each takes a few frames of the interpreter's 1000
MOST_FUNCTIONS = 100
# Lines that import from these may stand, and do nothing.
IMPORTED = (
    "typing",
    "collections.abc",
    "simplegrad",
    "simplegrad.notebook",
    "torch.autograd",
    "torch.autograd.function",
)
DEEPEST_FUNCTION = 2  # `propagate` within an aggregate


@dataclass(frozen=True)
class Parsed:
    """What a text says. `statements`: its own tree, of accepted nodes alone; `written`: the tree of what runs.

    `nodes`: what each call in `written` was written for. `names`: all that it gives a value to at the top, in order;
    `functions`: those that it defines there; `inputs`: names without a value (of an expression that is compiled).
    `notices`: what was passed over, in words.
    """

    statements: tuple[ast.stmt, ...] = ()
    written: ast.Module = field(default_factory=lambda: ast.Module([], []))
    nodes: tuple[ast.AST, ...] = ()
    names: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    uses_f: bool = False
    notices: tuple[str, ...] = ()


def parse(text: str, limits: Limits = DEFAULT_LIMITS, free: bool = False) -> Parsed:
    """Raises ProgramError, with line, column and the nearest known name, for a text that is no program.

    `free`: names without a value are inputs, and the last line is the result, as for `compile_aggregate`.
    """
    if len(text) > limits.text:
        raise ProgramError(f"the text has {len(text)} characters; {limits.text} are the most.")
    lines = lines_of(text)
    statements = tuple(tree(text, lines).body)
    reader = Reader(lines, free)
    written = ast.fix_missing_locations(ast.Module(reader.program(statements), []))
    return Parsed(
        statements,
        written,
        tuple(reader.nodes),
        tuple(reader.scope.names),
        tuple(reader.functions),
        tuple(reader.inputs),
        reader.uses_f,
        reader.notices(),
    )


def leaf_alone(call: ast.Call) -> Parsed:
    """`leaf = rand(4)`, of a call that was accepted already."""
    reader = Reader(())
    statement = ast.copy_location(ast.Assign([ast.Name("leaf", ast.Store())], call), call)
    written = ast.fix_missing_locations(ast.Module(reader.program([statement]), []))
    return Parsed((statement,), written, tuple(reader.nodes), ("leaf",))


def tree(text: str, lines: Sequence[str]) -> ast.Module:
    """The syntax tree, at most DEEPEST levels deep. Raises ProgramError."""
    try:
        module = source_text.parsed(text, FILE)
    except SyntaxError as error:
        raise syntax_error(error, lines) from None
    except (RecursionError, MemoryError):
        raise ProgramError("this is nested too deeply: give parts of it names, on lines of their own.") from None
    except ValueError as error:  # null bytes, halves of surrogate pairs
        raise ProgramError(f"this is not text: {error}.") from None
    level: list[ast.AST] = list(module.body)
    for _ in range(DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return module
    deep = next((node for node in level if hasattr(node, "lineno")), module.body[0])
    raise error_at(deep, lines, "this is nested too deeply: give parts of it names, on lines of their own.")


# Where Python's words are of no help.
SYNTAX = {
    "invalid syntax": "this cannot be read from here on. A line is a name and what it is: y = x * 2",
    "invalid decimal literal": "between a number and a name there has to be a sign: 2 * x",
    "unexpected indent": "this line stands further in than the one above it, which opens no block",
}


def syntax_error(error: SyntaxError, lines: Sequence[str]) -> ProgramError:
    """The same, in our words where Python's are of no help, at a place that is in the text."""
    line = min(max(error.lineno or 1, 1), len(lines))
    text, message, column = lines[line - 1], SYNTAX.get(error.msg, error.msg), error.offset or 1
    digits = re.search(r"\d{4300,}", text)
    if digits:  # Python says at length how to allow them, and not where they are
        message, column = "this number is too large", digits.start() + 1
    return ProgramError(f"{message}.", line, min(max(column, 1), len(text) + 1), text)


class Reader(FunctionReader, ExpressionReader):
    """The half that reads statements. What a statement is written as begins with `_at(line)`, which counts it."""

    def __init__(self, lines: Sequence[str], free: bool = False):
        super().__init__(lines, free)
        self.functions: dict[str, None] = {}
        self.count = 0
        self.names_results = True
        self.passed_over: dict[str, int] = {}  # what the notebook defines itself, and in which line

    def program(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        ours = [each for each in statements if not self.is_there(each)]
        self.scope.later = set(given(ours))
        self.has_functions = any(isinstance(each, ast.FunctionDef | ast.ClassDef) for each in statements)
        self.defined = {each.name for each in ours if isinstance(each, ast.FunctionDef)}
        at_top = {part.id for each in statements if not isinstance(each, ast.FunctionDef) for part in named(each)}
        self.names_results = self.free or "Variable" not in at_top  # else names are those that Python's run gives
        self.raw = self.has_functions or "Variable" in at_top
        written = []
        for place, statement in enumerate(statements):
            if self.free:
                self.check_effect(statement, is_last=place == len(statements) - 1)
            elif isinstance(statement, ast.Return) and statement is not statements[-1]:
                raise self.error(statements[place + 1], "this line comes after the return, so it would never run.")
            written += self.statement(statement)
        return written

    def check_effect(self, statement: ast.stmt, is_last: bool) -> None:
        """Of an expression to be compiled, what is computed has to get a name, or be the last line."""
        if not is_last and isinstance(statement, ast.Expr | ast.Return) and not is_text(statement):
            said = "ends it: what follows would never run" if isinstance(statement, ast.Return) else "has no effect"
            raise self.error(
                statement, f"line {statement.lineno} {said}. Give it a name, t = x * y, and compute with that."
            )

    def notices(self) -> tuple[str, ...]:
        if not self.passed_over:
            return ()
        said = ", ".join(f"{name} (line {line})" for name, line in self.passed_over.items())
        return (f"Passed over, since it is there already: {said}.",)

    # --- statements --------------------------------------------------------------------------------------------------

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        read = getattr(self, f"read_{type(node).__name__}", None)
        if read is None or not isinstance(node, ast.stmt):
            raise self.refuse(node)
        written = [] if self.is_there(node) else read(node)
        if not written or is_text(node):
            return written
        at = ast.Expr(ast.Call(ast.Name("_at", ast.Load()), [ast.Constant(node.lineno)], []))
        return [ast.copy_location(each, node) for each in (located(at, node), *written)]

    def block(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        """The lines of an `if`, a loop or a function."""
        return [each for statement in statements for each in self.statement(statement)] or [ast.Pass()]

    def is_there(self, node: ast.stmt) -> bool:
        """Whether this defines what the notebook's own first cells define, and the language has."""
        name = ""
        match node:
            case ast.ClassDef(name="Variable" | "TapeEntry" as name) | ast.FunctionDef(name=name):
                pass
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                name = name if name in ("gradient_tape", "_name") else ""
        there = name in (*DEFINED, "_name") or name.startswith("operator_")
        if there and self.scope.outer is None:
            self.passed_over[name] = node.lineno
        return there and self.scope.outer is None

    def read_Expr(self, node: ast.Expr) -> list[ast.stmt]:
        if is_text(node):
            return [ast.Expr(ast.Constant(node.value.value))] if self.scope.depth else []
        return [self.result(node, self.expression(node.value))]

    def result(self, node: ast.stmt, value: ast.expr) -> ast.stmt:
        """A value that stands alone: what an expression that is compiled gives."""
        if self.free and self.scope.outer is None:
            value = self.write(node, "_result", value)
        return ast.Expr(value)

    def read_Return(self, node: ast.Return) -> list[ast.stmt]:
        value = ast.Constant(None) if node.value is None else self.expression(node.value)
        return [ast.Return(value)] if self.scope.depth else [self.result(node, value)]

    def read_Pass(self, node: ast.Pass) -> list[ast.stmt]:
        return [ast.Pass()]

    def read_Import(self, node: ast.Import) -> list[ast.stmt]:
        ours = [(MODULE, None), ("torch.nn.functional", "F")]
        if any((alias.name, alias.asname) not in ours for alias in node.names):
            raise self.error(node, "nothing is imported: all operations are there already, by torch's names.")
        return []

    def read_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
        if node.module not in IMPORTED:
            raise self.error(node, "nothing is imported: all operations are there already, by torch's names.")
        return []

    def read_Assign(self, node: ast.Assign) -> list[ast.stmt]:
        kept = self.kept(node)
        if kept is not None:
            return kept
        first, value = node.targets[0], node.value
        if isinstance(first, ast.Subscript | ast.Attribute):
            self.target(first)  # which is refused, whatever the value
        if self.is_parallel(first, value):
            parts = [self.expression(part, self.result_name(name)) for name, part in zip(first.elts, value.elts)]
            written = ast.Tuple(parts, ast.Load())
        else:
            written = self.expression(value, self.result_name(first))
        if len(node.targets) == 1 and (isinstance(first, ast.Name) or self.is_parallel(first, value)):
            return [ast.Assign([self.target(first)], written), *self.last(node, first)]
        kept = [ast.Assign([ast.Name("_value", ast.Store())], written)]
        return [*kept, *[self.unpacked(node, target, "_value") for target in node.targets], *self.last(node, first)]

    def is_parallel(self, target: ast.expr, value: ast.expr) -> bool:
        """`a, b = rand(2), rand(3)`"""
        several = (ast.Tuple, ast.List)
        return isinstance(target, several) and isinstance(value, several) and len(target.elts) == len(value.elts)

    def result_name(self, target: ast.expr) -> str | None:
        """What the result is to be called: names are given at the top, as in a function Python has none to give."""
        named = isinstance(target, ast.Name) and (self.free or self.names_results and self.scope.outer is None)
        return target.id if named else None

    def unpacked(self, node: ast.stmt, target: ast.expr, value: str) -> ast.stmt:
        """The statement that gives a target the value of this name, or the parts of it."""
        right = ast.Name(value, ast.Load())
        if isinstance(target, ast.Tuple | ast.List):
            names = ast.Tuple([ast.Constant(part.id) for part in map(self.a_name, target.elts)], ast.Load())
            right = self.write(node, "_unpack", right, names)
        return ast.Assign([self.target(target)], right)

    def target(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return ast.Tuple([self.target(self.a_name(part)) for part in parts], ast.Store())
            case ast.Name(id=name):
                self.give(node, name)
                return ast.Name(name, ast.Store())
            case ast.Subscript() | ast.Attribute():
                raise self.error(node, "values never change: make a new one and give it a name, y = where(…).")
        raise self.error(node, "only names can be assigned to.")

    def a_name(self, node: ast.expr) -> ast.Name:
        if not isinstance(node, ast.Name):
            raise self.error(node, "only names can be assigned to: da, db = grad(L0, [a, b]).")
        return node

    def give(self, node: ast.AST, name: str) -> None:
        """The name has a value from here on. In a function it may be any that is not taken; at the top a name that
        means something to a program keeps its meaning."""
        self.checked(node, name)
        if self.scope.outer is None and not self.free and is_reserved(name):
            meaning = "the aggregate that is chosen" if name == F else "taken"
            raise self.error(node, f"'{name}' is {meaning}, and cannot be given another meaning: choose another name.")
        self.scope.names[name] = None

    def last(self, node: ast.stmt, target: ast.expr) -> list[ast.stmt]:
        """Of an expression that is compiled, what was given a name last is the result if nothing follows."""
        if not (self.free and self.scope.outer is None and isinstance(target, ast.Name)):
            return []
        return [ast.Expr(self.write(node, "_result", ast.Name(target.id, ast.Load())))]

    def read_AugAssign(self, node: ast.AugAssign) -> list[ast.stmt]:
        if not isinstance(node.target, ast.Name):
            raise self.error(node.target, "values never change: make a new one and give it a name, y = where(…).")
        if type(node.op) not in BINARY:
            raise self.error(node, f"there is no '{type(node.op).__name__}': write x = x + y.")
        read = ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target)
        value = ast.copy_location(ast.BinOp(read, node.op, node.value), node)
        operands = self.expression(read), self.expression(node.value)
        name = ast.Constant(self.result_name(node.target))
        written = self.write(value, "_binary", *operands, name, ast.Constant(True))
        return [ast.Assign([self.target(node.target)], written), *self.last(node, node.target)]

    def read_AnnAssign(self, node: ast.AnnAssign) -> list[ast.stmt]:
        self.annotation(node.annotation)
        if node.value is None:
            raise self.error(node, "a type alone gives no value: write name = value.")
        plain = ast.copy_location(ast.Assign([node.target], node.value), node)
        return self.read_Assign(plain)

    def annotation(self, node: ast.expr | None) -> None:
        """Types are passed over: `List[Variable]`, `Optional['Variable']`."""
        kinds = (ast.Name, ast.Subscript, ast.Constant, ast.Tuple, ast.List, ast.Load, ast.Attribute)
        for part in ast.walk(node) if node is not None else ():
            if not isinstance(part, kinds):
                raise self.error(node, "a type is a name, or names in brackets: List[Variable].")

    # --- blocks ------------------------------------------------------------------------------------------------------

    def read_If(self, node: ast.If) -> list[ast.stmt]:
        self.no_function_in([*node.body, *node.orelse])
        test = self.tested(node.test)
        body = self.block(node.body)
        other = self.block(node.orelse) if node.orelse else []
        return [ast.If(test, body, other)]

    def no_function_in(self, statements: Sequence[ast.stmt]) -> None:
        for each in statements:
            if isinstance(each, ast.FunctionDef):
                raise self.error(
                    each, "a function is defined at the top, or within a function, not under 'if' or 'for'."
                )

    def read_For(self, node: ast.For) -> list[ast.stmt]:
        self.no_function_in(node.body)
        if node.orelse:
            raise self.error(node.orelse[0], "a loop has no 'else' here: write what follows below it.")
        items = self.items(node.iter)
        if not self.free or self.scope.depth:
            self.scope.names |= dict.fromkeys(given(node.body))  # a later round sees what an earlier one gave
        if isinstance(node.target, ast.Name):
            return [ast.For(self.target(node.target), items, self.block(node.body), [])]
        unpacked = located(self.unpacked(node, node.target, "_value"), node)
        return [ast.For(ast.Name("_value", ast.Store()), items, [unpacked, *self.block(node.body)], [])]

    def items(self, node: ast.expr) -> ast.expr:
        """What a loop goes through, counted."""
        match node:
            case ast.Call(func=ast.Name(id="range"), args=arguments, keywords=[]) if 1 <= len(arguments) <= 3:
                ends = [self.expression(each) for each in arguments]
                return self.write(node, "_range", ast.Tuple(ends, ast.Load()))
            case ast.Call(func=ast.Name(id="range")):
                raise self.error(node, "range takes one to three whole numbers: range(3), range(1, 4).")
        return self.write(node, "_items", self.expression(node))

    def read_FunctionDef(self, node: ast.FunctionDef) -> list[ast.stmt]:
        self.check_function(node)
        self.count += 1
        if self.count > MOST_FUNCTIONS:
            raise self.error(node, f"more than {MOST_FUNCTIONS} functions.")
        parameters = [each.arg for each in node.args.args]
        self.scope.names[node.name] = None
        if self.scope.outer is None:
            self.functions[node.name] = None
        outer, self.scope = self.scope, Scope(self.scope, [*parameters, *given(node.body)])
        body = self.block(node.body)
        self.scope = outer
        arguments = ast.arguments([], [ast.arg(name) for name in parameters], None, [], [], None, self.defaults(node))
        return [located(ast.FunctionDef(node.name, arguments, body, [], None), node)]

    def check_function(self, node: ast.FunctionDef) -> None:
        arguments = node.args
        if self.scope.depth >= DEEPEST_FUNCTION:
            raise self.error(node, "a function within a function within a function: two levels are the most.")
        if node.decorator_list:
            raise self.error(node.decorator_list[0], "there are no decorators: a function is what its lines say.")
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs:
            raise self.error(node, "the parameters of a function are names, with a number as default: def g(x, n=2).")
        self.checked(node, node.name)
        self.annotation(node.returns)
        for parameter in arguments.args:
            self.checked(parameter, parameter.arg)
            self.annotation(parameter.annotation)

    def defaults(self, node: ast.FunctionDef) -> list[ast.expr]:
        for each in node.args.defaults:
            plain = each.operand if isinstance(each, ast.UnaryOp) and isinstance(each.op, ast.USub) else each
            if not isinstance(plain, ast.Constant) or isinstance(plain.value, str | bytes):
                raise self.error(each, "a default is a number, True, False or None.")
        return [self.expression(each) for each in node.args.defaults]


def located(made: ast.AST, node: ast.AST) -> ast.AST:
    """With the place of this node, in all of its parts that have none."""
    return ast.fix_missing_locations(ast.copy_location(made, node))


def named(node: ast.AST) -> list[ast.Name]:
    return [part for part in ast.walk(node) if isinstance(part, ast.Name)]


def is_text(node: ast.stmt) -> bool:
    """A text alone on a line: a comment, in other words."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
