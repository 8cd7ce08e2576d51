"""Every fault twice, as an aggregate and as a torch.autograd.Function, under one code; each beside its right twin.

`aggregates.PAIRS` and `functions.TWINS` share their names; `more.py` has those that were written as both at once, and
`contract.py` what only a Function can get wrong.
"""

from .aggregates import PAIRS, Pair, rand

__all__ = ["PAIRS", "Pair", "rand"]
