"""The modules of a recorded run: paths of modules, names of parameters, and what they hold at the end."""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from simplegrad.torch_bridge.operations import measure, own_part
from simplegrad.torch_bridge.rows import HeldRow, Recorder
from simplegrad.torch_bridge.where import OWN, Context, Site, kind_of
from simplegrad.torch_private import DisableTorchFunction, hooks_on, own_buffers, own_parameters, submodules

TINY, HUGE = 1e-6, 1e3
MOST_ROWS = 100_000
_PLAIN = (bool, int, float, str, bytes, type(None), type, torch.dtype, torch.device)


class Seen:
    """A module of the run; it holds none alive. `path`: as in named_modules(), "" for the model itself. `is_torchs`:
    torch wrote its class."""

    __slots__ = ("cls", "is_torchs", "path", "reference")

    def __init__(self, module: nn.Module, path: str | None) -> None:
        self.cls, self.path, self.reference = type(module), path, weakref.ref(module)
        self.is_torchs = _is_torchs(self.cls)


class Models:
    """`roots`: the modules that were given, or those whose forward was seen to run in no other."""

    def __init__(self, roots: list[nn.Module], given: Mapping[str, torch.Tensor], log: list[tuple]) -> None:
        self.roots: list[tuple[str, nn.Module]] = []
        self.given, self.log = given, log
        self.modules: dict[int, Seen] = {}
        self.names: dict[int, tuple[weakref.ref, str]] = {}
        self.is_resolved = False
        self.holders: dict[int, tuple[str, dict[int, torch.Tensor]]] = {}  # optimisers: name, parameters by id
        self.finds = not roots
        for i, root in enumerate(roots):
            self.add_root(root, "" if len(roots) == 1 else local_name(root, sys._getframe(2)) or str(i))

    # -- names -----------------------------------------------------------------------------------------------------

    def add_root(self, root: nn.Module, path: str) -> None:
        self.roots.append((path, root))
        self.is_resolved = False

    def resolve(self) -> None:
        """Paths of all modules and names of their parameters: looked up when first needed, not while they run."""
        if self.is_resolved:
            return
        self.is_resolved = True
        for path, root in self.roots:
            self.learn(root, path)
        for seen in list(self.modules.values()):
            module = seen.reference()
            if seen.path is None and module is not None:
                self.learn(module, seen.cls.__name__)  # of none of the modules that were given

    def learn(self, module: nn.Module, path: str) -> None:
        """Paths of what is below a module, and names of its parameters and buffers."""
        names, modules = self.names, self.modules
        for at, each, *_ in modules_below(module, path):
            seen = modules.get(id(each))
            if seen is None or seen.reference() is not each:
                seen = modules[id(each)] = Seen(each, at)
            elif seen.path is None:
                seen.path = at
            below = f"{at}." if at else ""
            for tensors in (own_parameters(each), own_buffers(each)):
                for name, tensor in tensors.items() if tensors else ():
                    known = None if tensor is None else names.get(id(tensor))
                    if tensor is not None and (known is None or known[0]() is not tensor):
                        names[id(tensor)] = weakref.ref(tensor), below + name

    def entry(self, module: nn.Module) -> Seen:
        found = self.modules.get(id(module))
        if found is None or found.reference() is not module:
            found = self.modules[id(module)] = Seen(module, None)
            self.is_resolved = False
        return found

    def seen(self, module: nn.Module, name: str) -> None:
        """A local variable of the code that starts a pass holds it."""
        if self.finds and self.entry(module).path is None and not any(root is module for _, root in self.roots):
            self.resolve()
            if self.entry(module).path is None or self.entry(module).path == type(module).__name__:
                self.entry(module).path = None
                self.add_root(module, name)

    def name_of(self, tensor: torch.Tensor) -> str:
        found = self.names.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else ""

    def runs(self, module: nn.Module, outer: Context | None) -> Seen:
        """A module whose forward begins."""
        found = self.modules.get(id(module))
        if found is not None and found.reference() is module:
            return found
        if self.finds and outer_module(outer) is None:
            self.add_root(module, local_name(module, sys._getframe(2)) or type(module).__name__)
        return self.entry(module)

    # -- what changes ----------------------------------------------------------------------------------------------

    def attribute_set(self, module: nn.Module, name: str, value: Any, where: Site, recorder: Recorder) -> None:
        if not self.is_resolved:
            self.resolve()
        owner = self.modules.get(id(module))
        if owner is None or owner.path is None or owner.reference() is not module:
            return  # it is still being made, or no part of a model that is watched
        path, was = joined(owner.path, name), getattr(module, name, None)
        is_tensor = isinstance(value, torch.Tensor)
        changed = [(path, was, value)] if is_tensor else list(_pairs(path, was, value))
        with DisableTorchFunction():
            number = recorder.tensors.number
            rows = [
                (at, number(old) if isinstance(old, torch.Tensor) else None, number(new)) for at, old, new in changed
            ]
        self.log.append(("attribute", path, rows, where))
        if is_tensor:
            self.names[id(value)] = weakref.ref(value), path
        else:
            self.learn(value, path)

    def optimized(self, optimizer: Any, parameters: list[torch.Tensor]) -> None:
        if id(optimizer) not in self.holders or len(self.holders[id(optimizer)][1]) != len(parameters):
            self.holders[id(optimizer)] = type(optimizer).__name__, {id(p): p for p in parameters}

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self, recorder: Recorder) -> None:
        """A row with what all modules hold."""
        with DisableTorchFunction():
            indices = {id(leaf): index for index, leaf in recorder.leaves.items()}
            reader = _Reader(recorder, self.holders, indices)
            rows = [reader.row(*each) for path, root in self.roots for each in tensors_below(root, path)]
        self.log.append(("held", rows))
        self.holders.clear()
        self.roots = []


