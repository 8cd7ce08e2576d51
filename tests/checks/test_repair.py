"""The one small change of a backward that makes its gradient right, found by trying."""

import math

import pytest
import torch
from torch.autograd import Function

from simplegrad import check
from simplegrad.checks.causes.rewriting import is_written

HEAD = """
import math
import torch
from torch.autograd import Function

class Made(Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return torch.tanh(x * w) * x.exp()

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        t = torch.tanh(x * w)
        inner = g * x.exp() * (1 - t * t)
        gx = inner * w + g * t * x.exp()
        return gx, inner * x
"""
RIGHT = ("inner = g * x.exp() * (1 - t * t)", "gx = inner * w + g * t * x.exp()", "return gx, inner * x")


def told(tmp_path, before, after):
    """The report on the Function above with one expression written wrong."""
    path = tmp_path / "made.py"
    path.write_text(HEAD.replace(before, after))
    names: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    generator = torch.Generator().manual_seed(3)
    x, w = (torch.randn(4, generator=generator, dtype=torch.double).requires_grad_() for _ in range(2))
    return check(names["Made"].apply, x, w)


@pytest.mark.parametrize(
    ("statement", "right", "wrong"),
    [
        (0, "1 - t * t", "1 + t * t"),
        (0, "1 - t * t", "1.5 - t * t"),
        (0, "x.exp() * (1", "x.expm1() * (1"),
        (1, "w + g * t", "w - g * t"),
        (1, "g * t * x.exp()", "g * t"),
        (2, "return gx, inner * x", "return gx, inner * w"),
    ],
)
def test_the_statement_and_what_belongs_there(tmp_path, statement, right, wrong):
    assert right in RIGHT[statement]
    report = told(tmp_path, right, wrong)
    line = next(i for i, text in enumerate(HEAD.splitlines(), 1) if RIGHT[statement] in text)
    assert [fault.read_at.first for fault in report.faults if fault.order == 1] == [line] * len(report.faults)


def test_what_is_written_instead_passes(tmp_path):
    fault = told(tmp_path, "1 - t * t", "1.5 - t * t").faults[0]
    assert "`1.5` stands where `1" in fault.explanation or "right" in fault.sentence
    fixed = HEAD.replace(RIGHT[0], fault.fix)
    assert "1.5" not in fault.fix and fault.fix in fixed
    assert told(tmp_path, HEAD, fixed).ok


def scaled(g, x):
    return 3 * g * x


