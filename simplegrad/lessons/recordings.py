"""What the lessons on PyTorch show: runs of PyTorch itself, each recorded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable

from ..gallery import in_lessons
from ..trace.trace import Trace

RECORDED: dict[str, Callable[[], None]] = {
    run.__name__: run
    for run in (
        in_lessons.gradient_of_a_gradient,
        in_lessons.undefined_gradient,
        in_lessons.changed_in_place,
        in_lessons.wrong_version,
        in_lessons.view_of_a_changed_base,
        in_lessons.sinh_before,
        in_lessons.sinh_after,
    )
}


def recorded(name: str) -> Trace:
    """The run of this name. An error that PyTorch raises is its last event."""
    from ..torch_bridge.record import record_torch  # it loads torch.autograd's insides

    trace = Trace()
    try:
        with record_torch("full") as trace:
            RECORDED[name]()
    except RuntimeError:
        if trace.error is None:
            raise
    trace.kind = "torch"
    return trace
