"""Writes simplegrad/ops/operators.pyi, in which an editor and mypy see the methods that `Operators` is given:

python -m tools.operator_stub
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from simplegrad.ops import METHODS, Operators

PATH = Path(__file__).parent.parent / "simplegrad" / "ops" / "operators.pyi"
HEAD = '''"""Made by `python -m tools.operator_stub`: the methods of Variables, as an editor and mypy see them."""

from typing import Any, Self

class Operators:
    shape: Any
    dtype: Any
'''
RESULTS = {"tuple": "tuple[Self, ...]", "Any": "Any"}  # by what is written; Self where nothing is
MIXED = ("max", "min")  # one result, or two


def stub() -> str:
    return HEAD + "\n".join(lines()) + "\n"


def lines() -> Iterator[str]:
    for name, member in vars(Operators).items():
        if isinstance(member, property):
            yield f"    @property\n    def {name}(self) -> {'int' if name == 'ndim' else 'Self'}: ..."
        elif name.startswith("__") and inspect.isfunction(member):
            yield f"    def {name}{parameters(member)} -> {'None' if name == '__setitem__' else 'Self'}: ..."
    for name, method in sorted(METHODS.items()):
        yield f"    def {name}{parameters(method)} -> {result(name, method)}: ..."


def parameters(method: Callable) -> str:
    """Their names, and which may be left out."""
    first, *rest = inspect.signature(method).parameters.values()
    plain = [first.replace(name="self")]
    for each in rest:
        plain.append(each.replace(annotation=Any, default=each.empty if each.default is each.empty else ...))
    return str(inspect.Signature(plain)).replace("typing.", "").replace("Ellipsis", "...")


def result(name: str, method: Callable) -> str:
    return "Any" if name in MIXED else RESULTS.get(inspect.signature(method).return_annotation, "Self")


if __name__ == "__main__":
    PATH.write_text(stub())
