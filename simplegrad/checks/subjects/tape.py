"""A function of Variables as a subject, and each entry by hand that it records as a rule.

A rule of the tape is asked down to the inputs of the function around it: an entry cannot be run without what was
recorded before it. What its propagate returns for exactly these gradients is asked by `returned`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...engine import Variable
from ...engine.grad import grad
from ...locks import cached_property
from ..report import Place
from ..runs.changed import copied, is_changed, line_of_change
from ..source import cells_of, code_of
from ..tape.case import AUTOGRAD, PLAIN, Case, HandEntry
from ..tape.case import Run as OneRun
from ..tape.climb import constants, draws, torch_grad, torch_sum, weighted_sum
from ..tape.fixes import none_fix
from ..tape.naming import name_of
from ..tape.questions import Question
from ..tape.raised import raised_at
from .function import TorchRun
from .subject import Gradients


class TapeRun:
    """One forward on a tape of its own; `followed`: the outputs that gradients come in for."""

    def __init__(
        self, case: Case, run: OneRun, followed: list[Variable], needs: tuple[int, ...] | None, none: str
    ) -> None:
        self.case, self.run, self.followed, self.needs, self.none = case, run, followed, needs, none

    @property
    def outputs(self) -> list[torch.Tensor]:
        return [y.value.detach() for y in self.followed]

    def gradients(self, incoming: Sequence[torch.Tensor | None], graph: bool = False, keep: bool = False) -> Gradients:
        with torch.set_grad_enabled(self.run.leaves[0].requires_grad):
            return _tensors(self._first([None if g is None else g.clone() for g in incoming])[0])

    def _first(self, incoming: list[torch.Tensor | None]) -> tuple[list[Variable | None], list[Variable]]:
        """(the gradients, and by the incoming ones too; these as Variables)"""
        known = [(y, g) for y, g in zip(self.followed, incoming, strict=True) if g is not None]
        given = constants(self.run, [g for _, g in known], "w")
        loss = weighted_sum(self.run, [y for y, _ in known], given)
        if loss is None:
            return [None] * len(self.run.wanted), given
        if self.needs is None:
            return self.run.grad(loss, self.run.wanted, self.none), given
        with self.run.tape:
            found = iter(grad(loss, [self.run.wanted[i] for i in self.needs], prune="ahead"))
        return [next(found) if i in self.needs else None for i in range(len(self.run.wanted))], given

    def led_on(self, incoming: Sequence[torch.Tensor | None]) -> tuple[Gradients, Callable]:
        with torch.set_grad_enabled(self.run.leaves[0].requires_grad):
            first, given = self._first([None if g is None else g.clone() for g in incoming])

        def second(weights: Sequence[torch.Tensor]) -> Gradients:
            with torch.set_grad_enabled(self.run.leaves[0].requires_grad):
                loss = weighted_sum(self.run, first, constants(self.run, list(weights), "u"))
                wanted = [*self.run.wanted, *given]
                return [None] * len(wanted) if loss is None else _tensors(self.run.grad(loss, wanted, self.none))

        return _tensors(first), second

    def second(self, incoming: Sequence[torch.Tensor | None], weights: Sequence[torch.Tensor]) -> Gradients:
        return self.led_on(incoming)[1](weights)

    def returned(self, incoming: list[torch.Tensor]) -> Gradients:
        return self.rule.backward(self.run, self.rule.all_incoming(incoming), copies=False)


class TapeSubject:
    """The function as a whole, or what it computes up to the outputs of one entry. `none`: as for `grad`."""

    is_whole = True
    none = "skip"
    question = Question()
    truth: Through | None = None

    def __init__(self, case: Case) -> None:
        self.case, self.bits, self.names = case, case.bits, case.names
        self.values, self.name = case.values(0), case.name
        self.mode = self._mode()
        first = self._followed(self._run(self.values))
        self.first = [y.value.detach().clone() for y in first]
        self.incoming = draws([y.shape for y in first], 31, self.values[0])
        self.made = [f"output {i}" for i in range(len(first))]

    def _mode(self) -> str:
        """Without autograd below, which objects to what is changed in place and takes its time; if forward can."""
        try:
            self.case.run(self.values, mode=PLAIN)
        except Exception:
            return self.case.mode
        return PLAIN

    def _run(self, values: Sequence[torch.Tensor]) -> OneRun:
        return self.case.run(values, mode=self.mode)

    def _followed(self, run: OneRun) -> list[Variable]:
        return [y for y in run.outputs if y.value.is_floating_point()]

    def run(self, values: Sequence[torch.Tensor], needs: tuple[int, ...] | None = None) -> TapeRun:
        run = self._run(values)
        return TapeRun(self.case, run, self._followed(run), needs, self.none)

    def tensors(self, run: OneRun) -> list[torch.Tensor]:
        """The outputs as torch's own graph has them, in a run that torch records."""
        return [y.value for y in self._followed(run)]


