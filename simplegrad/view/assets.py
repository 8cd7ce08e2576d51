"""The player's script and style, joined from their files: what a page, a file and a notebook cell mount."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from . import palette

# Each stands behind those that it imports from. Joined they are one module: names are unique over all of them.
MODULES = ("contract", "dom", "shared", "history", "card", "graph", "panels", "marks", "player")
_HERE = Path(__file__).parent / "player"
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)


@cache
def script(*mounts: str) -> str:
    """One module: the player, and behind it the files of `mounts`, the last of which may have a default export."""
    texts = [(_HERE / f"{name}.js").read_text() for name in (*MODULES, *mounts)]
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", text)) for text in texts)


@cache
def style() -> str:
    """Colours for both themes, and the player's own rules."""
    return palette.css() + (_HERE / "player.css").read_text()
