"""The player's script and style, joined from their files: what a page, a file or a notebook cell mounts."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from . import palette

_HERE = Path(__file__).parent / "player"
_IMPORT = re.compile(r"^import [^;]* from \"\./(\w+)\.js\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)
_DEFAULT = re.compile(r"^export default \w+;\n", re.MULTILINE)


@cache
def script(mount: str) -> str:
    """`player/MOUNT.js` with all that it imports, as one module: names are unique over all files of the player."""
    texts = {name: _EXPORT.sub("", _IMPORT.sub("", (_HERE / f"{name}.js").read_text())) for name in modules(mount)}
    return "\n".join(text if name == mount else _DEFAULT.sub("", text) for name, text in texts.items())


@cache
def modules(mount: str) -> tuple[str, ...]:
    """The names of a module and of all that it imports, each behind those that it imports itself."""
    found: dict[str, None] = {}
    for name in _IMPORT.findall((_HERE / f"{mount}.js").read_text()):
        found.update(dict.fromkeys(modules(name)))
    return (*found, mount)


@cache
def style() -> str:
    """Colours for both themes, and the player's own rules."""
    return palette.css() + (_HERE / "player.css").read_text()
