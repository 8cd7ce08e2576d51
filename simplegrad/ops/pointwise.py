"""Operators of each element. A new one is a line: its name, its forward, and a vjp for each argument."""

from __future__ import annotations

import math
import operator
from numbers import Real

import torch

from .. import torch_private
from .choosing import masked, scaled, sign, where
from .numbers import times
from .table import Op, of_tensors, of_torch, op


def pointwise(name: str, text: str, forward, *vjps, **more) -> Op:
    return op(name, text, forward, *vjps, pointwise=True, **more)


OF_ONE: dict[str, Op] = {}  # functions of one element that take no more


def of_one(name: str, vjp) -> Op:
    def takes(x):
        return (x,)

    takes.__doc__ = f"torch.{name} of each element."
    OF_ONE[name] = of_tensors(name, vjp, pointwise=True, takes=takes)
    return OF_ONE[name]


def of_two(name: str, left, right) -> Op:
    return of_tensors(name, left, right, pointwise=True, takes=lambda x, other: (x, other))


# --- of two ------------------------------------------------------------------------------------------------------

add = pointwise("add", "{} + {}", operator.add, lambda g, r, a, b: g, lambda g, r, a, b: g)
sub = pointwise("sub", "{} - {}", operator.sub, lambda g, r, a, b: g, lambda g, r, a, b: -g)
# On Variables alone the engine has this rule once more, written out for speed: `_product` in engine/operators.py.
mul = pointwise("mul", "{} * {}", operator.mul, lambda g, r, a, b: g * b, lambda g, r, a, b: g * a)
div = pointwise("div", "{} / {}", operator.truediv, lambda g, r, a, b: g / b, lambda g, r, a, b: -(g * (r / b)))


def power_base(g, r, a, b):
    """b a**(b - 1). Where b is 0 that is 0, also for a = 0, whose power of -1 would make it NaN."""
    if isinstance(b, Real):
        return g * times(a ** (b - 1), b) if b else times(g, 0.0)
    return masked(g * b, b == 0) * a ** masked(b - 1, b == 0)


def power_exponent(g, r, a, b):
    """a**b log(a). Where the power is 0 whatever the exponent, log(0) counts for nothing."""
    if isinstance(a, Real):
        log = math.log(a) if a > 0 else -math.inf if a == 0 else math.nan
        product = g * times(r, log)
        return product if a else masked(product, b >= 0)
    zero = (a == 0) & (b >= 0)
    return masked(g * r, zero) * where(zero, 1.0, a).log()


pow = pointwise("pow", "{} ** {}", operator.pow, power_base, power_exponent, takes=lambda x, exponent: (x, exponent))
remainder = pointwise(
    "remainder",
    "{} % {}",
    torch.remainder,
    lambda g, r, a, b: g,
    lambda g, r, a, b: -scaled(g, floor_of(a, b)),
    takes=lambda x, other: (x, other),
)
fmod = of_two("fmod", lambda g, r, a, b: g, lambda g, r, a, b: -scaled(g, whole_part_of(a, b)))
whole_part_of = pointwise(
    "whole_part_of",
    "whole_part_of({}, {})",
    lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    in_torch="torch.div({}, {}, rounding_mode='trunc')",
)
floor_of = pointwise("floor_of", "floor_of({}, {})", torch.floor_divide, in_torch="torch.floor_divide({}, {})")


def turned(g, x, a, b):
    """g x / (a² + b²), and 0 at the origin, as torch has it."""
    square = a * a + b * b
    origin = square == 0
    return masked(g, origin) * (x / where(origin, 1.0, square))


atan2 = of_two("atan2", lambda g, r, a, b: turned(g, b, a, b), lambda g, r, a, b: -turned(g, a, a, b))
hypot = of_two("hypot", lambda g, r, a, b: g * (a / r), lambda g, r, a, b: g * (b / r))


def log_unless_zero(g, a, b):
    """g log(b). Where a is 0, log(0) counts for nothing."""
    zero = (a == 0) & (b <= 0)
    return masked(g, zero) * where(zero, 1.0, b).log()


