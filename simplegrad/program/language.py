"""The names that programs may say: leaves, operators as functions and as methods, attributes, aggregates."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from ..aggregates import registry
from ..engine import add_optional
from ..engine.operators import ALIASES, FUNCTIONS, METHODS
from .leaves import LEAVES, Leaves

F = "f"  # the aggregate that the page selects

_JOINED = {"where": FUNCTIONS["where"], "cat": FUNCTIONS["cat"], "stack": FUNCTIONS["stack"]}
_JOINED |= {name: function for name, function in ALIASES.items() if name.startswith("concat")}
OPERATOR_METHODS: Mapping[str, Callable] = {k: v for k, v in (METHODS | ALIASES).items() if k not in _JOINED}
OPERATOR_FUNCTIONS: Mapping[str, Callable] = OPERATOR_METHODS | _JOINED


def _grad(L, wanted, *, none=None, prune=None):
    """grad(L0, [a, b]): a list of gradients, one for each; None for a known zero"""


def _size(self, dim=None):
    """x.size(0)"""


# Methods that give numbers, or a leaf: nothing is recorded for them.
PLAIN_METHODS: Mapping[str, Callable] = {"size": _size, "dim": lambda self: 0, "numel": lambda self: 0}
PLAIN_METHODS = {**PLAIN_METHODS, "detach": lambda self: self}
ATTRIBUTES = ("T", "mT", "shape", "ndim")
SPECIAL: Mapping[str, Callable] = {"grad": _grad, "add_optional": add_optional}
MODULE = "torch"  # torch.tanh(x) is tanh(x)


def function_signature(name: str) -> inspect.Signature | None:
    """How a function of the language is called; None for an aggregate, whose file may still change."""
    if name in LEAVES:
        return inspect.signature(getattr(Leaves(), name))
    function = SPECIAL.get(name) or (None if name in registry else OPERATOR_FUNCTIONS.get(name))
    return inspect.signature(function) if function else None


def method_signature(name: str) -> inspect.Signature:
    return inspect.signature(OPERATOR_METHODS.get(name) or PLAIN_METHODS[name])


def is_reserved(name: str) -> bool:
    """Whether a program may not give this name to a value. Operators' names are free: `mean = x.mean()` is clear."""
    return name in (F, MODULE) or name in LEAVES or name in SPECIAL


def is_function(name: str) -> bool:
    return name == F or name in LEAVES or name in SPECIAL or name in OPERATOR_FUNCTIONS or name in registry


def function_names() -> set[str]:
    return {F, *LEAVES, *SPECIAL, *OPERATOR_FUNCTIONS, *registry}


def method_names() -> set[str]:
    return {*OPERATOR_METHODS, *PLAIN_METHODS, *ATTRIBUTES}
