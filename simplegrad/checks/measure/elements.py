"""Elements of a tensor in words."""

from __future__ import annotations

import torch

MOST_NAMED = 4


def elements(name: str, mask: torch.Tensor) -> str:
    """`x[0, 1] and x[2, 3]`, the first few by their places."""
    places = [", ".join(map(str, place)) for place in mask.nonzero().tolist()]
    if mask.dim() == 0:
        return name
    told = [f"{name}[{place}]" if name.isidentifier() else f"[{place}]" for place in places[:MOST_NAMED]]
    if len(places) > MOST_NAMED:
        said = f"{', '.join(told)} and {len(places) - MOST_NAMED} more of {mask.numel()} elements"
    else:
        said = told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
    return said if name.isidentifier() else f"{said} of {_article(name)}"


def _article(name: str) -> str:
    """`the output`, `output 1`, `the incoming gradient`, `the gradient of x`."""
    name = name.removeprefix("its ").removeprefix("the ")
    return name if name[-1].isdigit() and name.startswith(("input", "output")) else f"the {name}"
