"""Broken hand-written aggregates, each with its repaired twin. `# BUG` marks the line that a check must name.

Nothing in `simplegrad.checks` knows these: they are here to hold its rules to numbers and flow of data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from simplegrad import TapeEntry, Variable, add_optional, gradient_tape


@dataclass
class Pair:
    """`code`: the verdict on the broken one; `slot`: the value it must name; `notes`: those that the twin earns."""

    name: str
    broken: object
    twin: object
    inputs: tuple
    code: str
    slot: str = ""
    order: int = 1
    notes: tuple = ()


PAIRS: list[Pair] = []


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) + 0.25


def pair(code: str, *inputs: torch.Tensor, slot: str = "", order: int = 1, notes: tuple = ()):
    """Decorate a function that returns (broken, twin)."""

    def register(make):
        broken, twin = make()
        PAIRS.append(Pair(make.__name__, broken, twin, inputs, code, slot, order, notes))
        return make

    return register


def entry(inputs, outputs, propagate):
    gradient_tape.append(TapeEntry([x.name for x in inputs], [y.name for y in outputs], propagate))


def sum_times_twin(a, b):
    t = Variable(a.value + b.value, name="t")
    r = Variable(t.value * b.value)

    def propagate(dL_doutputs):
        dL_dr, dL_dt = dL_doutputs
        dL_db = None
        if dL_dr is not None:
            dL_dt = add_optional(dL_dt, dL_dr * b)
            dL_db = dL_dr * t
        return [dL_dt, add_optional(dL_db, dL_dt)]

    entry([a, b], [r, t], propagate)
    return r


def bias_twin(x, b):
    y = Variable((x.value + b.value).sigmoid())

    def propagate(dL_doutputs):
        (g,) = dL_doutputs
        dL_dz = g * y * (1 - y)
        return [dL_dz, dL_dz.sum(dim=0)]

    entry([x, b], [y], propagate)
    return y


# --- escaped temporaries ---------------------------------------------------------------------------------------------


@pair("escaped_temporary", rand(2, 4), rand(4, seed=1), slot="rms", order=2)
def rms_norm():
    def broken(x, w):
        rms = Variable((x.value.square().mean(-1, keepdim=True) + 1e-5).sqrt(), name="rms")  # BUG
        y = Variable(x.value / rms.value * w.value)

        def propagate(dL_doutputs):
            (dL_dy,) = dL_doutputs
            n = x / rms
            dL_dn = dL_dy * w
            dL_dx = (dL_dn - n * (dL_dn * n).mean(dim=-1, keepdim=True)) / rms
            return [dL_dx, (dL_dy * n).sum(dim=0)]

        entry([x, w], [y], propagate)
        return y

    def twin(x, w):
        rms = Variable((x.value.square().mean(-1, keepdim=True) + 1e-5).sqrt(), name="rms")
        y = Variable(x.value / rms.value * w.value)

        def propagate(dL_doutputs):
            dL_dy, dL_drms = dL_doutputs
            dL_dx = dL_dw = None
            if dL_dy is not None:
                dL_dn = dL_dy * w
                dL_dx = dL_dn / rms
                through = -(dL_dn / rms * x / rms).sum(dim=-1, keepdim=True)
                dL_drms = add_optional(dL_drms, through)
                dL_dw = (dL_dy * x / rms).sum(dim=0)
            dL_dx = add_optional(dL_dx, dL_drms * x / rms / x.shape[-1])
            return [dL_dx, dL_dw]

        entry([x, w], [y, rms], propagate)
        return y

    return broken, twin


@pair("escaped_temporary", rand(2, 4), slot="istd", order=2)
def layer_norm():
    def broken(x):
        centred = x.value - x.value.mean(-1, keepdim=True)
        istd = Variable((centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt())  # BUG
        y = Variable(centred * istd.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [(g - g.mean(dim=-1, keepdim=True) - y * (g * y).mean(dim=-1, keepdim=True)) * istd]

        entry([x], [y], propagate)
        return y

    def twin(x):
        centred = x.value - x.value.mean(-1, keepdim=True)
        istd = Variable((centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt(), name="istd")
        y = Variable(centred * istd.value)

        def propagate(dL_doutputs):
            g, dL_distd = dL_doutputs
            dL_dx = None
            if g is not None:
                dL_dx = (g - g.mean(dim=-1, keepdim=True) - y * (g * y).mean(dim=-1, keepdim=True)) * istd
            if dL_distd is not None:
                dL_dx = add_optional(dL_dx, -(dL_distd * istd * istd * y / x.shape[-1]))
            return [dL_dx]

        entry([x], [y, istd], propagate)
        return y

    return broken, twin


@pair("escaped_temporary", rand(3, 4), slot="p", order=2)
def cross_entropy():
    labels = torch.tensor([1, 0, 3])
    picked = torch.nn.functional.one_hot(labels, 4)

    def broken(logits):
        p = Variable(logits.value.softmax(-1), name="p")  # BUG
        loss = Variable(torch.nn.functional.cross_entropy(logits.value, labels, reduction="none"))

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g.unsqueeze(-1) * (p - Variable.constant(picked.to(p.dtype)))]

        entry([logits], [loss], propagate)
        return loss

    def twin(logits):
        p = Variable(logits.value.softmax(-1), name="p")
        loss = Variable(torch.nn.functional.cross_entropy(logits.value, labels, reduction="none"))

        def propagate(dL_doutputs):
            g, dL_dp = dL_doutputs
            dL_dlogits = None
            if g is not None:
                dL_dlogits = g.unsqueeze(-1) * (p - Variable.constant(picked.to(p.dtype)))
            if dL_dp is not None:
                dL_dlogits = add_optional(dL_dlogits, (dL_dp - (dL_dp * p).sum(dim=-1, keepdim=True)) * p)
            return [dL_dlogits]

        entry([logits], [loss, p], propagate)
        return loss

    return broken, twin


@pair("escaped_temporary", rand(4), slot="s", order=2)
def swish():
    def broken(x):
        s = Variable(x.value.sigmoid())  # BUG
        y = Variable(x.value * s.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g * (s + y * (1 - s))]

        entry([x], [y], propagate)
        return y

    def twin(x):
        s = Variable(x.value.sigmoid())
        y = Variable(x.value * s.value)

        def propagate(dL_doutputs):
            g, dL_ds = dL_doutputs
            dL_dx = None
            if g is not None:
                dL_dx = g * s
                dL_ds = add_optional(dL_ds, g * x)
            return [add_optional(dL_dx, dL_ds * s * (1 - s))]

        entry([x], [y, s], propagate)
        return y

    return broken, twin


@pair("escaped_temporary", rand(3, 2), rand(2, 2, seed=1), rand(2, seed=2), slot="z", order=2)
def linear_bias_activation():
    def broken(x, w, b):
        z = Variable(x.value @ w.value + b.value, name="z")  # BUG
        y = Variable(z.value.tanh())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            t = z.tanh()
            dL_dz = g * (1 - t * t)
            return [dL_dz @ w.T, x.T @ dL_dz, dL_dz.sum(dim=0)]

        entry([x, w, b], [y], propagate)
        return y

    def twin(x, w, b):
        y = Variable((x.value @ w.value + b.value).tanh())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            dL_dz = g * (1 - y * y)
            return [dL_dz @ w.T, x.T @ dL_dz, dL_dz.sum(dim=0)]

        entry([x, w, b], [y], propagate)
        return y

    return broken, twin


@pair("escaped_temporary", rand(3, 2), rand(3, 2, seed=1), rand(3, 2, seed=2), slot="p", order=2)
def attention_core():
    scale = 2**-0.5

    def rule(q, k, v, p, dL_dp):
        dL_ds = (dL_dp - (dL_dp * p).sum(dim=-1, keepdim=True)) * p * scale
        return dL_ds @ k, dL_ds.T @ q

    def broken(q, k, v):
        p = Variable((q.value @ k.value.T * scale).softmax(-1), name="p")  # BUG
        o = Variable(p.value @ v.value)

        def propagate(dL_doutputs):
            (dL_do,) = dL_doutputs
            dL_dq, dL_dk = rule(q, k, v, p, dL_do @ v.T)
            return [dL_dq, dL_dk, p.T @ dL_do]

        entry([q, k, v], [o], propagate)
        return o

    def twin(q, k, v):
        p = Variable((q.value @ k.value.T * scale).softmax(-1), name="p")
        o = Variable(p.value @ v.value)

        def propagate(dL_doutputs):
            dL_do, dL_dp = dL_doutputs
            dL_dv = None
            if dL_do is not None:
                dL_dp = add_optional(dL_dp, dL_do @ v.T)
                dL_dv = p.T @ dL_do
            return [*rule(q, k, v, p, dL_dp), dL_dv]

        entry([q, k, v], [o, p], propagate)
        return o

    return broken, twin


@pair("escaped_temporary", rand(4), rand(4, seed=1), slot="inverse", order=2)
def quotient_with_constant():
    """A leaf is no better than an undeclared Variable: to the tape both are constants."""

    def broken(a, b):
        inverse = Variable.constant(1 / b.value)  # BUG
        r = Variable(a.value * inverse.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            dL_da = g * inverse
            return [dL_da, -(dL_da * r)]

        entry([a, b], [r], propagate)
        return r

    def twin(a, b):
        r = Variable(a.value / b.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            dL_da = g / b
            return [dL_da, -(dL_da * r)]

        entry([a, b], [r], propagate)
        return r

    return broken, twin


# --- raw tensors -----------------------------------------------------------------------------------------------------


@pair("raw_tensor_captured", rand(3, 4), slot="p")
def log_softmax():
    def broken(x):
        y = Variable(x.value.log_softmax(-1))
        p = y.value.exp()  # BUG

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g - g.sum(dim=-1, keepdim=True) * p]

        entry([x], [y], propagate)
        return y

    def twin(x):
        y = Variable(x.value.log_softmax(-1))

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g - g.sum(dim=-1, keepdim=True) * y.exp()]

        entry([x], [y], propagate)
        return y

    return broken, twin


@pair("raw_tensor_captured", rand(4), order=2)
def softplus_by_value():
    def broken(x):
        y = Variable(torch.nn.functional.softplus(x.value))

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            s = Variable(x.value.sigmoid())  # BUG
            return [g * s]

        entry([x], [y], propagate)
        return y

    def twin(x):
        y = Variable(torch.nn.functional.softplus(x.value))

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g * x.sigmoid()]

        entry([x], [y], propagate)
        return y

    return broken, twin


@pair("raw_tensor_captured", rand(3), rand(3, seed=1), order=2)
def cube_product_all_raw():
    def broken(a, b):
        r = Variable(a.value**3 * b.value)

        def propagate(dL_doutputs):
            g = dL_doutputs[0].value
            dL_da = Variable(g * 3 * a.value**2 * b.value)  # BUG
            dL_db = Variable(g * a.value**3)
            return [dL_da, dL_db]

        entry([a, b], [r], propagate)
        return r

    def twin(a, b):
        r = Variable(a.value**3 * b.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g * 3 * a**2 * b, g * a * a * a]

        entry([a, b], [r], propagate)
        return r

    return broken, twin


# --- None ------------------------------------------------------------------------------------------------------------


@pair("none_not_handled", rand(4), rand(4, seed=1), slot="t")
def sum_times_raises():
    def broken(a, b):
        t = Variable(a.value + b.value, name="t")
        r = Variable(t.value * b.value)

        def propagate(dL_doutputs):
            dL_dr, dL_dt = dL_doutputs
            dL_dt = dL_dt + dL_dr * b  # BUG
            return [dL_dt, dL_dt + dL_dr * t]

        entry([a, b], [r, t], propagate)
        return r

    def twin(a, b):
        t = Variable(a.value + b.value, name="t")
        r = Variable(t.value * b.value)

        def propagate(dL_doutputs):
            dL_dr, dL_dt = dL_doutputs
            if dL_dr is None:
                return [dL_dt, dL_dt]
            dL_dt = add_optional(dL_dt, dL_dr * b)
            return [dL_dt, dL_dt + dL_dr * t]

        entry([a, b], [r, t], propagate)
        return r

    return broken, twin


@pair("none_not_handled", rand(4), slot="y")
def exp_and_its_square():
    def broken(x):
        e = Variable(x.value.exp(), name="e")
        y = Variable(e.value.square(), name="y")

        def propagate(dL_doutputs):
            dL_dy, dL_de = dL_doutputs
            if dL_dy is None:
                return [None]  # BUG
            return [add_optional(dL_de, dL_dy * e * 2) * e]

        entry([x], [y, e], propagate)
        return y

    def twin(x):
        e = Variable(x.value.exp(), name="e")
        y = Variable(e.value.square(), name="y")

        def propagate(dL_doutputs):
            dL_dy, dL_de = dL_doutputs
            if dL_dy is not None:
                dL_de = add_optional(dL_de, dL_dy * e * 2)
            return [dL_de * e]

        entry([x], [y, e], propagate)
        return y

    return broken, twin


# --- missing uses ----------------------------------------------------------------------------------------------------


@pair("missing_use", rand(4), rand(4, seed=1), slot="b")
def sum_times_forgets_one():
    def broken(a, b):
        t = Variable(a.value + b.value, name="t")
        r = Variable(t.value * b.value)

        def propagate(dL_doutputs):
            dL_dr, dL_dt = dL_doutputs
            if dL_dr is not None:
                dL_dt = add_optional(dL_dt, dL_dr * b)
            return [dL_dt, dL_dt]  # BUG

        entry([a, b], [r, t], propagate)
        return r

    return broken, sum_times_twin


@pair("missing_use", rand(3), rand(3, 3, seed=1), slot="x", notes=("recomputed",))
def quadratic_form():
    def broken(x, m):
        r = Variable(x.value @ m.value @ x.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g * (m @ x), g * x.unsqueeze(1) * x.unsqueeze(0)]  # BUG

        entry([x, m], [r], propagate)
        return r

    def twin(x, m):
        r = Variable(x.value @ m.value @ x.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g * (m @ x + m.T @ x), g * x.unsqueeze(1) * x.unsqueeze(0)]

        entry([x, m], [r], propagate)
        return r

    return broken, twin


@pair("missing_use", rand(2, 4), slot="x", notes=("recomputed",))
def rms_norm_forgets_the_norm():
    def broken(x):
        ms = x.value.square().mean(-1, keepdim=True)  # BUG
        y = Variable(x.value / ms.sqrt())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g / (x * x).mean(dim=-1, keepdim=True).sqrt()]

        entry([x], [y], propagate)
        return y

    def twin(x):
        ms = x.value.square().mean(-1, keepdim=True)
        y = Variable(x.value / ms.sqrt())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            norm = (x * x).mean(dim=-1, keepdim=True).sqrt()
            return [(g - y * (g * y).mean(dim=-1, keepdim=True)) / norm]

        entry([x], [y], propagate)
        return y

    return broken, twin


@pair("missing_use", rand(3), rand(3, seed=1), slot="b")
def unlisted_input():
    def broken(a, b):
        r = Variable(a.value * b.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g * b]

        gradient_tape.append(TapeEntry([a.name], [r.name], propagate))  # BUG
        return r

    def twin(a, b):
        r = Variable(a.value * b.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g * b, g * a]

        entry([a, b], [r], propagate)
        return r

    return broken, twin


# --- wrong partials --------------------------------------------------------------------------------------------------


@pair("wrong_partial", rand(4) - 0.7, slot="x")
def tanh_forgets_the_square():
    def broken(x):
        y = Variable(x.value.tanh())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            slope = 1 - y  # BUG
            return [g * slope]

        entry([x], [y], propagate)
        return y

    def twin(x):
        y = Variable(x.value.tanh())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g * (1 - y * y)]

        entry([x], [y], propagate)
        return y

    return broken, twin


@pair("wrong_partial", rand(4), rand(4, seed=1), slot="b")
def difference_with_a_wrong_sign():
    def broken(a, b):
        r = Variable((a.value - b.value) * a.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            dL_dt = g * a
            dL_da = g * (a - b) + dL_dt
            return [dL_da, dL_dt]  # BUG

        entry([a, b], [r], propagate)
        return r

    def twin(a, b):
        r = Variable((a.value - b.value) * a.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            dL_dt = g * a
            return [g * (a * 2 - b), -dL_dt]

        entry([a, b], [r], propagate)
        return r

    return broken, twin


@pair("wrong_partial", rand(2, 3), slot="x")
def logsumexp_not_normalised():
    def broken(x):
        y = Variable(x.value.logsumexp(-1))

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            e = (x - y.unsqueeze(-1) * 2).exp()  # BUG
            return [g.unsqueeze(-1) * e]

        entry([x], [y], propagate)
        return y

    def twin(x):
        y = Variable(x.value.logsumexp(-1))

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g.unsqueeze(-1) * (x - y.unsqueeze(-1)).exp()]

        entry([x], [y], propagate)
        return y

    return broken, twin


@pair("wrong_partial", rand(3, 2), rand(2, 2, seed=1), slot="w")
def linear_forgets_the_mean():
    def broken(x, w):
        y = Variable((x.value @ w.value).mean(0))

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            each = g.expand(3, 2) / 3
            dL_dw = x.T @ each * 3  # BUG
            return [each @ w.T, dL_dw]

        entry([x, w], [y], propagate)
        return y

    def twin(x, w):
        y = Variable((x.value @ w.value).mean(0))

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            each = g.expand(3, 2) / 3
            return [each @ w.T, x.T @ each]

        entry([x, w], [y], propagate)
        return y

    return broken, twin


# --- order, count, shape ---------------------------------------------------------------------------------------------


@pair("wrong_order", rand(4), rand(4, seed=1), slot="a")
def quotient_swapped():
    def broken(a, b):
        r = Variable(a.value / b.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            dL_da = g / b
            return [-(dL_da * r), dL_da]  # BUG

        entry([a, b], [r], propagate)
        return r

    def twin(a, b):
        r = Variable(a.value / b.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            dL_da = g / b
            return [dL_da, -(dL_da * r)]

        entry([a, b], [r], propagate)
        return r

    return broken, twin


@pair("wrong_order", rand(3, 2), rand(2, 4, seed=1), slot="x")
def matmul_swapped():
    def broken(x, w):
        y = Variable(x.value @ w.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [x.T @ g, g @ w.T]  # BUG

        entry([x, w], [y], propagate)
        return y

    def twin(x, w):
        y = Variable(x.value @ w.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g @ w.T, x.T @ g]

        entry([x, w], [y], propagate)
        return y

    return broken, twin


@pair("wrong_count", rand(3, 2), rand(2, seed=1))
def bias_forgotten():
    def broken(x, b):
        y = Variable((x.value + b.value).sigmoid())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            dL_dz = g * y * (1 - y)
            return [dL_dz]  # BUG

        entry([x, b], [y], propagate)
        return y

    return broken, bias_twin


@pair("wrong_shape", rand(3, 2), rand(2, seed=1), slot="b")
def bias_broadcast():
    def broken(x, b):
        y = Variable((x.value + b.value).sigmoid())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            dL_dz = g * y * (1 - y)
            return [dL_dz, dL_dz]  # BUG

        entry([x, b], [y], propagate)
        return y

    return broken, bias_twin


@pair("wrong_shape", rand(5), slot="x")
def mean_not_spread():
    def broken(x):
        y = Variable(x.value.mean())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g / 5]  # BUG

        entry([x], [y], propagate)
        return y

    def twin(x):
        y = Variable(x.value.mean())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [(g / 5).expand(5)]

        entry([x], [y], propagate)
        return y

    return broken, twin


# --- changed in place ------------------------------------------------------------------------------------------------


@pair("captured_value_mutated", rand(4), slot="e", notes=("recomputed",))
def exp_normalised_in_place():
    def broken(x):
        e = x.value.exp()
        e_v = Variable(e, name="e")
        total = e.sum()
        e /= total  # BUG
        r = Variable(e.square())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            p = e_v / e_v.sum()
            dL_dp = g * p * 2
            share = dL_dp * e_v / x.exp().sum()
            return [share - p * (dL_dp * p).sum()]

        entry([x], [r], propagate)
        return r

    def twin(x):
        r = Variable(x.value.softmax(-1).square())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            p = x.softmax(-1)
            dL_dp = g * p * 2
            return [dL_dp * p - p * (dL_dp * p).sum()]

        entry([x], [r], propagate)
        return r

    return broken, twin


@pair("captured_value_mutated", rand(4), rand(4, seed=1), slot="t")
def product_written_over():
    def broken(a, b):
        t = Variable(a.value + b.value, name="t")
        r = Variable(t.value.mul_(b.value))  # BUG

        def propagate(dL_doutputs):
            dL_dr, dL_dt = dL_doutputs
            dL_db = None
            if dL_dr is not None:
                dL_dt = add_optional(dL_dt, dL_dr * b)
                dL_db = dL_dr * t
            return [dL_dt, add_optional(dL_db, dL_dt)]

        entry([a, b], [r, t], propagate)
        return r

    return broken, sum_times_twin


# --- declared temporaries --------------------------------------------------------------------------------------------


@pair("ignored_output_gradient", rand(4), rand(4, seed=1), slot="t")
def sum_times_ignores_t():
    def broken(a, b):
        t = Variable(a.value + b.value, name="t")
        r = Variable(t.value * b.value)

        def propagate(dL_doutputs):
            dL_dr, _ = dL_doutputs  # BUG
            if dL_dr is None:
                return [None, None]
            dL_dt = dL_dr * b
            return [dL_dt, dL_dt + dL_dr * t]

        entry([a, b], [r, t], propagate)
        return r

    return broken, sum_times_twin


@pair("ignored_output_gradient", rand(2, 4), slot="n")
def norm_overwrites_the_gradient():
    def broken(x):
        n = Variable(x.value.square().sum(-1, keepdim=True).sqrt(), name="n")
        y = Variable(x.value / n.value)

        def propagate(dL_doutputs):
            g, dL_dn = dL_doutputs  # BUG
            if g is None:
                return [None]
            dL_dn = -(g * y / n).sum(dim=-1, keepdim=True)
            return [g / n + dL_dn * y]

        entry([x], [y, n], propagate)
        return y

    def twin(x):
        n = Variable(x.value.square().sum(-1, keepdim=True).sqrt(), name="n")
        y = Variable(x.value / n.value)

        def propagate(dL_doutputs):
            g, dL_dn = dL_doutputs
            dL_dx = None
            if g is not None:
                dL_dn = add_optional(dL_dn, -(g * y / n).sum(dim=-1, keepdim=True))
                dL_dx = g / n
            return [add_optional(dL_dx, dL_dn * x / n)]

        entry([x], [y, n], propagate)
        return y

    return broken, twin


# --- counted twice ---------------------------------------------------------------------------------------------------


@pair("double_counted", rand(4), rand(4, seed=1), slot="a")
def sum_times_adds_twice():
    def broken(a, b):
        r = Variable((a.value + b.value) * b.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            dL_dt = g * b
            dL_da = dL_dt + dL_dt  # BUG
            return [dL_da, g * a + g * b * 2]

        entry([a, b], [r], propagate)
        return r

    def twin(a, b):
        r = Variable((a.value + b.value) * b.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g * b, g * a + g * b * 2]

        entry([a, b], [r], propagate)
        return r

    return broken, twin


@pair("double_counted", rand(3), slot="x")
def residual_counted_twice():
    def broken(x):
        y = Variable(x.value + x.value.sin())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g + g + g * x.cos()]  # BUG

        entry([x], [y], propagate)
        return y

    def twin(x):
        y = Variable(x.value + x.value.sin())

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g + g * x.cos()]

        entry([x], [y], propagate)
        return y

    return broken, twin


@pair("double_counted", rand(4), rand(4, seed=1))
def recorded_and_written_by_hand():
    def broken(a, b):
        r = a * b

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g * b, g * a]

        gradient_tape.append(TapeEntry([a.name, b.name], [r.name], propagate))  # BUG
        return r

    def twin(a, b):
        r = Variable(a.value * b.value)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            return [g * b, g * a]

        entry([a, b], [r], propagate)
        return r

    return broken, twin
