"""A Machine runs a written program: it gives the functions that the program calls, on one tape, under one guard."""

from __future__ import annotations

import ast
import hashlib
import linecache
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType, FunctionType

import torch

from ..engine import Observer, Variable
from ..locks import lock
from .errors import ConditionError, RunError, UnpackingError
from .leaves import shown
from .names import is_function
from .operations import Operations
from .parse import Parsed
from .torch_functions import FunctionCalls

MOST_SOURCES = 256  # texts whose lines can be looked up, the latest ones
_sources: OrderedDict[str, None] = OrderedDict()
_lock = lock()


def code_of(source: str, parsed: Parsed) -> CodeType:
    """The code object of what was written. Its lines can be looked up, as those of a file."""
    name = f"<program {hashlib.sha256(source.encode('utf-8', 'replace')).hexdigest()[:12]}>"
    with _lock:
        _sources[name] = None
        _sources.move_to_end(name)
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        while len(_sources) > MOST_SOURCES:
            linecache.cache.pop(_sources.popitem(last=False)[0], None)
    return compile(parsed.written, name, "exec")


class LineKeeper(Observer):
    """After a `propagate` of the program, its line is again that of the call of `grad`."""

    def __init__(self, recorder):
        self.recorder = recorder
        self.lines: list[int | None] = []  # of the visits that are going on

    def visit_begun(self, index: int, dL_doutputs: list) -> None:
        self.lines.append(self.recorder.line)

    def visited(self, index: int, state: str, dL_doutputs: list, dL_dinputs: list) -> None:
        if state in ("propagated", "partial") and self.lines:
            self.recorder.line = self.lines.pop()


