"""`simplegrad diff A B`: where two saved runs first part."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..extras import MissingExtra
from ..trace.store import TraceFileError
from ..trace.trace import Trace
from .compare import Comparison, compare
from .runs import RunComparison

AGREE, PART, NOT_COMPARED = 0, 1, 2


def main(left: str, right: str, as_json: bool = False, output: str | None = None) -> int:
    """Exit codes: 0 the runs agree up to rounding, 1 they part, 2 they could not be compared."""
    try:
        comparison = compare(Trace.load(left), Trace.load(right))
        if output is not None:
            comparison.to_html(output, title=f"{Path(left).name} beside {Path(right).name}")
    except (TraceFileError, TypeError, OSError, MissingExtra) as error:
        print(f"simplegrad diff: {error}", file=sys.stderr)
        return NOT_COMPARED
    print(json.dumps(as_data(comparison), indent=2) if as_json else comparison)
    return {True: AGREE, False: PART, None: NOT_COMPARED}[comparison.agrees]


def as_data(comparison: Comparison | RunComparison) -> dict:
    if not isinstance(comparison, Comparison):
        return comparison.as_json()
    found = comparison.divergence
    parted = found and {name: getattr(found, name) for name in ("kind", "variable", "sentence", "left", "right")}
    return {"agrees": comparison.agrees, "sentence": comparison.sentence, "divergence": parted}
