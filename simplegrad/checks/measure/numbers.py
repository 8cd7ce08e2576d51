"""Inner products, step sizes and derivatives by finite differences that say how far they can be trusted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...torch_private import DisableTorchFunctionSubclass

# Step sizes to try, likely best first, by precision of what is computed.
STEPS = {64: (1e-5, 1e-4, 1e-3, 1e-6, 1e-2), 32: (1e-2, 5e-3, 3e-2, 1e-3, 1e-1)}


@dataclass(frozen=True)
class Slope:
    """A derivative found by finite differences, and how much its last digits moved with the step size."""

    value: float
    error: float

    def disagrees(self, other: float, scale: float, tolerance: float = 1e-4) -> bool:
        """Whether `other` is a different number, beyond what the step size and the scale can explain."""
        if not math.isfinite(self.value):
            return False
        if not math.isfinite(other):  # 0 * inf somewhere in a second backward, where differences are finite
            return self.error <= 1e-2 * (abs(self.value) + scale)
        return abs(self.value - other) > max(20 * self.error, tolerance * scale)


def slope(evaluate: Callable[[float], float], bits: int = 64, noise: float = 0.0) -> Slope:
    """Derivative at 0 of `evaluate`: central differences at several steps, the two neighbours that agree best.

    Two steps are enough where they agree to four digits. Neighbours that disagree mark rounding on one side, and
    curvature or a kink on the other.
    """
    found: dict[float, float] = {}
    for h in STEPS[bits]:
        found[h] = (evaluate(h) - evaluate(-h)) / (2 * h)
        if len(found) == 2 and close(*found.values(), noise):
            break
    best = steepest(found)
    return Slope(best.value, best.error + noise)


def by_elements(
    evaluate: Callable[[list[torch.Tensor]], float], values: Sequence[torch.Tensor], which: int, h: float
) -> torch.Tensor:
    """Central differences of a number by each element of one tensor, the others as they are."""
    gradient = torch.zeros_like(plain(values[which].detach()), memory_format=torch.contiguous_format)
    for k in range(gradient.numel()):
        for unit in (1.0, 1j) if gradient.is_complex() else (1.0,):
            way = torch.zeros_like(gradient)
            way.view(-1)[k] = unit
            ahead, behind = (evaluate(one_moved(values, which, way, step)) for step in (h, -h))
            gradient.view(-1)[k] += unit * (ahead - behind) / (2 * h)
    return gradient


def steepest(found: dict[float, float]) -> Slope:
    """Of slopes by step size, that one whose neighbour agrees best; how far they are apart is its error."""
    steps = sorted(found)
    pairs = [(abs(found[a] - found[b]), a) for a, b in itertools.pairwise(steps)]
    pairs = [pair for pair in pairs if math.isfinite(pair[0])]
    if not pairs:
        return Slope(math.nan, math.inf)
    gap, small = min(pairs)
    return Slope(found[small], gap)


def close(a: float, b: float, noise: float = 0.0) -> bool:
    """Whether two slopes agree so well that no third step size is tried."""
    return abs(a - b) <= 1e-5 * max(abs(a), abs(b)) + noise


def grows(slopes: Sequence[float]) -> bool:
    """Whether slopes for smaller and smaller steps, each the same part of the last, go on growing: no bound is near.

    As those of a root at 0 do, and those of x log x, which grow by the same amount each time.
    """
    more = [b - a for a, b in itertools.pairwise(slopes)]
    is_up = slopes[0] > 0 and all(m > 1e-3 * a for m, a in zip(more, slopes))
    return is_up and all(b > 0.5 * a for a, b in itertools.pairwise(more))


def inner(a: Any, b: Any) -> float:
    """Real inner product; a missing gradient counts as zero."""
    if a is None or b is None:
        return 0.0
    return float(_product(a.detach(), b))


def inner_sum(a: Iterable[Any], b: Iterable[Any]) -> float:
    """The inner product of several tensors with several others."""
    return sum(inner(x, y) for x, y in zip(a, b, strict=True))


def inner_graph(a: Any, b: torch.Tensor) -> torch.Tensor:
    """Real inner product that autograd can follow."""
    return _product(a, b)


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = plain(a), plain(b)
    if a.shape != b.shape:  # the engine also sums a gradient to its input's shape
        a = a.sum_to_size(b.shape)
    product = a.conj() * b if b.is_complex() or a.is_complex() else a * b
    return (product.real if product.is_complex() else product).sum()


def is_floating(value: Any) -> bool:
    """Whether it is a tensor that can have a gradient: a floating or a complex one."""
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def requires_grad(value: Any) -> bool:
    """Whether it is a tensor that autograd follows."""
    return isinstance(value, torch.Tensor) and value.requires_grad


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """As an ordinary dense tensor, whatever subclass or layout it has."""
    if type(tensor) is not torch.Tensor:
        with DisableTorchFunctionSubclass():
            tensor = tensor.as_subclass(torch.Tensor)
    return tensor.to_dense() if tensor.layout != torch.strided else tensor


def in_one_row(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Flat tensors behind each other, on the device of the first."""
    return torch.cat([part.to(parts[0].device) for part in parts])


