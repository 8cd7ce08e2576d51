"""The first NaN or infinity of a PyTorch run: forward, backward, second backward, custom Functions, from outside."""

from pathlib import Path

import pytest
import torch
from torch.autograd import Function

from simplegrad import Trace, find_nonfinite, record_torch


@pytest.fixture(params=["norm", "full"])
def values(request):
    return request.param


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.double, requires_grad=True)


def line_of(text):
    lines = Path(__file__).read_text().splitlines()
    return 1 + next(i for i, line in enumerate(lines) if line.endswith(f"# {text}"))


class Halves(Function):
    @staticmethod
    def forward(ctx, x):
        inner = x / (x - x)  # inside forward
        ctx.save_for_backward(x)
        return torch.where(torch.isfinite(inner), inner, x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        slope = 1 / (x - x)  # inside backward
        return g * slope


def test_a_finite_run_has_none(values):
    x = vector(1.0, 2.0)
    with record_torch(values) as trace:
        (g,) = torch.autograd.grad((x * x).sum(), x, create_graph=True)
        g.sum().backward()
    assert find_nonfinite(trace) is None


def test_log_of_zero_in_forward(values):
    x = vector(0.0, 1.0)
    with record_torch(values) as trace:
        y = torch.log(x)  # the log
        (y * 2).sum().backward()
    birth = find_nonfinite(trace)
    assert (birth.kind, birth.where, birth.value, birth.entry.operator) == ("inf", "forward", "y", "Log")
    assert birth.source == (__file__, line_of("the log"))


def test_zero_by_zero_in_forward(values):
    x = vector(0.0)
    with record_torch(values) as trace:
        (x / x).sum().backward()
    birth = find_nonfinite(trace)
    assert (birth.kind, birth.where, birth.entry.operator) == ("nan", "forward", "Div")


def test_root_at_zero_in_backward(values):
    x = vector(0.0, 4.0)
    with record_torch(values) as trace:
        y = x.sqrt()  # the root
        L = y.sum()
        L.backward()
    birth = find_nonfinite(trace)
    assert (birth.kind, birth.where, birth.pass_.title) == ("inf", "pass", "pass of L")
    assert (birth.entry.operator, birth.source) == ("Sqrt", (__file__, line_of("the root")))


def test_where_hides_it_in_forward_only(values):
    x = vector(0.0, 4.0)
    with record_torch(values) as trace:
        y = torch.where(x > 0, x.sqrt(), torch.zeros_like(x))  # the root behind where
        y.sum().backward()
    birth = find_nonfinite(trace)
    assert (birth.kind, birth.where, birth.entry.operator) == ("nan", "pass", "Sqrt")
    assert birth.source[1] == line_of("the root behind where")


def test_born_far_from_where_anomaly_mode_reports(values):
    """Anomaly mode stops at the product's backward; the infinity is as old as the quotient in forward."""
    x, w = vector(0.0, 2.0), vector(1.0, 1.0)

    def run():
        inverse = 1 / x  # the quotient
        scaled = inverse * w  # what anomaly mode reports
        return scaled.masked_fill(x == 0, 0.0).sum()

    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="MulBackward0"), torch.autograd.detect_anomaly():
        run().backward()
    with record_torch(values) as trace:
        run().backward()
    birth = find_nonfinite(trace)
    assert (birth.where, birth.source[1]) == ("forward", line_of("the quotient"))


def test_only_in_the_second_backward(values):
    """x ** 1.5 at 0: the first gradient is 0 there; in the second, 0 times infinity."""
    x = vector(0.0, 1.0)
    with record_torch(values) as trace:
        L0 = (x**1.5).sum()  # the power
        (g,) = torch.autograd.grad(L0, x, create_graph=True)
        L1 = (g * g).sum()
        L1.backward()
    birth = find_nonfinite(trace)
    assert torch.isfinite(g).all()
    assert (birth.where, birth.pass_.title) == ("pass", "pass of L1")
    assert birth.source == (__file__, line_of("the power"))


def test_inside_a_custom_forward(values):
    x = vector(2.0)
    with record_torch(values) as trace:
        Halves.apply(x).sum().backward()
    birth = find_nonfinite(trace)
    assert (birth.where, birth.kind, birth.source[1]) == ("forward", "inf", line_of("inside forward"))


@pytest.mark.parametrize("create_graph", [False, True])
def test_inside_a_custom_backward(values, create_graph):
    class Slope(Function):
        forward = staticmethod(lambda ctx, x: (ctx.save_for_backward(x), x * 2)[1])
        backward = Halves.backward

    x = vector(2.0)
    with record_torch(values) as trace:
        L = Slope.apply(x).sum()
        torch.autograd.grad(L, x, create_graph=create_graph)
    birth = find_nonfinite(trace)
    assert (birth.where, birth.pass_.title) == ("pass", "pass of L")
    assert birth.source == (__file__, line_of("inside backward"))


