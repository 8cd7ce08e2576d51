"""Where the derivative of a backward stops being a number: a root, or a quotient, at the end of its domain."""

from __future__ import annotations

from typing import Any

import torch

from .. import source
from ..measure.numbers import inner_graph, plain, requires_grad
from ..report import Finding
from .detector import Examiner, classified
from .owner import Owner
from .trail import Note, followed, tensors_in


def steep(examiner: Examiner, level: int) -> Finding | None:
    """The operation of backward whose own derivative is not finite there; None where none is found."""
    note = birth_of_second(examiner)
    if note is None:
        return None
    name, at = examiner.call.name, note.site.statement
    return Finding(
        "nonfinite_gradient",
        f"The derivative of order {level} of {name} is not a finite number, where differences of its gradient are "
        f"finite: the derivative of {note.operation} in `{' '.join(at.text.split())}` is infinite at a value that "
        f"comes there, as that of a root is at 0.",
        entry=name,
        read_at=at,
        order=level,
    )


def birth_of_second(examiner: Examiner) -> Note | None:
    """Back from what backward returns: the first operation that makes of a finite gradient one that is not."""
    found = followed_again(examiner)
    terms = [inner_graph(g, u) for g, u in zip(found.returned, examiner.weights, strict=True) if requires_grad(g)]
    loss = sum(terms)
    for note in reversed([n for n in found.notes if requires_grad(n.made)] if terms else []):
        (flow,) = torch.autograd.grad(loss, note.made, retain_graph=True, allow_unused=True)
        givers = [x for x in tensors_in((note.args, note.kwargs)) if requires_grad(x) and x is not note.made]
        if flow is None or not givers or not is_finite(flow):
            continue
        parts = torch.autograd.grad(note.made, givers, flow, retain_graph=True, allow_unused=True)
        if not all(part is None or is_finite(part) for part in parts):
            return note
    return None


def followed_again(examiner: Examiner) -> Any:
    """Backward with autograd following it, each value that moves with the inputs being a leaf."""
    alone, code = examiner.alone, source.code_of(examiner.call.backward)
    held = classified(alone.forward(), alone.call)
    ran = alone.forward()
    objects = {slot.path: slot.value for slot in ran.slots}
    for one in held:
        examiner._as_leaf(one, ran, objects)
    incoming = examiner.incoming_leaves()
    return followed(lambda: alone.backward(ran, incoming, graph=True), {code}, Owner(code), lines=False)


def is_finite(x: torch.Tensor) -> bool:
    return bool(torch.isfinite(plain(x.detach())).all())
