"""A tiny reverse-mode autodiff engine. What the notebook has stands here:

    Variable                      variable.py: a tensor, and the key by which the tape knows whose gradient is whose
    TapeEntry, the tape           tape.py: inputs, outputs, propagate; what is appended to it
    operators and their entries   operators.py: `put_on_tape`, `apply`; the rules themselves are in ops/, a line each
    grad                          grad.py: `backward` is the loop: gather, skip where all is None, propagate, add up

Read them in this order. names.py says how v0, v1, … come about, rows.py where the tape keeps its entries, watched.py
what a recorder is told, deferred.py how the last pass waits until somebody asks for what it records, errors.py what can
be wrong with a propagate.
"""

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
