"""Aggregates: operators whose body is not recorded, with a `propagate` written by hand; and the registry of them.

The six here are the notebook's variants of (a + b) * b: wrong, almost right and right ones. Read them in order; each
mends what was wrong with the one before, and the fourth has the bug that this project is about.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import Any, overload

import torch

from simplegrad.locks import cached_property

from .engine import TapeEntry, Variable, add_optional, gradient_tape


@dataclass(eq=False)
class Aggregate:
    """A registered operator: called like the function it was made from.

    `name`, `summary` (one sentence, from the docstring), `reference` (the same mathematics as recorded operations, a
    function or the name of an aggregate), `example` (a function without arguments that returns inputs to try it on),
    `source` (its text) with `file` and `line`.
    """

    function: Callable[..., Variable]
    name: str
    summary: str = ""
    reference: Callable | str | None = None
    example: Callable[[], tuple] | None = None
    origin: str = "simplegrad"  # or the user's file that it came from
    text: str = field(default="", repr=False)  # the source, where it does not stand in a file

    def __post_init__(self):
        update_wrapper(self, self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @cached_property
    def source(self) -> str:
        if self.text:
            return self.text
        try:
            return inspect.getsource(self.function)
        except (OSError, TypeError):
            return ""

    @property
    def file(self) -> str:
        return self.function.__code__.co_filename

    @property
    def line(self) -> int:
        return self.function.__code__.co_firstlineno

    @property
    def arity(self) -> int:
        """How many inputs it takes."""
        return len(inspect.signature(self.function).parameters)


def name_of(function: Callable) -> str:
    """What to call an aggregate, or a plain function that stands in for one."""
    return getattr(function, "name", None) or getattr(function, "__name__", None) or type(function).__name__


class Registry(Mapping[str, Aggregate]):
    """Aggregates by name, in the order in which they were registered."""

    def __init__(self):
        self._aggregates: dict[str, Aggregate] = {}

    def add(self, aggregate: Aggregate) -> Aggregate:
        """Register, or put in the place of an older one of this name (a file that was saved again)."""
        self._aggregates[aggregate.name] = aggregate
        return aggregate

    def discard(self, origin: str) -> None:
        """Forget all that came from this file."""
        self._aggregates = {k: v for k, v in self._aggregates.items() if v.origin != origin}

    def put_back(self, before: Mapping[str, Aggregate]) -> None:
        """All of it as it was, in that order."""
        self._aggregates = dict(before)

    def __getitem__(self, name: str) -> Aggregate:
        return self._aggregates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._aggregates)

    def __len__(self) -> int:
        return len(self._aggregates)


registry = Registry()


@overload
def aggregate(function: Callable[..., Any]) -> Aggregate: ...


@overload
def aggregate(
    *, name: str | None = ..., reference: Callable | str | None = ..., example: Callable[[], tuple] | None = ...
) -> Callable[[Callable[..., Any]], Aggregate]: ...


def aggregate(
    function: Callable | None = None,
    *,
    name: str | None = None,
    reference: Callable | str | None = None,
    example: Callable[[], tuple] | None = None,
) -> Aggregate | Callable[[Callable[..., Any]], Aggregate]:
    """Register a hand-written operator: `@aggregate`, or `@aggregate(example=lambda: (torch.rand(4), torch.rand(4)))`.

    `reference`: the same mathematics as recorded operations, or the name of a registered aggregate. `example`: inputs
    to try it on, tensors or Variables. Raises TypeError for what is not a function.
    """

    def register(function: Callable) -> Aggregate:
        if not inspect.isfunction(function):
            raise TypeError(f"@aggregate is for a function of Variables, not for a {type(function).__name__}.")
        summary = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
        made = Aggregate(
            function,
            name or function.__name__,
            summary,
            reference,
            example or getattr(function, "example", None),  # of @simplegrad.example below it
            origin="simplegrad" if function.__module__.startswith("simplegrad.") else function.__code__.co_filename,
        )
        return registry.add(made)

    return register if function is None else register(function)


def _example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, generator=generator), torch.rand(4, generator=generator)


@aggregate(example=_example)
def simple(a, b):
    """Two recorded operations, a + b and times b: no propagate is written by hand, so none can be wrong."""
    t = a + b
    return t * b


@aggregate(example=_example, reference="simple")
def simple_type_error(a, b):
    """Captures the temporary t as a raw tensor: propagate computes on Variables and fails on its first use."""
    t = a.value + b.value
    r = Variable(t * b.value)

    def propagate(dL_doutputs):
        (dL_dr,) = dL_doutputs
        dr_dt = b
        dr_db = t
        dL_dt = dL_dr * dr_dt
        dL_da = dL_dt
        dL_db = dL_dt + dL_dr * dr_db  # fails: t is a tensor, not a Variable
        return [dL_da, dL_db]

    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name], propagate=propagate))
    return r


@aggregate(example=_example, reference="simple")
def simple_recompute(a, b):
    """Computes t again inside propagate, from the inputs: right, at the price of the forward work done twice."""
    r = Variable((a.value + b.value) * b.value)

    def propagate(dL_doutputs):
        (dL_dr,) = dL_doutputs
        t = a + b  # once more, and recorded this time
        dr_dt = b
        dr_db = t
        dL_dt = dL_dr * dr_dt
        dL_da = dL_dt
        dL_db = dL_dt + dL_dr * dr_db
        return [dL_da, dL_db]

    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name], propagate=propagate))
    return r


@aggregate(example=_example, reference="simple")
def simple_variable_wrong(a, b):
    """Wraps t in a Variable that is no declared output: right once, silently wrong when differentiated again."""
    t = a.value + b.value
    t_v = Variable(t, name="t")
    r = Variable(t * b.value)

    def propagate(dL_doutputs):
        (dL_dr,) = dL_doutputs
        dr_dt = b
        dr_db = t_v  # a later loss depends on t through this, and no entry says where t came from
        dL_dt = dL_dr * dr_dt
        dL_da = dL_dt
        dL_db = dL_dt + dL_dr * dr_db
        return [dL_da, dL_db]

    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name], propagate=propagate))
    return r


@aggregate(example=_example, reference="simple")
def simple_variable_almost(a, b):
    """Declares t as an output and fills zeros in for None: right, but computes on zeros in every pass."""
    t = a.value + b.value
    t_v = Variable(t, name="t_v")
    r = Variable(t * b.value)

    def propagate(dL_doutputs):
        dL_dr, dL_dt0 = dL_doutputs
        if dL_dr is None:
            dL_dr = Variable.constant(torch.zeros(()))
        if dL_dt0 is None:
            dL_dt0 = Variable.constant(torch.zeros(()))
        dr_dt = b
        dr_db = t_v
        dL_dt = dL_dt0 + dL_dr * dr_dt  # what comes from other uses of t, and what comes through r
        dL_db = dL_dr * dr_db + dL_dt
        dL_da = dL_dt
        return [dL_da, dL_db]

    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name, t_v.name], propagate=propagate))
    return r


@aggregate(example=_example, reference="simple")
def simple_variable(a, b):
    """Declares t as an output and branches on None: right, and nothing is computed for a known zero."""
    t = a.value + b.value
    t_v = Variable(t, name="t_v")
    r = Variable(t * b.value)

    def propagate(dL_doutputs):
        dL_dr, dL_dt = dL_doutputs
        dL_db = None
        if dL_dr is not None:
            dL_dt = add_optional(dL_dt, dL_dr * b)
            dL_db = dL_dr * t_v
        dL_da = dL_dt
        dL_db = add_optional(dL_db, dL_dt)
        return [dL_da, dL_db]

    gradient_tape.append(TapeEntry(inputs=[a.name, b.name], outputs=[r.name, t_v.name], propagate=propagate))
    return r
