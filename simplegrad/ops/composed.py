"""Functions of torch, torch.nn.functional and torch.linalg that are made of operators of the table, and need no rule.

Each takes what torch's takes, or says that it does not. Those that give indices too give them as plain tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real

import torch

from . import matrices
from .methods import FUNCTIONS, METHODS, Operators, UnsupportedError, cat, pad, stack, where, with_numpys_names

COMPOSED: dict[str, Callable] = {}


def composed(function: Callable) -> Callable:
    COMPOSED[function.__name__.rstrip("_")] = taken = with_numpys_names(function)
    return taken


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
def float_power(x, exponent):
    return x.double() ** exponent


# --- products of matrices --------------------------------------------------------------------------------------------


@composed
def addmm(x, mat1, mat2, *, beta: Real = 1, alpha: Real = 1):
    return x * beta + mat1 @ mat2 * alpha


for _name in ("addmv", "baddbmm"):
    COMPOSED[_name] = addmm


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


COMPOSED["diagonal"] = diagonal_of


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


COMPOSED |= {name: with_places(name) for name in ("sort", "topk", "kthvalue", "cummax", "cummin", "mode")}
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


# --- networks --------------------------------------------------------------------------------------------------------


def reduced(losses, reduction: str):
    chosen("reduction", reduction, ("mean", "sum", "none"))
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


@composed
def mse_loss(x, target, *, reduction: str = "mean", weight=None):
    losses = (x - target).square()
    return reduced(losses if weight is None else losses * weight, reduction)


@composed
def l1_loss(x, target, *, reduction: str = "mean", weight=None):
    losses = (x - target).abs()
    return reduced(losses if weight is None else losses * weight, reduction)


@composed
def smooth_l1_loss(x, target, *, reduction: str = "mean", beta: Real = 1.0):
    away = (x - target).abs()
    return reduced(away if not beta else where(away < beta, away.square() * (0.5 / beta), away - 0.5 * beta), reduction)


@composed
def huber_loss(x, target, reduction: str = "mean", delta: Real = 1.0, weight=None):
    away = (x - target).abs()
    losses = where(away <= delta, away.square() * 0.5, (away - 0.5 * delta) * delta)
    return reduced(losses if weight is None else losses * weight, reduction)


@composed
def binary_cross_entropy(x, target, weight=None, *, reduction: str = "mean"):
    losses = -(target * x.log().clamp(min=-100) + (1 - target) * (1 - x).log().clamp(min=-100))
    return reduced(losses if weight is None else losses * weight, reduction)


@composed
def binary_cross_entropy_with_logits(x, target, weight=None, *, reduction: str = "mean", pos_weight=None):
    factor = 1.0 if pos_weight is None else (pos_weight - 1) * target + 1
    losses = (1 - target) * x - x.logsigmoid() * factor
    return reduced(losses if weight is None else losses * weight, reduction)


@composed
def kl_div(x, target, *, reduction: str = "mean", log_target: bool = False):
    if log_target:
        losses = target.exp() * (target - x)
    else:
        losses = target * (where(target == 0, 1.0, target).log() - x)
    return losses.sum() / x.shape[0] if reduction == "batchmean" else reduced(losses, reduction)


@composed
def nll_loss(x, target, weight=None, *, ignore_index: int = -100, reduction: str = "mean"):
    """Of log-probabilities (n, classes, …), and the right classes (n, …)."""
    target = getattr(target, "value", target)
    dim = 1 if x.ndim > 1 else 0
    counted = target != ignore_index
    places = target.masked_fill(~counted, 0)
    weights = counted.to(x.dtype) if weight is None else getattr(weight, "value", weight)[places] * counted
    losses = -x.gather(dim, places.unsqueeze(dim)).squeeze(dim) * weights
    return losses.sum() / weights.sum() if reduction == "mean" else reduced(losses, reduction)


@composed
def cross_entropy(
    x, target, weight=None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: Real = 0.0
):
    """Of logits (n, classes, …), and the right classes, or their probabilities."""
    dim = 1 if x.ndim > 1 else 0
    logs = x.log_softmax(dim)
    if not target.dtype.is_floating_point:
        if label_smoothing:
            raise UnsupportedError("cross_entropy(…, label_smoothing=…): only with probabilities as target.")
        return nll_loss(logs, target, weight, ignore_index=ignore_index, reduction=reduction)
    if tuple(target.shape) != tuple(x.shape):
        raise UnsupportedError(
            f"cross_entropy: the target holds floats, which are probabilities, and has shape {tuple(target.shape)}, "
            f"not {tuple(x.shape)}. The right classes are whole numbers: target.long()."
        )
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / x.shape[dim]
    shape = [-1 if at == dim else 1 for at in range(x.ndim)]
    losses = -(logs * target * (1.0 if weight is None else weight.reshape(shape))).sum(dim)
    return losses.sum() / math.prod(losses.shape) if reduction == "mean" else reduced(losses, reduction)


@composed
def cosine_similarity(x1, x2, dim: int = 1, eps: Real = 1e-8):
    shape = torch.broadcast_shapes(x1.shape, x2.shape)  # a dimension of size 1 counts as often as it is repeated
    x1, x2 = x1.expand(*shape), x2.expand(*shape)
    product = (x1 * x2).sum(dim)
    return product / (x1.norm(2, dim).clamp(min=eps) * x2.norm(2, dim).clamp(min=eps))


@composed
def pairwise_distance(x1, x2, p: Real = 2.0, eps: Real = 1e-6, keepdim: bool = False):
    return (x1 - x2 + eps).norm(p, -1, keepdim)


@composed
def normalize(x, p: Real = 2.0, dim: int = 1, eps: Real = 1e-12):
    return x / x.norm(p, dim, True).clamp(min=eps)


@composed
def layer_norm(x, normalized_shape: Sequence[int], weight=None, bias=None, eps: Real = 1e-5):
    dims = tuple(range(-len(normalized_shape), 0))
    away = x - x.mean(dims, True)
    return scaled_and_shifted(away * (away.square().mean(dims, True) + eps).rsqrt(), weight, bias)


@composed
def rms_norm(x, normalized_shape: Sequence[int], weight=None, eps: Real | None = None):
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    dims = tuple(range(-len(normalized_shape), 0))
    return scaled_and_shifted(x * (x.square().mean(dims, True) + eps).rsqrt(), weight, None)


@composed
def group_norm(x, num_groups: int, weight=None, bias=None, eps: Real = 1e-5):
    n, channels, *rest = x.shape
    groups = x.reshape(n, num_groups, channels // num_groups * math.prod(rest))
    shape = (1, channels, *(1,) * len(rest))
    normal = layer_norm(groups, groups.shape[-1:], eps=eps).reshape(x.shape)
    return scaled_and_shifted(normal, *[each if each is None else each.reshape(shape) for each in (weight, bias)])


@composed
def batch_norm(
    x, running_mean, running_var, weight=None, bias=None, training: bool = False, momentum=0.1, eps: Real = 1e-5
):
    """What is given as running mean and variance is read, and never changed."""
    if x.ndim < 2:
        raise UnsupportedError("batch_norm: of at least two dimensions, (n, channels, …).")
    dims, shape = (0, *range(2, x.ndim)), (1, x.shape[1], *(1,) * (x.ndim - 2))
    if training:
        mean, var = x.mean(dims, True), x.var(dims, False, True)
    else:
        mean, var = running_mean.reshape(shape), running_var.reshape(shape)
    normal = (x - mean) * (var + eps) ** -0.5
    return scaled_and_shifted(normal, *[each if each is None else each.reshape(shape) for each in (weight, bias)])


def scaled_and_shifted(x, weight, bias):
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


@composed
def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """The rows of `weight` at these places."""
    for name, asked in (
        ("padding_idx", padding_idx),
        ("max_norm", max_norm),
        ("scale_grad_by_freq", scale_grad_by_freq),
    ):
        if asked is not None and asked is not False:
            raise UnsupportedError(f"embedding(…, {name}=…) is not there on Variables. Leave it out.")
    return weight[getattr(input, "value", input)]


@composed
def dropout(x, p: float = 0.5, training: bool = True, inplace: bool = False):
    return x * dropped(x, p) if training and p else x


def dropped(x, p: float) -> torch.Tensor:
    """1 / (1 - p), or 0 with probability p: the numbers that torch draws for x."""
    return torch.dropout(torch.ones(tuple(x.shape), dtype=x.dtype, device=x.device), p, True)


@composed
def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p: float = 0.0, is_causal: bool = False, scale=None, enable_gqa=False
):
    """softmax(query @ key.mT / sqrt(size) + mask) @ value. `enable_gqa`: heads of the query share those of the key."""
    if enable_gqa:
        key, value = (shared(x, query.shape[-3] // x.shape[-3]) for x in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~getattr(attn_mask, "value", attn_mask), -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(-1)
    return dropout(weights, dropout_p) @ value


def shared(x, times: int):
    """Each head so many times, one behind the other."""
    *batch, heads, length, size = x.shape
    apart = x.unsqueeze(-3).expand(*batch, heads, times, length, size)
    return apart.reshape(*batch, heads * times, length, size)


@composed
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups: int = 1):
    """Cross-correlation of images ((n,) channels, height, width), by their windows."""
    out, channels, *kernel = weight.shape
    images, dilation = x if x.ndim == 4 else x.unsqueeze(0), pair(dilation)
    images = pad(images, around(padding, kernel, dilation)) if padding not in (0, "valid") else images
    windows = windows_of(images, tuple(kernel), pair(stride), (0, 0), dilation)
    n, _, high, wide, *_ = windows.shape
    columns = windows.reshape(n, groups, channels, high, wide, *kernel).permute(0, 1, 3, 4, 2, 5, 6)
    rows = weight.reshape(groups, out // groups, channels * math.prod(kernel))
    product = columns.reshape(n, groups, high * wide, channels * math.prod(kernel)) @ rows.mT
    product = product.mT.reshape(n, out, high, wide)
    product = product if bias is None else product + bias.reshape(-1, 1, 1)
    return product if x.ndim == 4 else product.squeeze(0)


def around(padding, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """What is put before and behind each dimension, from the last on, as torch's pad takes it."""
    if padding == "same":
        missing = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple(part for each in reversed(missing) for part in (each // 2, each - each // 2))
    return tuple(part for each in reversed(pair(padding)) for part in (each, each))


@composed
def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups: int = 1):
    stride, dilation = ((1, each if isinstance(each, int) else each[0]) for each in (stride, dilation))
    padding = padding if isinstance(padding, str) else (0, padding if isinstance(padding, int) else padding[0])
    return conv2d(x.unsqueeze(-2), weight.unsqueeze(-2), bias, stride, padding, dilation, groups).squeeze(-2)


@composed
def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    padding, kernel = pair(padding), pair(kernel_size)
    given = torch.ones(1, *x.shape[-2:], dtype=x.dtype, device=x.device)
    size = torch.nn.functional.avg_pool2d(given, kernel, stride, padding, ceil_mode).shape[-2:]
    sums = summed_windows(x, kernel, stride, padding, size)
    if divisor_override is not None or count_include_pad and not ceil_mode:
        return sums / (divisor_override or math.prod(kernel))
    if count_include_pad:  # of what a window has beyond the padding nothing is counted
        given = pad(given, around(padding, kernel, (1, 1)), value=1.0)
        padding = (0, 0)
    return sums / summed_windows(given, kernel, stride, padding, size).squeeze(0)


def summed_windows(x, kernel: tuple, stride, padding: tuple, size: Sequence[int]):
    """The sums of so many windows; the last ones may go beyond the padding."""
    stride = kernel if stride in (None, (), []) else pair(stride)
    high, wide = (
        max(0, (count - 1) * s + k - n - p) for count, s, k, n, p in zip(size, stride, kernel, x.shape[-2:], padding)
    )
    images = x if x.ndim == 4 else x.unsqueeze(0)
    images = pad(images, (padding[1], wide, padding[0], high))
    sums = windows_of(images, kernel, stride, (0, 0), (1, 1)).sum((-2, -1))[..., : size[0], : size[1]]
    return sums if x.ndim == 4 else sums.squeeze(0)


@composed
def adaptive_avg_pool2d(x, output_size):
    """Means of output_size windows, which cover the image and may overlap by one: as products with their weights."""
    asked = pair(output_size)
    rows, columns = (means_of(n, n if out is None else out, x) for n, out in zip(x.shape[-2:], asked))
    return rows @ x @ columns.mT


def means_of(n: int, out: int, like) -> torch.Tensor:
    """(out, n): the weights with which each of n counts in each of `out` means."""
    starts = torch.arange(out) * n // out
    ends = ((torch.arange(out) + 1) * n + out - 1) // out
    at = torch.arange(n)
    inside = ((at >= starts.unsqueeze(1)) & (at < ends.unsqueeze(1))).to(like.dtype)
    return (inside / inside.sum(1, keepdim=True)).to(like.device)


@composed
def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    images = values_of("max_pool2d", x)
    _, places = torch.nn.functional.max_pool2d(images, kernel_size, stride, padding, dilation, ceil_mode, True)
    found = x.flatten(-2).gather(-1, places.flatten(-2)).reshape(places.shape)
    return (found, places) if return_indices else found


@composed
def max_pool2d_with_indices(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=True):
    return max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode, True)


@composed
def polygamma(n: int, x):
    return x.polygamma(int(n))


COMPOSED |= {"_threshold": threshold, "row_stack": vstack, "inverse": inv}
FUNCTIONS |= COMPOSED
for _name, _function in COMPOSED.items():
    if hasattr(torch.Tensor, _name) and not hasattr(Operators, _name):
        setattr(Operators, _name, _function)
        METHODS[_name] = _function
