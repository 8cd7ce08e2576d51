"""Programs to begin with: each has a name (for the URL), a title and one sentence on what to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simplegrad.locks import cached_property

from .program import Program


@dataclass(frozen=True)
class Example:
    """`name`: as URLs and the command line say it. `sentence`: what it shows."""

    name: str
    title: str
    sentence: str
    text: str

    @cached_property
    def program(self) -> Program:
        return Program.parse(self.text, title=self.title)


def _chain(length: int) -> str:
    """x -> tanh(x), x -> x * weight, in turn: one statement an operation, since the language has no loops."""
    steps = ["x = x.tanh()", "x = x * w"]
    body = [steps[i % 2] for i in range(length)]
    return "\n".join(["x = rand(4, seed=1)", "w = full(4, 1.5)", "x0 = x", *body, "L0 = x.sum()", "grad(L0, [x0, w])"])


_ALL = (
    Example(
        "gradient-of-gradient",
        "A gradient of a gradient",
        "Differentiates the squared length of a gradient; with another aggregate for f, see which gradients get lost.",
        """\
a = tensor([0.3605, 0.9889, 0.8768, 0.5413])
b = tensor([0.2517, 0.3470, 0.8960, 0.3315])
L0 = f(a, b).sum()
da, db = grad(L0, [a, b])
L1 = (da*da + db*db).sum()
grad(L1, [a, b])
""",
    ),
    Example(
        "first-gradient",
        "A first gradient",
        "One backward pass over two operations; b is used twice, so its gradient is a sum of two contributions.",
        """\
a = tensor([0.3605, 0.9889, 0.8768, 0.5413])
b = tensor([0.2517, 0.3470, 0.8960, 0.3315])
grad((a + b) * b, [a, b])
""",
    ),
    Example(
        "zero-gradients",
        "A gradient that is None",
        "The loss does not depend on b: its gradient is a known zero, None, and no tensor is made for it.",
        """\
a = tensor([0.3605, 0.9889, 0.8768, 0.5413])
b = tensor([0.2517, 0.3470, 0.8960, 0.3315])
da, db = grad(a * a, [a, b])
""",
    ),
    Example(
        "exercise",
        "Both incoming gradients at once",
        "The second pass reaches the result of f as well as its temporary: neither is None.",
        """\
a = tensor([0.3605, 0.9889, 0.8768, 0.5413])
b = tensor([0.2517, 0.3470, 0.8960, 0.3315])
L0 = (f(a, b)*a).sum()
da, db = grad(L0, [a, b])
L1 = (da*da + db*db).sum()
grad(L1, [a, b])
""",
    ),
    Example(
        "reuse",
        "A diamond",
        "x goes two ways that meet again, so two contributions are added up before the pass goes on to x's own entry.",
        """\
a = tensor([0.5, -1.0, 2.0])
x = a.tanh()
left = x * x
right = x.exp()
y = left + right
L0 = y.sum()
da, = grad(L0, [a])
""",
    ),
    Example(
        "broadcasting",
        "Broadcasting, and undoing it",
        "The bias is repeated for every row in the forward part; on the way back its gradient is summed over the rows.",
        """\
x = rand(3, 4, seed=1)
scale = tensor([[0.5], [1.0], [2.0]])
bias = tensor([0.1, 0.2, 0.3, 0.4])
y = x * scale + bias
L0 = (y * y).sum()
dx, dscale, dbias = grad(L0, [x, scale, bias])
""",
    ),
    Example(
        "third-order",
        "Three derivatives in a row",
        "Each pass records its own operations, and the next pass walks back through all of them: sin, cos, -sin, -cos.",
        """\
x = tensor([0.0, 0.5, 1.0])
L0 = x.sin().sum()
d1, = grad(L0, [x])
L1 = d1.sum()
d2, = grad(L1, [x])
L2 = d2.sum()
d3, = grad(L2, [x])
""",
    ),
    Example(
        "two-layer-network",
        "A network of two layers",
        "Two matrix products with tanh between them, then softmax cross-entropy over four points of three classes.",
        """\
x = randn(4, 2, seed=1)
w1 = randn(2, 5, seed=2)
b1 = zeros(5)
w2 = randn(5, 3, seed=3)
b2 = zeros(3)
hidden = (x @ w1 + b1).tanh()
logits = hidden @ w2 + b2
chosen = logits[[0, 1, 2, 3], [0, 2, 1, 1]]
loss = (logits.logsumexp(dim=1) - chosen).mean()
dw1, db1, dw2, db2 = grad(loss, [w1, b1, w2, b2])
""",
    ),
    Example(
        "rmsnorm",
        "RMSNorm",
        "Every element of a row goes into the row's scale, so x is reached over two ways: its gradient has two parts.",
        """\
x = randn(2, 4, seed=1)
weight = tensor([1.0, 0.5, 2.0, 1.5])
scale = ((x * x).mean(dim=-1, keepdim=True) + 0.00001).sqrt()
y = x / scale * weight
L0 = (y * tensor([0.1, 0.2, 0.3, 0.4])).sum()
dx, dweight = grad(L0, [x, weight])
""",
    ),
    Example(
        "gradient-penalty",
        "A gradient penalty",
        "The loss holds the length of a gradient, as when a critic is trained: its pass goes through an earlier one.",
        """\
x = randn(3, 2, seed=1)
w1 = randn(2, 4, seed=2)
w2 = randn(4, 1, seed=3)
score = (x @ w1).tanh() @ w2
dx, = grad(score, [x])
norm = (dx * dx).sum(dim=1).sqrt()
penalty = ((norm - 1) ** 2).mean()
loss = score.mean() + 10 * penalty
dw1, dw2 = grad(loss, [w1, w2])
""",
    ),
    Example(
        "chain-200",
        "200 operations in a row",
        "A long tape to walk along: steps, search and zoom should feel as quick here as on four operations.",
        _chain(200),
    ),
)

EXAMPLES: Mapping[str, Example] = {example.name: example for example in _ALL}
