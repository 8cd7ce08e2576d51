"""Gradients that are meant not to be forward's derivative: declared by their author, or told by what forward does.

Two kinds tell themselves: a forward that is constant nearly everywhere (round, sign, a step, a sample), whose own
derivative is of no use to anybody, and one that returns an input unchanged (reversal, scaling, clipping of gradients),
which is called for nothing but its backward.
"""

from __future__ import annotations

import torch

from ..measure.numbers import plain, size_of
from ..subjects.function import Rule

FEW = 0.05  # of the elements of an output may be beside a step
MOST = 0.7  # of the elements of an input do nothing alone, where it is rounded to a scale of its own


def told_by_itself(rule: Rule, wrong: list[tuple[int, int]]) -> str:
    """Why gradients, each of one output by one input, are meant otherwise; empty where forward does not say so."""
    points = [rule.values, *_elsewhere(rule.values)]
    seen = [(at, found) for at in points if (found := _values(rule, at)) is not None and _are_numbers(found)]
    if len(seen) < 3:
        return ""
    outputs = {j for j, _ in wrong}
    if all(any(_is_constant(rule, seen, j, i) for k, i in wrong if k == j) for j in outputs):
        return "forward is constant nearly everywhere"
    if all(any(_is_unchanged(seen, j, i) for k, i in wrong if k == j) for j in outputs):
        return "forward returns its input unchanged"
    return ""


def hands_on(rule: Rule, wrong: list[int]) -> bool:
    """Whether each of these outputs is an argument as it came: what it has to do with other inputs, whose gradients
    are not zero, only the caller knows."""
    seen = [(at, found) for at in [rule.values, *_elsewhere(rule.values)] if (found := _values(rule, at)) is not None]
    return len(seen) > 2 and all(_is_argument(rule, seen, j) for j in wrong)


def _elsewhere(values: list[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Points far from the given one: what holds there too is no matter of a region."""
    generator = torch.Generator().manual_seed(31)

    def noise(x: torch.Tensor) -> torch.Tensor:
        return torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype).to(x.device)

    plain_ = [plain(x.detach()) for x in values]
    return [
        [-x for x in plain_],
        [x + 3 * size_of(x) * noise(x) for x in plain_],
        [noise(x) for x in plain_],
        [0.3 * noise(x) for x in plain_],
    ]


def _values(rule: Rule, at: list[torch.Tensor]) -> list[torch.Tensor] | None:
    try:
        return [plain(out.detach()) for out in rule.outputs(at)[1]]
    except Exception:  # it is not defined there
        return None


def _are_numbers(outputs: list[torch.Tensor]) -> bool:
    return not any(bool(out.isnan().any()) for out in outputs)


def _is_constant(rule: Rule, seen: list, j: int, i: int) -> bool:
    """Whether output j stays the same when input i moves a little, anywhere, and yet depends on it."""
    h = 1e-7 if rule.bits == 64 else 1e-4
    varied, asked = _varied(rule, seen, j, i), 0
    generator = torch.Generator().manual_seed(32)
    for at, outputs in seen:
        x = plain(at[i].detach())
        way = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype).to(x.device)
        step = h * size_of(x) * way
        there = _values(rule, [*at[:i], x + step, *at[i + 1 :]])
        if there is None or j >= len(there):
            return False
        apart = _apart(outputs[j], there[j], rule.bits)
        if _stands_on_steps(rule, (at, outputs), j, i, step, there):
            continue
        asked += 1
        if not _are_few(apart, varied) and not _rests_on_few(rule, at, outputs, j, i, step):
            return False
    return asked > 1 and bool(varied.any())


def _stands_on_steps(rule: Rule, given: tuple, j: int, i: int, step: torch.Tensor, there: list) -> bool:
    """Whether a move of a hundredth changes as much: the given point, zeros perhaps, lies on the edge of a step."""
    (at, outputs), x = given, plain(given[0][i].detach())
    nearer = _values(rule, [*at[:i], x + step / 100, *at[i + 1 :]])
    if nearer is None or j >= len(nearer):
        return False
    far, near = (float((each[j] - outputs[j]).abs().double().sum()) for each in (there, nearer))
    return near > 0.5 * far > 0


def _rests_on_few(rule: Rule, at: list, outputs: list, j: int, i: int, step: torch.Tensor) -> bool:
    """Whether an output of its input's shape moves with hardly any element of it: rounding to a scale taken from the
    largest, say. A few elements are tried alone, which then move nothing at all: not themselves either."""
    count = step.numel()
    if outputs[j].shape != step.shape or count < 4:
        return False
    tried = torch.linspace(0, count - 1, min(count, 12)).long().tolist()
    still = 0
    for k in tried:
        alone = torch.zeros_like(step)
        alone.view(-1)[k] = step.reshape(-1)[k]
        there = _values(rule, [*at[:i], plain(at[i].detach()) + alone, *at[i + 1 :]])
        still += there is not None and j < len(there) and not bool(_apart(outputs[j], there[j], rule.bits).any())
    return still >= MOST * len(tried)


def _varied(rule: Rule, seen: list, j: int, i: int) -> torch.Tensor:
    """Which elements of output j another input i, far off, gives another value. Those of a buffer that input i is
    written into in one place are constant for no reason of its own."""
    given, outputs = seen[0]
    varied = torch.zeros(outputs[j].shape, dtype=torch.bool, device=outputs[j].device)
    for at, _ in seen[1:]:
        there = _values(rule, [*given[:i], at[i], *given[i + 1 :]])
        if there is not None and j < len(there) and there[j].shape == varied.shape:
            varied |= _apart(outputs[j], there[j], rule.bits)
    return varied


def _apart(a: torch.Tensor, b: torch.Tensor, bits: int) -> torch.Tensor:
    """Which elements differ by more than rounding; all of them where the shapes do."""
    if a.shape != b.shape:
        return torch.ones(a.shape, dtype=torch.bool, device=a.device)
    if not a.numel():
        return torch.zeros(a.shape, dtype=torch.bool, device=a.device)
    largest = a.abs().double().nan_to_num(0, 0, 0).max()
    return (a - b).abs().double() > (1e-12 if bits == 64 else 1e-6) * largest


def _are_few(apart: torch.Tensor, varied: torch.Tensor) -> bool:
    return apart.shape == varied.shape and int((apart & varied).sum()) <= FEW * int(varied.sum())


def _is_unchanged(seen: list, j: int, i: int) -> bool:
    return all(_is_same(plain(at[i].detach()), outputs[j]) for at, outputs in seen)


def _is_argument(rule: Rule, seen: list, j: int) -> bool:
    """Whether output j is one of the inputs, or an argument that no gradient is wanted for."""
    held = (plain(x.detach()) for x in rule.call.args if isinstance(x, torch.Tensor) and x.layout is torch.strided)
    held = (x for x in held if x.dtype == seen[0][1][j].dtype)
    return any(_is_unchanged(seen, j, i) for i in range(len(rule.values))) or any(
        all(_is_same(x, outputs[j]) for _, outputs in seen) for x in held
    )


def _is_same(x: torch.Tensor, y: torch.Tensor) -> bool:
    return x.numel() == y.numel() and torch.equal(x.reshape(-1), y.reshape(-1).to(x.dtype))
