"""Inverses, solutions and determinants of matrices, and of batches of them."""

from __future__ import annotations

import torch

from .choosing import masked, where
from .linear import matmul
from .table import op

inv = op("inv", "inv({})", torch.linalg.inv, lambda g, r, x: -(r.mT @ g @ r.mT), in_torch="torch.linalg.inv({})")
solve = op(  # of matrices b, whose batches are those of a
    "solve",
    "solve({}, {})",
    torch.linalg.solve,
    lambda g, r, a, b: -matmul(solve(a.mT, g), r.mT),
    lambda g, r, a, b: solve(a.mT, g),
    in_torch="torch.linalg.solve({}, {})",
)
logdet = op(
    "logdet",
    "logdet({})",
    torch.logdet,
    lambda g, r, x: g.unsqueeze(-1).unsqueeze(-1) * inv(x).mT,
    in_torch="torch.logdet({})",
)

det = op(
    "det",
    "det({})",
    torch.linalg.det,
    lambda g, r, x: (g * r).unsqueeze(-1).unsqueeze(-1) * inv(x).mT,
    in_torch="torch.linalg.det({})",
)
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


eigvalsh = op(
    "eigvalsh",
    "eigvalsh({})",
    torch.linalg.eigvalsh,
    lambda g, r, x: eigenvectors(x) * g.unsqueeze(-2) @ eigenvectors(x).mT,
    in_torch="torch.linalg.eigvalsh({})",
)
eigenvectors = op(
    "eigenvectors",
    "eigenvectors({})",
    lambda x: torch.linalg.eigh(x)[1],
    lambda g, r, x: r @ (r.mT @ g * inverse_gaps(eigvalsh(x))) @ r.mT,
    in_torch="torch.linalg.eigh({})[1]",
)


def inverse_gaps(values):
    """1 / (b - a) for each two eigenvalues, 0 for equal ones."""
    gaps = values.unsqueeze(-2) - values.unsqueeze(-1)
    return masked(1 / where(gaps == 0, 1.0, gaps), gaps == 0)


def lower_half(x):
    """The lower triangle, of its diagonal the half: what a symmetric matrix is twice."""
    return (x.tril() + x.tril(-1)) * 0.5


cholesky = op(  # r r.mT = x. Murray (2016), Differentiation of the Cholesky decomposition
    "cholesky",
    "cholesky({})",
    torch.linalg.cholesky,
    lambda g, r, x: symmetric(solve(r.mT, lower_half(r.mT @ g) @ inv(r))),
    in_torch="torch.linalg.cholesky({})",
)


def symmetric(x):
    return (x + x.mT) * 0.5
