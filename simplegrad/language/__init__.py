"""The small language of this project, the notebook's own. Read syntax, reader, parse; then machine, program.

A text is checked node by node, and what runs is written from what was accepted; the text itself never runs.
"""

from .errors import ProgramError, RunError
from .examples import EXAMPLES, Example
from .limits import DEFAULT_LIMITS, Limits
from .packing import pack, unpack
from .palette import PALETTE, palette
from .program import Program

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
