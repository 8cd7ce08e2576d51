"""How operators are called: by torch's names and arguments, once for Variables and symbols alike.

An operator of the table says so in its line, `takes=`: a function of torch's arguments, which makes those of the
operator of them. One that needs no rule, since it is made of others, is a function with torch's arguments, `@composed`,
or a `formula` in one line. Each is a function, and a method where torch's tensors have it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence

import torch

Dim = int | Sequence[int] | None
METHODS: dict[str, Callable] = {}  # x.tanh(), of Variables and of symbols
FUNCTIONS: dict[str, Callable] = {}  # torch.tanh(x), torch.nn.functional.relu(x), and tanh(x) in a program
ALSO_METHODS = ("gelu", "silu", "softplus", "logsigmoid", "rsub", "expit", "psi", "gammaln")  # of torch's tensors not
NUMPYS_NAMES = {"axis": "dim", "keepdims": "keepdim"}


class UnsupportedError(TypeError):
    """Arguments that torch takes and this operator does not. The message says which, and what to write instead."""


# --- an operator under its name ----------------------------------------------------------------------------------


def publish(name: str, function: Callable) -> Callable:
    FUNCTIONS[name] = function
    if hasattr(torch.Tensor, name) or name in ALSO_METHODS:
        METHODS[name] = function
    return function


def composed(function: Callable) -> Callable:
    """An operator that is made of others."""
    return publish(function.__name__, taking(function))


def method(function: Callable) -> Callable:
    """One that is a method alone, or means another thing than the function of its name."""
    METHODS[function.__name__] = taking(function)
    return function


def only_function(function: Callable) -> Callable:
    FUNCTIONS[function.__name__] = taking(function)
    return FUNCTIONS[function.__name__]


def formula(name: str, function: Callable, kind: Callable[[Callable], Callable] = composed) -> Callable:
    """One that is written in a line, and has one result."""
    return kind(called(name, function))


def called(name: str, function: Callable) -> Callable:
    function.__name__ = function.__qualname__ = name  # which messages say, Python's too
    return function


def named_operator(name: str) -> Callable | None:
    """Ours for a function of torch, of torch.nn.functional, torch.special or torch.linalg, or a method of a tensor."""
    if name not in FUNCTIONS:
        name = name.removeprefix("special_").removeprefix("linalg_")
    return FUNCTIONS.get(name) or METHODS.get(name)


# --- its arguments -----------------------------------------------------------------------------------------------


def taking(function: Callable, op: Callable | None = None) -> Callable:
    """The function, or `op` of what the function makes of torch's arguments.

    Where there is a `dim` it takes numpy's names too, as torch does; where there is an `inplace`, False alone.
    """
    parameters = [*inspect.signature(function).parameters]
    if "dim" in parameters:
        return with_numpys_names(function, op)
    if "inplace" in parameters:
        return never_in_place(function, op, parameters.index("inplace"))
    return function if op is None else functools.wraps(function)(lambda *args, **kw: op(*function(*args, **kw)))


def with_numpys_names(function: Callable, op: Callable | None) -> Callable:
    @functools.wraps(function)
    def either(*args, **kwargs):
        for name in NUMPYS_NAMES.keys() & kwargs.keys():
            dim = NUMPYS_NAMES[name]
            if dim in kwargs:
                raise UnsupportedError(f"{function.__name__}: {dim} and {name} say the same, give one of them.")
            kwargs[dim] = kwargs.pop(name)
        try:
            return function(*args, **kwargs) if op is None else op(*function(*args, **kwargs))
        except (IndexError, TypeError) as error:
            raise told_of_dim(function, args, error) from error

    return either


def never_in_place(function: Callable, op: Callable | None, place: int) -> Callable:
    @functools.wraps(function)
    def refusing(*args, **kwargs):
        if kwargs.get("inplace", args[place] if len(args) > place else False) is not False:
            name = function.__name__
            raise UnsupportedError(f"{name}(…, inplace=True): a value never changes here. Write y = {name}(x).")
        return function(*args, **kwargs) if op is None else op(*function(*args, **kwargs))

    return refusing


def told_of_dim(function: Callable, args: tuple, error: Exception) -> Exception:
    """What Python says of a shape that is asked for a dimension which it has not, in torch's words; of a keyword that
    is not there, those that are."""
    if f"{function.__name__}() got an unexpected" in str(error):
        return UnsupportedError(f"{error}. {signature_of(function)}")
    if str(error) == "tuple index out of range" and hasattr(args[0], "shape"):
        n = max(len(args[0].shape), 1)
        return IndexError(f"{function.__name__}: Dimension out of range (expected to be in range of [{-n}, {n - 1}])")
    if str(error).startswith("tuple indices must be integers or slices"):
        return UnsupportedError(f"{function.__name__}: dim is one whole number here.")
    return error


def signature_of(ours: Callable) -> str:
    plain = inspect.Parameter.empty
    parameters = [each.replace(annotation=plain) for each in inspect.signature(ours).parameters.values()]
    return f"On Variables it takes {ours.__name__}{inspect.Signature(parameters)}."


def chosen(name: str, value: object, known: Sequence) -> None:
    if value not in known:
        raise UnsupportedError(f"{name}: {value!r}; expected one of {', '.join(map(repr, known))}.")


def dims_of(dim: Dim) -> int | tuple[int, ...] | None:
    """[1] as 1, [] as None: all."""
    if isinstance(dim, (list, tuple)):
        return (tuple(dim) if len(dim) > 1 else dim[0]) if dim else None
    return dim


def sizes_of(sizes: tuple, named: Sequence[int] | None = None) -> tuple:
    """f(2, 3), f((2, 3)), f(*x.shape) and f(size=(2, 3)) alike."""
    sizes = sizes if named is None else (named,)
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def listed(x) -> list:
    return list(x) if isinstance(x, (tuple, list)) else [x]


def as_dtype(x, dtype: torch.dtype | None):
    return x if dtype is None else x.to(dtype)


def raw(x):
    return getattr(x, "value", x)


def values_of(x):
    """The numbers of x alone, through which no gradient flows: a tensor, or what stands for one in the compiler."""
    weights = getattr(x, "weights", None)
    return torch.as_tensor(raw(x)).detach() if weights is None else weights


def check_dims(name: str, operands: Sequence, wanted: Sequence[int]) -> None:
    found = [raw(x).ndim if isinstance(raw(x), torch.Tensor) else n for x, n in zip(operands, wanted)]
    if found != list(wanted):
        said = " and ".join(f"{n}" for n in wanted)
        raise UnsupportedError(f"{name}: of {said} dimensions, got {' and '.join(map(str, found))}.")
