"""Programs of other libraries' users give what torch gives, to the second order."""

import pytest
import torch

from simplegrad import Tape, Variable, grad

from .whole_programs import PROGRAMS


def orders(function, inputs: list, gradient) -> list[list]:
    """The loss, the gradients, and those of the sum of their squares."""
    loss = function(gradient, *inputs)
    first = gradient(loss, inputs)
    second = gradient(sum((g * g).sum() for g in first if g is not None), inputs)
    return [[loss], first, second]


def of_torch(loss, inputs):
    return torch.autograd.grad(loss, inputs, create_graph=True, allow_unused=True)


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_gives_what_torch_gives(name):
    function, shapes = PROGRAMS[name]
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.rand(shape, generator=generator).double() + 0.1 for shape in shapes]
    theirs = orders(function, [x.clone().requires_grad_() for x in tensors], of_torch)
    with Tape():
        ours = orders(function, [Variable.constant(x) for x in tensors], grad)
    for mine, its in zip(ours, theirs):
        for x, y in zip(mine, its):
            if x is None or y is None:  # a known zero may stand against computed ones
                assert x is y or not (x.value if y is None else y).any()
            else:
                torch.testing.assert_close(x.value, y, rtol=1e-7, atol=1e-9)
