"""What a check says: a `Report` holds `Finding`s (a value, a line, a missing pathway) and the `Clause`s it tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ..attached import Shown, attached
from ..locks import cached_property
from ..trace.looks import Looks

CORRECT, UNVERIFIED = "correct", "unverified"

# From gravest to mildest: `Report.verdict` is the first of these that was found. What is wrong at the first order
# comes before what only a second derivative shows.
FAULTS = (
    "raises",
    "wrong_value",
    "wrong_count",
    "raw_tensor_captured",
    "none_not_handled",
    "wrong_shape",
    "nonfinite_gradient",
    "not_repeatable",
    "input_mutated",
    "missing_gradient",
    "wrong_order",
    "captured_value_mutated",
    "wrong_gradient",
    "not_linear",
    "depends_on_create_graph",
    "layout_assumed",
    "ignored_output_gradient",
    "double_counted",
    "missing_use",
    "wrong_partial",
    "escaped_temporary",
    "stop_gradient_on_input",
    "graph_cut_in_backward",
    "guard_bypassed",
    "wrong_jvp",
    "wrong_vmap",
    "unexplained",
)
# Right, but worth knowing: a report with nothing but notes is `ok`.
NOTES = ("zero_materialised", "recomputed", "other_gradient", "surrogate", "first_order_only", "opcheck")

HOLDS, BROKEN, NOT_TRIED = "holds", "broken", "not tried"
CLAUSES = {
    1: "runs at the given inputs, finite",
    2: "order 1, every output and input",
    3: "linear in the incoming gradient",
    4: "orders 2 and up",
    5: "every pattern of None",
    6: "every subset of needs_input_grad",
    7: "layouts of the incoming gradient",
    8: "changes nothing it does not own",
    9: "gives the same again",
    10: "forward mode and vmap",
    11: "torch.library.custom_op",
    12: "half precision",
}


@dataclass(frozen=True)
class Place:
    """Lines of a source file, counted from 1; `text` is those lines as they stand in the file."""

    file: str
    first: int
    last: int
    text: str = ""

    def __str__(self) -> str:
        lines = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.file}:{lines}"

    def as_json(self) -> dict:
        return {"file": self.file, "first": self.first, "last": self.last, "text": self.text}


class Later:
    """A field that may be given as a function, which is called when somebody asks for the field."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = f"_{name}"

    def __get__(self, instance: object, owner: type | None = None) -> object:
        if instance is None:
            return None  # the default
        value = instance.__dict__.get(self.key)
        if callable(value):
            value = instance.__dict__[self.key] = value()
        return value

    def __set__(self, instance: object, value: object) -> None:
        instance.__dict__[self.key] = value


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (or, for a code in NOTES, worth knowing) about a hand-written backward."""

    code: str
    sentence: str
    entry: str = ""  # the entry or Function it is about: "r = fused(a, b)", "SinhBad"
    slot: str = ""  # which value of it: "t", "ctx.mean", "saved_tensors[2]"
    made_at: Place | None = None  # where the value was computed
    read_at: Place | None = None  # where propagate / backward read it
    order: int | None = None  # the first order of differentiation at which it shows
    step: int | None = Later()  # index of the event in the report's trace that shows it
    dropped: dict[str, torch.Tensor] = field(default_factory=dict)  # input -> lost gradient, verified by numbers
    fix: str = ""  # code to write instead
    explanation: str = ""  # what made the wrong out of the right, in a few words: "a constant factor of 0.5"

    @property
    def is_note(self) -> bool:
        return self.code in NOTES

    @property
    def kind(self) -> str:
        """`fault`, `note`, or `unverified` for what could not be judged."""
        return "note" if self.is_note else UNVERIFIED if self.code == UNVERIFIED else "fault"

    def as_json(self) -> dict:
        """Every field under its own name, tensors as nested lists."""
        return {
            "code": self.code,
            "sentence": self.sentence,
            "entry": self.entry,
            "slot": self.slot,
            "made_at": self.made_at and self.made_at.as_json(),
            "read_at": self.read_at and self.read_at.as_json(),
            "order": self.order,
            "step": self.step,
            "dropped": {name: plain(value) for name, value in self.dropped.items()},
            "fix": self.fix,
            "explanation": self.explanation,
        }


@dataclass(frozen=True)
class Clause:
    """One thing that autograd may do to a backward, and what came of trying it."""

    number: int
    name: str
    state: str  # "holds", "broken", "not tried"
    why: str = ""  # where it does not hold everywhere, or was not tried: the reason

    def as_json(self) -> dict:
        return {"number": self.number, "name": self.name, "state": self.state, "why": self.why}


@dataclass(frozen=True)
class Remainders:
    """What is left of a Taylor expansion along one random direction of one input, at some step sizes.

    `rate` is the power of the step size by which it falls: order + 1 where that derivative is right, order where it is
    not; nan where rounding hides it, or where nothing is left at all.
    """

    order: int
    input: str
    steps: tuple[float, ...]
    remainders: tuple[float, ...]
    rate: float

    def __str__(self) -> str:
        return f"power {self.rate:.1f} (right: {self.order + 1}) for {self.input} at order {self.order}"

    def as_json(self) -> dict:
        return {
            "order": self.order,
            "input": self.input,
            "steps": list(self.steps),
            "remainders": list(self.remainders),
            "rate": self.rate,
        }


def plain(value: torch.Tensor) -> list | float | str:
    """A tensor as JSON can hold it: complex numbers as [real, imaginary]."""
    if value.is_complex():
        value = torch.view_as_real(value.resolve_conj())
    return value.detach().tolist()


@attached
@dataclass
class Report(Shown):
    """What `check` found out about one aggregate or Function. `str(report)` is made for a terminal.

    `errors[order][input]` is the largest absolute difference from the truth, over all elements and patterns of
    known-zero incoming gradients; `coverage` lists lines of `propagate` that no pass and no pattern ever ran.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    errors: dict[int, dict[str, float]] = field(default_factory=dict)
    truth: str = ""  # what it was held against, in words
    patterns: str = ""  # how many patterns of None were tried, and whether that was all
    coverage: list[Place] = field(default_factory=list)
    trace: object | None = Later()  # a simplegrad Trace in which the findings' steps can be seen
    surrogate: str = ""  # why its gradient counts as one that is meant not to be forward's derivative
    measure: Callable[[], list[Remainders]] | None = None  # gives the evidence, which is made when it is asked for
    tried: dict[int, Clause] = field(default_factory=dict)
    untried: list[str] = field(default_factory=list)  # what no clause asks of it, in words

    @cached_property
    def evidence(self) -> list[Remainders]:
        """Remainders of Taylor expansions for each input and order, with their rates: see taylor.py."""
        return self.measure() if self.measure is not None else []

    @property
    def faults(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind == "fault"]

    @property
    def notes(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.is_note]

    @property
    def unverified(self) -> list[Finding]:
        """What could not be judged: one of these, and the report is not `correct`."""
        return [finding for finding in self.findings if finding.kind == UNVERIFIED]

    @property
    def ok(self) -> bool:
        return self.verdict == CORRECT

    @property
    def verdict(self) -> str:
        """The code of the gravest fault; else `unverified` where something could not be judged; else `correct`.

        A fault that shows at no order of what was checked, but would in another use of it, comes after those that do;
        a cause comes before what has none.
        """
        if self.faults:
            return min(self.faults, key=_gravity).code
        return UNVERIFIED if self.unverified else CORRECT

    @property
    def clauses(self) -> list[Clause]:
        """All of them in their order; those that nothing was said of are not tried."""
        return [self.tried.get(n, Clause(n, name, NOT_TRIED, "not reached")) for n, name in CLAUSES.items()]

    def tell(self, number: int, state: str, why: str = "") -> None:
        """Note what came of a clause. Of several answers the worst stands: broken, then not tried, then holds."""
        known = self.tried.get(number)
        ranks = (HOLDS, NOT_TRIED, BROKEN)
        if known is None or ranks.index(state) > ranks.index(known.state):
            self.tried[number] = Clause(number, CLAUSES[number], state, why)

    def as_json(self) -> dict:
        return {
            "name": self.name,
            "verdict": self.verdict,
            "ok": self.ok,
            "truth": self.truth,
            "patterns": self.patterns,
            "surrogate": self.surrogate,
            "errors": {str(order): errors for order, errors in self.errors.items()},
            "clauses": [clause.as_json() for clause in self.clauses],
            "untried": list(self.untried),
            "evidence": [each.as_json() for each in self.evidence],
            "coverage": [place.as_json() for place in self.coverage],
            "findings": [finding.as_json() for finding in self.findings],
        }

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.verdict}"]
        if self.truth:
            lines.append(f"  compared with {self.truth}")
        if self.surrogate:
            lines.append(f"  its gradient counts as a surrogate: {self.surrogate}")
        if self.patterns:
            lines.append(f"  {self.patterns}")
        for order, errors in sorted(self.errors.items()):
            each = ", ".join(f"{name} {error:.2g}" for name, error in errors.items())
            lines.append(f"  order {order}: largest error {each}")
        told = [str(each) for each in self.evidence if each.rate == each.rate]
        if told:
            lines.append(f"  remainders of Taylor expansions fall with {', '.join(told)}")
        for finding in self.findings:
            lines += ["", *described(finding)]
        if self.tried:
            lines += ["", *table(self.clauses)]
        if self.untried:
            lines.append(f"  not tried at all: {'; '.join(self.untried)}")
        if self.coverage:
            lines += ["", "  lines of propagate that nothing ran: " + ", ".join(str(place) for place in self.coverage)]
        return "\n".join(lines)


