"""How orders and errors are called in sentences."""

from __future__ import annotations

ORDINALS = {1: "first", 2: "second", 3: "third"}


def ordinal(order: int) -> str:
    return ORDINALS.get(order, f"{order}th")


def first_line(error: BaseException) -> str:
    """What an error says, without what follows it in further lines."""
    return (str(error).strip().splitlines() or [""])[0]


def said_by(error: BaseException) -> str:
    """The kind of an error and its first line: `ValueError: too many elements`."""
    return f"{type(error).__name__}: {first_line(error)}"


def said_within(error: BaseException) -> str:
    """The same in the middle of a sentence."""
    return said_by(error).rstrip(".")
