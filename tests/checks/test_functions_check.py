"""What a check of a PyTorch function says, and what it leaves untouched."""

import sys

import pytest
import torch
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from simplegrad import check
from simplegrad.checks.causes.owner import Owner
from simplegrad.checks.functions import check_function
from tests.checks.right.register import real


class SinhBad(Function):
    @staticmethod
    def forward(ctx, x):
        ex, enx = torch.exp(x), torch.exp(-x)
        ctx.ex, ctx.enx = ex, enx
        return (ex - enx) / 2

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.ex + ctx.enx) / 2


class SinhGood(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sinh(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * torch.cosh(x)


def points():
    return torch.tensor([0.5, -1.0, 2.0], dtype=torch.double, requires_grad=True)


def test_the_dropped_gradients_add_up_to_the_missing_second_derivative():
    x = points()
    report = check_function(SinhBad.apply, (x,))
    lost = sum(finding.dropped["x"] for finding in report.findings)
    assert torch.allclose(lost, torch.sinh(x.detach()))


def test_a_finding_has_lines_of_forward_and_backward():
    finding = check_function(SinhBad.apply, (points(),)).findings[0]
    assert (finding.entry, finding.slot, finding.order) == ("SinhBad", "ctx.ex", 2)
    assert finding.made_at.text == "ex, enx = torch.exp(x), torch.exp(-x)"
    assert finding.read_at.text == "return g * (ctx.ex + ctx.enx) / 2"
    assert finding.made_at.file == __file__


def test_the_fix_names_all_three_ways():
    fix = check_function(SinhBad.apply, (points(),)).findings[0].fix
    assert "ex, enx = torch.exp(x), torch.exp(-x)" in fix
    assert "return ..., ex" in fix
    assert "once_differentiable" in fix


def test_a_good_function_is_correct():
    report = check_function(SinhGood.apply, (points(),))
    assert report.ok
    assert str(report).startswith("SinhGood: correct")


def test_names_come_from_fn():
    assert check_function(SinhBad.apply, (points(),)).name == "SinhBad"
    assert check_function(SinhBad.apply, (points(),), name="mine").name == "mine"
    assert list(check_function(lambda here: SinhBad.apply(here), (points(),)).errors[2]) == [
        "here",
        "incoming gradient",
    ]


def test_no_input_that_requires_grad_is_an_error():
    with pytest.raises(ValueError, match="none of the inputs requires grad"):
        check_function(SinhGood.apply, (torch.ones(3),))


def test_compiled_code_is_refused():
    with pytest.raises(TypeError, match=r"torch\.compile"):
        check_function(torch.compile(torch.nn.Linear(2, 2)), (torch.ones(1, 2, requires_grad=True),))


def test_inputs_and_random_state_are_left_alone():
    x, before = points(), torch.get_rng_state()
    check_function(SinhBad.apply, (x,))
    assert x.grad is None
    assert torch.equal(torch.get_rng_state(), before)


def test_the_module_is_left_alone():
    norm = torch.nn.BatchNorm1d(3)
    kept = {name: value.clone() for name, value in norm.state_dict().items()}
    assert check_function(norm, (torch.randn(4, 3, requires_grad=True),)).ok
    assert all(torch.equal(value, kept[name]) for name, value in norm.state_dict().items())
    assert norm.weight.dtype == torch.float32


def test_the_trace_function_is_put_back():
    before = sys.gettrace()
    check_function(SinhBad.apply, (points(),))
    assert sys.gettrace() is before


def test_apply_is_put_back():
    from torch.autograd import function

    before = dict(vars(function.BackwardCFunction))
    check_function(SinhBad.apply, (points(),))
    assert "apply" not in vars(function._SingleLevelFunction)
    assert dict(vars(function.BackwardCFunction)) == before


def test_third_order():
    assert check_function(SinhGood.apply, (points(),), order=3).ok
    report = check_function(SquareTwice.apply, (points(),), order=3)
    assert report.verdict != "correct"
    assert report.findings[0].order == 3


def test_first_order_alone_says_nothing_of_the_second():
    assert check_function(SinhBad.apply, (points(),), order=1).ok


class CubeGradient(Function):
    """Right as a gradient; its own backward has an escaped temporary, which the third order shows."""

    @staticmethod
    def forward(ctx, x, g):
        six = 6 * x
        ctx.save_for_backward(x, six, g)
        return 3 * x**2 * g

    @staticmethod
    def backward(ctx, gg):
        x, six, g = ctx.saved_tensors
        return six * g * gg, 3 * x**2 * gg


class SquareTwice(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return CubeGradient.apply(ctx.saved_tensors[0], g)


def test_containers_of_tensors_are_inputs_too():
    report = check_function(lambda xs, k: SinhBad.apply(xs[0]) * xs[1] * k["by"], ([points(), points()], {"by": 2.0}))
    assert report.verdict == "escaped_temporary"
    assert list(report.errors[2])[:2] == ["xs[0]", "xs[1]"]


def test_nothing_to_differentiate_is_unverified():
    report = check_function(lambda x: x.detach(), (points(),))
    assert report.verdict == "unverified" and not report.ok
    assert "no output of the function requires grad" in report.unverified[0].sentence


def test_a_raising_backward_names_its_line():
    class Raises(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            raise KeyError("scale")

    finding = check_function(Raises.apply, (points(),)).findings[0]
    assert finding.code == "raises"
    assert "KeyError: 'scale'" in finding.sentence
    assert finding.read_at.text == 'raise KeyError("scale")'


def test_a_report_goes_to_json():
    said = check_function(SinhBad.apply, (points(),)).as_json()
    assert said["verdict"] == "escaped_temporary"
    assert len(said["findings"][0]["dropped"]["x"]) == 3


def test_a_guard_beside_an_escape_hides_neither():
    class Guarded(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            return g * 2

    report = check_function(lambda x: SinhBad.apply(x) + Guarded.apply(x).sin(), (points(),))
    assert "escaped_temporary" in {finding.code for finding in report.findings}


def function(forward, backward):
    """A Function of these two."""
    return type("Made", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def keeps(ctx, x):
    ctx.save_for_backward(x)
    return x**3


def test_a_gradient_that_is_not_the_derivative_is_a_fault():
    report = check_function(function(keeps, lambda ctx, g: 2 * ctx.saved_tensors[0] ** 2 * g).apply, (points(),))
    assert report.verdict == "wrong_partial"
    assert (report.faults[0].order, report.faults[0].slot) == (1, "x")
    assert report.faults[0].explanation == "a constant factor of 0.6667"
    assert report.errors[1]["x"] > 0.1
    assert report.clauses[1].state == "broken"


def test_a_use_in_forward_is_the_persons_line_and_not_one_of_torch():
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w**2  # torch computes this power in Python

    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w**2, g * x * w

    (fault,) = check_function(function(forward, backward).apply, (points(), points())).faults
    assert fault.made_at.text == "return x * w**2  # torch computes this power in Python"
    assert fault.explanation == "a constant factor of 0.5"


class Scaled(torch.nn.Module):
    """`backward` gives `times` the gradient of `scale`."""

    def __init__(self, times):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([1.5, 0.5, -2.0]))
        self.function = function(keeps_both, lambda ctx, g: both_of(ctx, g, times))

    def forward(self, x):
        return self.function.apply(x, self.scale)


class Checkpointed(Scaled):
    def forward(self, x):
        return checkpoint(super().forward, x.tanh(), use_reentrant=False)


def keeps_both(ctx, x, w):
    ctx.save_for_backward(x, w)
    return x * w


def both_of(ctx, g, times):
    x, w = ctx.saved_tensors
    return g * w, times * (g * x).sum(0)


def test_parameters_of_a_module_are_judged_by_their_paths_and_left_as_they_were():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), Scaled(1), torch.nn.Tanh())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    report = check_function(module, (torch.rand(4, 2),))  # no input requires grad
    assert report.verdict == "correct"
    assert set(report.errors[1]) == set(report.errors[2]) - {"incoming gradient"} == {"0.weight", "0.bias", "1.scale"}
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(x.grad is None and x.requires_grad for x in module.parameters())


def test_a_wrong_gradient_of_a_parameter_is_a_fault_of_that_parameter():
    (fault,) = check_function(Scaled(0.5), (torch.rand(4, 3),)).faults
    assert (fault.code, fault.slot, fault.explanation) == ("wrong_partial", "scale", "a constant factor of 0.5")


def test_right_modules_are_right_by_their_parameters():
    shared = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3))
    shared[2].weight = shared[0].weight
    spectral = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(3, 2))
    for module in (Checkpointed(1), shared, spectral, torch.nn.GRUCell(3, 2)):
        report = check_function(module, (torch.rand(4, 3, requires_grad=True),))
        assert report.verdict == "correct", str(report)


