"""From a text's syntax tree to the tree of what runs: one walk that checks each node and writes the one it stands for.

What it writes has no attribute, no operator and no builtin of Python in it: each is a call of a function whose name
begins with '_', `_binary(17, a, b)`, which a Machine gives (machine.py) and a text cannot say. 17 is the place in
`nodes` of the node it was written for, so that an error says which piece of the text it is about.
"""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Iterable, Sequence

import torch

from ..ops.calls import NUMPYS_NAMES
from .errors import ProgramError, did_you_mean, error_at, look_alike, nearest, of_torch
from .habits import INSTEAD, KEYWORDS, MODULES_OF_OTHERS, why_not
from .leaves import LEAVES
from .names import (
    ATTRIBUTES,
    CONSTANTS,
    MODULE,
    MODULES,
    OPERATOR_METHODS,
    PLAIN_METHODS,
    RAW,
    TAKEN,
    TAPE,
    F,
    function_names,
    function_signature,
    is_function,
    method_names,
    method_signature,
)
from .scopes import Scope
from .syntax import BINARY, COMPARE, refusal

LONGEST_NAME = 60
LONGEST_TEXT = 200  # that is printed


class ExpressionReader:
    """The half that reads expressions. `free`: a name without a value is an input (see compile_aggregate)."""

    def __init__(self, lines: Sequence[str], free: bool = False):
        self.lines = lines
        self.free = free
        self.scope = Scope()
        self.nodes: list[ast.AST] = []
        self.inputs: dict[str, None] = {}
        self.uses_f = False
        self.raw = False  # torch.rand(4) is a tensor here, and no leaf
        self.has_functions = False
        self.defined: set[str] = set()  # functions of the program, also those further down

    # --- what is written, and what is said -------------------------------------------------------------------------

    def write(self, node: ast.AST, operation: str, *arguments: ast.expr) -> ast.Call:
        """`_operation(17, …)`, at the place of the node."""
        self.nodes.append(node)
        function = ast.Name(operation, ast.Load())
        return ast.Call(function, [ast.Constant(len(self.nodes) - 1), *arguments], [])

    def error(self, node: ast.AST, message: str, hint: str = "") -> ProgramError:
        return error_at(node, self.lines, f"{message}{did_you_mean(hint)}", hint)

    def refuse(self, node: ast.AST) -> ProgramError:
        return self.error(node, refusal(node))

    # --- expressions -------------------------------------------------------------------------------------------------

    def expression(self, node: ast.expr, name: str | None = None) -> ast.expr:
        """What runs for it. `name`: what the statement calls its result."""
        read = getattr(self, f"read_{type(node).__name__}", None)
        if read is None:
            raise self.refuse(node)
        return ast.copy_location(read(node, name), node)

    def read_Name(self, node: ast.Name, name: str | None) -> ast.expr:
        if self.scope.sees(node.id):
            return ast.Name(node.id, ast.Load())
        if node.id.startswith("_"):
            raise self.error(node, "names that begin with '_' are not known here.")
        if is_function(node.id) or node.id in TAKEN:
            call = f"{node.id}(…)" if node.id != MODULE else "torch.tanh(x), or just tanh(x)"
            call = f"{TAPE}.append(TapeEntry(…))" if node.id == TAPE else call
            raise self.error(node, f"'{node.id}' is not a value: call it, {call}.")
        if self.free:
            self.inputs[self.checked(node, node.id)] = None
            return ast.Name(node.id, ast.Load())
        if node.id in MODULES_OF_OTHERS:
            raise self.error(node, f"'{node.id}' is not there: operations have torch's names, exp(x), F.relu(x).")
        if self.scope.outer is None and node.id in self.scope.later:
            raise self.error(node, f"'{node.id}' has no value yet: it gets one further down.")
        said = f"'{node.id[:LONGEST_NAME]}' has no value yet.{look_alike(node.id, self.scope.visible())}"
        raise self.error(node, said, nearest(node.id, self.scope.visible()))

    def checked(self, node: ast.AST, name: str) -> str:
        """A name that may be given a value."""
        if len(name) > LONGEST_NAME:
            raise self.error(node, f"a name of {len(name)} characters; {LONGEST_NAME} are the most.")
        if name.startswith("_") and name != "_":
            raise self.error(node, "names that begin with '_' are not known here.")
        if name in TAKEN:
            raise self.error(node, f"'{name}' is taken, and cannot be given another meaning: choose another name.")
        return name

    def read_Constant(self, node: ast.Constant, name: str | None) -> ast.expr:
        value = node.value
        if isinstance(value, str | bytes):
            raise self.error(node, "text is of no use here.")
        if isinstance(value, complex) or value is Ellipsis:
            raise self.error(node, f"'{value if value is not Ellipsis else '…'}' is not a number in this language.")
        if isinstance(value, int) and value.bit_length() > 63 or isinstance(value, float) and not math.isfinite(value):
            raise self.error(node, "this number is too large.")
        return ast.Constant(value)

    def read_BinOp(self, node: ast.BinOp, name: str | None) -> ast.expr:
        if type(node.op) not in BINARY:
            raise self.error(node, refusal(node.op))
        operands = self.expression(node.left), self.expression(node.right)
        return self.write(node, "_binary", *operands, ast.Constant(name))

    def read_UnaryOp(self, node: ast.UnaryOp, name: str | None) -> ast.expr:
        if isinstance(node.op, ast.Not):
            return ast.UnaryOp(ast.Not(), self.tested(node.operand))
        return self.write(node, "_unary", self.expression(node.operand), ast.Constant(name))

    def read_BoolOp(self, node: ast.BoolOp, name: str | None) -> ast.expr:
        return ast.BoolOp(node.op, [self.tested(part) for part in node.values])

    def read_IfExp(self, node: ast.IfExp, name: str | None) -> ast.expr:
        test = self.tested(node.test)
        return ast.IfExp(test, self.expression(node.body, name), self.expression(node.orelse, name))

    def tested(self, node: ast.expr) -> ast.expr:
        """A condition of `if`, `and`, `or`, `not`: no tensor, as is seen when it runs."""
        return ast.copy_location(self.write(node, "_tested", self.expression(node)), node)

    def read_Compare(self, node: ast.Compare, name: str | None) -> ast.expr:
        if len(node.ops) > 1:
            raise self.error(node, "compare two at a time: (0 < x) & (x < 1).")
        (op,), (right,) = node.ops, node.comparators
        left = self.expression(node.left)
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise self.error(node, "'is' asks for None alone: x is None, x is not None.")
            return ast.Compare(left, [op], [ast.Constant(None)])
        if type(op) not in COMPARE:
            raise self.error(node, refusal(op))
        return self.write(node, "_compare", left, self.expression(right))

    def read_List(self, node: ast.List, name: str | None) -> ast.expr:
        return ast.List([self.expression(part) for part in node.elts], ast.Load())

    def read_Tuple(self, node: ast.Tuple, name: str | None) -> ast.expr:
        return ast.Tuple([self.expression(part) for part in node.elts], ast.Load())

    def read_Slice(self, node: ast.Slice, name: str | None) -> ast.expr:
        raise self.error(node, "write a slice in square brackets: x[1:3].")

    def read_Starred(self, node: ast.Starred, name: str | None) -> ast.expr:
        raise self.error(node, "'*' unpacks in a call alone: x.expand(*y.shape). Write each value.")

    # --- indices -----------------------------------------------------------------------------------------------------

    def read_Subscript(self, node: ast.Subscript, name: str | None) -> ast.expr:
        value = self.expression(node.value)
        several = isinstance(node.slice, ast.Tuple)
        parts = [self.place(part) for part in (node.slice.elts if several else [node.slice])]
        return self.write(node, "_subscript", value, ast.Tuple(parts, ast.Load()), ast.Constant(name))

    def place(self, node: ast.expr) -> ast.expr:
        """One part of an index."""
        match node:
            case ast.Slice(lower=lower, upper=upper, step=step):
                ends = [ast.Constant(None) if end is None else self.expression(end) for end in (lower, upper, step)]
                return self.write(node, "_slice", *ends)
            case ast.Constant(value=value) if value is Ellipsis:
                return ast.Constant(Ellipsis)
            case ast.Call() if self.leaf_called(node):  # x[tensor([0, 2])]: the places are no leaf of the program
                return self.function(node, self.leaf_called(node), None, raw=True)
        return self.expression(node)

    def leaf_called(self, node: ast.Call) -> str:
        match node.func:
            case ast.Name(id=name) if name in LEAVES and not self.scope.sees(name):
                return name
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module == MODULE and name in LEAVES:
                return name
        return ""

    # --- attributes and calls ----------------------------------------------------------------------------------------

    def read_Attribute(self, node: ast.Attribute, name: str | None) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id == MODULE:
            return self.constant(node)
        value = self.expression(node.value)
        if node.attr not in ATTRIBUTES:
            if node.attr in OPERATOR_METHODS or node.attr in PLAIN_METHODS:
                raise self.error(named_part(node), f"'.{node.attr}' is a method: call it, x.{node.attr}(…).")
            raise self.unknown_method(node)
        return self.write(node, "_attribute", value, ast.Constant(node.attr), ast.Constant(name))

    def constant(self, node: ast.Attribute) -> ast.expr:
        """torch.pi. Anything else that is not called is of no use."""
        if node.attr in CONSTANTS:
            return ast.Constant(CONSTANTS[node.attr])
        if is_function(node.attr):
            raise self.error(node, f"'{MODULE}.{node.attr}' is not a value: call it, {node.attr}(…).")
        if isinstance(getattr(torch, node.attr, None), torch.dtype):
            raise self.error(node, "there are no dtypes here: x.float(), x.double() and x.half() change that of x.")
        known = ", ".join(f"{MODULE}.{each}" for each in CONSTANTS)
        raise self.error(node, f"'{MODULE}.{node.attr}' is not known. Of {MODULE} there are operations, and {known}.")

    def unknown_method(self, node: ast.Attribute) -> ProgramError:
        name, at = node.attr[:LONGEST_NAME], named_part(node)
        if name.startswith("_"):
            return self.error(at, f"'.{name}' is not known: names that begin with '_' are not known here.")
        if name in ATTRIBUTES:
            return self.error(at, f"'.{name}' is not a method: write it without brackets.")
        if name not in INSTEAD and name.endswith("_"):
            known = name[:-1] in OPERATOR_METHODS
            other = f"Write '.{name[:-1]}' and give the result a name" if known else "Make a new one"
            return self.error(at, f"'.{name}' changes a value in place, and values never change. {other}.")
        if is_function(name) and name not in INSTEAD:
            return self.error(at, f"'.{name}' is not a method: write {name}(…).")
        if name in INSTEAD or of_torch(name):
            return self.error(at, f"'.{name}' is not known: {why_not(name)}.")
        return self.error(at, f"'.{name}' is not known.", nearest(node.attr, method_names()))

    def read_Call(self, node: ast.Call, name: str | None) -> ast.expr:
        match node.func:
            case ast.Attribute(value=owner, attr=attr) if self.is_module(owner):
                return self.function(node, attr, name, raw=self.raw)
            case ast.Attribute(value=ast.Name(id="Variable"), attr="constant"):
                return self.function(node, "Variable.constant", name)
            case ast.Attribute(value=ast.Name(id=owner), attr=attr) if owner == TAPE:
                if attr != "append":
                    at = named_part(node.func)
                    raise self.error(at, "entries are only appended to the tape. To begin anew, write reset_tape().")
                return self.function(node, f"{TAPE}.append", name)
            case ast.Attribute(value=owner, attr=attr) if self.is_another_module(owner):
                said = f"there is no '{ast.unparse(owner)}' here: {why_not(f'{owner.attr}_{attr}')}"
                raise self.not_called(node) if owner.attr == "nn" else self.error(node.func, f"{said}.")
            case ast.Attribute(value=receiver, attr=attr):
                return self.method(node, receiver, attr, name)
            case ast.Name(id="float") if is_infinity(node.args):
                return ast.Constant(float(node.args[0].value))
            case ast.Name(id=function) if self.scope.sees(function):
                return self.own(node, function, name)
            case ast.Name(id=function):
                return self.function(node, function, name)
        raise self.not_called(node)

    def not_called(self, node: ast.Call) -> ProgramError:
        """Of what is called and is no name: torch.nn.ReLU()(x), torch.fft.fft(x), x.sum()()."""
        within = node.func.func if isinstance(node.func, ast.Call) else node.func
        if isinstance(within, ast.Attribute) and is_function(within.attr):
            return self.error(within, f"there is no '{ast.unparse(within)}' here: write {within.attr}(…).")
        if isinstance(within, ast.Attribute) and ast.unparse(within.value) in ("nn", "torch.nn"):
            return self.error(
                within, f"there are no modules here: write what {within.attr} computes, relu(x), x @ w + b."
            )
        return self.error(node.func, "only operations can be called, by their names.")

    def is_module(self, node: ast.expr) -> bool:
        """Whether this is how people write a module of torch, and no value has that name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute) and len(parts) < 3:
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or ".".join([node.id, *parts]) not in MODULES:
            return False
        return node.id == MODULE or not self.scope.sees(node.id)

    def is_another_module(self, node: ast.expr) -> bool:
        """torch.fft, torch.nn, …"""
        match node:
            case ast.Attribute(value=ast.Name(id=module)):
                return module == MODULE and not self.scope.sees(module)
        return False

    def arguments(self, node: ast.Call) -> tuple[ast.expr, ast.expr]:
        """Those by position, as a tuple, and those by keyword, as a dictionary."""
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.error(keyword.value, "'**' cannot unpack here: write each keyword.")
        keys = [ast.Constant(keyword.arg) for keyword in node.keywords]
        values = [self.argument(keyword.value) for keyword in node.keywords]
        return ast.Tuple([self.argument(each) for each in node.args], ast.Load()), ast.Dict(keys, values)

    def argument(self, node: ast.expr) -> ast.expr:
        """Text may stand here alone: a name for a result, a mode of grad, what is printed."""
        match node:
            case ast.Constant(value=str() as text):
                if len(text) > LONGEST_TEXT:
                    raise self.error(node, "this text is too long.")
                return ast.copy_location(ast.Constant(text), node)
            case ast.Starred(value=value):
                spread = self.write(node, "_spread", self.expression(value))
                return ast.Starred(spread, ast.Load())
        return self.expression(node)

    def method(self, node: ast.Call, receiver: ast.expr, attr: str, name: str | None) -> ast.expr:
        value = self.expression(receiver)
        if attr not in OPERATOR_METHODS and attr not in PLAIN_METHODS:
            raise self.unknown_method(node.func)
        self.signature(node, f".{attr}", method_signature(attr), [receiver, *node.args])
        return self.write(node, "_method", value, ast.Constant(attr), *self.arguments(node), ast.Constant(name))

    def own(self, node: ast.Call, name: str, result: str | None) -> ast.expr:
        """A name that has a value: a function of the program, or an operator that shares its name with a value."""
        if not self.has_functions and not is_function(name):
            raise self.error(node.func, f"'{name}' is a value, not an operation.", nearest(name, function_names()))
        self.uses_f |= name == F
        function = ast.Name(name, ast.Load())
        return self.write(node, "_call", function, ast.Constant(name), *self.arguments(node), ast.Constant(result))

    def function(self, node: ast.Call, name: str, result: str | None, raw: bool = False) -> ast.expr:
        if isinstance(node.func, ast.Name) and name in self.defined:  # it will hide an operator of this name
            raise self.unknown_function(node, name)
        if not (is_function(name) or name in RAW and raw):
            raise self.unknown_function(node, name)
        self.uses_f |= name == F
        signature = function_signature(name)
        if signature is not None:
            self.signature(node, name, signature, node.args)
        return self.write(
            node, "_function", ast.Constant(name), *self.arguments(node), ast.Constant(result), ast.Constant(raw)
        )

    def unknown_function(self, node: ast.Call, name: str) -> ProgramError:
        shown, at = name[:LONGEST_NAME], named_part(node.func)
        if name == "range":
            return self.error(at, "range is for loops only: for i in range(3): ….")
        if name in self.defined:
            return self.error(at, f"'{shown}' is defined further down: define a function before its first call.")
        if name in INSTEAD or of_torch(name):
            return self.error(at, f"'{shown}' is not known: {why_not(name)}.")
        return self.error(at, f"'{shown}' is not known.", nearest(name, {*function_names(), *self.scope.visible()}))

    def signature(self, node: ast.Call, name: str, signature: inspect.Signature, positional: Sequence) -> None:
        """That the call has the arguments which the operation takes; their values are looked at when it runs."""
        names = [keyword.arg for keyword in node.keywords if keyword.arg is not None]
        keywords = {NUMPYS_NAMES.get(each, each) if "dim" in signature.parameters else each: None for each in names}
        if any(isinstance(each, ast.Starred) for each in positional):
            return
        try:
            signature.bind(*[None] * len(positional), **keywords)
        except TypeError as error:
            said = self.misfit(keywords, signature, error)
            raise self.error(node, f"{name}{without_types(signature, name)}: {said}") from None

    def misfit(self, keywords: Iterable[str], signature: inspect.Signature, error: TypeError) -> str:
        unknown = next((k for k in keywords if k not in signature.parameters), "")
        if unknown in KEYWORDS:
            return f"{unknown} {KEYWORDS[unknown]}."
        return f"{error}.{did_you_mean(nearest(unknown, signature.parameters))}"


def is_infinity(arguments: Sequence[ast.expr]) -> bool:
    """Of float('-inf'), what stands in the brackets."""
    match arguments:
        case [ast.Constant(value=str() as text)]:
            return text.strip("+-").lower() in ("inf", "infinity", "nan")
    return False


def named_part(node: ast.AST) -> ast.AST:
    """Of x.tahn, the place of `tahn`; any other node itself."""
    if not (isinstance(node, ast.Attribute) and node.end_lineno and node.end_col_offset):
        return node
    start = node.end_col_offset - len(node.attr.encode("utf-8", "replace"))
    return ast.Name(node.attr, lineno=node.end_lineno, col_offset=start)


def without_types(signature: inspect.Signature, name: str) -> str:
    """`(x, dim=None, keepdim=False)`; of a method, `.sum`, what stands in its brackets."""
    kept = [p.replace(annotation=p.empty) for p in signature.parameters.values() if not p.name.startswith("_")]
    return str(inspect.Signature(kept[1:] if name.startswith(".") else kept))
