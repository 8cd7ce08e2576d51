"""A tensor that an operation keeps for its backward, and that is changed in place before: which, by what, and where.

PyTorch says the shape and the version. Run again, with what is kept watched, the statements tell themselves.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...torch_bridge.patches import Watcher, watched_by
from ...torch_private import changes, viewed
from .. import source
from ..measure.holding import held
from ..report import Finding, Place
from ..runs.changed import copied, is_changed
from ..subjects.problem import Problem
from ..subjects.subject import Forward
from .owner import NOT_THE_USERS

SAID = "modified by an inplace operation"
FRAMES = 12  # in which a name for a tensor is looked for


@dataclass
class Kept:
    """A tensor as it was when an operation kept it."""

    tensor: torch.Tensor
    version: int
    name: str
    at: Place | None
    changed_by: str = ""
    changed_at: Place | None = None
    by_optimizer: bool = False
    copy: torch.Tensor | None = None  # where numbers are compared too, since .data is written to past the version

    @property
    def said(self) -> str:
        return self.name or f"a tensor of shape {tuple(self.tensor.shape)}"

    @property
    def changer(self) -> str:
        by = f"`{self.changed_by}`" if self.changed_by else "another operation"
        return by + (f" at line {self.changed_at.first}" if self.changed_at else "")

    @property
    def is_changed(self) -> bool:
        changed = changes(self.tensor) != self.version
        return changed or (self.copy is not None and is_changed(self.tensor, self.copy))


class Keeping(Watcher):
    """Sees what is kept for backward, and after which operation it is no longer what it was."""

    sees_operations = True

    def __init__(self, by_numbers: bool = False) -> None:
        self.by_numbers = by_numbers
        self.kept: list[Kept] = []
        self.overwritten: Kept | None = None
        self.stepping = 0

    def pack(self, tensor: torch.Tensor) -> Kept:
        frame = users_frame()
        at = source.place(frame.f_code, frame.f_lineno) if frame is not None else None
        one = Kept(tensor, changes(tensor), name_in(frame, tensor), at)
        one.copy = copied(tensor) if self.by_numbers else None
        self.kept.append(one)
        return one

    def unpack(self, one: Kept) -> torch.Tensor:
        if one.is_changed and self.overwritten is None:
            self.overwritten = one
        return one.tensor

    def optimizer_steps(self, optimizer: Any, is_over: bool) -> None:
        if not is_over:
            self.stepping += 1
        else:
            self._look(f"{type(optimizer).__name__}.step()")
            self.stepping -= 1

    def operation(self, plain: Callable, func: Callable, args: tuple, kwargs: dict) -> Any:
        result = plain(*args, **kwargs)
        if not self.stepping:
            self._look(getattr(func, "__name__", str(func)))
        return result

    def _look(self, by: str) -> None:
        frame = None
        for one in self.kept:
            if one.is_changed and not one.changed_by:
                frame = frame or users_frame()
                one.name = one.name or name_in(frame, one.tensor)  # what it was assigned to once it was made
                one.changed_by, one.by_optimizer = by, self.stepping > 0
                one.changed_at = source.place(frame.f_code, frame.f_lineno) if frame is not None else None


def overwritten(problem: Problem, told: Finding) -> Finding:
    """The finding, with the tensor, the line that changed it and what to do, where that is what PyTorch objects to."""
    if SAID not in told.sentence:
        return told
    watch = Keeping()
    try:
        with watched_by(watch), torch.autograd.graph.saved_tensors_hooks(watch.pack, watch.unpack):
            leaves, outputs = problem.outputs(problem.values)
            given = [torch.ones_like(out) for out in outputs]
            torch.autograd.grad(outputs, leaves, given, allow_unused=True)
    except Exception:  # what was to be seen may have been seen before
        pass
    one = watch.overwritten
    if one is None:
        return told
    keeper = f"line {one.at.first}, `{one.at.text.strip()}`," if one.at else "an operation"
    sentence = (
        f"backward needs {one.said} as {keeper} read it, and {one.changer} changed it in place before backward ran."
    )
    return replace(
        told,
        sentence=f"{sentence} PyTorch says: {told.sentence}",
        slot=one.name,
        made_at=one.at,
        read_at=one.changed_at or told.read_at,
        fix=STEPPED if one.by_optimizer else IN_PLACE.format(name=one.name or "x"),
    )


def written_past_autograd(problem: Problem, called: str, tolerance: float) -> Finding | None:
    """A tensor that an operation keeps, and that is written to by `.data` or the like, of which no version counter
    tells; where the gradient is right once all that is kept stays as it was."""
    watch = Keeping(by_numbers=True)
    with watched_by(watch), torch.autograd.graph.saved_tensors_hooks(watch.pack, watch.unpack):
        problem.outputs(problem.values)
    one = next((one for one in watch.kept if one.is_changed), None)
    if one is None or not _is_right_with_copies(problem, tolerance):
        return None
    sentence = (
        f"backward reads {one.said}, which was kept for it, and {one.changer} writes other numbers into it before "
        f"backward runs, past autograd (.data, a detached tensor, numpy): no error tells, and the gradient is wrong."
    )
    fix = IN_PLACE.format(name=one.name or "x")
    at = one.changed_at
    return Finding("captured_value_mutated", sentence, called, one.name, one.at, at, order=1, fix=fix)


def _is_right_with_copies(problem: Problem, tolerance: float) -> bool:
    own = problem.fn

    def kept(*args: Any) -> Any:
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x.detach().clone(), lambda x: x):
            return own(*args)

    problem.fn = kept
    try:
        return held(Forward(problem), tolerance).ok
    finally:
        problem.fn = own


STEPPED = (
    "# call backward for every loss that was computed with the old weights before any optimizer.step(),\n"
    "# or compute the loss again after the step"
)
IN_PLACE = "{name} = {name} + ...  # out of place: no trailing underscore, no +=, no out=; or change {name}.clone()"


def users_frame() -> types.FrameType | None:
    """The innermost frame that is neither PyTorch's nor ours."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(NOT_THE_USERS):
        frame = frame.f_back
    return frame


def name_in(frame: types.FrameType | None, tensor: torch.Tensor) -> str:
    """What somebody calls it: a local variable, or a parameter of a module that one is; of a view, what it views."""
    owner = viewed(tensor)
    wanted = [tensor, *([owner] if owner is not None else [])]
    for _ in range(FRAMES):
        if frame is None:
            break
        if not frame.f_code.co_filename.startswith(NOT_THE_USERS):
            for name, value in frame.f_locals.items():
                if any(value is x for x in wanted):
                    return name
                if isinstance(value, torch.nn.Module):
                    found = next((p for p, x in value.named_parameters() if any(x is y for y in wanted)), "")
                    if found:
                        return f"{name}.{found}"
        frame = frame.f_back
    return ""