xlogy = of_two("xlogy", lambda g, r, a, b: log_unless_zero(g, a, b), lambda g, r, a, b: g * (a / b))


def log1p_unless_zero(g, a, b):
    zero = (a == 0) & (b <= -1)
    return masked(g, zero) * where(zero, 0.0, b).log1p()


xlog1py = of_torch(
    "special.xlog1py",
    lambda g, r, a, b: log1p_unless_zero(g, a, b),
    lambda g, r, a, b: g * (a / (b + 1)),
    pointwise=True,
    takes=lambda x, other: (x, other),
)

# --- of one ------------------------------------------------------------------------------------------------------

neg = pointwise("neg", "-{}", operator.neg, lambda g, r, x: -g)
exp = of_one("exp", lambda g, r, x: g * r)
exp2 = of_one("exp2", lambda g, r, x: g * times(r, math.log(2)))
expm1 = of_one("expm1", lambda g, r, x: g * (r + 1))
log = of_one("log", lambda g, r, x: g / x)
log2 = of_one("log2", lambda g, r, x: g / times(x, math.log(2)))
log10 = of_one("log10", lambda g, r, x: g / times(x, math.log(10)))
log1p = of_one("log1p", lambda g, r, x: g / (x + 1))
sqrt = of_one("sqrt", lambda g, r, x: g / times(r, 2))
rsqrt = of_one("rsqrt", lambda g, r, x: times(g, -0.5) * r**3)
square = of_one("square", lambda g, r, x: g * times(x, 2))
reciprocal = of_one("reciprocal", lambda g, r, x: -(g * r**2))
sin = of_one("sin", lambda g, r, x: g * x.cos())
cos = of_one("cos", lambda g, r, x: g * -x.sin())
tan = of_one("tan", lambda g, r, x: g * (r**2 + 1))
asin = of_one("asin", lambda g, r, x: g * (1 - x * x).rsqrt())
acos = of_one("acos", lambda g, r, x: g * -((1 - x * x).rsqrt()))
atan = of_one("atan", lambda g, r, x: g / (x * x + 1))
sinh = of_one("sinh", lambda g, r, x: g * x.cosh())
cosh = of_one("cosh", lambda g, r, x: g * x.sinh())
asinh = of_one("asinh", lambda g, r, x: g * (x**2 + 1).rsqrt())
acosh = of_one("acosh", lambda g, r, x: g * ((x - 1).rsqrt() * (x + 1).rsqrt()))
atanh = of_one("atanh", lambda g, r, x: g / (1 - x**2))
erf = of_one("erf", lambda g, r, x: g * times((-(x * x)).exp(), 2 / math.sqrt(math.pi)))
erfc = of_one("erfc", lambda g, r, x: g * times((-(x * x)).exp(), -2 / math.sqrt(math.pi)))
erfinv = of_one("erfinv", lambda g, r, x: g * times((r * r).exp(), math.sqrt(math.pi) / 2))
logit = of_tensors(
    "logit",
    lambda g, r, x: g / (x * (1 - x)),
    pointwise=True,
    takes=lambda x, eps=None: (x if eps is None else x.clamp(eps, 1 - eps),),
)
sinc = of_one(  # near 0 it is 1 - (pi x)² / 6
    "sinc",
    lambda g, r, x: (
        g * where(x == 0, times(x, -(math.pi**2) / 3), (times(x, math.pi).cos() - r) / where(x == 0, 1.0, x))
    ),
)
i0 = of_one("i0", lambda g, r, x: g * i1(x))


def special(name: str, vjp) -> Op:
    return of_torch(f"special.{name}", vjp, pointwise=True, takes=lambda x: (x,))


