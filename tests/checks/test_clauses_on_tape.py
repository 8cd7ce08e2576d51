"""The clauses asked of an aggregate: the same as of a Function, told with its names and lines."""

from __future__ import annotations

import pytest
import torch

from simplegrad import TapeEntry, Variable, add_optional, check, gradient_tape

torch.set_num_threads(1)
A = torch.tensor([[0.5, -1.0, 2.0], [0.25, 1.5, -0.75]])


def append(inputs, outputs, propagate):
    gradient_tape.append(TapeEntry([x.name for x in inputs], [y.name for y in outputs], propagate))


def state(report, number):
    return next(clause.state for clause in report.clauses if clause.number == number)


def square(partial):
    def function(x):
        r = Variable(x.value**2)
        append([x], [r], lambda dL_doutputs: [partial(dL_doutputs[0], x)])
        return r

    return function


def right(g, x):
    return g * 2 * x


@pytest.mark.parametrize("number", range(1, 10))
def test_a_right_aggregate_holds_in_every_clause(number):
    assert state(check(square(right), Variable.constant(A)), number) == "holds"


def of_memory(g, x):
    numbers = g.value.detach()
    flat = numbers.as_strided((numbers.numel(),), (1,), numbers.storage_offset())  # BUG
    return 2 * x * Variable.constant(flat.clone().view(numbers.shape)) + 0 * g


def test_a_propagate_that_reads_memory_as_if_it_were_contiguous():
    report = check(square(of_memory), Variable.constant(A), order=1)
    assert "layout_assumed" in {each.code for each in report.faults}, str(report)
    assert state(report, 7) == "broken"


def test_a_gradient_that_hangs_on_what_else_is_wanted():
    """A propagate cannot see what is wanted; but what it keeps from one call to the next it can use."""
    report = check("simple", torch.rand(3), torch.rand(3))
    assert state(report, 6) == "holds"


def test_an_integer_input_that_forward_writes_over():
    def picked(x, index):
        r = Variable(x.value[index.value])
        index.value.add_(1).remainder_(2)
        append([x], [r], lambda g: [g[0].expand(2, 3) * 0])
        return r

    report = check(picked, Variable.constant(A), Variable.constant(torch.tensor(0)))
    assert "input_mutated" in {each.code for each in report.faults}
    assert next(each.slot for each in report.faults if each.code == "input_mutated") == "index"


def two_outputs(with_one_alone):
    """r = x^2 and t = x^3; `with_one_alone`: what t's gradient gives where r's is None."""

    def function(x):
        r, t = Variable(x.value**2), Variable(x.value**3, name="t")

        def propagate(dL_doutputs):
            dL_dr, dL_dt = dL_doutputs
            if dL_dr is None:
                return [with_one_alone(dL_dt, x)]
            return [add_optional(dL_dr * 2 * x, None if dL_dt is None else dL_dt * 3 * x * x)]

        append([x], [r, t], propagate)
        return r

    return function


def test_a_pattern_of_none_is_right():
    report = check(two_outputs(lambda g, x: g * 3 * x * x), Variable.constant(A))
    assert report.verdict == "correct" and state(report, 5) == "holds", str(report)


def test_a_pattern_of_none_that_loses_the_second_derivative_alone():
    def cut(g, x):
        return g * Variable.constant(3 * x.value.detach() ** 2)

    report = check(two_outputs(cut), Variable.constant(A))
    assert state(report, 5) == "broken", str(report)
    assert report.faults[0].code == "none_not_handled" and report.faults[0].order == 2
    assert check(two_outputs(cut), Variable.constant(A), order=1).ok


def test_what_a_function_reaches_is_put_back():
    seen, scale = [], torch.ones(2, 3)

    def counted(x):
        seen.append(1)
        scale.mul_(1.0)
        return square(right)(x)

    check(counted, Variable.constant(A))
    assert seen == []
