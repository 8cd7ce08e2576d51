"""What forward or backward raises: a fault, or a second derivative that is refused in so many words."""

from __future__ import annotations

import traceback
from typing import Any

import torch

from ...torch_bridge.calls import Call
from .. import source
from ..report import Finding, Place
from ..words import first_line, ordinal, said_by
from .owner import NOT_THE_USERS, user_line
from .returned import refused


def raised(error: Exception, name: str, level: int, calls: list[Call] = (), is_forward: bool = False) -> Finding:
    """Forward or backward raised an error."""
    when = f"the {ordinal(level)} derivative"
    if level == 1:
        when = "forward" if is_forward else "backward (with create_graph=True)"
    sentence = f"{when} raises {said_by(error)}"
    where, wrong = user_line(error), refused(calls)
    if where is None and wrong is not None:  # PyTorch objected once backward had returned
        return Finding(
            wrong.code,
            f"{wrong.sentence}. PyTorch says: {first_line(error)}",
            entry=wrong.call.name,
            read_at=wrong.at,
            order=level,
            fix=wrong.fix,
        )
    device = next((call.autocast for call in calls if call.autocast), "")
    fix = AUTOCAST.format(device=device) if device and "dtype" in sentence and not is_forward else ""
    return Finding("raises", sentence, entry=name, read_at=where, order=level, fix=fix)


AUTOCAST = """# forward ran under torch.autocast, and backward runs without it unless both are decorated
@torch.amp.custom_fwd(device_type="{device}")
def forward(ctx, ...):
@torch.amp.custom_bwd(device_type="{device}")
def backward(ctx, ...):"""


def heading_of(fn: Any) -> Place | None:
    """Where a person's function begins: a Function's forward, a module's, or the function itself."""
    owner = getattr(fn, "__self__", None)
    is_apply = isinstance(owner, type) and issubclass(owner, torch.autograd.Function)
    code = source.code_of(owner.forward if is_apply else fn.forward if isinstance(fn, torch.nn.Module) else fn)
    return None if code is None or code.co_filename.startswith(NOT_THE_USERS) else source.heading(code)


# what autograd says where a backward computes in a way that it cannot follow: loud, whoever meant it
REFUSALS = (
    "once_differentiable",
    "not implemented",
    "Can't call numpy() on Tensor",
    "modified by an inplace operation",
    "don't support automatic differentiation",
    "no autograd formula was registered",
)


def is_refusal(error: Exception) -> bool:
    """Whether a backward says itself that it goes no further: by a `raise` of its own, or where autograd ends."""
    if isinstance(error, NotImplementedError):
        return True
    said = str(error)
    if any(words in said for words in REFUSALS):
        return True
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(NOT_THE_USERS)]
    return bool(frames) and (frames[-1].line or "").lstrip().startswith(("raise ", "raise(", "assert "))


def first_order_only(error: Exception, name: str, level: int) -> Finding:
    """Loud, as it should be: no number comes out that could be wrong."""
    return Finding(
        "first_order_only",
        f"the {ordinal(level)} derivative of {name} is refused: {said_by(error)}",
        entry=name,
        read_at=user_line(error),
        order=level,
    )
