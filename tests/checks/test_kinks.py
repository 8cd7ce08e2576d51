"""At the given point itself: what is at a kink is held against its sides, and what nothing can be told of is said."""

import pytest
import torch

from simplegrad import Variable, check
from simplegrad.checks.report import HOLDS, NOT_TRIED
from tests.checks.right import RIGHT as COLLECTED

AT = (0.0, 1.3, 2.0)


def at(*numbers, dtype=torch.double):
    return torch.tensor(numbers, dtype=dtype, requires_grad=True)


def function(forward, backward):
    """A Function of one input: `backward(g, x, y)`."""

    class Made(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = forward(x)
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx, g):
            return backward(g, *ctx.saved_tensors)

    return Made.apply


def clause(report, number):
    return report.clauses[number - 1]


Root = function(torch.sqrt, lambda g, x, y: g / (2 * y))
XLogX = function(lambda x: torch.special.xlogy(x, x), lambda g, x, y: g * (x.log() + 1))
CubeRoot = function(lambda x: x.sign() * x.abs() ** (1 / 3), lambda g, x, y: g / (3 * y * y))
Falling = function(
    lambda x: x.sign() * x.abs() ** (1 / 3), lambda g, x, y: torch.where(y == 0, -g / 0 * 1.0, g / (3 * y * y))
)


# --- nothing to compare with ----------------------------------------------------------------------------------------


def hidden(x):
    length = x.square().sum(-1, keepdim=True).sqrt()
    return torch.where(length > 0, x / length.clamp(min=1e-12), torch.zeros_like(x))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_gradient_that_is_nan_is_not_called_correct(order):
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.double, requires_grad=True)
    report = check(hidden, x, order=order)
    assert (report.verdict, report.ok) == ("unverified", False)
    (told,) = report.unverified
    assert "nan at x[1, 0] and x[1, 1]" in told.sentence and "other inputs" in told.sentence
    assert clause(report, 2).state == NOT_TRIED
    assert all(error < 1e-6 for errors in report.errors.values() for error in errors.values())


@pytest.mark.parametrize("fn", [torch.log, Root, XLogX, CubeRoot])
@pytest.mark.parametrize("dtype", [torch.double, torch.float])
def test_what_was_compared_with_nothing_is_unverified_not_a_fault(fn, dtype):
    report = check(fn, at(*AT, dtype=dtype))
    assert report.verdict == "unverified", str(report)
    assert "At the given inputs" in report.unverified[0].sentence


@pytest.mark.parametrize("fn", [lambda x: x.sqrt(), lambda x: x.log(), lambda x: x / x])
def test_so_on_the_tape(fn):
    report = check(fn, Variable(torch.tensor(AT)))
    assert report.verdict == "unverified", str(report)


@pytest.mark.parametrize("fn", [Root, XLogX, CubeRoot, torch.asin])
def test_an_infinite_slope_is_confirmed_where_forward_is_so_steep(fn):
    x = at(-1.0, 0.3, 1.0) if fn is torch.asin else at(*AT)
    report = check(fn, x, order=1)
    assert report.verdict == "correct", str(report)
    assert "infinite at" in clause(report, 2).why


def test_an_infinity_of_the_wrong_sign_is_a_fault():
    assert check(Falling, at(*AT)).verdict == "nonfinite_gradient"


def test_a_nan_where_the_whole_has_a_slope_is_a_fault():
    report = check(lambda x: torch.where(x.abs() < 1e-3, x * 0, (x * x).sqrt()), at(*AT))
    assert report.verdict == "nonfinite_gradient", str(report)


# --- kinks ----------------------------------------------------------------------------------------------------------

