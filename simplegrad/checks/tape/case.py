"""What is checked: a function of Variables, inputs to try it on, and its runs, each on a tape of its own."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from ...engine import Observer, Tape, TapeEntry, Variable, grad
from ...engine.tape import function_name
from ...trace import Trace
from ...trace.recorder import Recorder
from ..report import Place
from ..runs.chance import seed
from ..runs.turns import mutation_allowed
from ..runs.watch import Made, TapeWatch
from ..source import code_of, place, return_line

AUTOGRAD, MUTATION, PLAIN = "autograd", "autograd, values kept", "plain"


@dataclass
class HandEntry:
    """A hand-written entry of a run: its Variables, its propagate, and the line that appended it."""

    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    propagate: Callable
    names: tuple[list[str], list[str]]
    appended_from: tuple[types.CodeType, int] | None = None

    @property
    def function_name(self) -> str:
        return function_name(self.propagate)

    @property
    def text(self) -> str:
        return f"{', '.join(self.names[1])} = {self.function_name}({', '.join(self.names[0])})"

    @property
    def code(self) -> types.CodeType | None:
        return code_of(self.propagate)

    @property
    def returned_at(self) -> Place | None:
        """The last `return` of its propagate."""
        return place(self.code.co_filename, return_line(self.code)) if self.code else None

    @property
    def appended_at(self) -> Place | None:
        return place(self.appended_from[0].co_filename, self.appended_from[1]) if self.appended_from else None


@dataclass
class Reading:
    """A Variable that was read although no entry produced it: by which entry, in whose visit (None: in forward)."""

    variable: Variable
    reader: int
    visit: int | None
    leaf: bool


@dataclass
class Operation:
    """What one entry computed, in whose visit."""

    index: int
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    visit: int | None


class Probe(Observer):
    """Keeps the Variables of a run, and notes who read what nobody produced."""

    def __init__(self, tape: Tape, watch: TapeWatch):
        self.tape, self.watch = tape, watch
        self.produced: dict[Any, int] = {}
        self.twice: list[Variable] = []  # outputs of more than one entry
        self.known: set = set()
        self.leaves: dict[Any, tuple[Variable, int | None]] = {}
        self.readings: dict[Any, Reading] = {}
        self.operations: list[Operation] = []
        self.by_hand: dict[int, HandEntry] = {}
        self.visit: int | None = None

    def leaf(self, variable: Variable) -> None:
        self.leaves[variable.key] = (variable, self.visit)

    def recorded(self, inputs: tuple, outputs: tuple) -> None:
        index = len(self.tape) - 1
        for x in inputs:
            if x.key not in self.produced and x.key not in self.known and x.key not in self.readings:
                self.readings[x.key] = Reading(x, index, self.visit, x.key in self.leaves)
        for y in outputs:
            if y.key in self.produced:
                self.twice.append(y)
            self.produced[y.key] = index
        self.operations.append(Operation(index, tuple(inputs), tuple(outputs), self.visit))
        appended, self.watch.appended = self.watch.appended, None
        if appended is not None:
            self._hand_written(index, appended, inputs, outputs)

    def _hand_written(self, index: int, appended: TapeEntry, inputs: tuple, outputs: tuple) -> None:
        names = ([x.name for x in inputs], [y.name for y in outputs])
        self.by_hand[index] = HandEntry(inputs, outputs, appended.propagate, names, self.watch.appended_from)
        self.watch.follow(appended.propagate)

    def pass_begun(self, L, seed, wanted, none, prune) -> None:
        self.known.add(seed.key)
        self.watch.passes += 1

    def visit_begun(self, index: int, dL_doutputs: list) -> None:
        self.visit = index

    def visited(self, index: int, state: str, dL_doutputs: list, dL_dinputs: list) -> None:
        self.visit = None

    def pass_ended(self, dL_d, results) -> None:
        self.visit = None
        self.watch.passes -= 1


@dataclass
class Run:
    """One run of forward. `leaves`: the tensors that torch differentiates by; `wanted`: the Variables of the same."""

    tape: Tape
    probe: Probe
    leaves: list[torch.Tensor]
    wanted: list[Variable]
    outputs: list[Variable] = field(default_factory=list)
    length: int = 0  # of the tape, after forward
    made: dict[int, Made] = field(default_factory=dict)  # Variables made by hand, by their id
    recorder: Recorder | None = None  # where a trace was asked for
    args: list[Any] = field(default_factory=list)  # what the target was given

    @property
    def entries(self) -> list[HandEntry]:
        """Hand-written entries of forward, in their order."""
        return [entry for index, entry in self.probe.by_hand.items() if index < self.length]

    @property
    def trace(self) -> Trace | None:
        return self.recorder and self.recorder.trace

    def grad(self, L: Variable, wanted: Sequence[Variable], none: str = "skip") -> list[Variable | None]:
        with self.tape:
            return grad(L, wanted, none=none)


class NotAVariable(TypeError):
    """The target returned something else than Variables."""


@dataclass
class Case:
    """A target with the inputs given. `kinds`: for each, 'wanted' (differentiable), 'held' (a Variable that is not),
    or 'plain' (passed on as it is)."""

    target: Callable
    given: list[Any]
    kinds: list[str]
    name: str
    labels: list[str]
    dtype: torch.dtype | None = torch.float64
    mode: str = AUTOGRAD
    watch: TapeWatch = field(default_factory=TapeWatch)
    args: list[Any] = field(default_factory=list)  # what the target was given last

    @property
    def names(self) -> list[str]:
        """Names of the differentiable inputs."""
        return [label for label, kind in zip(self.labels, self.kinds) if kind == "wanted"]

    @property
    def bits(self) -> int:
        return 64 if self.dtype is torch.float64 else 32

    def values(self, point: int) -> list[torch.Tensor]:
        """Differentiable inputs at a point: 0 the given ones, else a random point near them, in the same domain."""
        values = [self.converted(x) for x, kind in zip(self.given, self.kinds) if kind == "wanted"]
        if point == 0:
            return values
        generator = torch.Generator().manual_seed(1000 + point)
        return [moved(x, generator) for x in values]

    def move_to(self, values: Sequence[torch.Tensor]) -> None:
        """Other values of the differentiable inputs, instead of the given ones."""
        left = iter(values)
        self.given = [next(left) if kind == "wanted" else x for x, kind in zip(self.given, self.kinds)]

    def converted(self, x: Any) -> Any:
        x = x.value if isinstance(x, Variable) else x
        x = x.detach()
        return x.to(self.dtype or x.dtype).clone() if x.is_floating_point() else x.clone()

    def run(
        self, values: Sequence[torch.Tensor], target: Callable | None = None, mode: str | None = None, traced=False
    ):
        """Run forward at these values. What it raises goes on; random numbers are drawn alike in every run."""
        tape = Tape()
        tape.trusts = True
        observer = Probe(tape, self.watch)
        recorder = Recorder(tape) if traced else None
        tape.observers = (observer, recorder) if recorder else (observer,)
        graph = (mode or self.mode) is not PLAIN
        made = self.watch.made = {}
        with tape, torch.set_grad_enabled(graph):
            seed()
            leaves = [x.detach().clone().requires_grad_(graph) for x in values]
            args = self.args = self.arguments(leaves)
            wanted = [arg for arg, kind in zip(args, self.kinds) if kind == "wanted"]
            observer.known |= {arg.key for arg in args if isinstance(arg, Variable)}
            run = Run(tape, observer, leaves, wanted, made=made, recorder=recorder, args=args)
            run.outputs = outputs_of((target or self.target)(*args))
        run.length = len(tape)
        return run

    def arguments(self, leaves: list[torch.Tensor]) -> list[Any]:
        left, args = list(leaves), []
        for x, kind, label in zip(self.given, self.kinds, self.labels):
            if kind == "wanted":
                # a copy: forward may change its input in place, which torch forbids for a leaf
                args.append(Variable.constant(left.pop(0).clone(), label))
            else:
                args.append(Variable.constant(self.converted(x), label) if kind == "held" else self.as_it_is(x))
        return args

    def as_it_is(self, x: Any) -> Any:
        return self.converted(x) if isinstance(x, Variable | torch.Tensor) else x

    def recording(self):
        """torch autograd on or off underneath, as the mode says."""
        return torch.set_grad_enabled(self.mode is not PLAIN)

    @contextmanager
    def environment(self):
        """Around all runs: watched, and with tensors that autograd saved kept apart where forward changes them."""
        kept = mutation_allowed() if self.mode is MUTATION else nullcontext()
        with self.watch, kept:
            yield


def moved(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Near x, elements no longer equal: each a bit smaller with its sign kept, zeros a bit above zero, so that a
    logarithm or an arcsine stays defined."""
    draw = torch.rand(x.shape, generator=generator, dtype=torch.float64).to(x.dtype)
    return torch.where(x == 0, 0.02 + 0.2 * draw, x * (0.5 + 0.5 * draw))


def outputs_of(result: Any) -> list[Variable]:
    several = list(result) if isinstance(result, tuple | list) else [result]
    for slot, each in enumerate(several):
        if not isinstance(each, Variable):
            which = f"output {slot}" if len(several) > 1 else "its result"
            raise NotAVariable(f"{which} is a {type(each).__name__}, where a Variable was expected")
    if not several:
        raise NotAVariable("it returned no outputs, where a Variable was expected")
    return several


def labels_of(target: Callable, given: Sequence[Any]) -> list[str]:
    """The parameters' names, as far as the signature goes; then x0, x1, …"""
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [parameter.name for parameter in parameters if parameter.kind in positional]
    return [names[i] if i < len(names) else f"x{i}" for i in range(len(given))]
