"""Wrong backwards made from right ones: one small change of the syntax tree at a time.

A change replaces the text of one expression in a copy of its file, so that every line stays where it was. What is kept
are silent mutants: they raise nothing, and gradcheck refuses them.
"""

from __future__ import annotations

import ast
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

from tests.checks.changes import Change, changes, in_backward
from tests.checks.right import HOME, RIGHT


@dataclass
class Mutant:
    of: str  # the name of the right Function
    kind: str
    first: int
    last: int
    before: str
    after: str
    text: str  # the whole file, changed
    also: tuple[int, int] | None = None  # first and last line of what is changed, or wrong, as well

    @property
    def changed(self) -> list[tuple[int, int]]:
        return [(self.first, self.last), *([self.also] if self.also else [])]

    @property
    def name(self) -> str:
        return f"{self.of}:{self.first}:{self.kind}: {self.before} -> {self.after}"


def methods_of(tree: ast.Module, name: str) -> dict[str, ast.FunctionDef]:
    """Those of the class of this name; none where its `backward` stands elsewhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            found = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
            return found if "backward" in found else {}
    return {}


def mutants_of(name: str) -> Iterator[Mutant]:
    """All of one right Function, in the order of its text; none where its backward stands elsewhere."""
    text = HOME[name].read_text()
    methods = methods_of(ast.parse(text), name)
    seen = set()
    for change in changes(methods) if methods else ():
        mutated = replaced(text, change)
        if mutated in seen or mutated == text:
            continue
        seen.add(mutated)
        node = change.node
        before = " ".join((ast.get_source_segment(text, node) or "").split())
        also = (change.also.lineno, change.also.end_lineno) if change.also else None
        yield Mutant(name, change.kind, node.lineno, node.end_lineno, before, change.after, mutated, also)


def pairs_of(name: str) -> Iterator[Mutant]:
    """Two changes at once, in statements that do not touch: no one line is what is wrong."""
    text = HOME[name].read_text()
    methods = methods_of(ast.parse(text), name)
    found = list(in_backward(methods["backward"])) if methods else []
    found = [each for each in found if each.kind not in ("none", "swapped")]
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
