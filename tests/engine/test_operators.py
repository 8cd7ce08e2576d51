"""Each operator alone: forward and shape as torch's, gradients against finite differences and torch, to order 3."""

import numpy as np
import pytest
import torch

from simplegrad import Tape, Variable, cat, grad, stack, where
from simplegrad.engine import Observer
from simplegrad.ops import TABLE
from tests.engine.cases import CASES, values

MODES = [(none, prune) for none in ("skip", "zeros") for prune in ("none", "ahead")]


class ShapesAreTrue(Observer):
    """The engine carries shapes by rule; each must be the one that its tensor has."""

    count = 0

    def recorded(self, inputs, outputs):
        for x in (*inputs, *outputs):
            assert tuple(x.shape) == tuple(x.value.shape), x.name
            self.count += 1


@pytest.fixture(autouse=True)
def tape():
    with Tape() as tape:
        tape.observers = (ShapesAreTrue(),)
        yield tape
        assert tape.observers[0].count or not len(tape)


def weights(shape, seed=1) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


def loss_of(results: list, wrap=lambda tensor: tensor):
    """A scalar in which each element counts differently; None counts for nothing."""
    total = None
    for seed, r in enumerate(results):
        if r is not None:
            term = (r * wrap(weights(tuple(r.shape), seed))).sum()
            total = term if total is None else total + term
    return total


def our_orders(function, tensors, none="skip", prune="none", orders=3) -> list[list[torch.Tensor]]:
    """The gradients of order 1, 2, 3: each of the weighted sum of the one before."""
    with torch.no_grad():
        xs, found = [Variable.constant(tensor) for tensor in tensors], []
        results = [function(*xs)]
        for _ in range(orders):
            L = loss_of([r if r is None else r * r for r in results], Variable.constant)
            if L is None:
                break
            results = grad(L, xs, none=none, prune=prune)
            assert [None if g is None else tuple(g.shape) for g in results] == [
                None if g is None else tuple(x.shape) for g, x in zip(results, xs)
            ]
            found.append([torch.zeros_like(x.value) if g is None else g.value for g, x in zip(results, xs)])
    return found


def torch_orders(function, tensors, orders=3) -> list[list[torch.Tensor]]:
    xs = [tensor.clone().requires_grad_() for tensor in tensors]
    results, found = [function(*xs)], []
    for _ in range(orders):
        L = loss_of([r if r is None else r * r for r in results])
        if L is None or not L.requires_grad:
            break
        results = torch.autograd.grad(L, xs, create_graph=True, allow_unused=True)
        found.append([torch.zeros_like(x) if g is None else g.detach() for g, x in zip(results, xs)])
    return found