class _Reader:
    def __init__(self, recorder: Recorder, holders: dict, indices: dict[int, int]) -> None:
        self.recorder, self.holders, self.indices = recorder, holders, indices

    def row(self, path: str, kind: str, tensor: torch.Tensor, owner: tuple[type, str]) -> HeldRow:
        tensors = self.recorder.tensors
        retains = not tensor.is_leaf and tensor.retains_grad
        grad = own_part(tensor.grad) if tensor.is_leaf or retains else None
        norm, flaw = (None, None) if grad is None else self.measured(tensor, grad)
        number = tensors.known(tensor)
        indexed = grad is not None and number in self.recorder.indexed and tensor.dim() > 1
        state = state_of(grad, norm, flaw)
        return HeldRow(
            path,
            kind,
            number,
            tuple(tensor.shape),
            tensor.dtype,
            tensor.requires_grad,
            tensor.is_leaf,
            retains,
            state,
            norm,
            zero_rows(grad) if indexed and state != "zero" and not grad.is_sparse else (),
            share_of_zeros(grad, norm),
            *owner,
            hooks_of(tensor),
            tuple([name for name, held in self.holders.values() if held.get(id(tensor)) is tensor]),
        )

    def measured(self, tensor: torch.Tensor, grad: torch.Tensor) -> tuple:
        index = self.indices.get(id(tensor))
        norm, flaw = measure(grad) if index is None else self.recorder.grad_of(index)
        return (float(norm), flaw) if isinstance(norm, torch.Tensor) else (norm, flaw)


def state_of(grad: torch.Tensor | None, norm: float | None, flaw: str | None) -> str:
    """none, zero, nan, tiny (largest below 1e-6), huge (largest above 1e3), or value."""
    if grad is None:
        return "none"
    if flaw or (norm is not None and not abs(norm) < float("inf")):
        return "nan"
    if norm is None:
        return "value"
    if norm == 0:
        return "zero"
    if norm < TINY * grad.numel() ** 0.5 or norm > HUGE:
        largest = norm if grad.is_sparse or grad.is_meta else grad.abs().max().item()
        return "tiny" if largest < TINY else "huge" if largest > HUGE else "value"
    return "value"


def share_of_zeros(grad: torch.Tensor | None, norm: float | None) -> float | None:
    """None where numbers are not looked at. On a device it would wait for the device once more for each parameter."""
    if grad is None or norm is None or grad.is_sparse or not grad.numel():
        return None
    if norm == 0:
        return 1.0
    return 1 - _nonzeros(grad) / grad.numel() if grad.device.type == "cpu" else None


def _nonzeros(tensor: torch.Tensor) -> int:
    """Of a large one torch's own count takes several times as long as numpy's."""
    count, kinds = tensor.numel(), _IN_MEMORY.get(tensor.dtype)
    if count <= 8192 or kinds is None or type(tensor) is not torch.Tensor or not tensor.is_contiguous():
        return int(tensor.detach().count_nonzero())
    # Not tensor.numpy(): that marks the memory as shared, and a program could no longer resize it.
    numbers = np.frombuffer((kinds[0] * count).from_address(tensor.data_ptr()), kinds[1])
    return int(np.count_nonzero(numbers != 0))


_IN_MEMORY = {torch.float32: (ctypes.c_float, np.float32), torch.float64: (ctypes.c_double, np.float64)}


