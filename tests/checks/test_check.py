"""`check`: the six variants, what a report holds, what the truth is held against, and arguments that it cannot use."""

import json

import numpy as np
import pytest
import torch

from simplegrad import Aggregate, TapeEntry, Variable, add_optional, check, compile_aggregate, gradient_tape, registry
from simplegrad.checks.tape.questions import MOST_OUTPUTS
from simplegrad.trace.events import Accumulated, Failed, Read

torch.set_num_threads(1)
A = torch.tensor([0.5, -1.0, 2.0, 0.25])
B = torch.tensor([1.5, 0.5, -0.75, 1.0])


def variables(*tensors):
    return [Variable.constant(x) for x in tensors]


def append(inputs, outputs, propagate):
    gradient_tape.append(TapeEntry([x.name for x in inputs], [y.name for y in outputs], propagate))


# --- the six variants ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "verdict", "notes"),
    [
        ("simple", "correct", []),
        ("simple_type_error", "raw_tensor_captured", []),
        ("simple_recompute", "correct", ["recomputed"]),
        ("simple_variable_wrong", "escaped_temporary", []),
        ("simple_variable_almost", "correct", ["zero_materialised"]),
        ("simple_variable", "correct", []),
    ],
)
@pytest.mark.parametrize("order", [2, 3])
def test_the_six_variants(name, verdict, notes, order):
    report = check(registry[name], A, B, order=order)
    assert report.verdict == verdict
    assert report.ok == (verdict == "correct")
    assert [note.code for note in report.notes] == notes


def test_wrong_is_right_at_order_one():
    assert check("simple_variable_wrong", A, B, order=1).verdict == "correct"


def test_wrong_names_t_its_lines_its_step_and_what_is_lost():
    report = check(registry["simple_variable_wrong"], A, B)
    (finding,) = report.faults
    assert finding.slot == "t"
    assert finding.order == 2
    assert finding.made_at.text == 't_v = Variable(t, name="t")'
    assert finding.read_at.text == "dL_db = dL_dt + dL_dr * dr_db"
    event = report.trace.events[finding.step]
    assert isinstance(event, Accumulated)
    assert event.value.name == "t"
    assert event.pass_id == 1


def test_the_dropped_gradient_is_what_is_missing_from_the_truth():
    """L1 = sum(u_a w b) + sum(u_b w (a + 2 b)), as `simple` has it; wrong loses the u_b w that comes through t."""
    report = check("simple_variable_wrong", A, B)
    (finding,) = report.faults
    values = {value.name: value.tensor for value in report.trace.values}
    lost = (values["w"] * values["u_1"]).detach()
    for name in ("a", "b"):
        torch.testing.assert_close(finding.dropped[name], lost)


def test_almost_says_how_many_operations_are_on_zeros():
    (note,) = check("simple_variable_almost", A, B).notes
    assert "4 operations when dL/dv0 is None" in note.sentence
    assert "1 operation when dL/dt_v is None" in note.sentence


def test_the_type_error_ends_the_trace():
    report = check("simple_type_error", A, B)
    (finding,) = report.faults
    assert finding.slot == "t"
    assert finding.made_at.text == "t = a.value + b.value"
    assert isinstance(report.trace.events[finding.step], Failed)


# --- the report ------------------------------------------------------------------------------------------------------


def test_a_report_reads_well_and_survives_json():
    report = check("simple_variable_wrong", A, B)
    text = str(report)
    for word in ("escaped_temporary", "order 2", "dropped gradient of a", "made at", "read at", "write instead"):
        assert word in text
    told = json.loads(json.dumps(report.as_json()))
    assert told["verdict"] == "escaped_temporary"
    assert len(told["findings"][0]["dropped"]["a"]) == 4


def test_errors_per_order_and_input():
    report = check("simple_variable_wrong", A, B)
    assert list(report.errors) == [1, 2]
    assert report.errors[1]["a"] < 1e-9
    assert report.errors[2]["a"] > 0.1
    assert report.errors[2]["b"] > 0.1


