"""Expressions over all operators, with shapes that broadcast in all ways; and how they are run to an order."""

import torch

from simplegrad import Tape, Variable, grad

M, V, C = (3, 4), (4,), (3, 1)
CASES = [
    ("(a + b) * b", [M, M]),
    ("(a + b) * b", [M, V]),
    ("(a + b) * b", [V, C]),
    ("a / b", [M, V]),
    ("a ** b", [M, V]),
    ("a ** 3 + 2 ** b", [V, M]),
    ("(a - b).abs() + (1 - a) / 2 + 3 / b", [M, C]),
    ("a.exp().log() * a.sqrt() + a.sin() * a.cos()", [M]),
    ("a.tanh() * b.sigmoid()", [M, V]),
    ("(a - b).relu() * b", [M, V]),
    ("maximum(a, b) * minimum(a, c)", [M, V, C]),
    ("maximum(a * b, a + b).log()", [M, V]),
    ("where(a > b, a * b, b) * a", [M, V]),
    ("where((a > 0.5) & ~(b > 1), a, 2.0) * b", [M, V]),
    ("where(a * b > 0.6, a.log(), b)", [M, V]),
    ("a.sum(dim=0) * b", [M, V]),
    ("a.sum() * a", [M]),
    ("a.sum(dim=(0, -1)) * b", [(2, 3, 4), (3,)]),
    ("a.sum(dim=(3, -2)).sin()", [(2, 2, 2, 3)]),
    ("a.mean(dim=(-1, -3)).exp()", [(2, 3, 4)]),
    ("a.mean(dim=-1, keepdim=True) * a", [M]),
    ("a.mean() * b", [M, V]),
    ("a.amax(dim=1) * a.amax()", [M]),
    ("(a * b).amax(dim=-1, keepdim=True) * a", [M, V]),
    ("a.amax(dim=(0, 1)).sin()", [M]),
    ("a.logsumexp(dim=1) * b", [M, (3,)]),
    ("a.logsumexp()", [M]),
    ("a.logsumexp(dim=(0, 1), keepdim=True) * a", [M]),
    ("a.softmax(dim=-1) * b", [M, V]),
    ("(a * 2).softmax(0).log() * a", [M]),
    ("a.expand(3, 4) * b", [V, M]),
    ("a.expand(*b.shape) * b", [V, M]),
    ("a.expand(b.shape[0], -1) * 2 * a", [V, M]),
    ("a.reshape(2, -1).sin() * a.reshape(2, -1)", [V]),
    ("a.reshape(b.shape) * b", [M, (4, 3)]),
    ("a.transpose(0, 1) * b", [M, (4, 3)]),
    ("a.T @ a", [M]),
    ("a.permute(-1, 0, 1) * a.sum()", [(2, 3, 4)]),
    ("a[0] * a[1:, ::2].sum()", [M]),
    ("a[..., 1] * a[:, 0]", [M]),
    ("a[:, None] * b[None]", [V, (3,)]),
    ("a[a > 0.7].sum() * a", [M]),
    ("cat([a, b * 2, a], dim=0).sin()", [M, (2, 4)]),
    ("cat([a, b], dim=-1) * c", [M, (3, 2), C]),
    ("stack([a, a * a], dim=1).exp()", [M]),
    ("stack([a, a * a], dim=-1).exp() * 2", [M]),
    ("a @ b", [M, (4, 2)]),
    ("a @ b", [M, V]),
    ("a @ b", [(3,), M]),
    ("a @ b * 2", [V, V]),
    ("a @ b", [V, (2, 4, 3)]),
    ("a @ b", [(2, 3, 4), V]),
    ("(a @ b).tanh()", [(2, 3, 4), (4, 2)]),
    ("(a @ b).tanh() * c", [(2, 1, 3, 4), (5, 4, 2), (1, 2)]),
    ("(x @ w + b).tanh()", [M, (4, 2), (2,)]),
    ("x * ((x * x).mean(-1, keepdim=True) + 1e-6) ** -0.5 * w", [M, V]),
    (
        "m = x.mean(-1, keepdim=True)\nd = x - m\nv = (d * d).mean(-1, keepdim=True)\nd / (v + 1e-5).sqrt() * g + b",
        [M, V, V],
    ),
    ("(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v", [(2, 3, 4), (2, 5, 4), (2, 5, 2)]),
    ("t = a * b\nu = t.sin()\nv = t * u\nv + u * a", [M, V]),
    ("a", [M]),
    ("a * 0 + b", [M, V]),
    ("a.unsqueeze(1) * b", [V, (3,)]),
    ("a.squeeze(1) * 2 * a.sum()", [C]),
    ("a.flatten() * a.sum()", [M]),
    ("-(-a) * a.detach()", [M]),
    ("a.sum(dim=0).sum_to_size(1) * a", [M]),
    ("a ** 2 - a ** 0 + a ** 1 + a ** -0.5", [M]),
    ("a.exp() / a.exp().sum(dim=-1, keepdim=True)", [M]),
    ("a.relu() + (a * 2).relu() * b", [M, V]),
]


def inputs_of(shapes, seed=0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) + 0.2 for shape in shapes]


def climbed(function, inputs, order: int, none="skip", prune="none") -> list[list[torch.Tensor | None]]:
    """The gradients of all inputs at each order, each of a loss made of all those of the order before."""
    found = []
    with Tape():
        variables = [Variable.constant(x) for x in inputs]
        r = function(*variables)
        loss = (r * r.sin()).sum()
        for _ in range(order):
            gradients = grad(loss, variables, none=none, prune=prune)
            found.append([None if g is None else g.value for g in gradients])
            parts = [(g * g * weight + g).sum() for g, weight in zip(gradients, (0.7, 1.3, -0.4)) if g is not None]
            if not parts:
                break
            loss = parts[0]
            for part in parts[1:]:
                loss = loss + part
    return found


def assert_same(ours, theirs) -> None:
    """None is a known zero: it may stand against computed zeros, not against anything else."""
    assert len(ours) == len(theirs)
    for order, (mine, other) in enumerate(zip(ours, theirs), 1):
        for slot, (x, y) in enumerate(zip(mine, other)):
            where = f"order {order}, input {slot}"
            if x is None or y is None:
                assert all(each is None or not each.any() for each in (x, y)), where
            else:
                assert x.shape == y.shape, where
                torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-8, equal_nan=True, msg=where)
