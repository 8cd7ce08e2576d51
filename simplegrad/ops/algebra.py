"""Products, solutions and parts of matrices, of torch and torch.linalg, made of operators of the table."""

from __future__ import annotations

import math

import torch

from . import matrices
from .composed import chosen, composed, formula, publish
from .methods import FUNCTIONS, UnsupportedError, cat, check_dims, stack, values_of

addmm = formula("addmm", lambda x, mat1, mat2, *, beta=1, alpha=1: x * beta + mat1 @ mat2 * alpha)


for _name in ("addmv", "baddbmm"):
    publish(_name, addmm)


formula("addr", lambda x, vec1, vec2, *, beta=1, alpha=1: x * beta + vec1.outer(vec2) * alpha)
formula("inner", lambda x, other: tensordot(x, other, [[-1], [-1]]) if x.ndim and other.ndim else x * other)
formula("vecdot", lambda x, y, *, dim=-1: (x * y).sum(dim))


@composed
def vdot(x, other):
    check_dims("vdot", (x, other), (1, 1))
    return x @ other


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
    check_dims("trace", (x,), (2,))
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
    if is_nearly_singular(values_of(x).movedim(dim, (-2, -1))):
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


eigvalsh = formula("eigvalsh", lambda x, UPLO="L": matrices.eigenvalues(x, is_upper(UPLO)))


@composed
def eigh(x, UPLO: str = "L"):
    """(eigenvalues, eigenvectors) of a symmetric matrix."""
    found = torch.linalg.eigh(values_of(x), UPLO)
    return type(found)((eigvalsh(x, UPLO), matrices.eigenvectors(x, is_upper(UPLO))))


def is_upper(UPLO: str) -> bool:
    chosen("UPLO", UPLO, ("L", "U"))
    return UPLO == "U"


svdvals = formula("svdvals", lambda x, *, driver=None: matrices.svdvals(x))


@composed
def linalg_svd(x, full_matrices: bool = True, *, driver=None):
    """(U, S, V transposed). No gradient flows through what full_matrices adds to U or V."""
    found = torch.linalg.svd(values_of(x), full_matrices)
    k = min(x.shape[-2:])
    left, right = matrices.svd_left(x), matrices.svd_right(x).mT
    left = left if found[0].shape[-1] == k else cat([left, found[0][..., k:]], -1)
    right = right if found[2].shape[-2] == k else cat([right, found[2][..., k:, :]], -2)
    return type(found)((left, matrices.svdvals(x), right))


@composed
def svd(x, some: bool = True, compute_uv: bool = True):
    u, s, vt = linalg_svd(x, not some)
    return torch.return_types.svd((u, s, vt.mT))


@composed
def linalg_qr(x, mode: str = "reduced"):
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
def qr(x, some: bool = True):
    return torch.return_types.qr(tuple(linalg_qr(x, "reduced" if some else "complete")))


@composed
def pinv(x, rtol=None, hermitian: bool = False, *, atol=None, rcond=None):
    rtol = rcond if rtol is None else rtol
    if atol is not None or isinstance(rtol, torch.Tensor):
        raise UnsupportedError("linalg.pinv takes rtol, a number, and no atol on Variables.")
    return matrices.pinv(x, rtol, hermitian)


@composed
def lstsq(x, b, rcond=None, *, driver=None):
    """(solution, residuals, rank, singular values), of matrices of full rank."""
    found = torch.linalg.lstsq(values_of(x), getattr(b, "value", b), rcond, driver=driver)
    solution = pinv(x) @ b
    away = (x @ solution - b).square().sum(-2) if found[1].numel() else found[1]
    return type(found)((solution, away, *found[2:]))


formula("matrix_exp", lambda x: matrices.matrix_exp(x))


@composed
def cond(x, p=None):
    if p in (None, 2, -2):
        sizes = matrices.svdvals(x)
        return sizes[..., -1] / sizes[..., 0] if p == -2 else sizes[..., 0] / sizes[..., -1]
    return matrix_norm(x, p) * matrix_norm(inv(x), p)


@composed
def tensorinv(x, ind: int = 2):
    rows, columns = tuple(x.shape[:ind]), tuple(x.shape[ind:])
    return inv(x.reshape(math.prod(rows), math.prod(columns))).reshape(*columns, *rows)


@composed
def tensorsolve(x, b, dims=None):
    x = x if dims is None else x.movedim(tuple(dims), tuple(range(x.ndim - len(dims), x.ndim)))
    wanted = tuple(x.shape[b.ndim :])
    return solve(x.reshape(-1, math.prod(wanted)), b.reshape(-1)).reshape(wanted)


@composed
def cross(x, other, dim: int = -1):
    a, b = ([each.select(dim, i) for i in range(3)] for each in (x, other))
    pairs = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    return stack(pairs, dim)


inv = formula("inv", lambda x: matrices.inv(x))


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


formula("logdet", lambda x: matrices.logdet(x))


@composed
def slogdet(x):
    """(sign, log of the absolute value); no gradient flows through the sign."""
    found = torch.linalg.slogdet(values_of(x))
    return type(found)((found[0], matrices.logabsdet(x)))


@composed
def solve_triangular(x, b, *, upper: bool, left: bool = True, unitriangular: bool = False):
    half = x.triu(int(unitriangular)) if upper else x.tril(-int(unitriangular))
    half = half + torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) if unitriangular else half
    return solve(half, b) if left else solve(half.mT, b.mT).mT


@composed
def triangular_solve(b, A, upper: bool = True, transpose: bool = False, unitriangular: bool = False):
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


@composed
def cholesky(x, *, upper: bool = False):
    return matrices.cholesky(x).mT if upper else matrices.cholesky(x)


def with_info(name: str, function) -> None:
    """What gives an error code too, which is 0: where there is an error, it is raised."""

    def made(x, *others, check_errors: bool = False, **kwargs):
        found = function(x, *others, **kwargs)
        return getattr(torch.return_types, name)((found, torch.zeros(tuple(x.shape[:-2]), dtype=torch.int32)))

    made.__name__ = name
    publish(name, made)


for _name, _function in (("linalg_inv_ex", inv), ("linalg_cholesky_ex", cholesky), ("linalg_solve_ex", solve)):
    with_info(_name, _function)
for _name, _function in (("inverse", inv), ("pinverse", pinv)):
    publish(_name, _function)
