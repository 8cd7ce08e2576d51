"""Lists of tensors that an operator takes or gives, taken apart: a Function is given tensors one by one.

What somebody wrote for the operator still sees the lists; all around it sees tensors.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...torch_private import tree_unflatten


@dataclass(frozen=True)
class Lists:
    """For each argument how many tensors its list has, None for what is no list; whether a list is what comes out."""

    counts: tuple[int | None, ...] = ()
    gives_list: bool = False

    def __bool__(self) -> bool:
        return self.gives_list or any(count is not None for count in self.counts)

    def joined(self, flat: Iterable[Any]) -> tuple:
        """The arguments as the operator takes them; those after the known ones are no lists."""
        left, found = iter(flat), []
        for count in self.counts:
            found.append(next(left) if count is None else [next(left) for _ in range(count)])
        return (*found, *left)

    def apart(self, values: Any) -> tuple:
        """What stands for each argument, one by one."""
        values = tuple(values) if isinstance(values, tuple) else (values,)
        counts = (*self.counts, *[None] * (len(values) - len(self.counts)))
        found: list[Any] = []
        for value, count in zip(values, counts, strict=False):
            found += [value] if count is None else list(value)
        return tuple(found)

    def names(self, arguments: Sequence[str]) -> list[str]:
        counts = (*self.counts, *[None] * (len(arguments) - len(self.counts)))
        found: list[str] = []
        for name, count in zip(arguments, counts, strict=True):
            found += [name] if count is None else [f"{name}[{i}]" for i in range(count)]
        return found

    # -- around what somebody wrote --------------------------------------------------------------------------------

    def around_body(self, body: Callable) -> Callable:
        @functools.wraps(body)
        def forward(*args: Any) -> Any:
            found = body(*self.joined(args))
            return tuple(found) if self.gives_list else found

        forward.__signature__ = inspect.Signature([inspect.Parameter("tensors", inspect.Parameter.VAR_POSITIONAL)])
        return forward

    def around_setup(self, setup: Callable) -> Callable:
        @functools.wraps(setup)
        def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
            setup(ctx, self.joined(inputs), list(output) if self.gives_list else output)

        return setup_context

    def around_backward(self, written: Callable) -> Callable:
        @functools.wraps(written)
        def backward(ctx: Any, *grads: Any) -> tuple:
            needs = ctx.needs_input_grad
            ctx.needs_input_grad = self.joined(needs)
            try:
                return self.apart(written(ctx, *([list(grads)] if self.gives_list else grads)))
            finally:
                ctx.needs_input_grad = needs

        backward.around = self.around_backward  # for another backward in its place
        return backward


def lists_of(given: Sequence[Any], metadata: Any, returns: Sequence[bool]) -> Lists | None:
    """How PyTorch took the arguments of a call apart; None where what comes out cannot be put together again.

    Args:
        given: the arguments one by one, without PyTorch's own last one.
        metadata: that one; it says so where there are lists.
        returns: for each result of the operator whether it is a list.
    """
    spec = getattr(metadata, "input_spec", None)
    if spec is None:
        return Lists()
    if any(returns) and len(returns) > 1:
        return None
    *places, _ = tree_unflatten(list(range(len(given))), spec)  # the last one is the operator's own metadata
    return Lists(tuple(len(each) if isinstance(each, list) else None for each in places), any(returns))
