"""`simplegrad diff A B`: where two saved runs first part."""

from __future__ import annotations

import json
import sys

from ..trace.store import TraceFileError
from ..trace.trace import Trace
from .compare import Comparison, compare

AGREE, PART, NOT_COMPARED = 0, 1, 2


def main(left: str, right: str, as_json: bool = False) -> int:
    """Exit codes: 0 the runs agree up to rounding, 1 they part, 2 they could not be compared."""
    try:
        comparison = compare(Trace.load(left), Trace.load(right))
    except (TraceFileError, TypeError, OSError) as error:
        print(f"simplegrad diff: {error}", file=sys.stderr)
        return NOT_COMPARED
    print(
        json.dumps(comparison.as_json(), indent=2)
        if as_json and not isinstance(comparison, Comparison)
        else told(comparison)
    )
    return {True: AGREE, False: PART, None: NOT_COMPARED}[comparison.agrees]


def told(comparison) -> str:
    if not isinstance(comparison, Comparison):
        return str(comparison)
    found = comparison.divergence
    return "The runs agree." if found is None else f"{found.sentence}\n  left: {found.left}\n  right: {found.right}"
