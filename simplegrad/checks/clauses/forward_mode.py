"""Clause 10, first part: a `jvp` static method against backward, and forward mode over backward.

Reverse mode and forward mode are two ways through one Jacobian: <weight, jvp(direction)> is <vjp(weight), direction>.
A Function without a `jvp` is not at fault.
"""

from __future__ import annotations

import math

import torch
from torch.autograd import forward_ad

from ...torch_bridge.calls import plain_copy
from ..measure.numbers import directions, inner, inner_sum, slope
from ..report import BROKEN, HOLDS, NOT_TRIED, Finding
from ..runs.turns import TakenByOthers, forward_mode_level
from ..subjects.function import Rule
from ..subjects.subject import gradient_of
from ..words import said_within
from .applied import applied, raised_in
from .steps import returned_at
from .tried import Tried

SLIPS = (NameError, TypeError, AttributeError, IndexError, KeyError, UnboundLocalError)
TOLERANCE = {64: 1e-6, 32: 1e-2, 16: 1e-1}


def has_jvp(cls: type) -> bool:
    return getattr(cls, "jvp", None) is not torch.autograd.Function.jvp


def forward_mode(rule: Rule) -> Tried | None:
    """Whether jvp gives the derivative of forward, for each input alone and for all together; None without a jvp."""
    if not has_jvp(rule.call.cls):
        return None
    every = directions(rule.values, torch.Generator().manual_seed(41))
    try:
        together = tangents(rule, every)
    except SLIPS as error:
        if not raised_in(error, rule.call.cls.jvp):
            return Tried(NOT_TRIED, f"jvp could not be run: {said_within(error)}")
        return Tried(BROKEN, "jvp raises", [jvp_raises(rule, error)])
    except TakenByOthers as error:
        said = f"jvp of {rule.name} could not be tried: {error}. Check it while no other thread is."
        return Tried(NOT_TRIED, str(error), [Finding("unverified", said, rule.name)])
    except Exception as error:  # it refuses, or forward mode does not know an operation of forward
        return Tried(NOT_TRIED, f"jvp could not be run: {said_within(error)}")
    found = wrong_of(rule, every, together)
    for i in range(len(rule.values)):
        if found or len(rule.values) == 1:
            break
        alone = [d if k == i else torch.zeros_like(d) for k, d in enumerate(every)]
        try:
            found = wrong_of(rule, alone, tangents(rule, alone))
        except Exception:  # all together is what could be tried
            continue
    if found:
        return Tried(BROKEN, "jvp", [found])
    return over_reverse(rule, every)


