"""The form for real PyTorch: right twice, and a module that stands by itself."""

import ast
import subprocess
import sys

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from simplegrad import check, compile_aggregate

from .cases import CASES, inputs_of


def apart(shapes, seed=0):
    """Inputs without ties, away from the kinks."""
    return [x.requires_grad_() for x in inputs_of(shapes, seed)]


@pytest.mark.parametrize("text, shapes", [case for case in CASES if "detach" not in case[0]])
def test_gradcheck_and_gradgradcheck(text, shapes):
    function, inputs = compile_aggregate(text).to_torch_function(), apart(shapes)
    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("text, shapes", [CASES[0], CASES[2], CASES[55]])
def test_the_full_jacobians(text, shapes):
    function, inputs = compile_aggregate(text).to_torch_function(), apart(shapes)
    assert gradcheck(function, inputs) and gradgradcheck(function, inputs)


def test_third_order_against_plain_torch():
    function, (a, b) = compile_aggregate("(a + b) * b").to_torch_function(), apart([(4,), (4,)])

    def third(f):
        loss = f(a, b).sin().sum()
        for _ in range(3):
            loss = sum((g * g).sum() for g in torch.autograd.grad(loss, [a, b], create_graph=True))
        return loss

    torch.testing.assert_close(third(function), third(lambda a, b: (a + b) * b))


def test_the_source_is_a_module_to_paste(tmp_path):
    source = compile_aggregate("(a + b) * b", "fused").to_torch_function().source
    names = [node.name for node in ast.parse(source).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    assert names[:2] == ["fused", "FusedFunction"]
    assert "simplegrad" not in source and "ctx.set_materialize_grads(False)" in source
    path = tmp_path / "pasted.py"
    path.write_text(source + "\n\nprint(fused(torch.ones(2), torch.tensor([2.0, 3.0])).tolist())\n")
    assert subprocess.run([sys.executable, path], capture_output=True, text=True).stdout == "[6.0, 12.0]\n"


def test_function_is_an_autograd_function_with_the_temporaries_as_outputs():
    made = compile_aggregate("(a + b) * b", "fused").to_torch_function()
    assert issubclass(made.function, torch.autograd.Function)
    outputs = made.function.apply(torch.ones(3), torch.ones(3))
    assert len(outputs) == 2 and made(torch.ones(3), torch.ones(3)).tolist() == [2.0] * 3


def test_none_comes_in_as_none():
    made = compile_aggregate("(a + b) * b", "fused").to_torch_function()
    made(torch.ones(3), torch.ones(3))  # the module for vectors is there now
    seen = []
    table = made.module.call.__globals__["BODIES"]
    for pattern, body in list(table.items()):
        table[pattern] = lambda *args, pattern=pattern, body=body: seen.append(pattern) or body(*args)
    a, b = (torch.rand(3, requires_grad=True) for _ in "ab")
    da, db = torch.autograd.grad(made(a, b).sum(), [a, b], create_graph=True)
    torch.autograd.grad((da * da + db * db).sum(), [a, b])
    assert seen == [(True, False), (False, True)]


def test_many_temporaries_have_a_general_body():
    made = compile_aggregate(CASES[56][0]).to_torch_function()
    assert "BODIES[pattern]" in made.source and "new_zeros" in made.source
    inputs = apart(CASES[56][1])
    assert gradgradcheck(made, inputs, fast_mode=True)


def test_other_ranks_than_before():
    made = compile_aggregate("a @ b").to_torch_function()
    for shapes in ([(3, 4), (4, 2)], [(4,), (4,)], [(2, 3, 4), (4,)]):
        assert gradgradcheck(made, apart(shapes), fast_mode=True)


@pytest.mark.parametrize("index", [0, 54, 55])
def test_check_finds_nothing_in_it(index):
    text, shapes = CASES[index]
    made = compile_aggregate(text, "fused").to_torch_function()
    report = check(made.function.apply, *apart(shapes))
    assert report.ok, str(report)


def test_an_index_input_gets_no_gradient():
    made = compile_aggregate("x[labels].sin()").to_torch_function()
    labels = torch.tensor([0, 2, 2])
    assert gradgradcheck(lambda x: made(x, labels), apart([(3, 4)]), fast_mode=True)
