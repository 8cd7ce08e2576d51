"""`Program`: a text that was checked, its run as a Trace, its inputs, and the text with other inputs."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from simplegrad.locks import cached_property

from ..aggregates import Aggregate, name_of, registry
from ..engine import Tape, Variable
from ..trace import LimitError, Recorder, Trace
from .errors import RunError, did_you_mean, lines_of, nearest
from .limits import DEFAULT_LIMITS, Guard, Limits, watched_by
from .machine import LineKeeper, Machine
from .names import TAPE
from .nodes import leaves_named, seeds
from .parse import Parsed, leaf_alone, parse
from .rewrite import with_leaf

ALONE = Limits(statements=10_000_000, total=1 << 40, seconds=3600.0)  # of a function that its own caller limits
BUILD_EACH = 35_000  # fields of a recorder's log, after which events are made of them: within the run, and its time


@dataclass(frozen=True)
class Program:
    """A checked program. `source`: its text; `title`: given, or what a comment on its first line says.

    `uses_f`: it calls `f`, the aggregate chosen for a run. `names`: all that it gives a value to, in order;
    `functions`: those of them that it defines.
    """

    source: str
    title: str = ""
    parsed: Parsed = field(default_factory=Parsed, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, *, title: str = "", limits: Limits = DEFAULT_LIMITS) -> Program:
        """The program of a text. Raises ProgramError, with line, column and the nearest known name, for others."""
        if not isinstance(text, str):
            raise TypeError(f"Program.parse: expected the text of a program, got {type(text).__name__}.")
        parsed = parse(text, limits)
        comment = re.match(r"\s*#+[ \t]*(.*)", text)
        title = title or (comment.group(1).strip() if comment else "")
        return cls(text, title, parsed)

    @property
    def statements(self) -> tuple:
        """Its syntax tree, one ast node a statement, of nodes of the whitelist only."""
        return self.parsed.statements

    @property
    def uses_f(self) -> bool:
        return self.parsed.uses_f

    @property
    def names(self) -> tuple[str, ...]:
        return self.parsed.names

    @property
    def functions(self) -> tuple[str, ...]:
        return self.parsed.functions

    @property
    def lines(self) -> list[str]:
        return lines_of(self.source)

    def run(
        self,
        aggregate: str | Aggregate | Callable = "simple",
        none: str = "skip",
        prune: str = "none",
        limits: Limits = DEFAULT_LIMITS,
        asked: Callable[[], None] | None = None,
    ) -> Trace:
        """Run it on a tape of its own, with `f` standing for `aggregate`; `none` and `prune` as `grad` takes them.

        Never raises for what the program does: a run that fails keeps its events and ends with a Failed event, one
        past a limit with LimitReached. Raises ValueError for an unknown aggregate or mode. `asked` is called every
        20 ms or so while it runs; what it raises (a BaseException) ends the run, and is raised here.
        """
        chosen = choice(aggregate)
        for word, value, known in (("none", none, ("skip", "zeros")), ("prune", prune, ("none", "ahead"))):
            if value not in known:
                raise ValueError(f"{word}={value!r}: expected {known[0]!r} or {known[1]!r}.")
        with Tape() as tape:
            recorder, guard = Recorder(tape), TracingGuard(limits, asked)
            trace = guard.trace = recorder.trace
            guard.log = recorder.log
            machine = self.machine(guard, chosen, {"none": none, "prune": prune}, recorder)
            tape.observers = (guard, LineKeeper(recorder), recorder)  # what the guard stops is no event
            try:
                with watched_by(guard):
                    machine.run()
                guard.finish()
            except RecursionError:
                recorder.failed(RunError("this is nested too deeply: give parts of it names, on lines of their own."))
            except Exception as error:  # whatever the program, or an aggregate's code, does: it is an event of the run
                recorder.failed(error)
            finally:
                tape.observers = ()
                recorder.finish()
            return self.described(trace, chosen, machine)

    def defined(self, limits: Limits = DEFAULT_LIMITS) -> dict[str, Aggregate]:
        """The functions that it defines, by name, once all of it has run: to be checked, compared, compiled, called.

        Of `mul`, a function `mul_reference` is the reference, if there is one. What they do counts into the run that
        they are called in, or into the time of `with watched_by(Guard(limits))`. Raises what the program raises.
        """
        guard = Guard(limits)
        with Tape(), watched_by(guard):
            machine = self.machine(guard, choice("simple"))
            machine.run()
        machine.own_guard = Guard(ALONE)
        found = {name: machine.namespace.get(name) for name in self.functions}
        return {name: self.as_aggregate(name, each, found) for name, each in found.items() if machine.is_own(each)}

    def as_aggregate(self, name: str, function: Callable, found: dict) -> Aggregate:
        node = next(each for each in self.statements if isinstance(each, ast.FunctionDef) and each.name == name)
        text = ast.get_source_segment(self.source, node) or ""
        reference = found.get(f"{name}_reference")
        return Aggregate(function, name, summary_of(node), reference, origin="program", text=text)

    @property
    def aggregates(self) -> tuple[str, ...]:
        """The names of those functions that append an entry to the tape."""
        defined = [each for each in self.statements if isinstance(each, ast.FunctionDef)]
        return tuple(each.name for each in defined if each.name in self.functions and appends(each))

    def machine(self, guard: Guard, f=None, modes=None, recorder=None) -> Machine:
        modes = modes or {"none": "skip", "prune": "none"}
        return Machine(self.source, self.parsed, guard, f, modes, seeds(self.statements), recorder)

    def described(self, trace: Trace, chosen: Callable, machine: Machine) -> Trace:
        trace.program = self.source
        trace.title = self.title
        trace.aggregate = name_of(chosen) if self.uses_f and "f" not in self.functions else ""
        given = {name: machine.namespace[name] for name in self.names if name in machine.namespace}
        trace.bindings = {name: value.name for name, value in given.items() if isinstance(value, Variable)}
        trace.printed = tuple(machine.outputs)
        trace._notices.extend(self.parsed.notices)
        return trace

    @cached_property
    def inputs(self) -> dict[str, torch.Tensor]:
        """The leaves that it makes by name, `a = rand(4)`, with their values; of a name used twice, the last."""
        made: dict[str, torch.Tensor] = {}
        by_place = seeds(self.statements)
        for statement in self.statements:
            for name, node in leaves_named(statement):
                guard = Guard(DEFAULT_LIMITS)
                try:
                    with Tape():
                        machine = Machine(self.source, leaf_alone(node), guard, None, {}, by_place)
                        machine.run()
                    made[name] = machine.namespace["leaf"].value
                except (RunError, LimitError):
                    made.pop(name, None)
        return made

    def with_input(self, name: str, value: torch.Tensor) -> str:
        """The text, with the leaf of this name written as `tensor([…])` of this value; the rest stays as it is.

        Raises KeyError for a name that is none of `inputs`, ValueError for a value that cannot be written.
        """
        if name not in self.inputs:
            raise KeyError(f"'{name}' is not an input of the program. Its inputs are: {', '.join(self.inputs)}.")
        calls = [node for each in self.statements for named, node in leaves_named(each) if named == name]
        return with_leaf(self.source, calls[-1], value)

    def __str__(self) -> str:
        return self.source


class TracingGuard(Guard):
    """Has events made while the run goes on, so that they count into its time."""

    trace: Trace | None = None
    log: Sequence = ()

    def statement(self) -> None:
        super().statement()
        if len(self.log) > BUILD_EACH:
            len(self.trace)

    def finish(self) -> None:
        """Events for what is left."""
        len(self.trace)
        self.time()


def summary_of(node: ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")


def appends(node: ast.FunctionDef) -> bool:
    return any(isinstance(part, ast.Name) and part.id == TAPE for part in ast.walk(node))


def choice(aggregate: str | Aggregate | Callable) -> Callable:
    """The aggregate that `f` stands for. Raises ValueError for a name that is not registered."""
    if not isinstance(aggregate, str):
        return aggregate
    if aggregate not in registry:
        hint = did_you_mean(nearest(aggregate, registry))
        raise ValueError(f"no aggregate is called '{aggregate}'.{hint} There are: {', '.join(registry)}.")
    return registry[aggregate]
