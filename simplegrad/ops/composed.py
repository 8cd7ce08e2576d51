"""Functions of torch, torch.nn.functional and torch.linalg that are made of operators of the table, and need no rule.

Each takes what torch's takes, or says that it does not. Those that give indices too give them as plain tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real

import torch

from . import choosing, matrices, pointwise
from .methods import FUNCTIONS, METHODS, Operators, UnsupportedError, cat, pad, stack, where, with_numpys_names


def composed(function: Callable) -> Callable:
    taken = with_numpys_names(function)
    publish(function.__name__.rstrip("_"), taken)
    return taken


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


@composed
def leaky_relu(x, negative_slope: Real = 0.01, inplace: bool = False):
    return where(x > 0, x, x * negative_slope)


@composed
def elu(x, alpha: Real = 1.0, inplace: bool = False):
    return where(x > 0, x, where(x > 0, 0.0, x).expm1() * alpha)


@composed
def celu(x, alpha: Real = 1.0, inplace: bool = False):
    return where(x > 0, x, (where(x > 0, 0.0, x) / alpha).expm1() * alpha)


@composed
def selu(x, inplace: bool = False):
    return elu(x, 1.6732632423543772848170429916717) * 1.0507009873554804934193349852946


@composed
def hardtanh(x, min_val: Real = -1.0, max_val: Real = 1.0, inplace: bool = False):
    return where(x <= min_val, min_val, where(x >= max_val, max_val, x))


@composed
def relu6(x, inplace: bool = False):
    return hardtanh(x, 0.0, 6.0)


@composed
def hardsigmoid(x, inplace: bool = False):
    return relu6(x + 3) / 6


@composed
def hardswish(x, inplace: bool = False):
    return x * hardsigmoid(x)


@composed
def prelu(x, weight):
    """`weight`: one slope for all, or one for each channel."""
    slope = weight.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight
    return where(x > 0, x, x * slope)


@composed
def softsign(x):
    return x / (x.abs() + 1)


@composed
def tanhshrink(x):
    return x - x.tanh()


@composed
def mish(x, inplace: bool = False):
    return x * x.softplus().tanh()


@composed
def softmin(x, dim: int = -1, dtype=None, _stacklevel: int = 3):
    return (-x).softmax(dim, dtype)


@composed
def glu(x, dim: int = -1):
    half = x.shape[dim] // 2
    return x.narrow(dim, 0, half) * x.narrow(dim, half, half).sigmoid()


@composed
def threshold(x, threshold: Real, value: Real, inplace: bool = False):
    return where(x > threshold, x, value)


@composed
def logit(x, eps: Real | None = None):
    x = x if eps is None else x.clamp(eps, 1 - eps)
    return (x / (1 - x)).log()


@composed
def logaddexp(x, other):
    return where(x == other, x, x.maximum(other)) + (-(x - other).abs()).exp().log1p()


@composed
def lerp(x, end, weight):
    return x + (end - x) * weight


@composed
def addcmul(x, tensor1, tensor2, *, value: Real = 1):
    return x + tensor1 * tensor2 * value


@composed
def addcdiv(x, tensor1, tensor2, *, value: Real = 1):
    return x + tensor1 / tensor2 * value


@composed
def clamp_min(x, min):
    return x.clamp(min=min)


@composed
def clamp_max(x, max):
    return x.clamp(max=max)


@composed
def deg2rad(x):
    return x * (math.pi / 180)


@composed
def rad2deg(x):
    return x * (180 / math.pi)


@composed
def positive(x):
    return +x


@composed
def frac(x):
    return x - x.trunc()


@composed
def fmod(x, other):
    return pointwise.fmod(x, other)


@composed
def i1(x):
    return pointwise.i1(x)


@composed
def ndtr(x):
    """The share of a normal distribution below x."""
    return (x * -math.sqrt(0.5)).erfc() * 0.5


@composed
def entr(x):
    """-x log(x), 0 at 0 and minus infinite below."""
    return where(x < 0, -math.inf, -x.xlogy(x))


@composed
def hardshrink(x, lambd: Real = 0.5):
    return choosing.masked(x, (x >= -lambd) & (x <= lambd))


@composed
def softshrink(x, lambd: Real = 0.5):
    return x - x.clamp(-lambd, lambd)


@composed
def nan_to_num(x, nan: Real | None = None, posinf: Real | None = None, neginf: Real | None = None):
    ends = torch.finfo(x.dtype)
    x = where(x != x, 0.0 if nan is None else nan, x)
    x = where(x == math.inf, ends.max if posinf is None else posinf, x)
    return where(x == -math.inf, ends.min if neginf is None else neginf, x)


@composed
def nansum(x, dim=None, keepdim: bool = False, *, dtype=None):
    return choosing.masked(x, x != x).sum(dim, keepdim, dtype=dtype)


@composed
def logaddexp2(x, other):
    return logaddexp(x * math.log(2), other * math.log(2)) / math.log(2)


@composed
def fmax(x, other):
    return where(other != other, x, where(x != x, other, x.maximum(other)))


@composed
def fmin(x, other):
    return where(other != other, x, where(x != x, other, x.minimum(other)))


@composed
def float_power(x, exponent):
    return x.double() ** exponent


# --- products of matrices --------------------------------------------------------------------------------------------


@composed
def addmm(x, mat1, mat2, *, beta: Real = 1, alpha: Real = 1):
    return x * beta + mat1 @ mat2 * alpha


for _name in ("addmv", "baddbmm"):
    publish(_name, addmm)


@composed
def addr(x, vec1, vec2, *, beta: Real = 1, alpha: Real = 1):
    return x * beta + vec1.outer(vec2) * alpha


@composed
def inner(x, other):
    return tensordot(x, other, [[-1], [-1]]) if x.ndim and other.ndim else x * other


@composed
def vdot(x, other):
    return x @ other


@composed
def vecdot(x, y, *, dim: int = -1):
    return (x * y).sum(dim)


def diagonal_of(x, offset: int = 0, dim1: int = 0, dim2: int = 1):
    x = x.movedim((dim1, dim2), (-2, -1))
    rows, columns = x.shape[-2:]
    length = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    at = torch.arange(length)
    return x[..., at + max(-offset, 0), at + max(offset, 0)]


publish("diagonal", diagonal_of)


@composed
def diag(x, diagonal: int = 0):
    offset = diagonal
    if x.ndim == 2:
        return diagonal_of(x, offset)
    n = x.shape[0] + abs(offset)
    at = torch.arange(x.shape[0])
    zeros = (x.sum() * 0).expand(n, n)
    return zeros.index_put((at + max(-offset, 0), at + max(offset, 0)), x)


@composed
def trace(x):
    return diagonal_of(x).sum()


@composed
def multi_dot(tensors):
    product, *rest = tensors
    for x in rest:
        product = product @ x
    return product


@composed
def kron(x, other):
    wide = max(x.ndim, other.ndim)
    a, b = (each.reshape(*(1,) * (wide - each.ndim), *each.shape) for each in (x, other))
    apart = [a.reshape(*[s for n in a.shape for s in (n, 1)]), b.reshape(*[s for n in b.shape for s in (1, n)])]
    return (apart[0] * apart[1]).reshape(*[m * n for m, n in zip(a.shape, b.shape)])


@composed
def tensordot(a, b, dims=2):
    if isinstance(dims, int):
        dims = [[*range(a.ndim - dims, a.ndim)], [*range(dims)]]
    left, right = ([each % x.ndim for each in some] for x, some in zip((a, b), dims))
    free_a, free_b = ([i for i in range(x.ndim) if i not in some] for x, some in ((a, left), (b, right)))
    for i, j in zip(left, right):  # what is of size 1 goes with each
        a = a.sum(i, True) if b.shape[j] == 1 else a
        b = b.sum(j, True) if a.shape[i] == 1 else b
    size = math.prod(a.shape[i] for i in left)
    rows = a.permute(*free_a, *left).reshape(math.prod(a.shape[i] for i in free_a), size)
    columns = b.permute(*right, *free_b).reshape(size, math.prod(b.shape[i] for i in free_b))
    return (rows @ columns).reshape(*[a.shape[i] for i in free_a], *[b.shape[i] for i in free_b])


@composed
def matrix_power(x, n: int):
    if n < 0:
        return matrix_power(inv(x), -n)
    half = None if n < 2 else matrix_power(x, n // 2)
    if half is not None:
        return half @ half @ x if n % 2 else half @ half
    return x.clone() if n else torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) + x * 0.0


@composed
def matrix_norm(x, ord="fro", dim=(-2, -1), keepdim: bool = False, *, dtype=None):
    """torch.linalg.matrix_norm: also by singular values, of the last two dimensions or of others."""
    if ord in ("fro", 1, -1, math.inf, -math.inf):
        return by_elements(x, ord, dim, keepdim, dtype=dtype)
    chosen("ord", ord, ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf))
    x = x if dtype is None else x.to(dtype)
    sizes = svdvals(x.movedim(dim, (-2, -1)))
    if is_nearly_singular(values_of("matrix_norm", x).movedim(dim, (-2, -1))):
        raise UnsupportedError(
            f"matrix_norm(…, ord={ord!r}) of a matrix without full rank: it has no derivative there."
        )
    found = sizes.sum(-1) if ord == "nuc" else sizes.amax(-1) if ord == 2 else sizes.amin(-1)
    return (
        found.reshape([1 if at in [each % x.ndim for each in dim] else n for at, n in enumerate(x.shape)])
        if keepdim
        else found
    )


by_elements = FUNCTIONS["linalg_norm"]


@composed
def linalg_norm(x, ord=None, dim=None, keepdim: bool = False, *, dtype=None):
    over = tuple(range(x.ndim)) if dim is None else dim
    if ord in ("nuc", 2, -2) and not isinstance(over, int) and len(over) == 2:
        return matrix_norm(x, ord, over, keepdim, dtype=dtype)
    return by_elements(x, ord, dim, keepdim, dtype=dtype)


@composed
def eigvalsh(x, UPLO: str = "L"):
    chosen("UPLO", UPLO, "L")
    return matrices.eigvalsh(x)


@composed
def eigh(x, UPLO: str = "L"):
    """(eigenvalues, eigenvectors) of a symmetric matrix."""
    found = torch.linalg.eigh(values_of("eigh", x), UPLO)
    return type(found)((eigvalsh(x, UPLO), matrices.eigenvectors(x)))


@composed
def svdvals(x, *, driver=None):
    """The positive eigenvalues of [[0, x], [x.mT, 0]], largest first."""
    wide, high = (torch.zeros((*x.shape[:-2], n, n), dtype=x.dtype, device=x.device) for n in x.shape[-2:])
    twice = cat([cat([wide, x], -1), cat([x.mT, high], -1)], -2)
    least = min(x.shape[-2:])
    return matrices.eigvalsh(twice).flip(-1).narrow(-1, 0, least)


@composed
def cross(x, other, dim: int = -1):
    a, b = ([each.select(dim, i) for i in range(3)] for each in (x, other))
    pairs = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    return stack(pairs, dim)


@composed
def inv(x):
    return matrices.inv(x)


@composed
def solve(x, b, *, left: bool = True):
    """The X of x @ X = b, for one vector b, a matrix, or a batch of them."""
    if not left:
        return solve(x.mT, b.mT).mT
    is_vector = b.ndim == 1 or (b.ndim == x.ndim - 1 and tuple(b.shape) == tuple(x.shape[:-1]))
    b = b.unsqueeze(-1) if is_vector else b
    batch = torch.broadcast_shapes(x.shape[:-2], b.shape[:-2])
    found = matrices.solve(x.expand(*batch, *x.shape[-2:]), b.expand(*batch, *b.shape[-2:]))
    return found.squeeze(-1) if is_vector else found


@composed
def det(x):
    value = getattr(x, "value", None)
    if not isinstance(value, torch.Tensor) or not is_nearly_singular(value.detach()):
        return matrices.det(x)
    if x.shape[-1] > 32:
        raise UnsupportedError(f"det of a singular matrix of {x.shape[-1]} rows: at most 32.")
    return matrices.det_of_any(x)


def is_nearly_singular(x: torch.Tensor) -> bool:
    """Whether half of the digits of its inverse, or of one of a batch, would be lost."""
    sizes = torch.linalg.svdvals(x)
    return sizes.numel() > 0 and bool((sizes[..., -1] <= torch.finfo(x.dtype).eps ** 0.5 * sizes[..., 0]).any())


@composed
def logdet(x):
    return matrices.logdet(x)


@composed
def slogdet(x):
    """(sign, log of the absolute value); no gradient flows through the sign."""
    found = torch.linalg.slogdet(values_of("slogdet", x))
    return type(found)((found[0], matrices.logabsdet(x)))


@composed
def solve_triangular(x, b, *, upper: bool, left: bool = True, unitriangular: bool = False):
    half = x.triu(int(unitriangular)) if upper else x.tril(-int(unitriangular))
    half = half + torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) if unitriangular else half
    return solve(half, b) if left else solve(half.mT, b.mT).mT


@composed
def cholesky_solve(b, factor, upper: bool = False):
    """The X of r r.mT @ X = b, of a Cholesky factor r."""
    whole = factor.mT if upper else factor
    lower = whole.tril() + (whole - whole.detach()).triu(1)  # torch gives the half that it does not read a gradient too
    return solve(lower.mT, solve(lower, b))


@composed
def cholesky(x, *, upper: bool = False):
    return matrices.cholesky(x).mT if upper else matrices.cholesky(x)


# --- shapes ----------------------------------------------------------------------------------------------------------


@composed
def ravel(x):
    return x.reshape(-1)


@composed
def broadcast_to(x, size):
    return x.expand(*size)


@composed
def tile(x, dims):
    return x.repeat(*(1,) * (x.ndim - len(dims)), *dims)


@composed
def fliplr(x):
    return x.flip(1)


@composed
def flipud(x):
    return x.flip(0)


@composed
def diff(x, n: int = 1, dim: int = -1, prepend=None, append=None):
    parts = [each for each in (prepend, x, append) if each is not None]
    x = cat(parts, dim) if len(parts) > 1 and n else x
    for _ in range(n):
        length = max(x.shape[dim] - 1, 0)
        x = x.narrow(dim, x.shape[dim] - length, length) - x.narrow(dim, 0, length)
    return x


@composed
def take_along_dim(x, indices, dim: int | None = None):
    if dim is None:
        x, indices, dim = x.reshape(-1), indices.reshape(-1), 0
    dim %= x.ndim
    around = torch.broadcast_shapes(*[tuple(1 if i == dim else n for i, n in enumerate(s.shape)) for s in (x, indices)])
    sizes = ([s.shape[i] if i == dim else n for i, n in enumerate(around)] for s in (x, indices))
    x, indices = (each.expand(*size) for each, size in zip((x, indices), sizes))
    return x.gather(dim, indices % max(x.shape[dim], 1))


@composed
def vstack(tensors):
    return cat([x.reshape(1, -1) if x.ndim < 2 else x for x in tensors], 0)


@composed
def hstack(tensors):
    tensors = [x.reshape(1) if not x.ndim else x for x in tensors]
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1)


@composed
def column_stack(tensors):
    return cat([x.reshape(-1, 1) if x.ndim < 2 else x for x in tensors], 1)


@composed
def dstack(tensors):
    shaped = [x.reshape(1, -1, 1) if x.ndim < 2 else x.unsqueeze(-1) if x.ndim == 2 else x for x in tensors]
    return cat(shaped, 2)


@composed
def rot90(x, k: int = 1, dims=(0, 1)):
    a, b = dims
    k %= 4
    x = x.flip(a, b) if k == 2 else x.flip(b) if k == 1 else x.flip(a) if k == 3 else x.clone()
    return x.transpose(a, b) if k % 2 else x


@composed
def diag_embed(x, offset: int = 0, dim1: int = -2, dim2: int = -1):
    on_it = torch.eye(x.shape[-1], dtype=torch.bool, device=x.device)
    below, beside = max(-offset, 0), max(offset, 0)
    return pad(where(on_it, x.unsqueeze(-1), 0.0), (beside, below, below, beside)).movedim((-2, -1), (dim1, dim2))


@composed
def diagflat(x, offset: int = 0):
    return diag_embed(x.reshape(-1), offset)


@composed
def repeat_interleave(x, repeats, dim: int | None = None, *, output_size: int | None = None):
    x, dim = (x.reshape(-1), 0) if dim is None else (x, dim)
    places = torch.arange(x.shape[dim]).repeat_interleave(torch.as_tensor(repeats))
    return x.index_select(dim, places)


@composed
def select_scatter(x, src, dim: int, index: int):
    index %= x.shape[dim]
    parts = [x.narrow(dim, 0, index), src.unsqueeze(dim), x.narrow(dim, index + 1, x.shape[dim] - index - 1)]
    return cat(parts, dim)


@composed
def index_fill(x, dim: int, index, value):
    if not x.ndim:
        return index_fill(x.reshape(1), 0, index, value).reshape(())
    filled = torch.zeros(x.shape[dim], dtype=torch.bool, device=x.device).index_fill(0, index, True)
    return x.masked_fill(filled.reshape(-1, *[1] * (x.ndim - 1 - dim % x.ndim)), value)


@composed
def take(x, index):
    return x.reshape(-1)[index]


@composed
def msort(x):
    return x.sort(0)[0]


@composed
def trapezoid(y, x=None, *, dx: Real = 1.0, dim: int = -1):
    n = max(y.shape[dim] - 1, 0)
    means = (y.narrow(dim, y.shape[dim] - n, n) + y.narrow(dim, 0, n)) * 0.5
    if x is None:
        return (means * dx).sum(dim)
    x = x.reshape(-1, *[1] * (y.ndim - 1 - dim % y.ndim)) if x.ndim == 1 else x
    return (means * x.diff(dim=dim if x.ndim == y.ndim else 0)).sum(dim)


@composed
def pixel_shuffle(x, upscale_factor: int):
    r, (*batch, channels, high, wide) = upscale_factor, x.shape
    parts = x.reshape(*batch, channels // r**2, r, r, high, wide).movedim((-4, -3), (-3, -1))
    return parts.reshape(*batch, channels // r**2, high * r, wide * r)


@composed
def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    """torch.nn.functional.unfold: the windows of images, a column each."""
    windows = windows_of(x, pair(kernel_size), pair(stride), pair(padding), pair(dilation))
    n, channels, high, wide, *kernel = windows.shape
    return windows.permute(0, 1, 4, 5, 2, 3).reshape(n, channels * math.prod(kernel), high * wide)


def pair(x) -> tuple[int, int]:
    return (x, x) if isinstance(x, int) else tuple(x) * (3 - len(x))  # of a list with one number, that twice


def windows_of(x, kernel: tuple, stride: tuple, padding: tuple, dilation: tuple):
    """(n, channels, rows, columns, kernel rows, kernel columns), of images (n, channels, height, width)."""
    x = pad(x, (padding[1], padding[1], padding[0], padding[0])) if any(padding) else x
    places = []
    for size, k, s, d in zip(x.shape[-2:], kernel, stride, dilation):
        count = (size - d * (k - 1) - 1) // s + 1
        places.append(torch.arange(count).unsqueeze(1) * s + torch.arange(k) * d)
    rows, columns = places
    return x[:, :, rows[:, None, :, None], columns[None, :, None, :]]


# --- values, with their places ---------------------------------------------------------------------------------------


def values_of(name: str, x) -> torch.Tensor:
    if not isinstance(getattr(x, "value", None), torch.Tensor):
        raise UnsupportedError(f"{name} chooses by values, which are known only at the call.")
    return x.value.detach()


def with_places(name: str) -> Callable:
    """What torch finds along a dimension, taken from x where it found it."""

    def found(x, *args, **kwargs):
        values, indices = result = getattr(torch, name)(values_of(name, x), *args, **kwargs)
        dim = kwargs.get("dim", next((a for a in args[name in ("topk", "kthvalue") :] if type(a) is int), -1))
        if not x.ndim:
            taken = x.clone()
        elif indices.ndim < x.ndim:
            taken = x.gather(dim, indices.unsqueeze(dim)).squeeze(dim)
        else:
            taken = x.gather(dim, indices)
        return type(result)((taken.reshape(values.shape), indices))

    found.__name__ = name
    return found


for _name in ("sort", "topk", "kthvalue", "cummax", "cummin", "mode"):
    publish(_name, with_places(_name))
_median = with_places("median")


@composed
def median(x, dim: int | None = None, keepdim: bool = False):
    """The lower of the two in the middle; along `dim`, (values, indices)."""
    return x.reshape(-1).kthvalue((x.numel() + 1) // 2)[0] if dim is None else _median(x, dim, keepdim)


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


@composed
def cdist(x1, x2, p: Real = 2.0, compute_mode=None):
    return (x1.unsqueeze(-2) - x2.unsqueeze(-3)).norm(p, -1)


@composed
def dist(x, other, p: Real = 2):
    return (x - other).norm(p)


@composed
def polygamma(n: int, x):
    return x.polygamma(int(n))


for _name, _function in (("_threshold", threshold), ("row_stack", vstack), ("inverse", inv), ("trapz", trapezoid)):
    publish(_name, _function)
