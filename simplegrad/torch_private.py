"""What simplegrad uses of torch that torch does not promise to keep, asked for once, when this is imported.

No other module asks torch for one. Each has a public way out here, or is listed with the features that
cannot do without it: those call `needs` before they begin, and a torch that lacks the name is told in one sentence.
A new one is added here, with its way out or its feature; tests/test_torch_private.py takes each away in turn.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from operator import attrgetter
from typing import Any

import torch

TESTED = "2.6 to 2.13"
RECORD = "record_torch"
CHECK = "check"
CHECK_FUNCTION = "check of a torch.autograd.Function"

NAMES: list[str] = []  # every private name, below `torch`
_missing: dict[str, list[str]] = {}  # feature -> the names that it lacks
_MODULE = torch.nn.Module()  # the class has not what each of them has


class NotInThisTorch(RuntimeError):
    """This torch lacks a private name that a feature cannot do without."""


class Absent:
    """Stands for a class that this torch has not; whoever would use it has asked `needs` before."""


def needs(feature: str) -> None:
    """Raise NotInThisTorch if this torch lacks what `feature` (RECORD, CHECK, CHECK_FUNCTION) cannot do without."""
    if names := _missing.get(feature):
        raise NotInThisTorch(
            f"{feature} cannot work with torch {torch.__version__}, which has no {' and no '.join(names)}. "
            f"simplegrad was tested with torch {TESTED}: install one of these, or a newer simplegrad."
        )


def is_absent(name: str) -> bool:
    """Whether this torch lacks one of NAMES."""
    try:
        _look_up(name)
    except AttributeError:
        return True
    return False


def _look_up(name: str) -> Any:
    owner, _, last = name.rpartition(".")
    return getattr(_MODULE, last) if owner == "nn.Module" else attrgetter(name)(torch)


def _private(name: str, *features: str, instead: Any = None) -> Any:
    """torch's `name`, or `instead`; `features` cannot do without it."""
    NAMES.append(name)
    if not is_absent(name):
        return _look_up(name)
    for feature in features:
        _missing.setdefault(feature, []).append(f"torch.{name}")
    return instead


def _read(name: str, *features: str, instead: Any = None) -> Callable:
    """What reads the last part of `name` of an object, as fast as the attribute itself; or `instead`."""
    _private(name, *features)
    return instead if is_absent(name) else attrgetter(name.rpartition(".")[-1])


FRAME_EVALUATION = "_maybe_set_eval_frame"


def frame_evaluation() -> Any:
    """The module in which torch.compile begins and ends its code, by FRAME_EVALUATION.

    None as long as nobody has called that, and where torch does it in another way: compiled code is then recorded
    as any other.
    """
    frames = sys.modules.get("torch._dynamo.eval_frame")
    return frames if frames is not None and FRAME_EVALUATION in vars(frames) else None


def is_compiled(thing: Any) -> bool:
    """Whether torch.compile made it, as far as torch tells."""
    return hasattr(thing, "_torchdynamo_orig_callable") or hasattr(thing, "_orig_mod")


# -- autograd's own insides: how a pass begins, how a custom Function is called, what a node tells -----------------

sequence_number: Callable[[], int] = _private("_C._autograd._get_sequence_nr", RECORD)  # of the node made next
BackwardCFunction: type = _private("autograd.function.BackwardCFunction", RECORD, CHECK_FUNCTION, instead=Absent)
SingleLevelFunction: type = _private(
    "autograd.function._SingleLevelFunction", RECORD, CHECK_FUNCTION, instead=Absent
)  # every Function.apply ends in its `apply`
RUN_BACKWARD = "_engine_run_backward"
for _name in ("autograd.graph", "autograd"):
    _private(f"{_name}.{RUN_BACKWARD}", RECORD)
