"""Run a Program: an interpreter of its syntax tree, on a tape of its own, watched by a recorder and a guard."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

import torch

from ..aggregates import Aggregate, name_of, registry
from ..engine import Tape, Variable
from ..trace import LimitError, Recorder, Trace
from .calls import Calls
from .errors import RunError, did_you_mean, nearest
from .leaves import shown
from .limits import DEFAULT_LIMITS, Guard, Limits
from .nodes import leaves_named
from .parse import Program


def run(program: Program, aggregate: str | Aggregate | Callable, none: str, prune: str, limits: Limits) -> Trace:
    """See Program.run."""
    chosen = choice(aggregate)
    for word, value, known in (("none", none, ("skip", "zeros")), ("prune", prune, ("none", "ahead"))):
        if value not in known:
            raise ValueError(f"{word}={value!r}: expected {known[0]!r} or {known[1]!r}.")
    with Tape() as tape:
        recorder, guard = Recorder(tape), Guard(limits)
        trace = recorder.trace
        tape.observers = (guard, recorder)  # what the guard stops is no event
        interpreter = Interpreter(program, tape, guard, chosen, {"none": none, "prune": prune})
        try:
            interpreter.run(recorder)
        except RecursionError:
            recorder.failed(RunError("this is nested too deeply: give parts of it names, on lines of their own."))
        except Exception as error:  # whatever the program, or an aggregate's code, does: it is an event of the run
            recorder.failed(error)
        finally:
            tape.observers = ()
            recorder.finish()
        return described(trace, program, chosen, interpreter)


def choice(aggregate: str | Aggregate | Callable) -> Callable:
    """The aggregate that `f` stands for. Raises ValueError for a name that is not registered."""
    if not isinstance(aggregate, str):
        return aggregate
    if aggregate not in registry:
        hint = did_you_mean(nearest(aggregate, registry))
        raise ValueError(f"no aggregate is called '{aggregate}'.{hint} There are: {', '.join(registry)}.")
    return registry[aggregate]


def described(trace: Trace, program: Program, chosen: Callable, interpreter: Interpreter) -> Trace:
    trace.program = program.source
    trace.title = program.title
    trace.aggregate = name_of(chosen) if program.uses_f else ""
    trace.bindings = {k: v.name for k, v in interpreter.names.items() if isinstance(v, Variable)}
    return trace


def inputs(program: Program) -> dict[str, torch.Tensor]:
    """See Program.inputs: the leaves alone are made, on no tape that anybody sees."""
    made = {}
    with Tape() as tape:
        interpreter = Interpreter(program, tape, Guard(DEFAULT_LIMITS), registry["simple"], {})
        for statement in program.statements:
            for name, node in leaves_named(statement):
                try:
                    made[name] = interpreter.evaluate(node).value
                except (RunError, LimitError):
                    made.pop(name, None)
    return made


class Interpreter(Calls):
    """Runs the statements that the parser let through."""

    def run(self, recorder: Recorder) -> None:
        for statement in self.program.statements:
            recorder.line = statement.lineno
            self.guard.statement()
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                self.assign(targets, value)
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                left = ast.copy_location(ast.Name(name, ast.Load()), target)
                self.bind(name, self.evaluate(ast.copy_location(ast.BinOp(left, op, value), node), name))
            case ast.Expr(value=value):
                self.evaluate(value)

    def assign(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        match targets[0], value:
            case ast.Name(id=name), _:
                result = self.evaluate(value, name)
            case ((ast.Tuple(elts=names) | ast.List(elts=names)), (ast.Tuple(elts=parts) | ast.List(elts=parts))) if (
                len(names) == len(parts)
            ):
                result = [self.evaluate(part, name.id) for name, part in zip(names, parts)]
            case _:
                result = self.evaluate(value)
        for target in targets:
            self.unpack(target, result)

    def unpack(self, target: ast.expr, result) -> None:
        if isinstance(target, ast.Name):
            return self.bind(target.id, result)
        if not isinstance(result, (list, tuple)):
            raise RunError(f"{len(target.elts)} names on the left side, but the right is {shown(result)}.")
        if len(target.elts) != len(result):
            values = "1 value" if len(result) == 1 else f"{len(result)} values"
            raise RunError(f"{len(target.elts)} names on the left side, but {values} on the right.")
        reasons = getattr(result, "reasons", [""] * len(result))
        for name, value, reason in zip(target.elts, result, reasons):
            self.bind(name.id, value, reason)

    def bind(self, name: str, value, reason: str = "") -> None:
        self.names[name] = value
        self.why_none[name] = reason
