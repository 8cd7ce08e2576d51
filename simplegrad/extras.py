"""What `pip install simplegrad` leaves out, and the sentence for whoever lacks it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

EXTRAS = {"app": ("streamlit", "plotly")}  # as in pyproject.toml


class MissingExtra(ImportError):
    """A part of simplegrad needs a package that is not installed; the message names the extra that brings it."""


def missing(modules: Sequence[str]) -> list[str]:
    """Those of `modules` that are not installed."""
    return [module for module in modules if not find_spec(module)]


def need(what: str, *modules: str, extra: str = "app") -> None:
    """Raise MissingExtra if one of `modules` (all of the extra's by default) is not installed."""
    lacking = missing(modules or EXTRAS[extra])
    if lacking:
        are = "is" if len(lacking) == 1 else "are"
        cure = f'Install: pip install "simplegrad[{extra}]"'
        raise MissingExtra(f"{what} needs {' and '.join(lacking)}, which {are} not installed. {cure}")
