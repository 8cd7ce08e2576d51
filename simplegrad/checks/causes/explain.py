"""Findings in words: the value, the lines, the gradient that is lost, and code to write instead."""

from __future__ import annotations

import contextlib
import traceback
from typing import Any

import torch

from ...torch_bridge.calls import Call
from .. import source
from ..looks import Answer, Look
from ..numbers import plain
from ..report import Finding, Place
from ..subjects.function import Rule
from ..subjects.problem import Problem
from ..watch import ValueWatch
from ..words import first_line, ordinal, said_by
from .cut import DATA, cut_of
from .detector import INNER, UNTRACKED, Examination, Examiner, Held
from .dropped import dropped_gradients
from .owner import NOT_THE_USERS, Owner, user_line
from .reads import read_at
from .returned import refused
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
        self.setup = source.code_of(self.call.cls.setup_context) if self.call.has_setup else None
        self.backward = source.code_of(self.call.backward)
        codes = tuple(code for code in (self.forward, self.setup) if code is not None)
        self.watch = ValueWatch(codes)
        self.watched: dict[int, bool] = {}  # of the tensors of forward: whether a call took them out of the graph
        self.notes: list[Note] = []  # which keeps them alive
        ran = self.alone.forward(around=self._watched)
        self.by_path = {slot.path: slot for slot in ran.slots}
        self.incoming = examiner.incoming

    def _watched(self, run: Any, ctx: Any) -> Any:
        self.watch.reachable = lambda: self.alone.find_slots(ctx)
        codes = {code for code in (self.forward, self.setup) if code is not None}
        if not codes:
            return run()
        with self.watch:
            found = followed(run, codes, Owner(*codes), lines=False)
        self.notes = found.notes
        self.watched = {id(n.made): n.func == DATA or n.operation in ("detach", "detach_") for n in found.notes}
        return found.returned

    def made(self, one: Held) -> tuple[Place | None, str]:
        """(forward lines that made the value, its name there)."""
        here = [self.by_path[path] for path in one.paths if path in self.by_path]
        found, name = self.watch.origin(here)
        if found is None:  # nothing to recognise it by: the line that writes its name
            codes = [code for code in (self.forward, self.setup) if code is not None]
            lines = [(code, line) for code in codes if (line := source.line_naming(code, one.name))]
            found = source.place(*lines[-1]) if lines else None
        return found, name

    def read(self, one: Held) -> Place | None:
        """The backward line that read the value."""
        if self.backward is None:
            return None
        with contextlib.suppress(Exception):  # a subclass that objects to being watched: it is then found by name
            if (at := read_at(self.alone, self.incoming, self.backward, one.paths)) is not None:
                return at
        line = source.line_naming(self.backward, one.name)
        return source.place(self.backward, line) if line else None

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
    again = source.lines_making(code, {shown}, set(call.parameter_names)) if code else []
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


# -- everything else -----------------------------------------------------------------------------------------------


def raised(error: Exception, name: str, level: int, calls: list[Call] = (), is_forward: bool = False) -> Finding:
    """Forward or backward raised an error."""
    when = f"the {ordinal(level)} derivative"
    if level == 1:
        when = "forward" if is_forward else "backward (with create_graph=True)"
    sentence = f"{when} raises {said_by(error)}"
    where, wrong = user_line(error), refused(calls)
    if where is None and wrong is not None:  # PyTorch objected once backward had returned
        return Finding(
            wrong.code,
            f"{wrong.sentence}. PyTorch says: {first_line(error)}",
            entry=wrong.call.name,
            read_at=wrong.at,
            order=level,
            fix=wrong.fix,
        )
    device = next((call.autocast for call in calls if call.autocast), "")
    fix = AUTOCAST.format(device=device) if device and "dtype" in sentence and not is_forward else ""
    return Finding("raises", sentence, entry=name, read_at=where, order=level, fix=fix)


AUTOCAST = """# forward ran under torch.autocast, and backward runs without it unless both are decorated
@torch.amp.custom_fwd(device_type="{device}")
def forward(ctx, ...):
@torch.amp.custom_bwd(device_type="{device}")
def backward(ctx, ...):"""


def heading_of(fn: Any) -> Place | None:
    """Where a person's function begins: a Function's forward, a module's, or the function itself."""
    owner = getattr(fn, "__self__", None)
    is_apply = isinstance(owner, type) and issubclass(owner, torch.autograd.Function)
    code = source.code_of(owner.forward if is_apply else fn.forward if isinstance(fn, torch.nn.Module) else fn)
    return None if code is None or code.co_filename.startswith(NOT_THE_USERS) else source.heading(code)


def wrong_gradient(rule: Rule, found: Answer) -> list[Finding]:
    """Backward is not the derivative of forward."""
    code = source.code_of(rule.call.backward)
    several = len({look.output for look in found.looks}) > 1
    each = "; ".join(_beside(look, several) for look in largest(found).values())
    return [
        Finding(
            "wrong_gradient",
            f"backward of {rule.name} is not the derivative of its forward: along one random direction, {each}.",
            entry=rule.name,
            slot=", ".join(largest(found)),
            read_at=source.returned_at(code),
            order=1,
        )
    ]


def largest(found: Answer) -> dict[str, Look]:
    """Of each input whose gradient is wrong the look that shows it most."""
    worst: dict[str, Look] = {}
    for look in found.wrong:
        if look.input not in worst or look.gap > worst[look.input].gap:
            worst[look.input] = look
    return worst


def _beside(look: Look, several: bool = False) -> str:
    whose = f"for {look.input}{f' and {look.output}' if several else ''}"
    return f"{whose} it gives {look.told:.4g} where differences of forward give {look.slope.value:.4g}"


