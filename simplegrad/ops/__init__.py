"""The operators, each in one place: how it is written, its forward, and beside it the vjp of each argument.

Read table.py first. A new operator is one line (see pointwise.py), and one method in methods.py if people call it.
"""

from . import choosing, composed, joining, linear, matrices, pointwise, reductions, shapes
from .methods import ALIASES, FUNCTIONS, METHODS, Operators, named_operator
from .table import TABLE, Op, op

__all__ = ["ALIASES", "FUNCTIONS", "METHODS", "TABLE", "Op", "Operators", "named_operator", "op"]
__all__ += ["choosing", "composed", "joining", "linear", "matrices", "pointwise", "reductions", "shapes"]
