"""Run one custom Function outside the autograd engine: its forward, then its backward, with slots swapped in between.

This is what makes a value's part in the backward measurable, whatever kind of value it is: run forward at `x + h d`,
put the one value found there into the context of a run at `x`, and see how the backward's answer changes.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import FunctionCtx

from ...locks import cached_property
from ...torch_bridge.calls import Call, plain_copy
from .. import source
from ..runs.alike import State
from ..runs.chance import seed
from .slots import CTX_OWN, Path, Slot, Step, holds_data, put, slots_of, used_names


class AloneCtx(FunctionCtx):
    """A `ctx` for a forward and a backward that are called as plain functions."""

    def __init__(self, call: Call, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self._forward_cls = call.cls

    @property
    def saved_tensors(self) -> tuple:
        return tuple(self.__dict__.get("to_save") or ())

    saved_variables = saved_tensors

    def name(self) -> str:
        return f"{self._forward_cls.__name__}Backward"

    def maybe_clear_saved_tensors(self) -> None:
        pass


@dataclass
class Ran:
    """A forward that was run alone: its context, and the objects that went in and came out."""

    ctx: AloneCtx
    args: list[Any]
    outputs: tuple[Any, ...]
    find: Callable[[AloneCtx], list[Slot]]

    @cached_property
    def slots(self) -> list[Slot]:
        """What backward can reach, as things stand when it is first asked. Ask before backward runs."""
        return self.find(self.ctx)


class Alone:
    """One recorded call, to be run again at other inputs and with other saved values."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.values = [call.args[i] for i in call.differentiated]
        self.needs = tuple(i in call.differentiated for i in range(len(call.args)))
        self.outer = outer_steps(call)
        self.state = State(list(call.args), self.outer)

    # -- what backward can reach ---------------------------------------------------------------------------------

    def find_slots(self, ctx: AloneCtx) -> list[Slot]:
        """All values that backward could read, as things stand."""
        own = ctx.__dict__
        names = [name for name in own if name not in CTX_OWN]
        roots: list[tuple[Path, Any]] = [((Step("name", name, f"ctx.{name}"),), own[name]) for name in names]
        for i, value in enumerate(own.get("to_save") or ()):
            roots.append(((Step("name", "to_save", ""), Step("index", i, f"saved_tensors[{i}]")), value))
        return slots_of(roots + [((step,), step.get(None)) for step in self.outer if step.is_filled])

    @property
    def forward_codes(self) -> list[types.CodeType]:
        """Of forward, and of `setup_context` where somebody wrote one; none where they are no Python code."""
        methods = [self.call.cls.forward, *([self.call.cls.setup_context] if self.call.has_setup else [])]
        return [code for code in map(source.code_of, methods) if code is not None]

    # -- running -------------------------------------------------------------------------------------------------

    def forward(
        self, values: list[torch.Tensor] | None = None, around: Callable | None = None, graph: bool = False
    ) -> Ran:
        """Run forward at `values` (the recorded ones by default); with `graph`, autograd follows what it does.

        `around(run)` may run the forward in its own way, to watch it.
        """
        self.state.restore()
        seed()
        args = [plain_copy(arg) if isinstance(arg, torch.Tensor) else arg for arg in self.call.args]
        for place, value in zip(self.call.differentiated, values or self.values, strict=True):
            args[place] = plain_copy(value).requires_grad_()
        leaves = self.args = list(args)
        ctx = AloneCtx(self.call, self.needs)
        if graph:  # not leaves, so that an in-place forward may change them
            args = [a.clone() if needed else a for a, needed in zip(args, self.needs, strict=True)]

        def run() -> Any:
            with torch.set_grad_enabled(graph):
                return self._forward(ctx, args)

        outputs = around(run, ctx) if around else run()
        return Ran(ctx, leaves, outputs if isinstance(outputs, tuple) else (outputs,), self.find_slots)

    def _forward(self, ctx: AloneCtx, args: list[Any]) -> Any:
        if not self.call.has_setup:
            return self.call.cls.forward(ctx, *args)
        outputs = self.call.cls.forward(*args)
        self.call.cls.setup_context(ctx, tuple(args), outputs)
        return outputs

    def swap(self, ran: Ran, slots: list[tuple[Path, Any]]) -> None:
        """Put other values where these paths lead."""
        for path, value in slots:
            put(ran.ctx.__dict__, path, value)

    def backward(
        self, ran: Ran, incoming: list[Any], graph: bool = False, copies: bool = True
    ) -> list[torch.Tensor | None]:
        """The gradients that backward returns for the differentiated arguments.

        `copies`: of what comes in, since backward may change it in place.
        """
        needed = not copies or graph and any(isinstance(g, torch.Tensor) and g.requires_grad for g in incoming)
        incoming = [plain_copy(g) if isinstance(g, torch.Tensor) and not needed else g for g in incoming]
        boxed = getattr(self.call.cls, "boxed_grads_call", False)
        with torch.set_grad_enabled(graph):
            returned = self.call.backward(ran.ctx, *([incoming] if boxed else incoming))
        returned = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
        return [returned[i] if i < len(returned) else None for i in self.call.differentiated]


class OuterStep(Step):
    """A root that hangs on something other than ctx: a cell of the closure, a class attribute, a global."""

    def __init__(self, root: Any, kind: str, key: Any, label: str) -> None:
        super().__init__(kind, key, label)
        object.__setattr__(self, "root", root)

    @property
    def is_filled(self) -> bool:
        try:
            self.get(None)
        except (ValueError, KeyError, AttributeError):  # an empty cell, a global not set yet
            return False
        return True

    def get(self, holder: Any) -> Any:
        return super().get(self.root)

    def put(self, holder: Any, value: Any) -> Any:
        super().put(self.root, value)
        return holder


def outer_steps(call: Call) -> list[OuterStep]:
    """The closure variables, class attributes and globals that backward, or a method it may call, can use."""
    found = steps_around(_methods(call), call.cls)
    for base in own_bases(call.cls):
        for name, value in list(vars(base).items()):
            if not name.startswith("_") and not callable(value) and not isinstance(value, _DESCRIPTORS):
                found.append(OuterStep(base, "class", name, f"{call.cls.__name__}.{name}"))
    return found


def steps_around(functions: list[types.FunctionType], cls: type | None = None) -> list[OuterStep]:
    """The closure variables, attributes and globals that these functions, or what they call, can use."""
    found = []
    for function in functions:
        found += [OuterStep(function, "cell", i, name) for i, name in enumerate(function.__code__.co_freevars)]
        found += [OuterStep(function, "attr", key, f"{function.__name__}.{key}") for key in vars(function)]
        for space, name, value in used_names(function):
            if holds_data(value) and value is not cls:
                found.append(OuterStep(space, "name", name, name))
    return found


_DESCRIPTORS = (staticmethod, classmethod, property)


def own_bases(cls: type) -> list[type]:
    """The class and those it inherits from that are not PyTorch's."""
    return [base for base in cls.__mro__ if base is not object and not base.__module__.startswith("torch.")]


def _methods(call: Call) -> list[types.FunctionType]:
    functions = [inspect.unwrap(call.backward)]
    for base in own_bases(call.cls):
        for value in vars(base).values():
            functions.append(value.__func__ if isinstance(value, staticmethod | classmethod) else value)
    plain = [f for f in functions if isinstance(f, types.FunctionType) and not f.__name__.startswith("__")]
    return list(dict.fromkeys(plain))
