"""What given inputs cannot show: zeros, equal elements, sizes of one, masks of ones, gradients that are rounding."""

import math

import pytest
import torch

from simplegrad import TapeEntry, Variable, check, gradient_tape
from tests.checks.right.register import real

FORMATS = [torch.double, torch.float, torch.bfloat16]


def function(forward, backward):
    """A Function of tensors: `backward(g, *inputs)` gives one gradient for each."""

    class Made(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            return forward(*inputs)

        @staticmethod
        def backward(ctx, g):
            return backward(g, *ctx.saved_tensors)

    return Made.apply


def zeros(*shape, dtype=torch.double):
    return torch.zeros(shape, dtype=dtype, requires_grad=True)


def ones(*shape):
    return torch.ones(shape, dtype=torch.double, requires_grad=True)


def symmetric(size):
    x = torch.randn(size, size, dtype=torch.double, generator=torch.Generator().manual_seed(size))
    return (x + x.T).requires_grad_()


# --- zeros and equal elements ----------------------------------------------------------------------------------------


def softmax_back(g, y, dim=-1):
    return y * (g - (g * y).sum(dim, keepdim=True))


def layer_back(g, x, centred=True):
    scale = (x.var(-1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
    normal = (x - x.mean(-1, keepdim=True)) * scale
    along = normal * (g * normal).mean(-1, keepdim=True) if centred else 0
    return scale * (g - g.mean(-1, keepdim=True) - along)


def layer(x):
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


def product_back(g, x, w):
    inner = g * (1 - (x @ w).tanh() ** 2)
    return inner @ w.T, x.T @ inner


RIGHT = {
    "product": (lambda x, w: (x @ w).tanh(), product_back),
    "cube": (lambda x: x**3, lambda g, x: 3 * g * x * x),
    "relu": (lambda x: 3 * x.relu(), lambda g, x: 3 * g * (x > 0)),
    "softmax": (lambda x: x.softmax(-1), lambda g, x: softmax_back(g, x.softmax(-1))),
    "layer": (layer, layer_back),
}
WRONG = {
    "product": lambda g, x, w: (g @ w.T, x.T @ g),
    "cube": lambda g, x: g * x * x,
    "relu": lambda g, x: 2 * g * (x > 0),
    "softmax": lambda g, x: softmax_back(g, x.softmax(-1), 0),
    "layer": lambda g, x: layer_back(g, x, False),
}
AT = {
    "product": [(zeros(2, 3), zeros(3, 2)), (real(2, 3), zeros(3, 2)), (zeros(2, 3, dtype=torch.float), zeros(3, 2))],
    "cube": [(zeros(3),)],
    "relu": [((-real(2, 3).detach().abs() - 0.1).requires_grad_(),)],
    "softmax": [(zeros(3, 3),), (ones(3, 3),)],
    "layer": [(zeros(2, 4),), (ones(2, 4),)],
}
POINTS = [(name, k) for name, points in AT.items() for k in range(len(points))]


@pytest.mark.parametrize(("name", "k"), POINTS)
def test_what_zeros_and_equal_elements_hide_is_found(name, k):
    inputs = [x.float() if any(y.dtype is torch.float for y in AT[name][k]) else x for x in AT[name][k]]
    inputs = [x.detach().requires_grad_() for x in inputs]
    right = check(function(*RIGHT[name]), *inputs)
    assert right.verdict == "correct", str(right)
    wrong = check(function(RIGHT[name][0], WRONG[name]), *inputs)
    assert wrong.faults and not wrong.ok, str(wrong)
    if name == "product":
        assert "other inputs" in wrong.faults[0].sentence


def test_symmetric_inputs_do_not_hide_a_transposition():
    right = function(lambda x, w: x @ w, lambda g, x, w: (g @ w.T, x.T @ g))
    wrong = function(lambda x, w: x @ w, lambda g, x, w: (g @ w, x @ g))
    assert check(right, symmetric(3), symmetric(3)).verdict == "correct"
    assert check(wrong, symmetric(3), symmetric(3)).faults


@pytest.mark.parametrize("size", [0, 1])
def test_complex_numbers_that_are_real_do_not_hide_a_conjugate(size):
    x = torch.full((3,), size, dtype=torch.cdouble, requires_grad=True)
    assert check(function(lambda x: x * x, lambda g, x: 2 * g * x.conj()), x).verdict == "correct"
    assert check(function(lambda x: x * x, lambda g, x: 2 * g * x), x).faults


def test_what_is_wrong_at_other_inputs_shows_in_the_whole():
    wrong = function(*[RIGHT["product"][0], WRONG["product"]])
    report = check(lambda x: wrong(x, x.T).sum() * 2, zeros(2, 3))
    assert report.faults and "other inputs" in report.faults[0].sentence, str(report)


def test_of_a_gradient_that_is_zero_everywhere_that_is_said():
    report = check(function(lambda x: 0 * x + 1, lambda g, x: 0 * g), real(3))
    assert report.verdict == "correct", str(report)
    assert "every gradient is zero" in report.clauses[1].why


def on_tape(partial):
    """tanh(a * b), whose propagate gives each input `partial` times the other."""

    def target(a, b):
        y = Variable((a.value * b.value).tanh())
        back = [y.name]

        def propagate(dL_doutputs):
            inner = dL_doutputs[0] * partial(y)
            return [inner * b, inner * a]

        gradient_tape.append(TapeEntry([a.name, b.name], back, propagate))
        return y

    return target


def test_so_on_the_tape():
    at = [Variable.constant(torch.zeros(2, 3)) for _ in range(2)]
    assert check(on_tape(lambda y: 1 - y * y), *at).verdict == "correct"
    report = check(on_tape(lambda y: 1 + 0 * y), *at)
    assert report.faults, str(report)


# --- sizes of one, and masks of ones ---------------------------------------------------------------------------------

MEAN = function(lambda x: (x * x).mean(), lambda g, x: 2 * g * x / x.numel())
SUM = function(lambda x: (x * x).mean(), lambda g, x: 2 * g * x)
BIAS = function(lambda x, b: x + b, lambda g, x, b: (g, g.sum(0)))
NO_SUM = function(lambda x, b: x + b, lambda g, x, b: (g, g.flatten()[: b.numel()].reshape(b.shape)))
MATRIX = function(lambda x, w: x @ w, lambda g, x, w: (g @ w.T, x.T @ g))
TURNED = function(lambda x, w: x @ w, lambda g, x, w: (g @ w, x @ g))
SCALED = function(lambda x, s: x * s, lambda g, x, s: (g * s, (g * x).sum().reshape(1)))
MASKED = function(lambda x, m: x.tanh() * m, lambda g, x, m: (g * m * (1 - x.tanh() ** 2), None))
UNMASKED = function(lambda x, m: x.tanh() * m, lambda g, x, m: (g * (1 - x.tanh() ** 2), None))
FIRST = function(lambda x: x.view(1) ** 2, lambda g, x: 2 * g * x.view(1))


@pytest.mark.parametrize(
    ("fn", "inputs", "is_right"),
    [
        (MEAN, (real(1),), True),
        (SUM, (real(1),), False),
        (BIAS, (real(1, 3), real(3)), True),
        (NO_SUM, (real(1, 3), real(3)), False),
        (MATRIX, (real(1, 1), real(1, 1)), True),
        (TURNED, (real(1, 1), real(1, 1)), False),
        (SCALED, (real(1), real(1)), True),
        (SCALED, (real(4), real(1)), True),
        (MASKED, (real(2, 3), torch.ones(2, 3, dtype=torch.bool)), True),
        (UNMASKED, (real(2, 3), torch.ones(2, 3, dtype=torch.bool)), False),
        (UNMASKED, (real(2, 3), torch.ones(2, 3, dtype=torch.double)), False),
    ],
)
def test_what_a_size_of_one_and_a_mask_of_ones_hide_is_found(fn, inputs, is_right):
    report = check(fn, *inputs)
    assert report.ok if is_right else report.faults, str(report)
    if not is_right:
        assert "It shows wi" in report.faults[0].sentence or "It shows where" in report.faults[0].sentence


def test_where_no_other_size_is_taken_that_is_said():
    report = check(FIRST, real(1))
    assert report.verdict == "correct", str(report)
    assert any("sizes other than one" in said for said in report.untried), report.untried


def mean_on_tape(share, most=99):
    """The mean of a, whose propagate gives each element `share(n)` of what comes in. It takes
    no more than `most` elements."""

    def target(a):
        n = a.value.numel()
        assert n <= most
        y = Variable(a.value.mean())

        def propagate(dL_doutputs):
            return [dL_doutputs[0] * Variable.constant(torch.full((n,), share(n)))]

        gradient_tape.append(TapeEntry([a.name], [y.name], propagate))
        return y

    return target


def test_on_the_tape_larger_sizes_are_tried_too():
    one = Variable.constant(torch.full((1,), 0.4))
    assert check(mean_on_tape(lambda n: 1 / n), one).verdict == "correct"
    report = check(mean_on_tape(lambda n: 1.0), one)
    assert report.faults and "It shows with 3 in the place of sizes of one." in report.faults[0].sentence, str(report)


def test_on_the_tape_a_size_that_it_does_not_take_is_named():
    one, two = (torch.full((n,), 0.4) for n in (1, 2))
    refuses = check(mean_on_tape(lambda n: 1 / n, most=1), Variable.constant(one))
    assert refuses.ok and refuses.untried[0] == "sizes other than one of a"
    for given, target in ((one, mean_on_tape(lambda n: 1 / n)), (two, mean_on_tape(lambda n: 1 / n))):
        assert not any("sizes" in said for said in check(target, Variable.constant(given)).untried)


# --- whole numbers that are all alike --------------------------------------------------------------------------------


class OfClass(torch.autograd.Function):
    """The mean negative log-likelihood of given classes."""

    @staticmethod
    def forward(ctx, x, labels):
        ctx.save_for_backward(x, labels)
        return -x.log_softmax(-1).gather(1, labels[:, None]).mean()

    @staticmethod
    def backward(ctx, g):
        x, labels = ctx.saved_tensors
        return g * (x.softmax(-1) - torch.nn.functional.one_hot(labels, x.shape[1])) / len(labels), None


class OfFirstClass(OfClass):
    @staticmethod
    def backward(ctx, g):
        x, labels = ctx.saved_tensors
        return g * (x.softmax(-1) - torch.nn.functional.one_hot(labels[:1], x.shape[1])) / len(labels), None


@pytest.mark.parametrize("label", [0, 2])
def test_labels_that_are_all_alike_are_mixed(label):
    labels = torch.full((4,), label)
    assert check(OfClass.apply, real(4, 3), labels).ok
    report = check(OfFirstClass.apply, real(4, 3), labels)
    assert report.faults and "where not all of labels is alike" in report.faults[0].sentence, str(report)


def test_where_no_other_labels_are_taken_that_is_said():
    report = check(OfClass.apply, real(4, 1), torch.zeros(4, dtype=torch.long))
    assert "values of labels that are not all alike" in report.untried


# --- past a bend -----------------------------------------------------------------------------------------------------


def huber(x):
    return torch.where(x.abs() < 1, x * x / 2, x.abs() - 0.5)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_what_lies_past_a_bend_is_found_from_zeros(shape):
    assert check(function(huber, lambda g, x: g * x.clamp(-1, 1)), zeros(*shape)).ok
    assert check(function(huber, lambda g, x: g * x), zeros(*shape)).faults


def test_what_lies_before_a_bend_is_found_from_zeros():
    def soft(x):
        return torch.where(x.abs() < 0.2, 0 * x, x - 0.2 * x.sign())

    assert check(function(soft, lambda g, x: g * (x.abs() >= 0.2)), zeros(3)).ok
    assert check(function(soft, lambda g, x: g), zeros(3)).faults


# --- gradients that are rounding -------------------------------------------------------------------------------------


def from_output(of, back):
    class Saturated(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = of(x)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, g):
            return back(g, *ctx.saved_tensors)

    return Saturated.apply


def gelu_back(g, x):
    return g * (0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi))


FLAT = {
    "softmax": from_output(lambda x: x.softmax(-1), softmax_back),
    "sigmoid": from_output(torch.sigmoid, lambda g, y: g * y * (1 - y)),
    "tanh": from_output(torch.tanh, lambda g, y: g * (1 - y * y)),
    "softplus": from_output(lambda x: x.exp().log1p(), lambda g, y: g * (1 - torch.exp(-y))),
    "log_softmax": from_output(lambda x: x.log_softmax(-1), lambda g, y: g - y.exp() * g.sum(-1, keepdim=True)),
    "gelu": function(torch.nn.functional.gelu, gelu_back),
    "erf": function(torch.erf, lambda g, x: g * 2 / math.sqrt(math.pi) * torch.exp(-x * x)),
}
HALF_AS_MUCH = {
    "softmax": from_output(lambda x: x.softmax(-1), lambda g, y: softmax_back(g, y) / 2),
    "tanh": from_output(torch.tanh, lambda g, y: g * (1 - y)),
}


def saturated(far, dtype):
    return torch.tensor([[far, -far, far / 3], [-far, far / 2, far]], dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("far", [20.0, 60.0])
@pytest.mark.parametrize("name", FLAT)
def test_a_right_backward_where_forward_is_flat_is_correct(name, far, dtype):
    report = check(FLAT[name], saturated(far, dtype))
    assert report.verdict == "correct", str(report)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("name", HALF_AS_MUCH)
def test_a_wrong_one_is_found_there(name, dtype):
    assert check(HALF_AS_MUCH[name], saturated(60.0, dtype)).faults


def test_a_small_gradient_that_is_no_rounding_is_judged():
    wrong = function(lambda x: 1e-20 * x * x, lambda g, x: 3e-20 * g * x)
    right = function(lambda x: 1e-20 * x * x, lambda g, x: 2e-20 * g * x)
    assert check(wrong, real(3)).faults
    assert check(right, real(3)).verdict == "correct"