CALL_MODULE = "_call_impl"  # what `module(x)` ends in; `__call__` itself has a slot, and costs a millisecond to replace
_private(f"nn.Module.{CALL_MODULE}", RECORD)
# Of every node; this class has them from the same place.
_private("autograd.function.BackwardCFunction._sequence_nr", RECORD)
outputs_of: Callable[[Any], Any] = _read("autograd.function.BackwardCFunction._input_metadata", RECORD)
node_class: Callable[[type], type] = _read("autograd.Function._backward_cls", RECORD, CHECK_FUNCTION)
function_of: Callable[[Any], type] = _read("autograd.Function._backward_cls._forward_cls", RECORD, CHECK_FUNCTION)


def rows_in_mean(node: Any) -> float | None:
    """What the node of a loss over classes divides by: the rows, or their weights, that it does not leave out.

    None for a loss that is no mean, and where torch does not tell.
    """
    if not node.name().startswith("NllLoss") or getattr(node, "_saved_reduction", None) != 1:
        return None
    weight = getattr(node, "_saved_total_weight", None)
    return None if weight is None else weight.item()


# What the engine hands on to the threads that work for a pass; without it they are watched by nobody.
_stash: Callable | None = _private("_C._stash_obj_in_tls", RECORD, CHECK_FUNCTION)
stashed: Callable | None = _private("_C._get_obj_in_tls", RECORD, CHECK_FUNCTION)
is_stashed: Callable | None = _private("_C._is_key_in_tls", RECORD, CHECK_FUNCTION)
unstash: Callable | None = _private("_C._remove_obj_from_tls")  # without it, something empty stays there


def stash(key: str, thing: object) -> None:
    """Keep `thing` where the engine's threads find it."""
    if _stash_takes_no_reference():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    _stash(key, thing)


@cache
def _stash_takes_no_reference() -> bool:
    """Some versions (2.6) let go of a reference that they never took: what was kept would be freed while it is in use,
    and Python's collector crash later. There it is taken for them."""
    probe = object()
    before = sys.getrefcount(probe)
    _stash("simplegrad.probe", probe)
    taken = sys.getrefcount(probe) > before
    if not taken:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(probe))
    if unstash is not None:
        unstash("simplegrad.probe")
    return not taken


has_function_mode: Callable[[], bool] = _private("_C._is_torch_function_mode_enabled", instead=lambda: False)
function_mode_stack: Callable[[], list] = _private(
    "overrides._get_current_function_mode_stack", RECORD, CHECK_FUNCTION, instead=list
)

_pop_mode: Callable | None = _private("_C._pop_torch_function_stack")
_push_mode: Callable | None = _private("_C._push_on_torch_function_stack")


def take_mode_off(mode: Any) -> bool:
    """Take this function mode off the stack of this thread, if it lies on top; whether that was done."""
    if _pop_mode is None or _push_mode is None or not has_function_mode():
        return False
    top = _pop_mode()
    if top is not mode:
        _push_mode(top)
    return top is mode


def put_mode_on(mode: Any) -> None:
    """Lay it there again, after `take_mode_off`."""
    _push_mode(mode)


transforms_active: Callable[[], bool] = _private(
    "_C._are_functorch_transforms_active", instead=lambda: False
)  # whether torch.func runs; without it, what is recorded of that is told in notices of its own
is_any_autocast: Callable[[], bool] = _private("_C._is_any_autocast_enabled", instead=lambda: False)

# -- tensors: what was changed in place, and how to reach the plain tensor below a subclass or a mode --------------

# How often it was changed in place. Where it is read in each operation, `_version` stands there itself.
changes: Callable[[torch.Tensor], int] = _read("Tensor._version", RECORD, CHECK, instead=lambda tensor: 0)
# What it is a view of, or None. Without it, a view counts for itself: its changes are those of what it views anyway.
viewed: Callable[[torch.Tensor], torch.Tensor | None] = _read("Tensor._base", instead=lambda tensor: None)
_hooks: Callable = _read("Tensor._backward_hooks", instead=lambda tensor: None)
_hooks_after: Callable = _read("Tensor._post_accumulate_grad_hooks", instead=lambda tensor: None)


