"""Everything a `backward` can reach: the tensors, arrays and numbers it may read, each with the path it is read by.

A custom Function can keep a value in `save_for_backward`, in an attribute of `ctx`, in containers and objects in
there, in a closure, in a module, in a class attribute or in a global. `reachable` lists them all under names a person
would write (`ctx.cache['a'][0]`), and `put` swaps one for another value without touching the rest.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import inspect
import types
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...torch_private import PARTS

DEEPEST = 7
MOST = 4000
# What FunctionCtx keeps for itself.
CTX_OWN = {
    "to_save",
    "saved_for_forward",
    "non_differentiable",
    "dirty_tensors",
    "materialize_grads",
    "needs_input_grad",
    "saved_tensors",
    "_forward_cls",
}
LIBRARIES = ("torch", "numpy", "builtins", "functools", "collections", "contextlib", "inspect", "typing", "math")
# Whose objects belong to several threads at once: a lock or a queue that is put back to what it was stops somebody.
SHARED = ("threading", "_thread", "queue", "_queue", "asyncio", "concurrent", "multiprocessing", "logging", "socket")
LIBRARIES += (*SHARED, "subprocess", "contextvars", "io", "_io")


@dataclass(frozen=True)
class Step:
    """One step of a path: how to read a child of a container, and how to replace it."""

    kind: str  # attr, slot, item, index, name, cell, class, args, module
    key: Any
    label: str

    def get(self, holder: Any) -> Any:
        if self.kind == "item":
            return _at(holder, self.key)[1]
        if self.kind in ("index", "name"):
            return holder[self.key]
        if self.kind == "cell":
            return holder.__closure__[self.key].cell_contents
        if self.kind == "args":
            return holder.args
        if self.kind == "weak":
            return holder()
        return holder.__dict__[self.key] if self.kind == "attr" else getattr(holder, self.key)

    def put(self, holder: Any, value: Any) -> Any:
        """Replace the child; the holder itself, or a changed copy of it where it cannot be changed."""
        if self.kind == "item":
            holder[_at(holder, self.key)[0]] = value
        elif self.kind == "index" and isinstance(holder, tuple):
            return _tuple_with(holder, self.key, value)
        elif self.kind in ("index", "name"):
            holder[self.key] = value
        elif self.kind == "cell":
            holder.__closure__[self.key].cell_contents = value
        elif self.kind == "args":
            return functools.partial(holder.func, *value, **holder.keywords)
        elif self.kind == "weak":
            return lambda: value  # called like the reference
        elif self.kind == "attr":
            holder.__dict__[self.key] = value
        elif self.kind == "slot":
            object.__setattr__(holder, self.key, value)
        else:
            setattr(holder, self.key, value)
        return holder


def _at(mapping: Any, place: int) -> tuple[Any, Any]:
    """The place-th item: a cache keyed by `id(ctx)` has other keys, and the same order, at every run."""
    for i, item in enumerate(mapping.items()):
        if i == place:
            return item
    raise KeyError(place)


def _tuple_with(holder: tuple, key: int, value: Any) -> tuple:
    items = [*holder[:key], value, *holder[key + 1 :]]
    return type(holder)(*items) if hasattr(holder, "_fields") else type(holder)(items)


Path = tuple[Step, ...]


@dataclass(frozen=True)
class Slot:
    """A value that backward can reach, and the steps that lead to it from its root."""

    path: Path
    value: Any

    @property
    def name(self) -> str:
        return "".join(step.label for step in self.path)


def is_value(value: Any) -> bool:
    """Whether it can carry a derivative: a floating or complex tensor, array or number."""
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() or value.is_complex()
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "fc"
    return isinstance(value, float | complex)


def children(holder: Any) -> Iterator[tuple[Step, Any]]:
    """The values one step inside `holder`."""
    if isinstance(holder, collections.abc.MutableMapping | types.MappingProxyType | dict):
        for i, (key, value) in enumerate(list(holder.items())):
            yield Step("item", i, shown_key(key)), value
    elif isinstance(holder, list | tuple | collections.deque):
        fields = getattr(holder, "_fields", ())
        for i, value in enumerate(holder):
            yield Step("index", i, f".{fields[i]}" if fields else f"[{i}]"), value
    elif isinstance(holder, functools.partial):
        yield Step("args", None, ".args"), holder.args
        yield Step("slot", "keywords", ".keywords"), holder.keywords
        yield Step("slot", "func", ".func"), holder.func
    elif isinstance(holder, weakref.ref):
        yield Step("weak", None, "()"), holder()
    elif isinstance(holder, types.FunctionType):
        yield from _cells(holder)
        yield from _attributes(holder)
    elif isinstance(holder, torch.nn.Module):
        yield from _module_children(holder)
    elif isinstance(holder, types.MethodType):
        yield Step("slot", "__self__", ""), holder.__self__
    elif isinstance(holder, type):
        yield from _class_attributes(holder)
    else:
        yield from _attributes(holder)


def shown_key(key: Any) -> str:
    """A key as it may stand in a line of source; the key of a cache by `id(ctx)` is another at every run."""
    steady = isinstance(key, str | bool) or (isinstance(key, int) and abs(key) < 1 << 20)
    return f"[{key!r}]" if steady else "[...]"


def _cells(function: types.FunctionType) -> Iterator[tuple[Step, Any]]:
    for i, (name, cell) in enumerate(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)):
        try:
            yield Step("cell", i, f".{name}"), cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue


def _class_attributes(cls: type) -> Iterator[tuple[Step, Any]]:
    for base in cls.__mro__:
        if base.__module__.split(".")[0] in LIBRARIES:
            continue
        for name, value in list(vars(base).items()):
            if not name.startswith("__") and not callable(value) and not isinstance(value, staticmethod | classmethod):
                yield Step("class", name, f".{name}"), value


def _attributes(holder: Any) -> Iterator[tuple[Step, Any]]:
    own = getattr(holder, "__dict__", None)
    if isinstance(own, dict):
        for name, value in list(own.items()):
            yield Step("attr", name, f".{name}"), value
    for base in type(holder).__mro__:
        for name in _slot_names(base):
            if isinstance(getattr(base, name, None), types.MemberDescriptorType) and hasattr(holder, name):
                yield Step("slot", name, f".{name}"), getattr(holder, name)


def _slot_names(base: type) -> tuple[str, ...]:
    names = vars(base).get("__slots__", ())
    return (names,) if isinstance(names, str) else tuple(names)


def opaque(value: Any) -> bool:
    """Whether there is no use in looking inside."""
    if value is None or isinstance(value, str | bytes | int | float | complex | types.ModuleType | np.ndarray):
        return True
    if isinstance(value, torch.Tensor):
        return not getattr(value, "__dict__", None)
    if isinstance(value, type):
        return value.__module__.split(".")[0] in LIBRARIES
    if isinstance(value, torch.nn.Module | dict | list | tuple | collections.deque | functools.partial):
        return False
    if isinstance(value, types.FunctionType | types.MethodType):
        return (value.__module__ or "").split(".")[0] in LIBRARIES
    if type(value).__module__.startswith(("torch.", "torchgen.")):  # such as a distribution with its parameters
        return not hasattr(value, "__dict__")
    return not isinstance(value, weakref.ref) and type(value).__module__.split(".")[0] in LIBRARIES


def walk(roots: list[tuple[Path, Any]]) -> Iterator[tuple[Path, Any]]:
    """Every object reachable from the roots, nearest first, each under its first path."""
    queue, seen, count = collections.deque(roots), set(), 0
    while queue and count < MOST:
        path, value = queue.popleft()
        count += 1
        yield path, value
        if opaque(value) or id(value) in seen or len(path) > DEEPEST:
            continue
        seen.add(id(value))
        for step, child in _children(value):
            queue.append(((*path, step), child))


def _children(value: Any) -> list[tuple[Step, Any]]:
    try:
        return list(children(value))
    except Exception:  # a foreign object may answer anything; what cannot be listed is not a slot
        return []


def _module_children(module: torch.nn.Module) -> Iterator[tuple[Step, Any]]:
    """Parameters, buffers and submodules under the names that `module.name` reads them by."""
    for name, value in list(module.__dict__.items()):
        if name in PARTS:
            for key, inner in value.items():
                yield _ModuleStep("module", (name, key), f".{key}"), inner
        elif "_hooks" not in name:
            yield Step("attr", name, f".{name}"), value


class _ModuleStep(Step):
    """A parameter, buffer or submodule of a module."""

    def get(self, holder: Any) -> Any:
        return holder.__dict__[self.key[0]][self.key[1]]

    def put(self, holder: Any, value: Any) -> Any:
        holder.__dict__[self.key[0]][self.key[1]] = value
        return holder


def slots_of(roots: list[tuple[Path, Any]]) -> list[Slot]:
    """The values that could carry a derivative, under every path that leads to them."""
    return [Slot(path, value) for path, value in walk(roots) if is_value(value)]


def put(root: Any, path: Path, value: Any) -> Any:
    """Replace what `path` leads to; returns the root, or a changed copy where a tuple had to be rebuilt."""
    if not path:
        return value
    child = path[0].get(root)
    changed = put(child, path[1:], value)
    return root if changed is child else path[0].put(root, changed)


def get(root: Any, path: Path) -> Any:
    """What `path` leads to from `root`."""
    for step in path:
        root = step.get(root)
    return root


def used_names(function: types.FunctionType, depth: int = 3) -> Iterator[tuple[dict, str, Any]]:
    """The globals that a function's code names, also through functions that it calls: (globals, name, value)."""
    todo, seen = [(function, depth)], set()
    while todo:
        function, left = todo.pop()
        function = inspect.unwrap(function)
        if not isinstance(function, types.FunctionType) or function.__code__ in seen or left < 0:
            continue
        seen.add(function.__code__)
        for name in names_in(function.__code__):
            if name not in function.__globals__:
                continue
            value = function.__globals__[name]
            yield function.__globals__, name, value
            if isinstance(value, types.FunctionType) and not opaque(value):
                todo.append((value, left - 1))


def names_in(code: types.CodeType) -> set[str]:
    """Names that the code and the functions defined in it look up."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_in(constant)
    return names


def holds_data(value: Any) -> bool:
    """Whether a global can hold something from a forward: a container, an object, a tensor; not a library, not code."""
    if isinstance(value, types.FunctionType):
        return bool(vars(value))
    if isinstance(value, types.ModuleType | types.BuiltinFunctionType | str):
        return False
    if isinstance(value, type):
        return not opaque(value) and not dataclasses.is_dataclass(value)
    return is_value(value) or not opaque(value)
