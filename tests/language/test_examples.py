"""The examples: what they show is what happens, and every gradient is torch's."""

import pytest
import torch

from simplegrad import Program
from simplegrad.language import EXAMPLES
from simplegrad.trace.events import Visited

from .as_torch import assert_same_passes, our_passes, torch_passes

RIGHT = ("simple", "simple_recompute", "simple_variable_almost", "simple_variable")
NAMES = {"first-gradient", "zero-gradients", "gradient-of-gradient", "exercise", "reuse", "broadcasting", "third-order"}
NAMES |= {"two-layer-network", "rmsnorm", "gradient-penalty", "chain-200"}


def test_all_examples_are_there_under_their_names():
    assert set(EXAMPLES) >= NAMES
    assert all(name == example.name and example.title and example.sentence for name, example in EXAMPLES.items())


@pytest.mark.parametrize("prune", ["none", "ahead"])
@pytest.mark.parametrize("none", ["skip", "zeros"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_gradients_are_those_of_torch(name, none, prune, float64):
    text = EXAMPLES[name].text
    theirs = torch_passes(text, none)
    for aggregate in RIGHT if EXAMPLES[name].program.uses_f else RIGHT[:1]:
        trace = Program.parse(text).run(aggregate, none, prune)
        assert trace.error is None
        assert_same_passes(our_passes(trace), theirs)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_finish_with_every_variant_but_the_one_that_raises(name):
    program = EXAMPLES[name].program
    for aggregate in ("simple_variable_wrong", "simple_type_error"):
        error = program.run(aggregate).error
        expected = "RawTensorError" if aggregate == "simple_type_error" and program.uses_f else None
        assert (error and error.error) == expected


def aggregate_states(trace, run: int) -> list[str]:
    """How the entries that stand for an aggregate were visited in one pass."""
    visits = [event for event in trace.events if isinstance(event, Visited) and event.pass_id == run]
    return [event.state for event in visits if event.entry.aggregate]


def test_in_the_exercise_both_incoming_gradients_are_present_in_the_second_pass():
    trace = EXAMPLES["exercise"].program.run("simple_variable")
    assert aggregate_states(trace, 0) == ["partial"]
    assert aggregate_states(trace, 1) == ["propagated"]


def test_the_exercise_adds_two_characters_to_the_gradient_of_a_gradient():
    before, after = EXAMPLES["gradient-of-gradient"], EXAMPLES["exercise"]
    assert aggregate_states(before.program.run("simple_variable"), 1) == ["partial"]
    # and the brackets around f(a, b), which the notebook has already
    assert after.text.replace("(f(a, b)*a)", "f(a, b)") == before.text


def test_the_wrong_variant_loses_the_gradients_of_the_second_pass(float64):
    text = EXAMPLES["gradient-of-gradient"].text
    first, second = our_passes(Program.parse(text).run("simple_variable_wrong"))
    truth = torch_passes(text)
    assert_same_passes([first], truth[:1])
    assert second[0] is None
    assert not torch.allclose(second[1], truth[1][1])


def test_the_gradient_of_b_is_none_in_zero_gradients():
    trace = EXAMPLES["zero-gradients"].program.run()
    assert [g is None for g in our_passes(trace)[0]] == [False, True]


def test_the_chain_has_200_operations():
    trace = EXAMPLES["chain-200"].program.run()
    assert sum(entry.pass_id is None and entry.operator != "sum" for entry in trace.entries) == 200
