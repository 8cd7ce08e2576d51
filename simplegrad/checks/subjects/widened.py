"""Everything in double precision, also what a Function itself casts down.

What is kept in half precision moves in steps: differences see none of it, and a value that escaped that way would pass
for a constant. `with Widened():` makes such casts keep what they were given, in double precision.
"""

from __future__ import annotations

import contextlib
import functools
from contextlib import suppress
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from ...torch_bridge.calls import Call
from ...torch_bridge.patches import Watcher, watched_by
from ...torch_private import TorchDispatchMode, modes_as_before
from .alone import Alone

WIDE = {dtype: torch.float64 for dtype in (torch.float16, torch.bfloat16, torch.float32)}
WIDE |= {getattr(torch, name): torch.float64 for name in dir(torch) if name.startswith("float8_")}
WIDE |= {dtype: torch.complex128 for dtype in (torch.complex32, torch.complex64)}


class Widened(TorchDispatchMode):
    """`casts`: how often something narrower was asked for."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch would load its compiler, for a second and more, to say that it should not compile this."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.casts = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("dtype") in WIDE:
            kwargs = kwargs | {"dtype": WIDE[kwargs["dtype"]]}
            self.casts += 1
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.dtype in WIDE and not _holds_tensor((*args, *kwargs.values())):
            return result.to(WIDE[result.dtype])  # made of the default precision: torch.ones(3)
        return result


def _holds_tensor(given: tuple) -> bool:
    parts = [part for x in given for part in (x if isinstance(x, list | tuple) else (x,))]
    return any(isinstance(part, torch.Tensor) for part in parts)


class Pretended(TorchFunctionMode):
    """Tensors in double precision that say they have another, for a kernel that takes only that.

    What it computes is then what its formulas say, without the rounding. Kernels that read memory themselves cannot be
    led on so; they raise, or see numbers of another size.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.default = dtype
        self.told: Any = WeakIdKeyDictionary()  # what else a tensor says it has, since it was cast to it
        self.around = contextlib.ExitStack()

    def __enter__(self) -> Pretended:
        self.around.enter_context(Widened())
        self.around.enter_context(watched_by(_InBackward(self)))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.around.close()

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func == _DTYPE:
            return self.says(args[0])
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            says = _asked_for(func, args, kwargs) or self._of_all(args)
            if says is not self.default:
                self.told[result] = says
        return result

    def says(self, tensor: torch.Tensor) -> torch.dtype:
        real = _DTYPE(tensor)
        return self.told.get(tensor, self.default) if real is torch.float64 else real

    def _of_all(self, args: tuple) -> torch.dtype:
        found = [self.says(x) for x in args if isinstance(x, torch.Tensor) and x.is_floating_point()]
        return functools.reduce(torch.promote_types, found) if found else self.default


class _InBackward(Watcher):
    """A pass runs without the function modes that are open around it: here is this one again."""

    sees_modules = False

    def __init__(self, mode: Pretended) -> None:
        self.mode = mode

    def apply_node(self, plain: Any, node: Any, grads: tuple) -> Any:
        TorchFunctionMode.__enter__(self.mode)
        try:
            return plain(node, *grads)
        finally:
            TorchFunctionMode.__exit__(self.mode, None, None, None)


_DTYPE = torch.Tensor.dtype.__get__  # a function mode is asked for this too
_BY_NAME = {"float": torch.float32, "half": torch.float16, "bfloat16": torch.bfloat16, "double": torch.float64}


def _asked_for(func: Any, args: tuple, kwargs: dict) -> torch.dtype | None:
    """The precision that a call asks for by name, where it does."""
    given = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.dtype)]
    return next(iter(given), None) or (_BY_NAME.get(getattr(func, "__name__", "")) if len(args) == 1 else None)


def casts_down(call: Call) -> bool:
    """Whether forward or backward asks for something narrower than double."""
    with (
        modes_as_before(),
        suppress(Exception),
        Widened() as mode,
    ):  # it may insist on that, or need the engine around it
        alone = Alone(call)
        alone.backward(alone.forward(), call.incoming)
    return mode.casts > 0
