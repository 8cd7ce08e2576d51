"""The operators, each in one place: how it is written, its forward, and beside it the vjp of each argument.

Read table.py first. A new operator of each element is one line in pointwise.py: from it come the method of Variables
and symbols, torch.f(x), its name in programs, the palette, the compiled code. One that takes more arguments has a
method in methods.py too, which says how torch's arguments are written.
"""

from . import (
    algebra,
    arranging,
    choosing,
    composed,
    joining,
    layers,
    linear,
    matrices,
    networks,
    pointwise,
    reductions,
    shapes,
    windows,
)
from .methods import ALIASES, FUNCTIONS, METHODS, Operators, named_operator
from .table import TABLE, Op, op

__all__ = ["ALIASES", "FUNCTIONS", "METHODS", "TABLE", "Op", "Operators", "named_operator", "op"]
__all__ += ["algebra", "arranging", "choosing", "composed", "joining", "layers", "linear", "matrices", "networks"]
__all__ += ["pointwise", "reductions", "shapes", "windows"]
