"""What is wrong with a program: with its text (ProgramError), or with a step of its run (RunError)."""

from __future__ import annotations

import ast
import difflib
import re
import unicodedata
from collections.abc import Iterable

import torch


class ProgramError(ValueError):
    """The text is not a program. `message` says why; `line` and `column` count from 1; `text` is that line of it.

    `hint` is the nearest known name, or "". `str(error)` shows all of it, with a caret under the place.
    """

    def __init__(self, message: str, line: int = 1, column: int = 1, text: str = "", hint: str = ""):
        self.message = message
        self.line = line
        self.column = column
        self.text = text
        self.hint = hint
        super().__init__(f"line {line}, column {column}: {message}\n{self.excerpt}")

    @property
    def excerpt(self) -> str:
        """The line with a caret under the place; of a very long one, what is around it."""
        before, after = self.text[: self.column - 1], self.text[self.column - 1 :]
        if len(before) > 80:
            before = "…" + before[-79:]
        shown = (before + after[:60]).replace("\t", " ")
        return f"    {shown}\n    {' ' * len(before)}^"


class RunError(Exception):
    """A step of a program that could not be done: which operation, on which shapes, and what to do."""


class ConditionError(RunError):
    """A tensor as the condition of an `if`."""


class UnpackingError(RunError):
    """More or fewer names on the left side than values on the right."""


# What Python says where an operator was given something of another kind, and what that means here.
IN_WORDS = {
    r"tuple index out of range": "there is no such dimension",
    r"Boolean value of Tensor with more than one value is ambiguous": "a tensor stands where one number belongs",
    r"type object '\w+' has no attribute '\w+'": "a raw tensor cannot do this; a Variable can: Variable(x)",
    r"'(\w+)' object has no attribute '\w+'": "{0} stands where a tensor belongs",
    r"'(\w+)' object is not (?:iterable|subscriptable)": "{0} stands where a list belongs",
    r"object of type '(\w+)' has no len\(\)": "{0} stands where a list belongs",
    r"(?:not enough|too many) values to unpack \(expected ((?:at least )?\d+)(?:, got (\d+))?\)": (
        "expected {0} dimensions or numbers, got {1}"
    ),
    r"\w+\(\) received an invalid combination of arguments - got (\(.*\)), .*": "it does not take {0}",
    r"maximum recursion depth exceeded.*": "a tensor stands where one number belongs",
    r"unsupported operand type\(s\) for (\S+)(?: or pow\(\))?: '(\w+)' and '(\w+)'": "'{0}' is not for {1} and {2}",
    r"'(\S+)' not supported between instances of '(\w+)' and '(\w+)'": "'{0}' is not for {1} and {2}",
}
A = {"Tensor": "a tensor", "Variable": "a tensor", "NoneType": "None", "int": "an int", "ellipsis": "…"}


def in_words(said: str) -> str:
    """An error's text, where it is Python's own, in words that a program has."""
    for pattern, words in IN_WORDS.items():
        found = re.fullmatch(pattern, said)
        if found:
            return words.format(
                *(A.get(each, f"a {each}" if each.isalpha() else each) for each in found.groups("more"))
            )
    return said


def lines_of(text: str) -> list[str]:
    """Lines as Python counts them: form feeds and Unicode's separators end none."""
    return re.split("\r\n|\r|\n", text)


def error_at(node: ast.AST, lines: list[str], message: str, hint: str = "") -> ProgramError:
    """A ProgramError at a node: ast counts columns in bytes from 0, people in characters from 1."""
    line = getattr(node, "lineno", 1)
    text = lines[line - 1] if line <= len(lines) else ""
    before = text.encode("utf-8", "replace")[: getattr(node, "col_offset", 0)]
    return ProgramError(message, line, len(before.decode("utf-8", "ignore")) + 1, text, hint)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that this one is a slip of the fingers for, or "".

    Of a short name one letter alone may be wrong, or two exchanged: 'min' is not 'sin'.
    """
    name, known = name[:60], sorted(set(known))
    if name.lower() in known:
        return name.lower()
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.65)
    close.sort(key=lambda each: sorted(each) != sorted(name))  # two letters exchanged: the likeliest slip of all
    return next((each for each in close if len(name) > 4 or is_slip(name, each)), "")


# Letters of other alphabets that look like those of ours.
LOOKS = str.maketrans("аеіјкмнорсѕтухԁһΑΒΕΖΗΙΚΜΝΟΡΤΥΧονρ", "aeijkmhopcstyxdhABEZHIKMNOPTYXovp")


def look_alike(name: str, known: Iterable[str]) -> str:
    """What is said of a known name that looks the same: у is not y."""
    for each in known:
        if each != name and each.translate(LOOKS) == name.translate(LOOKS):
            letter = next(x for x in each + name if not x.isascii())
            return f" '{each}' has, and one of the two is written with a {unicodedata.name(letter)}."
    return ""


def is_slip(name: str, known: str) -> bool:
    """Whether two short names have the same letters in another order, or one of them one more at most."""
    if sorted(name) == sorted(known):
        return True
    short, long = sorted((name, known), key=len)
    return len(long) == len(short) + 1 and any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def of_torch(name: str) -> bool:
    """Whether torch has an operator of this name: then it was meant, and no other name is."""
    places = (torch.Tensor, torch, torch.nn.functional, torch.linalg, torch.special)
    return not name.startswith("_") and any(callable(getattr(place, name, None)) for place in places)


def did_you_mean(hint: str) -> str:
    return f" Did you mean '{hint}'?" if hint else ""