def hooks_on(tensor: torch.Tensor) -> list[Callable]:
    """What was registered on it, before its gradient is kept and after; nothing where torch does not tell."""
    return [hook for hooks in (_hooks(tensor), _hooks_after(tensor)) if hooks for hook in hooks.values()]


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """Of a DTensor what this process holds: to look at all of it would be a collective, which no other rank joins."""
    held = getattr(tensor, "_local_tensor", None)
    if held is None and hasattr(tensor, "to_local"):
        with torch.no_grad():
            return tensor.to_local()
    return tensor if held is None else held


DisableTorchFunction: type = _private("_C.DisableTorchFunction", RECORD, instead=nullcontext)
DisableTorchFunctionSubclass: type = _private(
    "_C.DisableTorchFunctionSubclass", CHECK_FUNCTION, instead=DisableTorchFunction
)
# Whether a tensor stands for many, or for a level, inside of a transform of torch.func.
is_wrapped: Callable[[torch.Tensor], bool] = _private(
    "_C._functorch.is_functorch_wrapped_tensor", instead=lambda tensor: False
)
TorchDispatchMode: type = _private("utils._python_dispatch.TorchDispatchMode", CHECK_FUNCTION, instead=Absent)
_dispatch_depth: Callable[[], int] = _private("_C._len_torch_dispatch_stack", instead=lambda: 0)
_pop_dispatch: Callable | None = _private("_C._pop_torch_dispatch_stack")
_function_depth: Callable[[], int] = _private("_C._len_torch_function_stack", instead=lambda: 0)


@contextmanager
def modes_as_before() -> Iterator[None]:
    """Ctrl-C may come inside of torch's own code that takes a mode on or off, and the mode stay for good."""
    dispatch, function = _dispatch_depth(), _function_depth()
    try:
        yield
    finally:
        while _pop_dispatch is not None and _dispatch_depth() > dispatch:
            _pop_dispatch(None)
        while _pop_mode is not None and _function_depth() > function:
            _pop_mode()


# -- modules: what each of them holds, and what is called with it --------------------------------------------------

PARTS = ("_parameters", "_buffers", "_modules")  # where a module keeps what `module.name` finds
submodules: Callable[[torch.nn.Module], dict] = _read(
    "nn.Module._modules", instead=lambda module: dict(module.named_children())
)
own_parameters: Callable[[torch.nn.Module], dict] = _read(
    "nn.Module._parameters", instead=lambda module: dict(module.named_parameters(recurse=False))
)
own_buffers: Callable[[torch.nn.Module], dict] = _read(
    "nn.Module._buffers", instead=lambda module: dict(module.named_buffers(recurse=False))
)
# Hooks that cannot be told are not looked at.
hooks_in_pass: Callable[[torch.nn.Module], dict] = _read("nn.Module._backward_hooks", instead=lambda module: {})
hooks_before_pass: Callable[[torch.nn.Module], dict] = _read("nn.Module._backward_pre_hooks", instead=lambda module: {})
for _name in ("_forward_hooks", "_forward_pre_hooks"):
    _private(f"nn.Module.{_name}")


def runs_alone(module: torch.nn.Module) -> bool:
    """Whether neither another module nor a hook runs in its forward, nor one that was put in its place."""
    held = vars(module)
    try:
        return not (held["_modules"] or held["_forward_hooks"] or held["_forward_pre_hooks"] or "forward" in held)
    except KeyError:  # this torch keeps them elsewhere
        return False


# -- trees of values -----------------------------------------------------------------------------------------------

tree_flatten: Callable = _private("utils._pytree.tree_flatten", CHECK_FUNCTION)
tree_unflatten: Callable = _private("utils._pytree.tree_unflatten", CHECK_FUNCTION)

# -- the process group: methods that not every torch has -----------------------------------------------------------

GATHER_INTO, SCATTER_INTO = "_allgather_base", "_reduce_scatter_base"
BUFFERS = "_broadcast_coalesced"  # with it DistributedDataParallel sends buffers, from rank 0

