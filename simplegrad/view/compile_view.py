"""What the Compile page shows, as data: the texts of a compiled aggregate, what each costs, which patterns came."""

from __future__ import annotations

import hashlib
import itertools
import keyword
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..compiler import CompiledAggregate, CompileError, compile_aggregate
from ..compiler.errors import UnfitError
from ..language import DEFAULT_LIMITS, ProgramError, pack, unpack
from ..language.limits import Guard, watched_by
from ..language.starter import own_program
from ..lessons.facts import warm
from ..trace import LimitError
from ..trace.events import Visited
from ..trace.trace import Trace
from . import running
from .offered import offered

EXAMPLES = {
    "(a + b) * b": "(a + b) * b",
    "RMSNorm": "ms = (x * x).mean(dim=-1, keepdim=True)\nrstd = (ms + 1e-6) ** -0.5\nx * rstd * w",
    "a layer": "tanh(x @ w + b)",
    "softmax cross-entropy": "logp = x - x.logsumexp(dim=-1, keepdim=True)\n-(logp * p).sum(dim=-1)",
    "attention": "scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5\nscores.softmax(dim=-1) @ v",
    "swish": "x * sigmoid(x)",
}
MOST_LINKED = 2  # in a URL: one for each side of Compare
MOST_PATTERNS = 15  # that are listed; the others are counted
LONGEST_NAME = 48  # characters of an expression that is its aggregate's name


@dataclass(frozen=True)
class Listing:
    """One text: its title, the code, what it computes (`operations`), and how often it ran, or None for forward."""

    title: str
    code: str
    operations: int
    ran: int | None = None
    pattern: tuple[bool, ...] | None = None

    @property
    def caption(self) -> str:
        count = f"{self.operations} {'operation' if self.operations == 1 else 'operations'}"
        if self.ran is None:
            return count
        return f"{count}; ran {self.ran} {'time' if self.ran == 1 else 'times'} in this program"


def written_name(wished: str) -> str:
    """A name for its code."""
    plain = re.sub(r"\W", "_", wished.strip(), flags=re.ASCII).strip("_")[:24]
    return plain if plain and not plain[0].isdigit() and not keyword.iskeyword(plain) else "f"


def compiled(text: str, wished: str = "") -> CompiledAggregate:
    """Of this text, with inputs to try it on, in the menus of the visitor who wrote it or followed a link that has it.

    Raises ProgramError, with its place.
    """
    warm()
    written = written_name(wished)
    name = name_of(text, written)
    if name not in offered:
        offered.add(with_example(text, written, name))
    return offered[name]


def name_of(text: str, written: str) -> str:
    """`swish = x * sigmoid(x)`: the same on every server, and no other text's. What had to be cut has a hash."""
    said = " ".join(text.split())
    if said == text and len(said) <= LONGEST_NAME:
        return f"{written} = {said}"
    return f"{written} = {said[:LONGEST_NAME]}… {hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"


def with_example(text: str, written: str, name: str) -> CompiledAggregate:
    """Raises ProgramError, also for what computes on no shapes, or takes too long to compile."""
    try:
        with watched_by(Guard(DEFAULT_LIMITS)):
            aggregate = of_text(text, written)
            inputs = example_inputs(aggregate)
    except LimitError as error:
        raise ProgramError(f"this is too much to compile: at most {error.limit:g} {error.what}.") from None
    except CompileError as error:
        raise ProgramError(error.told if isinstance(error, UnfitError) else str(error)) from None
    aggregate.name = name
    aggregate.link = pack(f"{written}\n{text}")
    aggregate.example = lambda: inputs
    return aggregate


def of_text(text: str, written: str) -> CompiledAggregate:
    try:
        return compile_aggregate(text, written)
    except ProgramError:
        raise
    except ValueError:  # a name that code may not take
        return compile_aggregate(text, "f")


def links_of(names: Iterable[str]) -> dict[str, str]:
    """What a URL that says these names needs beside them: the texts of those that were compiled on the Compile page,
    for a server that did not compile them."""
    found = [getattr(offered.get(name), "link", "") for name in names]
    linked = ".".join(link for link in dict.fromkeys(found) if link)
    return {"compiled": linked} if linked else {}


