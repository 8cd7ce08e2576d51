"""Text to Program: parsed by `ast`, held to a whitelist, never evaluated as Python."""

from __future__ import annotations

import ast
import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from .errors import ProgramError, did_you_mean, error_at, lines_of, nearest
from .language import (
    ATTRIBUTES,
    MODULE,
    OPERATOR_METHODS,
    PLAIN_METHODS,
    F,
    function_names,
    function_signature,
    is_function,
    is_reserved,
    method_names,
    method_signature,
)
from .limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import torch

    from ..aggregates import Aggregate
    from ..trace import Trace

FILE = "<program>"
warnings.filterwarnings("ignore", module=FILE)  # Python's doubts about a text that is being typed are for no log
DEEPEST = 120  # levels of nesting: each takes a few frames of the interpreter's 1000
LONGEST_NAME = 60

BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.MatMult, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr)
UNARY = (ast.USub, ast.UAdd, ast.Invert)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
SAY_INSTEAD = {
    ast.For: "there are no loops: write each step on a line of its own",
    ast.While: "there are no loops: write each step on a line of its own",
    ast.If: "there is no 'if': use where(condition, x, y)",
    ast.IfExp: "there is no 'if': use where(condition, x, y)",
    ast.BoolOp: "join conditions with & and |, each in brackets: (x > 0) & (x < 1)",
    ast.Not: "use ~ instead of 'not'",
    ast.FunctionDef: "functions cannot be defined here; write aggregates in a file: streamlit run app.py -- my_ops.py",
    ast.Lambda: "functions cannot be defined here",
    ast.Import: "nothing is imported: all operations are there already, by torch's names",
    ast.ImportFrom: "nothing is imported: all operations are there already, by torch's names",
    ast.ListComp: "there are no loops: write each element",
    ast.Starred: "'*' cannot unpack here: write each value",
    ast.AnnAssign: "types are not written here: name = value",
    ast.Delete: "nothing can be deleted: the tape keeps it",
    ast.Slice: "a slice stands in square brackets: x[1:3]",
    ast.JoinedStr: "text is of no use here",
}


@dataclass(frozen=True)
class Program:
    """A checked program. `source`: its text; `title`: given, or what a comment on its first line says.

    `statements`: its syntax tree, one ast node a statement, of nodes of the whitelist only. `uses_f`: it calls `f`,
    the aggregate chosen for a run. `names`: all that it assigns, in order.
    """

    source: str
    title: str = ""
    statements: tuple[ast.stmt, ...] = field(default=(), repr=False, compare=False)
    uses_f: bool = False
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, *, title: str = "", limits: Limits = DEFAULT_LIMITS) -> Program:
        """The program of a text. Raises ProgramError, with line, column and the nearest known name, for others."""
        if not isinstance(text, str):
            raise TypeError(f"Program.parse: expected the text of a program, got {type(text).__name__}.")
        if len(text) > limits.text:
            raise ProgramError(f"the text has {len(text)} characters; {limits.text} are the most.")
        checker = Checker(lines_of(text))
        statements = tuple(tree(text, checker.lines).body)
        for statement in statements:
            checker.statement(statement)
        comment = re.match(r"\s*#+[ \t]*(.*)", text)
        title = title or (comment.group(1).strip() if comment else "")
        return cls(text, title, statements, checker.uses_f, tuple(checker.names))

    def run(
        self,
        aggregate: str | Aggregate | Callable = "simple",
        none: str = "skip",
        prune: str = "none",
        limits: Limits = DEFAULT_LIMITS,
    ) -> Trace:
        """Run it on a tape of its own, with `f` standing for `aggregate`; `none` and `prune` as `grad` takes them.

        Never raises for what the program does: a run that fails keeps its events and ends with a Failed event, one
        past a limit with LimitReached. Raises ValueError for an unknown aggregate or mode.
        """
        from .run import run

        return run(self, aggregate, none, prune, limits)

    @property
    def lines(self) -> list[str]:
        return lines_of(self.source)

    @cached_property
    def inputs(self) -> dict[str, torch.Tensor]:
        """The leaves that it makes by name, `a = rand(4)`, with their values; of a name used twice, the last."""
        from .run import inputs

        return inputs(self)

    def with_input(self, name: str, value: torch.Tensor) -> str:
        """The text, with the leaf of this name written as `tensor([…])` of this value; the rest stays as it is.

        Raises KeyError for a name that is none of `inputs`, ValueError for a value that cannot be written.
        """
        from .rewrite import with_input

        return with_input(self, name, value)

    def __str__(self) -> str:
        return self.source


