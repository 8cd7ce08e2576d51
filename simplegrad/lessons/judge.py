"""`judge`: what is said of an answer. Conditions run on facts about it, never on its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import torch

from ..checks.report import Finding
from ..compiler import CompileError
from ..language import ProgramError, RunError
from ..language.errors import lines_of
from ..trace import LimitError
from ..trace.trace import Trace
from .course import Exercise, exercise
from .facts import Facts, formula, of_expression, of_program, of_propagate, same
from .function_facts import of_function

CLOSE = 2e-3  # numbers of a lesson are written with four digits
TOO_LONG = "This could not be checked in 3 seconds. Look for a long loop, or for a function that calls itself."


@dataclass(frozen=True)
class Reply:
    """What is said of an answer. `code`: of the finding that it is about, or ""; `line`: of the answer, from 1;
    `place`: that line as it stands; `step`: the event of `trace` that shows it; `name`: which known reply it was."""

    solved: bool
    sentence: str
    code: str = ""
    place: str = ""
    line: int | None = None
    step: int | None = None
    trace: Trace | None = None
    name: str = ""


def judge(name: str, text: str) -> Reply:
    """The reply to an answer to the exercise of this id: `judge("9a", text)`. Never raises for what the text does.

    Raises KeyError for an exercise that there is not.
    """
    asked = exercise(name)
    try:
        found = _KINDS[asked.kind](asked, text)
    except ProgramError as error:
        return Reply(False, f"Line {error.line}: {error.message}", "", error.text.strip(), error.line)
    except KeyError:
        return Reply(False, f"Define the function {asked.target}: it is called by this name to be checked.")
    except LimitError:
        return Reply(False, TOO_LONG)
    except (RunError, CompileError) as error:
        return Reply(False, str(error))
    except Exception as error:  # whatever stands beside the function that is checked
        return Reply(False, f"The lines around the function raise {type(error).__name__}: {error}")
    if all_hold(asked.solved, found):
        return Reply(True, asked.said, trace=found.trace)
    return reply_of(asked, found, text)


_KINDS = {
    "program": of_program,
    "propagate": of_propagate,
    "expression": of_expression,
    "function": of_function,
}


def reply_of(asked: Exercise, found: Facts, text: str) -> Reply:
    finding = next(iter(found.report.findings), None) if found.report is not None else None
    known = next((each for each in asked.known if all_hold(each.when, found)), None)
    line = line_of(finding) if finding is not None else None
    line = line if line is not None else found.line
    step = finding.step if finding is not None else None
    trace = found.report.trace if found.report is not None and step is not None else found.trace
    if step is None and found.trace is not None:
        step = step_that_shows(found, line)
    lines = lines_of(text)
    return Reply(
        False,
        filled(known.say, found) if known is not None else otherwise(asked, found, finding),
        finding.code if finding is not None else "",
        lines[line - 1].strip() if line is not None and line <= len(lines) else "",
        line,
        step,
        trace,
        known.name if known is not None else "",
    )


def step_that_shows(found: Facts, line: int | None) -> int | None:
    """The event where the run failed; of a run of PyTorch, the last of the first pass that this line brought about."""
    if found.said.get("error"):
        return len(found.trace) - 1
    if found.trace.kind != "torch":
        return None
    events = [each for each in found.trace.events if each.pass_id == 0 and each.source and each.source[1] == line]
    return events[-1].index if events else len(found.trace) - 1


def line_of(finding: Finding) -> int | None:
    """The line of the answer that a finding is about."""
    places = [place for place in (finding.read_at, finding.made_at) if place is not None]
    return next((place.first for place in places if place.file.startswith("<program ")), None)


def otherwise(asked: Exercise, found: Facts, finding: Finding | None) -> str:
    """Of an answer that no lesson knows: what check says of it, or the run."""
    if finding is not None and not (finding.code == "raises" and found.message):
        return finding.sentence
    if found.message:
        return f"The run ends with an error: {found.message}"
    return "This is not right yet, and it is none of the mistakes that are known here. There is a hint below."


def filled(sentence: str, found: Facts) -> str:
    """The sentence, with facts in the places of their names: {entries}."""
    for name, value in found.said.items():
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            value = " and ".join(value)
        if isinstance(value, (int, str)):
            sentence = sentence.replace(f"{{{name}}}", str(value))
    return sentence[:1].upper() + sentence[1:] if sentence.startswith("what you") else sentence


# --- conditions ------------------------------------------------------------------------------------------------------


def all_hold(wanted: Mapping, found: Facts) -> bool:
    """Whether each fact is as wanted. `gives` names inputs and formulas: what propagate returned is what they give."""
    for name, value in wanted.items():
        if name == "gives":
            if not all(given(found, x, text) for x, text in value.items()):
                return False
        elif name == "any":
            if not any(all_hold(each, found) for each in value):
                return False
        elif not holds(value, found.said.get(name)):
            return False
    return True


def given(found: Facts, name: str, text: str) -> bool:
    """Whether the gradient of an input is what a formula gives; "none" stands for None."""
    gradient = found.gradients.get(name)
    if found.said.get("error"):
        return False
    if text == "none":
        return gradient is None and name in found.gradients
    wanted = formula(text, found.given) if gradient is not None else None
    if wanted is None:
        return False
    return same(gradient, wanted.expand(gradient.shape) if wanted.ndim == 0 else wanted)


def holds(wanted: object, fact: object) -> bool:
    """`{least = 3}`, `{most = 3}`, `{has = "b"}`, `{lacks = "b"}`, `{isnt = "b"}`, a table of facts, or the fact."""
    if isinstance(wanted, Mapping):
        return all(_OPERATORS[w](v, fact) if w in _OPERATORS else holds(v, part(fact, w)) for w, v in wanted.items())
    if isinstance(wanted, list) and wanted and isinstance(wanted[0], Real | list) and fact:
        ours, other = torch.tensor(fact, dtype=torch.float64), torch.tensor(wanted, dtype=torch.float64)
        return ours.shape == other.shape and torch.allclose(ours, other, rtol=CLOSE, atol=CLOSE)
    if isinstance(wanted, float) and isinstance(fact, Real):
        return abs(wanted - fact) <= CLOSE * max(abs(wanted), 1)
    return wanted == fact


def part(fact: object, name: str) -> object:
    return fact.get(name) if isinstance(fact, Mapping) else None


_OPERATORS = {
    "least": lambda wanted, fact: isinstance(fact, Real) and fact >= wanted,
    "most": lambda wanted, fact: isinstance(fact, Real) and fact <= wanted,
    "has": lambda wanted, fact: fact is not None and wanted in fact,
    "lacks": lambda wanted, fact: fact is None or wanted not in fact,
    "isnt": lambda wanted, fact: not holds(wanted, fact),
}
