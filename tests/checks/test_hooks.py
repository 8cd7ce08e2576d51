"""What stands around a backward: hooks that change a gradient, tensors that are changed before it runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from simplegrad import check

torch.set_num_threads(1)
X = torch.tensor([[0.4, 1.1, -0.7], [0.3, -0.2, 0.9]], requires_grad=True)


def fault(report, code):
    (found,) = [each for each in report.faults if each.code == code]
    return found


# --- hooks -----------------------------------------------------------------------------------------------------------


def solved(x, w):
    """z = tanh(z w + x); its adjoint equation is solved in a hook, with values that are out of the graph."""
    with torch.no_grad():
        z = torch.zeros_like(x)
        for _ in range(60):
            z = torch.tanh(z @ w + x)
    z = torch.tanh(z @ w + x)
    z0 = z.detach().requires_grad_()
    f0 = torch.tanh(z0 @ w + x)

    def adjoint(g):
        u = g
        for _ in range(60):
            u = torch.autograd.grad(f0, z0, u, retain_graph=True)[0] + g
        return u

    z.register_hook(adjoint)
    return z


def test_a_hook_whose_result_is_a_constant_to_autograd_is_the_cause():
    w = (0.2 * torch.eye(3)).requires_grad_()
    report = check(solved, X, w)
    found = fault(report, "graph_cut_in_backward")
    assert "`adjoint` on z" in found.sentence and found.order == 2
    assert found.read_at.text == "z.register_hook(adjoint)"
    assert check(solved, X, w, order=1).ok


def test_a_hook_that_clips_is_meant_so_and_named():
    def clipped(x):
        y = 3 * x
        y.register_hook(lambda g: g.clamp(-0.1, 0.1))
        return y.sin()

    report = check(clipped, X)
    assert report.ok
    (note,) = report.notes
    assert note.code == "other_gradient" and "on y" in note.sentence


def test_a_hook_that_changes_its_gradient_in_place_is_a_fault():
    def doubled(x):
        y = 3 * x
        y.register_hook(lambda g: g.mul_(2))
        return y.sin()

    found = fault(check(doubled, X), "input_mutated")
    assert found.slot == "y" and "mul_" in found.read_at.text


def test_a_hook_that_looks_only_changes_nothing():
    seen = []

    def looked(x):
        y = 3 * x
        y.register_hook(lambda g: seen.append(g.norm()))
        return y.sin()

    assert check(looked, X).verdict == "correct"


def test_a_hook_of_a_module_is_named():
    layer = nn.Linear(3, 3)
    layer.register_full_backward_hook(lambda module, given, came: (given[0] * 0.5,))
    report = check(nn.Sequential(layer, nn.Tanh()), X)
    assert report.ok and "module 0" in report.notes[0].sentence


# --- tensors that are changed before backward runs -------------------------------------------------------------------


def test_a_step_between_two_backwards_is_told_with_the_weight_and_the_line():
    critic = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)

    def losses(x):
        y = critic(x)
        first, second = y.pow(2).mean(), y.mean()
        first.backward(retain_graph=True)
        optimizer.step()
        return second

    found = fault(check(losses, X), "raises")
    assert found.slot == "critic.2.weight" and "SGD.step()" in found.sentence
    assert found.read_at.text == "optimizer.step()" and found.made_at.text == "y = critic(x)"
    assert "before any optimizer.step()" in found.fix


def added(x):
    y = x.exp()
    z = 2 * y
    y.add_(1)
    return (z * y).sum()


def augmented(x):
    y = x.exp()
    z = 2 * y
    y += 1
    return (z * y).sum()


def assigned(x):
    y = x.exp()
    z = 2 * y
    y[0] = 0
    return (z * y).sum()


@pytest.mark.parametrize("changed", [added, augmented, assigned])
def test_a_value_that_is_changed_after_an_operation_kept_it(changed):
    found = fault(check(changed, X), "raises")
    assert found.slot == "y" and "changed it in place before backward ran" in found.sentence
    first = changed.__code__.co_firstlineno
    assert (found.made_at.first, found.read_at.first) == (first + 1, first + 3)
