"""The compiler: an expression as an aggregate, specialised on which incoming gradients are None."""

from .aggregate import CompiledAggregate, compile_aggregate
from .errors import CompileError
from .fix import fix_for

__all__ = ["CompileError", "CompiledAggregate", "compile_aggregate", "fix_for"]
