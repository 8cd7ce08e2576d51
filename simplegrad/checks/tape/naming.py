"""What a person calls a Variable of a run: the name that it was given, or the one that it has in the source."""

from __future__ import annotations

import ast
import re

from ...engine import Variable
from ..runs.watch import Made
from ..source import cells_of, statement_at
from .case import Run


def name_of(run: Run, variable: Variable) -> str:
    """What to call it: the name that it was given, else the one that it has in the source."""
    with run.tape:
        given = variable.name
    return python_name(run, variable) if re.fullmatch(r"v\d+(_\d+)?", given) else given


def python_name(run: Run, variable: Variable) -> str:
    """The name that propagate closes over, or the one that it was assigned to; else its name on the tape."""
    for entry in run.entries:
        for name, held in cells_of(entry.propagate).items():
            if held is variable or (isinstance(held, list | tuple) and any(x is variable for x in held)):
                return name
    with run.tape:
        return assigned_name(run.made.get(id(variable))) or variable.name


def assigned_name(made: Made | None) -> str:
    """The variable that the statement which made it assigns, if it is one."""
    if made is None or made.code is None:
        return ""
    node = statement_at(made.code.co_filename, made.line)
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""
