"""Which names a line of a program can see: what was given a value before it, and in a function what will have one."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence


class Scope:
    """The program (`outer` None), or one function in it."""

    def __init__(self, outer: Scope | None = None, names: Iterable[str] = ()):
        self.outer = outer
        self.names: dict[str, None] = dict.fromkeys(names)
        self.later: set[str] = set()  # of the program: all that its text gives a value to, for its functions

    @property
    def depth(self) -> int:
        """0 for the program, 1 for a function in it, 2 for one inside that."""
        return 0 if self.outer is None else self.outer.depth + 1

    def sees(self, name: str) -> bool:
        return name in self.names or self.outer is not None and (self.outer.sees(name) or name in self.outer.later)

    def visible(self) -> Iterator[str]:
        yield from self.names
        if self.outer is not None:
            yield from self.outer.later
            yield from self.outer.visible()


def given(statements: Sequence[ast.stmt]) -> Iterator[str]:
    """The names that these statements give a value to, those of functions they define not looked into."""
    for statement in statements:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.If(body=body, orelse=other):
                yield from given([*body, *other])
            case ast.For(target=target, body=body, orelse=other):
                yield from targets(target)
                yield from given([*body, *other])
            case ast.Assign(targets=several):
                for each in several:
                    yield from targets(each)
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                yield from targets(target)


def targets(node: ast.expr) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))