def test_a_parameter_that_has_one(values):
    x, w = vector(1.0, 2.0), vector(float("nan"), 1.0)
    with record_torch(values) as trace:
        (x * w).sum().backward()
    birth = find_nonfinite(trace)
    assert (birth.value, birth.is_outside, birth.kind) == ("w", True, "nan")


def test_data_that_has_one(values):
    batch, w = torch.tensor([1.0, float("inf")]), torch.ones(2, requires_grad=True)
    with record_torch(values) as trace:
        (batch * w).sum().backward()  # the batch
    birth = find_nonfinite(trace)
    assert (birth.value, birth.is_outside, birth.kind) == ("batch", True, "inf")
    assert birth.source[1] == line_of("the batch")


def test_data_that_goes_through_pytorchs_own_functions_keeps_its_name(values):
    batch = torch.tensor([[1.0, float("nan")]])
    with record_torch(values) as trace:
        torch.nn.Linear(2, 1)(batch).sum().backward()
    birth = find_nonfinite(trace)
    assert (birth.value, birth.is_outside) == ("batch", True)


def test_a_row_of_masks_is_the_birth_of_the_nan(values):
    x = vector(1.0, 2.0)
    with record_torch(values) as trace:
        scores = x.masked_fill(torch.tensor([True, True]), float("-inf"))
        torch.softmax(scores, 0).sum().backward()
    assert find_nonfinite(trace).entry.operator == "MaskedFill"
    assert find_nonfinite(trace, kinds=("nan",)).entry.operator == "Softmax"


LATER = torch.ones(3, 3, dtype=torch.bool).triu(1)
OUTER = torch.zeros(3, 3).masked_fill(LATER, float("-inf"))
MASKS = {
    "filled": lambda s: s.masked_fill(LATER, float("-inf")).softmax(-1),
    "added": lambda s: (s + torch.full((3, 3), float("-inf")).triu(1)).softmax(-1),
    "given": lambda s: (s + OUTER).softmax(-1),
    "chosen": lambda s: torch.where(LATER, torch.tensor(float("-inf")), s).logsumexp(-1),
    "the largest": lambda s: s.masked_fill(LATER, float("-inf")).max(-1).values,
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_that_is_taken_out_again_is_no_birth(name, values):
    x = torch.randn(3, 3, requires_grad=True)
    with record_torch(values) as trace:
        MASKS[name](x * 2).square().sum().backward()
    assert find_nonfinite(trace) is None


def test_a_mask_that_leaks_is_the_birth(values):
    x = torch.randn(3, 3, requires_grad=True)
    with record_torch(values) as trace:
        x.masked_fill(LATER, float("-inf")).square().sum().backward()
    assert find_nonfinite(trace).entry.operator == "MaskedFill"


def test_what_no_backward_reaches_is_told_by_its_line(values):
    with record_torch(values) as trace:
        torch.log(torch.zeros(2))  # no gradient needed
        torch.log(vector(0.0))
    birth = find_nonfinite(trace)
    assert (birth.where, birth.source[1]) == ("forward", line_of("no gradient needed"))


def test_memory_that_nobody_wrote_is_nobodys_nan(values):
    with record_torch(values) as trace:
        memory = torch.empty(4)
        memory.fill_(float("nan"))
        memory.copy_(torch.ones(4))
        (memory * vector(1.0, 2.0, 3.0, 4.0)).sum().backward()
    births = [e for e in trace.events if getattr(e, "value", None) is not None and e.kind == "Leaf"]
    assert "fill_" in births[0].value.note
    assert len(births) == 2


def test_looking_changes_no_bit(values):
    x, other = vector(0.0, 0.5), vector(0.0, 0.5)

    def run(x):
        (g,) = torch.autograd.grad((x**1.5 / x).sum(), x, create_graph=True)
        g.sum().backward()
        return x.grad

    with record_torch(values):
        recorded = run(x)
    assert recorded.isnan().any()
    assert torch.equal(recorded.view(torch.int64), run(other).view(torch.int64))


def test_it_is_the_same_after_a_file(values, tmp_path):
    x = vector(0.0, 4.0)
    with record_torch(values) as trace:
        x.sqrt().sum().backward()
    trace.save(tmp_path / "run.trace")
    assert find_nonfinite(Trace.load(tmp_path / "run.trace")).sentence == find_nonfinite(trace).sentence


def test_without_numbers_it_says_so():
    x = vector(0.0)
    with record_torch("none") as trace:
        x.log().sum().backward()
    assert any("No numbers were kept" in notice for notice in trace.notices)
    with pytest.raises(ValueError, match="values='norm'"):
        find_nonfinite(trace)
