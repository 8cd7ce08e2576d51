"""Inverses, solutions and determinants of matrices, and of batches of them."""

from __future__ import annotations

import torch

from .choosing import masked, where
from .linear import matmul
from .shapes import padded
from .table import of_torch, op

inv = of_torch("linalg.inv", lambda g, r, x: -(r.mT @ g @ r.mT), takes=lambda x: (x,))
solve = of_torch(  # of matrices b, whose batches are those of a
    "linalg.solve", lambda g, r, a, b: -matmul(solve(a.mT, g), r.mT), lambda g, r, a, b: solve(a.mT, g)
)
logdet = of_torch("logdet", lambda g, r, x: g.unsqueeze(-1).unsqueeze(-1) * inv(x).mT, takes=lambda x: (x,))
det = of_torch("linalg.det", lambda g, r, x: (g * r).unsqueeze(-1).unsqueeze(-1) * inv(x).mT)
det_of_any = op(  # also of a singular matrix, which has no inverse
    "det_of_any",
    "det({})",
    torch.linalg.det,
    lambda g, r, x: g.unsqueeze(-1).unsqueeze(-1) * cofactors(x),
    code="det_of_any({})",
    in_torch="torch.linalg.det({})",
)


def cofactors(x):
    """The derivative of det: at each place, the determinant of what is left without its row and its column, signed."""
    n = x.shape[-1]
    rest = torch.tensor([[each for each in range(n) if each != left_out] for left_out in range(n)], device=x.device)
    rest = rest.long().reshape(n, max(n - 1, 0))
    signs = torch.tensor([[(-1.0) ** (i + j) for j in range(n)] for i in range(n)], dtype=x.dtype, device=x.device)
    return det_of_any(x[..., rest[:, None, :, None], rest[None, :, None, :]]) * signs.reshape(n, n)


logabsdet = op(
    "logabsdet",
    "torch.linalg.slogdet({})[1]",
    lambda x: torch.linalg.slogdet(x)[1],
    lambda g, r, x: g.unsqueeze(-1).unsqueeze(-1) * inv(x).mT,
    code="logabsdet({})",
    in_torch="torch.linalg.slogdet({})[1]",
)


def half(is_upper: bool) -> str:
    return "U" if is_upper else "L"


eigenvalues = op(
    "eigenvalues",
    lambda x, is_upper: f"eigvalsh({x})",
    lambda x, is_upper: torch.linalg.eigvalsh(x, half(is_upper)),
    lambda g, r, x, is_upper: eigenvectors(x, is_upper) * g.unsqueeze(-2) @ eigenvectors(x, is_upper).mT,
    code="eigenvalues({}, {})",
)
eigenvectors = op(
    "eigenvectors",
    lambda x, is_upper: f"eigenvectors({x})",
    lambda x, is_upper: torch.linalg.eigh(x, half(is_upper))[1],
    lambda g, r, x, is_upper: symmetric(r @ (r.mT @ g * inverse_gaps(eigenvalues(x, is_upper))) @ r.mT),
    code="eigenvectors({}, {})",
)


def inverse_gaps(values):
    """1 / (b - a) for each two eigenvalues, 0 for equal ones."""
    gaps = values.unsqueeze(-2) - values.unsqueeze(-1)
    return masked(1 / where(gaps == 0, 1.0, gaps), gaps == 0)


def lower_half(x):
    """The lower triangle, of its diagonal the half: what a symmetric matrix is twice."""
    return (x.tril() + x.tril(-1)) * 0.5


cholesky = of_torch(  # r r.mT = x. Murray (2016), Differentiation of the Cholesky decomposition
    "linalg.cholesky", lambda g, r, x: symmetric(solve(r.mT, lower_half(r.mT @ g) @ inv(r)))
)


def symmetric(x):
    return (x + x.mT) * 0.5


# --- parts of any matrix. Of a step dx, U' and V' turn by F * (U.mT @ dx @ V) in both; see torch's svd_backward -------

svdvals = of_torch(
    "linalg.svdvals",
    lambda g, r, x: svd_left(x) * g.unsqueeze(-2) @ svd_right(x).mT,
    takes=lambda x, *, driver=None: (x,),
)


def svd_left_vjp(g, r, x):
    s, right = svdvals(x), svd_right(x)
    inner = r.mT @ g
    turned = inner * inverse_gaps(s * s)
    return (r @ ((turned + turned.mT) * s.unsqueeze(-2)) + (g - r @ inner) / s.unsqueeze(-2)) @ right.mT


svd_left = op(
    "svd_left",
    "svd_left({})",
    lambda x: torch.linalg.svd(x, False)[0],
    lambda g, r, x: svd_left_vjp(g, r, x),
    in_torch="torch.linalg.svd({}, False)[0]",
)
svd_right = op(
    "svd_right",
    "svd_right({})",
    lambda x: torch.linalg.svd(x, False)[2].mT,
    lambda g, r, x: svd_right_vjp(g, r, x),
    in_torch="torch.linalg.svd({}, False)[2].mT",
)


def svd_right_vjp(g, r, x):
    s, left = svdvals(x), svd_left(x)
    inner = r.mT @ g
    turned = inner * inverse_gaps(s * s)
    return left @ (s.unsqueeze(-1) * (turned + turned.mT) @ r.mT + ((g - r @ inner) / s.unsqueeze(-2)).mT)


def lower_copied(x):
    """The lower triangle, mirrored to the upper."""
    return x.tril() + x.tril(-1).mT


qr_left = op(  # of at least as many rows as columns. Walter and Lehmann (2010), Algorithmic differentiation of QR
    "qr_left",
    "qr_left({})",
    lambda x: torch.linalg.qr(x)[0],
    lambda g, r, x: solve(qr_right(x), (g - r @ lower_copied(g.mT @ r)).mT).mT,
    in_torch="torch.linalg.qr({})[0]",
)
qr_right = op(
    "qr_right",
    "qr_right({})",
    lambda x: torch.linalg.qr(x)[1],
    lambda g, r, x: solve(r, (qr_left(x) @ lower_copied(r @ g.mT)).mT).mT,
    in_torch="torch.linalg.qr({})[1]",
)


def pinv_vjp(g, r, x, rtol, is_symmetric):  # Golub and Pereyra (1973)
    h = g.mT
    return r.mT @ r @ (h - h @ r @ x) + (h - x @ (r @ h)) @ r @ r.mT - r.mT @ g @ r.mT


pinv = op(
    "pinv",
    lambda x, rtol, is_symmetric: f"pinv({x})",
    lambda x, rtol, is_symmetric: torch.linalg.pinv(x, rtol=rtol, hermitian=is_symmetric),
    pinv_vjp,
    code="pinv({}, {}, {})",
)


def matrix_exp_vjp(g, r, x):
    """The corner of exp([[x.mT, g], [0, x.mT]])."""
    n = x.shape[-1]
    twice = padded(x.mT, (0, n, 0, n), 0.0) + padded(x.mT, (n, 0, n, 0), 0.0) + padded(g, (n, 0, 0, n), 0.0)
    return matrix_exp(twice)[..., :n, n:]


matrix_exp = of_torch("matrix_exp", matrix_exp_vjp, takes=lambda x: (x,))
