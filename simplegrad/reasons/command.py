"""`simplegrad why FILE [NAME]`: why the gradients of a saved run are what they are."""

from __future__ import annotations

import sys

from ..trace.store import TraceFileError
from ..trace.trace import Trace
from .diagnosis import diagnose
from .why import why

NOTHING_WRONG, SOMETHING_WRONG, COULD_NOT_ANSWER = 0, 1, 2


def main(path: str, name: str | None = None) -> int:
    """Print the answer for one tensor, or all that is worth knowing. Exit codes: 0 the trace shows nothing wrong;
    1 something is wrong; 2 there is no such trace or tensor, or the cause cannot be told."""
    try:
        trace = Trace.load(path)
        if name is None:
            diagnosis = diagnose(trace)
            print(diagnosis)
            return SOMETHING_WRONG if diagnosis.findings else NOTHING_WRONG
        answer = why(trace, name)
    except KeyError as error:
        print(f"simplegrad why: {error.args[0]}", file=sys.stderr)
        return COULD_NOT_ANSWER
    except (TraceFileError, OSError) as error:
        print(f"simplegrad why: {error}", file=sys.stderr)
        return COULD_NOT_ANSWER
    print(answer)
    if not answer.cause:
        return COULD_NOT_ANSWER
    return NOTHING_WRONG if answer.cause == "none" else SOMETHING_WRONG
