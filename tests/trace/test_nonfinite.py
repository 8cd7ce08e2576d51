"""The first NaN or infinity of a tape's run: in its forward part, in a pass, in a pass over a pass."""

import io
from pathlib import Path

import pytest
import torch

from simplegrad import Program, Tape, TapeEntry, Variable, find_nonfinite, grad, gradient_tape, record, where
from simplegrad.trace import store
from simplegrad.trace.events import Leaf, Value
from simplegrad.trace.trace import Trace


def leaf(*numbers, name="x"):
    return Variable.constant(torch.tensor(numbers, dtype=torch.double), name=name)


def line_of(text):
    """The line of this file that ends with the text as a comment."""
    lines = Path(__file__).read_text().splitlines()
    return 1 + next(i for i, line in enumerate(lines) if line.endswith(f"# {text}"))


def test_a_finite_run_has_none():
    with Tape(), record() as trace:
        x = leaf(1.0, 2.0)
        grad((x * x).sum(), [x])
    assert find_nonfinite(trace) is None


def test_log_of_zero_in_forward():
    with Tape(), record() as trace:
        x = leaf(0.0, 1.0)
        y = x.log()  # the log
        grad((y * 2).sum(), [x])
    birth = find_nonfinite(trace)
    assert (birth.kind, birth.where, birth.entry.operator, birth.value) == (
        "inf",
        "forward",
        "log",
        birth.entry.outputs[0].name,
    )
    assert birth.source == (__file__, line_of("the log"))
    assert trace.events[birth.step].entry is birth.entry
    assert "from finite inputs" in birth.sentence and "test_nonfinite.py" in birth.sentence


def test_zero_by_zero_in_forward():
    with Tape(), record() as trace:
        a, b = leaf(0.0, 1.0, name="a"), leaf(0.0, 1.0, name="b")
        _ = (a + b) * (a / b)
    birth = find_nonfinite(trace)
    assert (birth.kind, birth.entry.operator) == ("nan", "div")


def test_root_at_zero_in_backward():
    with Tape(), record() as trace:
        x = leaf(0.0, 4.0)
        y = x.sqrt()  # the root
        grad(y.sum(), [x])
    birth = find_nonfinite(trace)
    assert (birth.kind, birth.where, birth.pass_) == ("inf", "pass", trace.passes[0])
    assert birth.source == (__file__, line_of("the root"))
    assert "in the backward of" in birth.sentence


def test_where_hides_it_in_forward_only():
    with Tape(), record() as trace:
        x = leaf(0.0, 4.0)
        y = where(x.value > 0, x.sqrt(), leaf(0.0, 0.0, name="zero"))  # the root behind where
        z = y * 3 + 1
        grad(z.sum(), [x])
    birth = find_nonfinite(trace)
    assert (birth.kind, birth.where) == ("nan", "pass")
    assert birth.source == (__file__, line_of("the root behind where"))


def test_infinite_only_in_the_second_pass():
    """x ** 1.5 at 0: the first derivative is 0 there, the second is infinite."""
    with Tape(), record() as trace:
        x = leaf(0.0, 1.0)
        L0 = (x**1.5).sum()
        (g,) = grad(L0, [x])
        grad(g.sum(), [x])
    birth = find_nonfinite(trace)
    assert birth.where == "pass"
    assert birth.pass_ is trace.passes[1]


def test_zero_times_infinity_in_the_second_pass():
    with Tape(), record() as trace:
        x = leaf(0.0, 1.0)
        (g,) = grad((x**1.5).sum(), [x])
        grad((g * g).sum(), [x])
    first = find_nonfinite(trace)
    assert (first.where, first.pass_) == ("pass", trace.passes[1])
    assert find_nonfinite(trace, kinds=("nan",)).kind == "nan"


def test_a_nan_that_came_in():
    with Tape(), record() as trace:
        x = leaf(float("nan"), 1.0)
        grad((x * x).sum(), [x])
    birth = find_nonfinite(trace)
    assert (birth.value, birth.is_outside, birth.entry) == ("x", True, None)
    assert "from outside" in birth.sentence


def test_a_value_from_before_the_recording():
    with Tape():
        x = leaf(0.0)
        y = x.log()
        with record() as trace:
            _ = y * 2
    birth = find_nonfinite(trace)
    assert birth.is_outside and "before the recording" in birth.sentence


def test_a_hand_written_propagate_is_named_by_its_line():
    def bad(x):
        r = Variable(x.value * 2)

        def propagate(dL_doutputs):
            (dL_dr,) = dL_doutputs
            return [dL_dr / (x - x)]  # the division

        gradient_tape.append(TapeEntry(inputs=[x.name], outputs=[r.name], propagate=propagate))
        return r

    with Tape(), record() as trace:
        x = leaf(1.0)
        grad(bad(x).sum(), [x])
    birth = find_nonfinite(trace)
    assert birth.where == "pass" and birth.entry.operator == "div"
    assert birth.source == (__file__, line_of("the division"))


def test_a_sum_of_finite_contributions_that_overflows():
    with Tape(), record() as trace:
        x = leaf(0.1)
        grad((x * 1.5e308 + x * 1.5e308).sum(), [x])
    birth = find_nonfinite(trace)
    assert (birth.kind, birth.where, birth.entry.operator) == ("inf", "pass", "add")


def test_only_nan_when_asked():
    with Tape(), record() as trace:
        x = leaf(0.0)
        y = x.log()
        _ = y - y
    assert find_nonfinite(trace).kind == "inf"
    nan = find_nonfinite(trace, kinds=("nan",))
    assert nan.entry.operator == "sub" and "an infinity in" in nan.sentence


def test_a_program_tells_its_own_line():
    trace = Program.parse("a = rand(3)\nb = a - a\nc = log(b)\nL = c.sum()\ngrad(L, [a])").run()
    assert find_nonfinite(trace).line == 3


def test_it_is_the_same_after_a_file():
    with Tape(), record() as trace:
        x = leaf(0.0, 1.0)
        grad(x.sqrt().sum(), [x])
    stream = io.BytesIO()
    store.save(trace, stream)
    stream.seek(0)
    assert find_nonfinite(store.load(stream)).sentence == find_nonfinite(trace).sentence


def test_a_trace_without_numbers_is_an_error():
    value = Value(0, "x", (2,))
    with pytest.raises(ValueError, match="values='norm'"):
        find_nonfinite(Trace([Leaf(0, None, None, None, None, value)], [], [value]))


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="'nan', 'inf'"):
        find_nonfinite(Trace(), kinds=("huge",))
