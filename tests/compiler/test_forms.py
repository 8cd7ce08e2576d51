"""Forms that people write, compiled: the same gradients as recorded, plain and fused."""

import pytest
import torch
import torch.nn.functional as F

import simplegrad
import simplegrad.compiler.fused as fused_module
from simplegrad import Tape, Variable, check, compile_aggregate, grad

from .cases import M, V, assert_same, climbed, inputs_of

TEXTS = [
    "x[[0, 1]] * 2",
    "x[[0, 1], [1, 2]] * 2",
    "x[[[0, 1]]] * x[[[0, 1], [1, 2]]].sum()",
    "x[:, [0, 1, 1]].sin()",
    "x[[True, False, True]].sin()",
    "x[None, ..., 0] * x[-1, 0]",
    "x[(x > 0.3) & (x < 0.9)].sum() * x",
    "cat([x, x * 2, x]).sin()",
    "(x > 0.4) * x",
    "x.masked_fill(x > 0.5, 0.0) * x",
    "x.prod() * x",
    "x.prod(dim=1, keepdim=True) * x",
    "x.repeat(2, 1).sin()",
    "x.chunk(2, dim=1)[1].exp()",
    "x.clamp(0.3, 0.8) * x",
    "x.log_softmax(dim=-1) * x.cumsum(dim=1)",
    "x.var(dim=-1, keepdim=True) * x.std()",
    "maximum(x, 0.5) * x.max()",
    "x.roll(1, 0) * x.flip(0)",
]


@pytest.mark.parametrize("text", TEXTS)
def test_texts(text, monkeypatch):
    monkeypatch.setattr(fused_module, "FEWEST", 1)
    inputs = inputs_of([M])
    for fused in (False, True):
        compiled = compile_aggregate(text, fused=fused)
        assert_same(climbed(compiled, inputs, 3), climbed(compiled.reference, inputs, 3))


def test_places_may_be_an_input():
    places = Variable.constant(torch.tensor([[0, 1], [2, 2], [3, 0]]))
    for text in ("x.gather(1, i).sin()", "x[i[0]].sin() * x[0, 0]", "x.index_select(1, i[0]).sin()"):
        compiled = compile_aggregate(text)
        ours, theirs = (
            climbed(lambda x, f=f: f(x, Variable.constant(places.value)), inputs_of([M]), 2)
            for f in (compiled, compiled.reference)
        )
        assert_same(ours, theirs)


FUNCTIONS = {
    "relu": (lambda x: F.relu(x) * torch.nn.ReLU()(x), [M]),
    "softmax": (lambda x: F.softmax(x, dim=-1) * torch.nn.Softmax(dim=0)(x), [M]),
    "layer_norm": (lambda x, w: F.layer_norm(x, (4,), w), [M, V]),
    "attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v), [(2, 3, 4)] * 3),
    "einsum": (lambda x, y: torch.einsum("ij,kj->ik", x, y), [M, M]),
    "inverse": (lambda x: torch.linalg.inv(x @ x.mT * 0.1 + F.relu(x @ x.mT)), [(2, 2)]),
    "loss": (F.mse_loss, [M, M]),
    "joined": (lambda x: simplegrad.cat([simplegrad.where(x > 0.5, x, 0.0), simplegrad.stack([x, x])[0]]), [M]),
    "mask": (lambda x: (x > 0.5) * x, [M]),
    "compared": (lambda x: x * torch.where(x == 0, 1.0, x), [M]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    function, shapes = FUNCTIONS[name]
    compiled, inputs = compile_aggregate(function, name), inputs_of(shapes)
    assert_same(climbed(compiled, inputs, 2), climbed(function, inputs, 2))


def test_check_takes_one_that_has_been_called():
    compiled = compile_aggregate("x * x.detach()")
    with Tape():
        compiled(Variable.constant(torch.rand(3)))
    assert check(compiled, torch.rand(3)).verdict == "correct"


MASK, PLACES, WEIGHTS = torch.tensor([True, False, True, True]), torch.tensor([2, 0, 2]), torch.rand(3, 4).double()
CAPTURED = {
    "a factor on either side": lambda x: WEIGHTS * x.exp() + x * WEIGHTS,
    "a mask": lambda x: x.masked_fill(MASK, 0.0) * x,
    "a mask beside a condition": lambda x: x * (MASK & (x > 0.3)),
    "a choice": lambda x: torch.where(MASK, x * x, WEIGHTS),
    "places": lambda x: x[PLACES].exp() * x.gather(1, PLACES.unsqueeze(1)),
    "a comparison": lambda x: torch.where(x > WEIGHTS, x * x, x),
    "an infinity": lambda x: (x + torch.tensor([0.0, -torch.inf, 1.0, 0.0])).softmax(-1) * x,
}


@pytest.mark.parametrize("name", CAPTURED)
def test_a_raw_tensor_is_a_constant(name, monkeypatch):
    monkeypatch.setattr(fused_module, "FEWEST", 1)
    inputs = inputs_of([M])
    for fused in (False, True):
        compiled = compile_aggregate(CAPTURED[name], name="f", fused=fused)
        assert_same(climbed(compiled, inputs, 2), climbed(CAPTURED[name], inputs, 2))
    function = compiled.to_torch_function()
    assert torch.autograd.gradgradcheck(function, (inputs[0].double().requires_grad_(),))


def test_a_loss_of_classes_is_compiled_with_an_example():
    x, classes = torch.rand(3, 4), torch.tensor([1, 0, 3])
    for loss in (F.cross_entropy, lambda x, c: F.cross_entropy(x, c, label_smoothing=0.1, ignore_index=0)):
        compiled = compile_aggregate(lambda x, c, loss=loss: loss(x, c), "loss", example=(x, classes))
        with Tape():
            a = Variable.constant(x)
            (ours,) = simplegrad.grad(compiled(a, Variable.constant(classes)), [a])
        b = x.clone().requires_grad_()
        torch.testing.assert_close(ours.value, torch.autograd.grad(loss(b, classes), b)[0])


def test_what_asks_for_a_dtype_is_compiled_for_each():
    compiled = compile_aggregate(lambda x: x.to(torch.float64) * torch.finfo(x.dtype).eps, "f")
    for dtype in (torch.float32, torch.float64):
        with Tape():
            made = compiled(Variable.constant(torch.ones(5, dtype=dtype)))
        assert made.dtype == torch.float64 and made.value[0].item() == torch.finfo(dtype).eps


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("text", ["((x > 0.5) * x.sin()).sum()", "((x > 0.5) * x.sin()).mean()", "(x * ones(5)).sum()"])
def test_a_condition_as_numbers_makes_nothing_less_precise(text, fused):
    """Its ones and zeros are float32, and a gradient without dimensions would have become so beside them."""
    compiled, x = compile_aggregate(text, fused=fused), torch.rand(5, dtype=torch.float64)
    with Tape():
        a = Variable.constant(x)
        (expected,) = grad(compiled.reference(a) * 0.1, [a])
        (got,) = grad(compiled(a) * 0.1, [a])
        assert torch.equal(got.value, expected.value)