def test_what_a_function_inherits_of_torch_makes_torch_nobodys_own():
    inherited, own = Function.setup_context.__code__, points.__code__
    for owner in (Owner(inherited, own), Owner(own, inherited), Owner(inherited)):
        assert not owner.has(torch.overrides.handle_torch_function.__code__)
        assert owner.has(own)


def test_what_a_fault_explains_is_not_told_again():
    def forward(ctx, x):
        x.mul_(2)
        ctx.save_for_backward(x)
        return x.sin()

    backward = lambda ctx, g: 2 * g * ctx.saved_tensors[0].cos()  # noqa: E731
    assert [f.code for f in check_function(function(forward, backward).apply, (points(),)).findings] == [
        "input_mutated"
    ]


@pytest.mark.parametrize(
    ("change", "explanation"),
    [
        (lambda g: -g, "the sign"),
        (lambda g: -3 * g, "the sign, and a constant factor of 3"),
        (lambda g: g.mT, "transposed"),
    ],
)
def test_the_explanation_is_a_few_words(change, explanation):
    backward = lambda ctx, g: change(3 * ctx.saved_tensors[0] ** 2 * g)  # noqa: E731
    report = check_function(function(keeps, backward).apply, (torch.rand(3, 3).requires_grad_(),))
    assert [fault.explanation for fault in report.faults if fault.order == 1] == [explanation]


