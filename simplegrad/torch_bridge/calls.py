"""Which custom Functions a run calls, with what arguments, and which gradients come in to their backward."""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.autograd import function as autograd_function

from simplegrad.torch_bridge.patches import Watcher, watched_by
from simplegrad.torch_private import node_class


@dataclass
class Call:
    """One `Function.apply` of a run that autograd recorded."""

    cls: type
    args: tuple[Any, ...]  # tensors are copies from before the call, which may change its arguments in place
    outputs: tuple[Any, ...]
    node: Any  # the autograd node, which is the `ctx`
    differentiated: tuple[int, ...]  # places of the arguments that required grad
    incoming: list[Any] | None = None  # gradients its backward was given, once it ran
    returned: list[Any] = field(default_factory=list)
    autocast: str = ""  # the kind of device for which torch.autocast was on when it was called

    @property
    def name(self) -> str:
        return self.cls.__name__

    @property
    def backward(self) -> Callable:
        """The user's backward as it stands in the class, decorators included."""
        vjp = self.cls.vjp
        return self.cls.backward if vjp is torch.autograd.Function.vjp else vjp

    @property
    def has_run(self) -> bool:
        """Whether its backward was called, and returned."""
        return self.incoming is not None

    @property
    def is_guarded(self) -> bool:
        """Whether the backward is wrapped in `once_differentiable`."""
        function = self.backward
        while function is not None and not _is_guard(function):
            function = getattr(function, "__wrapped__", None)
        return function is not None

    @property
    def has_setup(self) -> bool:
        return self.cls.setup_context is not torch.autograd.Function.setup_context

    @property
    def parameter_names(self) -> list[str]:
        """What forward calls its arguments, for naming inputs."""
        if (names := getattr(self.cls, "argument_names", None)) is not None:  # of lists taken apart
            return names
        plain, rest = positional(inspect.unwrap(self.cls.forward))
        plain = plain if self.has_setup else plain[1:]
        return [plain[i] if i < len(plain) else f"{rest}[{i - len(plain)}]" for i in range(len(self.args))]


def positional(function: Callable) -> tuple[list[str], str]:
    """The names of a function's positional parameters, and that of the rest of them, "input" where it has none."""
    code = getattr(function, "__code__", None)
    if isinstance(function, types.FunctionType) and not hasattr(function, "__signature__"):  # inspect takes 0.1 ms
        rest = code.co_argcount + code.co_kwonlyargcount
        has_rest = code.co_flags & inspect.CO_VARARGS
        return list(code.co_varnames[: code.co_argcount]), code.co_varnames[rest] if has_rest else "input"
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return [], "input"
    names = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names, next((p.name for p in found if p.kind == p.VAR_POSITIONAL), "input")


def _is_guard(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    ours = code is not None and code.co_filename == autograd_function.__file__
    return ours and hasattr(function, "__wrapped__")


class Recording(Watcher):
    """The calls seen while `recorded_calls` was open; as long as `within` is set, those too that a backward makes."""

    sees_modules = False

    def __init__(self, within: bool) -> None:
        self.calls: list[Call] = []
        self.within = within
        self.nested: list[tuple[type, types.CodeType, int]] = []  # given tensors inside of containers, and by whom
        self.applies = 0  # how many are running
        self.backwards = 0

    @property
    def is_outermost(self) -> bool:
        return self.applies == 0 and (self.within or self.backwards == 0)

    def apply_function(self, plain: Callable, cls: type, args: tuple, kwargs: dict) -> Any:
        outermost = self.is_outermost
        before = _copied(args) if outermost else args
        wanted = tuple(i for i, arg in enumerate(args) if _differentiated(arg))
        self.applies += 1
        try:
            outputs = plain(*args, **kwargs)
        finally:
            self.applies -= 1
        if outermost:
            self.enter(cls, before, wanted, outputs)
            if any(_holds_followed(arg) for arg in args):
                self.nested.append((cls, *caller()))
        return outputs

    def apply_node(self, plain: Callable, node: Any, grads: tuple) -> Any:
        self.backwards += 1
        try:
            returned = plain(node, *grads)
        finally:
            self.backwards -= 1
        self.ran(node, grads, returned)
        return returned

    def enter(self, cls: type, args: tuple, wanted: tuple[int, ...], outputs: Any) -> None:
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        tensors = [out for out in several if isinstance(out, torch.Tensor)]
        node = next((out.grad_fn for out in tensors if out.grad_fn is not None), None)
        node = _node_of(cls, node)
        if node is not None and wanted:
            on = next((kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)), "")
            self.calls.append(Call(cls, args, several, node, wanted, autocast=on))

    def ran(self, node: Any, incoming: tuple, returned: Any) -> None:
        for call in self.calls:
            if call.node is node and call.incoming is None:
                call.incoming = [None if g is None else g.detach() for g in incoming]
                call.returned = list(returned) if isinstance(returned, tuple | list) else [returned]


def _node_of(cls: type, node: Any) -> Any:
    """The Function's own node: an output that is a view or was changed in place shows one in front of it."""
    for _ in range(4):
        if node is None or isinstance(node, node_class(cls)):
            return node
        node = node.next_functions[0][0] if node.next_functions else None
    return None


def _differentiated(arg: Any) -> bool:
    return isinstance(arg, torch.Tensor) and arg.requires_grad and (arg.is_floating_point() or arg.is_complex())


def _holds_followed(arg: Any, depth: int = 3) -> bool:
    """Whether a container holds a tensor that requires grad: autograd follows direct arguments only."""
    if not depth or not isinstance(arg, list | tuple | dict):
        return False
    items = arg.values() if isinstance(arg, dict) else arg
    return any(_differentiated(x) or _holds_followed(x, depth - 1) for x in items)


def caller() -> tuple[types.CodeType, int]:
    """Who called `apply`: the code and line nearest in the stack that are neither ours nor torch's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THEIRS):
        frame = frame.f_back
    return frame.f_code, frame.f_lineno


_NOT_THEIRS = (
    str(Path(torch.__file__).parent),
    str(Path(__file__).parent),
    str(Path(__file__).parent.parent / "checks"),
)


def _copied(args: tuple) -> tuple:
    return tuple(plain_copy(arg) if isinstance(arg, torch.Tensor) else arg for arg in args)


def plain_copy(tensor: torch.Tensor) -> torch.Tensor:
    """The same values, layout and subclass, on their own."""
    return tensor.detach().clone()


@contextlib.contextmanager
def recorded_calls(within: bool = False) -> Iterator[Recording]:
    """Note every outermost call of a custom Function in this context, and the gradients that reach its backward.

    `within`: calls that a backward makes are noted too, where the function under check takes gradients itself.
    """
    recording = Recording(within)
    with watched_by(recording):
        yield recording
