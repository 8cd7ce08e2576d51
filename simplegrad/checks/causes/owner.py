"""Whose code a frame runs: the person's whose backward is checked, or a library's."""

from __future__ import annotations

import functools
import site
import sys
import sysconfig
import traceback
import types
from pathlib import Path

import torch

from ..report import Place

OURS = Path(__file__).resolve().parents[2]
OURS_TO_SHOW = "gallery"  # Functions of ours that stand for somebody's
NOT_THE_USERS = (*(f"{OURS}/{part}/" for part in ("checks", "compiler", "engine", "ops", "torch_bridge")), "<")
NOT_THE_USERS += (str(Path(torch.__file__).parent),)


def user_line(error: BaseException) -> Place | None:
    """The last line of a traceback that is neither PyTorch's nor ours."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.lineno]
    own = [f for f in frames if not f.filename.startswith(NOT_THE_USERS)]
    return Place(own[-1].filename, own[-1].lineno, own[-1].lineno, own[-1].line or "") if own else None


@functools.cache
def _libraries() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    found = {paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"], *site.getsitepackages()}
    found |= {site.getusersitepackages(), str(Path(torch.__file__).parents[1])}
    found |= {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}  # by a .pth, say
    return tuple(str(Path(path).resolve()) + "/" for path in found)


@functools.lru_cache(maxsize=4096)
def package_of(file: str) -> str:
    """The library that a file belongs to, as the path of its folder; "" for a person's own file."""
    if file.startswith("<frozen"):
        return "python"
    path = str(Path(file).resolve()) if not file.startswith("<") else file
    if path.startswith(f"{OURS}/"):
        return "" if path.startswith(f"{OURS}/{OURS_TO_SHOW}/") else str(OURS)
    library = max((root for root in _libraries() if path.startswith(root)), key=len, default="")
    return library + path[len(library) :].split("/")[0] if library else ""


class Owner:
    """A person's own code, or, where a Function stands in an installed package, that package's too: never torch's.

    `codes`: of the Function's methods. One that it inherits, `setup_context` say, may be torch's.
    """

    def __init__(self, *codes: types.CodeType) -> None:
        nobodys = {package_of(torch.__file__), str(OURS)}
        self.packages = {"", *({package_of(code.co_filename) for code in codes} - nobodys)}
        self.known: dict[types.CodeType, bool] = {}

    def has(self, code: types.CodeType) -> bool:
        found = self.known.get(code)
        if found is None:
            found = self.known[code] = package_of(code.co_filename) in self.packages
        return found