def compile_linked(said: str) -> list[str]:
    """Compile what `links_of` put into a URL, which is parsed and never evaluated; sentences on what cannot be."""
    problems = []
    for part in filter(None, said.split(".")[:MOST_LINKED]):
        try:
            written, _, text = unpack(part).partition("\n")
            compiled(text, written)
        except ProgramError as error:
            problems.append(f"The address says compiled={part[:20]}, but {error.message}")
    return problems


def example_inputs(aggregate: CompiledAggregate) -> tuple[torch.Tensor, ...]:
    """Small tensors of shapes that the expression takes; floats, as the language has them. Raises CompileError where
    it computes on none."""
    count = len(aggregate.inputs)
    products = any(node.op == "matmul" for node in aggregate.expression.graph.nodes)
    vectors, matrices = ((4,),), ((2, 2), (3, 3))
    usual = (*matrices, *vectors) if products else (*vectors, *matrices)
    plain = [[shape] * count for shape in (*usual, (2, 3, 3), ())]
    mixed = itertools.product(((2, 3), (3,), (3, 2), (2,), ()), repeat=count) if count <= 4 else ()
    for shapes in itertools.chain(plain, mixed):
        inputs = numbers(shapes)
        try:
            aggregate.case_of(inputs)
        except (RuntimeError, IndexError, TypeError, ValueError, ArithmeticError):
            continue
        return tuple(inputs)
    aggregate.case  # noqa: B018  it says what is wrong
    return tuple(numbers([(4, 4)] * count))


def numbers(shapes) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [((torch.rand(shape, generator=generator) * 1e4).round() / 1e4 + 0.1) for shape in shapes]


def program_text(aggregate: CompiledAggregate) -> str:
    """A gradient of a gradient of it, on its example inputs."""
    return own_program(aggregate)


def run(aggregate: CompiledAggregate, text: str) -> Trace:
    """The program with the aggregate as f. Raises ProgramError."""
    return running.run(text, aggregate)


def patterns_of(trace: Trace, aggregate: CompiledAggregate) -> Counter[tuple[bool, ...]]:
    """Which incoming gradients came, in the visits to the aggregate's entries, and how often."""
    visits = [event for event in trace.events if isinstance(event, Visited) and event.incoming]
    ours = [event for event in visits if event.entry.aggregate and event.entry.operator == aggregate.written]
    return Counter(tuple(each is not None for each in event.incoming) for event in ours if event.state != "skipped")


def pattern_said(names: tuple[str, ...], pattern: tuple[bool, ...]) -> str:
    """`dL_dr; dL_dt None`: what comes in, and what is a known zero."""
    comes = [f"dL_d{name}" for name, each in zip(names, pattern) if each]
    absent = [f"dL_d{name}" for name, each in zip(names, pattern) if not each]
    return ", ".join(comes) + (f"; {', '.join(absent)} None" if absent else "")


def listings(aggregate: CompiledAggregate, counts: Counter) -> list[Listing]:
    """Forward, `propagate` with its general body, and the body for each pattern: those that ran first, often first."""
    case = aggregate.case
    forward = [node for node in case.made.forward if node.kind not in ("size", "shape") and node.args]
    general = len(case.made.body(case.all).operations)
    said = [
        Listing("forward", aggregate.forward_source, len(forward)),
        Listing("propagate, and its general body", aggregate.propagate_source, general, counts[case.all]),
    ]
    for pattern in listed_patterns(aggregate, counts):
        code, operations = aggregate.specialisation_source(pattern), len(case.made.body(pattern).operations)
        title = pattern_said(aggregate.outputs, pattern)
        said.append(Listing(title, code, operations, counts[pattern], pattern))
    return said


def listed_patterns(aggregate: CompiledAggregate, counts: Counter) -> list[tuple[bool, ...]]:
    seen = [pattern for pattern, _ in counts.most_common() if any(pattern)]
    case = aggregate.case
    some = itertools.islice(itertools.product((True, False), repeat=len(case.all)), 1 << 10)
    others = [pattern for pattern in (case.first, *some) if any(pattern) and pattern != case.all]
    return [p for p in dict.fromkeys([*seen, *others]) if p != case.all][:MOST_PATTERNS]
