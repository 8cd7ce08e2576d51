"""What wrong numbers have in common with the right ones, in plain words: a factor, the sign, transposed, conjugated."""

from __future__ import annotations

from typing import Any

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
