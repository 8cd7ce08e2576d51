"""A program's text as a piece of a URL, and back."""

from __future__ import annotations

import base64
import zlib

from .errors import ProgramError
from .limits import DEFAULT_LIMITS

_DAMAGED = "this link holds no program, or only a part of one: it may have been cut off when it was copied."


def pack(text: str) -> str:
    """The text in letters, digits, '-' and '_' only, about half as long; `unpack` gives it back."""
    packed = zlib.compress(text.encode("utf-8", "surrogatepass"), 9)
    return base64.urlsafe_b64encode(packed).decode("ascii").rstrip("=")


def unpack(packed: str, longest: int = DEFAULT_LIMITS.text) -> str:
    """The text that was packed. Raises ProgramError for what `pack` never made, and for texts over `longest`."""
    most = 4 * longest  # bytes: what decompresses to more is not even made
    try:
        data = base64.b64decode(packed.encode("ascii") + b"=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        machine = zlib.decompressobj()
        raw = machine.decompress(data, most + 1)
        complete = machine.eof and not machine.unused_data
        text = raw.decode("utf-8", "surrogatepass") if complete else ""
    except (ValueError, zlib.error):
        raise ProgramError(_DAMAGED) from None
    if len(raw) > most or len(text) > longest:
        raise ProgramError(f"this link holds more than {longest} characters; a program may not be longer.")
    if not complete:
        raise ProgramError(_DAMAGED)
    return text
