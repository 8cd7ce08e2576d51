"""A tiny reverse-mode autodiff engine: read variable.py, tape.py, operators.py, grad.py, in this order."""

from .errors import (
    OtherTapeError,
    RawTensorError,
    TapeError,
    UnknownNameError,
    WrongCountError,
    WrongShapeError,
)
from .grad import add_optional, grad
from .operators import cat, stack, where
from .tape import Key, Observer, Tape, TapeEntry, current_tape, fresh_name, gradient_tape, reset_tape
from .variable import Variable

__all__ = [
    "Key",
    "Observer",
    "OtherTapeError",
    "RawTensorError",
    "Tape",
    "TapeEntry",
    "TapeError",
    "UnknownNameError",
    "Variable",
    "WrongCountError",
    "WrongShapeError",
    "add_optional",
    "cat",
    "current_tape",
    "fresh_name",
    "grad",
    "gradient_tape",
    "reset_tape",
    "stack",
    "where",
]
