"""Where a backward leaves the graph, and where it reads a value, found by running it: no word in the source counts."""

import torch
from torch.autograd import Function

from simplegrad import check

torch.set_num_threads(1)


def points():
    return torch.tensor([0.5, -1.0, 2.0], dtype=torch.double, requires_grad=True)


def function(forward, backward):
    return type("Made", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}).apply


def cubes(ctx, x):
    ctx.save_for_backward(x)
    return x**3


def cut(backward):
    (finding,) = [f for f in check(function(cubes, backward), points()).faults if f.code == "graph_cut_in_backward"]
    return finding


def test_a_constant_tensor_is_no_cut():
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        three = torch.tensor(3.0)
        y = x.detach()
        return three * g * y * y

    finding = cut(backward)
    assert finding.read_at.text == "y = x.detach()"
    assert "detach()" in finding.sentence


def test_a_shape_before_no_grad_is_no_cut():
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        torch.tensor(x.shape[0])
        with torch.no_grad():
            slope = 3 * x * x
        return slope * g

    finding = cut(backward)
    assert finding.read_at.text == "slope = 3 * x * x"
    assert "no_grad" in finding.sentence


def test_a_cut_that_enters_nothing_is_passed_over():
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        assert float(x.detach().abs().max()) < 100
        y = x.data
        return 3 * g * y * y

    assert cut(backward).read_at.text == "y = x.data"


def squared(x):
    return x.detach() ** 2


def test_a_cut_in_a_helper_has_the_helpers_line():
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * g * squared(x)

    assert cut(backward).read_at.text == "return x.detach() ** 2"


def test_a_comment_does_not_make_a_copy_a_detached_one():
    def copies(ctx, x):
        y = x.clone()  # nobody detaches it, nor takes its .data
        ctx.y = y
        return x**3

    def detaches(ctx, x):
        y = x.detach()
        ctx.y = y
        return x**3

    def backward(ctx, g):
        return 3 * g * ctx.y**2

    assert check(function(copies, backward), points()).verdict == "escaped_temporary"
    assert check(function(detaches, backward), points()).verdict == "stop_gradient_on_input"


def test_the_read_that_enters_the_gradient_is_named():
    def keeps(ctx, x):
        t = x * x
        ctx.t = t
        return x * t

    def backward(ctx, g):
        t = ctx.t
        ones = g.new_ones(t.shape)
        assert bool((t >= 0).all())
        return 3 * ones * t * g

    (finding,) = check(function(keeps, backward), points()).faults
    assert (finding.code, finding.read_at.text) == ("escaped_temporary", "return 3 * ones * t * g")


def test_a_fix_that_is_a_sketch_says_so_and_keeps_what_else_is_saved():
    def keeps(ctx, x):
        t = x * x
        ctx.save_for_backward(x, t)
        return x * t

    def backward(ctx, g):
        _, t = ctx.saved_tensors
        return 3 * t * g

    (finding,) = check(function(keeps, backward), points()).faults
    first, unpacked, again = finding.fix.splitlines()[:3]
    assert first.startswith("# a sketch")
    assert (unpacked, again) == ("*_, x = ctx.saved_tensors", "t = x * x")


def test_a_fix_never_repeats_a_change_in_place():
    def keeps(ctx, x):
        t = x.clone()
        t *= x
        ctx.save_for_backward(t)
        return x * t

    def backward(ctx, g):
        (t,) = ctx.saved_tensors
        return 3 * t * g

    (finding,) = check(function(keeps, backward), points()).faults
    assert "*=" not in finding.fix and finding.fix.startswith("# a sketch")


def test_zeros_to_write_into_are_no_cut():
    """They take a shape of the incoming gradient, and no number."""

    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        dx = g.new_zeros(x.shape)
        y = x.detach()
        dx = dx + 3 * g * y * y
        return dx

    assert cut(backward).read_at.text == "y = x.detach()"


def test_what_writes_to_one_place_twice_is_no_cut():
    def halves(ctx, x):
        return x.view(2, 2).amax(1)

    def backward(ctx, g):
        return torch.zeros(4, dtype=g.dtype).scatter(0, torch.tensor([1, 1]), g)

    codes = [f.code for f in check(function(halves, backward), torch.arange(4.0).double().requires_grad_()).faults]
    assert codes and "graph_cut_in_backward" not in codes