def test_without_inputs_the_example_is_taken():
    assert check("simple").ok


def test_a_clean_report_has_a_trace_too():
    trace = check("simple", A, B).trace
    assert len(trace.passes) == 2
    assert trace.error is None


def test_the_fix_of_wrong_is_right(tmp_path):
    """The suggested code, saved as a file of the user's and imported, passes the check."""
    import importlib.util

    (finding,) = check("simple_variable_wrong", A, B).faults
    path = tmp_path / "mended.py"
    path.write_text(f"import torch\nfrom simplegrad import TapeEntry, Variable, gradient_tape\n\n\n{finding.fix}\n")
    spec = importlib.util.spec_from_file_location("mended", path)
    mended = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mended)
    assert check(mended.simple_variable_wrong, *variables(A, B), order=3).verdict == "correct"


# --- coverage --------------------------------------------------------------------------------------------------------


def test_lines_that_no_pass_ran_are_listed():
    def partly(x):
        r = Variable(x.value * 2)

        def propagate(dL_doutputs):
            (g,) = dL_doutputs
            if g.ndim > 3:
                return [g * 3]
            return [g * 2]

        append([x], [r], propagate)
        return r

    (place,) = check(partly, *variables(A)).coverage
    assert place.text.strip() == "return [g * 3]"


def test_patterns_of_none_run_branches_that_no_pass_does():
    assert check("simple_variable", A, B).coverage == []


# --- the truth -------------------------------------------------------------------------------------------------------


def sine(forward):
    def aggregate(x):
        r = Variable(forward(x.value))
        append([x], [r], lambda dL_doutputs: [dL_doutputs[0] * x.cos()])
        return r

    return aggregate


def through_numpy(tensor):
    return torch.from_numpy(np.sin(tensor.numpy()))


def detached(tensor):
    return tensor.detach().sin()


@pytest.mark.parametrize("forward", [through_numpy, detached])
def test_a_forward_that_autograd_cannot_follow_is_held_against_differences(forward):
    report = check(sine(forward), *variables(A))
    assert report.verdict == "correct"
    assert "finite differences" in report.truth


@pytest.mark.parametrize("forward", [through_numpy, detached])
def test_differences_find_a_wrong_partial(forward):
    def wrong(x):
        r = Variable(forward(x.value))
        append([x], [r], lambda dL_doutputs: [dL_doutputs[0] * x.sin()])
        return r

    assert check(wrong, *variables(A)).verdict == "wrong_partial"


def test_an_escape_through_numpy_is_named_and_measured():
    def escape(x):
        c = Variable(torch.from_numpy(np.cos(x.value.numpy())), name="c")
        r = Variable(torch.from_numpy(np.sin(x.value.numpy())))
        append([x], [r], lambda dL_doutputs: [dL_doutputs[0] * c])
        return r

    report = check(escape, *variables(A))
    (finding,) = report.faults
    assert (finding.code, finding.slot, finding.order) == ("escaped_temporary", "c", 2)
    values = {value.name: value.tensor for value in report.trace.values}
    expected = -values["w"] * values["u"] * A.double().sin()
    torch.testing.assert_close(finding.dropped["x"], expected.detach(), rtol=1e-5, atol=1e-6)


def test_a_forward_in_place_is_followed():
    def softmax(x):
        e = (x.value - x.value.amax()).exp_()
        p = Variable(e.div_(e.sum()))
        append([x], [p], lambda g: [(g[0] - (g[0] * p).sum()) * p])
        return p

    report = check(softmax, *variables(A), order=3)
    assert report.verdict == "correct"
    assert "autograd" in report.truth


def test_a_reference_wins():
    def doubled(x):
        r = Variable(x.value * 2)
        append([x], [r], lambda g: [g[0] * 2])
        return r

    assert "reference" in check(doubled, *variables(A), reference=lambda x: x + x).truth
    report = check(doubled, *variables(A), reference=lambda x: x * 3)
    assert report.verdict == "wrong_value"
    assert len(report.findings) == 1


