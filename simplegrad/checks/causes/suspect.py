"""One value of a backward that moves a wrong gradient and no right one, and what the run says of it."""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..measure.numbers import near, plain
from ..report import Place
from .needed import Needed, flattened
from .samples import Known
from .trail import Note, Site

BEGINNINGS = ("=", "zeros", "zeros_like", "new_zeros")  # operations that make the zeros which sums begin with


@dataclass
class Suspect:
    """A value that moves a wrong gradient and no right one."""

    site: Site
    note: Note
    values: list[Any]  # at each sample
    executions: int
    moved: set[int]  # the inputs whose gradient it moves
    is_final: bool = False  # it is what is returned
    is_given: bool = False  # it was there before backward ran
    is_alias: bool = False  # its statement only gives another name to what is there
    meaning: Known | None = None  # what it is
    needed: Needed | None = None  # what it would have to be
    meant: Known | None = None  # what that means
    is_meant_exactly: bool = False  # not only up to a constant factor
    factor: float | None = None  # the constant that repairs it
    begins: bool = False  # it is zeros that something is added to
    is_shared: bool = False  # its function is called from elsewhere too, where a fault of its own would show as well
    level: int = -1  # how deep in the calls from backward its statement is looked for
    computes: bool = True  # its statement does more than arrange what is there
    missing: str = ""  # what is missing in it, in words: a term or a factor that is known elsewhere in the run
    mend: Callable[[int, Any], Any] | None = None  # by sample and value: what puts in what is missing or meant

    @property
    def statement(self) -> Place:
        return self.site.statement_of(self.level)

    @property
    def operations(self) -> int:
        """How much its statement does: the more, the likelier it holds a mistake."""
        return operations_of(self.site.calls[self.level][0], self.statement.first, self.statement.last)

    @property
    def is_zero(self) -> bool:
        """Whether it is all zeros and stays so; not a sum that only begins with them."""
        begins = not self.is_final and (self.note.operation in BEGINNINGS or not self.is_repaired)
        return not begins and self.is_nothing and _is_zero(self.note.made)

    @property
    def is_nothing(self) -> bool:
        """Whether it is all zeros where it is computed."""
        return all(_is_zero(value) for value in self.values)

    @property
    def is_rearranged(self) -> bool:
        """Whether what it would have to be has the numbers that it has, elsewhere."""
        values = [self.needed.value] if self.needed is not None else []
        values += [flattened(self.meant.value)[0]] if self.meant is not None and self.needed is not None else []
        return any(near(v.sort().values, self.needed.found.sort().values, 1e-6) for v in values if v is not None)

    @property
    def is_arrangement(self) -> bool:
        """Whether it is wrong before it, if it is: its statement only arranges, and another order would not do."""
        return not self.computes and not self.is_rearranged

    @property
    def is_repaired(self) -> bool:
        return self.needed is not None or self.factor is not None or self.meant is not None or bool(self.missing)


def _is_zero(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype != torch.bool and not bool(plain(value.detach()).any())


@functools.lru_cache(maxsize=4096)
def operations_of(code: types.CodeType, first: int, last: int) -> int:
    """Calls and arithmetic of these lines."""
    counted = ("BINARY_OP", "UNARY_NEGATIVE", "CALL", "CALL_KW", "CALL_FUNCTION_EX", "STORE_SUBSCR")
    found, line = 0, code.co_firstlineno
    for instruction in dis.get_instructions(code):
        at = instruction.positions.lineno if instruction.positions else None
        line = at if at is not None else line
        found += first <= line <= last and instruction.opname in counted
    return found
