"""The compiler: an expression as an aggregate, specialised on which incoming gradients are None."""

from .aggregate import CompiledAggregate, compile_aggregate
from .fix import fix_for
from .symbols import CompileError

__all__ = ["CompileError", "CompiledAggregate", "compile_aggregate", "fix_for"]