def moved(value: torch.Tensor, direction: torch.Tensor, h: float) -> torch.Tensor:
    """`value + h * direction` element by element, also for a subclass whose `+` means something else."""
    result = value.detach().clone()
    with torch.no_grad(), DisableTorchFunctionSubclass():
        result.add_(direction.to(result.dtype), alpha=h)
    return result


def all_moved(values: Sequence[torch.Tensor], ways: Sequence[torch.Tensor], h: float) -> list[torch.Tensor]:
    """Each moved along its own way."""
    return [moved(value, way, h) for value, way in zip(values, ways, strict=True)]


def one_moved(values: Sequence[torch.Tensor], which: int, way: torch.Tensor, h: float) -> list[torch.Tensor]:
    """One of them moved, the others as they are."""
    return [moved(value, way, h) if i == which else value for i, value in enumerate(values)]


def directions(values: Iterable[torch.Tensor], generator: torch.Generator, scaled: bool = True) -> list[torch.Tensor]:
    """A random direction for each tensor, as large as the tensor's own elements where `scaled`."""
    return [_direction(value, generator, scaled) for value in values]


def _direction(value: torch.Tensor, generator: torch.Generator, scaled: bool) -> torch.Tensor:
    return drawn(value, generator) * size_of(value) if scaled else drawn(value, generator)