def dual(rule: Rule, ways: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """(leaves, outputs) of one run whose inputs carry these tangents; inside of a dual level."""
    leaves = [plain_copy(x).requires_grad_() for x in rule.values]
    duals = [forward_ad.make_dual(x, d.to(x.dtype)) for x, d in zip(leaves, ways, strict=True)]
    return leaves, applied(rule, duals)


def tangents(rule: Rule, ways: list[torch.Tensor]) -> list[torch.Tensor]:
    """What jvp gives for these directions: one tangent for each differentiable output, zeros where it gives None."""
    with forward_mode_level():
        _, outputs = dual(rule, ways)
        parts = [forward_ad.unpack_dual(out) for out in outputs]
        return [torch.zeros_like(p.primal) if p.tangent is None else p.tangent.detach().clone() for p in parts]


def wrong_of(rule: Rule, ways: list[torch.Tensor], given: list[torch.Tensor]) -> Finding | None:
    """The finding, where jvp is neither what backward nor what a difference of forward says."""
    bits = min([rule.bits, *(torch.finfo(x.dtype).bits for x in rule.values)])
    for k, tangent in enumerate(given):
        weights = directions([tangent], torch.Generator().manual_seed(43 + k), scaled=False)
        others = [torch.zeros_like(w) for w in rule.incoming]
        others[k] = weights[0].to(rule.incoming[k].dtype)
        if tangent.shape != rule.incoming[k].shape:
            return wrong_jvp(rule, ways, k, f"of shape {tuple(tangent.shape)}", f"{tuple(rule.incoming[k].shape)}")
        told = inner(tangent, others[k])
        backwards = inner_sum(gradient_of(rule, rule.values, others), ways)
        if not differs(told, backwards, bits):
            continue
        measured = difference(rule, ways, k, others[k])  # it may be backward that is wrong
        if math.isfinite(measured) and differs(told, measured, bits):
            return wrong_jvp(rule, ways, k, f"{told:.6g}", f"{measured:.6g}")
    return None


def differs(a: float, b: float, bits: int) -> bool:
    return not abs(a - b) <= TOLERANCE[bits] * max(abs(a), abs(b)) + 1e-12


def difference(rule: Rule, ways: list[torch.Tensor], k: int, weight: torch.Tensor) -> float:
    """The slope of forward in this direction, weighted."""

    def at(h: float) -> float:
        moved = [x + h * d.to(x.dtype) for x, d in zip(rule.values, ways, strict=True)]
        return inner(rule.outputs(moved)[1][k], weight)

    return slope(at, rule.bits).value


def wrong_jvp(rule: Rule, ways: list[torch.Tensor], k: int, said: str, expected: str) -> Finding:
    made = rule.made[k]
    sentence = (
        f"jvp of {rule.name} is not the derivative of forward: along one random direction of the inputs the tangent of "
        f"{made}, weighted at random, is {said}; differences of forward say {expected}."
    )
    return Finding(
        "wrong_jvp",
        sentence,
        entry=rule.name,
        slot=made,
        read_at=returned_at(lambda: tangents(rule, ways), rule.call.cls.jvp),
        order=1,
    )


def jvp_raises(rule: Rule, error: Exception) -> Finding:
    sentence = f"jvp of {rule.name} raises {said_within(error)} as soon as forward mode calls it."
    return Finding("wrong_jvp", sentence, entry=rule.name, read_at=raised_in(error, rule.call.cls.jvp), order=1)


# --- forward over reverse --------------------------------------------------------------------------------------------


def over_reverse(rule: Rule, ways: list[torch.Tensor]) -> Tried:
    """Forward mode through backward: the gradient's derivative along a direction, as differences of it say."""
    try:
        given = gradient_tangents(rule, ways)
    except Exception as error:  # an operation of backward that forward mode does not know, say
        return Tried(HOLDS, f"forward over reverse not tried: {said_within(error)}")
    if rule.bits != 64:
        return Tried(HOLDS, "forward over reverse is not tried in single precision")
    steady = [gradient_slope(rule, ways, h) for h in (1e-4, 1e-5)]
    for i, tangent in enumerate(given):
        if tangent is None:
            continue
        coarse, fine = steady[0][i], steady[1][i]
        error = float((coarse - fine).abs().max()) if fine.numel() else 0.0
        size = max(float(fine.abs().max()), float(tangent.abs().max()), 1e-6) if fine.numel() else 1.0
        gap = float((tangent - fine).abs().max()) if fine.numel() else 0.0
        if error <= 1e-5 * size and gap > 1e-3 * size:
            return Tried(BROKEN, "forward over reverse", [wrong_over_reverse(rule, ways, i, gap)])
    return Tried(HOLDS)


def gradient_tangents(rule: Rule, ways: list[torch.Tensor]) -> list[torch.Tensor | None]:
    with forward_mode_level():
        leaves, outputs = dual(rule, ways)
        found = torch.autograd.grad(outputs, leaves, [w.clone() for w in rule.incoming], allow_unused=True)
        parts = [None if g is None else forward_ad.unpack_dual(g) for g in found]
        return [
            None if p is None else torch.zeros_like(p.primal) if p.tangent is None else p.tangent.detach().clone()
            for p in parts
        ]


def gradient_slope(rule: Rule, ways: list[torch.Tensor], h: float) -> list[torch.Tensor]:
    ends = []
    for step in (h, -h):
        moved = [x + step * d.to(x.dtype) for x, d in zip(rule.values, ways, strict=True)]
        ends.append(gradient_of(rule, moved, rule.incoming))
    return [
        torch.zeros_like(x) if a is None or b is None else (a - b) / (2 * h)
        for x, a, b in zip(rule.values, *ends, strict=True)
    ]


def wrong_over_reverse(rule: Rule, ways: list[torch.Tensor], i: int, gap: float) -> Finding:
    sentence = (
        f"forward mode through backward of {rule.name} (as torch.func.hessian goes) gives another derivative of the "
        f"gradient of {rule.names[i]} than differences do, by up to {gap:.3g}, though jvp itself is right: a value "
        f"that backward reads carries no tangent. Name it in ctx.save_for_forward, or compute it in backward."
    )
    at = returned_at(lambda: tangents(rule, ways), rule.call.cls.jvp)
    return Finding("wrong_jvp", sentence, entry=rule.name, slot=rule.names[i], read_at=at, order=2)