def test_a_constant_that_changes_nothing_is_no_fault():
    """The shift of a logsumexp depends on the inputs, and the tape does not know: the result does not depend on it."""

    def logsumexp(x):
        shift = Variable.constant(x.value.amax())
        r = Variable((x.value - shift.value).exp().sum().log() + shift.value)

        def propagate(dL_doutputs):
            e = (x - shift).exp()
            return [dL_doutputs[0] * e / e.sum()]

        append([x], [r], propagate)
        return r

    assert check(logsumexp, *variables(A), order=3).verdict == "correct"


def test_a_mask_of_zeros_and_ones_is_no_escape():
    def relu(x):
        mask = Variable.constant((x.value > 0).to(x.dtype))
        r = Variable(x.value.relu())
        append([x], [r], lambda g: [g[0] * mask])
        return r

    assert check(relu, *variables(A)).verdict == "correct"


def test_at_a_kink_the_given_point_alone_says_nothing():
    def relu(x):
        r = Variable(x.value.clamp(min=0))
        append([x], [r], lambda g: [g[0] * Variable.constant((x.value >= 0).to(x.dtype))])
        return r

    assert check(relu, *variables(torch.tensor([0.0, 1.0, -1.0]))).verdict == "correct"


def test_a_fault_of_the_given_point_alone_counts_where_there_is_no_kink():
    def square(x):
        r = Variable(x.value**2)
        append([x], [r], lambda g: [g[0] * x * (3 if float(x.value.sum()) > 5.9 else 2)])
        return r

    assert check(square, *variables(torch.tensor([1.0, 2.0, 3.0]))).verdict == "wrong_partial"


def test_detach_in_forward_means_that_no_gradient_flows():
    assert check(lambda x: x.detach() * x, *variables(A)).verdict == "correct"


@pytest.mark.parametrize("text", ["x * x.detach()", "x.detach() * x.exp() + x"])
def test_what_an_aggregate_and_its_reference_both_detach_is_meant_so(text):
    assert check(compile_aggregate(text), A).verdict == "correct"


def test_a_detach_that_the_reference_does_not_have_is_a_fault():
    def square(x):
        held = Variable(x.value.detach())
        r = Variable(x.value * held.value)
        append([x], [r], lambda g: [g[0] * held])
        return r

    assert not check(square, *variables(A), reference=lambda x: x * x).ok


def test_a_factor_explains_the_tapes_numbers_in_a_few_words():
    def cube(x):
        r = Variable(x.value**3)
        append([x], [r], lambda g: [g[0] * x * x * 2])
        return r

    (fault,) = check(cube, *variables(A)).faults
    assert (fault.code, fault.explanation) == ("wrong_partial", "a constant factor of 0.6667")


def test_nan_in_both_values_is_the_same_value():
    """And no fault: that nothing was compared with it is said."""
    report = check(compile_aggregate("x.log()"), torch.tensor([-1.0, 2.0]))
    assert report.verdict == "unverified" and not report.faults, str(report)


# --- what a target can be --------------------------------------------------------------------------------------------


def test_several_outputs():
    def both(a, b):
        s, p = Variable(a.value + b.value), Variable(a.value * b.value)

        def propagate(dL_doutputs):
            dL_ds, dL_dp = dL_doutputs
            dL_da = dL_db = dL_ds
            if dL_dp is not None:
                dL_da, dL_db = add_optional(dL_da, dL_dp * b), add_optional(dL_db, dL_dp * a)
            return [dL_da, dL_db]

        append([a, b], [s, p], propagate)
        return s, p

    report = check(both, *variables(A, B), order=3)
    assert report.verdict == "correct"
    assert "all 3 patterns" in report.patterns


def test_many_outputs_are_cut_and_it_is_said():
    count = MOST_OUTPUTS + 1

    def multiples(x):
        outputs = [Variable(x.value * k) for k in range(1, count + 1)]

        def propagate(dL_doutputs):
            total = None
            for k, g in enumerate(dL_doutputs, start=1):
                total = add_optional(total, None if g is None else g * k)
            return [total]

        append([x], outputs, propagate)
        return tuple(outputs)

    report = check(multiples, *variables(A))
    assert report.verdict == "correct"
    assert f"{count + 1} of {2**count - 1} patterns" in report.patterns