RIGHT = {
    "relu, zero at zero": function(torch.relu, lambda g, x, y: g * (x > 0)),
    "relu, one at zero": function(torch.relu, lambda g, x, y: g * (x >= 0)),
    "abs, between": function(torch.abs, lambda g, x, y: g * x.sign()),
    "abs, of a side": function(torch.abs, lambda g, x, y: g * torch.where(x >= 0, 1.0, -1.0)),
    "leaky": function(lambda x: torch.where(x > 0, x, 0.1 * x), lambda g, x, y: g * torch.where(x > 0, 1.0, 0.1)),
    "three halves": function(lambda x: x.clamp(min=0) ** 1.5, lambda g, x, y: g * 1.5 * x.clamp(min=0).sqrt()),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("point", [AT, (0.0,) * 6])
def test_a_gradient_of_a_side_is_right(name, point):
    report = check(RIGHT[name], at(*point), order=1)
    assert report.verdict == "correct", str(report)


@pytest.mark.parametrize("name", ["relu, one at zero", "abs, between", "leaky"])
def test_a_kink_is_named_and_leaves_no_error_beside_correct(name):
    report = check(RIGHT[name], at(*AT))
    assert report.verdict == "correct", str(report)
    assert any(c.state == HOLDS and "a kink at" in c.why for c in report.clauses), str(report)
    assert all(error < 1e-4 for errors in report.errors.values() for error in errors.values())


def test_a_gradient_that_no_side_has_is_wrong():
    sinc = function(torch.sinc, lambda g, x, y: g * torch.where(x == 0, 1.0, ((torch.pi * x).cos() - y) / x))
    right = function(torch.sinc, lambda g, x, y: g * torch.where(x == 0, 0.0, ((torch.pi * x).cos() - y) / x))
    assert check(sinc, at(*AT), order=1).faults
    assert check(right, at(*AT), order=1).verdict == "correct"


def test_where_each_operation_takes_a_side_of_its_own_nobody_is_accused():
    report = check(lambda x: torch.relu(x) - torch.relu(-x), at(*AT))
    assert report.verdict == "unverified", str(report)
    assert "zeros and ties" in report.unverified[0].sentence


def test_an_edge_of_the_domain_is_asked_from_inside():
    def forward(x):
        assert bool((x >= 0).all())
        return x**2.5

    fn = function(forward, lambda g, x, y: 2.5 * g * x**1.5)
    assert check(fn, at(*AT)).verdict == "correct"
    assert check(function(forward, lambda g, x, y: 2.4 * g * x**1.5), at(*AT)).faults


# --- values past the end of their precision ---------------------------------------------------------------------------


class Powers(torch.autograd.Function):
    """The second output is infinite at 300: weighted with zero it gives nan, which says nothing of the first."""

    times = 3

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp(), x.exp() ** 3

    @classmethod
    def backward(cls, ctx, a, b):
        u = ctx.saved_tensors[0].exp()
        return a * u + ctx._forward_cls.times * b * u**3


def test_an_infinite_output_accuses_nobody_and_hides_nothing():
    assert check(Powers.apply, at(300.0, 1.0, -1.0)).verdict == "unverified"
    assert check(type("Wrong", (Powers,), {"times": 2}).apply, at(300.0, 1.0, -1.0)).faults


class Masked(torch.autograd.Function):
    """Where it writes an infinity, no gradient goes through."""

    off = torch.tensor([False, False, True])
    hidden = True

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin().masked_fill(Masked.off, -torch.inf)

    @classmethod
    def backward(cls, ctx, g):
        slope = g * ctx.saved_tensors[0].cos()
        return slope.masked_fill(Masked.off, 0) if ctx._forward_cls.hidden else slope


def test_an_output_that_is_infinite_everywhere_has_no_gradient_to_compare():
    assert check(Masked.apply, at(0.3, 1.0, 2.0)).verdict == "correct"
    open_ = check(type("Open", (Masked,), {"hidden": False}).apply, at(0.3, 1.0, 2.0))
    assert open_.verdict == "unverified" and "[2] of the output is infinite" in open_.unverified[0].sentence


@pytest.mark.parametrize("fn", [lambda x: x * torch.nan, lambda x: (x * x, x * torch.nan)])
def test_an_output_of_nan_is_not_passed_over(fn):
    assert check(fn, at(0.3, 1.0)).verdict == "unverified"
    assert check(fn, at(0.3, 1.0), order=1).verdict == "unverified"


# --- beside a reference, and in forward mode -------------------------------------------------------------------------


@pytest.mark.parametrize("given", [[0.0], [0.0, 0.0]])
def test_where_nothing_is_a_number_at_the_given_point_other_points_do_not_stand_for_it(given):
    """Zeros are judged elsewhere as well, where x * x / |x| is smooth: at zeros it is nan."""
    absolute = function(lambda x: x * x / x.abs(), lambda g, x, y: g * x.sign())
    report = check(absolute, at(*given))
    assert report.verdict == "unverified" and "is nan" in str(report)
    assert check(absolute, at(0.5, -2.0)).verdict == "correct"


def test_a_nan_beside_a_reference_is_not_passed_over():
    steep = function(lambda x: x * x, lambda g, x, y: 2 * g * x + 0 * torch.where(x > 1, torch.nan, 1.0))
    assert check(steep, at(0.5, 2.0), reference=torch.square).faults
    assert check(lambda x: x * torch.nan, at(0.5), reference=lambda x: 1 * x, order=1).verdict == "wrong_value"
    hidden_too = check(hidden, at(0.0, 0.0), reference=hidden, order=1)
    assert hidden_too.verdict == "unverified" and any("reference" in f.sentence for f in hidden_too.unverified)


class RootWithTangent(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x.sqrt()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx, g):
        return g / (2 * ctx.saved_tensors[0])

    @staticmethod
    def jvp(ctx, t):
        return t / (2 * ctx.saved_tensors[0])


def test_a_right_jvp_is_not_accused_where_the_slope_is_infinite():
    report = check(RootWithTangent.apply, at(*AT), order=1)
    assert report.verdict == "correct", str(report)


# --- zeros, ties and nothing at all ---------------------------------------------------------------------------------

PLAIN = ["Binarise", "Spike", "HardAttention", "CubeWithSlope", "MaxPool", "Power3", "MaxWithIndex"]


@pytest.mark.parametrize("name", PLAIN)
def test_zeros_are_numbers_like_others(name):
    case = COLLECTED[name]
    zeros = [torch.zeros_like(x).requires_grad_(x.requires_grad) if is_real(x) else x for x in case.inputs]
    report = check(case.fn, *zeros)
    assert report.verdict == "correct", str(report)


def is_real(x):
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def test_a_part_without_elements_is_no_reason_to_doubt_the_rest():
    none, some = torch.zeros(3, 0, 4, dtype=torch.double, requires_grad=True), at(0.3, 1.0)
    squares = function(torch.square, lambda g, x, y: 2 * g * x)
    assert check(lambda x, y: squares(x).sum() + squares(y), none, some).verdict == "correct"
    alone = check(squares, none)
    assert alone.verdict == "unverified" and "no elements" in alone.unverified[0].sentence


# --- a kink that forward does not have ------------------------------------------------------------------------------


def _entropy(x):
    return x.clamp(min=0) - x * TARGET + torch.log1p(torch.exp(-x.abs()))


TARGET = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.double)
OddEntropy = function(lambda x: _entropy(x).sum(), lambda g, x, y: g * (x.sigmoid() - TARGET) * x.sign())
Entropy = function(_entropy, lambda g, x, y: g * (x.sigmoid() - TARGET))


