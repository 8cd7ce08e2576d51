"""What autograd takes for a constant in a second order, told: an escaped temporary, a graph that backward cuts.

What is lost was measured by `detector`; here it gets its lines, the gradient that it drops, and code to write instead.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from ...torch_bridge.calls import Call
from .. import source
from ..measure.numbers import plain
from ..report import Finding, Place
from ..runs.watch import ValueWatch
from ..words import ordinal
from .cut import DATA, cut_of
from .detector import INNER, UNTRACKED, Examination, Examiner, Held
from .dropped import dropped_gradients
from .owner import Owner
from .reads import read_at
from .recompute import lines_making
from .trail import Note, followed


def findings_of(examiner: Examiner | None, found: Examination | None, level: int) -> list[Finding]:
    """What an examination says about one Function; nothing where it found nothing."""
    if examiner is None or found is None or not found.finds:
        return []
    lines = Lines(examiner)
    findings = [escape(examiner, one, lines, level) for one in found.escaped]
    if found.cut or found.cuts_gradient:
        findings.append(graph_cut(examiner, found, lines, level))
    return findings


class Lines:
    """The source lines of one Function that belong to its values; found by running it once more, watched."""

    def __init__(self, examiner: Examiner) -> None:
        self.call, self.alone = examiner.call, examiner.alone
        self.forward = source.code_of(self.call.cls.forward)
        self.codes, self.backward = self.alone.forward_codes, source.code_of(self.call.backward)
        self.watch = ValueWatch(tuple(self.codes))
        self.watched: dict[int, bool] = {}  # of the tensors of forward: whether a call took them out of the graph
        self.notes: list[Note] = []  # which keeps them alive
        ran = self.alone.forward(around=self._watched)
        self.by_path = {slot.path: slot for slot in ran.slots}
        self.incoming = examiner.incoming

    def _watched(self, run: Any, ctx: Any) -> Any:
        self.watch.reachable = lambda: self.alone.find_slots(ctx)
        if not self.codes:
            return run()
        with self.watch:
            found = followed(run, self.codes, Owner(*self.codes), lines=False)
        self.notes = found.notes
        self.watched = {id(n.made): n.func == DATA or n.operation in ("detach", "detach_") for n in found.notes}
        return found.returned

    def made(self, one: Held) -> tuple[Place | None, str]:
        """(forward lines that made the value, its name there)."""
        here = [self.by_path[path] for path in one.paths if path in self.by_path]
        found, name = self.watch.origin(here)
        if found is None:  # nothing to recognise it by: the line that writes its name
            named = (source.naming_at(code, one.name) for code in reversed(self.codes))
            found = next((at for at in named if at is not None), None)
        return found, name

    def read(self, one: Held) -> Place | None:
        """The backward line that read the value."""
        if self.backward is None:
            return None
        with contextlib.suppress(Exception):  # a subclass that objects to being watched: it is then found by name
            if (at := read_at(self.alone, self.incoming, self.backward, one.paths)) is not None:
                return at
        return source.naming_at(self.backward, one.name)

    def detaches(self, one: Held) -> bool:
        """Whether forward takes this very value out of the graph, by a call of its own."""
        return any(self.watched.get(id(self.by_path[path].value)) for path in one.paths if path in self.by_path)


# -- an escaped temporary ------------------------------------------------------------------------------------------


def escape(examiner: Examiner, one: Held, lines: Lines, level: int) -> Finding:
    """A value of forward that backward reads and autograd cannot follow."""
    made_at, local = lines.made(one)
    copied = copied_input(examiner, one)
    names = examiner.call.parameter_names
    deliberate = copied is not None and lines.detaches(one)
    dropped, way = lost(examiner, one)
    lost_by = {names[i]: gradient for i, gradient in dropped.items()}
    what = f"backward of {examiner.call.name} reads {one.name}, "
    if deliberate:
        code = "stop_gradient_on_input"
        what += f"a detached copy of the input {names[copied]}: "
        what += f"the {ordinal(level)} derivative treats it as a constant. "
    else:
        code = "escaped_temporary"
        what += _made_of(one, copied, names) + "autograd takes it for a constant, "
        what += f"so differentiating {'twice' if level == 2 else f'{level} times'} silently leaves out its part. "
    return Finding(
        code,
        what + way,
        entry=examiner.call.name,
        slot=one.name,
        made_at=made_at,
        read_at=lines.read(one),
        order=level,
        dropped=lost_by,
        fix=repair(examiner.call, one, local, lines, copied),
    )


def _made_of(one: Held, copied: int | None, names: list[str]) -> str:
    if one.kind == INNER:
        return "part of a graph that forward built on a detached leaf and that does not reach the inputs: "
    if copied is not None:
        return f"which has the values of the input {names[copied]} but is another tensor, made inside forward: "
    kind = "a tensor" if isinstance(one.value, torch.Tensor) else f"a {type(one.value).__name__}"
    return f"{kind} that forward computed and did not return: "


def copied_input(examiner: Examiner, one: Held) -> int | None:
    """The place of the input that the value repeats, if it does."""
    if one.kind != UNTRACKED or not isinstance(one.value, torch.Tensor):
        return None
    for place, value in zip(examiner.call.differentiated, examiner.alone.values, strict=True):
        if one.value.shape == value.shape and torch.equal(plain(one.value.detach()), plain(value)):
            return place
    return None


def lost(examiner: Examiner, one: Held) -> tuple[dict[int, torch.Tensor], str]:
    """(gradient lost per argument, for which loss it is), with ones for weights unless that happens to lose nothing."""
    for ones in (True, False):
        try:
            found = dropped_gradients(examiner.with_ones if ones else examiner.at_random, one)
        except Exception:  # not to be measured is no reason to keep the finding back
            continue
        if found and max(float(g.abs().max()) for g in found.values()) > 1e-9:
            said = "with ones coming in, for the sum of the first-order gradient" if ones else "for random weights"
            return found, f"The gradient it drops is given {said}."
    return {}, "How much it drops could not be confirmed by numbers."


# -- a graph cut in backward ---------------------------------------------------------------------------------------


def graph_cut(examiner: Examiner, found: Examination, lines: Lines, level: int) -> Finding:
    """Autograd sees less of backward than there is: backward itself leaves the graph."""
    call = found.call
    parts = [_says(one, call) for one in found.cut]
    if found.cuts_gradient:
        parts.append("the incoming gradient")
    cut = cut_of(examiner, found)
    if cut is None and lines.backward and not found.cut and found.followed and found.autograd_by_gradient:
        return in_the_graph(call, level)
    words = f" ({cut.words})" if cut else ""
    return Finding(
        "graph_cut_in_backward",
        f"backward of {call.name} takes {' and '.join(parts)} out of the graph{words}: what it computes from there on "
        f"is a constant to autograd, and the {ordinal(level)} derivative silently leaves it out.",
        entry=call.name,
        slot=found.cut[0].name if found.cut else "",
        read_at=cut.statement if cut else source.heading(lines.backward) if lines.backward else None,
        order=level,
        fix=CUT_FIX,
    )


def in_the_graph(call: Call, level: int) -> Finding:
    """Nothing leaves the graph, and part of what came in is followed: then it is followed wrongly."""
    return Finding(
        "unexplained",
        f"The {ordinal(level)} derivative of {call.name} is not that of its backward, though nothing in "
        f"backward leaves the graph: an operation of it has another derivative than autograd takes, as one that writes "
        f"to the same place twice (scatter, index_copy) has.",
        entry=call.name,
        order=level,
    )


def _says(one: Held, call: Call) -> str:
    names = call.parameter_names
    return f"{one.name} (the input {names[one.place]})" if one.kind == "input" else one.name


CUT_FIX = """\
# a sketch: compute in backward with torch operations only, on the saved tensors themselves (no detach, .data, numpy,
# no_grad; autograd.grad only with create_graph=True), or say that it goes no further than the first order:
@staticmethod
@torch.autograd.function.once_differentiable
def backward(ctx, ...):"""


REFUSE = """\
# or refuse a second derivative
@staticmethod
@torch.autograd.function.once_differentiable
def backward(ctx, ...):"""


# -- repairs -------------------------------------------------------------------------------------------------------


def repair(call: Call, one: Held, local: str, lines: Lines, copied: int | None) -> str:
    """Code to write instead: save the input itself, recompute, or return it; else refuse a second derivative."""
    names = call.parameter_names
    given = [names[i] for i in call.differentiated]
    shown = local or one.name.replace("ctx.", "").split("[")[0].split(".")[-1]
    parts = []
    if copied is not None:
        parts.append(f"# a sketch: save the input itself, with what is saved already\n{_saving([names[copied]])}")
    else:
        parts.append(_recompute(call, shown, given, lines))
        if isinstance(one.value, torch.Tensor):
            parts.append(_return_it(shown))
    parts.append(REFUSE)
    return "\n".join(part for part in parts if part)


def _recompute(call: Call, shown: str, given: list[str], lines: Lines) -> str:
    code = lines.forward
    again = lines_making(code, {shown}, set(call.parameter_names)) if code else []
    if not again:
        return f"# a sketch: recompute {shown} in backward, from inputs saved with the rest\n{_saving(given)}"
    unpack = f"*_, {', '.join(given)} = ctx.saved_tensors"
    return "\n".join([f"# a sketch: recompute {shown} in backward, from inputs saved with the rest", unpack, *again])


def _saving(names: list[str]) -> str:
    """What is saved already stays first: its places do not change."""
    return f"ctx.save_for_backward(..., {', '.join(names)})"


def _return_it(shown: str) -> str:
    return (
        f"# or return it from forward, and drop it in a function around apply\n"
        f"return ..., {shown}\n"
        f"def backward(ctx, ..., grad_{shown}):  # and add what grad_{shown} passes on to the inputs"
    )
