"""Clauses by themselves: what each tries, what it says, and what it leaves alone."""

import pytest
import torch
from torch.autograd import Function

from simplegrad import check
from tests.checks.collection.contract import memory
from tests.checks.right import RIGHT
from tests.checks.right.register import real

torch.set_num_threads(1)


def state(report, number):
    return {clause.number: (clause.state, clause.why) for clause in report.clauses}[number]


def square(backward):
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    return type("Square", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


# --- layouts ---------------------------------------------------------------------------------------------------------


def as_view(ctx, g):
    (x,) = ctx.saved_tensors
    return 2 * x * g.view(-1).view(x.shape)


def test_a_layout_at_which_backward_raises_is_a_fault():
    report = check(square(as_view).apply, real(2, 3))
    (finding,) = report.faults
    assert (finding.code, finding.slot) == ("layout_assumed", "the incoming gradient"), str(report)
    assert "transposed" in finding.sentence and "view" in finding.read_at.text
    assert state(report, 7)[0] == "broken"


def as_reshaped(ctx, g):
    (x,) = ctx.saved_tensors
    return 2 * x * g.reshape(-1).view(x.shape)


def test_a_backward_that_reshapes_takes_any_layout():
    assert check(square(as_reshaped).apply, real(2, 3)).verdict == "correct"


def of_memory(ctx, g):
    (x,) = ctx.saved_tensors
    return 2 * x * memory(g).view(x.shape)


def of_contiguous_memory(ctx, g):
    (x,) = ctx.saved_tensors
    g = g.contiguous()  # what the finding says to write
    return 2 * x * memory(g).view(x.shape)


def test_the_fix_for_a_layout_passes():
    finding = check(square(of_memory).apply, real(2, 3), order=1).faults[0]
    assert (finding.code, finding.slot) == ("layout_assumed", "the incoming gradient")
    assert finding.fix.startswith("g = g.contiguous()")
    assert check(square(of_contiguous_memory).apply, real(2, 3), order=1).verdict == "correct"


def of_whole_memory(ctx, g):
    (x,) = ctx.saved_tensors
    return 2 * x * memory(g.contiguous(), offset=0).view(x.shape)


def test_an_offset_needs_a_copy_and_the_fix_says_so():
    finding = check(square(of_whole_memory).apply, real(2, 3), order=1).faults[0]
    assert finding.fix.startswith("g = g.clone(memory_format=torch.contiguous_format)")


def test_the_second_output_is_named():
    class Both(Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone(), 2 * x

        @staticmethod
        def backward(ctx, g_one, g_two):
            return g_one + 2 * memory(g_two).view(g_two.shape)

    finding = check(Both.apply, real(2, 3), order=1).faults[0]
    assert (finding.code, finding.slot) == ("layout_assumed", "the incoming gradient of output 1")
    assert finding.fix.startswith("g_two = ")


# --- forward mode and vmap -------------------------------------------------------------------------------------------


def with_jvp(jvp, backward=None):
    class Sine(Function):
        @staticmethod
        def forward(x, k):
            return k * x.sin()

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, ctx.k = inputs
            ctx.save_for_backward(x)
            ctx.save_for_forward(x)

    Sine.jvp = staticmethod(jvp)
    Sine.backward = staticmethod(backward or (lambda ctx, g: (g * ctx.k * ctx.saved_tensors[0].cos(), None)))
    return Sine


def right_jvp(ctx, t, _):
    return t * ctx.k * ctx.saved_tensors[0].cos()


def test_a_right_jvp_holds():
    report = check(with_jvp(right_jvp).apply, real(3), 2.0)
    assert report.verdict == "correct" and state(report, 10)[0] == "holds", str(report)


def test_a_wrong_backward_is_not_told_of_jvp():
    report = check(with_jvp(right_jvp, lambda ctx, g: (g * ctx.saved_tensors[0].cos(), None)).apply, real(3), 2.0)
    assert "wrong_jvp" not in {finding.code for finding in report.faults}
    assert report.verdict != "correct"


def test_a_jvp_with_a_slip_is_told_with_its_line():
    def slips(ctx, t, _):
        return t * slope  # noqa: F821

    (finding,) = check(with_jvp(slips).apply, real(3), 2.0).faults
    assert finding.code == "wrong_jvp" and "NameError" in finding.sentence
    assert finding.read_at.text == "return t * slope  # noqa: F821"


def test_a_jvp_that_refuses_is_not_tried():
    def refuses(ctx, t, _):
        raise NotImplementedError("reverse mode only")

    report = check(with_jvp(refuses).apply, real(3), 2.0)
    assert report.verdict == "correct"
    assert state(report, 10) == ("not tried", "jvp could not be run: NotImplementedError: reverse mode only")


def test_a_temporary_without_a_tangent_shows_when_forward_mode_goes_over_backward():
    class Cosh(Function):
        """Right at order 2 in reverse: it has a backward of its own for that; in forward mode the tangent is lost."""

        @staticmethod
        def forward(x):
            return x.cosh()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * (torch.autograd.forward_ad.unpack_dual(x).primal).sinh()

        @staticmethod
        def jvp(ctx, t):
            (x,) = ctx.saved_tensors
            return t * x.sinh()

    report = check(Cosh.apply, real(3))
    assert report.verdict == "wrong_jvp", str(report)
    assert report.faults[0].order == 2


def test_a_vmap_rule_is_tried_with_each_input_alone():
    class Scaled(Function):
        @staticmethod
        def forward(x, y):
            return x * y

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g * y, g * x

        @staticmethod
        def vmap(info, in_dims, x, y):
            if in_dims[1] is None:
                return x * y * 2, in_dims[0]
            x = x.movedim(in_dims[0], 0) if in_dims[0] is not None else x
            return Scaled.apply(x, y.movedim(in_dims[1], 0)), 0

    (finding,) = check(Scaled.apply, real(3), real(3, seed=1)).faults
    assert finding.code == "wrong_vmap" and "in_dims=(0, None)" in finding.sentence
    assert finding.read_at.text == "return x * y * 2, in_dims[0]"


def test_a_function_without_rules_is_not_at_fault():
    report = check(square(as_view).apply, real(2, 3))
    assert state(report, 10) == ("not tried", "no Function in it has a jvp or a vmap rule")


# --- operators of torch.library --------------------------------------------------------------------------------------


def operator(name, body, setup, backward, mutates=(), **keywords):
    op = torch.library.custom_op(f"clauses::{name}", body, mutates_args=mutates)
    op.register_fake(lambda x, *rest, **kwargs: torch.empty_like(x))
    op.register_autograd(backward, setup_context=setup, **keywords)
    return op


def scaled(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return x * w


def keeps(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def test_a_wrong_operator_is_told_by_its_names_and_lines():
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return 2 * g * w, g * x

    report = check(operator("doubled", scaled, keeps, backward), real(3), real(3, seed=1))
    assert (report.name, list(report.errors[1])) == ("clauses::doubled", ["x", "w"])
    (finding,) = report.faults
    assert finding.entry == "clauses::doubled"
    assert finding.read_at.text in ("return 2 * g * w, g * x",)
    assert "Generated" not in str(report)


def test_a_right_operator_is_asked_by_opcheck_too():
    case = RIGHT["GateOperator"]
    report = check(case.fn, *case.inputs)
    assert report.verdict == "correct" and state(report, 11)[0] == "holds", str(report)


def test_an_operator_that_changes_an_argument_which_its_schema_does_not_name():
    def written_over(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        y = x * w
        w.mul_(1.5)
        return y

    def setup(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], inputs[1].clone())

    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w / 1.5, None

    report = check(operator("written_over", written_over, setup, backward), real(3), real(3, seed=1).detach())
    assert report.verdict == "input_mutated", str(report)


def test_an_operator_inside_of_a_function_and_with_a_keyword():
    def body(x: torch.Tensor, *, power: int = 3) -> torch.Tensor:
        return x**power

    def setup(ctx, inputs, keyword_only_inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.power = keyword_only_inputs["power"]

    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * ctx.power * x ** (ctx.power - 1)

    op = operator("power", body, setup, backward)
    assert check(lambda x: op(x.sin(), power=3), real(3)).verdict == "correct"


def test_what_the_operator_layer_does_not_know_stays_a_function():
    assert check(RIGHT["Swish"].fn, *RIGHT["Swish"].inputs).name == "Swish"


@pytest.mark.parametrize("number", range(1, 13))
def test_every_clause_is_told(number):
    report = check(RIGHT["Swish"].fn, *RIGHT["Swish"].inputs)
    assert state(report, number)[0] in ("holds", "broken", "not tried")


# --- many elements ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [10, 100, 600])
def test_elements_of_many_sizes_are_weighted_in_parts(count):
    def keeps_x(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    def cubed(factor):
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return factor * g * x**2

        return type("Cube", (Function,), {"forward": staticmethod(keeps_x), "backward": staticmethod(backward)}).apply

    x = torch.randn(count, dtype=torch.double, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert check(cubed(3.0), x).verdict == "correct"
    assert not check(cubed(3.01), x).ok


class SevenParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return tuple(x * k for k in range(1, 8))

    @staticmethod
    def backward(ctx, *gs):
        return sum(k * g for k, g in enumerate(gs, 1))


def test_what_is_left_out_of_many_patterns_is_told():
    report = check(SevenParts.apply, torch.ones(2, dtype=torch.double, requires_grad=True), order=1)
    clauses = {each.number: each for each in report.clauses}
    assert report.ok and clauses[5].state == "holds" and "not every pattern" in clauses[5].why
    assert clauses[6].why == ""


class Powers(torch.autograd.Function):
    """Right, and its second output is infinite at large inputs."""

    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        u = x.exp()
        ctx.save_for_backward(u)
        return u, u**3

    @staticmethod
    def backward(ctx, a, b):
        (u,) = ctx.saved_tensors
        first = torch.zeros_like(u) if a is None else a * u
        return first if b is None else first + b * 3 * u**3


def test_of_none_beside_zeros_times_infinity_nothing_is_said():
    report = check(Powers.apply, torch.tensor([1.0, 300.0], dtype=torch.double, requires_grad=True))
    assert "none_not_handled" not in [each.code for each in report.findings]


class Implicit(torch.autograd.Function):
    """The z with z = tanh(z w + x), found by iteration in forward; so is the gradient in backward."""

    @staticmethod
    def until_near(step, z):
        for _ in range(200):
            z, before = step(z), z
            if (z - before).norm() < 1e-4 * before.norm():
                break
        return z

    @staticmethod
    def forward(ctx, x, w):
        z = Implicit.until_near(lambda z: torch.tanh(z @ w + x), torch.zeros_like(x))
        ctx.save_for_backward(w, z)
        return z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        w, z = ctx.saved_tensors
        slope = 1 - z * z
        u = slope * Implicit.until_near(lambda v: g + (v * slope) @ w.t(), g)
        return u, z.t() @ u


class ImplicitOfSizes(Implicit):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return Implicit.backward(ctx, g.abs())


def implicit_inputs():
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(3, 4, generator=generator), 0.3 * torch.randn(4, 4, generator=generator)
    return x.requires_grad_(), w.requires_grad_()


def test_a_backward_that_iterates_until_it_is_near_is_not_called_nonlinear():
    report = check(Implicit.apply, *implicit_inputs())
    assert not report.faults, str(report)


def test_one_that_iterates_and_is_not_linear_is_called_so(without_search):
    assert "not_linear" in [each.code for each in check(ImplicitOfSizes.apply, *implicit_inputs()).faults]
