"""With example inputs a function may ask how many dimensions they have; their sizes stay free."""

import pytest
import torch

from simplegrad import Tape, Variable, check, compile_aggregate
from simplegrad.compiler import CompileError

EXAMPLE = torch.rand(2, 3, 4), torch.rand(4, 5)


def by_rank(x, w):
    batch, time, channels = x.shape
    y = x.reshape(batch * time, channels) @ w
    y = y.tanh() if x.ndim == 3 else y
    return y.view(batch, time, -1).sum(dim=tuple(range(1, x.dim()))) * len(w.shape)


def test_a_function_that_asks_for_the_rank():
    compiled = compile_aggregate(by_rank, example=EXAMPLE)
    for inputs in (EXAMPLE, (torch.rand(3, 1, 2), torch.rand(2, 2))):
        assert check(compiled, *inputs).ok
    assert compiled.example() == EXAMPLE or all(map(torch.equal, compiled.example(), EXAMPLE))


def test_without_an_example_it_is_compiled_for_the_ranks_of_each_call():
    compiled = compile_aggregate(by_rank)
    for inputs in (EXAMPLE, (torch.rand(3, 1, 2), torch.rand(2, 2))):
        assert check(compiled, *inputs).ok
    assert "x.value.reshape(x.shape[0] * x.shape[1], x.shape[2])" in compiled.forward_source


def test_sizes_that_decide_are_those_of_the_call():
    compiled = compile_aggregate(lambda x, y: x * y if x.shape == y.shape else x + y, "f", example=[torch.rand(2)] * 2)
    for y in (torch.rand(2), torch.rand(3, 2)):
        x = torch.rand(2)
        with Tape():
            got = compiled(Variable.constant(x), Variable.constant(y)).value
        torch.testing.assert_close(got, x * y if x.shape == y.shape else x + y)
    with pytest.raises(CompileError, match="1 inputs were given for x, y"):
        compile_aggregate(lambda x, y: x * y, example=(torch.rand(2),))


@pytest.mark.parametrize(
    "text",
    [
        "x.ndim * x",
        "x.sum(dim=x.dim() - 1)",
        "x[tensor([1, 0])]",
        "x.gather(1, tensor([[0], [1]]))",
        "einsum('ij,kj->ik', x, x)",
        "pad(x, (1, 2))",
        "zeros_like(x) + x * ones_like(x)",
        "x % 0.3",
        "x.softmax(axis=0)",
        "x.median() * x + x.nanmedian()",
    ],
)
def test_texts(text):
    assert check(compile_aggregate(text, example=(torch.rand(2, 3),)), torch.full((2, 3), 0.7)).ok
