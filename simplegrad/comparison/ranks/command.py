"""`simplegrad ranks run.*.trace`: which rank is at fault."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from ...trace.store import TraceFileError
from ...trace.trace import Trace
from .compare import compare_ranks

HEALTHY, AT_FAULT, NOT_COMPARED = 0, 1, 2


def main(files: Sequence[str], format: str = "text") -> int:
    """Exit codes: 0 the traces show nothing wrong, 1 a rank is at fault, 2 they could not be compared."""
    try:
        report = compare_ranks([Trace.load(file) for file in files])
    except (TraceFileError, ValueError, OSError) as error:
        print(f"simplegrad ranks: {error}", file=sys.stderr)
        return NOT_COMPARED
    print(json.dumps(report.as_json(), indent=2) if format == "json" else report)
    return HEALTHY if report.ok else AT_FAULT