def test_integers_are_passed_and_not_differentiated():
    def picked(x, index, power):
        r = Variable(x.value[index.value] ** power)
        mask = torch.nn.functional.one_hot(index.value, 4)
        append([x], [r], lambda g: [(g[0] * x[index.value] ** (power - 1) * power) @ Variable.constant(mask.double())])
        return r

    report = check(picked, *variables(A.abs(), torch.tensor([1, 3])), 3)
    assert report.verdict == "correct"
    assert list(report.errors[1]) == ["x"]


def test_two_entries_and_the_one_to_blame():
    def chain(m, v):
        t = Variable(m.value @ v.value, name="t")
        append([m, v], [t], lambda g: [g[0].unsqueeze(1) * v.unsqueeze(0), m @ g[0]])
        r = Variable(t.value.exp(), name="r")
        append([t], [r], lambda g: [g[0] * r])
        return r

    m = torch.rand(3, 3, generator=torch.Generator().manual_seed(3))
    report = check(chain, *variables(m, A[:3]))
    (finding,) = report.faults
    assert (finding.code, finding.slot) == ("wrong_partial", "v")
    assert finding.entry.startswith("t = ")
    assert finding.entry.endswith("(m, v)")


def test_an_aggregate_within_other_operations():
    wrong = registry["simple_variable_wrong"]
    report = check(lambda a, b: wrong(a.tanh(), b).sum(), *variables(A, B))
    assert report.verdict == "escaped_temporary"
    assert report.faults[0].slot == "t"


def test_float32_constants_are_met_in_float32():
    weights = torch.eye(4)

    def fixed(x):
        r = Variable(weights @ x.value)
        append([x], [r], lambda g: [g[0] @ Variable.constant(weights)])
        return r

    assert check(fixed, *variables(A)).verdict == "correct"


def test_random_numbers_of_forward_are_drawn_alike():
    def dropout(x):
        mask = Variable.constant((torch.rand(x.shape) > 0.5).to(x.dtype))
        r = Variable(x.value * mask.value)
        append([x], [r], lambda g: [g[0] * mask])
        return r

    state = torch.get_rng_state()
    assert check(dropout, *variables(torch.rand(20))).verdict == "correct"
    assert state.shape == torch.get_rng_state().shape


def test_the_callers_random_numbers_and_tape_are_left_alone():
    x = Variable.constant(A)
    length, state = len(gradient_tape), torch.get_rng_state()
    check("simple_variable_wrong", A, B)
    assert len(gradient_tape) == length
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x.value, A)
    assert not A.requires_grad


# --- what is changed behind propagate's back -------------------------------------------------------------------------


def test_a_propagate_that_changes_what_it_captured():
    def impatient(x):
        t = Variable(x.value.exp(), name="t")
        r = Variable(t.value * 1)

        def propagate(dL_doutputs):
            dL_dt = add_optional(*dL_doutputs) * t
            t.value.detach().mul_(2)
            return [dL_dt]

        append([x], [r, t], propagate)
        return r

    (finding,) = check(impatient, *variables(A)).faults
    assert (finding.code, finding.slot) == ("captured_value_mutated", "t")


def test_a_buffer_that_another_call_overwrites():
    buffer = torch.zeros(4, dtype=torch.float64)

    def shared(x):
        buffer.copy_(x.value.detach())
        kept = Variable(buffer, name="kept")
        r = Variable(x.value**2)
        append([x], [r, kept], lambda g: [add_optional(None if g[0] is None else g[0] * kept * 2, g[1])])
        return r

    report = check(shared, *variables(A))
    assert report.verdict == "captured_value_mutated"
    assert report.faults[0].slot == "kept"


def test_a_forward_that_gives_another_result_each_time_is_not_judged():
    calls = []

    def counting(x):
        calls.append(1)
        return Variable(x.value * len(calls))

    report = check(counting, *variables(A))
    assert [finding.code for finding in report.findings] == ["unverified"]


