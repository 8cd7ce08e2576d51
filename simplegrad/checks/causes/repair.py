"""Which one small change of a backward's text makes a wrong gradient right: it is tried, not guessed.

Each expression is disturbed once, to see which gradients it moves. Where it moves a wrong one, what could stand there
instead is compiled and run, the plain changes first; those under which the gradient comes out right at every sample
are kept. What is run is the backward itself, unwatched: a try costs little more than one call of it.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import inspect
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ...torch_private import changes
from .. import source
from ..measure.numbers import in_one_row, is_floating, plain
from ..report import Place
from ..subjects.alone import Ran
from .meanings import equal
from .rewriting import Change, Solved, Spot, changes_of
from .samples import Samples
from .suspects import ARRANGE, stirred

MOST_TRIED, IN_LOOPS = 600, 200  # changes of one backward; of one that takes long to run
LONG = 1e-3  # seconds
LONGEST = 5.0  # seconds of work, whatever is tried
FEW_DIGITS = 2
ENOUGH = 12  # changes that repair it
INSERTED = 2  # from this rank on something is put in
PLAIN = 1  # up to this rank all are tried: a sign can be put right in several places

STIR = "_stirred"


@dataclass(frozen=True)
class Repair:
    """`before` written as `after` makes the gradients of the inputs `slots` right, and leaves the right ones right.

    `statement` is the whole statement, changed. `rank`: of the change, the least for the plainest.
    """

    place: Place
    before: str
    after: str
    statement: str
    slots: frozenset[int]
    rank: int = 0
    suspicion: int = 1  # how much the statement, as it stands, is one that may be wrong
    is_number: bool = False  # a number is what was solved for

    @property
    def inserts(self) -> bool:
        """Whether it puts something in, or a number that is not plain: that could be done in many places."""
        is_longer = self.rank >= INSERTED and self.before in self.after
        return is_longer or (self.is_number and not is_plain_number(self.after))

    @property
    def is_branch(self) -> bool:
        """Whether it takes another branch, which may be right for reasons of its own."""
        return self.rank >= INSERTED and self.statement.startswith(("if ", "while "))

    @property
    def said(self) -> str:
        return f"with `{self.after}` in the place of `{self.before}` it is right"

    @property
    def written(self) -> str:
        return f"`{self.before}` stands where `{self.after}` belongs"


def repairs(samples: Samples) -> list[Repair]:
    """The plainest changes that repair a gradient; none where the text cannot be had, or compiled by itself."""
    try:
        return list(Trying(samples).repairs())
    except Exception:
        return []


class Trying:
    """One backward, as a tree that is changed, compiled and put back."""

    def __init__(self, samples: Samples) -> None:
        self.samples, self.alone, self.wrong = samples, samples.alone, frozenset(samples.wrong)
        self.around = getattr(self.alone.call.backward, "around", None)  # of an operator that takes lists
        self.function = inspect.unwrap(self.alone.call.backward)
        self.owner = getattr(self.function, "__self__", None)  # of a class method
        self.function = getattr(self.function, "__func__", self.function)
        self.code = source.code_of(self.function)
        found = [n for n in source.statements(self.code) if isinstance(n, ast.FunctionDef)]
        self.tree = copy.deepcopy(found[0])
        self.tree.decorator_list = []
        self.outer = self.outer_module()
        self.screen = min(1, len(samples.each) - 1)  # the sample that tells most
        self.kept: dict[int, tuple[Ran, dict, list]] = {}  # forwards that backward leaves as they are
        self.moves: dict[int, frozenset[int]] = {}  # by the id of an expression
        self.suspicions = {id(s): suspicion_of(s) for s in ast.walk(self.tree) if isinstance(s, ast.stmt)}
        self.fastest = LONG  # seconds that one run takes

    def outer_module(self) -> ast.Module:
        """The function within another one, which gives it its closure variables."""
        body = [*(_bound(name) for name in (*self.code.co_freevars, STIR)), self.tree]
        empty = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        return ast.fix_missing_locations(ast.Module([ast.FunctionDef("outer", empty, body, [])], []))

    def repairs(self) -> Iterator[Repair]:
        """Of the plainest kind that there is, for each wrong gradient."""
        found: list[Repair] = []
        known: dict[int, frozenset[int]] = {}  # by statement: the gradients that a change of it repairs
        tried, last, until = 0, 0, time.thread_time() + LONGEST
        for change in sorted(changes_of(self.tree), key=lambda each: each.rank):
            repaired = frozenset().union(*(each.slots for each in found))
            is_done = repaired >= self.wrong and change.rank > max(last, PLAIN)
            is_enough = tried >= (MOST_TRIED if self.fastest < LONG else IN_LOOPS) or time.thread_time() > until
            if is_enough or len(found) >= ENOUGH or is_done:
                return
            if known.get(id(change.statement), frozenset()) >= self.wrong and change.rank > PLAIN:
                continue  # how it could be put right is known: whether another statement could be as well is not
            if not self.moved_by(change.spot) & self.wrong:
                continue
            tried, last, suspicion = tried + 1, change.rank, self.suspicions[id(change.statement)]
            for done in change.made(self):
                slots = self.repaired_by(done)
                if slots:
                    at = source.place(self.code, change.statement.lineno)
                    text = written(change.statement)
                    is_number = isinstance(change, Solved)
                    found.append(Repair(at, *change.said, text, slots, change.rank, suspicion, is_number))
                    known[id(change.statement)] = known.get(id(change.statement), frozenset()) | slots
                    yield found[-1]

    # -- running -----------------------------------------------------------------------------------------------

    def compiled(self, new: ast.AST) -> Callable:
        """The tree as it is now, as a function with the globals and closure variables of the right one."""
        ast.fix_missing_locations(new)
        code = compile(self.outer, self.code.co_filename, "exec")
        inner = _code_named(_code_named(code, "outer"), self.tree.name)
        cells = dict(zip(self.code.co_freevars, self.function.__closure__ or ()))
        cells[STIR] = types.CellType(self.stirred)
        closure = tuple(cells[name] for name in inner.co_freevars)
        made = types.FunctionType(inner, self.function.__globals__, self.tree.name, self.function.__defaults__, closure)
        made.__kwdefaults__ = self.function.__kwdefaults__
        made = made if self.owner is None else types.MethodType(made, self.owner)
        return self.around(made) if self.around else made

    def returned(self, function: Callable, which: int) -> list[Any]:
        """What it returns at a sample."""
        sample = self.samples.each[which]
        incoming = [g.clone() if isinstance(g, torch.Tensor) else g for g in sample.incoming]
        ctx, begun = self.forward(which).ctx, time.thread_time()
        with torch.no_grad():
            found = function(ctx, *incoming)
        self.fastest = min(self.fastest, time.thread_time() - begun)
        found = tuple(found) if isinstance(found, tuple | list) else (found,)
        return [found[i] if i < len(found) else None for i in self.alone.call.differentiated]

    def forward(self, which: int) -> Ran:
        """Forward at a sample; not run again as long as nothing that it kept was changed."""
        if which in self.kept:
            ran, own, versions = self.kept[which]
            if versions == versions_of(ran):
                ran.ctx.__dict__.clear()
                ran.ctx.__dict__.update(own)
                return ran
        ran = self.alone.forward(self.samples.each[which].values)
        self.kept[which] = ran, dict(ran.ctx.__dict__), versions_of(ran)
        return ran

    # -- what an expression moves --------------------------------------------------------------------------------

    def moved_by(self, spot: Spot) -> frozenset[int]:
        """The inputs whose gradient moves when what stands at this spot does; all, where that cannot be told."""
        if id(spot.node) not in self.moves:
            self.moves[id(spot.node)] = self._moved_by(spot)
        return self.moves[id(spot.node)]

    def _moved_by(self, spot: Spot) -> frozenset[int]:
        everything, self.is_stirred = frozenset(self.samples.slots), True
        new = ast.Call(ast.Name(STIR, ast.Load()), [spot.node], [])
        for function in Change(spot.holder, spot, new).made(self):
            with contextlib.suppress(Exception):  # another value may not fit what follows
                found, usual = self.returned(function, self.screen), self.samples.each[self.screen].returned
                if self.is_stirred:
                    return frozenset(i for i in everything if not equal(found[i], usual[i]))
        return everything

    def stirred(self, value: Any) -> Any:
        """Another value of the same kind, where it is of a kind that a gradient is computed with."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(value, torch.Tensor) and value.requires_grad:
            return 1.37 * stirred(value)  # of what is differentiated the slope is what counts
        if is_number or is_floating(value) or (isinstance(value, torch.Tensor) and value.dtype == torch.bool):
            return stirred(value)
        self.is_stirred = False
        return value

    # -- what a change repairs -----------------------------------------------------------------------------------

    def repaired_by(self, function: Callable) -> frozenset[int]:
        """The wrong gradients that are right with the change, at every sample; none where a right one is not."""
        repaired = self.wrong
        for which in (self.screen, *range(len(self.samples.each))):
            try:
                right = self.right_at(which, self.returned(function, which))
            except Exception:  # a change may make it anything
                return frozenset()
            repaired = repaired & right
            if not repaired or not right | self.wrong >= {*self.samples.slots}:
                return frozenset()
        return repaired

    def right_at(self, which: int, found: list[Any]) -> set[int]:
        sample = self.samples.each[which]
        return {i for i in self.samples.slots if self.samples.right(found[i], sample, i)}

    def gap(self, function: Callable) -> torch.Tensor | None:
        """What is returned less what is right, as one row of numbers."""
        sample = self.samples.each[self.screen]
        with contextlib.suppress(Exception):
            rows = []
            for g, t in zip(self.returned(function, self.screen), sample.truth, strict=True):
                if not is_floating(t):
                    continue
                apart = (plain(t.new_zeros(()) if g is None else g.detach()) - plain(t.detach())).flatten()
                rows.append(torch.view_as_real(apart).flatten() if apart.is_complex() else apart)
            return in_one_row(rows).double()
        return None


