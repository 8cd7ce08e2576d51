"""Functions of torch, torch.nn.functional and torch.linalg that are made of operators of the table, and need no rule.

Each takes what torch's takes, or says that it does not. Those that give indices too give them as plain tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real

import torch

from . import choosing, pointwise
from .methods import (
    FUNCTIONS,
    METHODS,
    Operators,
    UnsupportedError,
    cat,
    method_of,
    values_of,
    where,
    with_numpys_names,
)
from .table import TABLE


def composed(function: Callable) -> Callable:
    taken = with_numpys_names(function)
    publish(function.__name__.rstrip("_"), taken)
    return taken


def formula(name: str, function: Callable, kind: Callable[[Callable], Callable] = composed) -> Callable:
    """One that is written in a line."""
    function.__name__ = function.__qualname__ = name
    return kind(function)


def publish(name: str, function: Callable) -> None:
    """As torch.name(x), and as x.name() where torch's tensors have that."""
    FUNCTIONS[name] = function
    if hasattr(torch.Tensor, name) and not hasattr(Operators, name):
        setattr(Operators, name, function)
        METHODS[name] = function


def chosen(name: str, value: object, known: Sequence) -> None:
    if value not in known:
        raise UnsupportedError(f"{name}: {value!r}; expected one of {', '.join(map(repr, known))}.")


# --- of each element -----------------------------------------------------------------------------------------------


leaky_relu = formula("leaky_relu", lambda x, negative_slope=0.01, inplace=False: where(x > 0, x, x * negative_slope))


@composed
def elu(x, alpha: Real = 1.0, inplace: bool = False):
    return where(x > 0, x, bent(x) * alpha)


def bent(x):
    """exp(x) - 1 below 0. At 0 its second derivative is 0, as torch has it."""
    return where(x < 0, where(x < 0, x, 0.0).expm1(), x)


@composed
def celu(x, alpha: Real = 1.0, inplace: bool = False):
    return where(x > 0, x, bent(x / alpha) * alpha)


@composed
def selu(x, inplace: bool = False):
    return elu(x, 1.6732632423543772848170429916717) * 1.0507009873554804934193349852946


@composed
def hardtanh(x, min_val: Real = -1.0, max_val: Real = 1.0, inplace: bool = False):
    return where(x <= min_val, min_val, where(x >= max_val, max_val, x))


relu6 = formula("relu6", lambda x, inplace=False: hardtanh(x, 0.0, 6.0))
hardsigmoid = formula("hardsigmoid", lambda x, inplace=False: relu6(x + 3) / 6)
formula("hardswish", lambda x, inplace=False: x * hardsigmoid(x))


@composed
def prelu(x, weight):
    """`weight`: one slope for all, or one for each channel."""
    slope = weight.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight.reshape((-1,) * x.ndim)
    return where(x > 0, x, x * slope)


formula("softsign", lambda x: x / (x.abs() + 1))
formula("tanhshrink", lambda x: x - x.tanh())
formula("mish", lambda x, inplace=False: x * x.softplus().tanh())
formula("softmin", lambda x, dim=-1, dtype=None, _stacklevel=3: (-x).softmax(dim, dtype))


@composed
def glu(x, dim: int = -1):
    half = x.shape[dim] // 2
    return x.narrow(dim, 0, half) * x.narrow(dim, half, half).sigmoid()


threshold = formula("threshold", lambda x, threshold, value, inplace=False: where(x <= threshold, value, x))


@composed
def logaddexp(x, other):
    same = (x == other) & (x.abs() == math.inf)  # whose difference is NaN
    return where(same, x, where(x > other, x + (other - x).softplus(), other + (x - other).softplus()))


formula("lerp", lambda x, end, weight: x + (end - x) * weight)
formula("addcmul", lambda x, tensor1, tensor2, *, value=1: x + tensor1 * tensor2 * value)
formula("addcdiv", lambda x, tensor1, tensor2, *, value=1: x + tensor1 / tensor2 * value)
formula("clamp_min", lambda x, min: x.clamp(min=min))
formula("clamp_max", lambda x, max: x.clamp(max=max))
formula("deg2rad", lambda x: x * (math.pi / 180))
formula("rad2deg", lambda x: x * (180 / math.pi))
positive = formula("positive", lambda x: +x)
formula("frac", lambda x: x - x.trunc())
formula("fmod", lambda x, other: pointwise.fmod(x, other))


for _name in ("i1", "i0e", "i1e", "erfcx", "log_ndtr", "ndtri", "entr"):  # which torch has in torch.special alone
    publish(_name, method_of(TABLE[_name]))


formula("xlog1py", lambda x, other: pointwise.xlog1py(x, other))


