"""The six variants of (a + b) * b: which are right at which order; and the registry."""

import pytest
import torch

from simplegrad import Tape, Variable, aggregate, grad, registry
from simplegrad.engine import RawTensorError

SIX = ["simple", "simple_type_error", "simple_recompute"]
SIX += ["simple_variable_wrong", "simple_variable_almost", "simple_variable"]
RIGHT = ["simple", "simple_recompute", "simple_variable_almost", "simple_variable"]


@pytest.fixture(autouse=True)
def own_tape():
    with Tape() as tape:
        yield tape


def orders(f, none="skip", prune="none") -> list[list]:
    """Gradients of order 1 and 2 of the squared gradient, as run_gradients of the notebook has them."""
    a = Variable.constant(torch.tensor([0.5, 1.0]), name="a")
    b = Variable.constant(torch.tensor([2.0, 3.0]), name="b")
    first = grad(f(a, b).sum(), [a, b], none=none, prune=prune)
    da, db = first
    second = grad((da * da + db * db).sum(), [a, b], none=none, prune=prune)
    return [[None if g is None else g.tolist() for g in each] for each in (first, second)]


FIRST = [[2.0, 3.0], [4.5, 7.0]]  # b, and a + 2b
SECOND = [[9.0, 14.0], [22.0, 34.0]]  # 2(a + 2b), and 2b + 4(a + 2b)


def test_all_six_are_registered_in_the_notebooks_order():
    assert [name for name in registry if name in SIX] == SIX


@pytest.mark.parametrize("name", SIX)
def test_each_computes_the_same_forward(name):
    a, b = (Variable.constant(x) for x in registry[name].example())
    assert torch.equal(registry[name](a, b).value, (a.value + b.value) * b.value)


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_are_right_twice(name):
    assert orders(registry[name]) == [FIRST, SECOND]


@pytest.mark.parametrize("name", ["simple", "simple_recompute", "simple_variable"])
def test_right_variants_are_right_in_every_mode(name):
    for none in ("skip", "zeros"):
        for prune in ("none", "ahead"):
            assert orders(registry[name], none, prune) == [FIRST, SECOND]


def test_the_wrong_one_is_right_once_and_silently_wrong_twice():
    first, (dda, ddb) = orders(registry["simple_variable_wrong"])
    assert first == FIRST
    assert dda is None  # all that goes through t is lost
    assert ddb == [13.0, 20.0]  # 2b + 2(a + 2b)


def test_the_type_error_fails_in_the_first_pass():
    a, b = (Variable.constant(x) for x in registry["simple_type_error"].example())
    with pytest.raises(RawTensorError, match=r"^\*: got a Tensor of shape \(4,\) where a Variable belongs."):
        grad(registry["simple_type_error"](a, b).sum(), [a, b])


def test_almost_computes_on_zeros_where_the_last_one_does_not():
    lengths = []
    for name in ("simple_variable_almost", "simple_variable"):
        with Tape() as tape:
            orders(registry[name])
            lengths.append(len(tape))
    assert lengths[0] > lengths[1]


@pytest.mark.parametrize("name", RIGHT)
def test_two_calls_in_one_program(name):
    def f(a, b):
        return registry[name](registry[name](a, b), b)

    with Tape():
        found = orders(f)
    with Tape():
        assert found == orders(lambda a, b: registry["simple"](registry["simple"](a, b), b))


@pytest.mark.parametrize("name", SIX)
def test_each_has_what_a_page_shows_of_it(name):
    each = registry[name]
    assert each.name == name and each.arity == 2
    assert each.summary.endswith(".") and "\n" not in each.summary
    assert f"def {name}(a, b):" in each.source and each.source.startswith("@aggregate")
    assert each.file.endswith("aggregates.py") and each.line > 1
    assert each.reference == (None if name == "simple" else "simple")
    assert [tuple(x.shape) for x in each.example()] == [(4,), (4,)]


@pytest.fixture
def clean_registry():
    yield
    registry.discard(__file__)


def test_registering(clean_registry):
    @aggregate(name="doubled", reference=lambda x: x + x, example=lambda: (torch.ones(2),))
    def double(x):
        """Twice
        x.

        More words.
        """
        return x * 2

    assert registry["doubled"] is double
    assert (double.summary, double.arity, double.origin) == ("Twice x.", 1, __file__)
    assert double(Variable.constant(torch.ones(1))).tolist() == [2.0]
    registry.discard(__file__)
    assert "doubled" not in registry and "simple" in registry


def test_a_newer_one_of_the_same_name_takes_its_place(clean_registry):
    made = [aggregate(name="mine")(function) for function in (lambda x: x, lambda x: -x)]
    assert registry["mine"] is made[1] and list(registry).count("mine") == 1


def test_what_is_no_function():
    with pytest.raises(TypeError, match="^@aggregate is for a function of Variables, not for a int.$"):
        aggregate(3)