class TapeGradient(TapeSubject):
    """The gradient of order `times` of a function, for weights that stay the same, as a function of its inputs."""

    def __init__(self, case: Case, times: int) -> None:
        self.times = times
        super().__init__(case)

    def _followed(self, run: OneRun) -> list[Variable]:
        values = super()._followed(run)
        for level in range(self.times):
            loss = weighted_sum(run, values, constants(run, self._weights(values, level), "w"))
            found = [None] * len(run.wanted) if loss is None else run.grad(loss, run.wanted, self.none)
            with run.tape:
                values = [
                    Variable.constant(torch.zeros_like(x.value.detach())) if g is None else g
                    for x, g in zip(run.wanted, found)
                ]
        return values

    def tensors(self, run: OneRun) -> list[torch.Tensor]:
        values = [y.value for y in super()._followed(run)]
        for level in range(self.times):
            found = torch_grad(torch_sum(values, self._weights(values, level)), run.leaves)
            values = [torch.zeros_like(x) if g is None else g for x, g in zip(run.leaves, found)]
        return values

    def _weights(self, values: Sequence[Any], level: int) -> list[torch.Tensor]:
        return draws([y.shape for y in values], 7919 * (level + 1), self.values[0])


class Through:
    """What a subject computes as torch autograd follows it: through its forward, or through a reference."""

    truth = None

    def __init__(self, subject: TapeSubject, reference: Callable | None = None) -> None:
        self.subject, self.reference, self.case, self.bits = subject, reference, subject.case, subject.bits
        self.values, self.incoming = subject.values, subject.incoming
        self.names, self.made = subject.names, subject.made

    def run(self, values: Sequence[torch.Tensor], needs: tuple[int, ...] | None = None) -> TorchRun:
        mode = AUTOGRAD if self.case.mode is PLAIN else self.case.mode
        with torch.enable_grad():
            run = self.case.run(values, self.reference, mode)
            made = list(enumerate(self.subject.tensors(run)))
        followed = [(i, y) for i, y in made if y.requires_grad]
        return TorchRun(run.leaves, [y for _, y in followed], [i for i, _ in followed])


