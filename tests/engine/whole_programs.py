"""Whole programs as people write them who come from other autodiff libraries, in torch's names.

`PROGRAMS`: name -> (function, shapes of its inputs). Each gives a scalar, on Variables and on tensors alike; `gradient`
is `grad` or torch's.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

PROGRAMS: dict[str, tuple[Callable, list[tuple[int, ...]]]] = {}


def program(*shapes: tuple[int, ...]) -> Callable:
    def added(function: Callable) -> Callable:
        PROGRAMS[function.__name__] = function, list(shapes)
        return function

    return added


@program((8, 3), (3, 4), (4,), (4, 2), (2,))
def two_layers(gradient, X, W1, b1, W2, b2):
    return F.cross_entropy(torch.relu(X @ W1 + b1) @ W2 + b2, torch.arange(8) % 2)


@program((8, 3), (3,))
def hinge(gradient, X, w):
    signs = (torch.arange(8) % 2 * 2 - 1).double()
    return torch.clamp(1 - signs * (X @ w), min=0).mean() + 0.01 * (w**2).sum()


@program((5, 3), (3, 16), (4, 16), (16,))
def lstm(gradient, xs, Wx, Wh, b):
    h, c = torch.zeros(4).double(), torch.zeros(4).double()
    for t in range(5):
        i, f, g, o = (xs[t] @ Wx + h @ Wh + b).chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return h.sum()


@program((2, 5, 8), (8, 24))
def masked_attention(gradient, x, W):
    q, k, v = (x @ W).split(8, dim=-1)
    scores = q @ k.transpose(-2, -1) / math.sqrt(8)
    scores = scores.masked_fill(torch.triu(torch.ones(5, 5), 1).bool(), float("-inf"))
    return (scores.softmax(-1) @ v).pow(2).mean()


@program((4, 6), (6,), (6,))
def layer_norm(gradient, x, g, b):
    away = x - x.mean(-1, keepdim=True)
    by_hand = away / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-5) * g + b
    return (by_hand * F.layer_norm(x, (6,), g, b)).sum()


@program((6, 2), (6,))
def gaussian_process(gradient, X, y):
    distances = ((X[:, None, :] - X[None, :, :]) ** 2).sum(-1)
    K = torch.exp(-0.5 * distances) + 0.1 * torch.eye(6).double()
    L = torch.linalg.cholesky(K)
    return 0.5 * (y * torch.linalg.solve(K, y)).sum() + torch.log(torch.diagonal(L)).sum()


@program((4,), (4,))
def hessian_vector_product(gradient, x, v):
    (g,) = gradient((x.sin() * x**2).sum(), [x])
    (product,) = gradient((g * v).sum(), [x])
    return (product * product).sum()


@program((2,), (2, 2))
def runge_kutta(gradient, y, A):
    h = 0.1
    for _ in range(4):
        k1 = torch.tanh(A @ y)
        k2 = torch.tanh(A @ (y + h / 2 * k1))
        y = y + h * k2
    return (y**2).sum()


@program((5, 4), (5, 4), (5, 10))
def variational_autoencoder(gradient, mu, logvar, logits):
    divergence = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    seen = torch.full((5, 10), 0.4).double()
    return F.binary_cross_entropy(torch.sigmoid(logits), seen, reduction="sum") + divergence


@program((1, 2, 6, 6), (3, 2, 3, 3), (3,), (18, 3))
def convolutions(gradient, x, w, b, columns):
    windows = x.unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5).reshape(1, 16, 18)
    by_hand = (windows @ columns).tanh().sum()
    return F.max_pool2d(torch.relu(F.conv2d(x, w, b, padding=1)), 2).square().sum() + by_hand


@program((6, 6), (6, 6))
def fluid(gradient, u, v):
    for _ in range(2):
        mean = (torch.roll(u, 1, 0) + torch.roll(u, -1, 0) + torch.roll(u, 1, 1) + torch.roll(u, -1, 1)) / 4
        u, v = mean - 0.1 * (v * (torch.roll(u, -1, 1) - u)), 0.5 * v + 0.5 * torch.roll(v, 1, 0)
    return ((u - 1) ** 2).sum()


@program((4, 5), (4, 5))
def cosine(gradient, a, b):
    return (1 - F.cosine_similarity(a, b)).mean() + (a / a.norm(dim=1, keepdim=True)).sum()


@program((3, 4), (4, 5), (5, 3))
def einsum(gradient, A, B, C):
    return torch.einsum("ij,jk,ki->", A, B, C) + torch.einsum("ij,jk->ik", A, B).sin().sum()


@program((6,))
def order_statistics(gradient, x):
    values, _ = torch.sort(x)
    return (values * torch.arange(6)).sum() + x.topk(2)[0].sum() + x.max() - x.min() + x.median() + x.cumprod(0).sum()


@program((3,), (3,))
def adam(gradient, w, target):
    m = v = torch.zeros_like(w)
    for step in range(1, 4):
        (g,) = gradient(((w - target) ** 2).sum(), [w])
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        w = w - 0.1 * (m / (1 - 0.9**step)) / (torch.sqrt(v / (1 - 0.99**step)) + 1e-8)
    return (w**2).sum()


@program((6, 3), (7, 3))
def embeddings(gradient, wanted, table):
    rows = F.embedding(torch.tensor([0, 2, 2, 5, 6, 1]), table)
    return F.mse_loss(rows, wanted, reduction="sum") + F.normalize(table, dim=1).sum()


@program((4, 4))
def control_flow(gradient, x):
    for _ in range(3):
        x = x * 0.5 if x.sum() > 5 else x + 0.1
    return x.prod()


@program((10, 1), (1, 6), (6,), (6, 1))
def learning_to_learn(gradient, X, W1, b1, W2):
    """Two tasks, two inner steps each: gradients flow through the steps."""
    total = 0.0
    for a in (0.5, 1.5):
        target, parameters = torch.sin(a * torch.linspace(0, 2, 10).double()).unsqueeze(1), [W1, b1, W2]
        for _ in range(2):
            loss = F.mse_loss(torch.tanh(X @ parameters[0] + parameters[1]) @ parameters[2], target)
            parameters = [p - 0.05 * g for p, g in zip(parameters, gradient(loss, parameters))]
        total = total + F.mse_loss(torch.tanh(X @ parameters[0] + parameters[1]) @ parameters[2], target)
    return total


@program((2, 2), (2, 2), (1, 2), (4, 1))
def kalman_filter(gradient, A, Q, H, measured):
    one = torch.eye(2).double()
    x, P, nll = torch.zeros(2, 1).double(), one, 0.0
    for y in measured:
        x, P = A @ x, A @ P @ A.T + Q @ Q.T
        S = H @ P @ H.T + 0.1 * torch.eye(1).double()
        K, r = P @ H.T @ torch.linalg.inv(S), y.view(1, 1) - H @ x
        nll = nll + 0.5 * (r.T @ torch.linalg.inv(S) @ r + torch.logdet(S)).squeeze()
        x, P = x + K @ r, (one - K @ H) @ P
    return nll


@program((5, 3), (3, 3), (3,))
def normalizing_flow(gradient, x, W, b):
    """By the determinant, of matrices that have an inverse and of one that has none."""
    A = W + 2 * torch.eye(3).double()
    flat = torch.stack([b, 2 * b, W[0]])
    z = x @ A
    return (z * z).sum(1).mean() / 2 - torch.linalg.slogdet(A)[1] - torch.det(A).log() + torch.linalg.det(flat)


@program((6, 3))
def principal_components(gradient, X):
    centred = X - X.mean(0)
    spread, axes = torch.linalg.eigh(centred.T @ centred / 6)
    return spread[-1] / spread.sum() + (centred @ axes[:, -1]).pow(4).mean() + torch.linalg.norm(X, "nuc")


@program((1,), (1,))
def residual_of_an_equation(gradient, x, w):
    """u'' + 2u' + 2u of a guess u(x), by gradients of gradients."""
    u = torch.sin(w * x) * torch.exp(-x)
    (first,) = gradient(u.sum(), [x])
    (second,) = gradient(first.sum(), [x])
    return ((second + 2 * first + 2 * u) ** 2).sum()


