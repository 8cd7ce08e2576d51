"""Looks at a tensor's numbers, at the cost of those that lie in memory: what was expanded is never written out.

A tensor of one number may say that it has 2**32 elements, and dtypes that torch only stores (float8, uint16 and larger)
have none of its operations. Every look that is shown to somebody goes through here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

MOST_DIMENSIONS = 64  # that torch's own operations take
MOST_BRACKETS = 8  # dimensions of what is printed
MOST_PRINTED = 2000  # numbers; of more than 1000, torch prints six along each dimension

_FLOAT8 = {getattr(torch, name) for name in dir(torch) if name.startswith("float8_")}
_WIDER = {torch.uint16: torch.int64, torch.uint32: torch.int64, torch.uint64: torch.float64}
_WIDER |= dict.fromkeys(_FLOAT8, torch.float32)
_COMPUTED = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bfloat16}
_COMPUTED |= {torch.float16, torch.float32, torch.float64, torch.complex32, torch.complex64, torch.complex128}


def can_be_looked_at(tensor: torch.Tensor | None) -> bool:
    """Whether there are numbers, in a layout, a dtype and a number of dimensions that they can be read from."""
    if tensor is None or tensor.layout is not torch.strided or tensor.is_nested or tensor.is_meta:
        return False
    if tensor.dim() > MOST_DIMENSIONS or not (tensor.dtype in _COMPUTED or tensor.dtype in _WIDER):
        return False
    return type(tensor) is torch.Tensor or has_memory(tensor)


def has_memory(tensor: torch.Tensor) -> bool:
    """A fake tensor says that it is on the CPU, and its memory that it is nowhere."""
    try:
        return tensor.untyped_storage().device.type != "meta"
    except (NotImplementedError, RuntimeError):
        return False


def distinct(tensor: torch.Tensor) -> torch.Tensor:
    """A view of it with nothing twice that expanding repeated."""
    if tensor.layout is not torch.strided:
        return tensor
    for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride())):
        if stride == 0 and size > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor


def computable(tensor: torch.Tensor) -> torch.Tensor:
    """Its distinct numbers, in a dtype that torch computes with."""
    tensor = distinct(tensor.detach())
    return tensor.to(_WIDER[tensor.dtype]) if tensor.dtype in _WIDER else tensor


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Its distinct numbers as float64: with 1 for the size of each dimension that it was expanded along."""
    return computable(tensor).double()


def along(a: torch.Tensor, b: torch.Tensor) -> list[int]:
    """The dimensions along which `a` has more numbers than `b`, both the distinct numbers of one shape."""
    return [dim for dim, (mine, its) in enumerate(zip(a.shape, b.shape)) if mine > its]


def zero(like: torch.Tensor) -> torch.Tensor:
    """Zeros of its shape, in the memory of one."""
    return torch.zeros((), dtype=like.dtype, device=like.device).expand(like.shape)


def added(a: torch.Tensor | None, b: torch.Tensor, times: int = 1) -> torch.Tensor | None:
    """`a + times * b`, of distinct numbers, expanded as they were. None where there is no `a` or one of another shape,
    or where what was expanded along one dimension meets what was along another: far more sums than numbers."""
    if a is None or a.shape != b.shape:
        return None
    shape, a, b = a.shape, computable(a), computable(b)
    results = math.prod(map(max, zip(a.shape, b.shape)))
    if results > 2**24 and results > a.numel() + b.numel():
        return None
    return torch.add(a, b, alpha=times).expand(shape)


def printable(tensor: torch.Tensor) -> bool:
    """Whether torch writes it as a short text, from little memory."""
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_meta:
        return True
    if tensor.dim() > MOST_BRACKETS or tensor.numel() > max(2**20, distinct(tensor).numel()):
        return False
    return tensor.numel() <= 1000 or math.prod(min(size, 6) for size in tensor.shape) <= MOST_PRINTED


def memory(tensor: torch.Tensor) -> tuple[object, int]:
    """(which memory it is, bytes of that); tensors that share it give the same."""
    try:
        storage = tensor.untyped_storage()
        return (storage.device, storage.data_ptr()), storage.nbytes()
    except (NotImplementedError, RuntimeError):  # of a layout that has none, or without memory
        return id(tensor), tensor.numel() * tensor.element_size()


class Looks:
    """What was seen in tensors. Each is read once, however many values share it or expand it to shapes of their own."""

    def __init__(self):
        self._seen: dict[tuple, object] = {}

    def _once(self, look: Callable, tensor: torch.Tensor):
        part = distinct(tensor)
        key = (look, part.device, part.data_ptr(), part.dtype, part.shape, part.stride())
        if key not in self._seen:
            self._seen[key] = look(computable(tensor))
        return self._seen[key]

    def largest(self, tensor: torch.Tensor) -> float | None:
        """The largest absolute value, NaN if there is one; None where there are no numbers."""
        if not can_be_looked_at(tensor) or not tensor.numel() or tensor.dtype == torch.bool:
            return None
        return self._once(_largest, tensor)

    def is_zero(self, tensor: torch.Tensor) -> bool:
        """Whether it is known that all numbers are zeros."""
        return can_be_looked_at(tensor) and not self._once(torch.any, tensor)

    def norm(self, tensor: torch.Tensor) -> float:
        """Of all elements, repeated ones too."""
        if tensor.layout is not torch.strided:
            return float(tensor.detach().double().norm())
        repeats = tensor.numel() / max(distinct(tensor).numel(), 1)
        return self._once(_norm, tensor) * math.sqrt(repeats)

    def nonfinite(self, tensor: torch.Tensor) -> str:
        """ "nan" if any element is one, else "inf" if any is infinite, else ""; "" also for what has no numbers."""
        if not can_be_looked_at(tensor) or not (tensor.is_floating_point() or tensor.is_complex()):
            return ""
        return self._once(_nonfinite, tensor)


def _largest(numbers: torch.Tensor) -> float:
    if numbers.is_complex():
        return float(numbers.abs().max())
    low, high = (float(each) for each in torch.aminmax(numbers))
    return high if math.isnan(high) else max(abs(low), abs(high))


def _norm(numbers: torch.Tensor) -> float:
    numbers = numbers if numbers.is_floating_point() or numbers.is_complex() else numbers.double()
    wide = torch.complex128 if numbers.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(numbers, dtype=wide).real)


def _nonfinite(numbers: torch.Tensor) -> str:
    if torch.isfinite(numbers).all():
        return ""
    return "nan" if torch.isnan(numbers).any() else "inf"


def first(tensor: torch.Tensor, count: int) -> list:
    """The first elements in reading order, as Python's numbers."""
    while tensor.dim() > 1:
        inside = math.prod(tensor.shape[1:])
        if inside < count:
            tensor = tensor[: math.ceil(count / max(inside, 1))]
            break
        tensor = tensor[0]
    return nested((tensor if tensor.dim() == 1 else tensor.reshape(-1))[:count])


def nested(tensor: torch.Tensor) -> list | float:
    """All of its elements, as Python's numbers in lists of its shape. For small ones."""
    tensor = tensor.detach()
    return (tensor.to(torch.float32) if tensor.dtype in _FLOAT8 else tensor).tolist()
