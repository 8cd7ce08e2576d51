"""`check`: is a hand-written backward right, at every order asked for, and if not, what is to blame?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..aggregates import Aggregate, name_of, registry
from ..engine import Variable
from ..torch_private import CHECK, needs
from ..trace.nonfinite import kind_of_tensor
from .on_tape import check_on_tape, evaluated
from .report import Report, what_is
from .runs.alike import is_freed
from .runs.chance import with_equal_chances
from .subjects.opening import undisturbed
from .tape.case import Case, labels_of


def check(
    target: Callable | Aggregate | str,
    *inputs: Any,
    order: int = 2,
    reference: Callable | None = None,
    surrogate: bool = False,
) -> Report:
    """Whether the gradients of `target` are right at `inputs`, up to this order; if not, why, and where.

    `target`: a registered aggregate, its name, or a function of Variables that returns one or several. `inputs`: its
    arguments; floating tensors (for an aggregate) and Variables are differentiated, in float64, and passed as
    Variables; everything else is passed as it is. Without inputs, the example of a registered aggregate. `reference`:
    the same mathematics as recorded operations, or the name of an aggregate; without one, and where the aggregate was
    registered without one, torch autograd through its own forward is the truth, or else finite differences.

    A function given only tensors is a PyTorch function: every `torch.autograd.Function` in it is judged alone, and the
    whole. `surrogate`: the gradients of its Functions are not meant to be the derivatives of their forwards, as
    those of a straight-through estimator are not; then the derivative of backward is judged as backward is written.

    Raises TypeError and ValueError for arguments that it cannot use. What the target raises is a finding.
    """
    target, inputs = resolved(target, inputs, order)
    refuse_without_numbers(target, inputs)
    refuse_nan(target, inputs)
    if is_torch_function(target, inputs):
        if reference is not None and not callable(reference):
            raise TypeError(
                f"check({called(target)}, reference=…): expected a function of tensors, got {what_is(reference)}."
            )
        from .functions import check_function  # it loads the insides of torch.autograd

        return check_function(target, inputs, order=order, reference=reference, surrogate=surrogate)
    if surrogate:
        raise TypeError(
            f"check({called(target)}, surrogate=True): this can be said of a torch.autograd.Function only, whose "
            f"gradient is not meant to be forward's derivative. Leave it out."
        )
    needs(CHECK)
    case, reference = case_of(target, inputs), reference_of(target, reference)

    def judge() -> Report:
        with undisturbed(target, inputs):
            return check_on_tape(case_of(target, inputs), reference, order)

    return with_equal_chances(judge, lambda: evaluated(case), case.name)


# --- arguments -----------------------------------------------------------------------------------------------------


def resolved(target: Any, inputs: tuple, order: Any) -> tuple[Callable, tuple]:
    """The target as a callable, with inputs: its example, if none were given."""
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ValueError(f"check(order={order!r}): expected a whole number, 1 or more.")
    if isinstance(target, str):
        if target not in registry:
            raise ValueError(f"check({target!r}): no aggregate of that name is registered; there are {list(registry)}.")
        target = registry[target]
    if isinstance(target, type) and issubclass(target, torch.autograd.Function):
        target = target.apply  # the class itself, called, would only be told apart by a warning of torch's
    if not callable(target):
        raise TypeError(f"check: the target is {what_is(target)}; expected an aggregate, its name or a function.")
    if not inputs and getattr(target, "example", None) is not None:
        inputs = target.example()
        inputs = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    if not inputs:
        name = called(target)
        raise ValueError(f"check({name}): no inputs. Give the values to try it on: check({name}, a, b).")
    return target, inputs


def is_torch_function(target: Any, inputs: tuple) -> bool:
    """A module, an autograd.Function's apply, or a function (not an aggregate) that is given tensors alone."""
    owner = getattr(target, "__self__", None)
    if isinstance(target, torch.nn.Module) or (isinstance(owner, type) and issubclass(owner, torch.autograd.Function)):
        return True
    if isinstance(target, Aggregate) or any(isinstance(x, Variable) for x in inputs):
        return False
    return any(isinstance(x, torch.Tensor) for given in inputs for x in (given if isinstance(given, list) else [given]))


def case_of(target: Callable, inputs: tuple) -> Case:
    kinds = [kind_of(x) for x in inputs]
    name = called(target)
    for x in inputs:
        if isinstance(x, Variable | torch.Tensor) and (x.value if isinstance(x, Variable) else x).is_complex():
            raise TypeError(f"check({name}): complex inputs are not supported; give real and imaginary part.")
    if "wanted" not in kinds:
        given = ", ".join(what_is(x) for x in inputs)
        raise ValueError(f"check({name}): none of its inputs can be differentiated ({given}). Give floating tensors.")
    return Case(target, list(inputs), kinds, name, labels_of(target, inputs))


def called(target: Any) -> str:
    """What to call a target in a message: `Sinh` for `Sinh.apply`."""
    owner = getattr(target, "__self__", None)
    return owner.__name__ if isinstance(owner, type) else name_of(target)


def refuse_without_numbers(target: Any, inputs: tuple) -> None:
    """Under `torch.device("meta")` or a FakeTensorMode tensors have shapes only, of which nothing can be judged."""
    made = [torch.zeros(1), *(x.value if isinstance(x, Variable) else x for x in inputs)]
    if any(isinstance(x, torch.Tensor) and (x.is_meta or hasattr(x, "fake_mode")) for x in made):
        where = "here torch makes" if made[0].is_meta or hasattr(made[0], "fake_mode") else "its inputs are"
        raise ValueError(
            f"check({called(target)}): {where} tensors without numbers, on the meta device or in a FakeTensorMode. "
            f"A check computes: call it outside of these, with tensors that hold numbers."
        )


def refuse_nan(target: Any, inputs: tuple) -> None:
    """No gradient can be compared with another where an input is not a number."""
    for slot, x in enumerate(inputs):
        value = x.value if isinstance(x, Variable) else x
        if isinstance(value, torch.Tensor) and is_freed(value):
            raise ValueError(f"check({called(target)}): input {slot} has no memory; its storage was resized to 0.")
        has_numbers = isinstance(value, torch.Tensor) and not value.is_meta and value.layout is torch.strided
        if has_numbers and kind_of_tensor(value) == "nan":
            raise ValueError(
                f"check({called(target)}): input {slot} holds nan, and no gradient can be compared there. Give numbers."
            )


def kind_of(x: Any) -> str:
    if isinstance(x, Variable):
        return "wanted" if x.value.is_floating_point() else "held"
    if isinstance(x, torch.Tensor):
        return "wanted" if x.is_floating_point() else "held"
    return "plain"


def reference_of(target: Callable, reference: Any) -> Callable | None:
    """The reference as a callable: the one given, else the one that the aggregate was registered with."""
    reference = reference if reference is not None else getattr(target, "reference", None)
    if isinstance(reference, str):
        if reference not in registry:
            raise ValueError(f"check(reference={reference!r}): no aggregate of that name; there are {list(registry)}.")
        reference = registry[reference]
    if reference is not None and not callable(reference):
        raise TypeError(
            f"check(reference=…): expected a function or an aggregate's name, got {type(reference).__name__}."
        )
    return reference
