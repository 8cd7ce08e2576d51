"""Memory that nobody wrote, and memory that was given back: neither is read as if it held numbers."""

import pytest
import torch
from torch.autograd import Function

from simplegrad import check


def leaf(*shape):
    return torch.linspace(-1, 2, torch.Size(shape).numel(), dtype=torch.double).reshape(shape).requires_grad_()


class Picked(Function):
    @staticmethod
    def forward(ctx, x, index):
        ctx.save_for_backward(index)
        ctx.count = len(x)
        return 2 * x[index]

    @staticmethod
    def backward(ctx, g):
        (index,) = ctx.saved_tensors
        grad = g.new_empty(ctx.count)
        grad[index] = 2 * g
        return grad, None


class Scan(Function):
    @staticmethod
    def forward(ctx, x):
        return x.cumsum(0)

    @staticmethod
    def backward(ctx, g):
        grad, carried = torch.empty_like(g), 0.0
        for i in range(len(g) - 2, -1, -1):  # one too few
            carried = carried + g[i]
            grad[i] = carried
        return grad


def named(finding):
    return finding.made_at.text, finding.read_at.text.splitlines()


def test_elements_that_are_never_written_are_told_as_such():
    report = check(Picked.apply, leaf(6), torch.tensor([0, 2, 3]))
    (fault,) = report.faults
    assert report.verdict == "wrong_gradient" and "3 of 6 elements" in fault.sentence
    assert named(fault) == ("grad = g.new_empty(ctx.count)", ["grad[index] = 2 * g"])


def test_of_a_loop_that_is_too_short_its_head_is_named_too():
    (fault,) = (each for each in check(Scan.apply, leaf(5)).faults if each.order == 1)
    assert fault.explanation == "elements that are never written"
    assert named(fault)[1][0].startswith("for i in range") and named(fault)[1][-1].strip() == "grad[i] = carried"


def test_a_buffer_that_is_written_wholly_is_no_fault():
    class Whole(Scan):
        @staticmethod
        def backward(ctx, g):
            grad = torch.empty_like(g)
            grad[:] = g.flip(0).cumsum(0).flip(0)
            return grad

    assert check(Whole.apply, leaf(5)).ok


class Frees(Function):
    """As reversible layers do: the memory of its input is given back, to be made again in backward."""

    @staticmethod
    def forward(ctx, x):
        y = 2 * x.detach()
        ctx.save_for_backward(x)
        x.untyped_storage().resize_(0)
        return y

    @staticmethod
    def backward(ctx, g):
        return 2 * g


def test_what_gives_memory_back_is_not_read_and_the_input_has_its_numbers_again():
    x = leaf(3)
    before = x.tolist()
    report = check(lambda x: Frees.apply(x.clone()), x)
    assert report.verdict == "unverified" and "gives the memory of" in report.unverified[0].sentence
    assert check(Frees.apply, x).verdict == "unverified" and x.tolist() == before


class FreesAConstant(Function):
    constant = torch.arange(400.0, dtype=torch.double)[:3].clone()
    part = torch.arange(4000.0, dtype=torch.double)[::100]

    @staticmethod
    def forward(ctx, x):
        y = x * FreesAConstant.constant * FreesAConstant.part[:3]
        for each in (FreesAConstant.constant, FreesAConstant.part):
            each.untyped_storage().resize_(0)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * 1.0


def test_what_it_gives_back_of_others_has_its_numbers_again_where_they_lay():
    wide, part = FreesAConstant.part.untyped_storage().nbytes(), FreesAConstant.part.tolist()
    assert check(FreesAConstant.apply, leaf(3)).verdict == "unverified"
    assert FreesAConstant.part.untyped_storage().nbytes() == wide and FreesAConstant.part.tolist() == part
    assert FreesAConstant.constant.tolist() == [0.0, 1.0, 2.0]


def test_an_input_without_memory_is_refused():
    x = leaf(3)
    x.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="has no memory"):
        check(torch.sin, x)
