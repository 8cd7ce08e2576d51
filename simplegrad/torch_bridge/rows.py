"""What a recorder writes down while a run goes on, in rows; and what those who help it read of one another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, NamedTuple, Protocol

import torch

from simplegrad.torch_bridge.operations import Tensors
from simplegrad.torch_bridge.where import Context, Site
from simplegrad.trace import Trace
from simplegrad.trace.events import Entry, Value
from simplegrad.trace.ranks import WAITS


@dataclass(slots=True)
class Node:
    """An autograd node as it was when it was first reached."""

    index: int
    name: str
    sequence: int
    edges: tuple  # (node index, which of its outputs), None for an input without one; nodes while recording
    shapes: tuple[tuple[int, ...], ...] = ()
    custom: type | None = None
    leaf: Any = None  # shape, dtype, name, Kept, norm, flaw and number of the variable that it accumulates into


# A tensor, and how often it had been changed in place when it was seen.
Kept = tuple[torch.Tensor, int]
# A gradient as a hook saw it, in a plain tuple since there are many: the id of the node that computed it (see `known`;
# None without one), which output of it, shape, dtype; if asked for the tensor, its norm, and "nan", "inf" or "".
Gradient = tuple[int | None, int, tuple[int, ...], torch.dtype, Kept | None, Any, str | None]
NO_GRADIENT = (None,) * 7  # in the place of one in a row of a visit
Place = tuple[int, int]  # (node, which of its outputs)


def visit_of(row: tuple) -> tuple[str, int, list[Gradient | None], list[Gradient | None], int]:
    """("visited", node, incoming gradients, outgoing ones, sequence number) of a row that has them all side by side.

    There is a row for each node of each pass. Were it made of tuples, Python's collector would walk through all of them
    again and again; one that holds nothing but numbers and words it leaves alone.
    """
    kind, index, sequence, count, *fields = row
    found = [tuple(fields[at : at + 7]) for at in range(0, len(fields), 7)]
    gradients = [None if each[1] is None else each for each in found]
    return kind, index, gradients[:count], gradients[count:], sequence


class HeldRow(NamedTuple):
    """What one tensor of a module was at the end of the run."""

    path: str
    kind: str
    number: int | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    requires_grad: bool
    is_leaf: bool
    retains: bool
    grad: str
    norm: float | None
    zero_rows: tuple[int, ...]
    zeros: float | None
    cls: type  # of the innermost module around it that a person wrote
    name: str  # what that one calls it, or what it is in
    hooks: tuple
    optimizers: tuple[str, ...]


@dataclass(eq=False)
class Joined:
    """One collective while it goes on."""

    name: str
    where: Site | None
    op: str = ""
    ranks: tuple[int, ...] = ()
    root: int | None = None
    by: str = ""
    state: str = WAITS
    ins: tuple[int, ...] = ()
    outs: tuple[int, ...] = ()
    owners: list[list[str]] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    results: list[torch.Tensor] = field(default_factory=list)


class Paths(Protocol):
    """The modules of a run, as far as others ask for names."""

    roots: list[tuple[str, torch.nn.Module]]

    def resolve(self) -> None: ...
    def name_of(self, tensor: torch.Tensor) -> str: ...


class Recorder(Protocol):
    """What is read of a recorder by those who keep, name, share and tell what it saw."""

    trace: Trace
    log: list[tuple]
    nodes: list[Node]
    lines: dict[int, Site]
    known: dict[int, int]
    leaves: dict[int, torch.Tensor]
    called: dict[Place, str]
    held: dict[int, tuple]
    indexed: set[int]
    tensors: Tensors
    models: Paths
    context: Context | None
    around: frozenset[Any]
    began: tuple[CodeType, ...]
    is_over: bool

    def careful(self, what: str) -> AbstractContextManager[None]: ...
    def trouble(self, what: str, error: Exception) -> None: ...
    def name_leaves(self) -> None: ...
    def edges_of(self, node: Node) -> tuple[Place | None, ...]: ...
    def grad_of(self, index: int) -> tuple: ...


class Telling(Protocol):
    """What is read of the teller of events by that of calls."""

    recorder: Recorder
    trace: Trace
    passes: list
    values: dict[Place, Value]
    entries: dict[int, Entry]
    node_numbered: Callable[[int], int | None]
    new_value: Callable[..., Value]

    @property
    def nodes(self) -> list[Node]: ...