class Machine(FunctionCalls, Operations):
    """`recorder`: whose line is kept; `outputs`: what was printed, (after how many events, in which line, what)."""

    def __init__(self, source: str, parsed: Parsed, guard, f, modes, seeds, recorder=None):
        super().__init__(source, parsed.nodes, guard, f, modes, seeds)
        self.parsed = parsed
        self.recorder = recorder
        self.code = code_of(source, parsed)
        self.outputs: list[tuple[int, int | None, str]] = []
        self.characters = 0
        self.noted: list[str] | None = None  # what was computed and asked, where somebody wants to know
        self.own = set(parsed.names)
        self.classes: list[type] = []  # the torch Functions that it defines
        self.namespace = {"__builtins__": {}, "__name__": "program", **self.functions()}

    def functions(self) -> dict:
        """What a written program calls; none of these names can be said in a text."""
        return {
            "_at": self.at,
            "_binary": self.binary,
            "_unary": self.unary,
            "_compare": self.compare,
            "_tested": self.tested,
            "_attribute": self.attribute,
            "_subscript": self.subscript,
            "_slice": self.slice,
            "_method": self.method,
            "_function": self.function,
            "_call": self.call,
            "_spread": self.spread,
            "_unpack": self.unpack,
            "_items": self.items,
            "_range": self.range,
            "_result": self.result,
            "_machine": self,
            **self.of_functions(),
        }

    def run(self) -> None:
        """From the first line to the last. Raises what the program does wrongly."""
        try:
            FunctionType(self.code, self.namespace)()
        except NameError as error:
            raise without_value(error) from None

    # --- statements --------------------------------------------------------------------------------------------------

    def at(self, line: int) -> None:
        """A statement begins."""
        if self.recorder is not None:
            self.recorder.line = line
        self.guard.statement()

    def note(self, what: str) -> None:
        if self.noted is not None:
            self.noted.append(what)

    def tested(self, number: int, value):
        """A condition of `if`, `and`, `or`, `not`. A tensor is none: it has many elements."""
        self.note("asks")
        if isinstance(value, (Variable, torch.Tensor)):
            raise ConditionError(
                f"{self.text(self.nodes[number])} is {shown(value)}: 'if', 'and', 'or' and 'not' ask for one answer, "
                f"such as x is None. Choose elements with where(condition, x, y), and join conditions with & and |: "
                f"(x > 0) & (x < 1)."
            )
        return value

    def unpack(self, number: int, value, names: tuple[str, ...]) -> Sequence:
        if not isinstance(value, (list, tuple)):
            raise UnpackingError(f"{how_many(names, 'name')} on the left side, but the right is {shown(value)}.")
        if len(names) != len(value):
            raise UnpackingError(
                f"{how_many(names, 'name')} on the left side, but {how_many(value, 'value')} on the right."
            )
        self.why_none.update(zip(names, getattr(value, "reasons", [""] * len(value))))
        return value

    def range(self, number: int, ends: tuple) -> Iterator[int]:
        if not all(isinstance(end, int) for end in ends):
            wrong = next(end for end in ends if not isinstance(end, int))
            raise RunError(f"{self.text(self.nodes[number])}: whole numbers are counted, not {shown(wrong)}.")
        return self.rounds_of(self.guarded(self.nodes[number], range, ends))

    def items(self, number: int, value) -> Iterator:
        if not isinstance(value, (list, tuple)):
            said = "for i in range(3), for x in [a, b], or for row in x.unbind(0)"
            raise RunError(f"{self.text(self.nodes[number])} is {shown(value)}: a loop goes through a list, {said}.")
        return self.rounds_of(value)

    def rounds_of(self, values: Iterable) -> Iterator:
        line = getattr(self.recorder, "line", None)
        for value in values:
            if self.recorder is not None:
                self.recorder.line = line
            self.guard.statement()
            yield value

    def spread(self, number: int, value) -> Sequence:
        if not isinstance(value, (list, tuple)):
            raise RunError(f"*{self.text(self.nodes[number])}: '*' unpacks a shape or a list, not {shown(value)}.")
        return value

    def result(self, number: int, value):
        return value

    # --- functions of the program ------------------------------------------------------------------------------------

    def call(self, number: int, function, name: str, arguments: tuple, keywords: dict, result: str | None):
        node = self.nodes[number]
        if not self.is_own(function):
            if is_function(name):  # `mean = x.mean()` leaves mean(x) what it is
                return self.function(number, name, arguments, keywords, result, False)
            raise RunError(f"{self.text(node)}: {name} is {shown(function)}, which is not a function.")
        line = getattr(self.recorder, "line", None)
        with self.guard.inside():
            try:
                made = function(*arguments, **keywords)
            except TypeError as error:
                raise (self.misfit(node, function, error) or error) from None
        if self.recorder is not None:
            self.recorder.line = line
        self.name_result(made, result, arguments)
        return made

    def misfit(self, node: ast.Call, function: FunctionType, error: TypeError) -> RunError | None:
        """That a function was called with other arguments than it takes."""
        if error.__traceback__.tb_next is not None:  # it began to run
            return None
        said = str(error).removeprefix(f"{function.__qualname__}() ").removeprefix(f"{function.__name__}() ")
        return RunError(f"{self.text(node)}: {said}.")

    def is_own(self, function) -> bool:
        return isinstance(function, FunctionType) and function.__globals__ is self.namespace

    def bound(self) -> Sequence:
        return [self.namespace[name] for name in self.own if name in self.namespace]

    # --- what is printed ---------------------------------------------------------------------------------------------

    @property
    def prints(self) -> bool:
        limits = self.guard.limits
        return self.characters <= limits.characters and len(self.outputs) <= limits.lines

    def printed(self, line: str) -> None:
        limits = self.guard.limits
        self.characters += len(line) + 1
        if self.characters > limits.characters or len(self.outputs) == limits.lines:
            line = (
                f"… more was printed than {limits.lines} lines or {limits.characters} characters: the rest is left out."
            )
        events = len(self.recorder.trace) if self.recorder is not None else 0
        self.outputs.append((events, getattr(self.recorder, "line", None), line))


def how_many(values: Sequence, word: str) -> str:
    return f"1 {word}" if len(values) == 1 else f"{len(values)} {word}s"


def without_value(error: NameError) -> RunError:
    """A name that has no value on the way that was taken: under an `if` that was not, or in a function called early."""
    found = str(error).split("'")
    name = found[1] if len(found) > 1 else "a name"
    return RunError(f"'{name}' has no value yet: it is given one on another way through the program, or further down.")
