"""What makes a pass faster and changes nothing of it."""

from __future__ import annotations

from contextlib import nullcontext

from ..torch_private import below_autograd, forward_mode_is_on
from .tape import Tape
from .variable import Variable


def torch_autograd_below(tape: Tape, L: Variable):
    """Past torch's autograd, where nobody can be using it underneath: 0.15 of an operation's 0.9 microseconds."""
    used = tape.has_hand_written or L._value.requires_grad or forward_mode_is_on()
    return nullcontext() if used else below_autograd()
