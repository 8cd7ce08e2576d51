"""Findings for what a run raised: the engine's own errors, a None that was not handled, anything else."""

from __future__ import annotations

import re
import types

import torch

from ...aggregates import Aggregate
from ...engine import RawTensorError, WrongCountError, WrongShapeError
from ..report import Finding, Place
from ..runs.watch import is_ours
from ..source import assigned_at, assigned_in, function_at, names_at, place
from ..words import ordinal, said_by
from .case import HandEntry, Run


def own_frame(error: BaseException) -> types.TracebackType | None:
    """The innermost frame of a traceback that is a person's own: not the engine's, not torch's."""
    found, traceback = None, error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not is_ours(file) and traceback.tb_frame.f_code is not Aggregate.__call__.__code__:
            found = traceback
        traceback = traceback.tb_next
    return found


def raised_at(error: BaseException) -> Place | None:
    traceback = own_frame(error)
    return place(traceback.tb_frame.f_code.co_filename, traceback.tb_lineno) if traceback else None


def is_raw_tensor(error: BaseException) -> bool:
    """Whether the engine was given a tensor (a number, an array) where a Variable belongs; None is another matter."""
    told = re.search(r"(?:got|returned) an? (\w+)", str(error))
    return isinstance(error, RawTensorError) and (told is None or told[1] != "NoneType")


def code_for(error: BaseException) -> str:
    if is_raw_tensor(error) or is_tensor_misuse(error):
        return "raw_tensor_captured"
    if isinstance(error, WrongCountError):
        return "wrong_count"
    if isinstance(error, WrongShapeError):
        return "wrong_shape"
    return "raises"


def is_tensor_misuse(error: BaseException) -> bool:
    """A raw tensor asked for what only a Variable has: `t.value`, `t.key`."""
    return isinstance(error, AttributeError) and isinstance(error.obj, torch.Tensor)


def finding_of(error: BaseException, run: Run, order: int) -> Finding:
    """What to say of an error that a pass raised."""
    code, entry = code_for(error), entry_of(error, run)
    name = entry.text if entry else ""
    raw = raw_tensor_in(error) if code == "raw_tensor_captured" else None
    return Finding(
        code,
        SENTENCES[code].format(
            error=said_by(error),
            name=raw[0] if raw else "a tensor",
            order=ordinal(order),
        ),
        entry=name,
        slot=raw[0] if raw else slot_in(error),
        made_at=raw[1] if raw else None,
        read_at=raised_at(error) or (entry and entry.returned_at),
        order=order,
        fix=raw_fix(raw[0]) if raw else FIXES.get(code, ""),
    )


SENTENCES = {
    "raw_tensor_captured": (
        "propagate computes with {name}, a raw tensor where a Variable belongs: no gradient could flow through it, "
        "and the pass fails. {error}"
    ),
    "wrong_count": "propagate does not return one gradient for each input of its entry. {error}",
    "wrong_shape": "propagate returns a gradient that has not the shape of its input. {error}",
    "raises": "the pass of the {order} order raises {error}",
}
FIXES = {
    "wrong_count": "return [...]  # one gradient for each of the entry's inputs, in that order; None for a known zero",
    "wrong_shape": "gradient.sum_to_size(*x.shape)  # undo what forward broadcast; .expand(*x.shape) undoes a sum",
}


def raw_fix(name: str) -> str:
    return (
        f"{name}_v = Variable({name}, name={name!r})  # and use {name}_v in propagate\n"
        f"# declare it, so that gradients find their way back: outputs=[..., {name}_v.name];\n"
        f"# propagate is then given its incoming gradient in that slot, None when there is none"
    )


def slot_in(error: BaseException) -> str:
    """The input that an error of the engine names: 'gradient 1 (of b)'."""
    told = re.search(r"gradient \d+ \(of (\w+)\)", str(error))
    return told[1] if told else ""


def entry_of(error: BaseException, run: Run) -> HandEntry | None:
    """The hand-written entry whose propagate it came from."""
    notes = [str(error), *getattr(error, "__notes__", ())]
    for entry in run.entries:
        if any(f"'{entry.text}'" in note for note in notes):
            return entry
    return run.entries[0] if len(run.entries) == 1 else None


def raw_tensor_in(error: BaseException) -> tuple[str, Place | None] | None:
    """(name, where it was assigned) of the raw tensor that the failing statement reads."""
    traceback = own_frame(error)
    if traceback is None:
        return None
    frame = traceback.tb_frame
    for name in names_at(frame.f_code.co_filename, traceback.tb_lineno):
        value = frame.f_locals.get(name)
        if isinstance(value, torch.Tensor):
            # the name it has in forward, if this one is only another one for it
            name = next((n for n in frame.f_code.co_freevars if frame.f_locals.get(n) is value), name)
            return name, made_in(frame.f_code, name, traceback.tb_lineno)
    return None


def made_in(code: types.CodeType, name: str, line: int) -> Place | None:
    """Where a name of a function was assigned: in it, or in the function around it whose variable it is."""
    file = code.co_filename
    if name in code.co_freevars:
        around = function_at(file, code.co_firstlineno - 1)
        at = next(reversed(assigned_in(around, name)), None) if around is not None else None
    else:
        at = assigned_at(code, name, before=line)
    return place(file, at) if at else None