def is_plain_number(text: str) -> bool:
    """Whether a text is a number of few digits."""
    return len(text.strip("-").replace(".", "").strip("0")) <= FEW_DIGITS


def written(statement: ast.stmt) -> str:
    """A statement in one line; of a block its head."""
    text = ast.unparse(statement)
    return text.splitlines()[0] if hasattr(statement, "body") else " ".join(text.split())


def suspicion_of(statement: ast.stmt) -> int:
    """0 for one that only reshapes, 1 for one that computes, and for `x = y`, where something may be gone, as it is in
    `x = x`, for 2."""
    if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == ast.unparse(statement.value):
        return 2
    if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name):
        return 1
    called = [n.func for n in ast.walk(statement) if isinstance(n, ast.Call)]
    names = {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in called}
    return int(bool(names - ARRANGE) or any(map(computes, ast.walk(statement))))


def computes(node: ast.AST) -> bool:
    """Whether it is arithmetic; -1 is a number."""
    is_number = isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)
    return isinstance(node, ast.BinOp | ast.UnaryOp | ast.AugAssign | ast.Compare) and not is_number


def versions_of(ran: Ran) -> list[int]:
    values = [*(slot.value for slot in ran.slots), *ran.args]
    return [changes(value) for value in values if isinstance(value, torch.Tensor)]


def _bound(name: str) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None))


def _code_named(code: types.CodeType, name: str) -> types.CodeType:
    return next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
