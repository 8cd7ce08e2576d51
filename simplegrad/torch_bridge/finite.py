"""Looks at what each operation of a recorded run gives, and notes the results that are not finite, with their lines.

Three things can be true of such a result: it was born in that operation; the operation passed it on; or it came in with
a tensor that no operation of the recording had given.
"""

from __future__ import annotations

import math
import pathlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch

from simplegrad.torch_bridge.operations import UNWRITTEN
from simplegrad.torch_private import DisableTorchFunction, function_name
from simplegrad.trace.nonfinite import kind_of_tensor

# They hand on what a pass computed (whose gradients hooks have seen), or what stands in a tensor already.
HANDED_ON = {"__get__", "grad", "backward", "tolist", "item"}
MOST_BIRTHS = 100
_NOBODYS = (str(pathlib.Path(torch.__file__).parent), str(pathlib.Path(__file__).parent))  # no person's own frames


def look(tensor: Any) -> str:
    """ "nan", "inf", or "" for a finite tensor; also for one that has no numbers to look at."""
    try:
        with DisableTorchFunction():
            return kind_of_tensor(tensor)
    except Exception:  # a meta or quantised tensor, one inside of vmap: nothing can be said of it
        return ""


class Eyes:
    """Appends a row ("nonfinite", …) to the recorder's log for each result that is not finite."""

    def __init__(self, log: list[tuple], where: Callable[[Any], tuple | None]) -> None:
        self.log, self.where = log, where
        self.known: dict[int, weakref.ref] = {}  # by id: tensors of which it is known that they are not finite
        self.places: set[tuple | None] = set()  # the same by their nodes
        self.births = 0
        self.inside: int | None = None  # the sequence number at which the forward of a custom Function began

    def see(self, func: Callable, args: tuple, kwargs: dict | None, result: Any, sequence: int, frame: Any) -> None:
        """Look at the result of one operation that began when autograd's sequence number was `sequence`."""
        name = getattr(func, "__name__", "an operation")
        if name == "__setitem__":
            result = args[0]
        for tensor in tensors_in(result):
            kind = "" if name in UNWRITTEN else look(tensor)
            if kind:
                given = [args, kwargs or {}]
                self.note(tensor, kind, name, [] if name in HANDED_ON else given, sequence, frame, name in HANDED_ON)

    def enter(self, sequence: int) -> int | None:
        """The forward of a custom Function begins; what was set before is to be given back to `leave`."""
        outer = self.inside
        self.inside = sequence if outer is None else outer
        return outer

    def leave(self, outer: int | None) -> None:
        self.inside = outer

    def applied(self, cls: type, args: tuple, result: Any, sequence: int, frame: Any, births: int) -> None:
        """The same for a custom Function; what is born inside its forward has been noted by then."""
        for tensor in tensors_in(result):
            kind = look(tensor)
            if kind:
                self.note(tensor, kind, function_name(cls), list(args), sequence, frame, self.births > births)

    def note(
        self, tensor: torch.Tensor, kind: str, name: str, given: Any, sequence: int, frame: Any, is_told: bool
    ) -> None:
        bad = [x for x in tensors_in(given) if self.is_known(x) or (x is not tensor and look(x))]
        strange = [x for x in bad if not self.is_known(x)]
        where = None if is_told else self.where(frame)
        for x in strange:
            self.came_in(x, name, sequence, where, frame)
        self.know(tensor)
        born = not is_told and not bad and self.births < MOST_BIRTHS
        self.births += born
        note = f"in {name}, whose result is not part of a recorded graph"
        if any(isinstance(x, float) and not math.isfinite(x) for x in leaves_in(given)):
            note = f"in {name}, which was given it as a number"
        shown = (tensor.shape, tensor.dtype)
        at = sequence if self.inside is None else min(sequence, self.inside)
        self.log.append(("nonfinite", at, place_of(tensor), kind, where, note, "", shown, "born" if born else ""))

    def came_in(self, x: torch.Tensor, name: str, sequence: int, where: tuple | None, frame: Any) -> None:
        """A tensor that was not finite before any operation of the recording gave it."""
        self.know(x)
        reached = x.requires_grad and x.is_leaf  # backward will come to it, under its own name
        if not reached and self.births < MOST_BIRTHS:
            self.births += 1
            shown = (x.shape, x.dtype)
            row = (place_of(x), look(x), where, f"came in as an argument of {name}", local_name(x, frame), shown)
            self.log.append(("nonfinite", sequence, *row, "came in"))

    def know(self, tensor: torch.Tensor) -> None:
        self.known[id(tensor)] = weakref.ref(tensor)
        self.places.add(place_of(tensor))

    def is_known(self, tensor: torch.Tensor) -> bool:
        """Also for what an operation gave that was noted by its node, under another wrapper."""
        found, place = self.known.get(id(tensor)), place_of(tensor)
        return (found is not None and found() is tensor) or (place is not None and place in self.places)


def place_of(tensor: torch.Tensor) -> tuple[int, str, int] | None:
    """What tells its autograd node apart: sequence number and name, and which output of it the tensor is."""
    node = tensor.grad_fn
    return None if node is None else (node._sequence_nr(), node.name(), tensor.output_nr)


def tensors_in(x: Any) -> Iterator[torch.Tensor]:
    return (each for each in leaves_in(x) if isinstance(each, torch.Tensor))


def leaves_in(x: Any) -> Iterator[Any]:
    if isinstance(x, tuple | list):
        for each in x:
            yield from leaves_in(each)
    elif isinstance(x, dict):
        yield from leaves_in(list(x.values()))
    else:
        yield x


def local_name(tensor: torch.Tensor, frame: Any) -> str:
    """What the innermost function that is not PyTorch's calls a tensor, or ""."""
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOBODYS):
        frame = frame.f_back
    return next((name for name, value in frame.f_locals.items() if value is tensor), "")