def _gravity(fault: Finding) -> tuple:
    return fault.code == "unexplained", fault.order is None, FAULTS.index(fault.code)


def table(clauses: list[Clause]) -> list[str]:
    """The clauses for a terminal, a line each."""
    width = max(len(clause.name) for clause in clauses)
    rows = [f"  {c.number:>2}  {c.name:<{width}}  {c.state}{f' ({c.why})' if c.why else ''}" for c in clauses]
    return ["  clauses:", *rows]


def described(finding: Finding) -> list[str]:
    """The lines that `str(report)` prints for one finding."""
    said = f"unverified: {finding.sentence}" if finding.kind == UNVERIFIED else f"{finding.kind}: {finding.code}"
    lines = [f"  {said}"] if finding.kind == UNVERIFIED else [f"  {said}", f"    {finding.sentence}"]
    if finding.explanation:
        lines.append(f"    {finding.explanation}")
    for word, place in (("made at", finding.made_at), ("read at", finding.read_at)):
        if place is not None:
            lines.append(f"    {word} {place}")
            lines += [f"      | {line}" for line in place.text.splitlines()]
    for name, value in finding.dropped.items():
        lines.append(f"    dropped gradient of {name}: {short(value)}")
    if finding.fix:
        lines.append("    write instead:")
        lines += [f"      {line}" for line in finding.fix.splitlines()]
    return lines


def short(value: torch.Tensor, most: int = 6) -> str:
    """A tensor in one line: all elements of a small one, shape and norm of a large one."""
    if value.numel() <= most:
        return str(plain(value)) if value.dtype == torch.bool else _numbers(value)
    return f"shape {tuple(value.shape)}, norm {Looks().norm(value):.4g}"


def _numbers(value: torch.Tensor) -> str:
    numbers = plain(value)
    if isinstance(numbers, float):
        return f"{numbers:.4g}"
    return "[" + ", ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in numbers) + "]"


def what_is(thing: object) -> str:
    """What somebody gave, or what came back, in a message: `an int64 tensor of shape (3,)`, `a list`, `None`."""
    if thing is None:
        return "None"
    kind = type(thing).__name__
    if isinstance(thing, torch.Tensor):
        kind = f"{str(thing.dtype).removeprefix('torch.')} tensor of shape {tuple(thing.shape)}"
    return f"{'an' if kind[0].lower() in 'aeiou' or kind == 'ndarray' else 'a'} {kind}"
