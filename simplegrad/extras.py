"""What `pip install simplegrad` leaves out, and the sentence for whoever lacks it."""

from __future__ import annotations

from importlib.util import find_spec

EXTRAS = {"app": ("streamlit", "plotly")}  # as in pyproject.toml


class MissingExtra(ImportError):
    """A part of simplegrad needs a package that is not installed; the message names the extra that brings it."""


def need(what: str, *modules: str, extra: str = "app") -> None:
    """Raise MissingExtra if one of `modules` (all of the extra's by default) is not installed."""
    missing = [module for module in modules or EXTRAS[extra] if not find_spec(module)]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        cure = f'Install: pip install "simplegrad[{extra}]"'
        raise MissingExtra(f"{what} needs {' and '.join(missing)}, which {are} not installed. {cure}")
