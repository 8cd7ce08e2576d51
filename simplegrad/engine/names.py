"""Keys and names: a key says whose gradient is whose; a name is for people, unique on its tape, made when asked for."""

from __future__ import annotations

import itertools
from typing import Any
from weakref import ReferenceType, ref

# Two Variables never share a key, so two gradients never merge, whatever their names; and a key holds no value, so that
# the tape keeps no tensor that no rule reads.
Key = int
_ERA = 1 << 40  # more Variables than one tape will ever see
_HALF = _ERA // 2
_eras = itertools.count()
Keyed = Any  # a Variable: it stands above the tape, which it asks for its key


class Names:
    """The keys and names that a tape gives out between two resets.

    `v0`, `v1`, … are counted by `numbers`; a Variable that is given a name takes its key from `others`, and uses up no
    number. `keys` are all that can be given out here: any other key is of another tape, or of before a reset. Those
    from `computed` on are results of operators; those below it have tensors that others may have too (see lent.py).
    """

    def __init__(self):
        first = next(_eras) * _ERA
        self.keys = range(first, first + _ERA)
        self.computed = first + _HALF
        self.others = itertools.count(first + _HALF // 2)
        self.numbers = itertools.count(self.computed)  # above the others, so that no key of now is above the latest
        self.given: dict[Key, str] = {}  # only names that were given or asked for
        self.owners: dict[str, tuple[Key, ReferenceType | None]] = {}  # name -> whose it is, and the Variable if alive

    def give(self, name: str) -> Key:
        """A key for a Variable of this name."""
        key = next(self.others)
        self._claim(key, name)
        return key

    def lent(self, key: Key) -> Key:
        """The key to have, with the same number, where somebody else has the tensor too."""
        return key - _HALF if key >= self.computed else key

    def of(self, key: Key, variable: Keyed | None = None) -> str:
        """`v0`, `v1`, … or the given name; with `_1`, `_2`, … behind it if another Variable of the tape has it."""
        name = self.given.get(key)
        if name is None:
            name = self._claim(key, plain_name(key, variable))
        if variable is not None and self.owners[name][1] is None:
            self.owners[name] = (key, ref(variable))
            if key in self.keys:
                variable._given = name  # which it keeps when its tape is gone
        return name

    def rename(self, variable: Keyed, name: str) -> None:
        """Give a Variable another name, in all that was recorded with it too."""
        self.owners.pop(self.given.pop(variable.key, None), None)
        variable._given = name = self._claim(variable.key, name)
        self.owners[name] = (variable.key, ref(variable))

    def variable(self, name: str) -> Keyed | None:
        """The Variable of this name, as long as somebody holds it."""
        reference = self.owners.get(name, (None, None))[1]
        return reference and reference()

    def fresh(self) -> str:
        """The next of v0, v1, … that no Variable has. Its number is used up."""
        while True:
            name = f"v{next(self.numbers) % _HALF}"
            if name not in self.owners:
                return name

    def _claim(self, key: Key, plain: str) -> str:
        """This name, or the first of `plain_1`, `plain_2`, … that no other Variable of the tape has. Two threads that
        ask at the same moment are told the same."""
        name, suffix = plain, 0
        while self.owners.setdefault(name, (key, None))[0] != key:
            suffix += 1
            name = f"{plain}_{suffix}"
        return self.given.setdefault(key, name)


def plain_name(key: Key, variable: Keyed | None) -> str:
    """What it would be called where nothing else has that name."""
    return getattr(variable, "_given", None) or f"v{key % _HALF}"


def era_of(key: Key) -> int:
    """Which `Names` gave it out."""
    return key // _ERA


def check_name(name: object, what: str) -> None:
    """Raises ValueError for what cannot be told from other text in a transcript: names are as in Python."""
    if not (isinstance(name, str) and name.isidentifier()):
        raise ValueError(
            f"{what}: {name!r} is not a name. A name has letters, digits and _, and does not begin with a digit: "
            f"name='x_1'."
        )
