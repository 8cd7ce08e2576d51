"""What of a file can be checked: its aggregates, its PyTorch Functions, its `case()`, each with its example inputs."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from .aggregates import Aggregate
from .problems import FileProblemError, at_line, line_containing
from .torch_private import body_of

Thing = TypeVar("Thing")
_CUSTOM_OP: Any = getattr(torch.library, "CustomOpDef", ())  # what @torch.library.custom_op makes


def example(inputs: Callable[[], Any]) -> Callable[[Thing], Thing]:
    """`@simplegrad.example(lambda: (torch.rand(4), torch.rand(4)))`: inputs to check what stands below on.

    For a torch.autograd.Function, an aggregate, a custom op or a function; a tensor alone is one input. `inputs` is
    called for each check, and not before. Raises TypeError where it is no function.
    """
    if not callable(inputs):
        raise TypeError(
            f"example(…) was given {_kind_of(inputs)}; expected a function that makes inputs: lambda: (x, w)."
        )

    def declare(thing: Thing) -> Thing:
        thing.example = staticmethod(inputs) if isinstance(thing, type) else inputs  # type: ignore[attr-defined]
        return thing

    return declare


@dataclass(frozen=True)
class Target:
    """Something of a file that can be checked: `kind` is aggregate, function (PyTorch), operator (custom) or case.

    `inputs` makes example inputs anew; it is None for what has none declared. For a case, `function` is `case` itself.
    """

    name: str
    kind: str
    function: Callable[..., Any]
    inputs: Callable[[], tuple] | None = None
    file: str = ""
    line: int | None = None

    @property
    def is_ready(self) -> bool:
        """Whether there are inputs to try it on."""
        return self.kind == "case" or self.inputs is not None

    def prepared(self) -> tuple[Callable[..., Any], tuple]:
        """The function and its inputs. Runs the file's code: whatever that raises comes through."""
        if self.kind != "case":
            return self.function, self.inputs()
        made = self.function()
        if not (isinstance(made, (tuple, list)) and len(made) == 2 and callable(made[0])):
            raise TypeError(f"case() returned {_kind_of(made)}; expected (function, inputs): return f, (a, b)")
        function, inputs = made
        return function, tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)


def targets_of(module: types.ModuleType, aggregates: dict[str, Aggregate], origin: str) -> Iterator[Target]:
    """What a module read from the file `origin` holds. Raises FileProblemError for EXAMPLES that fit nothing."""
    examples = _declared_examples(module, origin)
    for name, each in aggregates.items():
        yield Target(name, "aggregate", each, _maker(examples.get(name, each.example)), origin, each.line)
    for name, thing in vars(module).items():
        if isinstance(thing, Aggregate) or (name not in examples and not _is_own(name, thing, module)):
            continue
        kind = "operator" if isinstance(thing, _CUSTOM_OP) else "function"
        inputs = _differentiable(_maker(examples.get(name, getattr(thing, "example", None))))
        called = thing.apply if _is_torch_function(thing) else thing
        yield Target(name, kind, called, inputs, origin, _line_of(thing))
    if callable(getattr(module, "case", None)):
        yield Target("case", "case", module.case, None, origin, _line_of(module.case))


def _declared_examples(module: types.ModuleType, origin: str) -> dict[str, Any]:
    """EXAMPLES, its keys held to what the file has; that of an aggregate is its own name."""
    examples = getattr(module, "EXAMPLES", {})
    known = {name: thing.name if isinstance(thing, Aggregate) else name for name, thing in vars(module).items()}
    known |= {name: name for name in known.values()}
    line = line_containing(module, "EXAMPLES")
    if not isinstance(examples, dict):
        message = f"EXAMPLES is {_kind_of(examples)}; expected a dict: EXAMPLES = {{'MyFunction': lambda: (x, w)}}."
        raise FileProblemError(at_line(origin, line, message, module))
    for name in examples:
        if name not in known:
            message = f"EXAMPLES has inputs for '{name}', and the file has nothing of that name."
            raise FileProblemError(at_line(origin, line, message, module))
    return {known[name]: inputs for name, inputs in examples.items()}


def _is_own(name: str, thing: Any, module: types.ModuleType) -> bool:
    """A torch.autograd.Function or custom op written here, or a function with example inputs as an attribute."""
    if isinstance(thing, _CUSTOM_OP):
        return getattr(body_of(thing), "__module__", module.__name__) == module.__name__
    if getattr(thing, "__module__", None) != module.__name__ or getattr(thing, "__name__", None) != name:
        return False
    return _is_torch_function(thing) or (isinstance(thing, types.FunctionType) and hasattr(thing, "example"))


def _is_torch_function(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, torch.autograd.Function)


def _kind_of(thing: Any) -> str:
    if isinstance(thing, (tuple, list)):
        return f"a {type(thing).__name__} of {len(thing)}"
    return f"a {type(thing).__name__}" if thing is not None else "None"


def _maker(declared: Any) -> Callable[[], tuple] | None:
    """Example inputs, declared as a function or as they are, as a function that gives a tuple."""
    if declared is None:
        return None

    def inputs() -> tuple:
        made = declared() if callable(declared) else declared
        return tuple(made) if isinstance(made, (tuple, list)) else (made,)

    return inputs


def _differentiable(inputs: Callable[[], tuple] | None) -> Callable[[], tuple] | None:
    """The same, with every floating tensor requiring grad where the example left all of them plain."""
    if inputs is None:
        return None

    def marked() -> tuple:
        made = inputs()
        if any(isinstance(x, torch.Tensor) and x.requires_grad for x in made):
            return made
        return tuple(x.detach().clone().requires_grad_() if _is_floating(x) else x for x in made)

    return marked


def _is_floating(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and (x.is_floating_point() or x.is_complex())


def _line_of(thing: Any) -> int | None:
    for each in (thing, getattr(thing, "forward", None), body_of(thing)):
        code = getattr(each, "__code__", None)
        if code is not None:
            return code.co_firstlineno
    return None
