"""Clause 7: the incoming gradient has any layout. A backward is right for each, not only for a contiguous one.

What comes after a Function decides how its incoming gradient lies in memory: a transpose gives it turned, `sum` gives
it expanded (stride 0, one number for all), a slice gives it with an offset, a convolution channels-last. The same
numbers are given in each layout; whatever differs from the contiguous one was read from memory that was not asked for,
and what raises (`view` does) stops somebody's training there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..report import BROKEN, HOLDS, NOT_TRIED, Finding
from ..subjects.subject import Gradients, Rule, Run
from ..words import said_within
from .steps import parted
from .tried import Tried, apart

GRADIENT = "the incoming gradient"


def layouts(rule: Rule) -> Tried:
    """Whether backward gives the same for the same incoming gradients, however they lie in memory."""
    run = rule.run(rule.values)
    dense = [w.contiguous() for w in rule.incoming]
    try:
        once, again = run.returned(dense), run.returned(dense)
    except Exception as error:  # that a graph is gone through twice is another clause's question
        return Tried(NOT_TRIED, f"two backwards of one graph: {said_within(error)}")
    if any(map(apart, once, again)):
        return Tried(NOT_TRIED, "two backwards of one graph differ")
    refused, broken = [], []
    for k, weight in enumerate(dense):
        for variant in variants(weight):
            try:
                wrong = differing(run, dense, k, variant, once)
            except Exception as error:
                refused.append((k, variant, error))
                continue
            if wrong:
                broken.append((k, variant, wrong))
    if broken:
        return Tried(BROKEN, broken[0][1].name, [layout_assumed(rule, run, dense, broken)])
    if refused:
        return Tried(BROKEN, refused[0][1].name, [layout_refused(rule, dense, *refused[0])])
    return Tried(HOLDS, "not with sparse ones")


@dataclass(frozen=True)
class Variant:
    name: str
    contiguous: torch.Tensor
    laid_out: torch.Tensor  # the same numbers


def pair(dense: list[torch.Tensor], k: int, variant: Variant) -> tuple[list, list]:
    """What comes in, contiguous and laid out otherwise."""
    ours = [*dense[:k], variant.contiguous, *dense[k + 1 :]]
    return ours, [*dense[:k], variant.laid_out, *dense[k + 1 :]]


def differing(run: Run, dense: list[torch.Tensor], k: int, variant: Variant, once: Gradients) -> list[int]:
    """The inputs whose gradient is another one for this layout of the k-th incoming gradient; `once`: for `dense`."""
    ours, theirs = pair(dense, k, variant)
    found = run.returned(theirs)
    expected = once if variant.contiguous is dense[k] else run.returned(ours)
    return [i for i, (a, b) in enumerate(zip(expected, found, strict=True)) if apart(a, b)]


def variants(weight: torch.Tensor) -> Iterator[Variant]:
    """The layouts that operations after a Function give its incoming gradient."""
    if weight.layout != torch.strided or weight.numel() < 2:
        return
    turn = tuple(reversed(range(weight.dim())))
    turned = weight.permute(turn).contiguous().permute(turn)
    if turned.stride() != weight.stride():
        yield Variant("transposed", weight, turned)
    parts = {"from one number": weight.flatten()[:1].reshape([1] * weight.dim())}
    if weight.dim() > 1:
        parts |= {"along its first dimension": weight[:1], "along its last dimension": weight[..., :1]}
    for name, part in parts.items():
        wide = part.clone().expand_as(weight)
        yield Variant(f"expanded {name}", wide.contiguous(), wide)
    yield Variant(OFFSET, weight, sliced(weight))
    yield Variant("every second element of a row", weight, strided(weight))
    for dims, memory in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if weight.dim() == dims and not weight.is_contiguous(memory_format=memory):
            yield Variant("channels-last", weight, weight.contiguous(memory_format=memory))


OFFSET = "a slice with an offset"


def sliced(weight: torch.Tensor) -> torch.Tensor:
    """Contiguous, but not at the start of its memory."""
    room = torch.full((weight.numel() + 6,), 7.0, dtype=weight.dtype, device=weight.device)
    room[4:-2] = weight.flatten()
    return room[4:-2].view(weight.shape)


def strided(weight: torch.Tensor) -> torch.Tensor:
    room = torch.full((*weight.shape[:-1], 2 * weight.shape[-1] + 1), 7.0, dtype=weight.dtype, device=weight.device)
    room[..., 1::2] = weight
    return room[..., 1::2]


def layout_assumed(rule: Rule, run: Run, dense: list, broken: list[tuple[int, Variant, list[int]]]) -> Finding:
    which, variant, wrong = broken[0]
    names = " and ".join(rule.arguments[i] for i in wrong)
    slot = GRADIENT if len(dense) == 1 else f"{GRADIENT} of {rule.made[which]}"
    ours, theirs = pair(dense, which, variant)
    gap = largest_gap(run.returned(theirs)[wrong[0]], run.returned(ours)[wrong[0]])
    sentence = (
        f"{rule.backward_said} gives something else where {slot} is {variant.name} than where the same numbers are "
        f"contiguous: the gradient of {names} is then off by {gap:.3g}. It reads memory as if it were contiguous."
    )
    at = parted(rule, lambda: run.returned(ours), lambda: run.returned(theirs))
    fix = fix_of(rule, which, any(each.name == OFFSET for _, each, _ in broken))
    return Finding("layout_assumed", sentence, entry=rule.name, slot=slot, read_at=at, order=1, fix=fix)


def layout_refused(rule: Rule, dense: list, which: int, variant: Variant, error: Exception) -> Finding:
    slot = GRADIENT if len(dense) == 1 else f"{GRADIENT} of {rule.made[which]}"
    sentence = (
        f"{rule.backward_said} raises where {slot} is {variant.name}, and runs where the same numbers are contiguous: "
        f"{said_within(error)}. What comes after it decides how its incoming gradient lies in memory."
    )
    fix = fix_of(rule, which, variant.name == OFFSET)
    at = rule.raised_at(error)
    return Finding("layout_assumed", sentence, entry=rule.name, slot=slot, read_at=at, order=1, fix=fix)


def fix_of(rule: Rule, which: int, copies: bool) -> str:
    """A line for the start of backward, with the name that it has for this gradient."""
    name = rule.incoming_name(which)
    if not name:
        return ""
    how = "clone(memory_format=torch.contiguous_format)" if copies else "contiguous()"
    return f"{name} = {name}.{how}  # first of all in backward"


def largest_gap(a: torch.Tensor | None, b: torch.Tensor | None) -> float:
    if a is None or b is None or a.shape != b.shape:
        return float("nan")
    return float((a - b).abs().max())