@program((4, 4), (4, 4), (4, 4))
def distances_and_margins(gradient, a, near, far):
    losses = F.triplet_margin_loss(a, near, far) + F.cosine_embedding_loss(a, near, torch.ones(4).double())
    return losses + torch.linalg.matrix_power(a, 3).mean() + torch.sinc(a - near).sum() + torch.trapezoid(far).mean()


@program((2, 1, 4, 4), (3, 1, 2, 2), (3, 1, 2, 2))
def convolutional_autoencoder(gradient, images, narrow, wide):
    code = F.max_pool2d(torch.tanh(F.conv2d(images, narrow, padding=1)), 2)
    again = F.conv_transpose2d(code, wide, stride=2)
    return F.mse_loss(again, images) + F.interpolate(code, size=4, mode="bilinear").square().mean()


@program((1, 1, 4, 4), (2, 3))
def spatial_transformer(gradient, image, theta):
    grid = F.affine_grid(theta.unsqueeze(0), [1, 1, 3, 3], align_corners=False)
    return F.grid_sample(image, grid, align_corners=False).square().sum()


@program((6, 3), (6,))
def robust_regression(gradient, X, y):
    Q, R = torch.linalg.qr(X)
    w = torch.linalg.solve_triangular(R, (Q.T @ y).unsqueeze(1), upper=True).squeeze(1)
    away = (y - X @ w).abs()
    return F.huber_loss(X @ w, y) + torch.quantile(away, 0.8) + torch.corrcoef(X.T).square().sum()


@program((3, 3), (3, 4))
def low_rank(gradient, A, B):
    U, S, V = torch.linalg.svd(B, full_matrices=False)
    best = U[:, :1] * S[:1] @ V[:1]
    return (B - best).square().sum() + torch.matrix_exp(A).trace() + torch.linalg.pinv(B).square().sum()


@program((5, 4))
def smoothed_labels(gradient, logits):
    classes = torch.tensor([0, 3, 1, 2, -100])
    smooth = F.cross_entropy(logits, classes, label_smoothing=0.1, weight=torch.arange(1.0, 5).double())
    return smooth + F.cross_entropy(logits, classes, label_smoothing=0.2, reduction="sum")