def nearly_right(rule: Rule, found: Answer) -> str:
    """Of a solver that may stop early: how far apart the two are."""
    each = "; ".join(_beside(look) for look in largest(found).values())
    return (
        f"forward of {rule.name} iterates, and backward reads what came out of it. Its gradient is near the derivative "
        f"of what forward computes, but not equal to it: along one random direction, {each}. A backward that is right "
        f"for the solution differs so much where forward stops early; a backward that is a little wrong does as well."
    )


def other_gradient(name: str, found: Answer, reason: str) -> Finding:
    """The gradient is another than forward's derivative, and meant so."""
    each = "; ".join(_beside(look) for look in largest(found).values())
    return Finding(
        "other_gradient",
        f"The gradient of {name} is not the derivative of its forward, and counts as meant so, since {reason}: along "
        f"one random direction, {each}. Its own derivative is judged by what backward gives.",
        entry=name,
        order=1,
    )


def nonfinite_whole(name: str, found: Answer) -> Finding:
    """Of no Function in it: an operation of torch gives nan where the whole has a slope."""
    each = "; ".join(_beside(look) for look in largest(found).values())
    return Finding(
        "nonfinite_gradient",
        f"At the given inputs the gradient of {name} is not finite where its values have a finite slope: along these "
        f"elements, {each}. A branch that is not taken, hidden by where() say, sends back 0 times infinity: give it "
        f"numbers that it can bear before where() picks.",
        entry=name,
        slot=", ".join(largest(found)),
        order=1,
    )


def nested_tensors(problem: Problem, found: Answer) -> Finding:
    """A Function was given tensors inside of a container, where autograd does not follow them."""
    cls, code, line = problem.nested[0]
    each = "; ".join(_beside(look) for look in largest(found).values())
    return Finding(
        "missing_gradient",
        f"{cls.__name__}.apply was given tensors inside of a list, a tuple or a dict. Autograd follows direct "
        f"arguments only, so no gradient gets through to them: {each}.",
        entry=cls.__name__,
        slot=", ".join(largest(found)),
        read_at=source.place(code, line),
        order=1,
        fix=f"{cls.__name__}.apply(*tensors)  # and forward(ctx, *tensors), with one gradient for each",
    )


def unlike_reference(problem: Problem, name: str, slot: str, gap: float, limit: float) -> Finding:
    """The gradient of one input is another than the reference's."""
    calls = list({call.cls: call for call in problem.calls}.values())
    code = source.code_of(calls[0].backward) if len(calls) == 1 else None
    return Finding(
        "wrong_gradient",
        f"The gradient of {name} for {slot} differs from the reference's by up to {gap:.3g}, where rounding of the "
        f"inputs explains {limit:.2g}.",
        entry=calls[0].name if len(calls) == 1 else name,
        slot=slot,
        read_at=source.returned_at(code),
        order=1,
    )


def whole_differs(problem: Problem, found: Answer, left_out: list[str]) -> Finding:
    """Each Function is right alone, and the whole is not: something between the calls, or one that was left out."""
    each = "; ".join(_beside(look) for look in largest(found).values())
    names = ", ".join(dict.fromkeys(call.name for call in problem.calls)) or "the function"
    alone = (
        "Each Function in it is right when it is run alone; a value may change between its forward and its backward."
    )
    if left_out:
        alone = f"It may be {' or '.join(left_out)}, which could not be run alone."
    return Finding(
        "unexplained",
        f"The gradient of the whole is not the derivative of its values: along one random direction, {each}. {alone}",
        entry=names,
        order=1,
    )


# what autograd says where a backward computes in a way that it cannot follow: loud, whoever meant it
REFUSALS = (
    "once_differentiable",
    "not implemented",
    "Can't call numpy() on Tensor",
    "modified by an inplace operation",
    "don't support automatic differentiation",
    "no autograd formula was registered",
)


def is_refusal(error: Exception) -> bool:
    """Whether a backward says itself that it goes no further: by a `raise` of its own, or where autograd ends."""
    if isinstance(error, NotImplementedError):
        return True
    said = str(error)
    if any(words in said for words in REFUSALS):
        return True
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(NOT_THE_USERS)]
    return bool(frames) and (frames[-1].line or "").lstrip().startswith(("raise ", "raise(", "assert "))


def first_order_only(error: Exception, name: str, level: int) -> Finding:
    """Loud, as it should be: no number comes out that could be wrong."""
    return Finding(
        "first_order_only",
        f"the {ordinal(level)} derivative of {name} is refused: {said_by(error)}",
        entry=name,
        read_at=user_line(error),
        order=level,
    )


def unexplained(
    calls: list[Call], wrong: list[str], level: int, found: list[Examination | None], has_nan: bool = False
) -> Finding:
    """The numbers disagree and no value was found that says why."""
    names = ", ".join(dict.fromkeys(call.name for call in calls)) or "the function"
    if has_nan:
        return Finding(
            "unexplained",
            f"The {ordinal(level)} derivative of {names} is not a finite number for {', '.join(wrong)}, "
            f"where differences of the first-order gradient are finite: a root or a quotient at 0, perhaps.",
            entry=names,
            order=level,
        )
    hidden = [e.call.name for e in found if e is not None and not e.is_complete]
    why = (
        f"backward of {hidden[0]} reads something that was not found"
        if hidden
        else "no value was found that explains it"
    )
    return Finding(
        "unexplained",
        f"The {ordinal(level)} derivative of {names} is wrong for {', '.join(wrong)}, and {why}.",
        entry=names,
        order=level,
    )
