"""A tiny reverse-mode autodiff engine: read variable.py, tape.py, operators.py, grad.py, in this order."""

from .deferred import put_off_on as put_off_on  # the module puts itself where passes are run
from .errors import (
    ChangedInPlaceError,
    OtherTapeError,
    RawTensorError,
    TapeError,
    UnknownNameError,
    WrongCountError,
    WrongShapeError,
)
from .grad import add_optional, grad
from .names import Key
from .operators import cat, stack, where
from .tape import Tape, TapeEntry, current_tape, fresh_name, gradient_tape, reset_tape
from .variable import Variable
from .watched import Observer

__all__ = [
    "ChangedInPlaceError",
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