def assert_same_orders(ours, theirs):
    """Where one side came to an end, since nothing depends on the inputs any more, the other has zeros."""
    for order in range(max(len(ours), len(theirs))):
        zeros = [torch.zeros_like(g) for g in ours[0]]
        pairs = zip(*(each[order] if order < len(each) else zeros for each in (ours, theirs)))
        for mine, true in pairs:
            scale = max(1.0, *true.abs().flatten().tolist())
            torch.testing.assert_close(mine, true, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_forward_is_torchs(case):
    tensors = values(case.shapes, case.lowest)
    r = case.function(*map(Variable.constant, tensors))
    true = case.function(*tensors)
    assert isinstance(r, Variable)
    assert r.shape == r.value.shape == true.shape
    assert torch.equal(r.value, true)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradients_are_torchs_to_order_3(case):
    tensors = values(case.shapes, case.lowest)
    theirs = torch_orders(case.function, tensors)
    for none, prune in MODES:
        assert_same_orders(our_orders(case.function, tensors, none, prune), theirs)


def differences(scalar, tensors, step=1e-5) -> list[torch.Tensor]:
    """d scalar / d each element, by central differences."""
    found = []
    for i, tensor in enumerate(tensors):
        d = torch.zeros_like(tensor)
        for place in range(tensor.numel()):
            ends = []
            for sign in (1, -1):
                moved = [t.clone() for t in tensors]
                moved[i].view(-1)[place] += sign * step
                ends.append(scalar(*moved))
            d.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
        found.append(d)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rule_against_finite_differences_at_order_2(case):
    """Rule and rule's rule, seen through nothing but the operator itself: no torch.autograd in it."""
    tensors = [tensor.clone() for tensor in values(case.shapes, case.lowest, seed=3)]

    def first(*tensors) -> tuple[list, list]:
        xs = [Variable.constant(tensor) for tensor in tensors]
        return xs, grad(loss_of([case.function(*xs)], Variable.constant), xs)

    def scalar(*tensors) -> float:
        with Tape():
            L = loss_of([case.function(*map(Variable.constant, tensors))], Variable.constant)
            return L.item()

    def slope(*tensors) -> float:
        with Tape():
            L = loss_of(first(*tensors)[1], Variable.constant)
            return 0.0 if L is None else L.item()

    xs, gradients = first(*tensors)
    for g, d, x in zip(gradients, differences(scalar, tensors), xs):
        torch.testing.assert_close(torch.zeros_like(x.value) if g is None else g.value, d, rtol=1e-6, atol=1e-6)
    L = loss_of(gradients, Variable.constant)
    second = [None] * len(xs) if L is None else grad(L, xs)
    for g, d, x in zip(second, differences(slope, tensors), xs):
        torch.testing.assert_close(torch.zeros_like(x.value) if g is None else g.value, d, rtol=1e-5, atol=1e-5)


TIED = {
    "maximum": (torch.maximum, [[1.0, 2.0, 3.0], [1.0, 3.0, 3.0]]),
    "minimum": (torch.minimum, [[1.0, 2.0, 3.0], [1.0, 3.0, 3.0]]),
    "maximum of one and itself": (lambda x: torch.maximum(x, x), [[1.0, -2.0]]),
    "amax": (lambda x: x.amax(), [[1.0, 3.0, 3.0, 2.0]]),
    "amax, dim": (lambda x: x.reshape(2, 2).amax(dim=1), [[3.0, 3.0, 1.0, 2.0]]),
    "relu at 0": (torch.relu, [[0.0, -0.0, 1.0, -1.0]]),
    "abs at 0": (torch.abs, [[0.0, -0.0, 1.0, -1.0]]),
    "0 ** b": (lambda a, b: a**b, [[0.0, 0.0, 2.0], [2.0, 3.0, 2.0]]),
    "a ** 0": (lambda a, b: a**b, [[0.0, 3.0, 2.0], [0.0, 0.0, 2.0]]),
    "0 ** 2": (lambda x: x**2, [[0.0, 1.0]]),
    "0 ** 0": (lambda x: x**0, [[0.0, 1.0]]),
    "0 ** x": (lambda x: 0**x, [[1.0, 2.0]]),
}


@pytest.mark.parametrize("name", TIED)
def test_at_a_kink_first_gradients_are_torchs(name):
    function, numbers = TIED[name]
    tensors = [torch.tensor(each, dtype=torch.float64) for each in numbers]
    assert_same_orders(our_orders(function, tensors, orders=1), torch_orders(function, tensors, orders=1))


NAMES = "exp log sqrt sin cos tanh sigmoid relu abs neg sum mean amax logsumexp softmax".split()


@pytest.mark.parametrize("name", NAMES)
def test_methods_and_functions_are_one(name):
    x = Variable.constant(torch.tensor([[0.5, 1.5], [1.0, 2.0]]))
    arguments = {"dim": 1} if name in ("logsumexp", "softmax") else {}
    results = [getattr(x, name)(**arguments), getattr(torch, name)(x, **arguments)]
    assert all(isinstance(r, Variable) for r in results)
    assert torch.equal(results[0].value, results[1].value)
    assert torch.equal(results[0].value, getattr(x.value, name)(**arguments))


def test_functions_of_several_variables():
    a, b = Variable.constant(torch.ones(2)), Variable.constant(torch.full((2,), 3.0))
    assert torch.cat([a, b]).tolist() == cat([a, b]).tolist() == [1, 1, 3, 3]
    assert torch.stack((a, b), dim=1).tolist() == stack([a, b], 1).tolist() == [[1, 3], [1, 3]]
    condition = torch.tensor([True, False])
    assert torch.where(condition, a, b).tolist() == where(condition, a, b).tolist() == [1, 3]
    assert torch.where(a < b, a, 0.0).tolist() == [1, 1]
    assert torch.maximum(a, b).tolist() == a.maximum(b).tolist() == [3, 3]
    assert torch.matmul(a, b).tolist() == torch.dot(a, b).tolist() == 6
    assert torch.add(a, b).tolist() == a.add(b).tolist() == [4, 4]
    assert torch.nn.functional.relu(a - b).tolist() == [0, 0]
    assert torch.nn.functional.softmax(a, dim=0).tolist() == [0.5, 0.5]
    assert torch.transpose(a.reshape(1, 2), 0, 1).shape == (2, 1)
    assert torch.reshape(a, (2, 1)).shape == torch.unsqueeze(a, 1).shape == (2, 1)


def test_augmented_assignment_makes_a_new_variable():
    x = y = Variable.constant(torch.ones(2))
    y += 1
    y *= y
    assert x.tolist() == [1, 1] and y.tolist() == [4, 4]


@pytest.mark.parametrize("number", [np.float64(2), np.float32(2), np.int64(2)])
def test_numbers_of_numpy_on_either_side(number):
    x = Variable.constant(torch.tensor([1.0, 4.0]))
    results = [number * x, x * number, number + x, x - number, number / x, x**number]
    assert all(isinstance(r, Variable) for r in results)
    assert [r.tolist() for r in results] == [[2, 8], [2, 8], [3, 6], [-1, 2], [2, 0.5], [1, 16]]


def test_a_variable_can_be_gone_through():
    x = Variable.constant(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    first, second = x
    assert grad((first * second).sum(), [x])[0].tolist() == [[3, 4], [1, 2]]


POSITIONAL = {
    "sum(0)": lambda x: x.sum(0),
    "sum((0, 1), True)": lambda x: x.sum((0, 1), True),
    "torch.sum(x, 1)": lambda x: torch.sum(x, 1),
    "mean(1, True)": lambda x: x.mean(1, True),
    "amax(0)": lambda x: x.amax(0),
    "amax((0, 1))": lambda x: x.amax((0, 1)),
    "logsumexp((0, 1))": lambda x: x.logsumexp((0, 1)),
    "torch.softmax(x, 1)": lambda x: torch.softmax(x, 1),
    "softmax(0)": lambda x: x.softmax(0),
    "permute((1, 0))": lambda x: x.permute((1, 0)),
    "torch.permute": lambda x: torch.permute(x, (1, 0)),
    "x[..., None]": lambda x: x[..., None],
    "x[[[0, 1], [1, 2]]]": lambda x: x[[[0, 1], [1, 2]]],
    "x[[0, None]]": lambda x: x[[0, None]],
    "pow(2)": lambda x: x.pow(2),
    "torch.pow(x, 2)": lambda x: torch.pow(x, 2),
    "torch.pow(2, x)": lambda x: torch.pow(2, x),
    "torch.cat of a tuple": lambda x: torch.cat((x, x), 1),
    "torch.flatten": lambda x: torch.flatten(x, 0, 1),
    "torch.squeeze": lambda x: torch.squeeze(x[None], 0),
}


@pytest.mark.parametrize("name", POSITIONAL)
def test_arguments_by_position(name):
    (tensor,) = values([(2, 3)])
    r = POSITIONAL[name](Variable.constant(tensor))
    assert isinstance(r, Variable)
    assert torch.equal(r.value, POSITIONAL[name](tensor))


def test_peephole_of_one():
    x = Variable.constant(torch.ones(2))
    assert x * 1.0 is x


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda x: torch.fft.rfft(x), "torch.fft.rfft: not an operator on Variables, .* Its results are complex"),
        (lambda x: torch.bernoulli(x), "torch.bernoulli: .* It draws numbers. Draw them with torch, from x.value"),
        (
            lambda x: torch.nn.functional.ctc_loss(x, x, x, x),
            ".*ctc_loss: .* Write the sum over alignments with logsum",
        ),
        (lambda x: torch.linalg.lu_factor(x), "torch.linalg.lu_factor: .* cholesky, qr, svd and eigh"),
        (lambda x: torch.igamma(x, x), "torch.igamma: .* The nearest that are there: digamma"),
    ],
)
def test_an_operator_that_is_not_there_is_named(wrong, said):
    with pytest.raises(TypeError, match=f"^{said}"):
        wrong(Variable.constant(torch.ones(2, 2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_have_the_dtype_of_their_input(dtype):
    x = Variable.constant(torch.tensor([0.5, 1.0], dtype=dtype))
    for none, prune in MODES:
        (g,) = grad((x.sigmoid() * x.tanh() / (x * 2 + 1)).sum(), [x], none=none, prune=prune)
        assert g.dtype == dtype


def test_layers_of_torch_take_variables():
    """Their parameters are constants."""
    torch.manual_seed(0)
    images = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    layers = [torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4).eval(), torch.nn.MaxPool2d(2)]
    layers += [torch.nn.GELU(), torch.nn.Flatten(), torch.nn.LayerNorm(36), torch.nn.Linear(36, 5)]
    network = torch.nn.Sequential(*[layer.double() for layer in layers])
    labels = torch.tensor([1, 4])
    with Tape():
        x = Variable.constant(images)
        (ours,) = grad(torch.nn.functional.cross_entropy(network(x), labels), [x])
    y = images.clone().requires_grad_()
    (theirs,) = torch.autograd.grad(torch.nn.functional.cross_entropy(network(y), labels), [y])
    torch.testing.assert_close(ours.value, theirs)


def test_places_in_a_list_are_told_what_torch_takes():
    x = Variable.constant(torch.rand(2, 3))
    for wrong in (lambda: x.gather(1, [[0], [1]]), lambda: x.scatter_add(1, [[0], [1]], x)):
        with pytest.raises(
            TypeError,
            match=r"gather|scatter_add: the places are a list, and torch takes a tensor. Write torch.tensor\(\[\[0",
        ):
            wrong()


def test_a_power_of_zero_is_flat_wherever_it_has_a_derivative():
    """0 ** x is 0 for x > 0, so every derivative is 0 there, and torch's first one is; its second is 0 * log(0), NaN.
    At 0 it jumps from 1 to 0: torch's first derivative is 0 by convention, and those of that convention are 0 too."""
    for zero in (0, 0.0, Variable.constant(torch.tensor(0.0))):
        x = results = Variable.constant(torch.tensor([0.0, 1.0, 2.5]))
        results = zero**x
        for _ in range(3):
            (results,) = grad(results.sum(), [x])
            assert results.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda x: grad(x.sum(), [x], create_graph=True), r"create_graph=…\): leave it out, every gradient can be"),
        (lambda x: grad(x, [x], grad_outputs=x), r"write grad\(\(y \* g\).sum\(\), wanted\)"),
        (lambda x: torch.add(x, x, out=x.value), r"'out'. On Variables it takes add\(x, other, \*, alpha=1\)"),
        (lambda x: x.backward(), r"gradients are results, da, db = grad\(L, \[a, b\]\)"),
        (lambda x: x.add_(1), r"a value never changes. Write y = x.add\(…\)"),
        (lambda x: x.ormqr(), r"Variable has no 'ormqr'. An operator"),
        (lambda x: x.clip_by(), "'Variable' object has no attribute 'clip_by'"),
        (lambda x: x.to(torch.complex64), "the engine computes with real numbers alone"),
        (lambda x: 1j * x, r"got 1j. Complex numbers are not supported"),
        (lambda x: x.cuda(), "move the tensor before it becomes a Variable"),
    ],
)
def test_what_torch_has_and_is_not_here_is_told(wrong, message):
    with pytest.raises((TypeError, AttributeError), match=message):
        wrong(Variable.constant(torch.rand(3)))


