"""What wrong numbers have in common with the right ones, and what repairs a statement, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..measure.numbers import near, plain
from ..report import Place

if TYPE_CHECKING:
    from .culprit import Culprit
    from .samples import Sample, Samples

Relation = float | str | None  # a factor; or how the right ones were changed


def factor_in_words(value: Any) -> str:
    if isinstance(value, complex):
        return f"({value.real:.4g}{value.imag:+.4g}j)"
    return f"{value:.4g}" if abs(abs(value) - 1) > 1e-3 else f"{value:.8g}"


def explanation_of(relation: Relation) -> str:
    """What makes the wrong out of the right, as `Finding.explanation` says it."""
    if relation is None or isinstance(relation, str):
        return relation or ""
    if abs(relation + 1) < 1e-6:
        return "the sign"
    factor = f"a constant factor of {factor_in_words(abs(relation))}"
    return factor if relation > 0 else f"the sign, and {factor}"


def times_in_words(factor: float) -> str:
    """How a wrong value relates to the right one: it is `factor` times it."""
    if abs(factor + 1) < 1e-6:
        return "the right one with the wrong sign"
    if factor < 0:
        return f"{factor_in_words(-factor)} times the right one, with the wrong sign"
    return f"{factor_in_words(factor)} times the right one"


def relation(samples: Samples, slots: list[int]) -> Relation:
    """What the returned gradients of these inputs are, by the right ones: a factor, "conjugated", "transposed"."""
    pairs = [(s.returned[i], s.truth[i], s) for s in samples.each for i in slots]
    if any(g is None or t is None for g, t, _ in pairs):
        return None
    factor = common_factor(pairs)
    if factor is not None and abs(factor) > 1e-6 and all(_are(samples, g, factor * t, s) for g, t, s in pairs):
        return factor
    for words, change in OTHER_WAYS:
        if all(_fits(t) and _are(samples, g, change(t), s) for g, t, s in pairs for _fits in [FITS[words]]):
            return words
    return None


def all_in_words(relation: Relation) -> str:
    """What several gradients are, for a sentence."""
    if isinstance(relation, float):
        return times_in_words(relation).replace("one", "ones")
    return f"the right ones, {relation}"


def common_factor(pairs: list[tuple]) -> float | None:
    """The real factor by least squares; None for fewer than three numbers."""
    found = [(plain(g.detach()), plain(t.detach())) for g, t, _ in pairs]
    if any(g.shape != t.shape or g.is_complex() != t.is_complex() for g, t in found):
        return None
    g = torch.cat([_flat(g) for g, _ in found])
    t = torch.cat([_flat(t) for _, t in found])
    size = float(t @ t)
    return float(g @ t) / size if len(t) >= 3 and size > 0 else None


def _flat(x: torch.Tensor) -> torch.Tensor:
    return (torch.view_as_real(x.resolve_conj()) if x.is_complex() else x).flatten().double().cpu()


def _are(samples: Samples, found: torch.Tensor, expected: torch.Tensor, sample: Sample) -> bool:
    return found.shape == expected.shape and near(found, expected, samples.tolerance, samples.least(sample))


OTHER_WAYS = (("conjugated", lambda t: t.conj().resolve_conj()), ("transposed", lambda t: t.mT))
FITS = {"conjugated": lambda t: t.is_complex(), "transposed": lambda t: t.dim() >= 2 and t.shape[-1] == t.shape[-2]}


def explained_by(culprit: Culprit) -> str:
    """What repairs the statement."""
    if culprit.how == "zero":
        return "it gives zeros"
    if culprit.how == "factor" and culprit.factor is not None:
        return f"its value is {times_in_words(1 / culprit.factor)}"
    if culprit.how in ("transposed", "conjugated", "inverted"):
        return f"its value is right once it is {culprit.how}"
    if culprit.how == "missing" and culprit.suspect is not None:
        return f"{culprit.suspect.missing} is missing in it"
    if culprit.how == "meaning" and culprit.meant is not None:
        return f"{culprit.meant.what} belongs in the place of its value"
    return ""


def cause_in(culprit: Culprit | None) -> str:
    """The same as `Finding.explanation` has it: a few words."""
    if culprit is None or not culprit.is_sure:
        return ""
    if culprit.how == "factor" and culprit.factor is not None:
        return explanation_of(1 / culprit.factor)
    if culprit.how == "missing" and culprit.suspect is not None:
        return f"{culprit.suspect.missing} is missing"
    if culprit.how == "meaning" and culprit.meant is not None:
        return f"another value than {culprit.meant.what}"
    return {"zero": "zeros", "transposed": "transposed", "conjugated": "conjugated", "inverted": "inverted"}.get(
        culprit.how, ""
    )


def place_in_words(place: Place) -> str:
    lines = f"line {place.first}" if place.first == place.last else f"lines {place.first} to {place.last}"
    return f"at {lines}, `{' '.join(place.text.split())}`"
