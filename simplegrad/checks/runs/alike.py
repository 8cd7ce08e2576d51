"""Keep every evaluation alike: what a run wrote elsewhere is undone before the next one.

A forward may update running statistics in place, count its calls or append to a cache. Finite differences are only
meaningful when each evaluation starts from the same state. Random numbers: see chance.py.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...torch_private import changes, is_wrapped
from ..subjects.slots import opaque, walk


class State:
    """What is reachable from `roots` now; `restore()` puts it back, in place.

    `bound` are steps to names that may be bound anew (a global, a closure variable, a class attribute).
    """

    def __init__(self, roots: list[Any], bound: list[Any] = ()) -> None:
        self.bound = [(step, step.get(None)) for step in bound if step.is_filled]
        roots = [*roots, *(value for _, value in self.bound)]
        self.tensors: list[tuple[torch.Tensor, int, torch.Tensor]] = []
        self.bytes: list[int] = []  # of their memory
        self.found_freed = False  # some memory had been given back
        self.silent: set[int] = set()  # places of tensors that are changed without their version telling
        self.grads: list[tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]] = []
        self.arrays: list[tuple[np.ndarray, np.ndarray]] = []
        self.generators: list[tuple[Callable, Any]] = []
        self.holders: list[tuple[Any, Any]] = []
        seen: set[int] = set()
        for _, value in walk([((), root) for root in roots]):
            if id(value) not in seen:
                seen.add(id(value))
                self._keep(value)

    def _keep(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            if is_freed(value):
                self.found_freed = True
            elif value.layout == torch.strided and not value.is_meta:  # others have no numbers
                self.tensors.append((value, _version(value), value.detach().clone()))
                self.bytes.append(memory_of(value))
            if value.requires_grad and value.is_leaf and not value.is_meta:
                self.grads.append((value, value.grad, None if value.grad is None else value.grad.detach().clone()))
        elif isinstance(value, torch.Generator) and value is not torch.default_generator:
            self.generators.append((value.set_state, value.get_state()))
        elif isinstance(value, np.random.Generator):
            own = value.bit_generator
            self.generators.append((lambda kept, own=own: setattr(own, "state", kept), own.state))
        elif isinstance(value, np.random.RandomState):
            self.generators.append((value.set_state, value.get_state()))
        elif isinstance(value, random.Random):
            self.generators.append((value.setstate, value.getstate()))
        elif isinstance(value, np.ndarray):
            self.arrays.append((value, value.copy()))
        elif isinstance(value, dict | list | collections.deque):
            self.holders.append((value, value.copy()))
        elif not opaque(value) and isinstance(own := _attributes(value), dict):
            self.holders.append((own, own.copy()))

    def restore(self, thorough: bool = False) -> None:
        """Put back what changed. `thorough`: compare numbers too, since kernels change tensors past their version."""
        for step, kept in self.bound:
            if step.get(None) is not kept:
                step.put(None, kept)
        freed = [i for i, (tensor, *_) in enumerate(self.tensors) if is_freed(tensor)]
        self.silent.update(freed)
        self.found_freed = self.found_freed or bool(freed)
        for i in freed:  # all of them before any is written to: several may lie in one memory
            self.tensors[i][0].untyped_storage().resize_(self.bytes[i])
        for i, (tensor, version, kept) in enumerate(self.tensors):
            if i in freed:
                with torch.no_grad():
                    tensor.copy_(kept)
            if thorough and _version(tensor) == version and not _is_same(tensor, kept):
                self.silent.add(i)
            if _version(tensor) != version or i in self.silent:
                with torch.no_grad():
                    tensor.copy_(kept)
                self.tensors[i] = (tensor, _version(tensor), kept)
        for tensor, grad, kept in self.grads:
            if tensor.grad is not grad:
                tensor.grad = grad
            if thorough and grad is not None and not _is_same(grad, kept):
                grad.detach().copy_(kept)
        for array, kept in self.arrays:
            if array.flags.writeable:
                array[...] = kept
        for put_back, kept in self.generators:
            put_back(kept)
        for holder, kept in self.holders:
            _put_back(holder, kept)


def is_freed(tensor: torch.Tensor) -> bool:
    """Whether somebody gave its memory back (`untyped_storage().resize_(0)`): to read it would end the process."""
    return tensor.layout is torch.strided and tensor.numel() > 0 and memory_of(tensor) == 0


def memory_of(tensor: torch.Tensor) -> int:
    """The bytes of its storage, in which others may lie too; -1 where it has none of its own."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.is_meta or is_wrapped(tensor):
        return -1
    return tensor.untyped_storage().nbytes() if tensor.layout is torch.strided else -1


def _attributes(value: Any) -> Any:
    """What it keeps under names, without asking a `__getattr__` of its own, which may answer anything."""
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None


def _version(tensor: torch.Tensor) -> int:
    return -1 if tensor.is_inference() else changes(tensor)


def _is_same(tensor: torch.Tensor, kept: torch.Tensor) -> bool:
    if tensor.is_meta:
        return True  # it has no numbers
    return torch.equal(tensor.detach(), kept) or (tensor.is_floating_point() and bool(tensor.isnan().any()))


def _put_back(holder: Any, kept: Any) -> None:
    if isinstance(holder, dict):
        if holder.keys() != kept.keys() or any(holder[key] is not value for key, value in kept.items()):
            holder.clear()
            holder.update(kept)
    elif len(holder) != len(kept) or any(a is not b for a, b in zip(holder, kept, strict=True)):
        holder.clear()
        holder.extend(kept)
