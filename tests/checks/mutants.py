"""Wrong backwards made from right ones: one small change of the syntax tree of `backward` at a time.

A change replaces the text of one expression in a copy of its file, so that every line stays where it was. What is kept
are silent mutants: they raise nothing, and gradcheck refuses them.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import itertools
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.autograd import gradcheck

from tests.checks.right import HOME, RIGHT

SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
TURNED = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}
OTHER_CALL = {
    "sin": "cos",
    "cos": "sin",
    "sinh": "cosh",
    "cosh": "sinh",
    "tanh": "sigmoid",
    "sigmoid": "tanh",
    "sum": "mean",
    "mean": "sum",
    "exp": "expm1",
    "log": "log1p",
    "sqrt": "square",
    "rsqrt": "sqrt",
}
DROPPED_METHODS = {"t", "conj", "flip", "square", "clamp", "exp", "tanh", "sqrt"}


@dataclass
class Change:
    """`node` is replaced by the text `after`."""

    kind: str
    node: ast.expr
    after: str


@dataclass
class Mutant:
    of: str  # the name of the right Function
    kind: str
    first: int
    last: int
    before: str
    after: str
    text: str  # the whole file, changed
    also: tuple[int, int] | None = None  # first and last line of a second change

    @property
    def changed(self) -> list[tuple[int, int]]:
        return [(self.first, self.last), *([self.also] if self.also else [])]

    @property
    def name(self) -> str:
        return f"{self.of}:{self.first}:{self.kind}: {self.before} -> {self.after}"


def backward_of(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    """The `backward` in the class of this name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            found = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "backward"]
            return found[0] if found else None
    return None


def mutants_of(name: str) -> Iterator[Mutant]:
    """All of one right Function, in the order of its text; none where its backward stands elsewhere."""
    text = HOME[name].read_text()
    function = backward_of(ast.parse(text), name)
    if function is None:
        return
    seen = set()
    for change in changes(function):
        mutated = replaced(text, change)
        if mutated in seen or mutated == text:
            continue
        seen.add(mutated)
        node = change.node
        before = " ".join((ast.get_source_segment(text, node) or "").split())
        yield Mutant(name, change.kind, node.lineno, node.end_lineno or node.lineno, before, change.after, mutated)


