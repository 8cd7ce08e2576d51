"""In what precision the numbers of a run were computed: that of the coarsest dtype on their way, whatever they are cast
to afterwards."""

from __future__ import annotations

from ..trace import calls as kinds
from ..trace.events import Value
from ..trace.trace import Trace
from .gaps import precision


def coarseness(trace: Trace) -> dict[Value, float]:
    """Of the results of all calls. What is read after an optimizer's step has the precision of the gradients."""
    found: dict[Value, float] = {}
    coarsest, least = 0.0, 0.0
    for call in trace.calls:
        if call.kind == kinds.STEP:
            least = coarsest
            continue
        if not call.outputs:
            continue
        floating = [y for y in call.outputs if y.dtype.startswith(("float", "bfloat", "complex"))]
        eps = max([least, *(found.get(x, 0.0) for x in call.inputs), *(precision(y) for y in floating)])
        coarsest = max(coarsest, eps)
        for y in call.outputs:
            found[y] = max(found.get(y, 0.0), eps)
    return found
