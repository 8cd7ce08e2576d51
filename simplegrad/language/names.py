"""The names that programs may say: leaves, operators as functions and as methods, attributes, aggregates."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache

import torch

from ..aggregates import registry
from ..engine import add_optional
from ..ops import FUNCTIONS, METHODS
from .leaves import LEAVES, Leaves

F = "f"  # the aggregate that the page selects

_JOINED = {name: FUNCTIONS[name] for name in ("where", "cat", "stack")}
# Left out of programs, which give the same numbers each time.
LEFT_OUT = dict.fromkeys(
    ("dropout", "gumbel_softmax"), "in Python it is there for Variables, in programs it is not, since it draws numbers"
)
OPERATOR_METHODS: Mapping[str, Callable] = {k: v for k, v in METHODS.items() if k not in _JOINED and k not in LEFT_OUT}
_CALLED = {k: v for k, v in FUNCTIONS.items() if not k.startswith("_") and k not in LEFT_OUT}
OPERATOR_FUNCTIONS: Mapping[str, Callable] = {
    k: v
    for k, v in (_CALLED | OPERATOR_METHODS | _JOINED).items()
    if not isinstance(getattr(torch, k, None), torch.dtype)
}  # float(x) is a number in Python, and torch.float is no function


def _grad(L, wanted, *, none=None, prune=None):
    """grad(L0, [a, b]): a list of gradients, one for each; None for a known zero"""


def _size(self, dim=None):
    """x.size(0)"""


# Methods that give numbers, or a leaf: nothing is recorded for them.
PLAIN_METHODS: Mapping[str, Callable] = {"size": _size, "dim": lambda self: 0, "numel": lambda self: 0}
PLAIN_METHODS = {**PLAIN_METHODS, "detach": lambda self: self, "item": lambda self: 0}
PLAIN_METHODS = {**PLAIN_METHODS, **dict.fromkeys(("new_zeros", "new_ones"), lambda self, *size: self)}
# Of what gives several results: x.max(dim=1).values
FIELDS = ("values", "indices", "sign", "logabsdet", "eigenvalues", "eigenvectors")
ATTRIBUTES = ("T", "mT", "shape", "ndim", "value", "name", *FIELDS)
MODULE = "torch"  # torch.tanh(x) is tanh(x)
MODULES = ("torch", "torch.nn.functional", "torch.linalg", "torch.special", "F")  # so is F.relu(x) relu(x)
CONSTANTS = {name: getattr(torch, name) for name in ("pi", "e", "inf", "nan")}  # torch.pi
TAPE = "gradient_tape"


def _variable(value, name=None):
    """Variable(a.value * b.value), Variable.constant(torch.rand(4), name='a')"""


def _tape_entry(inputs, outputs, propagate):
    """TapeEntry(inputs=[a.name], outputs=[r.name], propagate=propagate)"""


def _append(entry):
    """gradient_tape.append(TapeEntry(…))"""


def _nothing():
    """reset_tape()"""


def _range(start, stop=None, step=1):
    """range(3), range(1, 4), range(0, 10, 2)"""


SPECIAL: Mapping[str, Callable] = {"grad": _grad, "add_optional": add_optional}
# What the notebook's own cells say; nothing else may have these names.
NOTEBOOK: Mapping[str, Callable] = {"Variable": _variable, "Variable.constant": _variable, "TapeEntry": _tape_entry}
NOTEBOOK = {**NOTEBOOK, f"{TAPE}.append": _append, "reset_tape": _nothing, "print": lambda *values: None}
RAW = ("zeros_like", "ones_like", "empty_like", "full_like", "clone")  # on raw tensors alone
TAKEN = (*NOTEBOOK, MODULE, TAPE, "range", "Tape")
# The notebook defines these itself; here they are there already.
DEFINED = ("Variable", "TapeEntry", TAPE, "fresh_name", "reset_tape", "grad")


def function_signature(name: str) -> inspect.Signature | None:
    """How a function of the language is called; None for an aggregate, whose file may still change."""
    if name in LEAVES:
        return _signature(getattr(_LEAVES, name))
    function = SPECIAL.get(name) or NOTEBOOK.get(name) or (None if name in registry else OPERATOR_FUNCTIONS.get(name))
    return _signature(function) if function else None


def method_signature(name: str) -> inspect.Signature:
    return _signature(OPERATOR_METHODS.get(name) or PLAIN_METHODS[name])


_LEAVES = Leaves()
_signature = lru_cache(maxsize=1024)(inspect.signature)  # of operators: a millisecond each


def is_reserved(name: str) -> bool:
    """Whether a program may not give this name to a value. Operators' names are free: `mean = x.mean()` is clear."""
    return name in (F, *TAKEN) or name in LEAVES or name in SPECIAL


def is_function(name: str) -> bool:
    return name in function_names() or name in RAW


def function_names() -> set[str]:
    return {F, *LEAVES, *SPECIAL, *NOTEBOOK, *OPERATOR_FUNCTIONS, *registry}


def method_names() -> set[str]:
    return {*OPERATOR_METHODS, *PLAIN_METHODS, *ATTRIBUTES}
