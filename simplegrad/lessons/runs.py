"""The runs that a lesson shows: its program on the tape, PyTorch's own, or the two beside each other."""

from __future__ import annotations

from ..compiler import compile_aggregate
from ..language import Program
from ..trace.trace import Trace
from .course import Lesson, Scene
from .facts import warm
from .recordings import recorded

COMPILED = "compiled: "


def traces_of(lesson: Lesson, scene: Scene) -> tuple[Trace, ...]:
    """One trace, or two: that of the tape first."""
    traces = []
    if scene.program:
        program = Program.parse(scene.program.strip("\n"), title=lesson.title)
        traces.append(program.run(aggregate_of(scene), none=scene.none))
    if scene.record:
        traces.append(recorded(scene.record))
        traces[-1].title = scene.label
    return tuple(traces)


def aggregate_of(scene: Scene):
    """What f stands for: a name, or what the compiler makes of an expression."""
    text = scene.aggregate.removeprefix(COMPILED)
    if text == scene.aggregate:
        return text
    warm()  # no part of the run's own time
    compiled = compile_aggregate(text)
    assert compiled.propagate_source  # made now, for the same reason
    return compiled
