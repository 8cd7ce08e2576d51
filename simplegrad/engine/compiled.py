"""How compiled code puts an aggregate on the tape: what it reads and makes is at hand, and nobody else has the results.

So there are no names to look up, and no tensors to look at but those of inputs: of results the tape knows, as of an
operator's, that nobody changes them before somebody asks for their value.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..torch_private import viewed
from .tape import HandWritten, current_tape
from .variable import Variable

_new = object.__new__


def boxed(value: torch.Tensor, inputs: tuple = (), name: str | None = None) -> Variable:
    """The Variable of a value that was computed just now. `inputs`: whose tensors it may be."""
    if name is None and viewed(value) is None and not any([value is x._value for x in inputs]):
        r = _new(Variable)
        r._value = value
        r.shape = value.shape
        r.key = current_tape().new_key()
        return r
    r = Variable(value, name)
    r._leaf, r._version = False, current_tape().lent.look_at(value)  # somebody else has it, or can ask for it
    return r


def append(inputs: tuple, outputs: tuple, propagate: Callable, on_tensors: Callable) -> None:
    """`gradient_tape.append(TapeEntry(inputs, outputs, propagate, on_tensors))`, of Variables, the outputs `boxed`."""
    rule = HandWritten(propagate, tuple([x.shape for x in inputs]), on_tensors)
    keys, output_keys = tuple([x.key for x in inputs]), tuple([r.key for r in outputs])
    current_tape().put(rule, inputs, keys, outputs, output_keys)
