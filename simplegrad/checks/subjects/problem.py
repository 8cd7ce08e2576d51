"""The function under check as numbers: its first-order gradient at any point, and the second order of it."""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ...torch_bridge.calls import Call, recorded_calls
from ...torch_bridge.patches import Watcher, watched_by
from ...torch_private import operator_called, tree_flatten, tree_unflatten
from ..measure.numbers import all_moved, directions, inner_sum, is_floating, plain, requires_grad
from ..report import what_is
from ..runs.alike import State
from ..runs.chance import seed
from .alone import steps_around
from .function import TorchRun
from .operator import as_written
from .parameters import Parameters

WIDER = {torch.float16: 64, torch.bfloat16: 64, torch.float32: 64, torch.complex64: 64}


HALF = (torch.float16, torch.bfloat16)


class NothingToDifferentiate(ValueError):
    """No input requires grad, or no output depends on one that does."""


class Problem:
    """`fn` at `inputs`, with every evaluation made at fresh leaves and from the same state.

    The values are those of the inputs that require grad, and then those of the parameters where `fn` is a module.

    Floating inputs are taken to double precision where `fn` allows it: with float32 finite differences see little.
    """

    is_whole = True
    truth = None

    def __init__(self, fn: Callable, inputs: tuple[Any, ...], bits: int = 64) -> None:
        self.flat, self.spec = tree_flatten(tuple(inputs))
        self.places = [i for i, leaf in enumerate(self.flat) if requires_grad(leaf)]
        if not self.places and not Parameters(fn).leaves:
            raise NothingToDifferentiate(
                f"none of the inputs requires grad ({', '.join(map(what_is, inputs))}), so there is nothing to "
                "differentiate: pass floating tensors made with requires_grad=True for the inputs to check"
            )
        self.fn, self.bits, self.inputs, self.original = fn, bits, inputs, fn
        self.precision: Callable[[], AbstractContextManager] = nullcontext  # `with problem.precision():` around numbers
        self.is_rounded = False  # computed in half precision, say, so that differences of forward are steps
        self.is_forward = True  # what an error was raised in
        if bits == 64:
            self.fn = _doubled_module(fn)
            self.flat = [_doubled(leaf) for leaf in self.flat]
        self.parameters = Parameters(self.fn)
        self.values = [*(self.flat[i].detach().clone() for i in self.places), *self.parameters.values]
        self.flat = [_held_as_it_is(leaf) for leaf in self.flat]
        self.names = input_names(fn, inputs) + self.parameters.names
        self.not_leaves = False
        self.is_half = any(isinstance(x, torch.Tensor) and x.dtype in HALF for x in tree_flatten(tuple(inputs))[0])
        self.kept = [*_roots_of(self.fn), *(x for i, x in enumerate(self.flat) if i not in self.places)]
        self.outer = steps_around(_functions_of(self.fn))
        self.state = State(self.kept, self.outer)
        self.incoming: list[torch.Tensor] = []
        self.calls: list[Call] = []
        self.nested: list = []  # calls of Functions that were given tensors in containers

    # -- evaluating ----------------------------------------------------------------------------------------------

    def outputs(self, values: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """(leaves, outputs that autograd can follow) of one evaluation."""
        self.state.restore()
        seed()
        count, flat = len(self.places), list(self.flat)
        leaves = [value.detach().clone().requires_grad_() for value in values[:count]]
        for place, leaf in zip(self.places, leaves, strict=True):
            flat[place] = leaf.clone() if self.not_leaves else leaf
        leaves += self.parameters.put(values[count:])
        result = self.fn(*tree_unflatten(flat, self.spec))
        self.returned = what_is(result)
        outputs = [out for out in tree_flatten(result)[0] if isinstance(out, torch.Tensor) and out.requires_grad]
        return leaves, outputs

    def moved_to(self, values: list[torch.Tensor]) -> Problem:
        """The same function at other inputs of the same shapes, run once; a module's parameters stay what they are."""
        flat, spec = tree_flatten(self.inputs)
        for place, value in zip(self.places, values):
            flat[place] = value.detach().requires_grad_()
        found = Problem(self.original, tree_unflatten(flat, spec), self.bits)
        found.precision = self.precision
        found.probe()
        return found

    def run(self, values: list[torch.Tensor], needs: tuple[int, ...] | None = None) -> TorchRun:
        return TorchRun(*self.outputs(values))

    def first_order(self, values: list[torch.Tensor], incoming: list[torch.Tensor]) -> list[Any]:
        """The gradients for the inputs, given the gradients that come in to the outputs."""
        return self.run(values).gradients(incoming)

    @property
    def is_double(self) -> bool:
        """Whether nothing of it can be taken to a higher precision."""
        tensors = [x for x in tree_flatten(self.inputs)[0] if isinstance(x, torch.Tensor)]
        return not isinstance(self.fn, torch.nn.Module) and not any(x.dtype in WIDER for x in tensors)

    @property
    def made(self) -> list[str]:
        return [f"output {i}" for i in range(len(self.incoming))]

    def probe(self) -> None:
        """Run once to see which outputs there are and which custom Functions are called.

        Raises whatever forward or the first backward raises.
        """
        with recorded_calls(within=True) as recording:
            self.calls, self.nested = recording.calls, recording.nested
            leaves, outputs = self._first_outputs()
            self.is_forward = recording.within = False
            if not outputs:
                raise NothingToDifferentiate(f"no output of the function requires grad: it returned {self.returned}")
            generator = torch.Generator().manual_seed(7)
            self.incoming = directions(outputs, generator, scaled=False)
            given = [v.clone() for v in self.incoming]
            self.gradient = torch.autograd.grad(outputs, leaves, given, allow_unused=True)
        self.state.restore(thorough=True)
        self.is_bare = _is_bare(self.calls, leaves, outputs)
        self.calls = [as_written(call) for call in self.calls]
        self.weights = directions(self.values, torch.Generator().manual_seed(11), scaled=False)

    def _first_outputs(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        try:
            return self.outputs(self.values)
        except RuntimeError as error:
            if "leaf" not in str(error) or self.not_leaves:
                raise
            self.not_leaves = True  # it changes its input in place, which PyTorch forbids on a leaf
            return self.outputs(self.values)

    def calls_in_backward(self) -> list[Call]:
        """The calls of custom Functions that the backwards make, where autograd follows them: of other classes."""
        with recorded_calls(within=True) as recording:
            leaves, outputs = self.outputs(self.values)
            before = len(recording.calls)
            given = [v.clone().requires_grad_() for v in self.incoming]
            first = torch.autograd.grad(outputs, leaves, given, allow_unused=True, create_graph=True)
            first = [g for g in first if g is not None and g.requires_grad]
            torch.autograd.grad(first, leaves, [torch.ones_like(g) for g in first], allow_unused=True)
        self.state.restore(thorough=True)
        known = {call.cls for call in self.calls}
        return [call for call in map(as_written, recording.calls[before:]) if call.cls not in known]

    def value(self, values: list[torch.Tensor], incoming: list[torch.Tensor], weights: list[torch.Tensor]) -> float:
        """<weights, first-order gradient>."""
        return inner_sum(self.first_order(values, incoming), weights)

    def ways_of(self, call: Call, draw: int) -> list[torch.Tensor] | None:
        """The direction in which the arguments of one call move when the inputs of `fn` move in a random one.

        A matrix that `fn` makes symmetric stays so: a Function may rely on it. None where no call like it is found.
        """
        if self.is_bare or not any(one is call for one in self.calls):
            return None
        h = 1e-4 if self.bits == 64 else 1e-2
        along = directions(self.values, torch.Generator().manual_seed(700 + draw))
        ahead, behind = (self._same_call(call, along, step) for step in (h, -h))
        if ahead is None or behind is None:
            return None
        pairs = [(plain(ahead.args[i].detach()), plain(behind.args[i].detach())) for i in call.differentiated]
        if any(a.shape != b.shape for a, b in pairs):
            return None
        return [(a - b) / (2 * h) for a, b in pairs]

    def _same_call(self, call: Call, along: list[torch.Tensor], h: float) -> Call | None:
        place = next(i for i, one in enumerate(self.calls) if one is call)
        with recorded_calls(within=True) as recording:
            self.outputs(all_moved(self.values, along, h))
        calls = recording.calls
        matching = place < len(calls) and calls[place].cls is call.cls
        return calls[place] if matching and calls[place].differentiated == call.differentiated else None

    def cut_by_hand(self) -> str:
        """What in the function itself, outside of its Functions, takes a value out of the graph: `detach()`, say."""
        cuts = Cuts()
        with watched_by(cuts):
            self.outputs(self.values)
        return cuts.found

    def is_deterministic(self) -> bool:
        """Whether two evaluations at one point give the same gradient."""
        first, again = (self.value(self.values, self.incoming, self.weights) for _ in range(2))
        both_nan = first != first and again != again
        return both_nan or first == again or abs(first - again) <= 1e-9 * (abs(first) + abs(again))


class Cuts(Watcher):
    """Sees where a value that requires grad gives one that does not, outside of custom Functions."""

    sees_operations, sees_modules = True, False

    def __init__(self) -> None:
        self.found, self.inside = "", 0

    def apply_function(self, plain: Callable, cls: type, args: tuple, kwargs: dict) -> Any:
        self.inside += 1
        try:
            return plain(*args, **kwargs)
        finally:
            self.inside -= 1

    def operation(self, plain: Callable, func: Callable, args: tuple, kwargs: dict) -> Any:
        result = plain(*args, **kwargs)
        if not self.inside and not self.found and any(requires_grad(x) for x in tree_flatten((args, kwargs))[0]):
            name = getattr(func, "__name__", str(func))
            if name == "__get__":
                name = getattr(getattr(func, "__self__", None), "__name__", name)
            leaves = isinstance(result, float | complex) or type(result).__module__ == "numpy"
            apart = is_floating(result) and not result.requires_grad
            if (leaves or apart) and name not in WITHOUT_GRADIENT:
                self.found = f"{name}{'' if name == 'data' else '()'}"
        return result


WITHOUT_GRADIENT = (
    *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"),
    *("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", "grad"),
)


def _is_bare(calls: list[Call], leaves: list[torch.Tensor], outputs: list[torch.Tensor]) -> bool:
    """Whether one call of a Function takes the inputs as they are, and what it gives is given back."""
    if len(calls) != 1 or any(out.grad_fn is not calls[0].node for out in outputs):
        return False
    nodes = [node for node, _ in calls[0].node.next_functions if node is not None]
    own = [getattr(node, "variable", None) for node in nodes]
    return len(own) == len(leaves) and all(a is b for a, b in zip(own, leaves, strict=True))


def input_names(fn: Callable, inputs: tuple[Any, ...]) -> list[str]:
    """Names of the differentiated inputs: the parameters of `fn`, or of the Function's forward."""
    parameters = parameters_of(fn)
    names = []
    for i, value in enumerate(inputs):
        name = parameters[i] if i < len(parameters) else f"input {i}"
        leaves = tree_flatten(value)[0]
        nested = not isinstance(value, torch.Tensor)
        names += [f"{name}[{k}]" if nested else name for k, leaf in enumerate(leaves) if requires_grad(leaf)]
    return names


def parameters_of(fn: Callable) -> list[str]:
    if (operator := operator_called(fn)) is not None:
        return list(operator[1])
    owner = getattr(fn, "__self__", None)
    is_apply = isinstance(owner, type) and issubclass(owner, torch.autograd.Function)
    target = fn.forward if isinstance(fn, torch.nn.Module) else owner.forward if is_apply else fn
    try:
        found = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return []
    names = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    has_ctx = is_apply and owner.setup_context is torch.autograd.Function.setup_context
    return names[1:] if has_ctx else names


def _held_as_it_is(leaf: Any) -> Any:
    """An input that is not differentiated; autograd cannot keep one that was made in inference mode."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return leaf.detach().clone() if leaf.is_inference() else leaf.detach()


def _doubled(leaf: Any) -> Any:
    """The same tensor in double precision, still requiring grad if it did."""
    if not isinstance(leaf, torch.Tensor) or leaf.dtype not in WIDER:
        return leaf
    wide = leaf.detach().to(torch.complex128 if leaf.is_complex() else torch.float64)
    return wide.requires_grad_(leaf.requires_grad)


def _doubled_module(fn: Callable) -> Callable:
    if not isinstance(fn, torch.nn.Module):
        return fn
    try:
        return copy.deepcopy(fn).double()
    except Exception:  # a module that cannot be copied is checked as it stands
        return fn


def everything_around(fn: Any, inputs: Any) -> State:
    """What `fn` can reach and change, as it is now."""
    return State([*_roots_of(fn), inputs], steps_around(_functions_of(fn)))


def _functions_of(fn: Any) -> list[types.FunctionType]:
    """The Python functions that `fn` begins in."""
    if isinstance(fn, torch.nn.Module):
        fn = fn.forward
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    found = inspect.unwrap(fn) if callable(fn) else fn
    return (
        [found] if isinstance(found, types.FunctionType) and not (found.__module__ or "").startswith("torch.") else []
    )


def _roots_of(fn: Callable) -> list[Any]:
    """Where `fn` may keep something from one call to the next."""
    return [fn, getattr(fn, "__self__", None), getattr(fn, "__wrapped__", None)]