i1 = special("i1", lambda g, r, x: g * where(x == 0, times(x * x, 3 / 16) + 0.5, x.i0() - r / where(x == 0, 1.0, x)))
i0e = special("i0e", lambda g, r, x: g * i1e(x) - scaled(g * r, sign(x)))
i1e = special(
    "i1e", lambda g, r, x: g * where(x == 0, 0.5, i0e(x) - r / where(x == 0, 1.0, x)) - scaled(g * r, sign(x))
)
erfcx = special("erfcx", lambda g, r, x: g * (times(x * r, 2) - 2 / math.sqrt(math.pi)))
entr = special("entr", lambda g, r, x: -g * (x.log() + 1))
log_ndtr = special("log_ndtr", lambda g, r, x: g * (math.sqrt(2 / math.pi) / erfcx(times(x, -math.sqrt(0.5)))))
ndtri = special("ndtri", lambda g, r, x: g * times(times(r * r, 0.5).exp(), math.sqrt(2 * math.pi)))
lgamma = of_one("lgamma", lambda g, r, x: g * digamma(x))
digamma = of_one("digamma", lambda g, r, x: g * polygamma(x, 1))
polygamma = pointwise(
    "polygamma",
    "{}.polygamma({})",
    lambda x, n: torch.polygamma(n, x),
    lambda g, r, x, n: g * polygamma(x, n + 1),
    takes=lambda x, n: (x, n),
)
tanh = of_one("tanh", lambda g, r, x: tanh_backward(g, r))
sigmoid = of_one("sigmoid", lambda g, r, x: sigmoid_backward(g, r))
relu = of_tensors("relu", lambda g, r, x: relu_backward(g, r), pointwise=True, takes=lambda x, inplace=False: (x,))
abs = of_one("abs", lambda g, r, x: scaled(g, sign(x)))
logsigmoid = of_torch(
    "nn.functional.logsigmoid", lambda g, r, x: g * (-x).sigmoid(), pointwise=True, takes=lambda x: (x,)
)


def let_through(g, end, a, b):
    """g, and 0 where a < b: beyond that end, if there is one."""
    return g if end is None else masked(g, a < b)


softplus = of_torch(
    "nn.functional.softplus",
    lambda g, r, x, beta, threshold: where(times(x, beta) > threshold, g, g * times(x, beta).sigmoid()),
    pointwise=True,
    takes=lambda x, beta=1, threshold=20: (x, beta, threshold),
)
clamp = pointwise(
    "clamp",
    lambda x, low, high: f"{x}.clamp({', '.join(f'{w}={v}' for w, v in (('min', low), ('max', high)) if v != 'None')})",
    torch.clamp,
    lambda g, r, x, low, high: let_through(let_through(g, low, x, low), high, high, x),
)
detach = pointwise("detach", "{}.detach()", lambda x: x, None)
zeros_like, ones_like = (of_torch(f"{_name}_like", None, pointwise=True) for _name in ("zeros", "ones"))
clone = of_tensors(
    "clone", lambda g, r, x: g, pointwise=True, takes=lambda x, *, memory_format=torch.preserve_format: (x,)
)
alias = pointwise("alias", "{}", lambda x: x.view_as(x), lambda g, r, x: g, in_torch="{0}.view_as({0})")
STEPS = ("floor", "ceil", "trunc", "round", "sign")  # constant between steps: the gradient is 0
step = pointwise("step", "{}.{}()", lambda x, name: getattr(x, name)(), lambda g, r, x, name: times(g, 0.0))


# --- the backward formulas that torch has in one kernel each -----------------------------------------------------

tanh_backward = pointwise(
    "tanh_backward",
    "tanh_backward({}, {})",
    torch_private.tanh_backward,
    lambda g, r, d, t: tanh_backward(g, t),  # of d * (1 - t*t)
    lambda g, r, d, t: g * times(d * t, -2),
    in_torch="torch.ops.aten.tanh_backward({}, {})",
)
sigmoid_backward = pointwise(
    "sigmoid_backward",
    "sigmoid_backward({}, {})",
    torch_private.sigmoid_backward,
    lambda g, r, d, s: sigmoid_backward(g, s),  # of d * s * (1 - s)
    lambda g, r, d, s: g * (d * (1 - times(s, 2))),
    in_torch="torch.ops.aten.sigmoid_backward({}, {})",
)
relu_backward = pointwise(
    "relu_backward",
    "relu_backward({}, {})",
    lambda d, relu: torch_private.threshold_backward(d, relu, 0),
    lambda g, r, d, relu: relu_backward(g, relu),
    None,
    in_torch="torch.ops.aten.threshold_backward({}, {}, 0)",
)
