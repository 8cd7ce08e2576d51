"""The small language that people compose programs in: the notebook's own, parsed and run here, never evaluated."""

from .errors import ProgramError, RunError
from .examples import EXAMPLES, Example
from .limits import DEFAULT_LIMITS, Limits
from .packing import pack, unpack
from .palette import PALETTE, palette
from .parse import Program

__all__ = [
    "DEFAULT_LIMITS",
    "EXAMPLES",
    "PALETTE",
    "Example",
    "Limits",
    "Program",
    "ProgramError",
    "RunError",
    "pack",
    "palette",
    "unpack",
]