@pytest.mark.parametrize("far", [1.0, 50.0, 500.0])
def test_a_kink_that_only_backward_has_is_a_fault(far):
    x = at(0.0, 0.0, far, -far)
    assert check(OddEntropy, x, order=1).verdict == "wrong_gradient"


@pytest.mark.parametrize("far", [5.0, 30.0, 50.0])
def test_what_rounding_leaves_of_a_difference_is_no_fault(far):
    report = check(Entropy, at(0.0, 0.0, far, -far))
    assert report.verdict == "correct", str(report)


def test_the_sides_of_three_equal_numbers_are_those_of_points_nearby():
    def middle(x):
        return x.sort(stable=True).values * torch.tensor([1.0, 5.0, 2.0, 7.0], dtype=torch.double)

    class Sorted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x.sort(stable=True).indices)
            return middle(x)

        @staticmethod
        def backward(ctx, g):
            (order,) = ctx.saved_tensors
            weights = torch.tensor([1.0, 5.0, 2.0, 7.0], dtype=torch.double)
            return torch.zeros_like(g).scatter(0, order, g * weights)

    assert check(Sorted.apply, at(1.0, 1.0, 1.0, 400.0)).verdict == "correct"


@pytest.mark.parametrize("far", [3.0, 25.0])
def test_a_saturated_softmax_is_linear(far):
    softmax = function(lambda x: x.softmax(-1), lambda g, x, y: y * (g - (g * y).sum(-1, keepdim=True)))
    assert check(softmax, at(0.3, -0.7, far, -far)).verdict == "correct"


# --- ties of three and more ------------------------------------------------------------------------------------------


def first_of(x):
    return torch.nn.functional.one_hot(x.argmax(-1), x.shape[-1]).to(x.dtype)


def shared(x):
    return (x == x.max()) / (x == x.max()).sum()


def inside(x):
    return (x >= 0) & (x <= 1)


TIES = [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0, 1.0), (1.0, 1.0, 1.0, 1.0, 0.5, -1.0), (0.0, 0.0, 0.0, 0.0)]
OF_A_SIDE = {
    "the first": function(torch.max, lambda g, x, y: g * first_of(x)),
    "shared": function(torch.max, lambda g, x, y: g * shared(x)),
    "scaled by it": function(lambda x: x * x.max(), lambda g, x, y: g * x.max() + (g * x).sum() * shared(x)),
    "clamped": function(lambda x: x.clamp(0, 1), lambda g, x, y: g * inside(x)),
}
OF_NO_SIDE = {
    "all of them": function(torch.max, lambda g, x, y: g * (x == x.max())),
    "half of them": function(torch.max, lambda g, x, y: g * shared(x) / 2),
    "five at a bound": function(
        lambda x: x.clamp(0, 1), lambda g, x, y: g * inside(x) * torch.where((x == 0) | (x == 1), 5.0, 1.0)
    ),
}


@pytest.mark.parametrize("point", TIES)
@pytest.mark.parametrize("name", OF_A_SIDE)
def test_a_gradient_that_a_tie_may_have_is_right(name, point):
    report = check(OF_A_SIDE[name], at(*point))
    assert report.verdict == "correct", str(report)


@pytest.mark.parametrize("point", TIES)
@pytest.mark.parametrize("name", OF_NO_SIDE)
def test_a_gradient_that_no_point_around_a_tie_has_is_a_fault(name, point):
    report = check(OF_NO_SIDE[name], at(*point), order=1)
    assert report.faults, str(report)
