"""What can be said of an answer without reading its text: what its run did, what its propagate gives and costs."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

import torch

from ..checks.check import check
from ..checks.report import Report
from ..compiler import compile_aggregate
from ..engine import Tape, TapeError, Variable, grad, gradient_tape
from ..language import Limits, Program, RunError
from ..language.limits import Guard, watched_by
from ..language.parse import parse
from ..trace import LimitError, record
from ..trace.events import Visited
from ..trace.trace import Trace
from .called import TOLERANCE, called_alone, same, weights
from .course import Exercise, exercise

# Of one check of an answer, all of its runs together: a server that is busy with others takes nothing from it.
LIMITS = Limits(seconds=3.0, own_time=True, statements=200_000, depth=60)


@dataclass
class Facts:
    """`said`: by name; `trace`: a run that shows them; `line`: where it went wrong; `report`: what check says."""

    said: dict[str, object] = field(default_factory=dict)
    trace: Trace | None = None
    line: int | None = None
    report: Report | None = None
    message: str = ""  # of an error
    given: Mapping[str, torch.Tensor] = field(default_factory=dict)  # what formulas compute with
    gradients: Mapping[str, torch.Tensor | None] = field(default_factory=dict)

    def with_facts(self, **more: object) -> Facts:
        self.said |= more
        return self


# --- of a program ----------------------------------------------------------------------------------------------------


def of_program(asked: Exercise, text: str) -> Facts:
    program = Program.parse(text)
    trace = program.run(asked.aggregate, limits=LIMITS)
    found = Facts(trace=trace)
    if trace.error is not None:
        found.line, found.message = trace.error.line, trace.error.message
    last = last_gradients(trace)
    visits = [event for event in trace.events if isinstance(event, Visited) and event.pass_id == len(trace.passes) - 1]
    ran = [event for event in visits if event.state in ("propagated", "partial")]
    of_f = [event for event in visits if event.entry.aggregate]
    found.said = {
        "error": getattr(trace.error, "error", trace.error.kind) if trace.error is not None else "",
        "entries": len(trace.entries),
        "how_many": f"{len(trace.entries)} {'entry' if len(trace.entries) == 1 else 'entries'}",
        "reads": counts(value.name for entry in trace.entries for value in set(entry.inputs)),
        "passes": len(trace.passes),
        "in_passes": sum(entry.pass_id is not None for entry in trace.entries),
        "aliases": len(trace.bindings) - len(set(trace.bindings.values())),
        "leaves": sum(value.leaf for value in trace.values),
        "wanted": list(last),
        "by_grad": by_grad(trace),
        "states": {name: state_of(value) for name, value in last.items()},
        "values": {name: numbers(trace.value_named(variable)) for name, variable in trace.bindings.items()},
        "reruns": any(event.entry.pass_id == 0 for event in ran),
        "f_inputs": next(([x.name for x in event.entry.inputs] for event in of_f), []),
        "f_states": [event.state for event in of_f],
        "f_incoming": sorted({" ".join("none" if g is None else "value" for g in event.incoming) for event in of_f}),
    }
    if asked.aggregate != "simple" and program.uses_f:
        found.said |= beside_simple(program, last)
    return found


def beside_simple(program: Program, last: Mapping) -> dict:
    """What the last pass gives beside what it gives with recorded operations."""
    right = last_gradients(program.run("simple", limits=LIMITS))
    differs = [name for name in right if not same(tensor_of(last.get(name)), tensor_of(right[name]))]
    return {
        "differs": differs,
        "agrees": not differs,
        "some_value": any(state_of(value) == "value" for value in right.values()),
    }


def by_grad(trace: Trace) -> list[str]:
    """The names whose values grad gave, or that were computed from those."""
    came = {value.name for event in trace.events if event.kind == "PassEnded" for value in event.results if value}
    for entry in trace.entries:
        if entry.pass_id is None and any(x.name in came for x in entry.inputs):
            came |= {value.name for value in entry.outputs}
    return [name for name, variable in trace.bindings.items() if variable in came]


def last_gradients(trace: Trace) -> dict:
    """Of the last pass: by the name of what was wanted, the gradient."""
    ended = [event for event in trace.events if event.kind == "PassEnded"]
    if not ended or not trace.passes:
        return {}
    return dict(zip([x.name for x in trace.passes[-1].wanted], ended[-1].results))


def state_of(value) -> str:
    return "none" if value is None else "zero" if not value.tensor.any() else "value"


def tensor_of(value) -> torch.Tensor | None:
    return None if value is None else value.tensor


def numbers(value) -> list:
    return [] if value is None or value.tensor is None else value.tensor.tolist()


def counts(names) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


# --- of an expression that is compiled -------------------------------------------------------------------------------


def of_expression(asked: Exercise, text: str) -> Facts:
    with watched_by(Guard(LIMITS)):
        compiled = compile_aggregate(text)
        made = compiled.case.made
    kept = [node for node in made.outputs if node not in made.results]
    trace = on_the_tape(text, [node.name for node in made.inputs])
    said = {"error": "", "outputs": len(made.outputs), "operations": len(trace.entries)}
    return Facts({**said, "kept": [node.op for node in kept]}, trace)


def on_the_tape(text: str, names: Sequence[str]) -> Trace:
    """The run of an expression with leaves of these names. A compiler leaves operations out; here all are recorded."""
    leaves = [f"{name} = rand(4, 4, seed={number})" for number, name in enumerate(names)]
    last = parse(text, LIMITS, free=True).statements[-1]
    called = [f"{last.name}({', '.join(names)})"] if isinstance(last, ast.FunctionDef) else []
    body = re.sub(r"^return\b *", "", text, flags=re.MULTILINE)  # at the end of an expression it may stand
    return Program.parse("\n".join([*leaves, body, *called])).run(limits=LIMITS)


# --- of a propagate --------------------------------------------------------------------------------------------------


def of_propagate(asked: Exercise, text: str) -> Facts:
    """Raises ProgramError, RunError, LimitError for a text that does not come so far; KeyError without its function."""
    program = Program.parse(text)
    warm()
    guard = Guard(LIMITS)
    with watched_by(guard):
        function = program.defined(LIMITS)[asked.target]
        reference = parsed(asked.reference).defined(LIMITS)["reference"]
        inputs = [torch.tensor(each) for each in asked.inputs]
        found = first_order(function, right_of(asked.id), inputs)
        found.said |= called_alone(function, inputs)
        if found.said["returned"] == "nothing" and not ends_bare(program):
            found.said["returned"] = "None"
        found.said["elsewhere"] = found.said["first"] and right_elsewhere(function, reference, inputs)
        order = asked.order if found.said["first"] else 1  # what is wrong at once is explained by the first pass
        found.report = check(function, *inputs, order=order, reference=reference)
        if guard.statements > LIMITS.statements:
            raise LimitError("statements", LIMITS.statements, "too many statements")
        guard.time()
    codes = [each.code for each in found.report.findings]
    found.said |= {
        "verdict": str(found.report.verdict),
        "codes": codes,
        "all_ran": not any("nothing ran" in str(line) for line in getattr(found.report, "coverage", ()) or ()),
    }
    return found


def ends_bare(program: Program) -> bool:
    """Whether a propagate has no `return`: what a call gives is None there as well as after `return None`."""
    nodes = [node for statement in program.statements for node in ast.walk(statement)]
    named = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == "propagate"]
    return any(not any(isinstance(each, ast.Return) for each in ast.walk(node)) for node in named)


@lru_cache(maxsize=512)
def parsed(text: str) -> Program:
    """A text of a lesson: these do not change."""
    return Program.parse(text)


@cache
def warm() -> None:
    """What torch imports at first for shapes without numbers is not a part of anybody's 3 seconds."""
    assert compile_aggregate("a.tanh() * a").forward_source


