"""The player's script and style, joined from their files: what a page, a file or a notebook cell mounts.

Streamlit sends a component's script to the browser with every change of its data. So a page is sent one library, which
never changes, and each of its parts is a few lines that find themselves in it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from . import palette

_HERE = Path(__file__).parent / "player"
_IMPORT = re.compile(r"^import [^;]* from \"\./(\w+)\.js\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)
_DEFAULT = re.compile(r"^export default \w+;\n", re.MULTILINE)
PARTS = ("mount", "editor", "field", "learn", "compare", "pytorch", "ranks", "why")  # of pages
_HOME = "const home = (window.simplegradLibrary ??= {});\n"


@cache
def library() -> str:
    """All that pages mount, as one module."""
    names = dict.fromkeys(name for part in PARTS for name in modules(part))
    texts = [re.sub(r"^export default ", f"const {name}_part = ", plain(name), flags=re.MULTILINE) for name in names]
    parts = ", ".join(f"{name}: {name}_part" for name in PARTS)
    return "\n".join([*texts, f"{_HOME}home.parts = {{ {parts} }};\nhome.come?.();\nexport default () => {{}};\n"])


def part(name: str) -> str:
    """The script of one of PARTS: as soon as the library is there, it is what that has."""
    return (
        f"{_HOME}home.came ??= new Promise((resolve) => {{ home.come = resolve; }});\n"
        f"if (!home.parts) await home.came;\nexport default (component) => home.parts.{name}(component);\n"
    )


def plain(name: str) -> str:
    """A module's text without what it imports and exports, its default aside."""
    return _EXPORT.sub("", _IMPORT.sub("", (_HERE / f"{name}.js").read_text()))


@cache
def script(mount: str) -> str:
    """`player/MOUNT.js` with all that it imports, as one module: names are unique over all files of the player."""
    texts = {name: plain(name) for name in modules(mount)}
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
