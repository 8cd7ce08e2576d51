"""Lessons as they stand in their files: what each field means, and reading them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "texts"


@dataclass(frozen=True)
class Remark:
    """What to see at a step. `at` names the step by its event (see steps.py)."""

    at: Mapping
    text: str


@dataclass(frozen=True)
class Scene:
    """A run to step through: of a program on the tape, of PyTorch (`record` names it, see recordings.py), or of both
    beside each other.

    `begin`: the step that it begins at; `aggregate`: what f stands for, or `compiled: (a + b) * b`.
    """

    label: str
    begin: Mapping
    remarks: tuple[Remark, ...]
    program: str = ""
    record: str = ""
    aggregate: str = "simple"
    none: str = "skip"


@dataclass(frozen=True)
class Answer:
    """One answer to choose. `reply`: what is said of it."""

    text: str
    reply: str
    right: bool = False


@dataclass(frozen=True)
class Prediction:
    """A question that is asked before a step of the first scene; the event of the step is its answer."""

    before: Mapping
    question: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Known:
    """What is said of answers whose facts are these. `name`: for tests.

    `rank`: which is asked first. 0: a slip that would hide all else; 1: what an exercise knows; 2: kinds of mistakes,
    in any exercise (both of common.toml); 3: what an exercise says of all the rest.
    """

    name: str
    when: Mapping
    say: str
    rank: int = 1


@dataclass(frozen=True)
class Exercise:
    """`kind`: "program", "propagate", "expression", or "function", of torch.autograd. `start`, `model`: texts.
    `solved`: the facts of a right answer.

    Of a propagate or a function: `target` is the function to write, `reference` the same mathematics as a function
    called reference, `inputs` the numbers that it is checked on, up to `order`. Of a program: `aggregate` is what f
    stands for. `known`: what is said of other answers, the first that holds.
    """

    id: str
    title: str
    task: str
    kind: str
    start: str
    model: str
    hint: str
    solved: Mapping
    said: str  # of a right answer
    known: tuple[Known, ...]
    target: str = ""
    reference: str = ""
    inputs: tuple = ()
    order: int = 2
    aggregate: str = "simple"


@dataclass(frozen=True)
class Lesson:
    """`scenes`: what there is to step through; the first one stands at the top of the file."""

    number: int
    title: str
    aim: str
    text: tuple[str, ...]
    scenes: tuple[Scene, ...]
    prediction: Prediction | None
    exercises: tuple[Exercise, ...]
    table: tuple[tuple[str, ...], ...] = field(default=())  # rows of a table below the text


@cache
def course() -> tuple[Lesson, ...]:
    """All lessons, in their order."""
    return tuple(_lesson(tomllib.loads(path.read_text("utf-8"))) for path in sorted(_FOLDER.glob("[0-9]*.toml")))


def exercise(name: str) -> Exercise:
    """The exercise of this id, "9a". Raises KeyError, with the ids that there are."""
    found = {each.id: each for lesson in course() for each in lesson.exercises}
    if name not in found:
        raise KeyError(f"there is no exercise {name!r}. There are: {', '.join(found)}.")
    return found[name]


def _lesson(said: dict) -> Lesson:
    asked = said.pop("prediction", None)
    if asked is not None:
        asked = Prediction(asked["before"], asked["question"], tuple(Answer(**each) for each in asked["answers"]))
    first = {name: said.pop(name) for name in [each.name for each in fields(Scene)] if name in said}
    scenes = tuple(_scene(each) for each in [{"label": "This lesson's program", **first}, *said.pop("scenes", ())])
    exercises = tuple(_exercise(each) for each in said.pop("exercises", ()))
    table = tuple(tuple(row) for row in said.pop("table", ()))
    text = tuple(said.pop("text"))
    return Lesson(text=text, scenes=scenes, prediction=asked, exercises=exercises, table=table, **said)


def known_of(kind: str, own: list[Known]) -> tuple[Known, ...]:
    """The replies of an exercise, and those of common.toml; where both have a name, the exercise has its own words."""
    common = {each.name: each for each in _common().get(kind, ())}
    mine = {each.name: replace(each, rank=common[each.name].rank) if each.name in common else each for each in own}
    return tuple(sorted({**common, **mine}.values(), key=lambda each: each.rank))


@cache
def _common() -> dict[str, list[Known]]:
    said = tomllib.loads((_FOLDER / "common.toml").read_text("utf-8"))
    return {kind: [Known(**each) for each in replies] for kind, replies in said.items()}


def _scene(said: dict) -> Scene:
    remarks = tuple(Remark(**each) for each in said.pop("remarks", ()))
    return Scene(remarks=remarks, **said)


def _exercise(said: dict) -> Exercise:
    known = known_of(said["kind"], [Known(**each) for each in said.pop("known", ())])
    inputs = tuple(said.pop("inputs", ()))
    return Exercise(known=known, inputs=inputs, **said)
