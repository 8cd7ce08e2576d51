"""Which calls of custom Functions and operators a run makes, each distinct one kept once, with its own arguments.

Two calls are alike where Function, autocast, shapes, dtypes and other properties of the tensors and all values that are
no tensors are. Only the first of them is copied, before it runs: what changes its arguments later changes no copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ...torch_bridge.calls import Call, caller
from ...torch_bridge.patches import Watcher
from ...torch_private import GENERATED, is_wrapped, tree_flatten, tree_unflatten
from ..measure.numbers import requires_grad
from ..report import Place
from ..source import place
from ..subjects.operator import as_written

MOST_CALLS, MOST_OF_ONE = 64, 16  # distinct calls: in all, of one Function
COMPILED = "CompiledFunction"  # what torch.compile makes of code


@dataclass
class Kept:
    """A distinct call. `flat`, `spec`: its arguments, taken out of their containers; `count`: how often it came."""

    cls: type
    flat: list[Any]
    spec: Any
    wanted: frozenset[int]  # places in `flat` of what required grad
    autocast: tuple[str, torch.dtype] | None = None
    caller: tuple[Any, int] | None = None  # code and line of who called it
    count: int = 1

    @property
    def name(self) -> str:
        return self.cls.__name__

    @property
    def called_at(self) -> Place | None:
        return place(self.caller[0].co_filename, self.caller[1]) if self.caller is not None else None

    def arguments(self, flat: list[Any] | None = None) -> tuple[Any, ...]:
        """What the Function is called with; `flat`: a part of it."""
        leaves = list(self.flat if flat is None else flat)
        for i in self.wanted:
            leaves[i] = leaves[i].detach().requires_grad_()
        return tree_unflatten(leaves, self.spec)

    @property
    def shapes(self) -> str:
        return shapes_of(self.flat)


def shapes_of(flat: list[Any]) -> str:
    return " ".join(str(tuple(x.shape)) for x in flat if isinstance(x, torch.Tensor))


@dataclass
class LeftOut:
    """Calls of one Function that are not judged, and why."""

    name: str
    why: str
    count: int = 1

    def as_json(self) -> dict:
        return {"name": self.name, "why": self.why, "count": self.count}


@dataclass
class Keeping(Watcher):
    """Keeps the calls that are made while `is_on`. `most_bytes`: of all copies together."""

    most_calls: int = MOST_CALLS
    most_bytes: int = 256 << 20
    is_on: bool = True
    kept: dict[Any, Kept] = field(default_factory=dict)
    left: dict[tuple[str, str], LeftOut] = field(default_factory=dict)
    bytes: int = 0

    sees_modules = False

    def apply_function(self, plain: Callable, cls: type, args: tuple, kwargs: dict) -> Any:
        if not self.is_on or not torch.is_grad_enabled() or (why := why_not(cls)) is None:
            return plain(*args, **kwargs)
        if why:
            self.leave_out(cls.__name__.removesuffix("Backward"), why)
            return plain(*args, **kwargs)
        kept = self.seen(cls, args)
        result = plain(*args, **kwargs)
        if kept is not None and _is_followed(result):
            self.enter(*kept)
        return result

    def seen(self, cls: type, args: tuple) -> tuple[Any, Kept] | None:
        """A copy of a call that nothing like it was kept of; one that is known is counted."""
        autocast = _autocast()
        key = (cls, autocast, *map(kind_of, args))
        if key in self.kept:
            self.kept[key].count += 1
            return None
        flat, spec = tree_flatten(tuple(args))
        wanted = frozenset(i for i, x in enumerate(flat) if requires_grad(x))
        if not wanted or any(isinstance(x, torch.Tensor) and is_wrapped(x) for x in flat):
            if wanted:
                self.leave_out(cls.__name__, IN_TRANSFORM)
            return None
        if not self.has_room(cls, flat):
            return None
        copies = [x.detach().clone() if isinstance(x, torch.Tensor) else x for x in flat]
        return key, Kept(cls, copies, spec, wanted, autocast, caller())

    def enter(self, key: Any, kept: Kept) -> None:
        self.bytes += sum(map(bytes_of, kept.flat))
        self.kept[key] = kept

    def has_room(self, cls: type, flat: list[Any]) -> bool:
        """Whether another call is within the limits; one that is not is told."""
        size = sum(map(bytes_of, flat))
        if len(self.kept) >= self.most_calls:
            self.leave_out(cls.__name__, f"the limit of {self.most_calls} distinct calls was reached")
        elif sum(each.cls is cls for each in self.kept.values()) >= MOST_OF_ONE:
            self.leave_out(cls.__name__, f"{MOST_OF_ONE} distinct calls of it are judged, the most of one Function")
        elif self.bytes + size > self.most_bytes:
            megabytes = f"{self.most_bytes >> 20} MB"
            self.leave_out(cls.__name__, f"its arguments did not fit into the {megabytes} that copies may take")
        else:
            return True
        return False

    def leave_out(self, name: str, why: str) -> None:
        known = self.left.get((name, why))
        if known is not None:
            known.count += 1
        else:
            self.left[name, why] = LeftOut(name, why)


IN_TRANSFORM = "it was called inside of a transform of torch.func (vmap, grad, jvp)"
OF_COMPILER = "it was made by torch.compile, whose code is not judged"


def why_not(cls: type) -> str | None:
    """Empty for what a person wrote, an operator's backward included; else why it is not judged. None for torch's own,
    which nobody asks about (a checkpoint: what it calls is seen by itself)."""
    if not cls.__module__.startswith("torch.") or cls.__name__.startswith(GENERATED):
        return ""
    if not cls.__module__.startswith("torch._functorch."):
        return None
    return OF_COMPILER if cls.__name__ == COMPILED else IN_TRANSFORM


def as_call(kept: Kept) -> Kept:
    """The same, of an operator of torch.library as the Function that its author wrote."""
    args = kept.arguments()
    wanted = tuple(i for i, x in enumerate(args) if requires_grad(x))
    written = as_written(Call(kept.cls, args, (), None, wanted))
    if written.cls is kept.cls:
        return kept
    flat, spec = tree_flatten(tuple(written.args))
    where = frozenset(i for i, x in enumerate(flat) if requires_grad(x))
    return Kept(written.cls, flat, spec, where, kept.autocast, kept.caller, kept.count)


def kind_of(value: Any) -> Any:
    """What tells one argument from another: values of what is no tensor, all but the numbers of a tensor."""
    if isinstance(value, torch.Tensor):
        return type(value), value.shape, value.dtype, value.device.type, value.layout, value.requires_grad
    if isinstance(value, list | tuple):
        return (type(value), *map(kind_of, value))
    if isinstance(value, dict):
        return (dict, *((repr(key), kind_of(each)) for key, each in value.items()))
    if value is None or isinstance(value, bool | int | float | complex | str | torch.dtype | torch.device):
        return type(value), repr(value)
    return type(value), getattr(value, "__qualname__", "")


def bytes_of(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0


def _is_followed(result: Any) -> bool:
    """Whether autograd follows any of it."""
    return any(requires_grad(out) for out in (result if isinstance(result, tuple) else (result,)))


def _autocast() -> tuple[str, torch.dtype] | None:
    for device in ("cuda", "cpu"):
        if torch.is_autocast_enabled(device):
            return device, torch.get_autocast_dtype(device)
    return None
