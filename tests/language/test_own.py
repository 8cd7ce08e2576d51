"""A program for an aggregate, made of its example inputs."""

import pytest
import torch

from simplegrad import Variable
from simplegrad.aggregates import Aggregate, registry
from simplegrad.language import Program
from simplegrad.language.starter import own_program

torch.set_num_threads(1)


def of(function, *inputs):
    return Aggregate(function, function.__name__, example=lambda: inputs)


@pytest.mark.parametrize("name", ["simple", "simple_variable_wrong", "simple_variable"])
def test_the_program_of_a_registered_aggregate_runs_to_its_end(name):
    text = own_program(registry[name])
    trace = Program.parse(text).run(aggregate=name)
    assert trace.error is None
    assert [run.loss.name for run in trace.passes] == ["L0", "L1"]
    assert text.splitlines()[2:4] == ["L0 = f(a, b).sum()", "da, db = grad(L0, [a, b])"]


def test_its_inputs_are_the_example():
    a, b = registry["simple"].example()
    found = Program.parse(own_program(registry["simple"])).inputs
    assert torch.allclose(found["a"], a, atol=1e-6) and torch.allclose(found["b"], b, atol=1e-6)


def test_one_input_and_a_number():
    def scaled(x, factor):
        return x * x * factor

    text = own_program(of(scaled, torch.tensor([[1.0, 2.0]]), 3))
    assert text.startswith("x = tensor([[1.0, 2.0]])\nL0 = f(x, 3).sum()\ndx, = grad(L0, [x])\n")


def test_a_gradient_that_is_None_is_not_computed_with():
    def first(a, b):
        return a * a

    text = own_program(of(first, torch.ones(2), torch.ones(2)))
    assert "L1 = (da*da).sum()\n" in text
    assert Program.parse(text).run(aggregate=of(first)).error is None


def test_names_that_the_language_has_taken_get_another():
    def fused(f, L0):
        return f * L0

    assert "L0 = f(f_, L0_).sum()" in own_program(of(fused, torch.ones(1), torch.ones(1)))


def test_a_large_input_is_drawn_at_random():
    def square(x):
        return x * x

    assert "x = randn(20, 20, seed=1)" in own_program(of(square, Variable(torch.rand(20, 20))))


@pytest.mark.parametrize("inputs, said", [
    ((torch.ones(2, dtype=torch.int64),), "a tensor of torch.int64"),
    (("text",), "a str"),
])  # fmt: skip
def test_what_the_language_cannot_say(inputs, said):
    def taken(x):
        return x

    with pytest.raises(ValueError, match=said):
        own_program(of(taken, *inputs))


def test_no_example_no_program():
    with pytest.raises(ValueError, match="has no example inputs"):
        own_program(Aggregate(lambda a: a, "bare"))
