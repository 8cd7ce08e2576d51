"""Every event has a sentence, and the arithmetic in it is what happened."""

import pytest
import torch

from simplegrad.language import EXAMPLES, Program
from simplegrad.ops import TABLE
from simplegrad.trace.events import Value
from simplegrad.view.sentences import FORMULAS, formulas, partials, sentences, value_text

from .conftest import example

EXAMPLE = "gradient-of-gradient"


def told(text: str, **modes) -> list[str]:
    return sentences(Program.parse(text).run(**modes).events)


def test_a_visit_says_what_comes_in_and_what_it_computes():
    lines = told("a = tensor([2.0])\nb = tensor([3.0])\nL0 = a * b\ngrad(L0, [a, b])")
    assert (
        "Entry 0, L0 = a * b: in comes dL0/dL0 = v0. It computes: dL0/da gets v0 * b (∂L0/∂a = b); "
        "dL0/db gets v0 * a (∂L0/∂b = a)." in lines
    )


def test_a_first_contribution_is_told_as_one():
    lines = told("a = tensor([2.0])\nL0 = a * a\ngrad(L0, [a])")
    assert "dL0/da = v1 = [2.0000]: the first contribution to a, from entry 0." in lines


def test_a_second_contribution_says_what_is_added_to_what():
    lines = told("a = tensor([2.0])\nL0 = a * a\ngrad(L0, [a])")
    assert "a's second contribution, from entry 0, is added: dL0/da = v1 + v2 = v3 = [4.0000]." in lines


def test_a_skipped_entry_says_why(wrong):
    line = sentences(wrong.events)[67]
    assert line == (
        "Entry 1, L0 = v0.sum(), is skipped: nothing has come to dL1/dL0, so nothing is passed on. t received a "
        "gradient at step 55, and it goes nowhere."
    )


def test_an_entry_that_no_gradient_can_come_to_is_skipped_for_a_known_zero():
    lines = told("a = tensor([2.0])\nb = a * a\nL0 = a * a\ngrad(L0, [a])", prune="none")
    nothing = "dL0/db is None, a known zero, and so is everything that it would give. No work."
    assert f"Entry 0, b = a * a, is skipped: {nothing}" in lines


def test_what_a_hand_written_propagate_left_out_is_not_called_zero():
    from simplegrad import Tape, TapeEntry, Variable, current_tape, grad, record

    def halved(a):
        r = Variable(a.value * 0.5)
        current_tape().append(TapeEntry(inputs=[a.name], outputs=[r.name], propagate=lambda given: [None]))
        return r

    with Tape(), record() as trace:
        a = Variable.constant(torch.tensor([2.0]), name="a")
        grad(halved(a * a).sum(), [a])
    lines = sentences(trace.events)
    assert any("by its propagate that is zero: it adds nothing" in line for line in lines)
    assert "The propagate of entry 1 gave None for v0" in lines[-1]
    assert not any("a known zero" in line for line in lines)


def test_a_pruned_entry_says_why():
    lines = told("a = tensor([2.0])\nb = tensor([1.0])\nc = b * b\nL0 = a * c\ngrad(L0, [a])", prune="ahead")
    assert (
        "Entry 0, c = b * b, is pruned ahead: none of its inputs depends on a, so no wanted result needs it." in lines
    )


def test_an_escaped_temporary_is_named(wrong):
    assert sentences(wrong.events)[11].startswith(
        "t is read by entry 4, v4 = v2 * t, but no entry has t as its output and it is no leaf: an escaped temporary."
    )


def test_an_entry_that_runs_again_says_so():
    lines = sentences(example("gradient-of-gradient", "simple").events)
    again = [line for line in lines if "It runs again: it ran in the pass of L0 already." in line]
    assert len(again) == 1 and again[0].startswith("Entry 0, v0 = a + b")
    recorded = [line for line in lines if "The pass of L0 recorded it, and it runs like any other entry." in line]
    assert [line.split(":")[0] for line in recorded] == [
        "Entry 6, v6 = v5 + v4",
        "Entry 5, v5 = v3 * v0",
        "Entry 4, v4 = v3 * b",
        "Entry 3, v3 = v2.expand(4)",
    ]


def test_zeros_in_the_place_of_none_say_what_they_cost():
    lines = sentences(example("gradient-of-gradient", "simple_variable_almost").events)
    assert sum("It stands in for a gradient that is None." in line for line in lines) == 2
    paid = [line for line in lines if "with None in its place this would cost nothing." in line]
    assert len(paid) == 5 and all("whatever comes" in line for line in paid)
    for aggregate in ("simple", "simple_variable"):
        assert not any("would cost nothing" in line for line in sentences(example(EXAMPLE, aggregate).events))


