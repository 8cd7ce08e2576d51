"""The one small change of a backward that makes its gradient right, found by trying."""

import pytest
import torch
from torch.autograd import Function

from simplegrad import check

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
