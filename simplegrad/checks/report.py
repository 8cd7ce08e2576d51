"""What a check says: a `Report` holds `Finding`s, each of them a value, a line and a missing pathway."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

CORRECT = "correct"

# From gravest to mildest: `Report.verdict` is the first of these that was found.
FAULTS = (
    "raises",
    "wrong_value",
    "wrong_count",
    "raw_tensor_captured",
    "none_not_handled",
    "wrong_shape",
    "wrong_order",
    "captured_value_mutated",
    "escaped_temporary",
    "stop_gradient_on_input",
    "graph_cut_in_backward",
    "guard_bypassed",
    "ignored_output_gradient",
    "double_counted",
    "missing_use",
    "wrong_partial",
    "unexplained",
)
# Right, but worth knowing: a report with nothing but notes is `ok`.
NOTES = ("zero_materialised", "recomputed", "skipped_patterns", "other_gradient", "unverified")


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
    step: int | None = None  # index of the event in the report's trace that shows it
    dropped: dict[str, torch.Tensor] = field(default_factory=dict)  # input -> lost gradient, verified by numbers
    fix: str = ""  # code to write instead

    @property
    def is_note(self) -> bool:
        return self.code in NOTES

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
        }


def plain(value: torch.Tensor) -> list | float | str:
    """A tensor as JSON can hold it: complex numbers as [real, imaginary]."""
    if value.is_complex():
        value = torch.view_as_real(value.resolve_conj())
    return value.detach().tolist()


@dataclass
class Report:
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
    trace: object | None = None  # a simplegrad Trace in which the findings' steps can be seen

    @property
    def faults(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.is_note]

    @property
    def notes(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.is_note]

    @property
    def ok(self) -> bool:
        return not self.faults

    @property
    def verdict(self) -> str:
        return min((finding.code for finding in self.faults), key=FAULTS.index, default=CORRECT)

    def as_json(self) -> dict:
        return {
            "name": self.name,
            "verdict": self.verdict,
            "ok": self.ok,
            "truth": self.truth,
            "patterns": self.patterns,
            "errors": {str(order): errors for order, errors in self.errors.items()},
            "coverage": [place.as_json() for place in self.coverage],
            "findings": [finding.as_json() for finding in self.findings],
        }

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.verdict}"]
        if self.truth:
            lines.append(f"  held against {self.truth}")
        if self.patterns:
            lines.append(f"  {self.patterns}")
        for order, errors in sorted(self.errors.items()):
            each = ", ".join(f"{name} {error:.2g}" for name, error in errors.items())
            lines.append(f"  order {order}: largest error {each}")
        for finding in self.findings:
            lines += ["", *described(finding)]
        if self.coverage:
            lines += ["", "  lines of propagate that nothing ran: " + ", ".join(str(place) for place in self.coverage)]
        return "\n".join(lines)


def described(finding: Finding) -> list[str]:
    """The lines that `str(report)` prints for one finding."""
    lines = [f"  {'note' if finding.is_note else 'fault'}: {finding.code}", f"    {finding.sentence}"]
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
    return f"shape {tuple(value.shape)}, norm {value.norm():.4g}"


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