def test_a_zero_that_stands_for_no_none_is_a_constant_like_others():
    lines = told(
        """def mul(a, b):
    r = Variable(a.value * b.value)
    def propagate(dL_doutputs):
        (g,) = dL_doutputs
        z = Variable.constant(torch.zeros(()))
        return [g * b + z, g * a]
    gradient_tape.append(TapeEntry([a.name, b.name], [r.name], propagate))
    return r
a = Variable.constant(torch.ones(2))
b = Variable.constant(torch.ones(2))
grad(mul(a, b).sum(), [a, b])"""
    )
    assert not any("stands in" in line or "would cost nothing" in line for line in lines)


def test_the_end_of_a_pass_tells_none_from_a_value(wrong):
    last = sentences(wrong.events)[-1]
    assert (
        "dL1/da = None: nothing came. t received a gradient at step 55, and it goes nowhere; dL1/db = v21 = [" in last
    )


def test_a_gradient_that_a_temporary_swallows_is_told_where_it_happens(wrong):
    assert sentences(wrong.events)[55].endswith(
        "It goes nowhere: no entry has t as its output, so what t was computed from misses it."
    )


def test_a_known_zero_says_why_it_is_one():
    last = told("a = tensor([2.0])\nb = tensor([1.0])\nL0 = a * a\ngrad(L0, [a, b])")[-1]
    assert "dL0/db = None, a known zero: L0 does not depend on b" in last


def test_what_was_not_asked_for_is_no_known_zero():
    trace = example("gradient-of-gradient", "simple_variable_wrong", prune="ahead")
    lines = [line for line in sentences(trace.events) if line.startswith("None comes to")]
    assert lines and all("not asked for" in line for line in lines)


def test_zeros_in_the_place_of_none_are_not_called_none():
    assert "None" not in told("a = tensor([2.0])\nb = tensor([1.0])\nL0 = a * a\ngrad(L0, [a, b])", none="zeros")[-1]


def test_a_loss_that_is_no_scalar_is_said_to_be_summed():
    assert any(
        "not a scalar, so this is the gradient of its sum" in line for line in told(EXAMPLES["first-gradient"].text)
    )


def test_an_error_is_the_last_sentence():
    trace = example("gradient-of-gradient", "simple_type_error")
    assert sentences(trace.events)[-1].startswith("The run raised RawTensorError: ")


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("modes", [{}, {"none": "zeros"}, {"prune": "ahead"}])
def test_every_event_of_every_example_has_a_whole_sentence(name, modes):
    for line in sentences(example(name, **modes).events):
        assert line and "{" not in line and line[-1] in ".)", line


def test_operators_have_formulas():
    """As many as there are rules, where there are any: an operator without is told by its numbers alone."""
    ours = {name: [vjp for vjp in each.vjps if vjp] for name, each in TABLE.items() if any(each.vjps)}
    rules = {name: len(vjps) for name, vjps in ours.items() if vjps[0].__module__.startswith("simplegrad.")}
    assert {"mul", "div", "exp", "tanh", "matmul", "sum"} <= set(FORMULAS)
    assert all(len(FORMULAS[name]) == count for name, count in rules.items() if name in FORMULAS)


def test_formulas_name_numbers_on_either_side():
    (entry,) = Program.parse("a = tensor([2.0])\nb = 3 - a").run().entries
    assert formulas(entry) == ["-{g}"] and partials(entry) == ["-1"]
    (entry,) = Program.parse("a = tensor([2.0])\nb = a ** 3").run().entries
    assert formulas(entry) == ["{g} * 3 * a ** (3 - 1)"]


@pytest.mark.parametrize(
    "tensor, text",
    [
        (torch.tensor(1.5), "1.5000"),
        (torch.tensor([0.0, -2.0]), "[0, -2.0000]"),
        (torch.tensor([[1.0], [1e-9]]), "[[1.0000], [1e-09]]"),
        (torch.tensor([float("nan"), float("inf")]), "[nan, inf]"),
        (torch.ones(3, 3), "[1.0000, 1.0000, 1.0000, 1.0000, …; norm 3.0000]"),
        (torch.tensor([]), "[]"),
    ],
)
def test_values_are_written_to_four_digits(tensor, text):
    assert value_text(Value(0, "x", tuple(tensor.shape), tensor)) == text