def pairs_of(name: str) -> Iterator[Mutant]:
    """Two changes at once, in statements that do not touch: no one line is what is wrong."""
    text = HOME[name].read_text()
    function = backward_of(ast.parse(text), name)
    found = [each for each in changes(function) if each.kind not in ("none", "swapped")] if function else []
    found.sort(key=lambda each: each.node.lineno)
    for a, b in zip(found, found[len(found) // 2 :], strict=False):
        if a.node.end_lineno < b.node.lineno:
            said = f"{ast.unparse(a.node)} -> {a.after}, {ast.unparse(b.node)}", b.after
            both = replaced(replaced(text, b), a)
            lines = a.node.lineno, a.node.end_lineno
            yield Mutant(name, f"{a.kind} and {b.kind}", *lines, *said, both, (b.node.lineno, b.node.end_lineno))


def replaced(text: str, change: Change) -> str:
    """The text with the change made, and as many lines as before."""
    node, lines = change.node, text.splitlines(keepends=True)
    starts = [0, *itertools.accumulate(len(line) for line in lines)]
    begin = starts[node.lineno - 1] + len(lines[node.lineno - 1].encode()[: node.col_offset].decode())
    end = starts[node.end_lineno - 1] + len(lines[node.end_lineno - 1].encode()[: node.end_col_offset].decode())
    kept = "\n" * (node.end_lineno - node.lineno)
    return text[:begin] + f"({change.after}{kept})" + text[end:]


# --- the changes -----------------------------------------------------------------------------------------------------


def changes(function: ast.FunctionDef) -> Iterator[Change]:
    incoming = {arg.arg for arg in function.args.args[1:]}
    for node in ast.walk(function):
        if isinstance(node, ast.BinOp):
            yield from of_operation(node)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not _is_number(node.operand):
            yield Change("sign", node, ast.unparse(node.operand))
        elif isinstance(node, ast.Call):
            yield from of_call(node)
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in TURNED:
            yield Change("comparison", node, ast.unparse(_with(node, ops=[TURNED[type(node.ops[0])]()])))
        elif isinstance(node, ast.Return) and node.value is not None:
            yield from of_return(node.value)
        elif isinstance(node, ast.Assign) and not _is_unpacking(node):
            yield Change("sign", node.value, f"-({ast.unparse(node.value)})")
            yield Change("factor", node.value, f"2 * ({ast.unparse(node.value)})")
        elif isinstance(node, ast.Name) and node.id in incoming and isinstance(node.ctx, ast.Load):
            yield Change("ignored", node, f"torch.ones_like({node.id})")


def of_operation(node: ast.BinOp) -> Iterator[Change]:
    left, right = ast.unparse(node.left), ast.unparse(node.right)
    if type(node.op) in SWAPPED:
        yield Change("operator", node, ast.unparse(_with(node, op=SWAPPED[type(node.op)]())))
        yield Change("term" if isinstance(node.op, ast.Add | ast.Sub) else "factor", node, left)
    if isinstance(node.op, ast.Add | ast.Sub):
        yield Change("term", node, right if isinstance(node.op, ast.Add) else f"-({right})")
    if isinstance(node.op, ast.Mult):
        yield Change("factor", node, right)
    if isinstance(node.op, ast.Pow):
        yield Change("power", node, f"({left}) ** (({right}) + 1)")
        yield Change("power", node, left)
    for side in (node.left, node.right):
        if isinstance(side, ast.Constant) and isinstance(side.value, int | float):
            yield Change("constant", side, repr(side.value + 1))
            yield Change("constant", side, repr(side.value * 0.5))


def of_call(node: ast.Call) -> Iterator[Change]:
    if not isinstance(node.func, ast.Attribute):
        return
    name, owner = node.func.attr, node.func.value
    if name in OTHER_CALL:
        yield Change("function", node, ast.unparse(_with(node, func=_with(node.func, attr=OTHER_CALL[name]))))
    if name in DROPPED_METHODS and not (isinstance(owner, ast.Name) and owner.id == "torch"):
        yield Change("call", node, ast.unparse(owner))
    if name == "where" and len(node.args) == 3:
        yield Change("branches", node, ast.unparse(_with(node, args=[node.args[0], node.args[2], node.args[1]])))


def of_return(value: ast.expr) -> Iterator[Change]:
    several = value.elts if isinstance(value, ast.Tuple) else [value]
    real = [i for i, each in enumerate(several) if not _is_none(each)]
    for i in real:
        each = several[i]
        yield Change("zeros", each, f"torch.zeros_like({ast.unparse(each)})")
        yield Change("none", each, "None")
        yield Change("sign", each, f"-({ast.unparse(each)})")
        yield Change("factor", each, f"0.5 * ({ast.unparse(each)})")
    for i, j in itertools.pairwise(real):
        order = list(several)
        order[i], order[j] = order[j], order[i]
        yield Change("swapped", value, ast.unparse(ast.Tuple(order, ast.Load()))[1:-1])


def _with(node: ast.expr, **fields: object) -> ast.expr:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)


def _is_unpacking(node: ast.Assign) -> bool:
    """`(x,) = ctx.saved_tensors`, or an attribute of ctx: no gradient is computed there."""
    names = {each.id for each in ast.walk(node.value) if isinstance(each, ast.Name)}
    return isinstance(node.targets[0], ast.Tuple) or names <= {"ctx", "len"} or _is_none(node.value)


# --- running them ----------------------------------------------------------------------------------------------------

_numbers = itertools.count()


@contextmanager
def loaded(mutant: Mutant) -> Iterator[tuple[Callable, tuple]]:
    """The mutant's function and inputs, from a file of its own that exists as long as this is open."""
    name = f"mutant_{next(_numbers)}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text(mutant.text)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
            yield module.right[mutant.of].fn, module.right[mutant.of].inputs
        finally:
            del sys.modules[name]


def is_silent(fn: Callable, inputs: tuple) -> bool:
    """Whether nothing is raised, and gradcheck says that it is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return not gradcheck(fn, inputs, raise_exception=False)
        except Exception:  # it is heard of without us
            return False


def mutable() -> list[str]:
    """Names of the right Functions whose mutants gradcheck can judge."""
    return [name for name, case in RIGHT.items() if case.mutable and torch.float64 in _dtypes(case.inputs)]


def _dtypes(inputs: tuple) -> set[torch.dtype]:
    return {x.dtype.to_real() for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad}
