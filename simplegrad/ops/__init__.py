"""The operators, each in one place: how it is written, its forward, the vjp of each argument, and how it is called.

Read table.py first, then calls.py. An operator with a rule is one `op(…)`; from it come the method of Variables and
symbols, torch.f(x), its name in programs, the palette, the compiled code. One that is made of others needs no rule.
"""

from . import (
    algebra,
    choosing,
    elementwise,
    joining,
    layers,
    linear,
    losses,
    matrices,
    neighbours,
    networks,
    places,
    pointwise,
    reductions,
    shapes,
    stacks,
    statistics,
    windows,
)
from .calls import FUNCTIONS, METHODS, UnsupportedError, named_operator
from .operators import Operators
from .table import TABLE, Op, op

__all__ = ["FUNCTIONS", "METHODS", "TABLE", "Op", "Operators", "UnsupportedError", "named_operator", "op"]
__all__ += ["algebra", "choosing", "elementwise", "joining", "layers", "linear", "losses", "matrices", "neighbours"]
__all__ += ["networks", "places", "pointwise", "reductions", "shapes", "stacks", "statistics", "windows"]
