"""Names that generated code says itself, or that Python and torch have taken: of functions, inputs and temporaries."""

import keyword
import random
import unicodedata

import pytest
import torch

from simplegrad import Tape, Variable, compile_aggregate, grad
from simplegrad.ops import FUNCTIONS, METHODS, TABLE, op

GIVEN = (
    "g r torch grad v0 v1 Variable TapeEntry gradient_tape cat stack where sum abs any float next list tuple zip slice "
    "super staticmethod range type id t t1 t2 r0 r1 c u u_2 x x_2 x_shape x_value dL_da dL_dr dL_dt v_dL_dr dr_dt "
    "_given1 _operand _boxed _append _on_tensors propagate body bodies dL_doutputs compiled compute ctx pattern like "
    "pairs shape BODIES _ self cls f F nn Tape value _value __x tanh_backward half_of_ties tanh sin exp mul index "
    "indicator given call constant size é ﬁ µ μ ℌ Ω ª off share f_from_r f_propagate args kwargs r_v match print_ inf"
).split()
KNOWN_IN_PROGRAMS = (
    "f F grad Variable TapeEntry gradient_tape next zip list tuple float any range type id self nn Tape super slice "
    "staticmethod torch value match v0 v1"
).split()
BODY = """def {}({}, {}):
    {} = {} * {}.sin()
    {} = {}.exp() + {}
    {} = {} * {}.tanh() * 0.3
    return {} * {}
"""


def written(f, a, b, i, j, k) -> str:
    return BODY.format(f, a, b, i, a, b, j, i, a, k, j, i, k, j)


def made(source: str, f: str):
    names: dict = {}
    exec(source, names)
    return names[unicodedata.normalize("NFKC", f)]


def twice(function, tensors: list) -> list:
    """Gradients, and gradients of those."""
    with Tape():
        xs = [Variable.constant(x) for x in tensors]
        first = grad(function(*xs).sum(), xs)
        second = grad((first[0] * first[0]).sum() + first[1].sin().sum(), xs)
        return [x.value for x in (*first, *second)]


def twice_in_torch(function, tensors: list) -> list:
    xs = [x.clone().requires_grad_() for x in tensors]
    first = torch.autograd.grad(function(*xs).sum(), xs, create_graph=True)
    return [*first, *torch.autograd.grad((first[0] * first[0]).sum() + first[1].sin().sum(), xs)]


def assert_close(got: list, expected: list, source: str) -> None:
    assert all(torch.allclose(x, y) for x, y in zip(got, expected, strict=True)), source


@pytest.mark.parametrize("seed", range(24))
def test_functions_whose_names_are_taken_elsewhere(seed):
    chosen = random.Random(seed).sample(GIVEN, 6)
    if seed % 2:
        chosen[4] = chosen[1]  # an input's name, taken again
    source = written(*chosen)
    function, tensors = made(source, chosen[0]), [torch.rand(3, dtype=torch.float64) + 0.2 for _ in range(2)]
    expected = twice_in_torch(function, tensors)
    for fused in (False, True):
        compiled = compile_aggregate(function, fused=fused)
        assert_close(twice(compiled, tensors), expected, source)
    assert_close(twice_in_torch(compiled.to_torch_function(), tensors), expected, compiled.to_torch_function().source)


@pytest.mark.parametrize("seed", range(6))
def test_texts_whose_names_are_taken_elsewhere(seed):
    plain = [name for name in GIVEN if name[0] != "_" and not hasattr(torch, name) and name not in KNOWN_IN_PROGRAMS]
    a, b, i, j, k = random.Random(seed).sample(plain, 5)
    text = written("f", a, b, i, j, k).split("\n", 1)[1].replace("    ", "").replace("return ", "")
    tensors = [torch.rand(3, dtype=torch.float64) + 0.2 for _ in range(2)]
    for fused in (False, True):
        compiled = compile_aggregate(text, fused=fused)
        assert_close(twice(compiled, tensors), twice_in_torch(made(written("f", a, b, i, j, k), "f"), tensors), text)


@pytest.mark.parametrize("name", ["cat", "stack", "where", "list", "tuple", "pad", "softplus", "next", "__x"])
def test_a_function_may_be_called_as_one_that_code_calls(name):
    assert not keyword.iskeyword(name)
    compiled = compile_aggregate(made(f"def {name}(x, y):\n    return x * y", name))
    assert compiled.name == f"{name.lstrip('_')}_"
    tensors = [torch.rand(3), torch.rand(3)]
    assert_close(twice(compiled, tensors), twice_in_torch(lambda x, y: x * y, tensors), name)


def test_a_number_where_a_tensor_belongs():
    with pytest.raises(ValueError, match=r"2 stands where a tensor belongs"):
        compile_aggregate("x.cross(2)")


def test_an_input_may_be_called_as_a_shape_is_or_as_an_operator_that_was_added(monkeypatch):
    def of_a_part(x, t_shape):
        t = x[1:]
        return t.sum() * t_shape

    for known in (TABLE, FUNCTIONS, METHODS):
        monkeypatch.setitem(known, "cubed", None)  # taken out in the end
    op("cubed", "cubed({})", lambda x: x**3, lambda g, r, x: 3 * g * x**2)
    x, y = Variable.constant(torch.tensor([1.0, 2.0, 3.0])), Variable.constant(torch.tensor(2.0))
    dx, dy = grad(compile_aggregate(of_a_part)(x, y), [x, y])
    assert (dx.value.tolist(), dy.item()) == ([0.0, 2.0, 2.0], 5.0)
    (dx,) = grad(compile_aggregate(lambda cubed: TABLE["cubed"](cubed) * 2)(x).sum(), [x])
    assert dx.value.tolist() == [6.0, 24.0, 54.0]
