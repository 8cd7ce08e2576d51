"""What each operation of a recorded run was given and gave: short rows while it goes on, `Call`s when somebody reads.

A tensor is known by a number. One that is changed in place has a new number from then on, so that every number stands
for one set of values. No tensor is kept: a number belongs to an object as long as that lives.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from simplegrad.torch_private import local_part
from simplegrad.trace.nonfinite import kind_of_tensor

SKIP, GIVES, PICKS, CHANGES, LEAVES, GRAD_MODE, SETS, MARK, APPLIES, RESERVES, SHARES = range(11)
_SKIPPED = set(
    "size dim stride numel nelement storage_offset element_size is_contiguous is_floating_point is_complex is_pinned "
    "is_conj is_neg is_inference data_ptr backward get_device type_as_ __len__ __repr__ __format__ __hash__ __dir__ "
    "is_signed is_same_size is_set_to has_names storage untyped_storage dim_order __torch_function__ "
    "_has_compatible_shallow_copy_type _record_function_enter_new _record_function_exit._RecordFunction "
    "register_post_accumulate_grad_hook.__get__ result_type can_cast get_default_dtype sym_size sym_numel".split()
)
_LEAVING = {"item", "tolist", "numpy", "__array__", "__float__", "__int__", "__bool__", "__index__", "__complex__"}
_LEAVING |= {"__contains__", "equal", "allclose", "is_nonzero"}
_PICKING = {"embedding", "embedding_bag", "__getitem__", "index_select", "gather", "take", "take_along_dim", "select"}
# Memory that nobody has written to yet may hold anything.
UNWRITTEN = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_"}
_MARKS = {"requires_grad_", "register_hook", "register_post_accumulate_grad_hook", "retain_grad"}
_READ = {"data", "T", "mT", "H", "mH", "real", "imag"}  # attributes that give a tensor of the same numbers
_FLOATS = {torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128}
_norm = torch.linalg.vector_norm
_new = tuple.__new__  # what a NamedTuple's own __new__ ends in, at a third of the time
_Tensor, _Parameter = torch.Tensor, torch.nn.Parameter
_NO_SHAPE = torch.Size(())


class Known(NamedTuple):
    """What is known of one number: as the tensor was when it got it."""

    shape: torch.Size
    dtype: torch.dtype
    requires_grad: bool
    node: tuple[int, int] | None  # sequence number and output of its autograd node; None for a leaf
    address: int
    version: int
    norm: Any  # a float; a tensor of one number where reading it would wait for a device; None where nobody looked
    flaw: str | None  # "nan", "inf" or ""; None where nobody looked
    is_given: bool  # it came from outside: no operation of the recording gave it
    first: int  # the number that the same object had first


def named(func: Callable) -> str:
    """`data` for the getter of Tensor.data, `grad=` for a setter, else the function's name."""
    name = getattr(func, "__name__", "")
    if name in ("__get__", "__set__", "__delete__"):
        return getattr(getattr(func, "__self__", None), "__name__", "") + ("" if name == "__get__" else "=")
    return name or type(func).__name__


def sort_of(func: Callable) -> int:
    """What is to be noted of calls of this function."""
    found = SORTS.get(func)
    if found is None:
        found = SORTS[func] = _sort(func, named(func))
    return found


def _sort(func: Callable, name: str) -> int:
    if name.endswith("="):
        return SETS
    if name == "_set_grad_enabled":
        return GRAD_MODE
    if name in _LEAVING:
        return LEAVES
    if name in _MARKS:
        return MARK
    if name in _PICKING:
        return PICKS
    if name in UNWRITTEN:
        return RESERVES
    if name.endswith("_") and not name.endswith("__"):
        return CHANGES
    if name == "data":
        return SHARES
    is_getter = getattr(func, "__name__", "") == "__get__"
    skipped = name in _SKIPPED or (is_getter and name not in _READ) or func is torch.autograd.grad
    return SKIP if skipped else GIVES


SORTS: dict[Any, int] = {}  # what sort_of has found out


def tensors_of(x: Any, depth: int = 3) -> Iterator[torch.Tensor]:
    """The tensors of an argument or a result, also within lists, tuples and dicts."""
    if isinstance(x, _Tensor):
        yield x
    elif depth and isinstance(x, tuple | list):
        for each in x:
            yield from tensors_of(each, depth - 1)
    elif depth and isinstance(x, dict):
        for each in x.values():
            yield from tensors_of(each, depth - 1)


def own_part(tensor: Any) -> Any:
    """Of a DTensor what this process holds: to look at all of it would be a collective, which no other rank joins."""
    plain = type(tensor) is _Tensor or type(tensor) is _Parameter
    return tensor if plain else local_part(tensor)


def measure(tensor: torch.Tensor) -> tuple[Any, str | None]:
    """(norm, "nan" or "inf" or ""): exact where a norm is zero or not finite, which it also is by rounding.

    On a device the norm stays a tensor, so that nothing waits for it. (None, None) for what has no numbers to look at.
    """
    if tensor.dtype not in _FLOATS:
        return None, None
    tensor = own_part(tensor)
    if tensor.requires_grad:
        tensor = tensor.detach()
    try:
        if tensor.is_meta:
            return None, None
        if not tensor.is_cpu:
            wide = torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else None
            return _norm(tensor, dtype=wide), None
        norm = _norm(tensor).item()
        if 0 < norm < _INFINITE:
            return norm, ""
        if norm == 0 and not tensor.any():
            return norm, ""
        return _measured_exactly(tensor)
    except Exception:  # a meta, sparse or quantised tensor, one inside of vmap: nothing can be said of it
        return None, None