# -- what only makes a pass faster; the ways out give the same numbers ---------------------------------------------

_private("autograd.forward_ad._current_level")


def forward_mode_is_on() -> bool:
    """Whether somebody computes tangents: they are lost below autograd."""
    return getattr(torch.autograd.forward_ad, "_current_level", 0) >= 0


below_autograd: Callable = _private("_C._AutoDispatchBelowAutograd", instead=nullcontext)
# The kernels without the Python that torch puts around them for its own tracers: 0.4 of 1.5 microseconds.
tanh_backward: Callable = _private("ops.aten.tanh_backward.default._op", instead=lambda g, t: g * (1 - t * t).conj())
sigmoid_backward: Callable = _private(
    "ops.aten.sigmoid_backward.default._op", instead=lambda g, s: g * (s * (1 - s)).conj()
)
threshold_backward: Callable = _private(
    "ops.aten.threshold_backward.default._op",
    instead=lambda g, x, threshold: torch.where(x <= threshold, 0.0, g),
)
softmax_backward: Callable = _private(
    "_softmax_backward_data",
    instead=lambda g, s, dim, dtype: s * (g - (g * s).sum(dim, keepdim=True)),
)

# -- operators of torch.library: what stands behind the Function that torch makes for one --------------------------

GENERATED = "GeneratedBackwardFor_"  # how the names of such Functions begin


def operator_behind(cls: type) -> tuple[Any, Any, tuple[tuple[str, bool, Any], ...], Callable | None] | None:
    """(operator, what holds its backward and setup_context, its arguments, its body) of a generated Function.

    Each argument: its name, whether it is given by keyword only, its default.

    None where torch keeps them elsewhere: the operator is then checked as the Function that torch made.
    """
    cells = _cells(getattr(cls, "forward", None))
    if "orig_forward" in cells:  # of one that takes lists of tensors
        cells = _cells(cells["orig_forward"].cell_contents)
    if not {"op", "info"} <= cells.keys():
        return None
    op, info = cells["op"].cell_contents, cells["info"].cell_contents
    arguments = getattr(getattr(op, "_schema", None), "arguments", ())
    described = tuple((a.name, a.kwarg_only, getattr(a, "default_value", None)) for a in arguments)
    return op, info, described, body_of(info)


def body_of(operator: Any) -> Callable | None:
    """The function that a custom operator was made of, where torch tells."""
    return getattr(operator, "_init_fn", None)


def _cells(function: Any) -> dict[str, Any]:
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return dict(zip(names, getattr(function, "__closure__", None) or ()))


def function_name(cls: type) -> str:
    """What a Function is called; one that torch generated has the name of its operator, "mylib::gate"."""
    found = operator_behind(cls) if cls.__name__.startswith(GENERATED) else None
    return cls.__name__ if found is None else found[0].name()


def backward_of_operator(cls: type) -> Callable | None:
    """What was registered as the backward of the operator that torch generated this Function for."""
    return getattr((operator_behind(cls) or (None, None))[1], "_backward_fn", None)


def setup_of_operator(cls: type) -> Callable | None:
    """The same of its setup_context."""
    return getattr((operator_behind(cls) or (None, None))[1], "_setup_context_fn", None)


def gives_lists(op: Any) -> tuple[bool, ...]:
    """For each result of an operator whether it is a list of tensors."""
    returns = getattr(getattr(op, "_schema", None), "returns", ())
    return tuple("List[" in str(each.type) for each in returns)


OpOverload: type = _private("_ops.OpOverload", instead=Absent)


def operator_called(fn: Any) -> tuple[str, tuple[str, ...]] | None:
    """(name, names of its arguments) of what is an operator of torch.library; None for anything else."""
    op = getattr(fn, "_opoverload", None) or getattr(fn, "default", fn)  # of a CustomOpDef, of torch.ops.lib.op
    schema = getattr(op, "_schema", None)
    if not isinstance(op, OpOverload) or schema is None:
        return None
    return op.name(), tuple(a.name for a in schema.arguments)