class ByAHelper(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return scaled(g, x)


def test_what_a_helper_does_wrong_is_not_mended_where_it_is_called():
    fault = check(ByAHelper.apply, torch.rand(3, dtype=torch.double, requires_grad=True)).faults[0]
    assert fault.read_at.text == "return 3 * g * x" and "scaled" not in fault.fix


class OfTheClass(Function):
    power = 3

    @classmethod
    def forward(cls, ctx, x):
        ctx.save_for_backward(x)
        return x**cls.power

    @classmethod
    def backward(cls, ctx, g):
        (x,) = ctx.saved_tensors
        less = x ** (cls.power + 1)
        return g * cls.power * less


def test_a_class_method_is_changed_too():
    fault = check(OfTheClass.apply, torch.rand(3, dtype=torch.double).add(0.5).requires_grad_()).faults[0]
    assert fault.read_at.text == "less = x ** (cls.power + 1)" and "cls.power - 1" in fault.fix


class EndsEarly(Function):
    """A convolution whose backward leaves out the last window."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return torch.stack([(x[i : i + len(w)] * w).sum() for i in range(len(x) - len(w) + 1)])

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        gx, gw = torch.zeros_like(x), torch.zeros_like(w)
        for i in range(len(g) - 1):
            gx[i : i + len(w)] += g[i] * w
            gw += g[i] * x[i : i + len(w)]
        return gx, gw


def test_the_head_of_a_loop_is_changed_too():
    x, w = (torch.linspace(0.3, 1.9, n, dtype=torch.double).requires_grad_() for n in (7, 3))
    faults = [fault for fault in check(EndsEarly.apply, x, w, order=1).faults if fault.read_at]
    assert faults and {fault.read_at.text for fault in faults} == {"for i in range(len(g) - 1):"}


class LacksATerm(Function):
    """Both outputs come in; one of them is left out on the way."""

    @staticmethod
    def forward(ctx, x, w):
        y = torch.sin(x * w)
        ctx.save_for_backward(x, w, y)
        return y, y * y * x

    @staticmethod
    def backward(ctx, dy, dz):
        x, w, y = ctx.saved_tensors
        back = 2 * dz * y * x
        inner = back * torch.cos(x * w)
        return inner * w + dz * y * y, inner * x


def test_a_term_that_is_missing_is_found():
    x, w = (torch.linspace(0.3, 1.1, 4, dtype=torch.double).add(k / 7).requires_grad_() for k in range(2))
    fault = check(LacksATerm.apply, x, w, order=1).faults[0]
    either = ("back = 2 * dz * y * x", "inner = back * torch.cos(x * w)")
    assert fault.read_at is None or all(line in either for line in fault.read_at.text.splitlines())


class LacksAFunction(Function):
    """What is missing stands nowhere in backward: any of three statements could make up for it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 0.5 * x * (1 + torch.erf(x))

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        inside = x * torch.exp(-x * x) * 0.5641895835477563
        outside = 0.5 * (1 + x)
        return g * (outside + inside)


def test_of_what_is_not_known_no_other_line_is_named():
    fault = check(LacksAFunction.apply, torch.linspace(-1, 1, 5, dtype=torch.double).requires_grad_()).faults[0]
    assert fault.read_at is None or "inside =" not in fault.read_at.text


class Unbounded(Function):
    """Zero over zero where the norm is nothing, three lines before it is returned."""

    @staticmethod
    def forward(ctx, x):
        norm = x.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        ctx.save_for_backward(x, norm)
        return x / norm

    @staticmethod
    def backward(ctx, g):
        x, norm = ctx.saved_tensors
        unit = x / x.norm(dim=-1, keepdim=True)
        along = unit * (g * unit).sum(-1, keepdim=True)
        return (g - along) / norm


def test_nan_is_told_where_it_is_made():
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.double, requires_grad=True)
    fault = check(Unbounded.apply, x).faults[0]
    assert fault.code == "nonfinite_gradient" and fault.read_at.text == "unit = x / x.norm(dim=-1, keepdim=True)"


class Unbiased(Function):
    """Divides by the deviation, and its backward by another one: of 8 numbers by the root of 8/7 too large."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x)
        return w * (x - x.mean()) / x.var(unbiased=False).add(1e-5).sqrt()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        rstd = torch.rsqrt(x.var(unbiased=True) + 1e-5)
        return None, g * (x - x.mean()) * rstd


def test_a_number_that_nobody_writes_does_not_belong_anywhere():
    x, w = torch.randn(2, 8, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    (fault,) = check(lambda w: Unbiased.apply(x, w), w.requires_grad_(), order=1).faults
    assert "1.069" not in fault.sentence + fault.fix
    assert all(is_written(number) for number in (2 / 3, 0.044715, (2 / math.pi) ** 0.5, 1.702, -0.25, 1e-6))
    assert not any(is_written(number) for number in (2.6666667, 1.0690449676, 1.6487212707))


class Squashed(Function):
    """Steep over a billionth; the gradient of the scale lacks a division."""

    @staticmethod
    def forward(ctx, x, s):
        ctx.save_for_backward(x, s)
        return torch.tanh(x / s)

    @staticmethod
    def backward(ctx, g):
        x, s = ctx.saved_tensors
        d = g * (1 - torch.tanh(x / s) ** 2)
        return d / s, -(d * x / s).sum()


def test_differences_that_do_not_settle_are_no_truth():
    x, s = (torch.tensor(each, dtype=torch.double, requires_grad=True) for each in ([1e-9, -2e-9, 3e-10], 1e-9))
    (fault,) = check(Squashed.apply, x, s).faults
    assert fault.slot == "s", fault.sentence  # that of x is right
    assert fault.read_at.text == "return d / s, -(d * x / s).sum()"
