"""Products, solutions and parts of matrices, of torch and torch.linalg, made of operators of the table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from . import matrices
from .calls import (
    FUNCTIONS,
    Dim,
    UnsupportedError,
    as_dtype,
    called,
    check_dims,
    chosen,
    composed,
    dims_of,
    formula,
    raw,
    values_of,
)
from .choosing import where
from .joining import cat, stack
from .shapes import pad
from .statistics import vector_norm

# --- products ----------------------------------------------------------------------------------------------------

formula("addmm", lambda x, mat1, mat2, *, beta=1, alpha=1: x * beta + mat1 @ mat2 * alpha)
formula("addr", lambda x, vec1, vec2, *, beta=1, alpha=1: x * beta + vec1.outer(vec2) * alpha)
formula("inner", lambda x, other: tensordot(x, other, [[-1], [-1]]) if x.ndim and other.ndim else x * other)
formula("vecdot", lambda x, y, *, dim=-1: (x * y).sum(dim))


def product_of(name: str, *wanted: int) -> Callable:
    """matmul, of tensors of so many dimensions alone."""

    def product(x, other):
        check_dims(name, (x, other), wanted)
        return x @ other

    return called(name, product)


for _name, _dims in {"mm": (2, 2), "bmm": (3, 3), "mv": (2, 1), "dot": (1, 1), "vdot": (1, 1)}.items():
    composed(product_of(_name, *_dims))


@composed
def outer(x, vec2):
    check_dims("outer", (x, vec2), (1, 1))
    return x.unsqueeze(-1) * vec2


@composed
def linear(input, weight, bias=None):
    product = input @ weight.t()
    return product if bias is None else product + bias


@composed
def einsum(equation: str, *operands):
    """torch.einsum: each operand laid out along all indices, multiplied, and summed over those not asked for."""
    if not isinstance(equation, str):
        raise UnsupportedError("einsum: first comes a text that names the dimensions, einsum('ij,jk->ik', x, y).")
    operands = operands[0] if len(operands) == 1 and isinstance(operands[0], (tuple, list)) else operands
    left, arrow, asked = equation.replace(" ", "").partition("->")
    names = left.split(",")
    if len(names) != len(operands):
        raise UnsupportedError(f"einsum({equation!r}): {len(operands)} operands for {len(names)} terms.")
    own = [x.ndim - len(term) + 3 if "." in term else 0 for x, term in zip(operands, names)]  # dims that ... stands for
    dots = "0123456789"[: max(own)]
    terms = [term.replace("...", dots[len(dots) - count :]) for term, count in zip(names, own)]
    counted = "".join(terms)
    asked = asked.replace("...", dots) if arrow else dots + "".join(sorted(
        i for i in set(counted) - set(dots) if counted.count(i) == 1
    ))  # fmt: skip
    for x, term in zip(operands, terms):
        if len(term) != x.ndim:
            raise UnsupportedError(f"einsum({equation!r}): {term!r} stands for a tensor of {x.ndim} dimensions.")
    if not set(asked) <= set(counted) or len(set(asked)) < len(asked):
        raise UnsupportedError(f"einsum({equation!r}): after '->' each letter stands once, and on the left too.")
    rest = [i for i in dict.fromkeys(counted) if i not in asked]
    order = [*asked, *rest]
    product = None
    for x, term in zip(operands, terms):
        part = laid_out(x, term, order)
        product = part if product is None else product * part
    return product.sum(tuple(range(len(asked), len(order)))) if rest else product


def laid_out(x, term: str, order: list[str]):
    """x, of the indices in `term`, with a dimension for each index in `order`."""
    while len(set(term)) < len(term):  # a diagonal
        twice = next(i for i in term if term.count(i) > 1)
        first, second = [at for at, each in enumerate(term) if each == twice][:2]
        n = torch.arange(x.shape[first])
        x, term = x.movedim((first, second), (0, 1))[n, n], twice + term.replace(twice, "", 2)
    present = [i for i in order if i in term]
    x = x.permute(*[term.index(i) for i in present]) if present else x
    for place, i in enumerate(order):
        x = x if i in term else x.unsqueeze(place)
    return x


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
        return matrix_power(matrices.inv(x), -n)
    half = None if n < 2 else matrix_power(x, n // 2)
    if half is not None:
        return half @ half @ x if n % 2 else half @ half
    return x.clone() if n else torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) + x * 0.0


@composed
def cross(x, other, dim: int = -1):
    a, b = ([each.select(dim, i) for i in range(3)] for each in (x, other))
    pairs = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    return stack(pairs, dim)


# --- diagonals ---------------------------------------------------------------------------------------------------


@composed
def diagonal(x, offset: int = 0, dim1: int = 0, dim2: int = 1):
    x = x.movedim((dim1, dim2), (-2, -1))
    rows, columns = x.shape[-2:]
    length = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    at = torch.arange(length)
    return x[..., at + max(-offset, 0), at + max(offset, 0)]


@composed
def diag(x, diagonal: int = 0):
    offset = diagonal
    if x.ndim == 2:
        return x.diagonal(offset)
    n = x.shape[0] + abs(offset)
    at = torch.arange(x.shape[0])
    zeros = (x.sum() * 0).expand(n, n)
    return zeros.index_put((at + max(-offset, 0), at + max(offset, 0)), x)


@composed
def diag_embed(x, offset: int = 0, dim1: int = -2, dim2: int = -1):
    on_it = torch.eye(x.shape[-1], dtype=torch.bool, device=x.device)
    below, beside = max(-offset, 0), max(offset, 0)
    return pad(where(on_it, x.unsqueeze(-1), 0.0), (beside, below, below, beside)).movedim((-2, -1), (dim1, dim2))


formula("diagflat", lambda x, offset=0: diag_embed(x.reshape(-1), offset))


@composed
def trace(x):
    check_dims("trace", (x,), (2,))
    return diagonal(x).sum()


# --- norms -------------------------------------------------------------------------------------------------------


@composed
def norm(x, p="fro", dim: Dim = None, keepdim: bool = False, dtype=None):
    if p == "nuc":
        return matrix_norm(x, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(x, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


@composed
def linalg_norm(x, ord=None, dim: Dim = None, keepdim: bool = False, *, dtype=None):
    over = tuple(range(x.ndim)) if dim is None else dim
    if ord in ("nuc", 2, -2) and not isinstance(over, int) and len(over) == 2:
        return matrix_norm(x, ord, over, keepdim, dtype=dtype)
    return by_elements(as_dtype(x, dtype), ord, dims_of(dim), keepdim)


def by_elements(x, ord, dim, keepdim: bool):
    """The norm of a vector, or of a matrix by its sums of rows or columns."""
    if ord is None or ord == "fro" or isinstance(dim, int) or (dim is None and x.ndim == 1):
        return vector_norm(x, 2 if ord in (None, "fro") else ord, dim, keepdim)
    if ord not in (1, -1, math.inf, -math.inf):
        raise UnsupportedError(f"linalg.norm(…, ord={ord!r}) of a matrix: only 'fro', 1, -1, inf and -inf.")
    rows, columns = (each % x.ndim for each in ((-2, -1) if dim is None else dim))
    added, taken = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = x.abs().sum(added, True)
    found = sums.amax(taken, True) if ord > 0 else sums.amin(taken, True)
    return found if keepdim else found.squeeze(dim=(rows, columns))


@composed
def matrix_norm(x, ord="fro", dim=(-2, -1), keepdim: bool = False, *, dtype=None):
    """torch.linalg.matrix_norm: also by singular values, of the last two dimensions or of others."""
    x = as_dtype(x, dtype)
    if ord in ("fro", 1, -1, math.inf, -math.inf):
        return by_elements(x, ord, dims_of(dim), keepdim)
    chosen("ord", ord, ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf))
    sizes = matrices.svdvals(x.movedim(dim, (-2, -1)))
    if is_nearly_singular(values_of(x).movedim(dim, (-2, -1))):
        raise UnsupportedError(
            f"matrix_norm(…, ord={ord!r}) of a matrix without full rank: it has no derivative there."
        )
    found = sizes.sum(-1) if ord == "nuc" else sizes.amax(-1) if ord == 2 else sizes.amin(-1)
    dims = [each % x.ndim for each in dim]
    return found.reshape([1 if at in dims else n for at, n in enumerate(x.shape)]) if keepdim else found


# --- parts -------------------------------------------------------------------------------------------------------


def is_upper(UPLO: str) -> bool:
    chosen("UPLO", UPLO, ("L", "U"))
    return UPLO == "U"


formula("eigvalsh", lambda x, UPLO="L": matrices.eigenvalues(x, is_upper(UPLO)))


@composed
def eigh(x, UPLO: str = "L") -> Any:
    """(eigenvalues, eigenvectors) of a symmetric matrix."""
    found = torch.linalg.eigh(values_of(x), UPLO)
    return type(found)((matrices.eigenvalues(x, is_upper(UPLO)), matrices.eigenvectors(x, is_upper(UPLO))))


@composed
def linalg_svd(x, full_matrices: bool = True, *, driver=None) -> Any:
    """(U, S, V transposed). No gradient flows through what full_matrices adds to U or V."""
    found = torch.linalg.svd(values_of(x), full_matrices)
    k = min(x.shape[-2:])
    left, right = matrices.svd_left(x), matrices.svd_right(x).mT
    left = left if found[0].shape[-1] == k else cat([left, found[0][..., k:]], -1)
    right = right if found[2].shape[-2] == k else cat([right, found[2][..., k:, :]], -2)
    return type(found)((left, matrices.svdvals(x), right))


@composed
def svd(x, some: bool = True, compute_uv: bool = True) -> Any:
    u, s, vt = linalg_svd(x, not some)
    return torch.return_types.svd((u, s, vt.mT))


@composed
def linalg_qr(x, mode: str = "reduced") -> Any:
    """(Q, R)."""
    chosen("mode", mode, ("reduced", "complete"))
    high, wide = x.shape[-2:]
    if mode == "complete" and high > wide:
        raise UnsupportedError(
            "linalg.qr(…, mode='complete') of a matrix with more rows than columns: 'reduced' is there."
        )
    square = x[..., :high] if wide > high else x
    q, r = matrices.qr_left(square), matrices.qr_right(square)
    r = cat([r, q.mT @ x[..., high:]], -1) if wide > high else r
    return torch.return_types.linalg_qr((q, r))


@composed
def qr(x, some: bool = True) -> Any:
    return torch.return_types.qr(tuple(linalg_qr(x, "reduced" if some else "complete")))


@composed
def pinv(x, rtol=None, hermitian: bool = False, *, atol=None, rcond=None):
    rtol = rcond if rtol is None else rtol
    if atol is not None or isinstance(rtol, torch.Tensor):
        raise UnsupportedError("linalg.pinv takes rtol, a number, and no atol on Variables.")
    return matrices.pinv(x, rtol, hermitian)


@composed
def lstsq(x, b, rcond=None, *, driver=None) -> Any:
    """(solution, residuals, rank, singular values), of matrices of full rank."""
    found = torch.linalg.lstsq(values_of(x), raw(b), rcond, driver=driver)
    solution = pinv(x) @ b
    away = (x @ solution - b).square().sum(-2) if found[1].numel() else found[1]
    return type(found)((solution, away, *found[2:]))


@composed
def cond(x, p=None):
    if p in (None, 2, -2):
        sizes = matrices.svdvals(x)
        return sizes[..., -1] / sizes[..., 0] if p == -2 else sizes[..., 0] / sizes[..., -1]
    return matrix_norm(x, p) * matrix_norm(matrices.inv(x), p)


@composed
def cholesky(x, *, upper: bool = False):
    return matrices.cholesky(x).mT if upper else matrices.cholesky(x)


# --- determinants and solutions ----------------------------------------------------------------------------------


@composed
def det(x):
    if not isinstance(raw(x), torch.Tensor) or not is_nearly_singular(raw(x).detach()):
        return matrices.det(x)
    if x.shape[-1] > 32:
        raise UnsupportedError(f"det of a singular matrix of {x.shape[-1]} rows: at most 32.")
    return matrices.det_of_any(x)


def is_nearly_singular(x: torch.Tensor) -> bool:
    """Whether half of the digits of its inverse, or of one of a batch, would be lost."""
    sizes = torch.linalg.svdvals(x)
    return sizes.numel() > 0 and bool((sizes[..., -1] <= torch.finfo(x.dtype).eps ** 0.5 * sizes[..., 0]).any())


@composed
def slogdet(x) -> Any:
    """(sign, log of the absolute value); no gradient flows through the sign."""
    found = torch.linalg.slogdet(values_of(x))
    return type(found)((found[0], matrices.logabsdet(x)))


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
def tensorinv(x, ind: int = 2):
    rows, columns = tuple(x.shape[:ind]), tuple(x.shape[ind:])
    return matrices.inv(x.reshape(math.prod(rows), math.prod(columns))).reshape(*columns, *rows)


@composed
def tensorsolve(x, b, dims=None):
    x = x if dims is None else x.movedim(tuple(dims), tuple(range(x.ndim - len(dims), x.ndim)))
    wanted = tuple(x.shape[b.ndim :])
    return solve(x.reshape(-1, math.prod(wanted)), b.reshape(-1)).reshape(wanted)


@composed
def solve_triangular(x, b, *, upper: bool, left: bool = True, unitriangular: bool = False):
    half = x.triu(int(unitriangular)) if upper else x.tril(-int(unitriangular))
    half = half + torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) if unitriangular else half
    return solve(half, b) if left else solve(half.mT, b.mT).mT


@composed
def triangular_solve(b, A, upper: bool = True, transpose: bool = False, unitriangular: bool = False) -> Any:
    """(solution, A): torch's older name for linalg.solve_triangular."""
    half = (A.triu() if upper else A.tril()).mT if transpose else A
    found = solve_triangular(half, b, upper=upper != transpose, unitriangular=unitriangular)
    return torch.return_types.triangular_solve((found, A.clone()))


@composed
def cholesky_solve(b, factor, upper: bool = False):
    """The X of r r.mT @ X = b, of a Cholesky factor r."""
    whole = factor.mT if upper else factor
    lower = whole.tril() + (whole - whole.detach()).triu(1)  # torch gives the half that it does not read a gradient too
    return solve(lower.mT, solve(lower, b))


def with_info(name: str, function: Callable) -> Callable:
    """What gives an error code too, which is 0: where there is an error, it is raised."""

    def made(x, *others, check_errors: bool = False, **kwargs):
        found = function(x, *others, **kwargs)
        return getattr(torch.return_types, name)((found, torch.zeros(tuple(x.shape[:-2]), dtype=torch.int32)))

    return called(name, made)


for _name, _function in (("inv", FUNCTIONS["inv"]), ("cholesky", cholesky), ("solve", solve)):
    composed(with_info(f"linalg_{_name}_ex", _function))