_INFINITE = float("inf")


def _measured_exactly(tensor: torch.Tensor) -> tuple[float | None, str]:
    flaw = kind_of_tensor(tensor)
    if flaw:
        return None, flaw
    wide = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
    largest = wide.abs().max().item() if wide.numel() else 0.0
    return (float(_norm(wide / largest)) * largest if largest else 0.0), ""


def sizes(shape: Any) -> tuple[int, ...]:
    """Of each dimension; 0 where it has no one size: the ragged one of a nested tensor."""
    return tuple([size if type(size) is int else 0 for size in shape])


def settled(norm: Any, flaw: str | None) -> tuple[float | None, str | None]:
    """The same with the norm as a plain number; on a device it is read only now."""
    if not isinstance(norm, _Tensor):
        return norm, flaw
    try:
        number = float(norm)
    except Exception:  # of the meta device
        return None, None
    if number != number:
        return None, "nan"
    return (None, "inf") if number == _INFINITE else (number, "")


class Tensors:
    """Numbers for tensors."""

    def __init__(self, measures: bool) -> None:
        self.measures = measures
        self.rows: list[Known] = []
        self.living: dict[int, tuple[weakref.ref, int]] = {}  # by id
        self.by_address: dict[int, tuple[weakref.ref, int]] = {}  # the one that was made last with memory there
        self.unseen: set[int] = set()  # memory that may be changed without torch counting it: through .data or NumPy

    def number(self, tensor: torch.Tensor) -> int:
        """The number of a tensor that something is given; a new one if it has none, or was changed by the unseen."""
        known = self.living.get(id(tensor))
        if known is not None and known[0]() is tensor and self.rows[known[1]].version == version_of(tensor):
            return known[1]
        return self.add(tensor, is_given=True)

    def known(self, tensor: torch.Tensor) -> int | None:
        found = self.living.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def result(self, tensor: torch.Tensor, changes: bool = False, given: tuple[int, ...] = ()) -> int:
        """The number of a tensor that an operation gave: its own, if it is one of the arguments, unchanged."""
        known = self.living.get(id(tensor))
        if (
            not changes
            and known is not None
            and known[0]() is tensor
            and self.rows[known[1]].version == version_of(tensor)
        ):
            return known[1]
        return self.add(tensor, False, given)

    def reserved(self, tensor: torch.Tensor) -> int:
        """The number of memory that nobody has written to: what stands in it is nobody's result."""
        number = self.result(tensor, changes=True)
        self.rows[number] = self.rows[number]._replace(norm=None, flaw=None)
        return number

    def add(self, tensor: torch.Tensor, is_given: bool, given: tuple[int, ...] = ()) -> int:
        """`given`: what the operation that gave it was given; a view of one of these has its norm."""
        node, number, rows = tensor.grad_fn, len(self.rows), self.rows
        if node is not None:
            node = (node._sequence_nr(), tensor.output_nr)
        try:
            shape = tensor.shape
        except RuntimeError:  # a lazy parameter has none yet
            shape = _NO_SHAPE
        try:
            address = tensor.data_ptr()
        except Exception:  # sparse, fake, or of a transform
            address = 0
        try:
            version = tensor._version
        except RuntimeError:  # of an inference tensor nobody counts
            version = -1
        norm = flaw = None
        if self.measures:
            may_be_known = address and given and address not in self.unseen
            seen = self._viewed(tensor, address, version, given) if may_be_known else None
            norm, flaw = measure(tensor) if seen is None else (seen.norm, seen.flaw)
        was, needs, first = self.living.get(id(tensor)), tensor.requires_grad, number
        if was is not None and was[0]() is tensor:
            reference, first = was[0], rows[was[1]].first
        else:
            reference = weakref.ref(tensor)
        row = shape, tensor.dtype, needs, node, address, version, norm, flaw, is_given, first
        rows.append(_new(Known, row))
        self.living[id(tensor)] = (reference, number)
        if address:
            self.by_address[address] = (reference, number)
        return number

    def _viewed(self, tensor: torch.Tensor, address: int, version: int, given: tuple[int, ...]) -> Known | None:
        for number in given:
            known = self.rows[number]
            same = known.address == address and known.version == version and known.dtype is tensor.dtype
            if same and known.shape.numel() == tensor.numel() and known.flaw is not None:
                return known
        return None

    def may_change_unseen(self, tensor: torch.Tensor) -> None:
        """Somebody has its memory in a way in which changes are not counted."""
        self.unseen |= {address_of(tensor)} - {0}

    def at_the_same_memory(self, tensor: torch.Tensor) -> int | None:
        """Another living tensor whose memory begins where this one's does."""
        found = self.by_address.get(address_of(tensor))
        other = found[0]() if found is not None else None
        return found[1] if other is not None and other is not tensor else None


def address_of(tensor: torch.Tensor | None) -> int:
    """Where its memory begins; 0 where it has none, as a sparse or fake one, or one of a transform."""
    try:
        return 0 if tensor is None else tensor.data_ptr()
    except Exception:
        return 0


def version_of(tensor: torch.Tensor) -> int:
    try:
        return tensor._version
    except RuntimeError:  # of an inference tensor nobody counts
        return -1
