"""What is wrong with a file of the user's: which file, which line, that line, and why."""

from __future__ import annotations

import linecache
import os
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileProblem:
    """Why a file (or its newest version) cannot be used: `line` counts from 1, `text` is that line as it stands."""

    file: str
    message: str
    line: int | None = None
    text: str = ""
    column: int | None = None

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"    {line}" for line in self.excerpt.splitlines())])

    @property
    def headline(self) -> str:
        """`my_ops.py:7: SyntaxError: invalid syntax`"""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"

    @property
    def excerpt(self) -> str:
        """The line, and a caret under the place where that is known."""
        if self.column is None:
            return self.text
        return f"{self.text}\n{' ' * (self.column - 1)}^"


class FileProblemError(Exception):
    """Carries a FileProblem out of whatever found it."""

    def __init__(self, problem: FileProblem):
        super().__init__(str(problem))
        self.problem = problem


def problem_of(error: BaseException, path: Path, text: str) -> FileProblem:
    """Where in the file (or in a module beside it) an exception came from, and what it says."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        line = (error.text or _line(error.filename, error.lineno or 0, path, text)).rstrip("\n")
        return FileProblem(error.filename, f"{type(error).__name__}: {error.msg}", error.lineno, line, error.offset)
    message = f"{type(error).__name__}: {error}".removesuffix(": ")
    if isinstance(error, SystemExit):
        message = "it ended with sys.exit(). Put what is to run only as a script under if __name__ == '__main__'."
    return at_frame(getattr(error, "stack", None) or traceback.extract_tb(error.__traceback__), path, text, message)


def at_frame(stack: traceback.StackSummary, path: Path, text: str, message: str) -> FileProblem:
    """A problem at the innermost frame that is in the file, or in a module beside it."""
    folder = str(path.parent) + os.sep
    frames = [f for f in stack if f.filename.startswith(folder) and f.lineno]
    if not frames:
        return FileProblem(str(path), message)
    at = frames[-1]
    return FileProblem(at.filename, message, at.lineno, _line(at.filename, at.lineno, path, text))


def _line(file: str, number: int, path: Path, text: str) -> str:
    lines = text.splitlines() if file == str(path) else [line.rstrip("\n") for line in linecache.getlines(file)]
    return lines[number - 1] if 0 < number <= len(lines) else ""


def at_line(origin: str, line: int | None, message: str, module: types.ModuleType) -> FileProblem:
    """A problem at a line of a module that was read from `origin`."""
    return FileProblem(origin, message, line, linecache.getline(origin, line or 0, module.__dict__).rstrip("\n"))


def line_containing(module: types.ModuleType, word: str) -> int | None:
    """The first line that starts with the word."""
    lines = linecache.getlines(module.__file__, module.__dict__)
    return next((number for number, line in enumerate(lines, 1) if line.startswith(word)), None)


@contextmanager
def lines_of(file: str, text: str) -> Iterator[None]:
    """This text is what `inspect` and tracebacks find under the file's name; the one before, if reading fails."""
    before = linecache.cache.get(file)
    # no modification time: linecache then keeps these lines, also while the file on disk is newer
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    try:
        yield
    except BaseException:
        linecache.cache.pop(file, None)
        if before is not None:
            linecache.cache[file] = before
        raise