def tree(text: str, lines: Sequence[str]) -> ast.Module:
    """The syntax tree, at most DEEPEST levels deep. Raises ProgramError."""
    try:
        module = ast.parse(text, FILE)
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


def syntax_error(error: SyntaxError, lines: Sequence[str]) -> ProgramError:
    """The same, in our words where Python's are of no help, at a place that is in the text."""
    line = min(max(error.lineno or 1, 1), len(lines))
    text, message, column = lines[line - 1], error.msg, error.offset or 1
    digits = re.search(r"\d{4300,}", text)
    if digits:  # Python says at length how to allow them, and not where they are
        message, column = "this number is too large", digits.start() + 1
    return ProgramError(f"{message}.", line, min(max(column, 1), len(text) + 1), text)


class Checker:
    """Walks the tree once and lets only that pass which the language has; keeps what names are assigned so far."""

    def __init__(self, lines: list[str]):
        self.lines = lines
        self.names: dict[str, None] = {}
        self.uses_f = False

    def error(self, node: ast.AST, message: str, hint: str = "") -> ProgramError:
        return error_at(node, self.lines, f"{message}{did_you_mean(hint)}", hint)

    def refuse(self, node: ast.AST) -> ProgramError:
        said = SAY_INSTEAD.get(type(node), "this is no part of the language: assignments, operations and grad are")
        return self.error(node, f"{said}.")

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                self.expression(value)
                for target in targets:
                    self.target(target)
            case ast.AugAssign(target=ast.Name() as target, op=op, value=value) if isinstance(op, BINARY):
                self.expression(value)
                self.name(ast.copy_location(ast.Name(target.id, ast.Load()), target))
                self.target(target)
            case ast.Expr(value=value):
                self.expression(value)
            case _:
                raise self.refuse(node)

    def target(self, node: ast.expr) -> None:
        match node:
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for part in parts:
                    if not isinstance(part, ast.Name):
                        raise self.error(part, "only names can be assigned to: da, db = grad(L0, [a, b]).")
                    self.target(part)
            case ast.Name(id=name):
                self.assigned(node, name)
            case ast.Subscript() | ast.Attribute():
                raise self.error(node, "values never change: make a new one and give it a name, y = where(…).")
            case _:
                raise self.error(node, "only names can be assigned to.")

    def assigned(self, node: ast.AST, name: str) -> None:
        if len(name) > LONGEST_NAME:
            raise self.error(node, f"a name of {len(name)} characters; {LONGEST_NAME} are the most.")
        if is_reserved(name):
            meaning = "the aggregate that is chosen" if name == F else "taken"
            raise self.error(node, f"'{name}' is {meaning}, and cannot be given another meaning: choose another name.")
        self.names[name] = None

    def expression(self, node: ast.expr) -> None:
        """An expression that may stand anywhere; text may not (see `argument`)."""
        match node:
            case ast.Name():
                self.name(node)
            case ast.Constant():
                self.constant(node)
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, BINARY):
                self.expression(left)
                self.expression(right)
            case ast.UnaryOp(op=op, operand=operand) if isinstance(op, UNARY):
                self.expression(operand)
            case ast.UnaryOp(op=ast.Not()):
                raise self.error(node, f"{SAY_INSTEAD[ast.Not]}.")
            case ast.Compare():
                self.comparison(node)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                for part in parts:
                    self.expression(part)
            case ast.Subscript(value=value, slice=index):
                self.expression(value)
                self.index(index)
            case ast.Attribute():
                self.attribute(node)
            case ast.Call():
                self.call(node)
            case _:
                raise self.refuse(node)

    def name(self, node: ast.Name) -> None:
        if node.id in self.names:
            return
        if is_function(node.id) or node.id == MODULE:
            called = f"{node.id}(…)" if node.id != MODULE else "torch.tanh(x), or just tanh(x)"
            raise self.error(node, f"'{node.id}' is no value: call it, {called}.")
        hint = nearest(node.id, self.names)
        raise self.error(node, f"'{node.id[:LONGEST_NAME]}' has no value yet.", hint)

    def constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, str | bytes):
            raise self.error(node, "text is of no use here.")
        if isinstance(value, complex) or value is Ellipsis:
            raise self.error(node, f"'{value if value is not Ellipsis else '…'}' is no number of this language.")
        if isinstance(value, int) and value.bit_length() > 63 or isinstance(value, float) and not math.isfinite(value):
            raise self.error(node, "this number is too large.")

    def comparison(self, node: ast.Compare) -> None:
        if len(node.ops) > 1:
            raise self.error(node, "compare two at a time: (0 < x) & (x < 1).")
        if not isinstance(node.ops[0], COMPARISONS):
            raise self.error(node, "there are <, <=, >, >=, == and != to compare with.")
        self.expression(node.left)
        self.expression(node.comparators[0])

    def index(self, node: ast.expr) -> None:
        match node:
            case ast.Tuple(elts=parts):
                for part in parts:
                    self.index(part)
            case ast.Slice(lower=lower, upper=upper, step=step):
                for end in filter(None, (lower, upper, step)):
                    self.expression(end)
            case ast.Constant(value=value) if value is Ellipsis:
                pass
            case _:
                self.expression(node)

    def attribute(self, node: ast.Attribute) -> None:
        self.expression(node.value)
        if node.attr in ATTRIBUTES:
            return
        if node.attr in OPERATOR_METHODS or node.attr in PLAIN_METHODS:
            raise self.error(node, f"'.{node.attr}' is a method: call it, x.{node.attr}(…).")
        raise self.unknown_method(node)

    def unknown_method(self, node: ast.Attribute) -> ProgramError:
        name = node.attr[:LONGEST_NAME]
        at = ast.copy_location(ast.Name(name), node)
        if name in ATTRIBUTES:
            return self.error(at, f"'.{name}' is no method: write it without brackets.")
        if node.end_lineno and node.end_col_offset:  # the name, which is the end of the node, and not its beginning
            at.lineno, at.col_offset = node.end_lineno, node.end_col_offset - len(node.attr.encode("utf-8", "replace"))
        return self.error(at, f"'.{name}' is not known.", nearest(node.attr, method_names()))

    def call(self, node: ast.Call) -> None:
        for argument in self.arguments(node):
            if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                self.expression(argument)
            elif len(argument.value) > LONGEST_NAME:
                raise self.error(argument, "this text is too long.")
        match node.func:
            case ast.Attribute(value=ast.Name(id=module)) if module == MODULE:
                self.function(node, node.func.attr)
            case ast.Attribute(value=receiver, attr=name):
                self.expression(receiver)
                if name not in OPERATOR_METHODS and name not in PLAIN_METHODS:
                    raise self.unknown_method(node.func)
                self.signature(node, f".{name}", method_signature(name), [receiver, *node.args])
            case ast.Name(id=name):
                self.function(node, name)
            case _:
                raise self.error(node.func, "only operations can be called, by their names.")

    def arguments(self, node: ast.Call) -> Iterator[ast.expr]:
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.error(keyword.value, "'**' cannot unpack here: write each keyword.")
        yield from node.args
        yield from (keyword.value for keyword in node.keywords)

    def function(self, node: ast.Call, name: str) -> None:
        if not is_function(name):
            what = "is a value, not an operation" if name in self.names else "is not known"
            shown = name[:LONGEST_NAME]
            raise self.error(node.func, f"'{shown}' {what}.", nearest(name, function_names()))
        self.uses_f |= name == F
        signature = function_signature(name)
        if signature is not None:
            self.signature(node, name, signature, node.args)

    def signature(self, node: ast.Call, name: str, signature: inspect.Signature, positional: Sequence) -> None:
        """That the call has the arguments which the operation takes; their values are looked at when it runs."""
        keywords = {keyword.arg: None for keyword in node.keywords}
        try:
            signature.bind(*[None] * len(positional), **keywords)
        except TypeError as error:
            hint = next((nearest(k, signature.parameters) for k in keywords if k not in signature.parameters), "")
            raise self.error(node, f"{name}{without_types(signature)}: {error}.", hint) from None


def without_types(signature: inspect.Signature) -> str:
    """`(dim=None, keepdim=False)`"""
    kept = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"]
    return str(inspect.Signature(kept))
