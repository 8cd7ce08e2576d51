"""Functions of each element that need no rule, since they are made of operators that have one."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import torch

from . import choosing, pointwise
from .calls import UnsupportedError, called, composed, formula, method, only_function, publish, raw, values_of
from .choosing import masked, where
from .shapes import cast

MOST_DECIMALS = 300  # that round takes: floats have no more

# --- arithmetic --------------------------------------------------------------------------------------------------

formula("add", lambda x, other, *, alpha=1: x + (other if alpha == 1 else other * alpha))
formula("sub", lambda x, other, *, alpha=1: x - (other if alpha == 1 else other * alpha))
formula("rsub", lambda x, other, *, alpha=1: other - (x if alpha == 1 else x * alpha))
formula("mul", lambda x, other: x * other)
formula("neg", lambda x: -x)
formula("positive", lambda x: +x)
formula("float_power", lambda x, exponent: x.double() ** exponent)
formula("ldexp", lambda x, other: x * 2.0**other)
formula("lerp", lambda x, end, weight: x + (end - x) * weight)
formula("addcmul", lambda x, tensor1, tensor2, *, value=1: x + tensor1 * tensor2 * value)
formula("addcdiv", lambda x, tensor1, tensor2, *, value=1: x + tensor1 / tensor2 * value)
formula("deg2rad", lambda x: x * (math.pi / 180))
formula("rad2deg", lambda x: x * (180 / math.pi))


@composed
def div(x, other, *, rounding_mode: str | None = None):
    if rounding_mode not in (None, "floor", "trunc"):
        raise UnsupportedError(f"div(…, rounding_mode={rounding_mode!r}): expected None, 'floor' or 'trunc'.")
    quotient = x / other
    return quotient if rounding_mode is None else pointwise.step(quotient, rounding_mode)


@composed
def logaddexp(x, other):
    same = (x == other) & (x.abs() == math.inf)  # whose difference is NaN
    return where(same, x, where(x > other, x + (other - x).softplus(), other + (x - other).softplus()))


formula("logaddexp2", lambda x, other: logaddexp(x * math.log(2), other * math.log(2)) / math.log(2))


@composed
def copysign(x, other):
    """The size of the one with the sign of the other, through which no gradient flows."""
    turned = torch.signbit(values_of(x)) != torch.signbit(values_of(other))
    return where(x == 0, torch.copysign(values_of(x), values_of(other)), where(turned, -x, x))


# --- steps, ends and masks ---------------------------------------------------------------------------------------


def stepping(name: str) -> Callable:
    return called(name, lambda x: pointwise.step(x, name))


for _name in ("floor", "ceil", "trunc", "sign"):
    composed(stepping(_name))
formula("frac", lambda x: x - x.trunc())
formula("sgn", lambda x: x.sign())


@composed
def round(x, *, decimals: int = 0):
    if not isinstance(decimals, int) or abs(decimals) > MOST_DECIMALS:
        raise UnsupportedError(f"round: decimals is {decimals}; it must be a whole number from -300 to 300.")
    scale = 10**decimals
    return pointwise.step(x, "round") if not decimals else pointwise.step(x * scale, "round") / scale


@composed
def clamp(x, min=None, max=None):
    """Held between `min` and `max`, numbers or tensors."""
    if min is None and max is None:
        raise UnsupportedError("clamp: write min=…, max=… or both.")
    if all(end is None or isinstance(end, Real) for end in (min, max)):
        return pointwise.clamp(x, min, max)
    held = x if min is None else where((x < min) | (min != min), min, x)  # NaN holds nothing
    return held if max is None else where((held > max) | (max != max), max, held)


formula("clamp_min", lambda x, min: x.clamp(min=min))
formula("clamp_max", lambda x, max: x.clamp(max=max))
formula("fmax", lambda x, other: where((x >= other) | (other != other), x, other))
formula("fmin", lambda x, other: where((x <= other) | (other != other), x, other))


@composed
def maximum(x, other):
    return pointwise.clamp(x, other, None) if isinstance(other, Real) else choosing.maximum(x, other)


@composed
def minimum(x, other):
    return pointwise.clamp(x, None, other) if isinstance(other, Real) else choosing.minimum(x, other)


formula("where", lambda x, condition, other: where(condition, x, other), method)


@composed
def masked_fill(x, mask, value):
    """`value`, a number or a scalar, where the mask is True."""
    return masked(x, mask) if isinstance(value, Real) and value == 0 else where(mask, value, x)


formula("fill", lambda x, value: x.masked_fill(torch.ones((), dtype=torch.bool, device=x.device), value))


@composed
def nan_to_num(x, nan: Real | None = None, posinf: Real | None = None, neginf: Real | None = None):
    ends = torch.finfo(x.dtype)
    x = where(x != x, 0.0 if nan is None else nan, x)
    x = where(x == math.inf, ends.max if posinf is None else posinf, x)
    return where(x == -math.inf, ends.min if neginf is None else neginf, x)


# --- what networks bend numbers with -----------------------------------------------------------------------------

formula("silu", lambda x, inplace=False: x * x.sigmoid())
formula("mish", lambda x, inplace=False: x * x.softplus().tanh())
formula("softsign", lambda x: x / (x.abs() + 1))
formula("tanhshrink", lambda x: x - x.tanh())
formula("hardshrink", lambda x, lambd=0.5: masked(x, (x >= -lambd) & (x <= lambd)))
formula("softshrink", lambda x, lambd=0.5: x - x.clamp(-lambd, lambd))
formula("threshold", lambda x, threshold, value, inplace=False: where(x <= threshold, value, x))
formula("relu6", lambda x, inplace=False: hardtanh(x, 0.0, 6.0))
formula("hardsigmoid", lambda x, inplace=False: hardtanh(x + 3, 0.0, 6.0) / 6)
formula("hardswish", lambda x, inplace=False: x * (hardtanh(x + 3, 0.0, 6.0) / 6))
formula("elu", lambda x, alpha=1.0, inplace=False: where(x > 0, x, bent(x) * alpha))
formula("celu", lambda x, alpha=1.0, inplace=False: where(x > 0, x, bent(x / alpha) * alpha))
SELU = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946  # Klambauer et al. (2017)
formula("selu", lambda x, inplace=False: where(x > 0, x, bent(x) * SELU[0]) * SELU[1])
leaky_relu = formula("leaky_relu", lambda x, negative_slope=0.01, inplace=False: where(x > 0, x, x * negative_slope))


def bent(x):
    """exp(x) - 1 below 0. At 0 its second derivative is 0, as torch has it."""
    return where(x < 0, where(x < 0, x, 0.0).expm1(), x)


@composed
def gelu(x, approximate: str = "none"):
    if approximate == "tanh":
        inner = (x + x**3 * 0.044715) * math.sqrt(2 / math.pi)
        return x * 0.5 * (inner.tanh() + 1)
    if approximate != "none":
        raise UnsupportedError(f"gelu(…, approximate={approximate!r}): expected 'none' or 'tanh'.")
    return x * 0.5 * ((x * math.sqrt(0.5)).erf() + 1)


@composed
def hardtanh(x, min_val: Real = -1.0, max_val: Real = 1.0, inplace: bool = False):
    return where(x <= min_val, min_val, where(x >= max_val, max_val, x))


@composed
def prelu(x, weight):
    """`weight`: one slope for all, or one for each channel."""
    slope = weight.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight.reshape((-1,) * x.ndim)
    return where(x > 0, x, x * slope)


@composed
def rrelu(x, lower: Real = 1 / 8, upper: Real = 1 / 3, training: bool = False, inplace: bool = False):
    if training:
        raise UnsupportedError("rrelu(…, training=True) draws its slopes: leaky_relu has one that is known.")
    return leaky_relu(x, (lower + upper) / 2)


@composed
def glu(x, dim: int = -1):
    half = x.shape[dim] // 2
    return x.narrow(dim, 0, half) * x.narrow(dim, half, half).sigmoid()


# --- of torch.special --------------------------------------------------------------------------------------------

formula("ndtr", lambda x: (x * -math.sqrt(0.5)).erfc() * 0.5)  # the share of a normal distribution below x
formula("polygamma", lambda n, x: x.polygamma(int(n)), only_function)


@composed
def mvlgamma(x, p: int):
    halves = torch.arange(p, dtype=x.dtype, device=x.device) / 2
    return (x.unsqueeze(-1) - halves).lgamma().sum(-1) + p * (p - 1) / 4 * math.log(math.pi)


# --- leaves and dtypes -------------------------------------------------------------------------------------------


@composed
def detach(x):
    """The same value as a new leaf: no gradient flows through it."""
    return pointwise.detach(x)


@composed
def zeros_like(input, *, dtype=None, **others):
    """A leaf of zeros. Of whole numbers, for which there is no gradient, a plain tensor."""
    return like(pointwise.zeros_like, input, dtype)


@composed
def ones_like(input, *, dtype=None, **others):
    return like(pointwise.ones_like, input, dtype)


def like(made: Callable, x, dtype: torch.dtype | None):
    if dtype is None:
        return made(x)
    return made(raw(x).to(dtype)) if not dtype.is_floating_point else made(x).to(dtype)


publish("empty_like", zeros_like)
formula("full_like", lambda input, fill_value, *, dtype=None, **others: ones_like(input, dtype=dtype) * fill_value)


@method
def to(x, *args, dtype=None, **others):
    """As another dtype. Devices are not changed: a Variable stays where its tensor is."""
    wanted = [dtype, *args]
    for each in [*wanted[1:], *others.values()]:
        if isinstance(each, (str, torch.device)) and torch.device(each).type != x.device.type:
            raise UnsupportedError(f"x.to({str(each)!r}): move the tensor before it becomes a Variable.")
    dtype = next((getattr(each, "dtype", each) for each in wanted if has_dtype(each)), None)
    if dtype is not None and dtype.is_complex:
        raise UnsupportedError(f"x.to({dtype}): the engine computes with real numbers alone.")
    return x if dtype is None or dtype == x.dtype else cast(x, dtype, x.dtype)


def has_dtype(each: object) -> bool:
    return isinstance(each, torch.dtype) or isinstance(getattr(each, "dtype", None), torch.dtype)


formula("type", lambda x, dtype: x.to(dtype), method)
formula("type_as", lambda x, other: x.to(other.dtype), method)
formula("contiguous", lambda x, memory_format=torch.contiguous_format: x)


def casting(name: str, dtype: torch.dtype) -> Callable:
    return called(name, lambda x, memory_format=None: x.to(dtype))


_DTYPES = {"float": torch.float32, "double": torch.float64, "half": torch.float16, "bfloat16": torch.bfloat16}
for _name, _dtype in _DTYPES.items():
    composed(casting(_name, _dtype))