def drawn(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random numbers in the shape and the kind of a tensor."""
    like = plain(like.detach())
    draw = torch.randn(like.shape, generator=generator, dtype=_complex_or_double(like))
    return draw.to(like.dtype).to(like.device)


def _complex_or_double(value: torch.Tensor) -> torch.dtype:
    return torch.complex128 if value.is_complex() else torch.float64


def size_of(value: torch.Tensor) -> float:
    """Root mean square of the elements, 1 for an empty or zero tensor; what a step is measured by."""
    if value.numel() == 0:
        return 1.0
    size = float(plain(value.detach()).abs().double().square().mean().sqrt())
    return min(max(size, 1e-3), 1e3) if size > 0 and math.isfinite(size) else 1.0


def norm(tensors: Iterable[Any]) -> float:
    """Joint Euclidean norm; None counts as zero."""
    return math.sqrt(sum(float(plain(t.detach()).abs().double().square().sum()) for t in tensors if t is not None))


def largest(tensor: torch.Tensor | None) -> float:
    """The largest absolute value of its finite elements; 0 for None."""
    if tensor is None or not tensor.numel():
        return 0.0
    value = plain(tensor.detach())
    value = value.double() if value.dtype == torch.bool else value.abs().double()
    return float(value.nan_to_num(0.0, 0.0, 0.0).max())


def unlike(
    found: Iterable[Any], expected: Iterable[Any], tolerance: float, scale: float = 0.0, finite: bool = False
) -> list[int]:
    """Places of the gradients that are not the same up to `tolerance` of their largest element; None counts as zeros.

    `scale`: what they are measured by where that is larger. NaN is the same as NaN; with `finite` no element is looked
    at that is not finite in both.
    """
    pairs = zip(found, expected, strict=True)
    return [i for i, (a, b) in enumerate(pairs) if not _alike(a, b, tolerance, scale, finite)]


def _alike(a: torch.Tensor | None, b: torch.Tensor | None, tolerance: float, scale: float, finite: bool) -> bool:
    if a is None or b is None:
        there = a if b is None else b
        return there is None or largest(there) <= tolerance * scale
    a, b = plain(a.detach()), plain(b.detach())
    if a.shape != b.shape:
        return False
    if a.dtype == b.dtype and a.device == b.device and torch.equal(a, b):  # as it mostly is
        return True
    limit = tolerance * max(largest(a), largest(b), scale)
    apart = (a - b).abs().double()
    same = (a == b) | (a.isnan() & b.isnan())
    if finite:
        same |= ~(torch.isfinite(a) & torch.isfinite(b))
    return bool((same | (apart <= limit)).all())


# -- comparing with what is right --------------------------------------------------------------------------------------


def gap(found: torch.Tensor | None, truth: torch.Tensor | None) -> float:
    """How far the element that is furthest off is from the truth.

    None is zeros, and what autograd would sum to the truth's shape is summed; any other shape is infinitely far off.
    Where the truth is not finite nothing can be said, and nothing is compared.
    """
    if found is None or truth is None:
        return largest(found if truth is None else truth)
    found, truth = plain(found.detach()), plain(truth.detach())
    if found.shape != truth.shape:
        try:
            found = found.sum_to_size(truth.shape)
        except RuntimeError:
            return math.inf
    if truth.dtype == torch.bool or found.dtype == torch.bool:
        return 0.0 if torch.equal(found, truth) else 1.0
    apart = (found - truth).abs()
    known = torch.isfinite(truth)
    apart = apart if bool(known.all()) else apart[known]
    return float(apart.nan_to_num(nan=math.inf).max()) if apart.numel() else 0.0


def same(found: torch.Tensor | None, truth: torch.Tensor | None, limit: float) -> bool:
    """Whether no element is further off than `limit`."""
    return gap(found, truth) <= limit


def near(found: torch.Tensor | None, truth: torch.Tensor | None, tolerance: float, least: float = 0.0) -> bool:
    """Equal up to rounding: up to `tolerance` of the largest element of the truth, and below `least` all is zero."""
    return gap(found, truth) <= tolerance * largest(truth) + least


def size(gradients: Iterable[torch.Tensor | None]) -> float:
    """The largest element of some gradients."""
    return max(map(largest, gradients), default=0.0)


@dataclass(frozen=True)
class Tolerance:
    """What counts as equal: `relative` to the largest element of all gradients of that order, plus `absolute`."""

    relative: float
    absolute: float

    def of(self, gradients: Sequence[torch.Tensor | None], scale: float = 1.0) -> float:
        return self.absolute * max(scale, 1.0) + self.relative * size(gradients)

    def agree(self, found: Sequence[torch.Tensor | None], truth: Sequence[torch.Tensor | None]) -> bool:
        return worst(found, truth) <= self.of(truth)


def worst(found: Iterable[torch.Tensor | None], truth: Iterable[torch.Tensor | None]) -> float:
    """The largest difference of some gradients."""
    return max((gap(f, t) for f, t in zip(found, truth)), default=0.0)


def tolerance(bits: int, exact: bool) -> Tolerance:
    """For gradients whose truth is known up to rounding (`exact`), or by differences."""
    if bits != 64:
        return Tolerance(2e-3, 1e-4) if exact else Tolerance(2e-2, 2e-2)
    return Tolerance(1e-7, 1e-12) if exact else Tolerance(1e-5, 1e-7)
