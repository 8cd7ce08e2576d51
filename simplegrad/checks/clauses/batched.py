"""Clause 10, second part: `vmap` static method or `generate_vmap_rule` against a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from ..measure.numbers import directions, moved
from ..report import BROKEN, HOLDS, NOT_TRIED, Finding, Place
from ..subjects.function import Rule
from ..words import said_within
from .applied import applied, raised_in
from .forward_mode import SLIPS
from .steps import returned_at
from .tried import Tried, apart

BATCH = 3


def has_vmap(cls: type) -> bool:
    return bool(getattr(cls, "generate_vmap_rule", False)) or own_rule(cls) is not None


def own_rule(cls: type) -> Callable | None:
    """The `vmap` static method that somebody wrote."""
    rule = getattr(cls, "vmap", None)
    return None if rule is torch.autograd.Function.vmap else rule


def batched(rule: Rule) -> Tried | None:
    """Whether vmap over the inputs, all or some, at the front or at the back, is a loop; None without a rule for it."""
    if not has_vmap(rule.call.cls):
        return None
    refused = ""
    for batch in batches(rule):
        try:
            found, loop = vmapped(rule, batch), looped(rule, batch)
        except SLIPS as error:
            own = own_rule(rule.call.cls)
            at = raised_in(error, own) if own is not None else None
            if at is not None:
                return Tried(BROKEN, "vmap raises", [vmap_raises(rule, error, batch, at)])
            refused = said_within(error)
            continue
        except Exception as error:  # a rule that cannot be generated, or that refuses
            refused = said_within(error)
            continue
        for k, (a, b) in enumerate(zip(found, loop, strict=True)):
            if apart(a, b):
                return Tried(BROKEN, "vmap", [wrong_vmap(rule, k, batch, a, b)])
    return Tried(NOT_TRIED, f"vmap could not be run: {refused}") if refused else Tried(HOLDS)


@dataclass
class Batch:
    """Inputs, some of them with one dimension more, at `dims`."""

    inputs: list[torch.Tensor]
    dims: tuple[int | None, ...]

    def at(self, b: int) -> list[torch.Tensor]:
        return [x if dim is None else x.select(dim, b) for x, dim in zip(self.inputs, self.dims, strict=True)]


def batches(rule: Rule) -> Iterator[Batch]:
    """All inputs batched at the front; all at the back; each alone."""
    values = [x.detach() for x in rule.values]
    stacks = [torch.stack([moved(x, d, 1e-2) for d in spread(x, i)]) for i, x in enumerate(values)]
    everything = range(len(values))
    ways = [(everything, 0), (everything, -1), *([([i], 0) for i in everything] if len(values) > 1 else [])]
    for which, dim in ways:
        inputs = [stacks[i].movedim(0, dim) if i in which else values[i] for i in everything]
        yield Batch(inputs, tuple(dim if i in which else None for i in everything))


def spread(x: torch.Tensor, i: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(61 + i)
    return [directions([x], generator)[0] for _ in range(BATCH)]


def vmapped(rule: Rule, batch: Batch) -> tuple[torch.Tensor, ...]:
    """The differentiable outputs, with the batch at the front."""
    run = torch.func.vmap(lambda *xs: tuple(applied(rule, list(xs))), in_dims=batch.dims, randomness="same")
    return run(*batch.inputs)


def looped(rule: Rule, batch: Batch) -> list[torch.Tensor]:
    each = [applied(rule, batch.at(b)) for b in range(BATCH)]
    return [torch.stack(parts) for parts in zip(*each, strict=True)]


def wrong_vmap(rule: Rule, k: int, batch: Batch, said: torch.Tensor, expected: torch.Tensor) -> Finding:
    if said.shape != expected.shape:
        how = f"it has the shape {tuple(said.shape)}, and a loop over the batch gives {tuple(expected.shape)}"
    else:
        how = f"it differs from a loop over the batch by up to {float((said - expected).abs().max()):.3g}"
    own = own_rule(rule.call.cls)
    what = "its vmap rule" if own is not None else "the vmap rule generated for it"
    made = rule.made[k].removeprefix("its ")
    sentence = f"{what} gives another {made} for {rule.name}, with in_dims={batch.dims}: {how}."
    return Finding(
        "wrong_vmap",
        sentence,
        entry=rule.name,
        slot=rule.made[k],
        read_at=returned_at(lambda: vmapped(rule, batch), own if own is not None else rule.call.cls.forward),
        order=0,
    )


def vmap_raises(rule: Rule, error: Exception, batch: Batch, at: Place) -> Finding:
    sentence = f"the vmap rule of {rule.name} raises {said_within(error)} for in_dims={batch.dims}."
    return Finding("wrong_vmap", sentence, entry=rule.name, read_at=at, order=0)