@cache
def right_of(name: str) -> dict:
    """What a right answer to the exercise of this id gives, on the exercise's numbers."""
    asked = exercise(name)
    reference = parsed(asked.reference).defined(LIMITS)["reference"]
    found = climbed(reference, [torch.tensor(each) for each in asked.inputs])
    return {"first": found["first"], "second": found["second"], "r": found["r"]}


def first_order(function: Callable, right: Mapping, inputs: Sequence[torch.Tensor]) -> Facts:
    ours = climbed(function, inputs)
    names = ours["names"]
    first = {n: same(mine, other) for n, mine, other in zip(names, ours["first"], right["first"])}
    second = {n: same(mine, other) for n, mine, other in zip(names, ours["second"], right["second"])}
    said = {
        "error": ours["error"] if ours["failed"] == 1 else "",
        "second_error": ours["error"] if ours["failed"] == 2 else "",
        "first": all(first.values()) and not ours["failed"],
        "second": all(second.values()) and not ours["failed"],
        "wrong": [n for n, good in first.items() if not good],
        "wrong_second": [n for n, good in second.items() if not good],
        "outputs": ours["outputs"],
        "escaped": ours["escaped"],
        "value": right["r"] is None or same(ours["r"], right["r"]) or ours["failed"] == 1,
        **factors(names, ours["first"], right["first"]),
    }
    found = Facts(said, ours["trace"], ours["line"], message=ours["message"])
    found.given = {**dict(zip(names, inputs)), "g": ours["g"], "r": ours["r"]}
    found.gradients = dict(zip(names, ours["first"]))
    return found