def zero_rows(grad: torch.Tensor) -> tuple[int, ...]:
    if grad.shape[0] > MOST_ROWS:
        return ()
    return tuple((~grad.flatten(1).any(1)).nonzero().flatten().tolist())


def hooks_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Code of what was registered on a leaf."""
    codes = [getattr(hook, "__code__", None) for hook in hooks_on(tensor)]
    return tuple([code for code in codes if code is not None and kind_of(code.co_filename) == OWN])


def modules_below(root: nn.Module, path: str) -> Iterator[tuple[str, nn.Module, nn.Module | None, str]]:
    """(path, module, the one that it is in, its name there), in the order of named_modules() and several times as
    fast: a recording begins and ends with it."""
    todo: list[tuple] = [(path, root, None, "")]
    seen: set[int] = set()
    while todo:
        at, module, _, _ = here = todo.pop()
        if module is None or id(module) in seen:
            continue
        seen.add(id(module))
        yield here
        if below := submodules(module):
            todo += reversed([(joined(at, name), each, module, name) for name, each in below.items()])


@lru_cache(maxsize=4096)
def _is_torchs(cls: type) -> bool:
    return cls.__module__.startswith("torch.nn.modules.")


def parameters_of(module: nn.Module) -> list[nn.Parameter]:
    """As `parameters()` gives them; several times as fast where a class has not written its own."""
    cls = type(module)
    if cls.parameters is not nn.Module.parameters or cls.named_parameters is not nn.Module.named_parameters:
        return list(module.parameters())
    held = [p for _, each, *_ in modules_below(module, "") for p in own_parameters(each).values() if p is not None]
    return list({id(parameter): parameter for parameter in held}.values())


def tensors_below(root: nn.Module, path: str) -> Iterator[tuple]:
    """(path, kind, tensor, (class, name): who of the user's own classes holds it, or what it is in, and as what)."""
    owners: dict[int, tuple[type, str] | None] = {}  # of a module, by its id
    for at, module, outer, called in modules_below(root, path):
        cls, around = type(module), None
        if outer is not None:
            around = (type(outer), called) if _is_own(type(outer)) else owners[id(outer)]
        owners[id(module)] = around
        if _is_own(cls):
            around = None
        for name, tensor in own_parameters(module).items():
            if tensor is not None:
                yield joined(at, name), "parameter", tensor, around or (cls, name)
        for name, tensor in own_buffers(module).items():
            if tensor is not None:
                yield joined(at, name), "buffer", tensor, around or (cls, name)
        for name, value in vars(module).items():
            if name[0] != "_" and type(value) not in _PLAIN:
                yield from _attributes(joined(at, name), "attribute", around or (cls, name), value)


@lru_cache(maxsize=4096)
def _is_own(cls: type) -> bool:
    """Whether a person wrote it, and not torch."""
    return not cls.__module__.startswith("torch.")


def _attributes(path: str, kind: str, owner: tuple[type, str], value: Any, depth: int = 3) -> Iterator[tuple]:
    if isinstance(value, torch.Tensor):
        yield path, kind, value, owner
    elif isinstance(value, nn.Module):
        for inner, parameter in value.named_parameters():
            yield joined(path, inner), "listed", parameter, owner
    elif depth and isinstance(value, list | tuple | dict):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in list(items)[:1000]:
            if type(each) not in _PLAIN:
                yield from _attributes(f"{path}.{key}", "listed", owner, each, depth - 1)


def _pairs(path: str, was: Any, module: nn.Module) -> Iterator[tuple]:
    """Each parameter of a module that becomes an attribute, with the one that it takes the place of."""
    old = dict(was.named_parameters()) if isinstance(was, nn.Module) else {}
    for name, parameter in module.named_parameters():
        yield joined(path, name), old.get(name), parameter


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def local_name(thing: Any, frame: Any) -> str:
    """What the innermost own frame calls it, or ""."""
    while frame is not None and kind_of(frame.f_code.co_filename) != OWN:
        frame = frame.f_back
    return next((name for name, value in locals_of(frame) if value is thing), "") if frame is not None else ""


def locals_of(frame: Any) -> list[tuple[str, Any]]:
    """The local variables, without leaving behind the copy of them that a frame keeps (until Python 3.13)."""
    found = list(frame.f_locals.items())
    if frame.f_code.co_flags & 1 and isinstance(frame.f_locals, dict):  # optimised: those of a function
        frame.f_locals.clear()
    return found


def outer_module(context: Context | None) -> Seen | None:
    """The innermost module that runs."""
    while context is not None and context.kind != "module":
        context = context.outer
    return context.what if context is not None else None
