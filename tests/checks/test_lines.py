"""Lines and causes where backwards are written as published packages write them. `# BUG` marks the line."""

import inspect

import pytest
import torch
from torch.autograd import Function

from simplegrad import check

torch.set_num_threads(1)


def real(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double).requires_grad_()


def marked(cls):
    """The line of this class with the mark."""
    lines, first = inspect.getsourcelines(cls)
    return next(first + i for i, line in enumerate(lines) if "# BUG" in line)


class SignOfAShape(Function):
    """The minus stands where the value only gets its shape."""

    @staticmethod
    def forward(ctx, x):
        y = x.softmax(-1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        inner = (g * y).sum(-1)
        inner = -(inner.unsqueeze(-1))  # BUG
        return y * (g - inner)


class NotDivided(Function):
    """A mean with weights, which are not divided by their sum."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.logsumexp(-1, keepdim=True)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        share = torch.exp(x - x.amax(-1, keepdim=True))
        share = share  # BUG
        return share * g


class OtherSum(Function):
    """The quotient of two sums has lost the second."""

    @staticmethod
    def forward(ctx, x):
        y = x.square()
        ctx.save_for_backward(x)
        return y / y.sum(-1, keepdim=True)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        y = x.square()
        part = g * y
        mean = part.sum(-1)  # BUG
        mean = mean.unsqueeze(-1)
        return (g - mean) / y.sum(-1, keepdim=True) * 2 * x


class OtherAxis(Function):
    @staticmethod
    def forward(ctx, x, b):
        ctx.save_for_backward(x, b)
        return x.tanh() * b

    @staticmethod
    def backward(ctx, g):
        x, b = ctx.saved_tensors
        t = x.tanh()
        each = g * t
        gb = each.sum(1)  # BUG
        return g * b * (1 - t * t), gb


class OtherAxisKept(Function):
    """The axis is another one, and what is left of it does not fit: two things are to be changed in one call."""

    @staticmethod
    def forward(ctx, x):
        y = x.softmax(-1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        inner = (g * y).sum(dim=0)  # BUG
        return y * (g - inner)


class OneBoundForgotten(Function):
    """A mask that is too wide, computed before what is multiplied with it, in a helper."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(-0.5, 0.5)

    @staticmethod
    def inside(x):
        return x < 0.5  # BUG

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * OneBoundForgotten.inside(x)


class Exchanged(Function):
    @staticmethod
    def forward(ctx, x, low, high):
        ctx.save_for_backward(x, low, high)
        return low * x + high * x**3

    @staticmethod
    def backward(ctx, g):
        x, high, low = ctx.saved_tensors  # BUG
        return g * (low + 3 * high * x * x), g * x, g * x**3


class OfBranches(Function):
    """Right with a graph, wrong without: the condition is not what is wrong."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return g * x.exp()
        back = x.exp()
        back = back - x.exp().neg()  # BUG
        return back * g


class Masked(Function):
    """A mask that forward and backward both compute."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        above = x > 0
        return torch.where(above, x.square(), torch.zeros_like(x))

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        above = x > 0
        safe = torch.where(above, -x, torch.ones_like(x))  # BUG
        return g * torch.where(above, 2 * safe, torch.zeros_like(x))


@pytest.mark.parametrize(
    ("cls", "inputs"),
    [
        (SignOfAShape, (real(2, 4),)),
        (NotDivided, (real(2, 4),)),
        (OtherSum, (real(2, 4),)),
        (OtherAxis, (real(3, 3), real(3, seed=1))),
        (OtherAxisKept, (real(2, 3),)),
        (OneBoundForgotten, (torch.tensor([-1.2, -0.3, 0.4, 0.9, -0.7, 0.1]).double().requires_grad_(),)),
        (Exchanged, (real(4), real(4, seed=1), real(4, seed=2))),
        (OfBranches, (real(4),)),
        (Masked, (real(5),)),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_the_line(cls, inputs):
    faults = [fault for fault in check(cls.apply, *inputs, order=1).faults if fault.code.startswith("wrong")]
    assert faults and all(fault.read_at.first <= marked(cls) <= fault.read_at.last for fault in faults), faults


class Projected(Function):
    """What comes in is left out, and what is left comes to nothing but rounding."""

    @staticmethod
    def forward(ctx, x):
        x = x - x.amax(-1, keepdim=True)
        y = x.softmax(-1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        gx = torch.ones_like(g) * y
        return gx - y * gx.sum(-1, keepdim=True)


def test_a_gradient_that_cancels_is_not_a_use_that_is_missing():
    fault = check(Projected.apply, real(2, 5), order=1).faults[0]
    assert fault.code == "ignored_output_gradient" and "whatever comes in" in fault.sentence


class Nothing(Function):
    """The mask is wrong, and lets nothing through at all."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x + 3).clamp(0, 6) / 6

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        mask = (x <= -3) & (x <= 3)
        return g * mask / 6


def test_zeros_that_come_of_a_mask_are_not_a_gradient_that_is_left_out():
    fault = check(Nothing.apply, real(4), order=1).faults[0]
    assert fault.code != "ignored_output_gradient"


class LostATerm(Function):
    """The second of two terms is gone; what is left binds a name to itself."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x.sin() @ w + w.T @ x.cos()

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        gx = (g @ w.T) * x.cos()
        gx = gx  # BUG
        return gx, x.sin().T @ g + x.cos() @ g.T


def test_a_name_bound_to_itself_is_where_something_is_gone():
    fault = check(LostATerm.apply, real(3, 3), real(3, 3, seed=1), order=1).faults[0]
    assert fault.read_at.first == marked(LostATerm)


class QuadraticForms(Function):
    """Of a matrix that is always symmetric; beside such ones its gradient is another."""

    @staticmethod
    def forward(ctx, matrix, rows):
        product = matrix @ rows
        ctx.save_for_backward(rows, product)
        return (rows * product).sum(0)

    @staticmethod
    def backward(ctx, g):
        rows, product = ctx.saved_tensors
        of_matrix = rows @ (g[:, None] * rows.mT)
        of_rows = 3 * product * g  # BUG
        return of_matrix, of_rows


def test_what_always_holds_of_the_inputs_is_kept():
    def forms(a, rows):
        return QuadraticForms.apply((a + a.mT) / 2, rows)

    faults = check(forms, real(3, 3), real(3, 4, seed=1), order=1).faults
    assert [fault.read_at.first for fault in faults] == [marked(QuadraticForms)]
    assert faults[0].explanation == "a constant factor of 1.5"


class Solved(Function):
    """Only the lower triangle is read, and the gradient is symmetric: right for a symmetric matrix."""

    @staticmethod
    def forward(ctx, matrix, x):
        lower = torch.linalg.cholesky(matrix)
        y = torch.cholesky_solve(x, lower)
        ctx.save_for_backward(lower, y)
        return y

    @staticmethod
    def backward(ctx, g):
        lower, y = ctx.saved_tensors
        back = torch.cholesky_solve(g, lower)
        both = back @ y.mT + y @ back.mT
        gx = -back  # BUG
        return -both / 2, gx


def test_a_gradient_that_is_right_for_what_is_given_is_not_told():
    def solved(a, x):
        return Solved.apply(a @ a.mT + 3 * torch.eye(3, dtype=torch.double), x)

    faults = check(solved, real(3, 3), real(3, 2, seed=1), order=1).faults
    assert [(fault.slot, fault.read_at.first) for fault in faults] == [("x", marked(Solved))]


class OfAnother(Function):
    @staticmethod
    def forward(ctx, x, result):
        return result.sin()

    @staticmethod
    def backward(ctx, g):
        return g, None


def test_no_number_of_the_size_of_rounding_is_suggested():
    fault = check(OfAnother.apply, real(3), real(3, seed=1).detach()).faults[0]
    assert "e-" not in fault.fix + fault.explanation


class IntoABuffer(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return torch.mul(2 * x, g, out=torch.empty_like(x))


def test_what_autograd_itself_refuses_is_a_note():
    report = check(IntoABuffer.apply, real(3))
    assert report.verdict == "correct" and [note.code for note in report.notes] == ["first_order_only"]


class Inverted(Function):
    """Zeros are divided by zeros, since a condition is the wrong way round."""

    @staticmethod
    def forward(ctx, x):
        y = x.relu()
        ctx.save_for_backward(y)
        return (y / y.sum(-1, keepdim=True)).square()

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        total = y.sum(-1, keepdim=True)
        kept = torch.where(y > 0, torch.zeros_like(y), y)  # BUG
        share = kept / kept.sum(-1, keepdim=True)
        gs = 2 * share * g
        return torch.where(y > 0, (gs - (gs * share).sum(-1, keepdim=True)) / total, 0.0)


def test_nan_is_told_once_and_where_it_comes_from():
    faults = check(Inverted.apply, real(2, 4), order=1).faults
    assert [fault.code for fault in faults] == ["nonfinite_gradient"]
    assert faults[0].read_at.first == marked(Inverted) and "Before that" in faults[0].sentence


class InPlaceForward(Function):
    """Forward works in place; what each line was a use of is gone."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        out = x.exp()
        out.neg_().add_(x)
        return out

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * g * (1 - x.exp())


def test_a_use_in_place_is_not_blamed():
    fault = check(InPlaceForward.apply, real(4), order=1).faults[0]
    assert "along" not in fault.sentence and fault.explanation == "a constant factor of 3"


class RootOfItsOutput(Function):
    """Right once; its backward has a root whose own derivative is infinite where the output is zero."""

    @staticmethod
    def forward(ctx, x):
        y = x.clamp(min=0).square()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        root = y.sqrt()  # BUG
        return 2 * g * root


def test_a_second_derivative_that_is_no_number_is_told_with_its_line():
    x = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.double, requires_grad=True)
    fault = check(RootOfItsOutput.apply, x).faults[0]
    assert (fault.code, fault.order, fault.read_at.first) == ("nonfinite_gradient", 2, marked(RootOfItsOutput))


class HeadsOfAView(Function):
    """One statement computes; where it goes wrong, it goes wrong there."""

    @staticmethod
    def forward(ctx, x, heads):
        ctx.shape = x.shape
        return x.view(x.shape[0], heads, -1).transpose(0, 1)

    @staticmethod
    def backward(ctx, g):
        return g.reshape(ctx.shape), None  # BUG: not transposed back


class LogDet(Function):
    """The factor itself in the place of the inverse. One over it is infinite above its diagonal, and no repair."""

    @staticmethod
    def forward(ctx, a):
        factor = torch.linalg.cholesky(a)
        ctx.save_for_backward(factor)
        return 2 * factor.diagonal().log().sum()

    @staticmethod
    def backward(ctx, g):
        (factor,) = ctx.saved_tensors
        inverse = torch.cholesky_inverse(factor)  # noqa: F841
        return g * factor  # BUG


class Polar(Function):
    """The second sum forgets the first: right as long as one of the two is all there is."""

    @staticmethod
    def forward(ctx, r, angle):
        ctx.save_for_backward(r, angle)
        ctx.set_materialize_grads(False)
        return r * angle.cos(), r * angle.sin()

    @staticmethod
    def backward(ctx, gx, gy):
        r, angle = ctx.saved_tensors
        dr = da = None
        if gx is not None:
            dr, da = gx * angle.cos(), -gx * r * angle.sin()
        if gy is not None:
            dr = gy * angle.sin() if dr is None else dr + gy * angle.sin()
            da = gy * r * angle.cos()
        return dr, da


class SlopeLeftOut(Function):
    """A slope of 0.2 left out makes five times of it, which nobody adds up."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x > 0, x, 0.2 * x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, g, g)  # BUG


def test_the_only_statement_that_computes_is_the_wrong_one():
    (finding, *_) = check(HeadsOfAView.apply, real(3, 4), 2).faults
    assert finding.read_at is not None and finding.read_at.first == marked(HeadsOfAView), str(finding)


def test_what_is_infinite_repairs_nothing():
    report = check(lambda b: LogDet.apply(b @ b.mT + torch.eye(3, dtype=b.dtype)), real(3, 3), order=1)
    assert report.verdict == "wrong_gradient"
    assert "/" not in report.faults[0].explanation and "inverse" in report.faults[0].explanation


def test_none_is_not_to_blame_where_it_gives_what_is_right():
    codes = [each.code for each in check(Polar.apply, real(3), real(3, seed=1)).faults]
    assert codes and "none_not_handled" not in codes


def test_many_times_is_a_factor_and_not_a_sum():
    report = check(SlopeLeftOut.apply, real(6))
    assert report.verdict == "wrong_partial" and report.faults[0].read_at.first == marked(SlopeLeftOut)


class WeightedSquares(Function):
    """Twice of a whole gradient, which has two equal parts: neither of them came three times."""

    @staticmethod
    def forward(ctx, p, w):
        ctx.save_for_backward(p, w)
        return (w * p * p).mean()

    @staticmethod
    def backward(ctx, g):
        p, w = ctx.saved_tensors
        dp = 2 * g * p * w
        return dp / p.shape[0], g * p * p / p.numel()  # BUG


def test_a_factor_of_the_whole_is_not_counted_by_its_parts():
    finding = check(WeightedSquares.apply, real(3, 2), real(3, 2, seed=1)).faults[0]
    assert finding.code == "wrong_gradient" and finding.explanation == "a constant factor of 2"


class OneWaySums(Function):
    """The sums of what comes in run the wrong way."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp().cumsum(0)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        sums = g.cumsum(0).flip(0)  # BUG
        dx = sums * x.exp()
        return dx


class Recurrence(Function):
    """Complex states, run again in backward as forward ran them, since that is right."""

    @staticmethod
    def forward(ctx, a, u):
        h = torch.zeros_like(a)
        hs = []
        for t in range(u.shape[0]):
            h = a * h + u[t]
            hs.append(h)
        ctx.save_for_backward(a, u)
        return 2 * torch.stack(hs).real

    @staticmethod
    def backward(ctx, g):
        a, u = ctx.saved_tensors
        h = torch.zeros_like(a)
        hs = [h]
        for t in range(u.shape[0]):
            h = a * h + u[t]
            hs.append(h)
        carry = torch.zeros_like(a)
        da = torch.zeros_like(a)
        du = torch.empty_like(u)
        for t in range(u.shape[0] - 1, -1, -1):
            carry = carry + 2 * g[t]
            du[t] = carry.real
            da = da + carry * hs[t]  # BUG: not its conjugate
            carry = carry * a.conj()
        return da, du


def test_a_search_that_ran_out_of_time_names_no_line(monkeypatch):
    monkeypatch.setattr("simplegrad.checks.causes.suspects.LONGEST", 0.0)
    finding = check(OneWaySums.apply, real(4)).faults[0]
    assert finding.read_at is None or finding.read_at.first == marked(OneWaySums), str(finding)


def test_what_backward_repeats_of_forward_is_right():
    a = torch.exp(1j * torch.tensor([0.3, 0.8, 0.1], dtype=torch.double)).mul(0.9).requires_grad_()
    finding = check(Recurrence.apply, a, real(4, 3)).faults[0]
    assert finding.read_at.first == marked(Recurrence), str(finding)


class RoundedConstant(Function):
    """Two over the root of pi, with three digits of it: a three-thousandth part is missing."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.erf()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 1.128 * (-x * x).exp()  # BUG


def test_a_constant_with_too_few_digits_is_found():
    finding = check(RoundedConstant.apply, real(4)).faults[0]
    assert finding.code == "wrong_partial" and finding.read_at.first == marked(RoundedConstant)


class EitherHalf(Function):
    """A factor that is too much could be left out in the one statement, or made up for in the other."""

    @staticmethod
    def forward(ctx, x):
        even, odd = x[::2], x[1::2]
        return torch.cat([even + odd, even - odd]) * 0.5**0.5

    @staticmethod
    def backward(ctx, g):
        low, high = g.chunk(2)
        pairs = torch.stack([low + high, low - high], 1) * 0.5**0.5
        return 0.5 * pairs.flatten()  # BUG


def test_statements_that_the_same_factor_would_put_right_are_named_together():
    (fault,) = check(EitherHalf.apply, real(6)).faults
    last = marked(EitherHalf)
    assert (fault.read_at.first, fault.read_at.last) == (last - 1, last)


def turned(x, cos, sin):
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class TurnedTwice(Function):
    @staticmethod
    def forward(ctx, q, k, angle):
        ctx.save_for_backward(angle)
        return turned(q, angle.cos(), angle.sin()), turned(k, angle.cos(), angle.sin())

    @staticmethod
    def backward(ctx, dq, dk):
        (angle,) = ctx.saved_tensors
        dq = turned(dq, angle.cos(), -angle.sin())
        dk = turned(dk, angle.cos(), angle.sin())  # BUG
        return dq, dk, None


def test_a_helper_that_forward_calls_too_is_right_and_its_call_is_named():
    (fault,) = (f for f in check(TurnedTwice.apply, real(3, 4), real(3, 4, seed=1), real(3, 2).detach()).faults)
    assert fault.read_at.first == fault.read_at.last == marked(TurnedTwice)


class Handed(Function):
    @staticmethod
    def forward(ctx, x, result):
        return result.clone()

    @staticmethod
    def backward(ctx, g):
        return g, None


def test_what_comes_back_to_another_input_than_the_one_that_is_returned_is_not_judged():
    report = check(Handed.apply, real(3), real(3, seed=1).detach())
    assert report.verdict == "unverified" and "as it came" in report.unverified[0].sentence


class ByOtherName(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x.sin(), x.exp()

    @staticmethod
    def backward(ctx, g_sin, g_exp):
        (x,) = ctx.saved_tensors
        grad = torch.zeros_like(x)
        if g_sin is not None and g_exp is not None:  # BUG
            grad = grad + g_sin * x.cos()
        if g_exp is not None:
            grad = grad + g_exp * x.exp()
        return grad


def test_where_none_leads_elsewhere_the_branch_that_decides_is_named():
    (fault,) = (f for f in check(ByOtherName.apply, real(3)).faults if f.code == "none_not_handled")
    assert fault.read_at.first == marked(ByOtherName)
