"""The text of the files that a trace names: of the run's own process, or what travels inside the file of the trace.

A path that came with a file is never opened. It may name anything of the machine that shows the trace.
"""

from __future__ import annotations

import linecache
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from .events import Source

MOST_LINES = 100_000  # of a file: what stands further down is not kept
MOST_FILES = 1_000  # of one trace
LONGEST = 2_000  # lines from one margin to the next that are kept
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_EXAMPLES = (os.path.join(_PACKAGE, "aggregates.py"), os.path.join(_PACKAGE, "gallery") + os.sep)
_TORCH = re.compile(r"[\\/](site|dist)-packages[\\/]torch[\\/]")

Chunks = Mapping[str, list[tuple[int, list[str]]]]  # of a file: (number of the first line, lines)


def called(file: str) -> str:
    """What a file is called in a sentence: its last part. Those of a notebook's cells are numbers, and are cells."""
    folder, name = os.path.split(file)
    return "notebook cell" if os.path.basename(folder).startswith("ipykernel_") else name


@lru_cache(maxsize=1024)  # asked for each event
def is_ours(file: str) -> bool:
    """Code of this package, which is nobody's program; the aggregates are there to be read."""
    path = os.path.abspath(file)
    return path.startswith(_PACKAGE) and not path.startswith(_EXAMPLES)


def is_torchs(file: str) -> bool:
    """Code of torch, here or on the machine that a trace comes from."""
    return _TORCH.search(file) is not None


def lines_of(file: str, texts: Chunks | None) -> list[str]:
    """The lines of a file, "" for those that are not known. `texts`: of the trace that names the file."""
    if texts is None:
        return [line.rstrip("\r\n") for line in linecache.getlines(file)]
    lines: list[str] = []
    for start, chunk in sorted(texts.get(file, [])):
        lines += [""] * (start - 1 - len(lines))
        lines[start - 1 : start - 1 + len(chunk)] = chunk
    return lines


def excerpts(sources: Iterable[Source], texts: Chunks | None) -> dict[str, list[tuple[int, list[str]]]]:
    """What is to travel with a trace: of each file that it names, what stands around the lines that it names."""
    touched: dict[str, set[int]] = {}
    for file, line in sources:
        if not is_ours(file) and 0 < line <= MOST_LINES:
            touched.setdefault(file, set()).add(line)
    found = {file: list(_chunks(lines_of(file, texts), numbers)) for file, numbers in touched.items()}
    return dict([(file, chunks) for file, chunks in found.items() if chunks][:MOST_FILES])


def _chunks(lines: list[str], touched: set[int]) -> Iterator[tuple[int, list[str]]]:
    end = 0
    for line in sorted(touched):
        if end < line <= len(lines):
            first, end = around(lines, line, line)
            yield first, lines[first - 1 : end]


def around(lines: list[str], first: int, last: int) -> tuple[int, int]:
    """The first and the last line of what stands from margin to margin around two lines: whole functions, classes."""
    while first > 1 and last - first < LONGEST and not _begins(lines, first):
        first -= 1
    while last < len(lines) and last - first < LONGEST and not _is_outer(lines[last]):
        last += 1
    return first, last


def _begins(lines: list[str], line: int) -> bool:
    return _is_outer(lines[line - 1]) and not _is_outer(lines[line - 2])


def _is_outer(line: str) -> bool:
    """At the margin: where a function (or its decorator) begins, and the one before has ended."""
    return bool(line.strip()) and not line[0].isspace()