# --- numbers and raw tensors -----------------------------------------------------------------------------------------


def test_a_number_taken_out_of_a_tensor():
    def cube(x):
        n = x.value.item()
        r = Variable(x.value**3)

        def propagate(dL_doutputs):
            return [dL_doutputs[0] * (3 * n * n)]

        append([x], [r], propagate)
        return r

    (finding,) = check(cube, *variables(torch.tensor(1.5))).faults
    assert finding.code == "raw_tensor_captured"
    assert finding.read_at.text == "return [dL_doutputs[0] * (3 * n * n)]"


def test_an_incoming_gradient_taken_by_its_value():
    def product(a, b):
        r = Variable(a.value * b.value)

        def propagate(dL_doutputs):
            g = Variable.constant(dL_doutputs[0].value)
            return [g * b, g * a]

        append([a, b], [r], propagate)
        return r

    (finding,) = check(product, *variables(A, B)).faults
    assert (finding.code, finding.order) == ("raw_tensor_captured", 2)
    assert finding.read_at.text == "g = Variable.constant(dL_doutputs[0].value)"


def test_an_escape_reads_as_read_in_the_trace():
    report = check("simple_variable_wrong", A, B)
    assert any(isinstance(event, Read) and event.value.name == "t" for event in report.trace.events)


def test_a_result_without_an_entry():
    (finding,) = check(lambda x: Variable(x.value * 2), *variables(A)).faults
    assert finding.code == "missing_use"
    assert "No entry has the result" in finding.sentence


# --- what raises -----------------------------------------------------------------------------------------------------


def test_a_forward_that_raises():
    def broken(x):
        raise KeyError("scale")

    (finding,) = check(broken, *variables(A)).faults
    assert finding.code == "raises"
    assert "KeyError: 'scale'" in finding.sentence
    assert finding.read_at.text == 'raise KeyError("scale")'


def test_a_propagate_that_raises():
    def broken(x):
        r = Variable(x.value * 2)

        def propagate(dL_doutputs):
            return [dL_doutputs[0] * {}["scale"]]

        append([x], [r], propagate)
        return r

    report = check(broken, *variables(A))
    assert report.verdict == "raises"
    assert report.faults[0].order == 1
    assert "scale" in report.faults[0].read_at.text


def test_a_result_that_is_a_tensor():
    (finding,) = check(lambda x: x.value * 2, *variables(A)).faults
    assert finding.code == "raw_tensor_captured"
    assert "is a Tensor" in finding.sentence


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, -1, 1.5, True, "2"])
def test_a_bad_order(order):
    with pytest.raises(ValueError, match=r"check\(order=.*expected a whole number, 1 or more"):
        check("simple", A, B, order=order)


def test_an_unknown_name():
    with pytest.raises(ValueError, match="no aggregate of that name is registered; there are .*'simple'"):
        check("simpel", A, B)


def test_what_is_no_function():
    with pytest.raises(TypeError, match="the target is an int; expected an aggregate, its name or a function"):
        check(3, A)


def test_no_inputs():
    with pytest.raises(ValueError, match=r"no inputs\. Give the values to try it on"):
        check(lambda x: x)


def test_nothing_to_differentiate_by():
    with pytest.raises(ValueError, match="none of its inputs can be differentiated"):
        check(lambda x: x, *variables(torch.tensor([1, 2])))


def test_complex_inputs():
    with pytest.raises(TypeError, match="complex"):
        check(lambda x: x, *variables(torch.tensor([1j])))


def test_a_bad_reference():
    with pytest.raises(ValueError, match="no aggregate of that name"):
        check("simple_variable", A, B, reference="nothing")
    with pytest.raises(TypeError, match="expected a function or an aggregate's name, got int"):
        check("simple_variable", A, B, reference=3)


def test_a_function_given_tensors_is_checked_as_a_torch_function():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.kept = x.cosh()
            return x.sinh()

        @staticmethod
        def backward(ctx, g):
            return g * ctx.kept

    report = check(Wrong.apply, A.clone().requires_grad_())
    assert not report.ok
    assert "kept" in str(report)


