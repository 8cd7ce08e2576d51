"""The aggregates of `aggregates.py` as torch.autograd.Functions: the same mathematics, the same fault, the same code.

`TWINS[name]` is (broken, right). `# BUG` marks the line that a check must name.
"""

from __future__ import annotations

import torch
from torch.autograd import Function

TWINS: dict[str, tuple[type[Function], type[Function]]] = {}

# What only an aggregate can get wrong, and why.
TAPE_ALONE = {
    "log_softmax": "a tensor where a Variable belongs",
    "softplus_by_value": "a tensor where a Variable belongs",
    "cube_product_all_raw": "a tensor where a Variable belongs",
    "unlisted_input": "an entry that does not list an input",
    "recorded_and_written_by_hand": "an entry beside entries that were recorded for the same values",
    "bias_broadcast": "PyTorch sums a gradient that is too large to the shape of its input, which is right here",
}


def twins(make):
    """Decorate a function, named after the pair, that returns (broken, right)."""
    TWINS[make.__name__] = make()
    return make


def function(forward, backward, name):
    """A Function of these two, as somebody would write the class."""
    return type(name, (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


# --- escaped temporaries ---------------------------------------------------------------------------------------------


@twins
def rms_norm():
    def keeps(ctx, x, w):
        rms = (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()  # BUG
        ctx.save_for_backward(x, w, rms)
        return x / rms * w

    def from_kept(ctx, g):
        x, w, rms = ctx.saved_tensors
        n = x / rms
        gn = g * w
        return (gn - n * (gn * n).mean(-1, keepdim=True)) / rms, (g * n).sum(0)

    def saves(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w

    def recomputes(ctx, g):
        x, w = ctx.saved_tensors
        rms = (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        n = x / rms
        gn = g * w
        return (gn - n * (gn * n).mean(-1, keepdim=True)) / rms, (g * n).sum(0)

    return function(keeps, from_kept, "RmsNorm"), function(saves, recomputes, "RmsNorm")


@twins
def layer_norm():
    def keeps(ctx, x):
        centred = x - x.mean(-1, keepdim=True)
        istd = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()  # BUG
        y = centred * istd
        ctx.save_for_backward(y, istd)
        return y

    def backward(ctx, g):
        y, istd = ctx.saved_tensors
        return (g - g.mean(-1, keepdim=True) - y * (g * y).mean(-1, keepdim=True)) * istd

    def declares(ctx, x):
        centred = x - x.mean(-1, keepdim=True)
        istd = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        y = centred * istd
        ctx.save_for_backward(y, istd)
        return y, istd

    def of_both(ctx, g, g_istd):
        y, istd = ctx.saved_tensors
        direct = (g - g.mean(-1, keepdim=True) - y * (g * y).mean(-1, keepdim=True)) * istd
        return direct - g_istd * istd * istd * y / y.shape[-1]

    return function(keeps, backward, "LayerNorm"), function(declares, of_both, "LayerNorm")


@twins
def cross_entropy():
    labels = torch.tensor([1, 0, 3])
    picked = torch.nn.functional.one_hot(labels, 4)

    def keeps(ctx, logits):
        p = logits.softmax(-1)  # BUG
        ctx.save_for_backward(p)
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")

    def from_kept(ctx, g):
        (p,) = ctx.saved_tensors
        return g.unsqueeze(-1) * (p - picked)

    def saves(ctx, logits):
        ctx.save_for_backward(logits)
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")

    def recomputes(ctx, g):
        (logits,) = ctx.saved_tensors
        return g.unsqueeze(-1) * (logits.softmax(-1) - picked)

    return function(keeps, from_kept, "CrossEntropy"), function(saves, recomputes, "CrossEntropy")


@twins
def swish():
    def keeps(ctx, x):
        s = torch.sigmoid(x)  # BUG
        ctx.s = s
        ctx.save_for_backward(x)
        return x * s

    def from_kept(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (ctx.s + x * ctx.s * (1 - ctx.s))

    def declares(ctx, x):
        s = torch.sigmoid(x)
        ctx.save_for_backward(x, s)
        return x * s, s

    def of_both(ctx, g, gs):
        x, s = ctx.saved_tensors
        return g * s + (gs + g * x) * s * (1 - s)

    return function(keeps, from_kept, "Swish"), function(declares, of_both, "Swish")


@twins
def linear_bias_activation():
    def keeps(ctx, x, w, b):
        z = x @ w + b  # BUG
        ctx.save_for_backward(x, w, z)
        return z.tanh()

    def from_kept(ctx, g):
        x, w, z = ctx.saved_tensors
        gz = g * (1 - z.tanh() ** 2)
        return gz @ w.T, x.T @ gz, gz.sum(0)

    def saves(ctx, x, w, b):
        y = (x @ w + b).tanh()
        ctx.save_for_backward(x, w, y)
        return y

    def from_output(ctx, g):
        x, w, y = ctx.saved_tensors
        gz = g * (1 - y * y)
        return gz @ w.T, x.T @ gz, gz.sum(0)

    return function(keeps, from_kept, "TanhLayer"), function(saves, from_output, "TanhLayer")


@twins
def attention_core():
    scale = 2**-0.5

    def keeps(ctx, q, k, v):
        p = (q @ k.T * scale).softmax(-1)  # BUG
        ctx.save_for_backward(q, k, v, p)
        return p @ v

    def from_kept(ctx, g):
        q, k, v, p = ctx.saved_tensors
        gp = g @ v.T
        gs = (gp - (gp * p).sum(-1, keepdim=True)) * p * scale
        return gs @ k, gs.T @ q, p.T @ g

    def saves(ctx, q, k, v):
        ctx.save_for_backward(q, k, v)
        return (q @ k.T * scale).softmax(-1) @ v

    def recomputes(ctx, g):
        q, k, v = ctx.saved_tensors
        p = (q @ k.T * scale).softmax(-1)
        gp = g @ v.T
        gs = (gp - (gp * p).sum(-1, keepdim=True)) * p * scale
        return gs @ k, gs.T @ q, p.T @ g

    return function(keeps, from_kept, "Attention"), function(saves, recomputes, "Attention")


@twins
def quotient_with_constant():
    def keeps(ctx, a, b):
        inverse = 1 / b  # BUG
        r = a * inverse
        ctx.save_for_backward(inverse, r)
        return r

    def from_kept(ctx, g):
        inverse, r = ctx.saved_tensors
        ga = g * inverse
        return ga, -(ga * r)

    def saves(ctx, a, b):
        r = a / b
        ctx.save_for_backward(b, r)
        return r

    def from_output(ctx, g):
        b, r = ctx.saved_tensors
        ga = g / b
        return ga, -(ga * r)

    return function(keeps, from_kept, "Quotient"), function(saves, from_output, "Quotient")


# --- None ------------------------------------------------------------------------------------------------------------


def two_outputs(ctx, a, b):
    ctx.set_materialize_grads(False)
    t = a + b
    ctx.save_for_backward(b, t)
    return t * b, t


def of_two_outputs(ctx, gr, gt):
    b, t = ctx.saved_tensors
    gb = None
    if gr is not None:
        gt = gr * b if gt is None else gt + gr * b
        gb = gr * t
    return gt, gt if gb is None else gb + gt


@twins
def sum_times_raises():
    def adds_up(ctx, gr, gt):
        b, t = ctx.saved_tensors
        gt = gt + gr * b  # BUG
        return gt, gt + gr * t

    return function(two_outputs, adds_up, "SumTimes"), function(two_outputs, of_two_outputs, "SumTimes")


@twins
def exp_and_its_square():
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        e = x.exp()
        y = e.square()
        ctx.save_for_backward(e)
        return y, e

    def gives_up(ctx, gy, ge):
        (e,) = ctx.saved_tensors
        if gy is None:
            return None  # BUG
        through = gy * e * 2
        return (through if ge is None else ge + through) * e

    def of_either(ctx, gy, ge):
        (e,) = ctx.saved_tensors
        if gy is not None:
            ge = gy * e * 2 if ge is None else ge + gy * e * 2
        return None if ge is None else ge * e

    return function(forward, gives_up, "ExpSquare"), function(forward, of_either, "ExpSquare")


# --- missing uses ----------------------------------------------------------------------------------------------------


def saves_both(ctx, a, b):
    ctx.save_for_backward(a, b)
    t = a + b
    return t * b


def sum_times(ctx, g):
    a, b = ctx.saved_tensors
    gt = g * b
    return gt, gt + g * (a + b)


@twins
def sum_times_forgets_one():
    def forgets(ctx, g):
        a, b = ctx.saved_tensors
        gt = g * b
        return gt, gt  # BUG

    return function(saves_both, forgets, "SumTimes"), function(saves_both, sum_times, "SumTimes")


@twins
def quadratic_form():
    def forward(ctx, x, m):
        ctx.save_for_backward(x, m)
        return x @ m @ x

    def half(ctx, g):
        x, m = ctx.saved_tensors
        return g * (m @ x), g * torch.outer(x, x)  # BUG

    def whole(ctx, g):
        x, m = ctx.saved_tensors
        return g * (m @ x + m.T @ x), g * torch.outer(x, x)

    return function(forward, half, "QuadraticForm"), function(forward, whole, "QuadraticForm")


@twins
def rms_norm_forgets_the_norm():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ms = x.square().mean(-1, keepdim=True)  # BUG
        return x / ms.sqrt()

    def forgets(ctx, g):
        (x,) = ctx.saved_tensors
        return g / x.square().mean(-1, keepdim=True).sqrt()

    def whole(ctx, g):
        (x,) = ctx.saved_tensors
        norm = x.square().mean(-1, keepdim=True).sqrt()
        y = x / norm
        return (g - y * (g * y).mean(-1, keepdim=True)) / norm

    return function(forward, forgets, "RmsNorm"), function(forward, whole, "RmsNorm")


# --- wrong partials --------------------------------------------------------------------------------------------------


@twins
def tanh_forgets_the_square():
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    def forgets(ctx, g):
        (y,) = ctx.saved_tensors
        slope = 1 - y  # BUG
        return g * slope

    def whole(ctx, g):
        (y,) = ctx.saved_tensors
        return g * (1 - y * y)

    return function(forward, forgets, "Tanh"), function(forward, whole, "Tanh")


@twins
def difference_with_a_wrong_sign():
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return (a - b) * a

    def wrong(ctx, g):
        a, b = ctx.saved_tensors
        gt = g * a
        ga = g * (a - b) + gt
        return ga, gt  # BUG

    def whole(ctx, g):
        a, b = ctx.saved_tensors
        return g * (2 * a - b), -g * a

    return function(forward, wrong, "Difference"), function(forward, whole, "Difference")


@twins
def logsumexp_not_normalised():
    def forward(ctx, x):
        y = x.logsumexp(-1)
        ctx.save_for_backward(x, y)
        return y

    def wrong(ctx, g):
        x, y = ctx.saved_tensors
        e = (x - 2 * y.unsqueeze(-1)).exp()  # BUG
        return g.unsqueeze(-1) * e

    def whole(ctx, g):
        x, y = ctx.saved_tensors
        return g.unsqueeze(-1) * (x - y.unsqueeze(-1)).exp()

    return function(forward, wrong, "LogSumExp"), function(forward, whole, "LogSumExp")


@twins
def linear_forgets_the_mean():
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return (x @ w).mean(0)

    def forgets(ctx, g):
        x, w = ctx.saved_tensors
        each = g.expand(3, 2) / 3
        gw = x.T @ each * 3  # BUG
        return each @ w.T, gw

    def whole(ctx, g):
        x, w = ctx.saved_tensors
        each = g.expand(3, 2) / 3
        return each @ w.T, x.T @ each

    return function(forward, forgets, "MeanLinear"), function(forward, whole, "MeanLinear")


# --- order, count, shape ---------------------------------------------------------------------------------------------


@twins
def quotient_swapped():
    def forward(ctx, a, b):
        r = a / b
        ctx.save_for_backward(b, r)
        return r

    def swapped(ctx, g):
        b, r = ctx.saved_tensors
        ga = g / b
        return -(ga * r), ga  # BUG

    def whole(ctx, g):
        b, r = ctx.saved_tensors
        ga = g / b
        return ga, -(ga * r)

    return function(forward, swapped, "Quotient"), function(forward, whole, "Quotient")


@twins
def matmul_swapped():
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w

    def swapped(ctx, g):
        x, w = ctx.saved_tensors
        return x.T @ g, g @ w.T  # BUG

    def whole(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.T, x.T @ g

    return function(forward, swapped, "Matmul"), function(forward, whole, "Matmul")


@twins
def bias_forgotten():
    def forward(ctx, x, b):
        y = (x + b).sigmoid()
        ctx.save_for_backward(y)
        return y

    def one(ctx, g):
        (y,) = ctx.saved_tensors
        gz = g * y * (1 - y)
        return gz  # BUG

    def both(ctx, g):
        (y,) = ctx.saved_tensors
        gz = g * y * (1 - y)
        return gz, gz.sum(0)

    return function(forward, one, "Bias"), function(forward, both, "Bias")


@twins
def mean_not_spread():
    def forward(ctx, x):
        ctx.n = x.shape[0]
        return x.mean()

    def scalar(ctx, g):
        return g / ctx.n  # BUG

    def spread(ctx, g):
        return (g / ctx.n).expand(ctx.n)

    return function(forward, scalar, "Mean"), function(forward, spread, "Mean")


# --- changed in place ------------------------------------------------------------------------------------------------


@twins
def exp_normalised_in_place():
    def in_place(ctx, x):
        e = x.exp()
        ctx.e = e
        total = e.sum()
        e /= total  # BUG
        ctx.save_for_backward(x)
        return e.square()

    def of_kept(ctx, g):
        (x,) = ctx.saved_tensors
        p = ctx.e / ctx.e.sum()
        gp = g * p * 2
        share = gp * ctx.e / x.exp().sum()
        return share - p * (gp * p).sum()

    def saves(ctx, x):
        ctx.save_for_backward(x)
        return x.softmax(-1).square()

    def recomputes(ctx, g):
        (x,) = ctx.saved_tensors
        p = x.softmax(-1)
        gp = g * p * 2
        return gp * p - p * (gp * p).sum()

    return function(in_place, of_kept, "SquaredSoftmax"), function(saves, recomputes, "SquaredSoftmax")


@twins
def product_written_over():
    def in_place(ctx, a, b):
        t = a + b
        ctx.t = t
        ctx.save_for_backward(b)
        r = t.mul_(b)  # BUG
        return r.clone()

    def of_kept(ctx, g):
        (b,) = ctx.saved_tensors
        gt = g * b
        return gt, gt + g * ctx.t

    return function(in_place, of_kept, "SumTimes"), function(saves_both, sum_times, "SumTimes")


# --- declared temporaries --------------------------------------------------------------------------------------------


@twins
def sum_times_ignores_t():
    def ignores(ctx, gr, _):  # BUG
        b, t = ctx.saved_tensors
        if gr is None:
            return None, None
        gt = gr * b
        return gt, gt + gr * t

    return function(two_outputs, ignores, "SumTimes"), function(two_outputs, of_two_outputs, "SumTimes")


@twins
def norm_overwrites_the_gradient():
    def forward(ctx, x):
        n = x.square().sum(-1, keepdim=True).sqrt()
        ctx.save_for_backward(x, n)
        return x / n, n

    def overwrites(ctx, g, gn):  # BUG
        x, n = ctx.saved_tensors
        y = x / n
        gn = -(g * y / n).sum(-1, keepdim=True)
        return g / n + gn * y

    def adds(ctx, g, gn):
        x, n = ctx.saved_tensors
        y = x / n
        gn = gn - (g * y / n).sum(-1, keepdim=True)
        return g / n + gn * y

    return function(forward, overwrites, "UnitNorm"), function(forward, adds, "UnitNorm")


# --- counted twice ---------------------------------------------------------------------------------------------------


@twins
def sum_times_adds_twice():
    def twice(ctx, g):
        a, b = ctx.saved_tensors
        gt = g * b
        ga = gt + gt  # BUG
        return ga, g * a + 2 * g * b

    return function(saves_both, twice, "SumTimes"), function(saves_both, sum_times, "SumTimes")


@twins
def residual_counted_twice():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x + x.sin()

    def twice(ctx, g):
        (x,) = ctx.saved_tensors
        return g + g + g * x.cos()  # BUG

    def once(ctx, g):
        (x,) = ctx.saved_tensors
        return g + g * x.cos()

    return function(forward, twice, "Residual"), function(forward, once, "Residual")
