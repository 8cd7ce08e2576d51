"""The gallery of the PyTorch page: which Functions there are, and how to get one to run or to check.

Each stands in a file of its own in `simplegrad/gallery/`, in the form that `python -m simplegrad check FILE` takes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Exhibit:
    """One of the gallery. `passes`: how many are run to show it; the function may well run one of its own."""

    name: str
    title: str
    passes: int = 2

    @property
    def module(self):
        """The file, imported when it is asked for."""
        return importlib.import_module(f"simplegrad.gallery.{self.name.replace('-', '_')}")

    @property
    def sentence(self) -> str:
        return " ".join(self.module.__doc__.split())

    def prepared(self) -> tuple[Callable, tuple]:
        """The function, and its inputs made anew."""
        return self.module.case()


GALLERY: dict[str, Exhibit] = {
    exhibit.name: exhibit
    for exhibit in (
        Exhibit("sinh-bad", "sinh, bad: keeps its exponentials"),
        Exhibit("sinh-good", "sinh, good: returns its exponentials"),
        Exhibit("layer-norm", "LayerNorm with saved mean and rstd"),
        Exhibit("rms-norm", "RMSNorm, computed again in backward"),
        Exhibit("swish", "swish that keeps its sigmoid"),
        Exhibit("softmax-loss", "a loss that keeps its softmax"),
        Exhibit("gradient-reversal", "gradient reversal"),
        Exhibit("straight-through", "a straight-through estimator"),
        Exhibit("gradient-penalty", "gradient penalty through a small network", passes=1),
        Exhibit("hidden-nan", "a NaN that where hides"),
    )
}