class TapeRule(TapeSubject):
    """One entry by hand, found again by its place among those that a run appends."""

    has_modes = is_whole = takes_none = False
    untried = {
        5: "not with None for all of them: a pass skips the entry then",
        9: "in the one way that the tape has: there is no create_graph",
    }
    needs_fix = ""
    backward_said, forward_said = "propagate", "forward"

    def __init__(self, case: Case, place_: int) -> None:
        self.place = place_
        super().__init__(case)
        self.entry: HandEntry = self._run(self.values).entries[place_]
        self.name = self.entry.text
        self.made = [name for name, y in zip(self.entry.names[1], self.entry.outputs) if y.value.is_floating_point()]

    def _followed(self, run: OneRun) -> list[Variable]:
        return [y for y in run.entries[self.place].outputs if y.value.is_floating_point()]

    def run(self, values: Sequence[torch.Tensor], needs: tuple[int, ...] | None = None) -> TapeRun:
        found = super().run(values, needs)
        found.rule = self
        return found

    again = run

    @property
    def question(self) -> Question:
        return Question(self.place, tuple(range(len(self.entry.outputs))))

    @cached_property
    def gradient(self) -> Gradients:
        return self.run(self.values).gradients(self.incoming)

    # -- by itself -------------------------------------------------------------------------------------------------

    @property
    def arguments(self) -> list[str]:
        return self.entry.names[0]

    def forward(self) -> OneRun:
        return self._run(self.values)

    def backward(self, kept: OneRun, incoming: list[Any], graph: bool = False, copies: bool = True) -> Gradients:
        with torch.set_grad_enabled(kept.leaves[0].requires_grad):
            given = [None if g is None else constants(kept, [g.clone() if copies else g], "w")[0] for g in incoming]
            with kept.tape:
                found = kept.entries[self.place].propagate(given)
        return _tensors(list(found) if isinstance(found, list | tuple) else [found])

    def all_incoming(self, incoming: list[torch.Tensor] | None = None) -> list[torch.Tensor | None]:
        given = iter(incoming or self.incoming)
        return [next(given) if y.value.is_floating_point() else None for y in self.entry.outputs]

    def given(self, kept: OneRun) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
        before, values = [], iter(self.values)
        for x, kind in zip(self.case.given, self.case.kinds):
            before.append(next(values) if kind == "wanted" else self.case.converted(x) if kind == "held" else None)
        triples = zip(self.case.labels, kept.args, before, strict=True)
        return [(name, now.value, was) for name, now, was in triples if was is not None]

    def changed_by_forward(self, name: str) -> Place | None:
        place_ = self.case.labels.index(name)
        codes = [code_of(self.case.target), self.entry.appended_from and self.entry.appended_from[0]]

        def now() -> torch.Tensor | None:
            return self.case.args[place_].value if self.case.args else None

        self.case.args = []
        return line_of_change([code for code in codes if code], lambda: self._run(self.values), now)

    def own(self, name: str) -> str:
        return f"{name}.value.clone()  # and change the copy"

    def reads(self, kept: OneRun) -> list[tuple[str, torch.Tensor]]:
        """Variables that were made by hand, inputs and outputs of entries, tensors that propagate closes over."""
        entry = kept.entries[self.place]
        found = {id(made.variable): made.variable for made in kept.made.values()}
        found |= {id(x): x for each in kept.entries for x in (*each.inputs, *each.outputs)}
        named = [(name_of(kept, x), x.value) for x in found.values()]
        tensors = [(name, x) for name, x in cells_of(entry.propagate).items() if isinstance(x, torch.Tensor)]
        return named + [(name, x) for name, x in tensors if not any(x is value for _, value in named)]

    def shared(self) -> tuple[str, Place | None]:
        kept = self.forward()
        before = [(name, value, copied(value)) for name, value in self.reads(kept)]
        self._run(self.case.values(1))
        changed = next(((name, value) for name, value, was in before if is_changed(value, was)), None)
        if changed is None:
            return "", None
        made = next((m for m in kept.made.values() if m.variable.value is changed[1]), None)
        return changed[0], made and made.at

    # -- what it is called -----------------------------------------------------------------------------------------

    @property
    def code(self) -> types.CodeType | None:
        return self.entry.code

    def returned_at(self) -> Place | None:
        return self.entry.returned_at

    def raised_at(self, error: Exception) -> Place | None:
        return raised_at(error)

    def incoming_name(self, which: int) -> str:
        return ""

    def unknown(self, left: list[str]) -> str:
        return f"With {', '.join(f'dL/d{name}' for name in left)} None, a known zero,"

    def none_fix(self, left: list[str]) -> str:
        return none_fix(left)

    def wanting(self, names: list[str]) -> str:
        return f'Where only the gradient of {" and ".join(names)} is wanted (prune="ahead"),'


def rules_on(case: Case) -> tuple[list[TapeRule], list[str]]:
    """The entries by hand of a run, of those with the same propagate on the same kinds of values the first; and the
    names of those that are too many."""
    first, found = case.run(case.values(0), mode=case.mode), {}
    for place_, entry in enumerate(first.entries):
        held = [x for x in cells_of(entry.propagate).values() if isinstance(x, int | float | str | bool | tuple)]
        shapes = [(tuple(x.shape), x.value.dtype) for x in (*entry.inputs, *entry.outputs)]
        found.setdefault((entry.code, repr(held), repr(shapes)), place_)
    places = list(found.values())
    return [TapeRule(case, each) for each in places[:MOST_RULES]], [first.entries[k].text for k in places[MOST_RULES:]]


MOST_RULES = 24  # distinct entries that are judged alone


def _tensors(found: Sequence[Variable | None]) -> Gradients:
    return [x.value.detach() if isinstance(x, Variable) else x for x in found]
