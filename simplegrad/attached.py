"""Methods that keep, show, or ask what lies above their class: written up there, and known here by name alone.

So a trace has `show` and `why`, and nothing that makes a trace imports a page.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

from .extras import EXTRAS, missing

Class = TypeVar("Class", bound=type)

# Each is imported when it is called. One whose name begins with a point is given no object.
_SHOWN = {"show": "view.display:show", "_repr_mimebundle_": "view.display:mimebundle"}
_METHODS = {
    "CompiledAggregate": {"to_html": "view.compiled_html:compiled_html", **_SHOWN},
    "Trace": {
        "save": "trace.store:save",
        ".load": "trace.store:load",
        "__reduce__": "trace.store:reduced",
        "to_html": "view.html:trace_html",
        "why": "reasons.why:why",
        **_SHOWN,
    },
    "Comparison": {"to_html": "view.html:comparison_html", **_SHOWN},
    "RunComparison": {"to_html": "view.html:comparison_html", **_SHOWN},
    "Report": {"to_html": "view.html:report_html", **_SHOWN},
    "CallsReport": {"to_html": "view.html:calls_html", **_SHOWN},
}


class Shown:
    """For type checkers: the methods that `attached` gives to whatever has a page."""

    if TYPE_CHECKING:  # see simplegrad/view/html.py and display.py

        def to_html(
            self,
            path: str | PathLike[str] | None = None,
            *,
            title: str | None = None,
            step: int | None = ...,
            include_plotlyjs: bool | str = True,
        ) -> str | None: ...

        def show(self, height: int = ..., **options: object) -> None: ...


def attached(cls: Class) -> Class:
    """A class with its methods of _METHODS: what it shows is written above it, and known to it by name alone."""
    for name, where in _METHODS[cls.__name__].items():
        late = _late(name.removeprefix("."), where)
        setattr(cls, late.__name__, staticmethod(late) if name.startswith(".") else late)
    return cls


def _late(name: str, where: str) -> Any:
    def method(*arguments: Any, **options: Any) -> Any:
        module, function = where.split(":")
        if name == "_repr_mimebundle_" and not _can_show():
            return {"text/plain": repr(arguments[0])}
        return getattr(import_module(f".{module}", __package__), function)(*arguments, **options)

    method.__name__, method.__qualname__ = name, name
    method.__doc__ = f"See simplegrad.{where.replace(':', '.')}."
    return method


def _can_show() -> bool:
    """Whether what draws is installed: a notebook without it shows text."""
    return "plotly" not in missing(EXTRAS["app"])
