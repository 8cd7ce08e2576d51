"""Functions from the code that the compiler wrote. It writes from its own graph: nothing of a source is ever run."""

from __future__ import annotations

import builtins
import itertools
import linecache
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FunctionType

import torch

from ..engine import TapeEntry, Variable, gradient_tape
from ..engine.compiled import append, boxed
from ..ops import FUNCTIONS, TABLE
from ..ops.numbers import operand

MOST_SOURCES = 256  # texts of compiled code that tracebacks and debuggers can look up; the oldest are let go
_numbers = itertools.count()
_shown: deque[str] = deque()


def show_source(filename: str, text: str) -> None:
    """Let a traceback show the lines of generated code, as those of a file."""
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    _shown.append(filename)
    if len(_shown) > MOST_SOURCES:
        linecache.cache.pop(_shown.popleft(), None)


def namespace(tensor: bool = True, **more) -> dict:
    """The names that generated code may say; `tensor`: code that computes on raw tensors, not on Variables."""
    names = {
        "__builtins__": builtins,
        "torch": torch,
        "Variable": Variable,
        "TapeEntry": TapeEntry,
        "gradient_tape": gradient_tape,
        "_operand": operand,
        "_boxed": boxed,
        "_append": append,
        "_on_tensors": None,
    }
    for name, op in TABLE.items():
        if op.by_name:
            names[name] = op.forward if tensor else FUNCTIONS.get(name, op)
    return names | more


@lru_cache(maxsize=4096)
def code_of(text: str, name: str, title: str = "") -> CodeType:
    """The code object of the one function in the text. Its lines can be looked up, as those of a file."""
    filename = f"<compiled {title or name} {next(_numbers)}>"
    if title:
        show_source(filename, text)
    module = compile(text, filename, "exec")
    return next(each for each in module.co_consts if isinstance(each, CodeType) and each.co_name == name)


def function_of(text: str, name: str, title: str = "", tensor: bool = True, **more) -> Callable:
    """The function that stands in the text, with the names that generated code may say and `more`."""
    return FunctionType(code_of(text, name, title), namespace(tensor, **more), name)


def module_of(text: str, title: str) -> dict:
    """What a whole module of generated code defines, by name."""
    filename = f"<compiled {title}, for torch {next(_numbers)}>"
    show_source(filename, text)
    defined: dict = {"__builtins__": builtins, "__name__": f"compiled_{title}"}
    FunctionType(compile(text, filename, "exec"), defined)()
    return defined