def factors(names: Sequence[str], ours: Sequence, right: Sequence) -> dict:
    """Which gradients are right but for their sign, and which but for another factor, in words."""
    negated, scaled = [], {}
    for name, mine, other in zip(names, ours, right):
        if mine is None or other is None or mine.shape != other.shape or not other.any():
            continue
        by = ((mine * other).sum() / (other * other).sum()).item()
        if same(mine, by * other) and abs(by) > TOLERANCE:
            if abs(by + 1) < TOLERANCE:
                negated.append(name)
            elif abs(by - 1) > TOLERANCE:
                scaled.setdefault(f"{by:.4g} times", []).append(name)
    return {"negated": negated, "scaled": [f"{by} the right one for {' and '.join(of)}" for by, of in scaled.items()]}


def right_elsewhere(function: Callable, reference: Callable, inputs: Sequence[torch.Tensor]) -> bool:
    """Whether the first gradients are right at other inputs too: a propagate may have the numbers of these in it."""
    others = [x * 1.25 + 0.1 for x in inputs]
    with Tape():
        try:
            return all(map(same, first_of(function, others), first_of(reference, others)))
        except Exception:  # whatever an answer does: it is told by what it does at the exercise's inputs
            return True


def first_of(function: Callable, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
    xs = [Variable.constant(x) for x in inputs]
    r = function(*xs)
    given = grad((r * Variable.constant(weights(r.shape, 0.6))).sum(), xs)
    return [None if d is None else d.value for d in given]


def climbed(function: Callable, inputs: Sequence[torch.Tensor]) -> dict:
    """A first and a second pass, with other numbers coming in each time."""
    names = list(inspect.signature(function).parameters)[: len(inputs)]
    found = {"names": names, "first": [None] * len(inputs), "second": [None] * len(inputs), "failed": 0, "error": ""}
    found |= {"line": None, "message": "", "outputs": 0, "escaped": False, "g": torch.ones(()), "r": torch.ones(())}
    with Tape(), record() as trace:
        try:
            xs = [Variable.constant(x, name=n) for n, x in zip(names, inputs)]
            found["failed"] = 1
            r = function(*xs)
            g = Variable.constant(weights(r.shape, 0.6), name="g")
            found["g"], found["r"], found["outputs"] = g.value, r.value, len(gradient_tape[-1].outputs)
            first = grad((r * g).sum(name="L0"), xs)
            found["first"] = [d.value if d is not None else None for d in first]
            found["failed"] = 2
            parts = [(d * Variable.constant(weights(d.shape, 0.9))).sum() for d in first if d is not None]
            if parts:
                L1 = parts[0]
                for part in parts[1:]:
                    L1 = L1 + part
                found["second"] = [d.value if d is not None else None for d in grad(L1, xs)]
            found["failed"] = 0
        except Exception as error:  # whatever an answer does: it is a fact about it
            found["error"], found["message"], found["line"] = type(error).__name__, str(error), line_of(error)
    found["trace"] = trace
    found["escaped"] = any(event.kind == "Read" for event in trace.events)
    return found


def line_of(error: BaseException) -> int | None:
    """The innermost line of a program that an error came from."""
    found, traceback = None, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename.startswith("<program "):
            found = traceback.tb_lineno
        traceback = traceback.tb_next
    return found


def formula(text: str, given: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """What a formula of a lesson gives on these numbers."""
    program = parsed(f"def formula({', '.join(given)}):\n    return ({text}) * 1.0")
    with Tape():
        try:
            return program.defined(LIMITS)["formula"](*map(Variable.constant, given.values())).value
        except (RunError, TapeError, RuntimeError):  # the answer's numbers have other shapes
            return None
