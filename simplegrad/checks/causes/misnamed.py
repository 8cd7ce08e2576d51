"""What backward takes for another value than it is: saved in another order than it is unpacked, or another one saved.

What a name stands for is taken from the runs of forward and of backward. Where a name of both holds different values,
backward is run with forward's in its place; only if every gradient is right then, it is told.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection
from typing import Any

import torch

from .. import source
from ..report import Place
from ..runs.watch import Watch
from ..subjects.alone import Alone
from ..subjects.slots import CTX_OWN
from .samples import Sample, Samples
from .suspects import Search
from .trail import Ran, Site


def names_of_forward(alone: Alone, sample: Sample) -> dict[str, Any]:
    """What the names of forward (and of setup_context) stood for as it returned."""
    watch = Locals(alone.forward_codes)

    def around(run: Any, ctx: Any) -> Any:
        with watch:
            return run()

    alone.forward(sample.values, around=around)
    return watch.found


class Locals(Watch):
    """What the names of some functions stand for as they return."""

    def __init__(self, codes: Collection[types.CodeType]) -> None:
        self.codes, self.found = codes, {}

    def _called(self, frame: types.FrameType, event: str, arg: Any) -> Callable | None:
        if frame.f_code not in self.codes:
            return None
        frame.f_trace_lines = False
        return self._line

    def _line(self, frame: types.FrameType, event: str, arg: Any) -> Callable:
        if event == "return":
            self.found |= frame.f_locals
        return self._line


def taken_for_another(search: Search, ran: Ran) -> dict[Site, str]:
    """Where backward binds what forward kept to a name that means another value in forward: the name that it has there.

    `ran`: backward at the first sample. Empty unless all gradients are right with forward's values under these names.
    """
    samples = search.samples
    named = names_of_forward(samples.alone, samples.each[0])
    kept = [note for note in ran.notes if len(note.site.calls) == 1 and note.site.name and id(note.made) in ran.given]
    found = {}
    for note in kept:
        name = note.site.name
        if name in named and is_another(note.value, named[name]):
            others = (other for other, value in named.items() if other != name and is_same(note.value, value))
            if (other := next(others, None)) is not None:
                found[note.site] = other
    return found if found and are_right(search, list(found)) else {}


def are_right(search: Search, sites: list[Site]) -> bool:
    """Whether every gradient is right where these names stand for what they do in forward."""

    def with_forwards(sample: Sample) -> list[Any]:
        named = names_of_forward(search.alone, sample)
        return search.gradients(sample, {site: lambda _, value=named[site.name]: value for site in sites})

    return search.samples.are_right(with_forwards)


def kept_as_another(samples: Samples) -> str:
    """The attribute of ctx that should be what forward calls by its name; "" where that does not make all right."""
    alone, sample = samples.alone, samples.each[0]
    named, own = names_of_forward(alone, sample), alone.forward(sample.values).ctx.__dict__
    odd = [name for name in own if name not in CTX_OWN and name in named and is_another(own[name], named[name])]
    return next((name for name in odd if is_right_with(samples, name)), "")


def is_right_with(samples: Samples, name: str) -> bool:
    """Whether every gradient is right where ctx keeps under this name what forward calls so."""

    def with_forwards(sample: Sample) -> list[Any]:
        value = names_of_forward(samples.alone, sample).get(name)
        ran = samples.alone.forward(sample.values)
        setattr(ran.ctx, name, value)
        return samples.alone.backward(ran, sample.incoming)

    return samples.are_right(with_forwards)


def is_another(a: Any, b: Any) -> bool:
    """Whether they are of one kind, and differ."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return not is_same(a, b)
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    return numbers and a != b


def is_same(a: Any, b: Any) -> bool:
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return False
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.detach(), b.detach())


def saving_at(alone: Alone, what: str) -> Place | None:
    """Where forward keeps it: `what` is "ctx.name", or "save_for_backward"."""
    found = (source.naming_at(code, what) for code in reversed(alone.forward_codes))
    return next((at for at in found if at is not None), None)
