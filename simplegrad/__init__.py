"""simplegrad: a visual debugger for reverse-mode autodiff tapes."""

from .aggregates import Aggregate, aggregate, registry
from .checks.check import check
from .compiler import CompileError, compile_aggregate
from .engine import (
    Tape,
    TapeEntry,
    TapeError,
    Variable,
    add_optional,
    cat,
    current_tape,
    fresh_name,
    grad,
    gradient_tape,
    reset_tape,
    stack,
    where,
)
from .program import Program, ProgramError
from .trace import Trace, record

__version__ = "0.1.0"

__all__ = [
    "Aggregate",
    "CompileError",
    "Program",
    "ProgramError",
    "Tape",
    "TapeEntry",
    "TapeError",
    "Trace",
    "Variable",
    "add_optional",
    "aggregate",
    "cat",
    "compile_aggregate",
    "check",
    "current_tape",
    "fresh_name",
    "grad",
    "gradient_tape",
    "record",
    "registry",
    "reset_tape",
    "stack",
    "where",
]
