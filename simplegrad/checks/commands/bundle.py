"""The inputs of a check in one file, to be checked again by somebody else: tensors and plain values, never code.

A bundle is a safetensors file whose metadata says, as JSON, how the tensors stand among the inputs, what was checked,
what came of it, and with which versions. Loading one runs nothing; what to check is said by who loads it:

    simplegrad check my_ops.py::Swish --inputs Swish.safetensors
"""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ...version import __version__

_KEY = "simplegrad-bundle"
_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}


class BundleError(ValueError):
    """A file that is no bundle; the message says what was expected."""


@dataclass(frozen=True)
class NotKept:
    """Stands for an input that a bundle cannot hold: its text says what it was."""

    text: str


@dataclass(frozen=True)
class Bundle:
    """`inputs`: the arguments of the check. `about`: name, file, codes, seed, order, versions, as plain values."""

    inputs: tuple[Any, ...]
    about: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | os.PathLike) -> None:
        """Write it; the folder is made if it is not there. Raises OSError."""
        tensors: dict[str, torch.Tensor] = {}
        inputs = [_packed(each, tensors) for each in self.inputs]
        said = json.dumps({"version": 1, "inputs": inputs, "about": self.about | versions()})
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={_KEY: said})

    @classmethod
    def load(cls, path: str | os.PathLike) -> Bundle:
        """Read one, in any process. Raises OSError, and BundleError for a file that is none."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: there is no such file.")
        try:
            with safe_open(path, framework="pt") as file:
                said = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            return cls(tuple(_unpacked(each, tensors) for each in said["inputs"]), dict(said["about"]))
        except Exception as error:  # of a file from elsewhere: whatever does not stand there as it was written
            what = f"{type(error).__name__}: {error}"
            raise BundleError(f"{path}: expected inputs that a check has kept ({what}).") from None


def versions() -> dict[str, str]:
    return {"simplegrad": __version__, "torch": torch.__version__, "python": platform.python_version()}


def _packed(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """As JSON holds it; a list for what JSON has no word for, its kind first."""
    match value:
        case torch.Tensor():
            return _packed_tensor(value, tensors)
        case bool() | int() | str() | None:
            return value
        case float():
            return value if math.isfinite(value) else ["float", str(value)]
        case complex():
            return ["complex", str(value)]
        case torch.dtype():
            return ["dtype", str(value)]
        case torch.device():
            return ["device", str(value)]
        case list() | tuple():
            kind = "tuple" if isinstance(value, tuple) else "list"
            return [kind, *(_packed(each, tensors) for each in value)]
        case dict() if all(isinstance(key, str) for key in value):
            return {key: _packed(each, tensors) for key, each in value.items()}
    return ["not kept", f"{type(value).__module__}.{type(value).__qualname__}"]


def _packed_tensor(value: torch.Tensor, tensors: dict[str, torch.Tensor]) -> list:
    name = f"tensor{len(tensors)}"
    plain = value.detach()
    plain = plain.to_dense() if plain.layout != torch.strided else plain
    flat = plain.resolve_conj().resolve_neg().cpu().contiguous().clone()
    tensors[name] = torch.view_as_real(flat).contiguous() if flat.is_complex() else flat
    return ["tensor", name, str(value.dtype), list(plain.stride()), value.requires_grad]


def _unpacked(said: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(said, dict):
        return {key: _unpacked(each, tensors) for key, each in said.items()}
    if not isinstance(said, list):
        return said
    kind, *rest = said
    match kind:
        case "tensor":
            return _unpacked_tensor(tensors, *rest)
        case "float":
            return float(rest[0])
        case "complex":
            return complex(rest[0])
        case "dtype":
            return _DTYPES[rest[0]]
        case "device":
            return torch.device(rest[0])
        case "list":
            return [_unpacked(each, tensors) for each in rest]
        case "tuple":
            return tuple(_unpacked(each, tensors) for each in rest)
        case "not kept":
            return NotKept(str(rest[0]))
    raise ValueError(f"no kind of input is called {kind!r}")


def _unpacked_tensor(tensors: dict, name: str, dtype: str, stride: list[int], requires_grad: bool) -> torch.Tensor:
    value = tensors[name]
    value = torch.view_as_complex(value) if _DTYPES[dtype].is_complex else value
    if list(value.stride()) != stride and _is_dense(value.shape, stride):
        value = torch.empty_strided(value.shape, stride, dtype=value.dtype).copy_(value)  # as it lay: a transposed one
    return value.requires_grad_(bool(requires_grad)) if value.is_floating_point() or value.is_complex() else value


def _is_dense(shape: torch.Size, stride: list[int]) -> bool:
    """Whether these steps reach each element of a block once: what a transposed tensor has, and no expanded one."""
    reached = 1
    for step, size in sorted((step, size) for step, size in zip(stride, shape, strict=True) if size > 1):
        if step != reached:
            return False
        reached *= size
    return True


def load_bundle(path: str | os.PathLike) -> Bundle:
    """The inputs that a check has kept, and what came of it: `check(fn, *load_bundle(path).inputs)`. Runs nothing."""
    return Bundle.load(path)
