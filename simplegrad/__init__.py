"""simplegrad: a visual debugger for reverse-mode autodiff tapes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    from .aggregates import Aggregate, aggregate, registry
    from .checks.check import check
    from .checks.commands.bundle import load_bundle
    from .checks.commands.real_calls import CallsReport, check_calls
    from .checks.declared import surrogate
    from .checks.report import Report
    from .comparison.compare import compare
    from .comparison.ranks import RankReport, compare_ranks
    from .compiler import CompileError, compile_aggregate
    from .engine import (
        Tape,
        TapeEntry,
        TapeError,
        Variable,
        cat,
        current_tape,
        fresh_name,
        gradient_tape,
        reset_tape,
        stack,
        where,
    )
    from .engine.grad import add_optional, grad
    from .language import Program, ProgramError
    from .reasons import Diagnosis, Why, diagnose
    from .targets import example
    from .torch_bridge import record_torch
    from .trace import Trace, record
    from .trace.nonfinite import Birth, find_nonfinite

# Each name is imported when it is first asked for: what needs little (the command line's --version, the plugin that
# pytest loads in every run) does not wait for torch.
_MODULES = {
    "aggregates": "Aggregate aggregate registry",
    "checks.commands.bundle": "load_bundle",
    "checks.check": "check",
    "checks.declared": "surrogate",
    "checks.commands.real_calls": "CallsReport check_calls",
    "checks.report": "Report",
    "comparison.compare": "compare",
    "comparison.ranks": "RankReport compare_ranks",
    "compiler": "CompileError compile_aggregate",
    "engine": "Tape TapeEntry TapeError Variable add_optional cat current_tape fresh_name grad gradient_tape "
    "reset_tape stack where",
    "language": "Program ProgramError",
    "reasons": "Diagnosis Why diagnose",
    "targets": "example",
    "torch_bridge": "record_torch",
    "trace": "Trace record",
    "trace.nonfinite": "Birth find_nonfinite",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "Aggregate",
    "Birth",
    "CallsReport",
    "CompileError",
    "Diagnosis",
    "Program",
    "ProgramError",
    "RankReport",
    "Report",
    "Tape",
    "TapeEntry",
    "TapeError",
    "Trace",
    "Variable",
    "Why",
    "add_optional",
    "aggregate",
    "cat",
    "check",
    "check_calls",
    "compare",
    "compare_ranks",
    "compile_aggregate",
    "current_tape",
    "diagnose",
    "example",
    "find_nonfinite",
    "fresh_name",
    "grad",
    "gradient_tape",
    "load_bundle",
    "record",
    "record_torch",
    "registry",
    "reset_tape",
    "stack",
    "surrogate",
    "where",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'simplegrad' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return found


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext simplegrad` in a notebook: see simplegrad/view/display.py."""
    import_module(".view.display", __name__).load(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
