"""Operators with several results, and those that compute with sizes: compiled as functions and as texts, to order 2."""

import pytest
import torch
import torch.nn.functional as F

from simplegrad import Tape, Variable, check, compile_aggregate, grad
from simplegrad.compiler import CompileError
from simplegrad.compiler import fused as fused_module

M, IMAGE = (3, 4), (1, 2, 4, 4)


def rows(x):
    total = 0.0
    for row in x:
        total = total + row * row
    return total


def halves(x):
    a, b = x.chunk(2, dim=-1)
    return a.tanh() * b.sigmoid()


def best(x, y):
    values, places = x.max(1, keepdim=True)
    return values * y.gather(1, places)


def by_heads(x):
    batch, time, channels = x.shape
    return x.view(batch, time, 2, channels // 2).transpose(1, 2).softmax(-1)


def shifted(x):
    with torch.no_grad():
        top = x.max()
    return (x - top).exp() + x.new_zeros(x.shape)


FUNCTIONS = {
    "split": (lambda x: x.split(2, 1)[0] * x.split(2, 1)[1], [M]),
    "split into sizes": (lambda x: torch.split(x, [1, 3], 1)[0] * x.split([1, 3], 1)[1], [M]),
    "split, all parts": (lambda x: x.exp().split(2, 1), [M]),
    "unbind": (lambda x: torch.unbind(x, 1)[0] * x.unbind()[0][:3], [M]),
    "chunk": (halves, [M]),
    "chunk, fewer than asked": (lambda x: x.exp().chunk(4), [(5,)]),
    "rows": (rows, [M]),
    "without gradients": (shifted, [M]),
    "block_diag": (lambda x: torch.block_diag(x, x) ** 2, [M]),
    "sort": (lambda x: torch.sort(x, dim=-1, descending=True).values[:, 0] * x.sort(1)[0][:, 0], [M]),
    "topk": (lambda x: x.topk(2, dim=1).values.exp() * torch.topk(x, 2, 0)[0].sum(), [M]),
    "max": (lambda x: x.max(1).values * torch.min(x, dim=1)[0], [M]),
    "indices": (best, [M, M]),
    "argmax": (lambda x: x.gather(1, x.argmax(1, True)) ** 2 * (x.argmax(1) > 0).float().mean(), [M]),
    "median": (lambda x: x.median(1).values * x.kthvalue(2, 1)[0], [M]),
    "cummax": (lambda x: x.cummax(1).values * x, [M]),
    "isnan": (lambda x: torch.where(torch.isnan(x), 0.0, x) * x, [M]),
    "heads": (by_heads, [(2, 3, 4)]),
    "group_norm": (lambda x: F.group_norm(x, 2), [(2, 4, 3)]),
    "causal": (lambda x: x.masked_fill(torch.ones(x.shape[-1], len(x)).triu(1).bool(), -1e9).softmax(-1), [(3, 3)]),
    "conv1d": (lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=1), [(2, 3, 5), (2, 3, 3), (2,)]),
    "conv2d": (lambda x, w: F.conv2d(x, w, padding="same", groups=2), [IMAGE, (2, 1, 3, 3)]),
    "conv_transpose2d": (lambda x, w: F.conv_transpose2d(x, w, stride=2), [(1, 2, 2, 2), (2, 3, 2, 2)]),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2) ** 2, [IMAGE]),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2) ** 2, [IMAGE]),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear") ** 2, [(1, 1, 3, 3)]),
    "grid_sample": (lambda x, at: F.grid_sample(x, at * 2 - 1, align_corners=False) ** 2, [IMAGE, (1, 3, 2, 2)]),
    "solve": (lambda x, b: torch.linalg.solve(x + 3 * torch.eye(3).double(), b), [(3, 3), (3, 2)]),
    "copysign": (lambda x, y: torch.copysign(x, y - 0.5) * y.exp(), [M, M]),
}


def inputs_of(shapes):
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1 for shape in shapes]


def weighted(results):
    results = results if isinstance(results, (tuple, list)) else [results]
    parts = [(r * torch.cos(torch.arange(r.shape.numel(), dtype=r.dtype).reshape(r.shape) + i)).sum()
             for i, r in enumerate(results)]  # fmt: skip
    return sum(parts[1:], parts[0])


def of_torch(function, inputs):
    inputs = [x.clone().requires_grad_() for x in inputs]
    first = torch.autograd.grad(weighted(function(*inputs)), inputs, create_graph=True)
    second = torch.autograd.grad(weighted(first), inputs, allow_unused=True, materialize_grads=True)
    return [*first, *second]


def of_ours(function, inputs):
    with Tape():
        inputs = [Variable.constant(x) for x in inputs]
        first = grad(weighted(function(*inputs)), inputs)
        second = grad(weighted(first), inputs, none="zeros")
        return [x.value for x in (*first, *second)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_beside_torch(name, monkeypatch):
    monkeypatch.setattr(fused_module, "FEWEST", 2)
    function, shapes = FUNCTIONS[name]
    inputs = inputs_of(shapes)
    theirs = of_torch(function, inputs)
    for fused in (False, True):
        compiled = compile_aggregate(function, "f", fused=fused)
        torch.testing.assert_close(of_ours(compiled, inputs), theirs)


@pytest.mark.parametrize("name", ["split", "topk", "indices", "max_pool2d", "grid_sample"])
def test_check_and_the_torch_function(name):
    function, shapes = FUNCTIONS[name]
    inputs = inputs_of(shapes)
    compiled = compile_aggregate(function, "f", example=inputs)
    assert check(compiled, *inputs).verdict == "correct"
    made = compiled.to_torch_function()
    torch.testing.assert_close(of_torch(made, inputs), of_torch(function, inputs))


def test_one_is_compiled_for_each_shape_that_it_meets():
    compiled = compile_aggregate(rows, "f")
    for shape in ((2, 3), (5,), (1, 2, 2)):
        inputs = inputs_of([shape])
        torch.testing.assert_close(of_ours(compiled, inputs), of_torch(rows, inputs))


def test_the_code_names_what_is_picked():
    compiled = compile_aggregate(best)
    assert "torch.max(x.value, 1, True)[1]" in compiled.forward_source
    assert "torch.max" not in compiled.propagate_source  # forward found the places, and hands them on


def test_what_fits_no_usual_shapes_is_compiled_at_the_call():
    compiled = compile_aggregate(lambda x: x.view(x.shape[0], 5, 7).sum(1) ** 2, "f")
    inputs = inputs_of([(2, 35)])
    torch.testing.assert_close(of_ours(compiled, inputs), of_torch(compiled.reference, inputs))


def test_what_asks_for_values_is_refused_whatever_the_shapes():
    with pytest.raises(CompileError, match="has no value while the function is compiled"):
        compile_aggregate(lambda x: x * len(x) if x.sum() > 0 else x)