def test_what_gives_no_numbers_is_a_plain_tensor():
    x = Variable.constant(torch.tensor([3.0, 1.0, 2.0]))
    assert torch.argsort(x).tolist() == x.argsort().tolist() == [1, 2, 0]
    assert not torch.isnan(x).any() and x.gt(1).tolist() == [True, False, True]
    zeros = torch.zeros_like(x)
    assert isinstance(zeros, Variable) and not zeros.computed and not zeros.value.any()
    assert torch.equal((x // 2).value, torch.tensor([1.0, 0.0, 1.0]))


def test_a_factor_of_cholesky_is_read_in_its_half():
    a = torch.rand(3, 3, dtype=torch.float64)
    a = a @ a.T + torch.eye(3, dtype=torch.float64)
    b, factor = torch.rand(3, 1, dtype=torch.float64), torch.linalg.cholesky(a)
    x = torch.cholesky_solve(Variable.constant(b), Variable.constant(factor + torch.ones(3, 3).triu(1)))
    torch.testing.assert_close(x.value, torch.linalg.solve(a, b))


def test_pooling_to_a_size_and_an_attention_of_grouped_heads():
    x = torch.rand(2, 3, 7, 5, dtype=torch.float64)
    pooled = torch.nn.functional.adaptive_avg_pool2d(Variable.constant(x), (3, None))
    torch.testing.assert_close(pooled.value, torch.nn.functional.adaptive_avg_pool2d(x, (3, None)))
    q, k = torch.rand(1, 4, 2, 3), torch.rand(1, 2, 2, 3)
    attend = torch.nn.functional.scaled_dot_product_attention
    ours = attend(Variable.constant(q), Variable.constant(k), Variable.constant(k), enable_gqa=True)
    torch.testing.assert_close(ours.value, attend(q, k, k, enable_gqa=True))


def test_numpys_names_of_arguments():
    x = Variable.constant(torch.rand(2, 3))
    assert torch.softmax(x, axis=0).shape == x.softmax(axis=0).shape == (2, 3)
    assert x.sum(axis=1, keepdims=True).shape == (2, 1)
    with pytest.raises(TypeError, match="sum: dim and axis say the same"):
        x.sum(dim=0, axis=1)


def test_a_new_operator_is_one_place(monkeypatch):
    """With torch's arguments too: it is a function and a method, takes numpy's names, and says what it takes."""
    from simplegrad.ops import FUNCTIONS, METHODS, op

    for known in (TABLE, FUNCTIONS, METHODS):
        monkeypatch.setitem(known, "amax", known["amax"])  # put back in the end
    op(
        "amax",
        "{}.amax({}, {})",
        lambda x, dim, keepdim: x.amax(dim, keepdim),
        lambda g, r, x, dim, keepdim: g.unsqueeze(dim).expand(x.shape) * (x == r.unsqueeze(dim)),
        takes=lambda x, dim=0, keepdim=False: (x, dim, keepdim),
    )
    x = Variable.constant(torch.tensor([[1.0, 5.0], [3.0, 2.0]]))
    assert torch.amax(x, axis=1).value.tolist() == METHODS["amax"](x, 1).value.tolist() == [5.0, 3.0]
    assert grad(torch.amax(x, 0).sum(), [x])[0].value.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    with pytest.raises(TypeError, match=r"On Variables it takes amax\(x, dim=0, keepdim=False\)"):
        METHODS["amax"](x, sizes=3)


def test_no_operator_changes_its_argument_in_place():
    x = Variable.constant(torch.rand(3))
    for name in ("relu", "elu", "hardtanh", "relu6", "threshold_", "dropout"):
        arguments = (0.1, 0.2) if name == "threshold_" else ()
        with pytest.raises(TypeError, match="a value never changes here"):
            getattr(torch.nn.functional, name.rstrip("_"))(x, *arguments, inplace=True)


def test_what_editors_see_is_made_from_the_table():
    """After a change of an operator's arguments: python -m tools.operator_stub"""
    from tools.operator_stub import PATH, stub

    assert PATH.read_text() == stub()


def test_names_that_functions_and_operators_share_mean_the_same():
    """Code that is compiled says both by their names. `put` is not among them: torch means another thing by it."""
    from simplegrad.ops import FUNCTIONS

    shared = {op.name for op in TABLE.values() if op.by_name and not op.pointwise} & {*FUNCTIONS}
    assert shared == {
        "cat",
        "stack",
        "pad",
        "inv",
        "solve",
        "logdet",
        "det",
        "cholesky",
        "svdvals",
        "pinv",
        "matrix_exp",
    }


OF_EACH_ELEMENT = [op for op in TABLE.values() if op.pointwise and len(op.parameters) == 1 and op.vjp(0)]


@pytest.mark.parametrize("op", OF_EACH_ELEMENT, ids=str)
def test_an_operator_of_each_element_is_differentiated_rightly(op):
    """Of whatever stands in the table, whether torch has it or not, to order 2, where it has numbers."""
    for tensor in (torch.tensor([0.31, 0.72]), torch.tensor([1.3, 2.4])):
        tensor = tensor.double()
        if not op.forward(tensor).isfinite().all():
            continue
        first, second = (each[0] for each in our_orders(op, [tensor], orders=2))
        found = differences(lambda x: loss_of([op.forward(x) ** 2]).item(), [tensor])
        torch.testing.assert_close(first, found[0], rtol=1e-5, atol=1e-7)
        found = differences(lambda x: loss_of([our_orders(op, [x], orders=1)[0][0] ** 2]).item(), [tensor])
        torch.testing.assert_close(second, found[0], rtol=1e-4, atol=1e-6)
