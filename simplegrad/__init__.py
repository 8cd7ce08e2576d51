"""simplegrad: a visual debugger for reverse-mode autodiff tapes."""

from typing import TYPE_CHECKING

from .aggregates import Aggregate, aggregate, registry
from .checks.check import check
from .checks.declared import surrogate
from .checks.report import Report
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
from .language import Program, ProgramError
from .trace import Trace, record
from .trace.nonfinite import Birth, find_nonfinite

if TYPE_CHECKING:
    from .torch_bridge import record_torch

__version__ = "0.1.0"

__all__ = [
    "Aggregate",
    "Birth",
    "CompileError",
    "Program",
    "ProgramError",
    "Report",
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
    "find_nonfinite",
    "fresh_name",
    "grad",
    "gradient_tape",
    "record",
    "record_torch",
    "registry",
    "reset_tape",
    "stack",
    "surrogate",
    "where",
]


def __getattr__(name: str):
    if name == "record_torch":  # torch.autograd's insides: only for those who ask
        from .torch_bridge import record_torch

        return record_torch
    raise AttributeError(f"module 'simplegrad' has no attribute {name!r}")