def test_arguments_that_do_not_fit_are_told_at_the_users_line():
    def takes_one(x):
        return x * x

    (finding,) = check(Aggregate(takes_one, "takes_one"), torch.rand(3), torch.rand(3)).findings
    assert finding.code == "raises"
    assert finding.read_at.file == __file__


def test_a_result_that_is_no_variable_has_its_line():
    def gives_a_tensor(x):
        return x.value * 2

    (finding,) = check(gives_a_tensor, Variable.constant(torch.rand(3))).findings
    assert finding.read_at.text.strip() == "return x.value * 2"


def test_inputs_that_cannot_be_differentiated_are_named():
    with pytest.raises(ValueError, match=r"an int64 tensor of shape \(2,\), a float"):
        check(registry["simple"], torch.tensor([1, 2]), 2.0)
    with pytest.raises(ValueError, match=r"check\(simple\): input 1 holds nan"):
        check("simple", torch.rand(2), torch.tensor([1.0, float("nan")]))


def test_an_escape_of_unknown_size_does_not_say_who_misses_it():
    def cube(x):
        detached = Variable(x.value.detach(), name="detached")
        r = Variable(x.value**3)
        gradient_tape.append(TapeEntry([x.name], [r.name], lambda d: [d[0] * 3.0 * detached * detached]))
        return r

    (finding,) = check(cube, Variable.constant(torch.rand(3))).faults
    assert finding.sentence.endswith("goes nowhere; how much that is could not be confirmed by numbers.")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (lambda a, b: a * b, "TypeError: <lambda>() missing 1 required positional argument: 'b'"),
        (lambda a: a.value, "NotAVariable: its result is a Tensor, where a Variable was expected"),
        (lambda a: a / None, "RawTensorError: "),
    ],
)
def test_a_reference_that_cannot_be_run_is_told_as_such(reference, said):
    with pytest.raises(ValueError) as caught:
        check(lambda a: a * a, *variables(A), reference=reference)
    assert str(caught.value).startswith(f"check(<lambda>): its reference could not be run: {said}")
    assert "It takes the same inputs" in str(caught.value)


def test_outputs_of_another_shape_than_the_references_are_told_by_their_shapes():
    (finding,) = check(lambda a: a * a, *variables(A), reference=lambda a: a.sum()).faults
    assert finding.code == "wrong_value"
    assert "its outputs have the shapes (4,), the reference's ()" in finding.sentence


def by_hand(forward, partial):
    """An aggregate of one input, forward on its tensor and partial(dL_dr, x, r) on Variables."""

    def function(x):
        r = Variable(forward(x.value))
        gradient_tape.append(TapeEntry([x.name], [r.name], lambda dL_doutputs: [partial(dL_doutputs[0], x, r)]))
        return r

    return function


@pytest.mark.parametrize("values", [[0.01, 1, 100], [1e-3, 1, 1e3], [1e-4, 1, 1e4], [1e-8, 1, 2], [3e-5, 3e-5, 2, 2]])
@pytest.mark.parametrize(
    "forward, right, wrong",
    [
        (torch.sqrt, lambda g, x, r: g * 0.5 / r, lambda g, x, r: g * 0.51 / r),
        (torch.log, lambda g, x, r: g / x, lambda g, x, r: g / (x * 1.01)),
        (torch.exp, lambda g, x, r: g * x.exp(), lambda g, x, r: g * x.exp() * 0.99),
    ],
    ids=["sqrt", "log", "exp"],
)
def test_elements_of_very_different_sizes(forward, right, wrong, values):
    """A step that is small beside the largest is not beside the smallest."""
    x = Variable.constant(torch.tensor(values) if forward is not torch.exp else torch.tensor(values) / max(values))
    assert check(by_hand(forward, right), x).verdict == "correct"
    assert check(by_hand(forward, wrong), x).verdict in ("wrong_partial", "unexplained")
