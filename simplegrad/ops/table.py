"""`op`: one operator. The same rule runs on Variables, on tensors and on symbols, whatever its arguments are.

    tanh = op("tanh", "{}.tanh()", torch.tanh, lambda g, r, x: tanh_backward(g, r))

A vjp is given the incoming gradient, the result and the arguments, and returns the contribution to its argument. What
it computes with is what it is given: Variables in a pass that is recorded, tensors in one that is not, symbols in the
compiler. So it says `g * b`, `x.cos()`, or calls another operator of the table; never what only a tensor has.
"""

from __future__ import annotations

import dis
import functools
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import torch

from .calls import called, publish, taking

TABLE: dict[str, Op] = {}


class Op:
    """`name`; `text`: how it is written, of the texts of its arguments (a format, or a function of them); `forward`: on
    tensors; `vjps`: one for each argument, None for one that no gradient flows to (those at the end may be left out).

    `pointwise`: the result has the shape that the arguments broadcast to. `alike`: it has that of the first argument.
    `shapes`: its vjps are given shapes in place of the values that gradients flow to: they read no numbers. `each`: the
    first argument is a list, and the one vjp has its place in that list as its last argument. `reads` says which of
    (r, *arguments) some vjp reads: only those are kept for it. `code` and `in_torch` are for code that the compiler
    writes, on Variables and on raw tensors, where that is not the text that a person reads.
    """

    __slots__ = ("name", "text", "forward", "vjps", "pointwise", "alike", "shapes", "each", "code", "in_torch")
    __slots__ += ("parameters", "rules")

    def __init__(
        self,
        name: str,
        text: str | Callable[..., str],
        forward: Callable,
        vjps: Sequence[Callable | None],
        pointwise: bool = False,
        alike: bool = False,
        shapes: bool = False,
        each: bool = False,
        code: str | None = None,
        in_torch: str | Callable[..., str] | None = None,
    ):
        self.name = name
        self.text = text
        self.forward = forward
        self.vjps = tuple(vjps)
        self.pointwise = pointwise
        self.alike = alike
        self.shapes = shapes
        self.each = each
        is_method = isinstance(text, str) and text.startswith(f"{{}}.{name}(")
        if is_method and code is in_torch is None and not hasattr(torch.Tensor, name):  # what tensors have not
            code = f"{name}({', '.join(['{}'] * text.count('{}'))})"
        self.code = code or text
        self.in_torch = in_torch
        self.parameters = parameters_of(self.vjps, forward)

    def __call__(self, *args):
        """Of tensors it is forward; a Variable or a symbol among the arguments takes over (`bind`)."""
        first = args[0]
        if first.__class__ is torch.Tensor and (len(args) < 2 or len(args) == 2 and args[1].__class__ is torch.Tensor):
            return self.forward(*args)
        for arg in first if self.each else args:
            bind = getattr(arg.__class__, "bind", None)
            if bind is not None:
                return bind(self, args)
        return self.forward(*args)

    @property
    def has_gradient(self) -> bool:
        """Whether a gradient flows through: of a comparison it does not."""
        return bool(self.vjps)

    def vjp(self, place: int) -> Callable | None:
        """The rule of the argument at this place."""
        return self.vjps[place] if place < len(self.vjps) else None

    def reads(self, vjps: Sequence[Callable]) -> tuple[bool, ...]:
        """Which of (r, *arguments) one of these vjps reads."""
        count = max([1 + len(self.parameters), *(vjp.__code__.co_argcount - 1 for vjp in vjps)])
        return tuple([any(reads(vjp, 1 + place) for vjp in vjps) for place in range(count)])

    @property
    def by_name(self) -> bool:
        """Whether code says `name(arguments)`: then the name has to be known where that code runs."""
        return isinstance(self.code, str) and self.code.startswith(f"{self.name}(")

    def written(self, texts: Sequence[str], form: str | Callable[..., str] | None = None) -> str:
        """The text of its arguments, put into `text` (or another form of it)."""
        form = self.text if form is None else form
        return form.format(*texts) if isinstance(form, str) else form(*texts)

    def __repr__(self) -> str:
        return self.name


def op(
    name: str,
    text: str | Callable[..., str],
    forward: Callable,
    *vjps: Callable | None,
    takes: Callable[..., tuple] | None = None,
    **more: Any,
) -> Op:
    """Put an operator into the table. `takes`: how it is called, a function of torch's arguments that returns those of
    the operator; without it only other rules call it."""
    made = TABLE[name] = Op(name, text, forward, vjps, **more)
    if takes is not None:
        publish(name, taking(called(name, takes), made))
    return made


def of_tensors(name: str, *vjps: Callable | None, **more: Any) -> Op:
    """One that torch has as a function and as a method, with the arguments of the vjps: x.name(…)."""
    said = ", ".join(["{}"] * (max(len(vjps), len(parameters_of(vjps, None))) - 1))
    return op(name, f"{{}}.{name}({said})", getattr(torch, name), *vjps, **more)


def of_torch(path: str, *vjps: Callable | None, **more: Any) -> Op:
    """One that torch has as a function alone, torch.linalg.inv: code on tensors calls it by its whole name."""
    name = path.rpartition(".")[2]
    forward = functools.reduce(getattr, path.split("."), torch)
    said = ", ".join(["{}"] * max(len(vjps), len(parameters_of(vjps, None))))
    return op(name, f"{name}({said})", forward, *vjps, in_torch=f"torch.{path}({said})", **more)


def parameters_of(vjps: Sequence[Callable | None], forward: Callable | None) -> tuple[str, ...]:
    """The names of the arguments: a vjp's after g and r, or those of a forward that is a Python function."""
    for vjp in vjps:
        if vjp is not None:
            return vjp.__code__.co_varnames[2 : vjp.__code__.co_argcount]
    code = getattr(forward, "__code__", None)
    return code.co_varnames[: code.co_argcount] if code else ()


@functools.cache
def loaded_by(code: CodeType) -> frozenset[str]:
    """The names that a function's code reads."""
    steps = (step for step in dis.get_instructions(code) if step.opname.startswith(("LOAD", "STORE_FAST_LOAD")))
    return frozenset(name for step in steps for name in _several(step.argval))


def reads(vjp: Callable, place: int) -> bool:
    """Whether it reads its parameter at this place."""
    code = vjp.__code__
    return place < code.co_argcount and code.co_varnames[place] in loaded_by(code)


def _several(argval: object) -> tuple:
    return argval if isinstance(argval, tuple) else (argval,)  # newer Pythons load two at once