def test_the_first_order_alone_can_be_asked_for():
    report = check_function(SinhBad.apply, (points(),), order=1)
    assert report.ok and 2 not in report.errors
    assert report.clauses[3].state == "not tried"
    wrong = function(keeps, lambda ctx, g: 2 * ctx.saved_tensors[0] ** 2 * g).apply
    assert check_function(wrong, (points(),), order=1).verdict == "wrong_partial"


def test_a_gradient_that_is_the_derivative_gets_no_note():
    assert (
        check_function(function(keeps, lambda ctx, g: 3 * ctx.saved_tensors[0] ** 2 * g).apply, (points(),)).findings
        == []
    )


def test_a_kink_at_the_given_point_is_no_other_gradient():
    relu = function(
        lambda ctx, x: (ctx.save_for_backward(x), x.clamp(min=0))[1],
        lambda ctx, g: g * (ctx.saved_tensors[0] > 0).to(g.dtype),
    )
    assert check_function(relu.apply, (torch.zeros(3, dtype=torch.double, requires_grad=True),)).findings == []


REFUSED = {
    "two": (
        lambda ctx, g: (g, g),
        "returned 2 gradients; expected 1, one for each argument of forward (x)",
        "return grad_x",
    ),
    "text": (
        lambda ctx, g: "g",
        "returned a str, where a tensor or None was expected, as the gradient of x",
        "as_tensor",
    ),
    "array": (lambda ctx, g: g.detach().numpy(), "returned an ndarray, where", "as_tensor"),
    "shape": (
        lambda ctx, g: g.new_ones(7),
        "shape (7,), where (3,) was expected, as the gradient of x",
        "sum_to_size((3,))",
    ),
    "device": (
        lambda ctx, g: g.new_ones(3, device="meta"),
        "returned a tensor on meta, where cpu was expected, as the gradient of x",
        "gradient.to('cpu')",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_pytorch_refuses_has_a_line_what_came_and_what_was_expected(name):
    backward, sentence, fix = REFUSED[name]
    (finding,) = check_function(function(keeps, backward).apply, (points(),)).findings
    assert finding.code == {"two": "wrong_count", "shape": "wrong_shape"}.get(name, "raises")
    assert sentence in finding.sentence
    assert fix in finding.fix
    assert finding.read_at.file == __file__ and finding.read_at.text


def test_arguments_that_do_not_fit_name_the_function():
    def product(x, y):
        return x * y

    finding = check_function(product, (points(),)).findings[0]
    assert finding.sentence.startswith("forward raises TypeError")
    assert finding.read_at.text.startswith("def product(x, y)")


def test_what_carries_no_gradient_is_named():
    said = check_function(lambda x: x.detach().numpy(), (points(),)).unverified[0].sentence
    assert "it returned an ndarray" in said
    with pytest.raises(ValueError, match=r"requires grad \(an int64 tensor of shape \(3,\), a float\)"):
        check_function(SinhGood.apply, (torch.arange(3), 2.0))


def test_what_stands_beside_an_infinite_element_is_judged():
    x = torch.tensor([1.0, float("inf")], dtype=torch.double, requires_grad=True)
    assert check_function(lambda x: x * x, (x,)).ok
    wrong = function(keeps, lambda ctx, g: 2 * ctx.saved_tensors[0] ** 2 * g).apply
    assert check_function(wrong, (x,)).faults[0].code in ("wrong_gradient", "wrong_partial")


def test_an_input_of_nan_is_refused():
    with pytest.raises(ValueError, match="input 1 holds nan"):
        check(SinhGood.apply, points(), torch.tensor([1.0, float("nan")], requires_grad=True))


def test_the_class_stands_for_its_apply():
    assert check(SinhBad, points()).verdict == "escaped_temporary"


def test_a_reference_is_held_beside_values_and_gradients():
    assert check(SinhGood.apply, points(), reference=torch.sinh).ok
    assert check(SinhGood.apply, points(), reference=torch.cosh).verdict == "wrong_value"
    with pytest.raises(TypeError, match="expected a function of tensors, got a str"):
        check(SinhGood.apply, points(), reference="sinh")


class OpaqueHalf(Function):
    """Takes bfloat16 only, and looks at its memory."""

    factor = 1.0

    @staticmethod
    def forward(ctx, x):
        assert x.view(torch.int16).dtype == torch.int16 and x.element_size() == 2
        ctx.save_for_backward(x)
        return x.sinh()

    @classmethod
    def backward(cls, ctx, g):
        (x,) = ctx.saved_tensors
        return g * x.cosh() * cls.factor


class OpaqueHalfOff(OpaqueHalf):
    factor = 1.2


def test_a_kernel_of_half_precision_that_cannot_be_followed_needs_a_reference():
    x = points().bfloat16().detach().requires_grad_()
    assert check(OpaqueHalf.apply, x).verdict == "unverified"
    assert check(OpaqueHalf.apply, x, reference=torch.sinh).ok
    assert check(OpaqueHalfOff.apply, x, reference=torch.sinh).verdict == "wrong_gradient"


def test_an_escape_in_a_function_that_backward_calls_is_named_at_the_third_order():
    (finding,) = check_function(SquareTwice.apply, (points(),), order=3).findings
    assert (finding.code, finding.order) == ("escaped_temporary", 3)
    assert (finding.entry, finding.slot) == ("CubeGradient", "saved_tensors[1]")
    assert finding.made_at.text == "six = 6 * x"
    assert list(check_function(SquareTwice.apply, (points(),), order=3).errors[3]) == ["x", "incoming gradient"]


class TwiceAsMuch(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x.exp() * 2


class IntoABuffer(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        out = x.new_zeros(400)
        out[5:9] = x.sin()
        return out

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return -g[5:9] * x.cos()


class ToTheLargest(Function):
    @staticmethod
    def forward(ctx, x):
        scale = x.abs().max() / 7
        return (x / scale).round() * scale

    @staticmethod
    def backward(ctx, g):
        return g


@pytest.mark.parametrize(("fn", "size"), [(TwiceAsMuch, 64), (IntoABuffer, 4)])
def test_of_many_elements_each_of_which_moves_one_the_forward_is_not_constant(fn, size):
    x = torch.linspace(-1, 1, size).add(0.01).requires_grad_()
    report = check(fn.apply, x, order=1)
    assert report.faults and not report.surrogate


def test_rounding_to_a_scale_taken_from_the_largest_is_constant_nearly_everywhere():
    report = check(ToTheLargest.apply, torch.linspace(-1, 1, 64).add(0.01).requires_grad_())
    assert report.ok and report.surrogate


class FourthGrad(torch.autograd.Function):
    """The backward of a fourth power, as a Function of its own; `power` is wrong where it is not 2."""

    @staticmethod
    def forward(ctx, g, x, power):
        ctx.save_for_backward(g, x)
        ctx.power = power
        return g * 4 * x**3

    @staticmethod
    def backward(ctx, gg):
        g, x = ctx.saved_tensors
        return gg * 4 * x**3, gg * g * 12 * x**ctx.power, None


class Fourth(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, power):
        ctx.save_for_backward(x)
        ctx.power = power
        return x**4

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return FourthGrad.apply(g, x, ctx.power), None


def test_a_function_that_a_backward_calls_is_told_where_it_is_wrong():
    assert check(Fourth.apply, real(4), 2).ok
    (fault,) = check(Fourth.apply, real(4), 1).faults
    assert (fault.entry, fault.slot, fault.order) == ("FourthGrad", "x", 2)
    assert "12 * x**ctx.power" in fault.read_at.text