@composed
def ndtr(x):
    """The share of a normal distribution below x."""
    return (x * -math.sqrt(0.5)).erfc() * 0.5


formula("hardshrink", lambda x, lambd=0.5: choosing.masked(x, (x >= -lambd) & (x <= lambd)))
formula("softshrink", lambda x, lambd=0.5: x - x.clamp(-lambd, lambd))


@composed
def nan_to_num(x, nan: Real | None = None, posinf: Real | None = None, neginf: Real | None = None):
    ends = torch.finfo(x.dtype)
    x = where(x != x, 0.0 if nan is None else nan, x)
    x = where(x == math.inf, ends.max if posinf is None else posinf, x)
    return where(x == -math.inf, ends.min if neginf is None else neginf, x)


@composed
def nansum(x, dim=None, keepdim: bool = False, *, dtype=None):
    return choosing.masked(x, x != x).sum(dim, keepdim, dtype=dtype)


formula("logaddexp2", lambda x, other: logaddexp(x * math.log(2), other * math.log(2)) / math.log(2))
formula("fmax", lambda x, other: where((x >= other) | (other != other), x, other))
formula("fmin", lambda x, other: where((x <= other) | (other != other), x, other))


@composed
def copysign(x, other):
    """The size of the one with the sign of the other, through which no gradient flows."""
    turned = torch.signbit(values_of(x)) != torch.signbit(values_of(other))
    return where(x == 0, torch.copysign(values_of(x), values_of(other)), where(turned, -x, x))


formula("ldexp", lambda x, other: x * 2.0**other)


@composed
def mvlgamma(x, p: int):
    halves = torch.arange(p, dtype=x.dtype, device=x.device) / 2
    return (x.unsqueeze(-1) - halves).lgamma().sum(-1) + p * (p - 1) / 4 * math.log(math.pi)


publish("multigammaln", mvlgamma)
formula("sgn", lambda x: x.sign())


for _name in ("real", "conj", "conj_physical", "resolve_conj", "resolve_neg"):  # all numbers are real here
    publish(_name, positive)


formula("float_power", lambda x, exponent: x.double() ** exponent)


# --- values, with their places ---------------------------------------------------------------------------------------


def with_places(name: str) -> Callable:
    """What torch finds along a dimension, taken from x where it found it."""

    def found(x, *args, **kwargs):
        _, indices = result = getattr(torch, name)(values_of(x), *args, **kwargs)
        dim = kwargs.get("dim", next((a for a in args[name in ("topk", "kthvalue") :] if type(a) is int), -1))
        if not x.ndim:
            taken = x.clone()
        elif indices.ndim < x.ndim:
            taken = x.gather(dim, indices.unsqueeze(dim)).squeeze(dim)
        else:
            taken = x.gather(dim, indices)
        return type(result)((taken, indices))

    found.__name__ = name
    return found


for _name in ("sort", "topk", "kthvalue", "cummax", "cummin", "mode"):
    publish(_name, with_places(_name))
_median, _nanmedian = with_places("median"), with_places("nanmedian")


@composed
def median(x, dim: int | None = None, keepdim: bool = False):
    """The lower of the two in the middle; along `dim`, (values, indices)."""
    return evenly(x, values_of(x).median()) if dim is None else _median(x, dim, keepdim)


@composed
def nanmedian(x, dim: int | None = None, keepdim: bool = False):
    return evenly(x, values_of(x).nanmedian()) if dim is None else _nanmedian(x, dim, keepdim)


def evenly(x, value: torch.Tensor):
    """This value, as the mean of all elements that have it: they share its gradient."""
    found = values_of(x)
    among = found.isnan() if value.isnan() else found == value
    return where(among, x, 0.0).sum() / int(among.sum())


@composed
def cumprod(x, dim: int, *, dtype=None):
    x = x if dtype is None else x.to(dtype)
    if not x.ndim or not x.shape[dim]:
        return x.clone()
    parts = [x.narrow(dim, 0, 1)]
    for i in range(1, x.shape[dim]):
        parts.append(parts[-1] * x.narrow(dim, i, 1))
    return cat(parts, dim)


@composed
def logcumsumexp(x, dim: int):
    if not x.ndim or not x.shape[dim]:
        return x.clone()
    parts = [x.narrow(dim, 0, 1)]
    for i in range(1, x.shape[dim]):
        parts.append(logaddexp(parts[-1], x.narrow(dim, i, 1)))
    return cat(parts, dim)


formula("cdist", lambda x1, x2, p=2.0, compute_mode=None: (x1.unsqueeze(-2) - x2.unsqueeze(-3)).norm(p, -1))
formula("dist", lambda x, other, p=2: (x - other).norm(p))
formula("polygamma", lambda n, x: x.polygamma(int(n)))


publish("_threshold", threshold)
