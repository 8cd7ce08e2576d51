"""Hooks on tensors and modules that change a gradient: found by running without them, and by what they return.

Autograd calls a hook with the gradient and goes on with what the hook returns. That is meant, mostly: clipping, a
scale, an adjoint equation that is solved there. It is no derivative of forward for all that, and what it computes is
differentiated again only as far as autograd follows it.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from ... import source_text
from ...torch_bridge.patches import Watcher, watched_by
from ...torch_private import hooks_before_pass, hooks_in_pass
from .. import source
from ..measure.answer import Answer
from ..measure.holding import held
from ..measure.numbers import directions, inner, inner_sum, plain
from ..report import Finding, Place
from ..subjects.problem import Problem
from ..subjects.subject import Forward
from .overwritten import users_frame

TOLERANCE = 1e-3
STEP = 1e-5


@dataclass
class Hook:
    """One hook as it was registered. `came` and `given`: the gradients that it was called with and that it returned."""

    name: str
    on: str
    at: Place | None
    came: list[torch.Tensor] = field(default_factory=list)
    given: list[torch.Tensor] = field(default_factory=list)
    writes: bool = False  # it changes what it is given in place

    @property
    def changes(self) -> bool:
        """Whether what it returns is another gradient than came."""
        return self.writes or any(a is not b for a, b in zip(self.came, self.given))

    @property
    def said(self) -> str:
        return f"the hook {self.name} on {self.on}" + (f" (line {self.at.first})" if self.at else "")


class Hooks(Watcher):
    """Sees the hooks that are registered on tensors while a function runs; `without`: they do nothing then."""

    sees_operations, sees_modules = True, False

    def __init__(self, without: bool = False) -> None:
        self.without, self.found = without, []

    def operation(self, plain: Callable, func: Callable, args: tuple, kwargs: dict) -> Any:
        if getattr(func, "__name__", "") != "register_hook" or len(args) < 2 or not callable(args[1]):
            return plain(*args, **kwargs)
        return plain(args[0], self._watched(args[1]), *args[2:], **kwargs)

    def _watched(self, hook: Callable) -> Callable:
        frame = users_frame()
        at = source.place(frame.f_code, frame.f_lineno) if frame is not None else None
        one = Hook(f"`{getattr(hook, '__name__', type(hook).__name__)}`", tensor_in(at), at)
        self.found.append(one)

        def watched(g: torch.Tensor) -> torch.Tensor | None:
            if self.without:
                return None
            before = plain(g.detach()).clone()
            given = hook(g)
            one.writes = one.writes or not torch.equal(plain(g.detach()), before)
            one.came.append(before if one.writes else g)
            one.given.append(g if given is None else given)
            return given

        return watched


def tensor_in(at: Place | None) -> str:
    """What the tensor is called in the statement that registers a hook on it."""
    try:
        calls = [n for n in ast.walk(source_text.parsed(at.text.strip())) if isinstance(n, ast.Call)] if at else []
    except SyntaxError:
        calls = []
    on = [c.func.value for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "register_hook"]
    return ast.unparse(on[0]) if on else "a tensor"


@contextlib.contextmanager
def without_hooks(problem: Problem) -> Iterator[None]:
    """No hook on a tensor, and no backward hook of a module, does anything."""
    modules = list(problem.fn.modules()) if isinstance(problem.fn, torch.nn.Module) else []
    kept = [(m, hooks_in_pass(m).copy(), hooks_before_pass(m).copy()) for m in modules]
    for module in modules:
        hooks_in_pass(module).clear()
        hooks_before_pass(module).clear()
    try:
        with watched_by(Hooks(without=True)):
            yield
    finally:
        for module, hooks, before in kept:
            hooks_in_pass(module).update(hooks)
            hooks_before_pass(module).update(before)


def hooks_of(problem: Problem, graph: bool = False) -> list[Hook]:
    """The hooks on tensors that change a gradient, in one run and its pass; the backward hooks of its modules."""
    watch = Hooks()
    with watched_by(watch):
        leaves, outputs = problem.outputs(problem.values)
        incoming = [v.clone() for v in problem.incoming]
        torch.autograd.grad(outputs, leaves, incoming, allow_unused=True, create_graph=graph)
    found = [one for one in watch.found if one.changes]
    for name, module in problem.fn.named_modules() if isinstance(problem.fn, torch.nn.Module) else ():
        for hook in (*hooks_in_pass(module).values(), *hooks_before_pass(module).values()):
            code = source.code_of(hook)
            at = source.heading(code) if code is not None else None
            found.append(Hook(f"`{getattr(hook, '__name__', type(hook).__name__)}`", f"module {name or 'itself'}", at))
    return found


def changing(problem: Problem, found: Answer, tolerance: float) -> tuple[list[Hook], bool]:
    """The hooks, and whether the gradient is the derivative once they are left out."""
    hooks = hooks_of(problem)
    if not hooks:
        return [], False
    with without_hooks(problem):
        return hooks, held(Forward(problem), tolerance).ok


def written(hooks: list[Hook], name: str) -> list[Finding]:
    """Hooks that change the gradient that they are given in place, which others read too."""
    return [
        Finding(
            "input_mutated",
            f"{one.said} changes the gradient that it is given in place. That tensor may belong to another branch of "
            f"the graph too: return a new one.",
            entry=name,
            slot=one.on,
            read_at=one.at,
            order=1,
            fix="lambda g: g * 2  # return what is to come in instead; no trailing underscore",
        )
        for one in hooks
        if one.writes
    ]


def constant(problem: Problem, name: str, level: int) -> list[Finding]:
    """Hooks whose result moves with the inputs in a way that autograd does not follow."""
    return [_constant_finding(one, name, level) for k, one in enumerate(hooks_of(problem)) if _is_cut(problem, k)]


def _constant_finding(hook: Hook, name: str, level: int) -> Finding:
    return Finding(
        "graph_cut_in_backward",
        f"{hook.said} returns what depends on the inputs in a way that autograd does not follow: differentiated again, "
        f"it counts as a constant, and the derivative of order {level} misses how it changes.",
        entry=name,
        slot=hook.on,
        read_at=hook.at,
        order=level,
        fix="torch.autograd.grad(..., create_graph=True)  # in the hook, of values that are still in the graph",
    )


def _is_cut(problem: Problem, k: int) -> bool:
    """Whether autograd's derivative of what the k-th hook returns is not the one that differences have."""
    ways = directions(problem.values, torch.Generator().manual_seed(91))

    def run(h: float, graph: bool) -> tuple[list[torch.Tensor], torch.Tensor]:
        watch = Hooks()
        with watched_by(watch):
            at = [x + h * d for x, d in zip(problem.values, ways, strict=True)]
            leaves, outputs = problem.outputs(at)
            incoming = [v.clone().requires_grad_() for v in problem.incoming]
            torch.autograd.grad(outputs, leaves, incoming, allow_unused=True, create_graph=graph)
        return leaves, [one for one in watch.found if one.changes][k].given[-1]

    try:
        leaves, given = run(0.0, True)
        weight = directions([given], torch.Generator().manual_seed(92), scaled=False)[0]
        told = 0.0
        if given.requires_grad:
            slopes = torch.autograd.grad((given * weight).sum(), leaves, allow_unused=True)
            told = inner_sum(slopes, ways)
        ends = [inner(run(s * STEP, False)[1], weight) for s in (1, -1)]
    except Exception:  # another number of hooks beside the point, say
        return False
    measured = (ends[0] - ends[1]) / (2 * STEP)
    return abs(told - measured) > TOLERANCE * max(abs(told), abs(measured)) + 1e-6
